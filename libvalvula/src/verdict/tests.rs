use proptest::prelude::*;

use super::text::LONGEST;
use super::*;

fn encoded(verdict: &Verdict) -> String {
    let mut answer = BytesMut::new();
    verdict.encode(&mut answer);
    String::from_utf8(answer.to_vec()).expect("UTF-8")
}

fn code(number: u16) -> Code {
    Code::new(number).expect("a code that refuses")
}

#[test]
fn each_verdict_is_written_exactly_so() {
    let text = || Text::new("not here");
    for (verdict, answer) in [
        (Verdict::DUNNO, "DUNNO"),
        (Verdict::ok(), "OK"),
        (Verdict::reject(text()), "REJECT not here"),
        (Verdict::defer(text()), "DEFER not here"),
        (Verdict::defer_if_reject(text()), "DEFER_IF_REJECT not here"),
        (Verdict::defer_if_permit(text()), "DEFER_IF_PERMIT not here"),
        (Verdict::code(code(451), Text::new("4.7.1 later")), "451 4.7.1 later"),
        (Verdict::code(code(550), text()), "550 not here"),
        (Verdict::discard(text()), "DISCARD not here"),
        (Verdict::hold(text()), "HOLD not here"),
        (Verdict::filter("smtp:[10.0.0.1]:25").expect("a filter"), "FILTER smtp:[10.0.0.1]:25"),
        (Verdict::filter("discard:").expect("a filter"), "FILTER discard:"),
        (Verdict::redirect("ann@example.com").expect("an address"), "REDIRECT ann@example.com"),
        (Verdict::bcc("ann@example.com").expect("an address"), "BCC ann@example.com"),
        (Verdict::prepend("X-Policy", "yes: sir").expect("a header"), "PREPEND X-Policy: yes: sir"),
        (Verdict::info(text()), "INFO not here"),
        (Verdict::warn(text()), "WARN not here"),
    ] {
        assert_eq!(encoded(&verdict), format!("action={answer}\n\n"));
        assert_eq!(verdict.to_string(), answer);
        assert_eq!(Verdict::parse(answer), Ok(verdict.clone()));
        assert_eq!(Verdict::parse(&format!("  {}  ", answer.replacen(' ', " \t ", 1))), Ok(verdict));
    }
}

#[test]
fn the_action_is_read_in_any_case() {
    assert_eq!(Verdict::parse("dunno"), Ok(Verdict::DUNNO));
    assert_eq!(Verdict::parse("Defer_If_Permit Later"), Ok(Verdict::defer_if_permit(Text::new("Later"))));
    assert_eq!("reject No".parse(), Ok(Verdict::reject(Text::new("No"))));
}

#[test]
fn a_text_that_is_missing_or_only_a_status_code_gets_words() {
    for (answer, written) in [
        ("REJECT", "REJECT Access denied"),
        ("DEFER", "DEFER Service temporarily unavailable, try again later"),
        ("550", "550 Access denied"),
        ("450", "450 Service temporarily unavailable, try again later"),
        ("REJECT 5.7.1", "REJECT 5.7.1 Access denied"),
        ("550 5.7.1 ", "550 5.7.1 Access denied"),
        ("DEFER 4.123.999", "DEFER 4.123.999 Service temporarily unavailable, try again later"),
        ("DISCARD", "DISCARD decided by policy"),
        ("HOLD\t\r\n", "HOLD decided by policy"),
        ("REJECT 5.7.1 no", "REJECT 5.7.1 no"),
        ("REJECT 3.7.1", "REJECT 3.7.1"),
        ("REJECT 5.7.1.1", "REJECT 5.7.1.1"),
        ("REJECT 5.7.1234", "REJECT 5.7.1234"),
    ] {
        assert_eq!(Verdict::parse(answer).expect(answer).to_string(), written);
    }
}

#[test]
fn an_answer_that_postfix_would_misread_is_an_error_that_names_it() {
    let long = format!("FILTER smtp:{}", "x".repeat(LONGEST));
    for (answer, message) in [
        ("", "empty answer"),
        (" \n", "empty answer"),
        ("ALLOW", "\"ALLOW\" is no action: expected DUNNO"),
        ("defer_is_reject x", "\"defer_is_reject\" is no action"),
        ("250 fine", "250 is no reply code that refuses: expected 400 to 599"),
        ("000", "0 is no reply code that refuses"),
        ("999 x", "999 is no reply code that refuses"),
        ("55", "\"55\" is no action"),
        ("5500 x", "\"5500\" is no action"),
        ("55x x", "\"55x\" is no action"),
        ("OK then", "OK takes no text, got \"then\""),
        ("DUNNO why", "DUNNO takes no text, got \"why\""),
        ("FILTER", "FILTER \"\": expected transport:destination"),
        ("FILTER slow", "FILTER \"slow\": expected transport:destination"),
        ("FILTER :x", "FILTER \":x\": expected"),
        ("FILTER a b:c", "FILTER \"a b:c\": expected"),
        ("FILTER smtp:a b", "FILTER \"smtp:a b\": expected"),
        (&long, "FILTER: longer than 512 bytes"),
        ("REDIRECT", "REDIRECT \"\": expected one address"),
        ("REDIRECT ann", "REDIRECT \"ann\": expected one address"),
        ("REDIRECT @x", "REDIRECT \"@x\": expected"),
        ("REDIRECT ann@", "REDIRECT \"ann@\": expected"),
        ("BCC a@x,b@x", "BCC \"a@x,b@x\": expected"),
        ("BCC a@x b@x", "BCC \"a@x b@x\": expected"),
        ("BCC <a@x>", "BCC \"<a@x>\": expected"),
        ("PREPEND X-Header", "PREPEND \"X-Header\": expected a header"),
        ("PREPEND X Header: y", "PREPEND \"X Header: y\": expected"),
        ("PREPEND : y", "PREPEND"),
        ("PREPEND X:", "PREPEND \"X:\": expected"),
        ("PREPEND Ü: y", "PREPEND"),
    ] {
        let error = Verdict::parse(answer).expect_err(answer).to_string();
        assert!(error.starts_with(message), "{answer:?}: {error}");
    }
    assert!(Verdict::filter("a:b\nc").is_err() && Verdict::redirect("a\u{1}@x").is_err());
    for number in [0, 200, 399, 600, 1000] {
        assert_eq!(Code::new(number), Err(VerdictError::Code(number)));
    }
}

#[test]
fn a_text_is_one_line_whatever_it_was_made_from() {
    for (made_from, text) in [
        ("plain", "plain"),
        ("", ""),
        ("  a  b  ", "a  b"),
        ("a\r\n\r\naction=OK\n\n", "a action=OK"),
        ("\0a\x1b[0mb\x7f", "a [0mb"),
        ("a\u{85}b\u{2028}c\u{2029}", "a b c"),
        ("grüß 你好", "grüß 你好"),
    ] {
        assert_eq!(Text::new(made_from).as_str(), text, "{made_from:?}");
    }
    assert_eq!(Text::from_bytes(b"caf\xe9\n!").as_str(), "caf\u{fffd} !");
    assert_eq!(Text::new("x".repeat(600)).as_str().len(), LONGEST);
    assert_eq!(Text::new(format!("{}€", "x".repeat(510))).as_str(), "x".repeat(510));
    assert_eq!(Text::new(format!("{} \n y", "x".repeat(511))).as_str(), "x".repeat(511));
    // A header's value can't be cut into another header, nor can it bring one in.
    assert_eq!(Verdict::prepend("X-A", "b\nX-C: d").map(|v| v.to_string()), Ok("PREPEND X-A: b X-C: d".into()));
}

#[test]
fn names_and_kinds_tell_what_a_verdict_does() {
    assert_eq!(Verdict::code(code(400), Text::new("")).action_name(), "4NN");
    assert_eq!(Verdict::code(code(599), Text::new("")).action_name(), "5NN");
    assert!(Verdict::DUNNO.is_dunno() && !Verdict::ok().is_dunno());
    assert!(Verdict::reject(Text::new("")).is_refusal() && Verdict::defer(Text::new("")).is_refusal());
    assert!(!Verdict::defer_if_permit(Text::new("")).is_refusal() && !Verdict::ok().is_refusal());
}

fn any_text() -> impl Strategy<Value = String> {
    prop_oneof![
        2 => any::<String>(),
        1 => prop::collection::vec(any::<u8>(), 0..700).prop_map(|bytes| String::from_utf8_lossy(&bytes).into_owned()),
        1 => "[245][.][0-9]{1,4}[.][0-9]{1,4}[ \n]?[a-z]{0,3}",
        1 => "[ \r\n\t]{0,3}[a-z\u{80}-\u{ff}]{500,520}[ \r\n€]{0,9}",
    ]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(1024))]

    #[test]
    fn no_text_breaks_an_answer(text in any_text(), which in 0..9_u8, number in 400..600_u16) {
        let text = Text::new(&text);
        let verdict = match which {
            0 => Verdict::reject(text),
            1 => Verdict::defer(text),
            2 => Verdict::defer_if_reject(text),
            3 => Verdict::defer_if_permit(text),
            4 => Verdict::code(code(number), text),
            5 => Verdict::discard(text),
            6 => Verdict::hold(text),
            7 => Verdict::info(text),
            _ => Verdict::warn(text),
        };
        let answer = encoded(&verdict);
        let line = answer.strip_prefix("action=").and_then(|rest| rest.strip_suffix("\n\n")).expect("framed");
        prop_assert!(!line.contains(char::is_control), "{:?}", line);
        let (_, said) = line.split_once(' ').expect("an action with its text");
        prop_assert!(!said.trim().is_empty() && said.trim() == said && said.len() <= LONGEST + 1 + DEFERRED.len());
        prop_assert_eq!(verdict.text().expect("a text").as_str(), said);
        prop_assert_eq!(Verdict::parse(line), Ok(verdict));
    }

    #[test]
    fn whatever_is_read_is_written_safely(answer in prop_oneof![
        any_text(),
        ("(REJECT|FILTER|REDIRECT|BCC|PREPEND|OK|[0-9]{3})", any_text()).prop_map(|(action, text)| format!("{action} {text}")),
        "(FILTER|REDIRECT|BCC|PREPEND) [a-zA-Z@:.,< \u{0}-\u{1f}]{0,20}",
    ]) {
        if let Ok(verdict) = Verdict::parse(&answer) {
            let line = encoded(&verdict);
            let line = line.strip_prefix("action=").and_then(|rest| rest.strip_suffix("\n\n")).expect("framed");
            prop_assert!(!line.contains(char::is_control) && !line.starts_with(' ') && line.len() < 1100);
            prop_assert_eq!(Verdict::parse(line), Ok(verdict));
        }
    }
}

use super::super::batch::{Batch, example};
use super::Value::{Text, Unsigned};
use super::*;

fn text(batch: &Batch) -> String {
    let mut out = String::new();
    batch.iter().for_each(|line| line.write_text(&mut Stamp::default(), &mut out));
    out
}

fn json(batch: &Batch) -> serde_json::Value {
    let mut out = String::new();
    batch.iter().for_each(|line| line.write_json(&mut Stamp::default(), &mut out));
    assert!(!out.contains('\n'));
    serde_json::from_str(&out).unwrap()
}

#[test]
fn a_text_line_has_time_level_message_and_values() {
    let line = example("verdict", &[("sender", Text("ann@x.com")), ("us", Unsigned(12)), ("text", Text("a \"b\""))]);
    assert_eq!(text(&line), r#"1970-01-01T00:00:00.000Z warning  verdict sender=ann@x.com us=12 text="a \"b\"""#);
}

#[test]
fn no_value_and_no_message_can_begin_a_line_or_move_the_cursor() {
    let hostile = "a\nb\r\x1b[2J\x00\u{85}\u{2028}\u{202e}\x7f";
    let line = example(hostile, &[("sender", Text(hostile))]);
    let shown = text(&line);
    assert!(shown.chars().all(|c| !acts(c)), "{shown:?}");
    assert!(shown.contains(r#"sender="a\nb\r\u{1b}[2J\u{0}\u{85}\u{2028}\u{202e}\u{7f}""#), "{shown}");
    assert_eq!(json(&line)["sender"], hostile);
}

#[test]
fn an_empty_value_is_seen_and_a_fake_pair_stays_inside_its_quotes() {
    let line = example("m", &[("a", Text("")), ("b", Text("x action=OK")), ("c", Text("x=y"))]);
    assert!(text(&line).ends_with(r#"m a="" b="x action=OK" c="x=y""#));
    assert!(text(&example("m", &[("a", Text("jörg@exämple.org"))])).ends_with("a=jörg@exämple.org"));
}

#[test]
fn a_value_never_hides_the_fields_of_the_line_itself() {
    let json = json(&example("m", &[("level", Text("fake"))]));
    assert_eq!((&json["level"], &json["level_"]), (&"warning".into(), &"fake".into()));
}

#[test]
fn lines_that_are_appended_keep_their_texts_apart() {
    let mut batch = example("one", &[("a", Text("x")), ("b", Unsigned(1))]);
    let mut other = example("two", &[("c", Text("y"))]);
    batch.append(&mut other);
    assert_eq!((batch.lines(), other.lines(), other.bytes()), (2, 0, 0));
    batch.push_own(Level::Info, "three", "count", 3);
    let bodies: Vec<_> = batch
        .iter()
        .map(|line| {
            let mut body = String::new();
            line.write_body(&mut body);
            body
        })
        .collect();
    assert_eq!(bodies, ["one a=x b=1", "two c=y", "three count=3"]);
}

#[test]
fn the_time_is_to_the_millisecond_and_never_of_another_line() {
    let mut stamp = Stamp::default();
    let mut shown = |milliseconds| {
        let mut out = String::new();
        stamp.write(Timestamp::from_millisecond(milliseconds).unwrap(), &mut out);
        out
    };
    assert_eq!(shown(1_772_366_400_999), "2026-03-01T12:00:00.999Z");
    assert_eq!(shown(1_772_366_400_007), "2026-03-01T12:00:00.007Z");
    assert_eq!(shown(1_772_366_401_000), "2026-03-01T12:00:01.000Z");
    assert_eq!(shown(-1), "1969-12-31T23:59:59.999Z");
}

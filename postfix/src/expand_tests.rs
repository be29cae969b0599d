//! Expansion, form by form. What Postfix makes of the same texts is in `tests/oracle_main_cf.rs`.

use super::*;
use proptest::prelude::*;

fn lookup(name: &str) -> Option<Cow<'static, str>> {
    Some(Cow::Borrowed(match name {
        "a" => "A",
        "b" => "$a b",
        "empty" => "",
        "hollow" => "$empty",
        "self" => "x $self",
        "ping" => "$pong",
        "pong" => "${ping}",
        "level" => "3.6",
        _ => return None,
    }))
}

fn expanded(text: &str) -> String {
    expand(text, &lookup).unwrap()
}

#[test]
fn every_form_is_expanded() {
    for (text, expected) in [
        ("$a ${a} $(a)", "A A A"),
        ("$b", "A b"),
        ("$a-x.$a", "A-x.A"),
        ("$none|${none}", "|"),
        ("$$a $$$a", "$a $A"),
        ("${a?yes}${none?no}${empty?no}", "yes"),
        ("${a:no}${none:yes}${empty:yes}", "yesyes"),
        ("${hollow?written}", "written"),
        ("${a?{x}:{y}} ${none ? {x} : {y}}", "x y"),
        ("${a?x:y}", "x:y"),
        ("${a??foo:{b}ar}", "?foo:{b}ar"),
        ("${a?{x{y}z}}", "x{y}z"),
        ("${{A}=={$a}?{t}:{f}}", "t"),
        ("${{x} != {x} ? {t} : {f} }", "f"),
        ("${{x}=={x}}", "true"),
        ("${{10}<{9}?{t}:{f}}", "f"),
        ("${{10}<{9x}?{t}:{f}}", "t"),
        ("${{010}=={10}?{t}:{f}}", "t"),
        ("${{$level} <level {3.10} ? {t} : {f}}", "t"),
        ("${{3.1.0}==level{3.1}?{t}:{f}}", "t"),
        ("${a?{$b}:{}}", "A b"),
        ("$(a?(b))", "(b)"),
        ("", ""),
    ] {
        assert_eq!(expanded(text), expected, "{text}");
    }
}

#[test]
fn what_postfix_refuses_is_refused() {
    for text in [
        "$",
        "a$",
        "$.a",
        "${}",
        "${",
        "$(a",
        "${{a}",
        "${my name}",
        "$((a))",
        "${a-b}",
        "${a?{x}y}",
        "${a?{x}:{y}z}",
        "${{x}==%{x}?{a}:{b}}",
        "${{x}=={x}y}",
        "${{x}==x}",
        "${{x}<level{1}?{a}:{b}}",
        "${{1.2.3.4}<level{1}}",
        "${{99999999999999999999}<{1}}",
        "$self",
        "$ping",
    ] {
        assert!(expand(text, &lookup).is_err(), "{text}: {:?}", expand(text, &lookup));
    }
    assert!(matches!(expand("$self", &lookup), Err(ExpandError::Nesting(_))));
}

#[test]
fn only_text_that_begins_with_the_pair_is_enclosed() {
    assert_eq!(enclosed("{a {b}} c", b'{', b'}'), Some(("a {b}", " c")));
    for text in ["", "}", "a}", " {a}", "{a", "{a {b}"] {
        assert_eq!(enclosed(text, b'{', b'}'), None, "{text}");
    }
}

#[test]
fn values_that_grow_with_each_reference_are_refused_in_moderate_time() {
    // Short to write; 2^26 names to follow, and nothing or as much to write.
    for end in ["", "xxxxxxxx"] {
        let doubling = |name: &str| {
            let next = char::from(name.as_bytes()[0] + 1);
            Some(Cow::Owned(if next > 'z' { end.to_owned() } else { format!("${next}${next}") }))
        };
        assert_eq!(expand("$a", &doubling), Err(ExpandError::TooLarge));
        assert_eq!(expand("$v", &doubling).map(|value| value.len()), Ok(16 * end.len()));
    }
}

proptest! {
    #[test]
    fn text_without_a_dollar_is_itself(text in "[^$]*") {
        prop_assert_eq!(expanded(&text), text);
    }

    #[test]
    fn any_text_is_expanded_or_refused(text in "[$(){}?:= <>a-b]*") {
        let _ = expand(&text, &lookup);
    }

    #[test]
    fn a_doubled_dollar_is_a_dollar(text in "[a-z$ ]*") {
        prop_assert_eq!(expanded(&text.replace('$', "$$")), text);
    }
}

//! Rules in order. What Postfix finds in the same files is in `tests/oracle_tables.rs`.

use super::*;

fn find(text: &str, syntax: Syntax, key: &str) -> Option<String> {
    let rules = parse(text, syntax).unwrap_or_else(|| panic!("not sure of {text:?}"));
    match rules.find(key).unwrap() {
        Asked::Known(value) => value.map(|value| String::from_utf8(value).unwrap()),
        Asked::NotSure => panic!("not sure of {key:?}"),
    }
}

#[test]
fn the_first_rule_that_matches_answers() {
    let text = "# comment\n/^a@/ first\n!/@/ none\n/^A(.*)@(x)$/ $2-${1}-$(1)$$\nif /^c/\n/d/ cd\nif !/e/\n/./ c\nendif\nendif\n/^c/ last\n";
    for syntax in [Syntax::Posix, Syntax::Pcre] {
        for (key, expected) in [
            ("a@x", Some("first")),
            ("nobody", Some("none")),
            ("AB@x", Some("x-B-B$")),
            ("cd@", Some("cd")),
            ("cf@", Some("c")),
            ("ce@", Some("last")),
            ("z@", None),
        ] {
            assert_eq!(find(text, syntax, key).as_deref(), expected, "{syntax:?} {key}");
        }
    }
}

#[test]
fn what_is_not_sure_is_not_read() {
    for text in ["/a/", "a b", "/a/m x", "if /a/\n", "endif\n", "/a/ $1", "!/(a)/ $1", "/a/x/ y", "/a/ ${x}"] {
        assert!(parse(text, Syntax::Posix).is_none(), "{text}");
    }
    for text in ["/a/A x", "/(/ x", "/é/ x"] {
        assert!(parse(text, Syntax::Pcre).is_none(), "{text}");
    }
    let rules = parse("/./ x", Syntax::Pcre).unwrap();
    assert!(matches!(rules.find("é"), Ok(Asked::NotSure)));
}

//! Keys and their order.

use super::*;

fn keys(local: &str, bare_names: Verdict) -> Vec<String> {
    let domains = [b"d.example".to_vec()];
    let wanted = Wanted {
        local: local.as_bytes(),
        domains: &domains,
        bare_names,
        delimiters: b"+-",
        owner_request_special: true,
    };
    wanted.all_keys().into_iter().map(|key| String::from_utf8(key.text).unwrap()).collect()
}

#[test]
fn keys_come_in_postfix_order() {
    assert_eq!(keys("user+ext", Verdict::No), ["user+ext@d.example", "user@d.example", "@d.example"]);
    assert_eq!(
        keys("user+ext", Verdict::Yes),
        ["user+ext@d.example", "user@d.example", "user+ext", "user", "@d.example"]
    );
    assert_eq!(keys("user", Verdict::Yes), ["user@d.example", "user", "@d.example"]);
}

#[test]
fn extensions_are_stripped_as_postfix_does() {
    for (local, expected) in [
        ("a+b", Some("a")),
        ("a-b+c", Some("a")),
        ("a+", Some("a")),
        ("+a", None),
        ("a", None),
        ("postmaster", None),
        ("Double-Bounce", None),
        ("owner-list", None),
        ("list-request", None),
        ("owner-list+x", None),
    ] {
        let stripped = strip_extension(local.as_bytes(), b"+-", true);
        assert_eq!(stripped, expected.map(str::as_bytes), "{local}");
    }
    assert_eq!(strip_extension(b"owner-list", b"-", false), Some(&b"owner"[..]));
    assert_eq!(strip_extension(b"owner+list", b"+", true), Some(&b"owner"[..]));
    assert_eq!(strip_extension(b"a+b", b"", true), None);
}

#[test]
fn odd_local_parts_are_asked_quoted_first() {
    assert_eq!(keys("a b", Verdict::No), ["\"a b\"@d.example", "a b@d.example", "@d.example"]);
    assert_eq!(quoted(b"o'brien"), None);
    assert_eq!(quoted(b"a\"b\\c").unwrap(), br#""a\"b\\c""#);
    assert_eq!(quoted(b".a").unwrap(), b"\".a\"");
    assert_eq!(quoted(b"").unwrap(), b"\"\"");
    assert_eq!(quoted("josé".as_bytes()), None);
}

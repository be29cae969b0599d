use std::collections::HashMap;

use proptest::collection::vec;
use proptest::prelude::*;

use super::*;
use crate::address::domain::DOTS;

fn key(address: &str) -> AddressKey {
    AddressKey::new(address.as_bytes())
}

#[test]
fn addresses_compare_without_regard_to_case_and_with_domains_in_a_label_form() {
    for (spelling, normal) in [
        ("ann@example.com", "ann@example.com"),
        ("Ann@EXAMPLE.Com", "ann@example.com"),
        ("", ""),
        ("Ann", "ann"),
        ("ann@", "ann@"),
        ("@Example.com", "@example.com"),
        ("ann@BÜCHER.example", "ann@xn--bcher-kva.example"),
        ("ann@XN--BCHER-KVA.example", "ann@xn--bcher-kva.example"),
        ("ann@b\u{75}\u{308}cher.example", "ann@xn--bcher-kva.example"),
        ("ann@bücher。example", "ann@xn--bcher-kva.example"),
        ("ann@faß.de", "ann@xn--fa-hia.de"),
        ("JÖRG@example.com", "jörg@example.com"),
        ("用户@example.com", "用户@example.com"),
        ("O'Brien@example.com", "o'brien@example.com"),
        ("a B@example.com", "a b@example.com"),
        ("user@Inner@Example.com", "user@inner@example.com"),
        ("a\"b\\C@x", "a\"b\\c@x"),
        ("user@[IPv6:2001:DB8::1]", "user@[ipv6:2001:db8::1]"),
        // The root's dot says nothing; Postfix drops it too, and leaves bogus ones alone.
        ("user@example.com.", "user@example.com"),
        ("user@bücher.example.", "user@xn--bcher-kva.example"),
        ("user@example.com..", "user@example.com.."),
        ("user@.", "user@."),
        ("user.@example.com", "user.@example.com"),
        // What IDNA refuses is compared as it is; the other labels are not affected.
        ("user@xn--Q.BÜCHER.Example", "user@xn--q.xn--bcher-kva.example"),
        ("user@a＠b.Example", "user@a＠b.example"),
        ("user@\u{ad}.Example", "user@\u{ad}.example"),
        // Right to left and left to right in one name, which IDNA refuses as a whole.
        ("user@1a.שלום.example", "user@1a.xn--9dbne9b.example"),
    ] {
        assert_eq!(key(spelling).as_bytes(), normal.as_bytes(), "{spelling}: {}", key(spelling));
    }
}

#[test]
fn bytes_that_are_no_utf8_compare_by_their_ascii_letters() {
    assert_eq!(AddressKey::new(b"J\xd6rg@EX\xc4MPLE.org").as_bytes(), b"j\xd6rg@ex\xc4mple.org");
    // The domain of a Latin-1 local part is a domain as any other.
    assert_eq!(AddressKey::new(b"J\xd6rg@B\xc3\x9ccher.org").as_bytes(), b"j\xd6rg@xn--bcher-kva.org");
    assert_eq!(AddressKey::new(b"x@\xff.B\xc3\x9ccher.org").as_bytes(), b"x@\xff.xn--bcher-kva.org");
}

#[test]
fn the_domain_follows_the_last_at() {
    for (address, local, domain) in [
        ("user@inner@example.com", "user@inner", "example.com"),
        ("user", "user", ""),
        ("user@", "user", ""),
        ("@example.com", "", "example.com"),
        ("@", "", ""),
        ("", "", ""),
    ] {
        let key = key(address);
        assert_eq!((key.local_part(), key.domain()), (local.as_bytes(), domain.as_bytes()), "{address}");
        assert_eq!(key.has_domain(), !domain.is_empty(), "{address}");
        assert_eq!(key.is_empty(), address.is_empty(), "{address}");
    }
}

#[test]
fn the_extension_is_taken_off_as_postfix_does() {
    for (address, delimiters, without) in [
        ("ann+list@x", "+", "ann@x"),
        ("ann+a+b@x", "+", "ann@x"),
        ("ann-list@x", "+-", "ann@x"),
        ("ann-a+b@x", "+-", "ann@x"),
        ("ann=a@x", "+-=#", "ann@x"),
        ("ann+list", "+", "ann"),
        ("ann+@x", "+", "ann@x"),
        ("+list@x", "+", "+list@x"),
        ("ann+list@x", "", "ann+list@x"),
        ("ann+list@x", "-", "ann+list@x"),
        ("ann@x+y", "+", "ann@x+y"),
        ("postmaster@x", "r", "postmaster@x"),
        ("mailer-daemon@x", "-", "mailer-daemon@x"),
        ("MAILER-DAEMON@x", "-", "mailer-daemon@x"),
        ("double-bounce@x", "-", "double-bounce@x"),
        ("owner-list@x", "-", "owner-list@x"),
        ("list-request@x", "-", "list-request@x"),
        ("owner+list@x", "+", "owner@x"),
        ("owner-a+b@x", "+", "owner-a@x"),
        ("owner-a+b@x", "+-", "owner-a+b@x"),
    ] {
        let stripped = key(address).without_extension(delimiters.as_bytes());
        assert_eq!(stripped, key(without), "{address} with {delimiters}");
        assert_eq!(stripped.domain(), key(without).domain());
    }
}

#[test]
fn a_map_can_be_asked_with_bytes() {
    let map = HashMap::from([(key("ann@example.com"), 1), (key(""), 2)]);
    assert_eq!(map.get(&b"ann@example.com"[..]), Some(&1));
    assert_eq!(map.get(&b""[..]), Some(&2));
}

#[test]
fn a_key_is_small_and_a_long_address_is_whole() {
    assert_eq!(size_of::<AddressKey>(), 64);
    let long = format!("{}@{}.example", "a".repeat(1500), "b".repeat(300));
    assert_eq!(key(&long).as_bytes(), long.as_bytes());
}

#[test]
fn a_domain_too_long_for_dns_costs_no_more_than_its_lower_case() {
    let long = "Ü.".repeat(8000);
    let started = std::time::Instant::now();
    assert_eq!(domain_key(long.as_bytes()), long.to_lowercase().trim_end_matches('.').as_bytes());
    assert!(started.elapsed() < std::time::Duration::from_secs(1));
}

#[test]
fn a_normal_domain_is_borrowed() {
    assert!(matches!(domain_key(b"example.com"), std::borrow::Cow::Borrowed(_)));
    assert!(matches!(domain_key(b"example.com."), std::borrow::Cow::Borrowed(_)));
    assert!(matches!(domain_key(b"xn--bcher-kva.example"), std::borrow::Cow::Owned(_)));
}

/// Text in which what matters is frequent: separators, cases that change length, labels that IDNA
/// treats specially or refuses.
pub(crate) fn odd_text() -> impl Strategy<Value = String> {
    let piece = prop_oneof![
        4 => "[a-cA-C]{1,3}",
        2 => "[@.+*-]",
        1 => prop::sample::select(vec![
            "ü", "Ü", "ß", "ẞ", "İ", "ı", "Σ", "ς", "K", "ﬁ", "Ⅷ", "。", "．", "｡", "․", "⒈", "＠", "\u{ad}", "\u{200d}", "\u{200c}",
            "שלום", "1", "٣", "xn--", "XN--", "xn--bcher-kva", "xn--a", "xn---", "--", "_", " ", "\t", "\u{301}", "\u{308}",
        ])
        .prop_map(str::to_owned),
        1 => any::<char>().prop_map(String::from),
    ];
    vec(piece, 0..12).prop_map(|pieces| pieces.concat())
}

fn odd_bytes() -> impl Strategy<Value = Vec<u8>> {
    prop_oneof![
        3 => odd_text().prop_map(String::into_bytes),
        1 => vec(prop_oneof![any::<u8>(), prop::sample::select(b"@.A\xc3\xff".to_vec())], 0..80),
        1 => (odd_text(), any::<u8>(), odd_text())
            .prop_map(|(head, byte, tail)| [head.as_bytes(), &[byte], tail.as_bytes()].concat()),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(1024))]

    #[test]
    fn normalising_twice_changes_nothing(raw in odd_bytes()) {
        let once = AddressKey::new(&raw);
        let twice = AddressKey::new(once.as_bytes());
        prop_assert_eq!(&once, &twice);
        prop_assert_eq!(once.domain(), twice.domain());
        let domain = domain_key(&raw);
        prop_assert_eq!(&domain_key(&domain), &domain);
    }

    #[test]
    fn the_parts_make_up_the_whole(raw in odd_bytes()) {
        let key = AddressKey::new(&raw);
        let at = if raw.contains(&b'@') { "@" } else { "" };
        prop_assert_eq!(&[key.local_part(), at.as_bytes(), key.domain()].concat(), key.as_bytes());
        prop_assert!(!key.domain().contains(&b'@'));
    }

    #[test]
    fn ascii_case_never_matters(raw in odd_bytes()) {
        prop_assert_eq!(AddressKey::new(&raw), AddressKey::new(&raw.to_ascii_lowercase()));
        prop_assert_eq!(AddressKey::new(&raw), AddressKey::new(&raw.to_ascii_uppercase()));
    }

    #[test]
    fn a_subdomain_ends_in_its_parent(front in odd_bytes(), parent in odd_text()) {
        let whole = [&front[..], b".", parent.as_bytes()].concat();
        prop_assume!(!parent.trim_end_matches(DOTS).is_empty());
        let parent = domain_key(parent.as_bytes());
        prop_assert!(domain_key(&whole).ends_with(&parent));
    }

    #[test]
    fn an_extension_is_only_taken_off(raw in odd_bytes(), delimiters in "[+=-]{0,4}") {
        let key = AddressKey::new(&raw);
        let stripped = key.without_extension(delimiters.as_bytes());
        prop_assert_eq!(stripped.domain(), key.domain());
        prop_assert!(key.local_part().starts_with(stripped.local_part()));
        prop_assert_eq!(stripped.local_part().is_empty(), key.local_part().is_empty());
    }
}

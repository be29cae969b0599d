use proptest::prelude::*;

use super::super::key::tests::odd_text;
use super::*;

fn matches(rule: &str, address: &str) -> bool {
    let rule = AddressRule::parse(rule);
    let key = AddressKey::new(address.as_bytes());
    let found = AddressRule::candidates(&key).any(|candidate| candidate == (rule.form(), rule.text()));
    assert_eq!(rule.matches(&key), found, "{rule:?} and {address}: candidates differ from matches()");
    found
}

#[test]
fn each_form_matches_what_the_table_of_forms_says() {
    for (rule, yes, no) in [
        ("", &["ann@example.com", "", "ann"][..], &[][..]),
        ("ann@example.com", &["ann@example.com", "Ann@EXAMPLE.com"], &["joann@example.com", "ann@a.example.com", ""]),
        (
            "example.com",
            &["ann@example.com", "x@EXAMPLE.COM"],
            &["x@a.example.com", "x@notexample.com", "x@example.com.org", ""],
        ),
        ("@example.com", &["ann@example.com"], &["x@a.example.com", "example.com@x.org", ""]),
        (
            "*.mailer.net",
            &["x@a.mailer.net", "x@a.b.mailer.net", "a.b.mailer.net"],
            &["x@mailer.net", "x@amailer.net", "mailer.net", ""],
        ),
        (
            ".mailer.net",
            &["x@a.mailer.net", "x@a.b.mailer.net", "a.mailer.net"],
            &["x@mailer.net", "x@amailer.net", "x@.mailer.net"],
        ),
        (
            "postmaster@",
            &["postmaster@a.com", "POSTMASTER@b.org", "postmaster"],
            &["xpostmaster@a.com", "postmasterx@a.com", "x@postmaster", ""],
        ),
        ("top", &["x@a.top", "x@top", "x@a.b.TOP"], &["x@atop", "x@top.com", "top@x.com", "x", "top", ""]),
        ("*.", &[], &["x@a.com", "", "x@*.", "*."]),
        ("*", &[], &["x@a.com", "", "*", "x@*"]),
        ("@", &[], &["x@a.com", "", "@"]),
        (".", &[], &["x@a.com", "", "x@."]),
        ("@*", &[], &["x@a.com", "x@*"]),
        ("@.", &[], &["x@a.com"]),
        ("@*.", &[], &["x@a.com"]),
        ("*.*", &[], &["x@a.com", "x@a.*"]),
        (" ", &[], &["x@a.com", "", " "]),
        ("\t\n", &[], &["x@a.com", ""]),
    ] {
        for address in yes {
            assert!(matches(rule, address), "{rule} must match {address}");
        }
        for address in no {
            assert!(!matches(rule, address), "{rule} must not match {address}");
        }
    }
}

#[test]
fn domains_of_any_spelling_are_the_same() {
    for (rule, address) in [
        ("bücher.example", "x@xn--bcher-kva.example"),
        ("xn--bcher-kva.example", "x@BÜCHER.example"),
        ("*.bücher.example", "x@a.xn--bcher-kva.example"),
        (".XN--BCHER-KVA.example", "x@a.bücher.example"),
        ("*。bücher。example", "x@a.bücher.example"),
        ("ann@bücher.example", "Ann@xn--bcher-kva.example"),
        ("рф", "x@пример.рф"),
        ("xn--p1ai", "x@пример.рф"),
        ("example.com.", "x@example.com"),
        ("example.com", "x@example.com."),
        ("*.example.com", "x@a.example.com."),
        ("*.שלום.example", "x@1a.שלום.example"),
    ] {
        assert!(matches(rule, address), "{rule} must match {address}");
    }
}

#[test]
fn odd_but_ordinary_values_are_taken_literally() {
    for (rule, address) in [
        ("o'brien@example.com", "O'Brien@example.com"),
        ("a b@example.com", "a b@example.com"),
        ("a\"b\\c@x", "a\"b\\c@x"),
        ("user@inner@example.com", "user@inner@example.com"),
        ("user@inner@", "user@inner@example.com"),
        ("*@example.com", "*@example.com"),
        ("100%_@example.com", "100%_@example.com"),
        ("  ann@example.com\r\n", "ann@example.com"),
        ("ann@localhost", "ann@localhost"),
        ("@localhost", "ann@localhost"),
        (" @example.com\n", " @example.com"),
    ] {
        assert!(matches(rule, address), "{rule} must match {address}");
    }
    assert!(!matches("*@example.com", "ann@example.com"));
    assert!(!matches("@localhost", "ann@a.localhost"));
    assert!(!matches(" @example.com", "ann@example.com"));
    assert!(!matches("100%_@example.com", "100xx@example.com"));
    // Latin-1 in the local part of a sender hides its domain from no rule.
    assert!(AddressRule::parse("example.com").matches(&AddressKey::new(b"j\xf6rg@example.com")));
}

#[test]
fn forms_and_texts_are_what_an_index_needs() {
    for (rule, form, text, shown) in [
        ("", RuleForm::Everything, "", "(everything)"),
        ("Ann@Example.com", RuleForm::Address, "ann@example.com", "ann@example.com"),
        ("@Example.com", RuleForm::Domain, "example.com", "example.com"),
        ("@localhost", RuleForm::Domain, "localhost", "@localhost"),
        (".Example.com", RuleForm::Subdomains, "example.com", "*.example.com"),
        ("Ann@", RuleForm::LocalPart, "ann", "ann@"),
        ("Top", RuleForm::TopLevel, "top", "top"),
        ("*", RuleForm::Nothing, "", "(nothing)"),
        // A blank that nobody sees, from a web page.
        ("\u{ffa0}*.example.com", RuleForm::Subdomains, "example.com", "*.example.com"),
        ("\u{200b}*.example.com", RuleForm::Subdomains, "example.com", "*.example.com"),
    ] {
        let rule = AddressRule::parse(rule);
        assert_eq!((rule.form(), rule.text(), rule.to_string().as_str()), (form, text.as_bytes(), shown));
    }
}

#[test]
fn parent_domains_come_last_and_shortest_first() {
    let key = AddressKey::new(b"ann@a.b.example.com");
    let candidates: Vec<_> =
        AddressRule::candidates(&key).map(|(form, text)| (form, String::from_utf8_lossy(text).into_owned())).collect();
    let expected = [
        (RuleForm::Everything, ""),
        (RuleForm::Address, "ann@a.b.example.com"),
        (RuleForm::Domain, "a.b.example.com"),
        (RuleForm::LocalPart, "ann"),
        (RuleForm::TopLevel, "com"),
        (RuleForm::Subdomains, "com"),
        (RuleForm::Subdomains, "example.com"),
        (RuleForm::Subdomains, "b.example.com"),
    ];
    assert_eq!(candidates, expected.map(|(form, text)| (form, text.to_owned())));
    assert_eq!(AddressRule::candidates(&AddressKey::new(b"")).count(), 1);
}

/// The table of forms once more, as naively as it reads: by splitting into labels.
fn naive(rule: &str, address: &str) -> bool {
    let rule = rule.to_ascii_lowercase();
    let address = address.to_ascii_lowercase();
    let split = |text: &str| text.rsplit_once('@').map(|(local, domain)| (local.to_owned(), domain.to_owned()));
    let labels = |domain: &str| domain.split('.').map(str::to_owned).collect::<Vec<_>>();
    if rule.is_empty() {
        return true;
    }
    if address.is_empty() || ["*", "*.", ".", "@", "@*", "@*.", "@."].contains(&rule.as_str()) {
        return false;
    }
    let (local, domain) = split(&address).unwrap_or((address.clone(), address.clone()));
    let is_address = address.contains('@');
    match split(&rule) {
        Some((user, host)) if !user.is_empty() && !host.is_empty() => address == rule,
        Some((user, _)) if !user.is_empty() => local == user,
        bare => {
            let has_at = bare.is_some();
            let rule = rule.trim_start_matches('@');
            if let Some(parent) = rule.strip_prefix("*.").or(rule.strip_prefix('.')) {
                let (own, parent) = (labels(&domain), labels(parent));
                own.len() > parent.len() && own.ends_with(&parent)
            } else if has_at || rule.contains('.') {
                domain == rule
            } else {
                is_address && labels(&domain).last().is_some_and(|last| last == rule)
            }
        }
    }
}

fn name() -> impl Strategy<Value = String> {
    prop::collection::vec("[abAB]", 1..4).prop_map(|labels| labels.join("."))
}

fn plain_rule() -> impl Strategy<Value = String> {
    prop_oneof![
        (0..5_u8, name(), "[ab]").prop_map(|(form, name, user)| match form {
            0 => format!("{user}@{name}"),
            1 => format!("@{name}"),
            2 => format!("*.{name}"),
            3 => format!(".{name}"),
            _ => format!("{user}@"),
        }),
        name(),
        prop::sample::select(vec!["", "*", "*.", "@", ".", "a", "b"]).prop_map(str::to_owned),
    ]
}

fn plain_address() -> impl Strategy<Value = String> {
    prop_oneof![8 => ("[abAB]", name()).prop_map(|(user, name)| format!("{user}@{name}")), 1 => name(), 1 => Just(String::new())]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2048))]

    #[test]
    fn rules_match_as_the_table_reads(rule in plain_rule(), address in plain_address()) {
        prop_assert_eq!(matches(&rule, &address), naive(&rule, &address), "{} and {}", rule, address);
    }

    /// Of anything at all, a rule is found by its candidates exactly when it matches (checked in `matches`).
    #[test]
    fn an_index_finds_what_matches(rule in odd_text(), front in odd_text(), cut in 0..8_usize) {
        matches(&rule, &front);
        // An address that has a good chance to match.
        let tail = rule.char_indices().nth(cut).map_or("", |(at, _)| &rule[at..]);
        matches(&rule, &format!("{front}{tail}"));
    }

    #[test]
    fn a_rule_that_names_something_never_matches_everything(rule in odd_text()) {
        prop_assume!(!rule.is_empty());
        prop_assert!(!AddressRule::parse(&rule).matches(&AddressKey::new(b"")));
    }
}

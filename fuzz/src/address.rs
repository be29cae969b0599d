//! Addresses, the rules that match them, and endpoints. The first line is a rule, the rest an address.

use libvalvula::{AddressKey, AddressRule, Endpoint, RuleForm, domain_key};

use crate::input::{first_line, is_one_printable_line, text};

/// Domains that IDNA is given whole; longer ones are compared as they are.
const LONGEST: usize = 300;

/// Normal forms are their own normal forms; a rule matches exactly what its index would find; a rule reads
/// back from how it is shown; a domain in front never hides the domain behind it.
pub fn address(data: &[u8]) {
    let (column, raw) = first_line(data);
    let column = text(column);
    let key = AddressKey::new(raw);
    assert_eq!(AddressKey::new(key.as_bytes()), key, "normalising twice");
    assert!(is_one_printable_line(&key.to_string()));
    let at = raw.iter().rposition(|byte| *byte == b'@');
    match at {
        Some(at) => {
            assert_eq!(key.domain(), &*domain_key(&raw[at + 1..]));
            assert_eq!([key.local_part(), b"@", key.domain()].concat(), key.as_bytes());
            parents(&raw[at + 1..]);
        }
        None => assert_eq!(key.local_part(), key.as_bytes()),
    }
    for delimiters in [&b"+"[..], b"-+", b""] {
        let without = key.without_extension(delimiters);
        assert_eq!(without.domain(), key.domain());
        assert!(key.local_part().starts_with(without.local_part()));
        assert_eq!(without.without_extension(delimiters), without);
    }

    let rule = AddressRule::parse(&column);
    for address in [&key, &AddressKey::new(column.as_bytes())] {
        let found = AddressRule::candidates(address).any(|(form, text)| form == rule.form() && text == rule.text());
        assert_eq!(rule.matches(address), found, "{rule:?} and {address:?}");
    }
    assert_eq!(rule.form() == RuleForm::Everything, column.is_empty(), "{rule:?} of {column:?}");
    let shown = rule.to_string();
    assert!(is_one_printable_line(&shown));
    let is_plain = rule.text().iter().all(|byte| byte.is_ascii_graphic() && *byte != b'\\');
    if is_plain && !matches!(rule, AddressRule::Everything | AddressRule::Nothing) {
        assert_eq!(AddressRule::parse(&shown), rule, "read back from {shown:?}");
    }

    if let Ok(endpoint) = column.parse::<Endpoint>() {
        assert_eq!(endpoint.to_string().parse(), Ok(endpoint));
    }
}

/// The normal form of a domain ends in that of each domain above it.
fn parents(domain: &[u8]) {
    let whole = domain_key(domain);
    assert_eq!(domain_key(&whole), whole);
    if domain.len() > LONGEST {
        return;
    }
    for (dot, _) in domain.iter().enumerate().filter(|(_, byte)| **byte == b'.') {
        let parent = domain_key(&domain[dot + 1..]);
        // Nothing but the dot of the root, which the whole does not keep.
        if parent.iter().all(|byte| *byte == b'.') {
            continue;
        }
        assert!(whole.ends_with(&[b".", &parent[..]].concat()), "{whole:?} and {parent:?}");
    }
}

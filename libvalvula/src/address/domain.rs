//! The normal form of a domain: A-labels, lower case.
//!
//! Domains are equal when their normal forms are the same bytes. A domain that IDNA refuses (a wrong
//! `xn--` label, Latin-1 bytes) is no error here: it is compared as it is, without regard to case.

use std::borrow::Cow;

use idna::AsciiDenyList;

/// Longer domains are not given to IDNA: no name in DNS has more than 255 bytes, and one character of
/// it takes at most four bytes in UTF-8.
const LONGEST: usize = 1020;

/// The normal form of `domain`: without regard to case, in A-label form, without the dot of the root.
///
/// `example.com.` is `example.com`, as in Postfix; `example.com..` stays, as there. Borrowed when `domain`
/// is in normal form already. Normalising twice changes nothing.
pub fn domain_key(domain: &[u8]) -> Cow<'_, [u8]> {
    if domain.is_ascii() && !domain.split(|byte| *byte == b'.').any(is_a_label) {
        return match lower_ascii(domain) {
            Cow::Borrowed(lower) => Cow::Borrowed(without_root(lower)),
            Cow::Owned(lower) => Cow::Owned(owned_without_root(lower)),
        };
    }
    let lower = match a_labels(domain) {
        Some(normal) => return Cow::Owned(normal),
        None => lower_case(domain),
    };
    // Lower case may bring a refused domain within reach of IDNA; asking again makes the normal form of a
    // normal form itself.
    Cow::Owned(a_labels(&lower).unwrap_or_else(|| owned_without_root(lower.into_owned())))
}

/// `text` in lower case: by Unicode when it is UTF-8, else its ASCII letters.
pub(super) fn lower_case(text: &[u8]) -> Cow<'_, [u8]> {
    if text.is_ascii() {
        return lower_ascii(text);
    }
    match std::str::from_utf8(text) {
        Ok(text) => Cow::Owned(text.to_lowercase().into_bytes()),
        Err(_) => lower_ascii(text),
    }
}

fn lower_ascii(text: &[u8]) -> Cow<'_, [u8]> {
    if text.iter().any(u8::is_ascii_uppercase) { Cow::Owned(text.to_ascii_lowercase()) } else { Cow::Borrowed(text) }
}

fn is_a_label(label: &[u8]) -> bool {
    label.get(..4).is_some_and(|prefix| prefix.eq_ignore_ascii_case(b"xn--"))
}

/// `None` when IDNA refuses `domain`. The deny list keeps characters that stand for ASCII ones (a
/// full-width `@`) from becoming them.
fn a_labels(domain: &[u8]) -> Option<Vec<u8>> {
    if domain.len() > LONGEST {
        return None;
    }
    let normal = idna::domain_to_ascii_cow(domain, AsciiDenyList::URL).ok()?;
    Some(owned_without_root(normal.into_owned().into_bytes()))
}

/// Postfix drops one dot at the end, unless another dot or nothing stands before it.
fn without_root(domain: &[u8]) -> &[u8] {
    match domain {
        [rest @ .., b'.'] if rest.last().is_some_and(|last| *last != b'.') => rest,
        _ => domain,
    }
}

fn owned_without_root(mut domain: Vec<u8>) -> Vec<u8> {
    domain.truncate(without_root(&domain).len());
    domain
}

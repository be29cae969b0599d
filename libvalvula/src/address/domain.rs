//! The normal form of a domain: A-labels, lower case.
//!
//! Domains are equal when their normal forms are the same bytes. A label that IDNA refuses (a wrong `xn--`,
//! Latin-1 bytes) is no error here: it is compared as it is, without regard to case. Each label is taken
//! by itself, so that the normal form of a subdomain always ends in that of its parent, whatever a sender
//! writes in front.

use std::borrow::Cow;

use idna::AsciiDenyList;

/// Longer domains are not given to IDNA: no name in DNS has more than 255 bytes, and one character of
/// it takes at most four bytes in UTF-8.
const LONGEST: usize = 1020;

/// The full stops that UTS 46 takes for the dot between labels; the same as in [`first_label`].
pub(super) const DOTS: [char; 4] = ['.', '\u{3002}', '\u{ff0e}', '\u{ff61}'];

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
    let lower = lower_case(domain);
    if lower.len() > LONGEST {
        return Cow::Owned(owned_without_root(lower.into_owned()));
    }
    let mut key = Vec::with_capacity(2 * domain.len());
    let mut rest = domain;
    loop {
        let (label, dot) = first_label(rest);
        key.extend_from_slice(&label_key(label));
        if dot == 0 {
            return Cow::Owned(owned_without_root(key));
        }
        key.push(b'.');
        rest = &rest[label.len() + dot..];
    }
}

/// What stands before the first dot, and the length of that dot: 0 when there is none. Looks at bytes, so
/// that a label which is no UTF-8 does not hide the dots behind it.
fn first_label(domain: &[u8]) -> (&[u8], usize) {
    for at in 0..domain.len() {
        match &domain[at..] {
            [b'.', ..] => return (&domain[..at], 1),
            [0xe3, 0x80, 0x82, ..] | [0xef, 0xbc, 0x8e, ..] | [0xef, 0xbd, 0xa1, ..] => return (&domain[..at], 3),
            _ => {}
        }
    }
    (domain, 0)
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

fn label_key(label: &[u8]) -> Cow<'_, [u8]> {
    if label.is_ascii() && !is_a_label(label) {
        return lower_ascii(label);
    }
    if let Some(key) = a_label(label) {
        return Cow::Owned(key);
    }
    // Lower case may bring a refused label within reach of IDNA; asking again makes the normal form of a
    // normal form itself.
    let lower = lower_case(label);
    match a_label(&lower) {
        Some(key) => Cow::Owned(key),
        None => lower,
    }
}

fn is_a_label(label: &[u8]) -> bool {
    label.get(..4).is_some_and(|prefix| prefix.eq_ignore_ascii_case(b"xn--"))
}

/// `None` when IDNA refuses `label`, or would leave nothing of it. The deny list keeps characters that
/// stand for ASCII ones (a full-width `@`) from becoming them.
fn a_label(label: &[u8]) -> Option<Vec<u8>> {
    let key = idna::domain_to_ascii_cow(label, AsciiDenyList::URL).ok()?;
    (!key.is_empty()).then(|| key.into_owned().into_bytes())
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

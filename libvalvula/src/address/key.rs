//! The normal form of an address, in which addresses are compared.

use std::borrow::Borrow;
use std::fmt;
use std::hash::{Hash, Hasher};

use memchr::{memchr, memrchr};
use smallvec::SmallVec;

use super::domain::{domain_key, lower_case};
use crate::printable::Printable;

/// An address, sender, recipient or SASL user in normal form: without regard to case, its domain in
/// A-label form (see [`domain_key`](crate::domain_key)).
///
/// The domain is what follows the last `@`; local parts with blanks, quotes or `@` are ordinary ones, as
/// Postfix passes them on without their quotes. Equality, order and hash are those of
/// [`AddressKey::as_bytes`], so a map keyed by addresses can be asked with bytes. Addresses of up to 48
/// bytes need no allocation.
#[derive(Clone)]
pub struct AddressKey {
    text: SmallVec<[u8; 48]>,
    /// Where the last `@` is; as long as `text` when there is none.
    at: usize,
}

impl AddressKey {
    /// The normal form of `raw`. Normalising twice changes nothing.
    pub fn new(raw: &[u8]) -> Self {
        let Some(split) = memrchr(b'@', raw) else {
            let text = SmallVec::from_slice(&lower_case(raw));
            return Self { at: text.len(), text };
        };
        if is_normal(raw, &raw[split + 1..]) {
            return Self { text: SmallVec::from_slice(raw), at: split };
        }
        let mut text = SmallVec::from_slice(&lower_case(&raw[..split]));
        let at = text.len();
        text.push(b'@');
        text.extend_from_slice(&domain_key(&raw[split + 1..]));
        Self { text, at }
    }

    /// The whole normal form.
    pub fn as_bytes(&self) -> &[u8] {
        &self.text
    }

    /// What stands before the last `@`; everything when there is none.
    pub fn local_part(&self) -> &[u8] {
        &self.text[..self.at]
    }

    /// What follows the last `@`; empty when there is none.
    pub fn domain(&self) -> &[u8] {
        self.text.get(self.at + 1..).unwrap_or_default()
    }

    /// Whether there is a domain, that is an `@` with something behind it.
    pub fn has_domain(&self) -> bool {
        !self.domain().is_empty()
    }

    /// Whether there is an `@`.
    pub(super) fn has_at(&self) -> bool {
        self.at < self.text.len()
    }

    /// Whether it is the empty address, that is the sender of a bounce.
    pub fn is_empty(&self) -> bool {
        self.text.is_empty()
    }

    /// Without its extension, by Postfix's rules for `recipient_delimiter`: the local part ends at the
    /// first of the `delimiters`.
    ///
    /// Left as they are: a local part that would become empty; `postmaster`, `mailer-daemon` and
    /// `double-bounce`; and, when `-` is a delimiter, `owner-...` and `...-request`.
    pub fn without_extension(&self, delimiters: &[u8]) -> Self {
        let local = self.local_part();
        match first_of(delimiters, local) {
            None | Some(0) => self.clone(),
            Some(_) if is_never_split(local, delimiters) => self.clone(),
            Some(cut) => {
                let mut text = SmallVec::from_slice(&local[..cut]);
                text.extend_from_slice(&self.text[self.at..]);
                Self { text, at: cut }
            }
        }
    }
}

/// Whether nothing has to be done, as for nearly all addresses. Looks at each byte without a branch, which
/// the compiler makes vector instructions of; a domain with a hyphen may have an A-label.
fn is_normal(raw: &[u8], domain: &[u8]) -> bool {
    let is_odd = |byte: &u8| !byte.is_ascii() | byte.is_ascii_uppercase();
    !raw.iter().fold(false, |odd, byte| odd | is_odd(byte))
        && !domain.iter().fold(false, |hyphen, byte| hyphen | (*byte == b'-'))
        && domain.last() != Some(&b'.')
}

fn first_of(delimiters: &[u8], text: &[u8]) -> Option<usize> {
    match delimiters {
        [] => None,
        [only] => memchr(*only, text),
        several => text.iter().position(|byte| several.contains(byte)),
    }
}

fn is_never_split(local: &[u8], delimiters: &[u8]) -> bool {
    matches!(local, b"postmaster" | b"mailer-daemon" | b"double-bounce")
        || (delimiters.contains(&b'-')
            && (local.starts_with(b"owner-") || (local.len() > b"-request".len() && local.ends_with(b"-request"))))
}

impl PartialEq for AddressKey {
    fn eq(&self, other: &Self) -> bool {
        self.as_bytes() == other.as_bytes()
    }
}

impl Eq for AddressKey {}

impl PartialOrd for AddressKey {
    fn partial_cmp(&self, other: &Self) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for AddressKey {
    fn cmp(&self, other: &Self) -> std::cmp::Ordering {
        self.as_bytes().cmp(other.as_bytes())
    }
}

impl Hash for AddressKey {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.as_bytes().hash(state);
    }
}

impl Borrow<[u8]> for AddressKey {
    fn borrow(&self) -> &[u8] {
        self.as_bytes()
    }
}

impl AsRef<[u8]> for AddressKey {
    fn as_ref(&self) -> &[u8] {
        self.as_bytes()
    }
}

/// Printable on one line, whatever the address holds.
impl fmt::Display for AddressKey {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        Printable::new(self.as_bytes()).fmt(out)
    }
}

impl fmt::Debug for AddressKey {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "AddressKey({self})")
    }
}

#[cfg(test)]
pub(super) mod tests;

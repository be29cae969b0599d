//! The Postfix policy protocol.
use std::borrow::Cow;

/// What Postfix asks (placeholder until it lands).
#[derive(Debug)]
pub struct Request {}
/// What Postfix is told (placeholder until it lands).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Verdict {}
/// An address in normal form (placeholder until it lands).
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct AddressKey(Vec<u8>);
impl AddressKey {
    /// The normal form of `raw`.
    pub fn new(raw: &[u8]) -> Self {
        Self(raw.to_vec())
    }
    /// Whether it is the empty address.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
    /// What follows the last `@`; empty without one.
    pub fn domain(&self) -> &[u8] {
        &[]
    }
}
/// A domain in normal form.
pub fn domain_key(raw: &[u8]) -> Cow<'_, [u8]> {
    Cow::Borrowed(raw)
}

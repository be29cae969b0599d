//! Address rules: what one column of a rule table matches.
//!
//! Reading a rule never fails. A form that is too broad to be meant (`*`, `@`) matches nothing, and
//! whoever loads the rule says so once with its id.
//!
//! To find the rules that match an address among a million of them, index them by [`AddressRule::form`] and
//! [`AddressRule::text`] and look up each of [`AddressRule::candidates`].

use std::fmt;

use memchr::memrchr;

use super::domain::{DOTS, domain_key};
use super::key::AddressKey;
use crate::printable::Printable;

/// What one rule column matches.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum AddressRule {
    /// An empty column: every address, the empty one too.
    Everything,
    /// `user@domain`: that address.
    Address(AddressKey),
    /// `domain` or `@domain`: that domain without its subdomains.
    Domain(Box<[u8]>),
    /// `*.domain` or `.domain`: every subdomain at any depth, not the domain itself.
    Subdomains(Box<[u8]>),
    /// `user@`: that whole local part in any domain.
    LocalPart(Box<[u8]>),
    /// `tld`: every address whose domain's last label is that.
    TopLevel(Box<[u8]>),
    /// `*`, `*.`, `.`, `@`: too broad to be meant. No address.
    Nothing,
}

/// The form of a rule, without its text.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
#[repr(u8)]
pub enum RuleForm {
    /// [`AddressRule::Everything`]
    Everything,
    /// [`AddressRule::Address`]
    Address,
    /// [`AddressRule::Domain`]
    Domain,
    /// [`AddressRule::Subdomains`]
    Subdomains,
    /// [`AddressRule::LocalPart`]
    LocalPart,
    /// [`AddressRule::TopLevel`]
    TopLevel,
    /// [`AddressRule::Nothing`]
    Nothing,
}

impl AddressRule {
    /// Reads a rule column; NULL is the empty text.
    ///
    /// White space around the rule is dropped, it can only have been left there by mistake; except in
    /// front of `@`, where it is a local part of blanks (`" "@example.com` in SMTP), for the rule would mean a
    /// whole domain without it. A column of nothing but white space is no empty one, and matches nothing.
    pub fn parse(column: &str) -> Self {
        if column.is_empty() {
            return Self::Everything;
        }
        let rule = column.trim_ascii();
        let rule = if rule.starts_with('@') { column.trim_ascii_end() } else { rule };
        match rule.rfind('@') {
            Some(at) if at > 0 => {
                let key = AddressKey::new(rule.as_bytes());
                if key.has_domain() { Self::Address(key) } else { Self::LocalPart(key.local_part().into()) }
            }
            Some(_) => Self::domain(&rule[1..], Self::Domain),
            None if rule.contains(DOTS) => Self::domain(rule, Self::Domain),
            None => Self::domain(rule, Self::TopLevel),
        }
    }

    /// A rule without a local part; `plain` is what it is when it names no subdomains.
    fn domain(rule: &str, plain: fn(Box<[u8]>) -> Self) -> Self {
        // The prefix is taken off before the rest is normalised: an asterisk is no label.
        let parent = rule.strip_prefix('*').unwrap_or(rule);
        let parent = parent.strip_prefix(DOTS);
        let name = domain_key(parent.unwrap_or(rule).as_bytes());
        if !is_name(&name) {
            return Self::Nothing;
        }
        match (parent, name.strip_prefix(b"*.").filter(|rest| is_name(rest))) {
            (Some(_), _) => Self::Subdomains(name.into()),
            // Something invisible stood before the asterisk, and IDNA dropped it: what is left is what was
            // meant, and what the rule is shown as.
            (None, Some(parent)) => Self::Subdomains(parent.into()),
            (None, None) => plain(name.into()),
        }
    }

    /// Whether `address` is one that the rule means.
    ///
    /// A value without `@` is a bare domain to [`AddressRule::Domain`] and [`AddressRule::Subdomains`], a
    /// local part to [`AddressRule::LocalPart`] (Postfix lets a bare `postmaster` through, and delivers it in
    /// `$myorigin`), and nothing to [`AddressRule::TopLevel`]. Give a bare domain in normal form
    /// ([`domain_key`](crate::domain_key)).
    pub fn matches(&self, address: &AddressKey) -> bool {
        match self {
            Self::Everything => true,
            Self::Nothing => false,
            Self::Address(key) => address == key,
            Self::Domain(name) => domain_of(address) == &name[..],
            Self::Subdomains(parent) => domain_of(address)
                .strip_suffix(&parent[..])
                .is_some_and(|labels| labels.len() > 1 && labels.ends_with(b".")),
            Self::LocalPart(local) => address.local_part() == &local[..],
            Self::TopLevel(label) => address.has_domain() && last_label(address.domain()) == &label[..],
        }
    }

    /// Its form.
    pub fn form(&self) -> RuleForm {
        match self {
            Self::Everything => RuleForm::Everything,
            Self::Address(_) => RuleForm::Address,
            Self::Domain(_) => RuleForm::Domain,
            Self::Subdomains(_) => RuleForm::Subdomains,
            Self::LocalPart(_) => RuleForm::LocalPart,
            Self::TopLevel(_) => RuleForm::TopLevel,
            Self::Nothing => RuleForm::Nothing,
        }
    }

    /// Its text in normal form, without what only marks the form: the address, domain, local part or
    /// label; empty for [`AddressRule::Everything`] and [`AddressRule::Nothing`].
    pub fn text(&self) -> &[u8] {
        match self {
            Self::Address(key) => key.as_bytes(),
            Self::Domain(text) | Self::Subdomains(text) | Self::LocalPart(text) | Self::TopLevel(text) => text,
            Self::Everything | Self::Nothing => &[],
        }
    }

    /// Form and text of every rule that matches `address`: a rule matches exactly when it is among them.
    ///
    /// [`RuleForm::Subdomains`] come last, the shortest parent domain first, so that an index which knows
    /// the length of its longest rule can stop there.
    pub fn candidates(address: &AddressKey) -> Candidates<'_> {
        Candidates { address, step: 0, parent: domain_of(address).len() }
    }
}

/// The domain that domain rules are held against.
fn domain_of(address: &AddressKey) -> &[u8] {
    if address.has_at() { address.domain() } else { address.as_bytes() }
}

fn last_label(domain: &[u8]) -> &[u8] {
    memrchr(b'.', domain).map_or(domain, |dot| &domain[dot + 1..])
}

/// What [`AddressRule::candidates`] gives.
#[derive(Debug, Clone)]
pub struct Candidates<'a> {
    address: &'a AddressKey,
    step: u8,
    /// Where the parent domain begins that was given last, in the domain; at first its end.
    parent: usize,
}

impl<'a> Iterator for Candidates<'a> {
    type Item = (RuleForm, &'a [u8]);

    fn next(&mut self) -> Option<Self::Item> {
        let address = self.address;
        loop {
            self.step = self.step.saturating_add(1);
            match self.step {
                1 => return Some((RuleForm::Everything, &[])),
                2 if has_address_form(address) => return Some((RuleForm::Address, address.as_bytes())),
                3 if is_name(domain_of(address)) => return Some((RuleForm::Domain, domain_of(address))),
                4 if !address.local_part().is_empty() => {
                    return Some((RuleForm::LocalPart, address.local_part()));
                }
                5 if address.has_domain() && is_name(last_label(address.domain())) => {
                    return Some((RuleForm::TopLevel, last_label(address.domain())));
                }
                0..=5 => {}
                _ => return self.next_parent(),
            }
        }
    }
}

impl<'a> Candidates<'a> {
    fn next_parent(&mut self) -> Option<(RuleForm, &'a [u8])> {
        let domain = domain_of(self.address);
        loop {
            let dot = memrchr(b'.', &domain[..self.parent])?;
            self.parent = dot;
            let parent = &domain[dot + 1..];
            if dot > 0 && is_name(parent) {
                return Some((RuleForm::Subdomains, parent));
            }
        }
    }
}

/// Whether a rule of the form [`RuleForm::Address`] can have this text.
fn has_address_form(address: &AddressKey) -> bool {
    address.has_domain() && !address.local_part().is_empty()
}

/// Whether a rule can name this domain or label: it is not empty and not only dots and asterisks.
fn is_name(domain: &[u8]) -> bool {
    !domain.iter().all(|byte| matches!(byte, b'.' | b'*'))
}

/// The rule in its shortest spelling; [`AddressRule::Everything`] shows as `(everything)` and
/// [`AddressRule::Nothing`] as `(nothing)`.
impl fmt::Display for AddressRule {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        let text = Printable::new(self.text());
        match self {
            Self::Everything => out.write_str("(everything)"),
            Self::Nothing => out.write_str("(nothing)"),
            Self::Address(_) | Self::TopLevel(_) => write!(out, "{text}"),
            Self::Domain(name) if name.contains(&b'.') => write!(out, "{text}"),
            Self::Domain(_) => write!(out, "@{text}"),
            Self::Subdomains(_) => write!(out, "*.{text}"),
            Self::LocalPart(_) => write!(out, "{text}@"),
        }
    }
}

#[cfg(test)]
mod tests;

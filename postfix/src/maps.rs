//! Addresses in maps: `virtual_mailbox_maps`, `virtual_alias_maps`, `local_recipient_maps` and their like.
//!
//! A parameter names several tables; for one key they are asked in their order and the first that has it
//! answers. For one address several keys are asked: `user+ext@domain`, `user@domain`, then, when the
//! domain is one whose users are known by their bare names, `user+ext` and `user`, then `@domain`.
//! A table of patterns is asked for the whole address only.

use std::sync::Arc;

use crate::answer::{Evidence, Outcome, Verdict};
use crate::list::split_list;
use crate::tables::{Table, Tables};

/// The tables of one parameter.
#[derive(Debug)]
pub(crate) struct Maps {
    parameter: String,
    tables: Vec<Arc<Table>>,
}

/// An address as it is searched for.
#[derive(Debug, Clone)]
pub(crate) struct Wanted<'a> {
    /// The local part, unquoted.
    pub local: &'a [u8],
    /// The spellings of the domain: its normal form, then with Unicode labels if that differs.
    pub domains: &'a [Vec<u8>],
    /// Whether the domain's users are asked for by their bare names too: `$myorigin`, `mydestination`.
    pub bare_names: Verdict,
    /// `recipient_delimiter`.
    pub delimiters: &'a [u8],
    /// `owner_request_special`: `owner-x` and `x-request` keep their hyphens.
    pub owner_request_special: bool,
}

/// A key, and whether only tables of fixed keys are asked for it.
struct Key {
    text: Vec<u8>,
    partial: bool,
}

impl Maps {
    /// The tables that the expanded value of `parameter` names.
    pub fn parse(parameter: &str, value: &str, tables: &Tables) -> Self {
        let tables = split_list(value).into_iter().map(|word| tables.open(word)).collect();
        Self { parameter: parameter.to_owned(), tables }
    }

    /// Whether no table is named.
    pub fn is_empty(&self) -> bool {
        self.tables.is_empty()
    }

    /// Does a table have the address? A table that has it is enough, whatever happens to the others.
    pub async fn has(&self, wanted: &Wanted<'_>, evidence: &mut Evidence) -> Verdict {
        let mut failed = Vec::new();
        for key in wanted.all_keys() {
            if self.find_key(&key, &mut failed, evidence).await.is_some() {
                return Verdict::Yes;
            }
        }
        if wanted.bare_names == Verdict::CouldNotAsk {
            // The bare names count if the domain turns out to be in mydestination, which is not known.
            for key in wanted.bare_keys() {
                if self.find_key(&key, &mut failed, evidence).await.is_some() {
                    return Verdict::CouldNotAsk;
                }
            }
        }
        self.nothing_found(wanted, &failed, evidence)
    }

    /// The value of the first key that a table has. `Err`: something failed before it; the evidence says what.
    pub async fn find(&self, wanted: &Wanted<'_>, evidence: &mut Evidence) -> Result<Option<Vec<u8>>, ()> {
        let mut failed = Vec::new();
        for key in wanted.all_keys() {
            let value = self.find_key(&key, &mut failed, evidence).await;
            if !failed.is_empty() || (value.is_some() && wanted.bare_names == Verdict::CouldNotAsk) {
                return Err(());
            }
            if value.is_some() {
                return Ok(value);
            }
        }
        match self.nothing_found(wanted, &failed, evidence) {
            Verdict::CouldNotAsk => Err(()),
            _ if wanted.bare_names == Verdict::CouldNotAsk && !self.tables.is_empty() => Err(()),
            _ => Ok(None),
        }
    }

    fn nothing_found(&self, wanted: &Wanted<'_>, failed: &[usize], evidence: &mut Evidence) -> Verdict {
        if !failed.is_empty() {
            return Verdict::CouldNotAsk;
        }
        if !self.tables.is_empty() {
            let domain = wanted.domains.first().map(Vec::as_slice).unwrap_or_default();
            evidence.push(&self.parameter, "", &[wanted.local, b"@", domain].concat(), Outcome::HasNot);
        }
        Verdict::No
    }

    /// The value of `key` in the first table that has it. A table that fails is noted in `failed` and not
    /// asked again: one that hangs costs its time limit once, not once for each key.
    async fn find_key(&self, key: &Key, failed: &mut Vec<usize>, evidence: &mut Evidence) -> Option<Vec<u8>> {
        for (index, table) in self.tables.iter().enumerate() {
            if (key.partial && !table.is_fixed()) || failed.contains(&index) {
                continue;
            }
            let failure = match table.get(&key.text).await {
                Ok(None) => continue,
                // As Postfix has it: "nothing" must be said by finding nothing.
                Ok(Some(value)) if value.is_empty() => "it answers with an empty value".to_owned(),
                Ok(Some(value)) => {
                    evidence.push(&self.parameter, table.name(), &key.text, Outcome::Has);
                    return Some(value);
                }
                Err(error) => error.to_string(),
            };
            failed.push(index);
            evidence.push(&self.parameter, table.name(), &key.text, Outcome::Failed(failure));
        }
        None
    }
}

impl Wanted<'_> {
    fn all_keys(&self) -> Vec<Key> {
        self.domains.iter().flat_map(|domain| self.keys(domain)).collect()
    }

    fn keys(&self, domain: &[u8]) -> Vec<Key> {
        let at = |local: &[u8]| [local, b"@", domain].concat();
        let mut keys = Vec::new();
        let stripped = self.stripped();
        for local in spellings(self.local) {
            keys.push(Key { text: at(&local), partial: false });
        }
        for local in stripped.into_iter().flat_map(spellings) {
            keys.push(Key { text: at(&local), partial: true });
        }
        if self.bare_names == Verdict::Yes {
            keys.extend(self.bare_keys());
        }
        keys.push(Key { text: at(b""), partial: true });
        keys
    }

    fn bare_keys(&self) -> Vec<Key> {
        let locals = spellings(self.local).into_iter().chain(self.stripped().into_iter().flat_map(spellings));
        locals.map(|text| Key { text, partial: true }).collect()
    }

    /// The local part without its extension, if it has one.
    fn stripped(&self) -> Option<&[u8]> {
        strip_extension(self.local, self.delimiters, self.owner_request_special)
    }
}

/// `user` of `user+ext`. Nothing is stripped of `postmaster`, `mailer-daemon` and `double-bounce`; nor,
/// where `-` is a delimiter and `owner_request_special` is on, of `owner-list` and `list-request`.
pub(crate) fn strip_extension<'a>(local: &'a [u8], delimiters: &[u8], owner_request_special: bool) -> Option<&'a [u8]> {
    let whole: [&[u8]; 3] = [b"postmaster", b"mailer-daemon", b"double-bounce"];
    if whole.iter().any(|name| local.eq_ignore_ascii_case(name)) {
        return None;
    }
    if owner_request_special && delimiters.contains(&b'-') {
        let lower = local.to_ascii_lowercase();
        if lower.starts_with(b"owner-") || lower.ends_with(b"-request") {
            return None;
        }
    }
    let end = local.iter().position(|byte| delimiters.contains(byte))?;
    (end > 0).then(|| &local[..end])
}

/// A local part as it stands in tables: quoted where RFC 822 wants quotes, then as it is.
fn spellings(local: &[u8]) -> Vec<Vec<u8>> {
    match quoted(local) {
        Some(quoted) => vec![quoted, local.to_vec()],
        None => vec![local.to_vec()],
    }
}

/// The quoted form of a local part that is not a dot-atom.
fn quoted(local: &[u8]) -> Option<Vec<u8>> {
    let plain = |byte: &u8| byte.is_ascii_alphanumeric() || *byte >= 0x80 || b"!#$%&'*+-/=?^_`{|}~.".contains(byte);
    let dots = local.first() == Some(&b'.') || local.last() == Some(&b'.') || local.windows(2).any(|two| two == b"..");
    if local.iter().all(plain) && !dots && !local.is_empty() {
        return None;
    }
    let mut quoted = vec![b'"'];
    for byte in local {
        if matches!(byte, b'"' | b'\\' | b'\r') {
            quoted.push(b'\\');
        }
        quoted.push(*byte);
    }
    quoted.push(b'"');
    Some(quoted)
}

#[cfg(test)]
#[path = "maps_tests.rs"]
mod tests;

//! The domains and addresses that our own configuration adds to Postfix's.

use std::collections::{BTreeSet, HashMap};
use std::path::{Path, PathBuf};

use libvalvula::{AddressKey, domain_key};

use crate::answer::{Evidence, Outcome, Verdict};
use crate::fault::Fault;
use crate::lines::text_of;
use crate::maps::strip_extension;

/// Names of our own configuration, by their normal form; the value is where they stand.
#[derive(Debug, Default)]
pub(crate) struct Own {
    domains: Source,
    addresses: Source,
}

#[derive(Debug, Default)]
struct Source {
    names: HashMap<Vec<u8>, String>,
    unreadable: Vec<(PathBuf, String)>,
}

const DOMAINS: &str = "local_domains";
const ADDRESSES: &str = "local_addresses";

impl Own {
    /// Reads the entries and the files that they name.
    pub fn read(
        domains: &[String],
        addresses: &[String],
        files: &mut BTreeSet<PathBuf>,
        faults: &mut Vec<Fault>,
    ) -> Self {
        let domain = |name: &str| domain_key(name.as_bytes()).into_owned();
        let address = |name: &str| AddressKey::new(name.as_bytes()).as_bytes().to_vec();
        Self {
            domains: Source::read(DOMAINS, domains, &domain, files, faults),
            addresses: Source::read(ADDRESSES, addresses, &address, files, faults),
        }
    }

    /// Whether `local_addresses` says anything.
    pub fn has_addresses(&self) -> bool {
        !self.addresses.names.is_empty() || !self.addresses.unreadable.is_empty()
    }

    /// Is `domain` (in normal form) in `local_domains`?
    pub fn domain(&self, domain: &[u8], evidence: &mut Evidence) -> Verdict {
        self.domains.has(DOMAINS, &[domain], evidence)
    }

    /// Is the address in `local_addresses`, as it is, without its extension, or by its domain?
    pub fn address(&self, local: &[u8], domain: &[u8], delimiters: &[u8], evidence: &mut Evidence) -> Verdict {
        let at = |local: &[u8]| [local, b"@", domain].concat();
        let mut keys = vec![at(local)];
        keys.extend(strip_extension(local, delimiters, true).map(at));
        keys.push(at(b""));
        let keys: Vec<_> = keys.iter().map(Vec::as_slice).collect();
        self.addresses.has(ADDRESSES, &keys, evidence)
    }
}

impl Source {
    fn read(
        key: &str,
        entries: &[String],
        normal: &dyn Fn(&str) -> Vec<u8>,
        files: &mut BTreeSet<PathBuf>,
        faults: &mut Vec<Fault>,
    ) -> Self {
        let mut source = Self::default();
        for entry in entries.iter().map(|entry| entry.trim()) {
            if !entry.starts_with('/') {
                source.names.insert(normal(entry), String::new());
                continue;
            }
            let file = Path::new(entry);
            files.insert(file.to_owned());
            match std::fs::read(file) {
                Ok(bytes) => source.read_file(entry, &text_of(&bytes), normal),
                Err(error) => {
                    faults.push(Fault::of_file(file, format!("named by {key}: {error}")));
                    source.unreadable.push((file.to_owned(), error.to_string()));
                }
            }
        }
        source
    }

    fn read_file(&mut self, file: &str, text: &str, normal: &dyn Fn(&str) -> Vec<u8>) {
        for line in text.lines() {
            let name = line.split('#').next().unwrap_or_default().trim();
            if !name.is_empty() {
                self.names.entry(normal(name)).or_insert_with(|| file.to_owned());
            }
        }
    }

    fn has(&self, key: &str, names: &[&[u8]], evidence: &mut Evidence) -> Verdict {
        if let Some((name, place)) = names.iter().find_map(|name| self.names.get_key_value(*name)) {
            evidence.push(key, place.as_str(), name, Outcome::Has);
            return Verdict::Yes;
        }
        for (file, why) in &self.unreadable {
            evidence.push(key, file.to_string_lossy(), names[0], Outcome::Failed(why.clone()));
        }
        if self.unreadable.is_empty() { Verdict::No } else { Verdict::CouldNotAsk }
    }
}

//! Match lists: `mydestination`, `virtual_mailbox_domains`, `relay_domains` and their like.
//!
//! Patterns are separated by commas and white space, `{ }` holds a pattern together. They are tried from
//! left to right and the first that matches decides: yes, or no when it begins with `!`. A pattern is a
//! name, `/file/name` (replaced by the patterns in it), or `type:table`, which matches when the table has
//! the key. `relay_domains` and others of `parent_domain_matches_subdomains` also take subdomains.
//!
//! A pattern that could not be asked leaves the list undecided, except where every answer it could have
//! given leads to the same end.

use std::collections::{BTreeSet, HashMap};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use libvalvula::domain_key;

use crate::answer::{Evidence, Outcome, Verdict};
use crate::fault::Fault;
use crate::lines::text_of;
use crate::tables::{Table, Tables};

/// How a name is compared with the patterns.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Subdomains {
    /// Exact names only.
    None,
    /// `example.com` also matches its subdomains.
    Parent,
    /// `.example.com` matches the subdomains of `example.com`.
    DotParent,
}

/// A parsed match list.
#[derive(Debug)]
pub struct MatchList {
    parameter: String,
    subdomains: Subdomains,
    patterns: Vec<Pattern>,
}

#[derive(Debug)]
enum Pattern {
    /// Names side by side, all of them plain or all of them negated.
    Names {
        negated: bool,
        names: HashMap<Vec<u8>, String>,
    },
    Table {
        negated: bool,
        table: Arc<Table>,
    },
    /// A file that could not be read.
    Unreadable {
        negated: bool,
        file: PathBuf,
        why: String,
    },
}

/// What a list's reading leaves besides the list.
#[derive(Debug, Default)]
pub struct Reading {
    /// Files that were read, or would have been.
    pub files: BTreeSet<PathBuf>,
    /// What is odd about a pattern.
    pub faults: Vec<Fault>,
}

impl MatchList {
    /// Parses the expanded value of `parameter`.
    pub fn parse(parameter: &str, value: &str, subdomains: Subdomains, tables: &Tables, reading: &mut Reading) -> Self {
        let mut list = Self { parameter: parameter.to_owned(), subdomains, patterns: Vec::new() };
        list.add(value, false, 0, tables, reading);
        list
    }

    fn add(&mut self, value: &str, negated: bool, depth: usize, tables: &Tables, reading: &mut Reading) {
        for word in split_list(value) {
            if word.starts_with('#') {
                // Postfix ends the list here, with a warning.
                break;
            }
            let item = word.trim_start_matches('!');
            let negated = negated ^ ((word.len() - item.len()) % 2 == 1);
            if item.starts_with('/') {
                self.add_file(Path::new(item), negated, depth, tables, reading);
            } else if item.contains(':') && !item.starts_with('[') {
                self.patterns.push(Pattern::Table { negated, table: tables.open(item) });
            } else {
                self.add_name(item, negated);
            }
        }
    }

    fn add_file(&mut self, file: &Path, negated: bool, depth: usize, tables: &Tables, reading: &mut Reading) {
        reading.files.insert(file.to_owned());
        let read = if depth < MAX_FILE_DEPTH {
            std::fs::read(file).map_err(|error| error.to_string())
        } else {
            Err("files name files too deeply".to_owned())
        };
        match read {
            Ok(bytes) => {
                for line in text_of(&bytes).lines().filter(|line| !line.starts_with('#')) {
                    self.add(line, negated, depth + 1, tables, reading);
                }
            }
            Err(why) => {
                reading.faults.push(Fault::of_file(file, format!("named by {}: {why}", self.parameter)));
                self.patterns.push(Pattern::Unreadable { negated, file: file.to_owned(), why });
            }
        }
    }

    fn add_name(&mut self, name: &str, negated: bool) {
        let key = domain_key(name.as_bytes()).into_owned();
        match self.patterns.last_mut() {
            Some(Pattern::Names { negated: known, names }) if *known == negated => {
                names.entry(key).or_insert_with(|| name.to_owned());
            }
            _ => {
                let names = HashMap::from([(key, name.to_owned())]);
                self.patterns.push(Pattern::Names { negated, names });
            }
        }
    }

    /// Whether the list has no pattern at all.
    pub fn is_empty(&self) -> bool {
        self.patterns.is_empty()
    }

    /// Does the list match? `names` are the spellings of one name: its normal form first, then the one
    /// with Unicode labels if that differs.
    pub async fn matches(&self, names: &[Vec<u8>], evidence: &mut Evidence) -> Verdict {
        // What a pattern that failed would have said, had it matched.
        let (mut maybe_yes, mut maybe_no) = (false, false);
        let Some(name) = names.first() else { return Verdict::No };
        for pattern in &self.patterns {
            let (hit, negated) = match pattern {
                Pattern::Names { negated, names } => (self.named(names, name).map(|entry| (entry, name)), *negated),
                Pattern::Table { negated, table } => match self.asked(table, names).await {
                    Ok(Some(key)) => (Some((table.name(), key)), *negated),
                    Ok(None) => (None, *negated),
                    Err((key, why)) => {
                        evidence.push(&self.parameter, table.name(), &key, Outcome::Failed(why));
                        *(if *negated { &mut maybe_no } else { &mut maybe_yes }) = true;
                        continue;
                    }
                },
                Pattern::Unreadable { negated, file, why } => {
                    evidence.push(&self.parameter, file.to_string_lossy(), name, Outcome::Failed(why.clone()));
                    *(if *negated { &mut maybe_no } else { &mut maybe_yes }) = true;
                    continue;
                }
            };
            if let Some((entry, key)) = hit {
                let undecided = if negated { maybe_yes } else { maybe_no };
                let outcome = if negated { Outcome::Excludes } else { Outcome::Has };
                evidence.push(&self.parameter, entry, key, outcome);
                return match (undecided, negated) {
                    (true, _) => Verdict::CouldNotAsk,
                    (false, false) => Verdict::Yes,
                    (false, true) => Verdict::No,
                };
            }
        }
        if maybe_yes {
            return Verdict::CouldNotAsk;
        }
        if !maybe_no {
            evidence.push(&self.parameter, "", name, Outcome::HasNot);
        }
        Verdict::No
    }

    fn named<'a>(&self, names: &'a HashMap<Vec<u8>, String>, name: &[u8]) -> Option<&'a str> {
        if let Some(entry) = names.get(name) {
            return Some(entry);
        }
        match self.subdomains {
            Subdomains::None => None,
            Subdomains::Parent => parents(name).find_map(|parent| names.get(&parent[1..])),
            Subdomains::DotParent => parents(name).find_map(|parent| names.get(parent)),
        }
        .map(String::as_str)
    }

    /// The key that `table` has, of all that the name stands for.
    async fn asked<'n>(&self, table: &Table, names: &'n [Vec<u8>]) -> Result<Option<&'n Vec<u8>>, (Vec<u8>, String)> {
        for name in names {
            let mut keys = vec![name.as_slice()];
            if table.is_fixed() {
                match self.subdomains {
                    Subdomains::None => {}
                    Subdomains::Parent => keys.extend(parents(name).map(|parent| &parent[1..])),
                    Subdomains::DotParent => keys.extend(parents(name)),
                }
            }
            for key in keys {
                match table.get(key).await {
                    Ok(Some(_)) => return Ok(Some(name)),
                    Ok(None) => {}
                    Err(error) => return Err((key.to_vec(), error.to_string())),
                }
            }
        }
        Ok(None)
    }
}

/// How deeply a pattern file may name pattern files.
const MAX_FILE_DEPTH: usize = 10;

/// The parent domains of `name`, each with its leading dot: `.example.com`, `.com`.
fn parents(name: &[u8]) -> impl Iterator<Item = &[u8]> {
    name.iter().enumerate().skip(1).filter(|(_, byte)| **byte == b'.').map(move |(index, _)| &name[index..])
}

/// The words of a list: separated by commas and white space, `{ }` holds together what is inside.
pub fn split_list(value: &str) -> Vec<&str> {
    let is_separator = |byte: u8| matches!(byte, b',' | b' ' | b'\t' | b'\r' | b'\n');
    let bytes = value.as_bytes();
    let mut words = Vec::new();
    let mut at = 0;
    while at < bytes.len() {
        if is_separator(bytes[at]) {
            at += 1;
            continue;
        }
        let begin = at;
        let mut depth = 0usize;
        while at < bytes.len() && (depth > 0 || !is_separator(bytes[at])) {
            match bytes[at] {
                b'{' => depth += 1,
                b'}' => depth = depth.saturating_sub(1),
                _ => {}
            }
            at += 1;
        }
        words.push(&value[begin..at]);
    }
    words
}

/// Whether a `{` of the list has no `}`: all that is written behind it would belong to its word.
pub(crate) fn is_unclosed(value: &str) -> bool {
    let depth = |depth: usize, byte| match byte {
        b'{' => depth + 1,
        b'}' => depth.saturating_sub(1),
        _ => depth,
    };
    split_list(value).last().is_some_and(|word| word.bytes().fold(0, depth) > 0)
}

#[cfg(test)]
#[path = "list_tests.rs"]
mod tests;

#[cfg(test)]
#[path = "list_properties.rs"]
mod properties;

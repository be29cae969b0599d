//! What is written in one go: rows of counters, gathered from the shards.

use std::sync::Arc;

use super::book::Limits;
use super::counter::{Counter, UNLIMITED, WINDOWS};

/// The longest name that is stored as it is, in bytes; every database can index that much.
pub const LONGEST_NAME: usize = 512;

/// One counter's change on its way to the database.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Row {
    /// Kind, see [`super::book::Key`].
    pub kind: u8,
    /// Name in memory; [`stored_name`] is what stands in the database.
    pub name: Arc<[u8]>,
    /// By window: when it began, and what is to be added.
    pub windows: [(i64, i64); WINDOWS],
    /// By window: what must not be passed by adding. [`UNLIMITED`]: add in any case.
    pub caps: Limits,
    /// When the last window closes.
    pub closes: i64,
    /// That is later than what is stored says.
    pub is_longer: bool,
}

impl Row {
    /// The change of `counter` since it was last taken, to be added in any case.
    pub fn of(kind: u8, name: Arc<[u8]>, counter: &Counter) -> Self {
        let windows = counter.tallies.map(|tally| (tally.from, tally.unwritten));
        let is_longer = counter.closes > counter.stored_closes;
        Self { is_longer, ..Self::added(kind, name, windows, counter.closes) }
    }

    /// The change `windows`, to be added in any case.
    pub fn added(kind: u8, name: Arc<[u8]>, windows: [(i64, i64); WINDOWS], closes: i64) -> Self {
        Self { kind, name, windows, caps: [UNLIMITED; WINDOWS], closes, is_longer: true }
    }
}

/// Rows that are written by one statement, with a number by which the writer knows whether they were.
#[derive(Debug, Clone)]
pub struct Batch {
    /// The writer's how-manieth batch this is.
    pub sequence: i64,
    /// Which entry of the journal it is to be; `None`: it is added to the counters' table at once.
    pub number: Option<i64>,
    /// The rows, each key once; those for the counters' table in the order of keys: two daemons that lock the
    /// same rows lock them in the same order.
    pub rows: Vec<Row>,
}

impl Batch {
    /// A batch of `rows` for the counters' table.
    pub fn new(sequence: i64, mut rows: Vec<Row>) -> Self {
        sort(&mut rows);
        Self { sequence, number: None, rows }
    }

    /// A batch of `rows` that is to be entry `number` of the journal.
    pub fn entry(sequence: i64, number: i64, rows: Vec<Row>) -> Self {
        Self { sequence, number: Some(number), rows }
    }
}

/// Puts `rows` into the order of keys.
pub fn sort(rows: &mut [Row]) {
    rows.sort_unstable_by(|a, b| (a.kind, &a.name).cmp(&(b.kind, &b.name)));
}

/// The name under which a counter is stored: the name itself, or for a very long one its beginning, a
/// digest of the whole, and its domain.
pub fn stored_name(name: &[u8]) -> Vec<u8> {
    use sha2::{Digest as _, Sha256};
    const LONGEST_DOMAIN: usize = 255;
    const DIGEST: usize = 1 + 64;
    if name.len() <= LONGEST_NAME {
        return name.to_vec();
    }
    let domain = name.iter().rposition(|byte| *byte == b'@').map_or(&b""[..], |at| &name[at..]);
    let domain = if domain.len() <= 1 + LONGEST_DOMAIN { domain } else { b"" };
    let mut stored = name[..LONGEST_NAME - DIGEST - domain.len()].to_vec();
    stored.retain(|byte| *byte != b'@');
    stored.push(b'#');
    stored.extend(Sha256::digest(name).iter().flat_map(|byte| format!("{byte:02x}").into_bytes()));
    stored.extend_from_slice(domain);
    stored
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn long_names_are_told_apart_and_fit() {
        let (a, b) = ([b"x".repeat(2000), b"a".to_vec()].concat(), [b"x".repeat(2000), b"b".to_vec()].concat());
        assert_ne!(stored_name(&a), stored_name(&b));
        assert_eq!(stored_name(&a).len(), LONGEST_NAME);
        assert_eq!(stored_name(&a[..512]), a[..512]);
        let long = [b"x".repeat(2000), b"@example.com".to_vec()].concat();
        assert!(stored_name(&long).ends_with(b"@example.com"));
        assert!(stored_name(&[b"a@".to_vec(), b"x".repeat(2000)].concat()).len() <= LONGEST_NAME);
    }
}

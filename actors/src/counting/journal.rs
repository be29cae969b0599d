//! The journal of strict counters: what was answered for, and is not in the counters' table yet.
//!
//! A batch is one row of `valvula_journal`, written by one statement: an *entry* with a number of its own, which
//! follows the last one. Two daemons that share a database can't both write the same number. The one that is refused
//! reads what the other has written, and decides again: so each decides with all that was charged before.
//!
//! Entries are *folded* about once a second: what they come to, a row for each account and domain, is added to the
//! counters' table in one transaction, which also notes up to which number that was done. A daemon that was killed
//! leaves entries; the next one that looks folds them.
//!
//! The journal is a ring: entry `n` stands in place `n % SLOTS`, over an entry that was folded long ago.
//!
//! This is what memory knows of it, without any input or output.

use std::collections::HashMap;

use foldhash::fast::RandomState;

use super::book::Key;
use super::counter::{added, together};
use super::rows::{Row, sort};
use super::sql::Stored;

/// Entries that the journal holds. At a thousand batches a second that is what four seconds leave.
pub(super) const SLOTS: i64 = 4096;
/// So many that are not folded, and they are, without waiting for their time.
pub(super) const MANY: i64 = SLOTS / 2;

/// An entry as it stands in the journal.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Entry {
    pub(super) number: i64,
    /// Whose, by the name of its own row.
    pub(super) writer: Vec<u8>,
    /// Which of its writer's batches it is.
    pub(super) sequence: i64,
    pub(super) rows: Vec<Row>,
}

/// What is to be folded: entries up to a number, as what they come to.
#[derive(Debug)]
pub(super) struct Fold {
    /// The entries up to this one are folded.
    pub(super) from: i64,
    /// Afterwards: up to this one.
    pub(super) to: i64,
    /// What they add, in the order of keys.
    pub(super) rows: Vec<Row>,
    /// The last batch of each writer among them.
    pub(super) writers: Vec<(Vec<u8>, i64)>,
}

/// What memory knows of the journal of one name.
#[derive(Debug, Default)]
pub(super) struct Journal {
    /// Memory has what the counters' table and the journal come to, up to `position`.
    pub(super) is_open: bool,
    /// Number of the last entry that memory has.
    pub(super) position: i64,
    /// Entries up to this one are folded; if `is_unsure`, perhaps more.
    pub(super) folded: i64,
    /// Somebody else has folded, or it is not known what became of our own attempt.
    pub(super) is_unsure: bool,
    /// Entries of this daemon are among the unfolded ones.
    has_own: bool,
    /// How often nothing was done about the entries of others.
    left_to_others: u32,
    /// What the entries behind `folded` come to.
    unfolded: HashMap<Key, Row, RandomState>,
    writers: HashMap<Vec<u8>, i64, RandomState>,
}

impl Journal {
    /// Begins to know it: folded up to `folded`, with `entries` behind that, which may be ours, or nobody's any more.
    pub(super) fn open(&mut self, folded: i64, entries: Vec<Entry>) {
        *self = Self { is_open: true, position: folded, folded, has_own: !entries.is_empty(), ..Self::default() };
        for entry in entries {
            self.follow(entry);
        }
    }

    /// Whether what is held as unfolded is what stands behind `folded`.
    pub(super) fn knows(&self, folded: i64) -> bool {
        self.is_open && !self.is_unsure && self.folded == folded
    }

    /// Entry `number` of this daemon, called `writer`, was written.
    pub(super) fn appended(&mut self, number: i64, writer: &[u8], sequence: i64, rows: &[Row]) {
        self.position = number;
        self.has_own = true;
        self.note(writer, sequence);
        for row in rows {
            self.add(row);
        }
    }

    /// The next entry, of another daemon or of one before us.
    pub(super) fn follow(&mut self, entry: Entry) {
        self.position = entry.number;
        self.note(&entry.writer, entry.sequence);
        entry.rows.iter().for_each(|row| self.add(row));
    }

    /// Whether there is room for one more entry.
    pub(super) fn has_room(&self) -> bool {
        self.position + 1 - SLOTS <= self.folded
    }

    /// How many entries are not folded.
    pub(super) fn waiting(&self) -> i64 {
        self.position - self.folded
    }

    /// Whether it is our turn to fold. Entries of others are left to them for a while.
    pub(super) fn is_due(&mut self) -> bool {
        const PATIENCE: u32 = 3;
        if self.waiting() == 0 || self.has_own {
            self.left_to_others = 0;
            return self.waiting() > 0;
        }
        self.left_to_others += 1;
        self.left_to_others >= PATIENCE
    }

    /// Takes all that is not folded: from now on that is what comes later. [`Journal::was_folded`] says when it is done.
    pub(super) fn take(&mut self) -> Fold {
        let mut rows: Vec<_> = std::mem::take(&mut self.unfolded).into_values().collect();
        sort(&mut rows);
        self.has_own = false;
        let writers = std::mem::take(&mut self.writers).into_iter().collect();
        Fold { from: self.folded, to: self.position, rows, writers }
    }

    /// All that was taken is in the table: the entries up to `to`.
    pub(super) fn was_folded(&mut self, to: i64) {
        self.folded = to;
    }

    /// The counters that have something unfolded.
    pub(super) fn keys(&self) -> impl Iterator<Item = Key> {
        self.unfolded.keys().cloned()
    }

    /// What counter `key` comes to: what is stored of it, and what is not folded.
    pub(super) fn with_unfolded(&self, key: &Key, stored: Option<&Stored>) -> Option<Stored> {
        let Some(row) = self.unfolded.get(key) else { return stored.cloned() };
        Some(match stored {
            None => Stored { kind: row.kind, name: Vec::new(), windows: row.windows, closes: row.closes },
            Some(stored) => {
                let mut sum = Stored { closes: stored.closes.max(row.closes), ..stored.clone() };
                for (window, change) in sum.windows.iter_mut().zip(row.windows) {
                    *window = added(*window, change);
                }
                sum
            }
        })
    }

    fn note(&mut self, writer: &[u8], sequence: i64) {
        match self.writers.get_mut(writer) {
            Some(last) => *last = sequence.max(*last),
            None => drop(self.writers.insert(writer.to_vec(), sequence)),
        }
    }

    fn add(&mut self, row: &Row) {
        let key = (row.kind, row.name.clone());
        let Some(sum) = self.unfolded.get_mut(&key) else {
            self.unfolded.insert(key, row.clone());
            return;
        };
        for (window, change) in sum.windows.iter_mut().zip(row.windows) {
            *window = together(*window, change);
        }
        sum.closes = sum.closes.max(row.closes);
        sum.is_longer |= row.is_longer;
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::super::counter::Tally;
    use super::*;

    const ANN: &[u8] = b"ann@example.com";

    fn row(windows: [(i64, i64); 3]) -> Row {
        Row::added(0, ANN.into(), windows, windows[2].0 + 60)
    }

    fn entry(number: i64, windows: [(i64, i64); 3]) -> Entry {
        Entry { number, writer: b"other".to_vec(), sequence: number, rows: vec![row(windows)] }
    }

    fn sum(journal: &Journal) -> [(i64, i64); 3] {
        journal.with_unfolded(&(0, ANN.into()), None).unwrap().windows
    }

    #[test]
    fn entries_come_to_one_row_until_they_are_taken() {
        let mut journal = Journal::default();
        journal.open(10, vec![entry(11, [(60, 1), (0, 1), (0, 1)])]);
        journal.appended(12, b"me", 1, &[row([(60, 2), (0, 2), (0, 2)])]);
        journal.appended(13, b"me", 2, &[row([(120, 4), (0, 4), (0, -1)])]);
        assert_eq!(sum(&journal), [(120, 4), (0, 7), (0, 2)]);
        let fold = journal.take();
        assert_eq!((fold.from, fold.to, fold.rows.len()), (10, 13, 1));
        let mut writers = fold.writers;
        writers.sort();
        assert_eq!(writers, [(b"me".to_vec(), 2), (b"other".to_vec(), 11)]);
        journal.appended(14, b"me", 3, &[row([(120, 5), (0, 5), (0, 5)])]);
        journal.was_folded(13);
        assert_eq!(sum(&journal), [(120, 5), (0, 5), (0, 5)], "what was taken is in the table");
        assert_eq!(journal.waiting(), 1);
    }

    #[test]
    fn nothing_is_written_over_before_it_is_folded() {
        let mut journal = Journal::default();
        journal.open(0, Vec::new());
        for number in 1..=SLOTS {
            assert!(journal.has_room(), "{number}");
            journal.appended(number, b"me", number, &[]);
        }
        assert!(!journal.has_room());
        let fold = journal.take();
        journal.was_folded(fold.to);
        assert!(journal.has_room());
    }

    #[test]
    fn entries_of_others_are_left_to_them_for_a_while() {
        let mut journal = Journal::default();
        journal.open(0, Vec::new());
        assert!(!journal.is_due(), "there are none");
        journal.follow(entry(1, [(0, 1); 3]));
        assert_eq!([journal.is_due(), journal.is_due(), journal.is_due()], [false, false, true]);
        journal.appended(2, b"me", 1, &[]);
        assert!(journal.is_due());
    }

    proptest! {
        /// The table that entries are folded into, in any portions, is the table that each was added to.
        #[test]
        fn folding_is_adding(
            changes in prop::collection::vec((0_i64..3, 1_i64..5), 1..40),
            folds in prop::collection::vec(any::<bool>(), 40),
        ) {
            let mut journal = Journal::default();
            journal.open(0, Vec::new());
            let (mut each, mut table) = ([(0, 0); 3], [(0, 0); 3]);
            let mut memory = Tally::default();
            for (number, ((minute, change), fold)) in (1..).zip(changes.into_iter().zip(folds)) {
                // A charge of a slower clock goes to the newer window: memory has all entries before it is written.
                let from = memory.from.max(minute * 60);
                let windows = [(from, change), (0, change), (0, change)];
                for (window, change) in each.iter_mut().zip(windows) {
                    *window = added(*window, change);
                }
                memory.follow(from, change);
                journal.follow(entry(number, windows));
                if fold {
                    for row in journal.take().rows {
                        for (window, change) in table.iter_mut().zip(row.windows) {
                            *window = added(*window, change);
                        }
                    }
                    journal.was_folded(number);
                }
                let stored = Stored { kind: 0, name: ANN.to_vec(), windows: table, closes: 0 };
                let sum = journal.with_unfolded(&(0, ANN.into()), Some(&stored)).unwrap();
                prop_assert_eq!(sum.windows, each);
                prop_assert_eq!((memory.from, memory.used), each[0]);
            }
        }
    }
}

//! What was noted of changes since the last time.

use std::collections::HashMap;

/// Changes of one table.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct TableChanges {
    /// Rows that were written.
    pub(super) ids: Vec<i64>,
    /// Of these, new ones that no noted change removed before (MySQL only).
    pub(super) new: Vec<i64>,
    /// Anything may have changed.
    pub(super) whole: bool,
}

/// Changes of all tables.
#[derive(Debug, Default)]
pub(super) struct Noted {
    pub(super) tables: HashMap<String, TableChanges>,
    /// The notes can't tell what changed (another database, a gap in them): everything must be loaded.
    pub(super) lost: Option<&'static str>,
    /// Notes may have been missed; comparing tells.
    pub(super) doubtful: bool,
}

impl Noted {
    pub(super) fn add(&mut self, table: String, id: Option<i64>) {
        let changes = self.tables.entry(table).or_default();
        match id {
            Some(id) => changes.ids.push(id),
            None => changes.whole = true,
        }
    }

    pub(super) fn whole(&mut self, table: String) {
        self.tables.entry(table).or_default().whole = true;
    }

    pub(super) fn lost(why: &'static str) -> Self {
        Self { lost: Some(why), ..Self::default() }
    }
}

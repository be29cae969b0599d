//! Postfix's lookup tables.
//!
//! `type:name` as it stands in a parameter is opened once and shared. A look-up has three outcomes: a
//! value, nothing, or an error; the error is never nothing.

use std::collections::HashMap;
use std::sync::Arc;

use parking_lot::Mutex;

/// Why a table did not answer.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct TableError(pub String);

/// An open table.
#[derive(Debug)]
pub struct Table {
    name: String,
}

impl Table {
    /// `type:name` as written.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Whether its keys are fixed texts. A table of patterns is asked for whole names only, never for
    /// parts of them (parent domains, `user`, `@domain`).
    pub fn is_fixed(&self) -> bool {
        true
    }

    /// The value of `key`.
    pub async fn get(&self, _key: &[u8]) -> Result<Option<Vec<u8>>, TableError> {
        Err(TableError("tables are not asked yet".into()))
    }
}

/// The tables of a configuration, each opened once.
#[derive(Debug, Default)]
pub struct Tables {
    open: Mutex<HashMap<String, Arc<Table>>>,
}

impl Tables {
    /// The table that `name` (`type:name`) says.
    pub fn open(&self, name: &str) -> Arc<Table> {
        let mut open = self.open.lock();
        let table = open.entry(name.to_owned()).or_insert_with(|| Arc::new(Table { name: name.to_owned() }));
        Arc::clone(table)
    }
}

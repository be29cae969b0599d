//! Postfix's lookup tables.
//!
//! `type:name` as it stands in a parameter is opened once and shared. A look-up has three outcomes: a
//! value, nothing, or an error; the error is never nothing. Types that we read ourselves are in the
//! files below; all others, and whatever a reader of ours is not sure of, are asked of Postfix's own
//! `postmap -q`. Each look-up ends within the time limit.

mod address;
mod cdb;
mod network;
mod open;
mod patterns;
mod posix;
mod postmap;
#[cfg(feature = "databases")]
mod sql;
mod text;
mod users;

use std::collections::{BTreeMap, BTreeSet};
use std::future::Future;
use std::path::PathBuf;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use parking_lot::Mutex;
use serde::Serialize;

use postmap::Postmap;

/// Why a table did not answer.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct TableError(pub String);

impl TableError {
    fn new(error: impl std::fmt::Display) -> Self {
        Self(error.to_string())
    }
}

/// What a reader of ours says.
enum Asked {
    /// The value, or that there is none.
    Known(Option<Vec<u8>>),
    /// Postfix might say something else: it has to be asked.
    NotSure,
}

type Reply<T> = Pin<Box<dyn Future<Output = Result<T, TableError>> + Send>>;

/// An open table.
#[derive(Debug)]
pub struct Table {
    /// As written.
    name: String,
    /// Without `proxy:`, as `postmap` wants it.
    spec: String,
    fixed: bool,
    kind: Kind,
    files: Vec<PathBuf>,
    shared: Arc<Shared>,
    counts: Counts,
}

/// How a table is asked.
#[derive(Debug)]
enum Kind {
    /// One value for every key.
    Static(Vec<u8>),
    /// Keys and values in memory.
    Map(std::collections::HashMap<Vec<u8>, Vec<u8>>),
    Patterns(patterns::Rules),
    Cdb(PathBuf),
    Users(users::Database),
    Tcp(network::Peer),
    Socketmap(network::Peer, String),
    /// The values of all tables, joined by commas.
    Union(Vec<Arc<Table>>),
    /// Each table is asked for the value of the one before.
    Pipe(Vec<Arc<Table>>),
    #[cfg(feature = "databases")]
    Sql(Box<sql::SqlTable>),
    /// It could not be opened, and why.
    Broken(String),
    /// Asked of `postmap -q`, and why not by ourselves.
    Postmap,
}

/// What all tables share.
#[derive(Debug)]
struct Shared {
    postmap: Postmap,
    timeout: Duration,
    /// `smtputf8_enable`: keys are compared without regard to case beyond ASCII too.
    utf8: bool,
}

impl Shared {
    fn folded(&self, key: &str) -> String {
        if self.utf8 { key.to_lowercase() } else { key.to_ascii_lowercase() }
    }
}

#[derive(Debug, Default)]
struct Counts {
    found: AtomicU64,
    not_found: AtomicU64,
    failed: AtomicU64,
    children: AtomicU64,
}

/// What a table was asked so far.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize)]
pub struct TableCounts {
    /// Look-ups that found a value.
    pub found: u64,
    /// Look-ups that found none.
    pub not_found: u64,
    /// Look-ups that failed.
    pub failed: u64,
    /// `postmap` processes started for it.
    pub children: u64,
}

impl Table {
    /// `type:name` as written.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Whether its keys are fixed texts. A table of patterns is asked for whole names only, never for
    /// parts of them (parent domains, `user`, `@domain`).
    pub fn is_fixed(&self) -> bool {
        self.fixed
    }

    /// Whether every look-up starts a `postmap` process.
    pub fn is_asked_through_postmap(&self) -> bool {
        matches!(self.kind, Kind::Postmap)
    }

    /// The files that it is made of: when one changes, answers may.
    pub fn files(&self) -> &[PathBuf] {
        &self.files
    }

    /// Why it could not be opened.
    pub fn fault(&self) -> Option<&str> {
        match &self.kind {
            Kind::Broken(why) => Some(why),
            _ => None,
        }
    }

    /// What it was asked so far.
    pub fn counts(&self) -> TableCounts {
        let read = |count: &AtomicU64| count.load(Ordering::Relaxed);
        TableCounts {
            found: read(&self.counts.found),
            not_found: read(&self.counts.not_found),
            failed: read(&self.counts.failed),
            children: read(&self.counts.children),
        }
    }

    /// The value of `key`; `None` if there is none. Without regard to case where keys are fixed.
    pub async fn get(&self, key: &[u8]) -> Result<Option<Vec<u8>>, TableError> {
        let answer = match tokio::time::timeout(self.shared.timeout, self.ask(key)).await {
            Ok(answer) => answer,
            Err(_) => Err(TableError(format!("no answer within {:?}", self.shared.timeout))),
        };
        let count = match &answer {
            Ok(Some(_)) => &self.counts.found,
            Ok(None) => &self.counts.not_found,
            Err(_) => &self.counts.failed,
        };
        count.fetch_add(1, Ordering::Relaxed);
        answer
    }

    async fn ask(&self, key: &[u8]) -> Result<Option<Vec<u8>>, TableError> {
        // Postfix asks no table for nothing.
        if key.is_empty() {
            return Ok(None);
        }
        match self.ask_ourselves(key).await? {
            Asked::Known(value) => Ok(value),
            Asked::NotSure => {
                self.counts.children.fetch_add(1, Ordering::Relaxed);
                self.shared.postmap.ask(&self.spec, key).await
            }
        }
    }

    async fn ask_ourselves(&self, key: &[u8]) -> Result<Asked, TableError> {
        // Keys that are not text: it depends on smtputf8_enable whether Postfix looks for them.
        let Ok(text) = std::str::from_utf8(key) else { return Ok(Asked::NotSure) };
        let folded = || self.shared.folded(text).into_bytes();
        Ok(Asked::Known(match &self.kind {
            Kind::Static(value) => Some(value.clone()),
            Kind::Map(map) => map.get(&folded()).cloned(),
            Kind::Patterns(rules) => return rules.find(text).map_err(TableError),
            Kind::Cdb(file) => cdb::get(file.clone(), folded()).await?,
            Kind::Users(database) => users::get(*database, self.shared.folded(text)).await?,
            Kind::Tcp(peer) => network::ask_tcp(peer, key).await?,
            Kind::Socketmap(peer, name) => network::ask_socketmap(peer, name, key).await?,
            Kind::Union(tables) => union(tables, key).await?,
            Kind::Pipe(tables) => pipe(tables, key).await?,
            #[cfg(feature = "databases")]
            Kind::Sql(table) => return table.get(&self.shared.folded(text)).await,
            Kind::Broken(why) => return Err(TableError(why.clone())),
            Kind::Postmap => return Ok(Asked::NotSure),
        }))
    }
}

fn union(tables: &[Arc<Table>], key: &[u8]) -> Reply<Option<Vec<u8>>> {
    let (tables, key) = (tables.to_vec(), key.to_vec());
    Box::pin(async move {
        let mut values = Vec::new();
        for table in &tables {
            values.extend(table.get(&key).await?);
        }
        Ok((!values.is_empty()).then(|| values.join(&b","[..])))
    })
}

fn pipe(tables: &[Arc<Table>], key: &[u8]) -> Reply<Option<Vec<u8>>> {
    let (tables, mut value) = (tables.to_vec(), key.to_vec());
    Box::pin(async move {
        for table in &tables {
            match table.get(&value).await? {
                Some(next) => value = next,
                None => return Ok(None),
            }
        }
        Ok(Some(value))
    })
}

/// The tables of a configuration, each opened once.
#[derive(Debug)]
pub struct Tables {
    shared: Arc<Shared>,
    open: Mutex<BTreeMap<String, Arc<Table>>>,
}

impl Tables {
    /// Tables of the configuration in `config_directory`. `timeout` is the longest time of one look-up,
    /// `max_children` the most `postmap` processes at a time (0: none is started, and what would be asked of
    /// one could not be asked), `utf8` Postfix's `smtputf8_enable`.
    pub fn new(config_directory: PathBuf, timeout: Duration, max_children: usize, utf8: bool) -> Self {
        let postmap = Postmap::new(config_directory, max_children);
        Self { shared: Arc::new(Shared { postmap, timeout, utf8 }), open: Mutex::default() }
    }

    /// The table that `name` (`type:name`) says.
    pub fn open(&self, name: &str) -> Arc<Table> {
        if let Some(table) = self.open.lock().get(name) {
            return Arc::clone(table);
        }
        // Not under the lock: the tables of a union: are opened while it is.
        let table = Arc::new(open::open(self, name));
        Arc::clone(self.open.lock().entry(name.to_owned()).or_insert(table))
    }

    /// All that were opened, in the order of their names.
    pub fn all(&self) -> Vec<Arc<Table>> {
        self.open.lock().values().cloned().collect()
    }

    /// The files that they are made of.
    pub fn files(&self) -> BTreeSet<PathBuf> {
        self.all().iter().flat_map(|table| table.files().to_vec()).collect()
    }
}

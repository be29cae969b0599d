//! What is known of a followed table, for `-s` and for tests.

use std::time::SystemTime;

use parking_lot::Mutex;
use serde_json::Value;

/// How changes of a followed table are learnt.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Source {
    /// Triggers note each changed row: a change arrives with the next poll.
    #[default]
    Triggers,
    /// No trigger could be made: checksums of the table are compared, the less often the bigger it is.
    Checksums,
}

/// A followed table as it stands.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Status {
    /// Rows in the table when it was last loaded, and changes since counted in.
    pub rows: u64,
    /// Rows of them that can't be used.
    pub bad_rows: u64,
    /// When the whole table was last loaded.
    pub loaded: Option<SystemTime>,
    /// How often the whole table was loaded.
    pub loads: u64,
    /// When rows last changed.
    pub changed: Option<SystemTime>,
    /// Rows that changed since the start, without those of whole loads.
    pub changes: u64,
    /// How often the table was compared with its checksums.
    pub comparisons: u64,
    /// How changes are learnt.
    pub source: Source,
    /// Optional columns that the table lacks.
    pub absent: Vec<&'static str>,
    /// What went wrong when it was last asked; the state before it goes on serving.
    pub error: Option<String>,
}

impl Status {
    /// As facts for `-s`.
    pub fn facts(&self) -> Vec<(&'static str, Value)> {
        let stamp = |time: Option<SystemTime>| match time.and_then(|t| t.duration_since(SystemTime::UNIX_EPOCH).ok()) {
            Some(since) => Value::from(since.as_secs()),
            None => Value::Null,
        };
        vec![
            ("rows", self.rows.into()),
            ("rows not usable", self.bad_rows.into()),
            ("loaded", stamp(self.loaded)),
            ("loads", self.loads.into()),
            ("changed", stamp(self.changed)),
            ("changes", self.changes.into()),
            ("source", if self.source == Source::Triggers { "triggers" } else { "checksums" }.into()),
            ("lacking columns", self.absent.join(", ").into()),
            ("error", self.error.clone().into()),
        ]
    }
}

/// The status, shared between who follows and who asks.
#[derive(Default)]
pub(super) struct Shared(Mutex<Status>);

impl Shared {
    pub(super) fn get(&self) -> Status {
        self.0.lock().clone()
    }

    pub(super) fn update(&self, change: impl FnOnce(&mut Status)) {
        change(&mut self.0.lock());
    }
}

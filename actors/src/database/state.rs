//! Whether the database answers: noted by everybody who asks it, logged once when it changes.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use parking_lot::Mutex;
use sea_orm::{DbErr, RuntimeErr, SqlxError};
use serde_json::Value;
use slog::{Logger, error, info};

/// An answer that comes so soon after a failure may have been on its way before it: a server that is going down
/// still serves some connections while it cuts others. Whatever asks next ends the absence.
const SETTLING: Duration = Duration::from_millis(100);

pub(super) struct State {
    what: String,
    log: Logger,
    up: AtomicBool,
    asked: AtomicU64,
    failed: AtomicU64,
    outages: AtomicU64,
    /// Since when it is away.
    since: Mutex<Option<Instant>>,
    trouble: Trouble,
}

/// When a question was last not answered: connections from before that may be as dead as the one that it was.
#[derive(Clone, Default)]
pub(super) struct Trouble(Arc<Mutex<Option<Instant>>>);

impl Trouble {
    fn note(&self) {
        *self.0.lock() = Some(Instant::now());
    }

    /// Whether it was after a connection was last used, which is idle for `idle`.
    pub(super) fn is_since(&self, idle: Duration) -> bool {
        self.0.lock().is_some_and(|last| last.elapsed() <= idle)
    }
}

impl State {
    pub(super) fn new(what: String, log: Logger) -> Self {
        Self {
            what,
            log,
            up: AtomicBool::new(true),
            asked: AtomicU64::new(0),
            failed: AtomicU64::new(0),
            outages: AtomicU64::new(0),
            since: Mutex::new(None),
            trouble: Trouble::default(),
        }
    }

    pub(super) fn trouble(&self) -> Trouble {
        self.trouble.clone()
    }

    pub(super) fn is_up(&self) -> bool {
        self.up.load(Ordering::Relaxed)
    }

    pub(super) fn observe<T>(&self, result: &Result<T, DbErr>) {
        self.asked.fetch_add(1, Ordering::Relaxed);
        match result {
            Err(error) if is_away(error) => {
                self.failed.fetch_add(1, Ordering::Relaxed);
                self.trouble.note();
                if self.up.load(Ordering::Relaxed) {
                    self.went(error);
                }
            }
            _ if !self.up.load(Ordering::Relaxed) => self.came_back(),
            _ => {}
        }
    }

    fn went(&self, error: &DbErr) {
        let mut since = self.since.lock();
        if self.up.swap(false, Ordering::Relaxed) {
            *since = Some(Instant::now());
            self.outages.fetch_add(1, Ordering::Relaxed);
            error!(self.log, "database is away"; "database" => &self.what, "error" => %error);
        }
    }

    fn came_back(&self) {
        let mut since = self.since.lock();
        if since.is_some_and(|since| since.elapsed() < SETTLING) {
            return;
        }
        if !self.up.swap(true, Ordering::Relaxed) {
            let away = since.take().map(|since| since.elapsed()).unwrap_or_default();
            info!(self.log, "database is back"; "database" => &self.what, "away_seconds" => away.as_secs());
        }
    }

    pub(super) fn facts(&self) -> Vec<(&'static str, Value)> {
        let away = self.since.lock().map_or(0, |since| since.elapsed().as_secs());
        vec![
            ("database", self.what.clone().into()),
            ("up", self.is_up().into()),
            ("away for seconds", away.into()),
            ("outages", self.outages.load(Ordering::Relaxed).into()),
            ("questions", self.asked.load(Ordering::Relaxed).into()),
            ("questions unanswered", self.failed.load(Ordering::Relaxed).into()),
        ]
    }
}

/// Whether `error` means that others use the SQLite file: `SQLITE_BUSY` in its variants.
pub(super) fn is_busy(error: &DbErr) -> bool {
    let (DbErr::Conn(RuntimeErr::SqlxError(error))
    | DbErr::Exec(RuntimeErr::SqlxError(error))
    | DbErr::Query(RuntimeErr::SqlxError(error))) = error
    else {
        return false;
    };
    let SqlxError::Database(error) = &**error else { return false };
    // The lowest byte is the code, what is above it the variant.
    error.code().and_then(|code| code.parse::<u32>().ok()).is_some_and(|code| code & 0xff == 5)
}

/// Whether `error` means that the database could not be asked, as against an answer we did not like.
pub(super) fn is_away(error: &DbErr) -> bool {
    match error {
        _ if is_busy(error) => false,
        DbErr::ConnectionAcquire(_) | DbErr::Conn(_) => true,
        DbErr::Exec(RuntimeErr::SqlxError(error)) | DbErr::Query(RuntimeErr::SqlxError(error)) => match &**error {
            SqlxError::Io(_)
            | SqlxError::Tls(_)
            | SqlxError::Protocol(_)
            | SqlxError::PoolTimedOut
            | SqlxError::PoolClosed
            | SqlxError::WorkerCrashed => true,
            // A server that is going down or coming up says so before it cuts the connection.
            SqlxError::Database(error) => matches!(
                error.code().as_deref(),
                // PostgreSQL: shutting down, crashed, starting up, too many clients
                Some("57P01" | "57P02" | "57P03" | "53300")
            ),
            _ => false,
        },
        _ => false,
    }
}

//! A clock that was set back: windows of the time that is to come again are counted anew.
//!
//! Among daemons a window that is newer than ours is another clock's that is ahead, and counts (see `counter`). But
//! when our own clock goes back by an hour, the minute of before would hold for an hour, and refuse mail that has
//! quota left. So the ledger looks whether time goes on: if it goes back by more than clocks are corrected by in
//! passing, windows that have not begun count nothing, in memory at once, and in the database before anything else
//! is written. A daemon that starts does the same, since the clock may have been set while none ran.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use sea_orm::{ConnectionTrait as _, DbErr};
use slog::info;

use super::fault::in_time;
use super::ledger::Shared;
use super::writer::{Writer, signed};

/// Seconds that a clock may go back unnoticed: corrections in passing, and threads that were interrupted after
/// they looked at it.
const TOLERANCE: u64 = 2;
/// At the start: seconds that another daemon's clock may be ahead of ours.
const AHEAD: i64 = 60;

/// Whether time goes on.
#[derive(Debug, Default)]
pub(super) struct Times {
    /// The latest that was seen (seconds since 1970).
    latest: AtomicU64,
    /// It went back, and the database does not know yet.
    went_back: AtomicBool,
}

impl Times {
    /// Whether the writer has to tell the database.
    pub(super) fn went_back(&self) -> bool {
        self.went_back.load(Ordering::Acquire)
    }
}

impl Shared {
    /// Looks at the clock: what time it is (seconds since 1970). No shard may be locked.
    pub(super) fn look_at_clock(&self) -> u64 {
        let now = self.now();
        let latest = self.times.latest.load(Ordering::Relaxed);
        if now > latest {
            self.times.latest.fetch_max(now, Ordering::Relaxed);
        }
        // Asked again: this thread may have been interrupted between its look and now.
        if now + TOLERANCE >= latest || self.now() + TOLERANCE >= latest {
            return now;
        }
        self.times.went_back.store(true, Ordering::Release);
        self.set_back();
        // Whoever looked meanwhile has done the same.
        let now = self.now();
        let _ = self.times.latest.compare_exchange(latest, now, Ordering::Relaxed, Ordering::Relaxed);
        now
    }

    fn set_back(&self) {
        let now = signed(self.now());
        self.shards.iter().for_each(|shard| shard.lock().set_back(now));
    }
}

impl Writer {
    /// Tells the database that the clock went back, if it did. All batches of before are written.
    pub(super) async fn set_back(&mut self) -> Result<(), String> {
        if !self.shared.times.went_back() {
            return Ok(());
        }
        // What stands in the journal is of before as well.
        self.fold_all().await.map_err(|error| self.went(&error.to_string()))?;
        self.shared.times.went_back.store(false, Ordering::Release);
        if let Err(error) = self.execute(self.sql.set_back(signed(self.shared.now()))).await {
            self.shared.times.went_back.store(true, Ordering::Release);
            return Err(self.went(&error.to_string()));
        }
        // What was written before the clock went back may have been read again since.
        self.shared.set_back();
        self.confirmed.clear();
        info!(self.log, "the clock was set back: windows that have not begun are counted anew");
        Ok(())
    }

    /// The same at the start.
    pub(super) async fn start_at(&self, now: i64) -> Result<(), DbErr> {
        in_time(self.database.writer().execute_raw(self.sql.set_back(now + AHEAD))).await.map(drop)
    }
}

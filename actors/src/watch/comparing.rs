//! Comparing a followed table with its checksums: finds what no trigger noted, and is the only way
//! where there are no triggers.

use std::time::{Duration, Instant};

use sea_orm::DbErr;
use slog::warn;
use tokio::time::Instant as Deadline;

use crate::restart::jittered;
use crate::watch::follow::Follow;
use crate::watch::follower::Follower;
use crate::watch::poller::Command;
use crate::watch::status::Source;

/// Comparing the table with its checksums may take this share of the time: behind triggers, which miss
/// next to nothing, and without them.
const SHARE_BEHIND_TRIGGERS: u32 = if cfg!(test) { 2 } else { 200 };
const SHARE_ALONE: u32 = 10;
const PAUSE_BEHIND_TRIGGERS: Duration = Duration::from_secs(if cfg!(test) { 1 } else { 60 });
const PAUSE_ALONE: Duration = Duration::from_millis(400);

impl<F: Follower> Follow<F> {
    /// Compares checksums with those of the last time.
    pub(super) async fn compare(&mut self) -> Result<(), DbErr> {
        let since = Instant::now();
        let first = self.blocks.is_unknown();
        let differing = self.blocks.compare(&self.links.pool).await;
        self.observe(&differing);
        self.plan_comparison(since.elapsed());
        let differing = differing?;
        self.links.status.update(|status| status.comparisons += 1);
        let doubtful = std::mem::take(&mut self.doubtful);
        if first && doubtful {
            // Nothing to compare with.
            return self.load("changes may have been missed").await;
        }
        if self.source == Source::Checksums {
            return self.read_ranges(&differing).await;
        }
        if !differing.is_empty() {
            self.suspect = differing;
            // The poller is gone only when the database is closed.
            let _ = self.links.commands.send(Command::Settle { to: self.links.events.clone() });
        }
        Ok(())
    }

    /// Reads the parts of the table that differ although nothing was noted of a change in them.
    pub(super) async fn judge(&mut self) -> Result<(), DbErr> {
        let mut ranges = std::mem::take(&mut self.suspect);
        ranges.retain(|range| !self.blocks.is_touched(*range));
        if !ranges.is_empty() {
            warn!(self.log, "rows changed that no trigger noted, reading them again"; "parts" => ranges.len());
        }
        self.read_ranges(&ranges).await
    }

    async fn read_ranges(&mut self, ranges: &[(i64, i64)]) -> Result<(), DbErr> {
        let mut ids: Vec<i64> = Vec::new();
        for (from, to) in ranges {
            // Those that are there by now, and those that we still believe to be.
            ids.extend(self.ids.range(*from, *to));
            ids.extend(self.query.ids_between(&self.links.pool, *from, *to).await?);
        }
        ids.sort_unstable();
        ids.dedup();
        if ids.is_empty() { Ok(()) } else { self.apply(&ids).await }
    }

    pub(super) fn plan_comparison(&mut self, cost: Duration) {
        let pause = match self.source {
            Source::Triggers => jittered(PAUSE_BEHIND_TRIGGERS).max(cost * SHARE_BEHIND_TRIGGERS),
            Source::Checksums => PAUSE_ALONE.max(cost * SHARE_ALONE),
        };
        self.compare_at = Deadline::now() + pause;
    }
}

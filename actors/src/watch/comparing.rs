//! Comparing a followed table with its checksums: finds what no trigger noted, and is the only way
//! where there are no triggers.

use std::sync::Arc;
use std::time::{Duration, Instant};

use sea_orm::{DatabaseConnection, DbErr};
use slog::warn;
use tokio::sync::Semaphore;
use tokio::time::Instant as Deadline;

use crate::restart::jittered;
use crate::watch::blocks::{Question, Sums};
use crate::watch::follow::{Event, Follow};
use crate::watch::follower::Follower;
use crate::watch::poller::Command;
use crate::watch::status::Source;

/// Comparing the table with its checksums may take this share of the time: behind triggers, which miss
/// next to nothing, and without them.
const SHARE_BEHIND_TRIGGERS: u32 = if cfg!(test) { 2 } else { 200 };
const SHARE_ALONE: u32 = 10;
const PAUSE_BEHIND_TRIGGERS: Duration = Duration::from_secs(if cfg!(test) { 1 } else { 60 });
const PAUSE_ALONE: Duration = Duration::from_millis(400);

/// The checksums of a table, and how long the database took for them.
#[derive(Debug)]
pub(super) struct Answer {
    sums: Result<Sums, DbErr>,
    cost: Duration,
}

/// Asks, one table at a time: this is not to take the connections that changes are read with.
async fn ask(question: Question, pool: DatabaseConnection, comparing: Arc<Semaphore>) -> Answer {
    // It is never closed.
    let _turn = comparing.acquire().await;
    let since = Instant::now();
    let sums = question.ask(&pool).await;
    Answer { sums, cost: since.elapsed() }
}

impl<F: Follower> Follow<F> {
    /// Compares with the checksums of the last time, and reads what differs. The only way to learn of
    /// changes without triggers, so nothing else waits for it.
    pub(super) async fn compare_now(&mut self) -> Result<(), DbErr> {
        let answer = ask(self.blocks.question(), self.links.pool.clone(), Arc::clone(&self.links.comparing)).await;
        match self.take_answer(answer)? {
            Some(differing) => self.read_ranges(&differing).await,
            None => Ok(()),
        }
    }

    /// Has the checksums asked for beside everything else: of a big table that takes longer than a
    /// change may take to arrive.
    pub(super) fn start_comparison(&mut self) {
        // Until the answer is here.
        self.compare_at = Deadline::now() + Duration::from_secs(3600);
        let asking = ask(self.blocks.question(), self.links.pool.clone(), Arc::clone(&self.links.comparing));
        let events = self.links.events.clone();
        tokio::spawn(async move {
            // The follow may have ended.
            let _ = events.send(Event::Compared(asking.await));
        });
    }

    /// Behind triggers, what differs may be a change whose note is on its way: those first.
    pub(super) async fn compare(&mut self, answer: Answer) -> Result<(), DbErr> {
        let doubtful = std::mem::take(&mut self.doubtful);
        match self.take_answer(answer)? {
            Some(differing) if !differing.is_empty() => {
                self.suspect = differing;
                // The poller is gone only when the database is closed.
                let _ = self.links.commands.send(Command::Settle { to: self.links.events.clone() });
                Ok(())
            }
            None if doubtful => self.load("changes may have been missed").await,
            _ => Ok(()),
        }
    }

    fn take_answer(&mut self, answer: Answer) -> Result<Option<Vec<(i64, i64)>>, DbErr> {
        self.observe(&answer.sums);
        self.plan_comparison(answer.cost);
        let differing = self.blocks.compare(answer.sums?);
        self.links.status.update(|status| status.comparisons += 1);
        Ok(differing)
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

//! What a writer does besides writing: attempts while the database is away, closed counters, resets, the end.

use std::time::Duration;

use slog::{error, warn};
use tokio::time::Instant;

use super::journal::Journal;
use super::ledger::Durability;
use super::writer::{CLEANING, CLOSED_SECONDS, CONFIRMED, Writer, signed};

impl Writer {
    pub(super) async fn tick(&mut self) {
        let now = self.shared.now();
        self.held.give_back_unused();
        match &mut self.away {
            Some((_, pause)) => {
                *pause = (*pause * 2).min(Duration::from_secs(2));
                self.probe.start(&self.database);
            }
            None => self.keep_up().await,
        }
        self.shared.shards[self.next_shard].lock().sweep(now);
        self.next_shard = (self.next_shard + 1) % self.shared.shards.len();
        self.confirmed.retain(|_, at| at.elapsed() < CONFIRMED);
        if self.away.is_none() && Instant::now() >= self.next_cleaning {
            self.next_cleaning = Instant::now() + CLEANING;
            self.clean(now).await;
        }
    }

    /// Writes what is not written, begins to take to the table what the journal has, and looks what other daemons have
    /// written there.
    async fn keep_up(&mut self) {
        let is_strict = self.shared.settings.load().durability == Durability::Strict;
        if self.flush().await.is_err() || !self.journal.is_open {
            return;
        }
        let result = if !is_strict {
            // After a reload.
            self.fold_all().await
        } else if self.journal.is_due() {
            self.start_fold().await
        } else {
            self.follow().await
        };
        match result {
            Ok(()) if !is_strict => self.close_journal(),
            Ok(()) => {}
            Err(error) => warn!(self.log, "the journal of counters can't be read, will try again"; "error" => %error),
        }
    }

    /// All of the journal is in the table, and nothing more goes there.
    pub(super) fn close_journal(&mut self) {
        self.journal = Journal::default();
    }

    /// The database answers again.
    pub(super) async fn try_again(&mut self) {
        if self.kept.is_empty() && self.shared.dirty() == 0 {
            self.came_back();
        } else {
            let _ = self.flush().await;
        }
    }

    pub(super) async fn clean(&mut self, now: u64) {
        // Some at a time, and never in the way of a request for long.
        let statement = self.sql.remove_closed(signed(now) - CLOSED_SECONDS);
        match self.execute(statement).await {
            Ok(1000..) => self.next_cleaning = Instant::now() + Duration::from_secs(1),
            Ok(_) => {}
            Err(error) => warn!(self.log, "closed counters could not be removed, will try again"; "error" => %error),
        }
    }

    pub(super) async fn close(&mut self) -> Result<(), String> {
        while !self.shared.queue.is_empty() {
            self.answer_batch().await;
        }
        let result = self.flush().await;
        // What can't be folded stays in the journal, and is found there at the next start.
        if result.is_ok()
            && let Err(error) = self.fold_all().await
        {
            warn!(self.log, "counters stay in the journal until the next start"; "error" => %error);
        }
        if let Err(error) = &result {
            let rows: usize = self.kept.iter().map(|batch| batch.rows.len()).sum();
            let lost = rows + self.shared.dirty();
            error!(self.log, "counters could not be written before the end: these changes are lost";
                "counters" => lost, "error" => error);
        }
        result
    }

    pub(super) async fn reset(&mut self, name: &[u8]) -> Result<u64, String> {
        self.flush_all().await?;
        let count = self.execute(self.sql.reset(name)).await.map_err(|error| error.to_string())?;
        for kind in 0..=u8::MAX - 1 {
            let mut book = self.shared.shard_of_key(kind, name).lock();
            if book.find(kind, name).is_some() {
                // what was charged since the flush is kept
                let counter = book.counter(kind, name);
                counter.tallies.iter_mut().for_each(|tally| tally.used = tally.unwritten);
            }
        }
        Ok(count)
    }
}

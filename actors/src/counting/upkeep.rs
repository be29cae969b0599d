//! What a writer does besides writing: attempts while the database is away, closed counters, resets, the end.

use std::time::Duration;

use slog::{error, warn};
use tokio::time::Instant;

use super::writer::{CLEANING, CLOSED_SECONDS, CONFIRMED, Writer, signed};

impl Writer {
    pub(super) async fn tick(&mut self) {
        let now = self.shared.now();
        match &mut self.away {
            Some((_, pause)) => {
                *pause = (*pause * 2).min(Duration::from_secs(2));
                self.probe.start(&self.database);
            }
            None => drop(self.flush().await),
        }
        self.shared.shards[self.next_shard].lock().sweep(now);
        self.next_shard = (self.next_shard + 1) % self.shared.shards.len();
        self.confirmed.retain(|_, at| at.elapsed() < CONFIRMED);
        if self.away.is_none() && Instant::now() >= self.next_cleaning {
            self.next_cleaning = Instant::now() + CLEANING;
            self.clean(now).await;
        }
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
        self.answer_waiting().await;
        let result = self.flush().await;
        if let Err(error) = &result {
            let rows: usize = self.kept.iter().map(|batch| batch.rows.len()).sum();
            let lost = rows + self.shared.dirty();
            error!(self.log, "counters could not be written before the end: these changes are lost";
                "counters" => lost, "error" => error);
        }
        result
    }

    pub(super) async fn reset(&mut self, name: &[u8]) -> Result<u64, String> {
        self.flush().await?;
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

//! Strict answers: after the commit, and exact when several daemons share the database.
//!
//! A batch is decided by what is in memory and written by one statement that refuses to pass a limit. If
//! it is refused, or if a request would be, another daemon may have charged or given back meanwhile:
//! then the same requests are decided again in a transaction that holds the rows.

use std::collections::HashMap;
use std::time::Duration;

use sea_orm::{
    ConnectionTrait as _, DatabaseBackend, DbErr, IsolationLevel, SqliteTransactionMode, TransactionOptions,
};
use tokio::time::{Instant, timeout};

use super::book::{Key, Limits, Ruling, Undo};
use super::fault::{Fault, fault, patience};
use super::ledger::Waiting;
use super::rows::Batch;
use super::sql::{own_closes, stored};
use super::writer::{CONFIRMED, PATIENCE, Writer, Written, signed};
use crate::module::Unavailable;
use crate::reply::Replies;

/// How often requests are decided again because other daemons were quicker.
const ATTEMPTS: u32 = 50;

/// Requests and what was decided of each.
type Decided = Vec<(Waiting, Ruling, Undo)>;

/// Requests on their way through a transaction that holds their rows.
#[derive(Default)]
struct Round {
    waiting: Vec<Waiting>,
    decided: Decided,
    /// Given to the database, and its commit asked for.
    committing: Option<Batch>,
}

impl Writer {
    /// Decides `waiting` and answers each request after its charge is committed.
    pub(super) async fn answer_after_commit(&mut self, mut waiting: Vec<Waiting>) {
        let counts = self.shared.settings.load().count_when_away;
        if !counts {
            // Who gave up waiting was answered without us, and its mail deferred.
            waiting.retain(|waiting| !waiting.answer.is_closed());
        }
        // What relaxed charges, or an absence of the database, have left to write.
        let is_behind = !self.kept.is_empty() || self.shared.dirty() > 0 || self.shared.times.went_back();
        if is_behind && self.flush().await.is_err() {
            return self.answer_in_memory(waiting);
        }
        let mut decided = self.decide(waiting);
        if decided.iter().any(|(waiting, ruling, _)| !self.is_confirmed(waiting, *ruling)) {
            let waiting = self.undo(decided);
            return self.answer_after_holding(waiting).await;
        }
        let limits = limits(&decided);
        let rows = self.take_all_rows(|key| limits.get(key).copied());
        if rows.is_empty() {
            return self.answer(decided);
        }
        self.sequence += 1;
        let batch = Batch::new(self.sequence, rows);
        match self.write(&batch).await {
            Written::Yes => self.answer(decided),
            Written::Refused => {
                let waiting = self.undo(std::mem::take(&mut decided));
                self.answer_after_holding(waiting).await;
            }
            Written::Unknown(error) => self.keep(batch, decided, &error),
        }
    }

    fn decide(&self, waiting: Vec<Waiting>) -> Decided {
        let now = self.shared.now();
        waiting
            .into_iter()
            .map(|waiting| {
                let mut undo = Undo::default();
                let ruling = {
                    let draft = waiting.draft();
                    self.shared.shard(&draft).lock().decide(now, &draft, Some(&mut undo))
                };
                (waiting, ruling, undo)
            })
            .collect()
    }

    fn undo(&self, decided: Decided) -> Vec<Waiting> {
        let mut waiting: Vec<_> = decided
            .into_iter()
            .rev()
            .map(|(waiting, _, undo)| {
                self.shared.shard(&waiting.draft()).lock().undo(undo);
                waiting
            })
            .collect();
        waiting.reverse();
        waiting
    }

    fn answer(&mut self, decided: Decided) {
        let counts = self.shared.settings.load().count_when_away;
        let mut replies = Replies::default();
        for (waiting, ruling, undo) in decided {
            if waiting.answer.is_closed() && !counts {
                // answered without us meanwhile, and its mail deferred
                let draft = waiting.draft();
                self.shared.shard(&draft).lock().revoke(self.shared.now(), &draft, &undo);
                continue;
            }
            replies.add(waiting.answer, Ok(ruling));
        }
    }

    /// Nobody knows whether `batch` is written: it will be told again until that is known. Its requests
    /// can't be answered by it.
    fn keep(&mut self, batch: Batch, decided: Decided, error: &str) {
        self.kept.push_back(batch.uncapped());
        self.went(error);
        let counts = self.shared.settings.load().count_when_away;
        for (waiting, ruling, undo) in decided {
            let answer = match ruling {
                Ruling::Over(_) => Ok(ruling),
                Ruling::Pass => {
                    if !counts {
                        let draft = waiting.draft();
                        self.shared.shard(&draft).lock().revoke(self.shared.now(), &draft, &undo);
                    }
                    Err(Unavailable::new(format!("the counters can't be written: {error}")))
                }
            };
            waiting.answer.send(answer);
        }
    }

    /// A request that passes needs no confirmation: the statement that charges it is held against the
    /// limit. A refusal does, unless its counter was seen in the database a moment ago.
    fn is_confirmed(&self, waiting: &Waiting, ruling: Ruling) -> bool {
        let Ruling::Over(over) = ruling else { return true };
        let draft = waiting.draft();
        if draft.force {
            return true;
        }
        let key = (u8::from(over.domain), if over.domain { draft.domain } else { draft.account }.into());
        self.confirmed.get(&key).is_some_and(|at| at.elapsed() < CONFIRMED)
    }

    /// Decides `waiting` in transactions that hold the rows, until one of them is committed.
    async fn answer_after_holding(&mut self, waiting: Vec<Waiting>) {
        let mut round = Round { waiting, ..Round::default() };
        for attempt in 1..=ATTEMPTS {
            let result = timeout(PATIENCE, self.hold(&mut round)).await.unwrap_or_else(|_| Err(patience()));
            self.database.observe(&result);
            let Err(error) = result else { return self.answer(round.decided) };
            if let Some(batch) = round.committing {
                return self.keep(batch, round.decided, &error.to_string());
            }
            // Nothing was written: as if nothing had been decided.
            if !round.decided.is_empty() {
                round.waiting = self.undo(std::mem::take(&mut round.decided));
            }
            if fault(&error) == Fault::Away {
                self.went(&error.to_string());
                return self.answer_in_memory(round.waiting);
            }
            tokio::time::sleep(Duration::from_millis(u64::from(attempt.min(10)))).await;
        }
        for waiting in round.waiting {
            waiting.answer.send(Err(Unavailable::new("other daemons keep the counters busy")));
        }
    }

    /// One transaction: locks the rows, reads them, decides, writes.
    async fn hold(&mut self, round: &mut Round) -> Result<(), DbErr> {
        let is_sqlite = self.database.backend() == DatabaseBackend::Sqlite;
        let transaction = self
            .database
            .begin(TransactionOptions {
                // Rows that are not there yet must not be locked as gaps: two daemons would wait for each other.
                isolation_level: (!is_sqlite).then_some(IsolationLevel::ReadCommitted),
                sqlite_transaction_mode: is_sqlite.then_some(SqliteTransactionMode::Immediate),
                ..TransactionOptions::default()
            })
            .await?;
        let keys = keys(&round.waiting);
        let statement = self.sql.read(keys.iter().map(|(kind, name)| (*kind, &**name)), true);
        let rows = transaction.query_all_raw(statement).await?;
        let stored = rows.iter().map(stored).collect::<Result<Vec<_>, _>>()?;
        let now = Instant::now();
        self.confirmed.extend(keys.iter().map(|key| (key.clone(), now)));
        self.take_over(keys.into_iter(), &stored);
        round.decided = self.decide(std::mem::take(&mut round.waiting));
        let limits = limits(&round.decided);
        let rows = self.take_all_rows(|key| limits.get(key).copied());
        if rows.is_empty() {
            return transaction.rollback().await;
        }
        self.sequence += 1;
        let batch = Batch::new(self.sequence, rows);
        let closes = own_closes(signed(self.shared.now()));
        transaction.execute_raw(self.addition(&batch, closes)).await?;
        round.committing = Some(batch);
        transaction.commit().await?;
        round.committing = None;
        self.was_added(closes);
        Ok(())
    }
}

/// The limits that each counter was decided by; of several the last.
fn limits(decided: &Decided) -> HashMap<Key, Limits> {
    let touched = decided.iter().flat_map(|(_, _, undo)| &undo.counters);
    touched.map(|(key, _, limits)| (key.clone(), *limits)).collect()
}

/// The counters that `waiting` draws on, each once.
fn keys(waiting: &[Waiting]) -> Vec<Key> {
    let mut keys: Vec<Key> = waiting.iter().flat_map(|waiting| waiting.draft().keys()).collect();
    keys.sort_unstable();
    keys.dedup();
    keys
}

//! The writer of a ledger: the only one that takes its counters to the database.
//!
//! There is no timer in `strict`: the batch in flight is the window in which the next one gathers. What
//! the database could not be told is kept, in order, and told again until it is known to be written; a
//! batch carries a number, so that telling it twice counts it once (see `sql`).
//!
//! When the database does not answer, counting goes on in memory: `relaxed` as ever, `strict` refuses
//! what is over a limit and answers "could not ask" to the rest.

use std::collections::{HashMap, VecDeque};
use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::time::Duration;

use futures_util::FutureExt as _;
use sea_orm::{ConnectionTrait as _, DbErr, Statement};
use slog::{Logger, error, info, warn};
use tokio::sync::mpsc;
use tokio::time::{Instant, sleep, sleep_until, timeout};

use super::book::{Key, Limits, Ruling, Undo};
use super::fault::{Fault, fault, is_patience, patience};
use super::ledger::{Answer, Durability, Order, Shared, Waiting};
use super::rows::{Batch, Row};
use super::sql::{Sql, Stored, own_closes, stored};
use crate::database::{Database, Probe};
use crate::module::Unavailable;
use crate::supervise::panic_text;

/// Rows of one statement: SQLite takes 32,766 parameters, a row has 13.
const MAX_ROWS: usize = 2000;
/// Requests decided together: each has at most four rows.
const MAX_REQUESTS: usize = MAX_ROWS / 4;
/// How long the database may take over a batch before it counts as away. Below a module's deadline.
pub(super) const PATIENCE: Duration = Duration::from_secs(4);
/// How often a batch that met another writer is tried again.
const MEETINGS: u32 = 20;
/// Between two looks for closed counters in the database.
pub(super) const CLEANING: Duration = Duration::from_secs(600);
/// How long closed counters stay, in seconds, for daemons whose clock is behind.
pub(super) const CLOSED_SECONDS: i64 = 86_400;
/// How long a refusal that was held against the database holds without asking again.
pub(super) const CONFIRMED: Duration = Duration::from_secs(1);

/// Before a writer that crashed begins anew.
const CRASHED: Duration = Duration::from_millis(100);

/// Why a writer stopped working.
enum Ended {
    /// It was told to end, or nobody is left.
    Closed,
    /// It was told to begin anew.
    Restart,
}

/// What became of a batch.
pub(super) enum Written {
    Yes,
    /// A limit would have been passed.
    Refused,
    /// Not known to be written; why.
    Unknown(String),
}

pub(super) struct Writer {
    pub(super) shared: Arc<Shared>,
    pub(super) database: Database,
    pub(super) sql: Sql,
    pub(super) log: Logger,
    /// Number of the last batch that was made.
    pub(super) sequence: i64,
    /// When the writer's own row closes, as it is stored.
    own_closes: i64,
    /// Batches that are not known to be written, the oldest first.
    pub(super) kept: VecDeque<Batch>,
    /// Why nothing can be written, and how long to wait before the next attempt.
    pub(super) away: Option<(String, Duration)>,
    /// Refusals held against the database not long ago.
    pub(super) confirmed: HashMap<Key, Instant>,
    pub(super) next_shard: usize,
    pub(super) next_cleaning: Instant,
    /// Looks whether the database is back, while requests are answered.
    pub(super) probe: Probe,
}

impl Writer {
    pub(super) fn new(shared: Arc<Shared>, database: Database, sql: Sql, log: Logger) -> Self {
        Self {
            shared,
            database,
            sql,
            log,
            sequence: 0,
            own_closes: 0,
            kept: VecDeque::new(),
            away: None,
            confirmed: HashMap::new(),
            next_shard: 0,
            next_cleaning: Instant::now() + CLEANING / 10,
            probe: Probe::default(),
        }
    }

    /// Works until it is told to close, or nobody is left to tell it anything. A panic ends only what was
    /// in hand: what is not known to be written stays, and is written after the restart.
    pub(super) async fn run(mut self, mut orders: mpsc::UnboundedReceiver<Order>) {
        loop {
            match AssertUnwindSafe(self.work(&mut orders)).catch_unwind().await {
                Ok(Ended::Closed) => return,
                Ok(Ended::Restart) => info!(self.log, "writer of counters restarted by order"),
                Err(panic) => {
                    error!(self.log, "writer of counters crashed, restarting"; "panic" => panic_text(&*panic));
                    sleep(CRASHED).await;
                }
            }
        }
    }

    async fn work(&mut self, orders: &mut mpsc::UnboundedReceiver<Order>) -> Ended {
        let shared = self.shared.clone();
        let mut next = Instant::now() + self.pause();
        loop {
            tokio::select! {
                biased;
                order = orders.recv() => match order {
                    Some(Order::Flush(done)) => {
                        let _ = done.send(self.flush().await);
                    }
                    Some(Order::Refresh(keys, done)) => {
                        let _ = done.send(self.re_read(keys).await);
                    }
                    Some(Order::Reset(name, done)) => {
                        let _ = done.send(self.reset(&name).await);
                    }
                    Some(Order::Restart(done)) => {
                        let _ = done.send(Ok(()));
                        return Ended::Restart;
                    }
                    Some(Order::Close(done)) => {
                        let _ = done.send(self.close().await);
                        return Ended::Closed;
                    }
                    None => {
                        let _ = self.close().await;
                        return Ended::Closed;
                    }
                },
                is_back = self.probe.answered() => {
                    if is_back {
                        self.try_again().await;
                    }
                    next = Instant::now() + self.pause();
                }
                () = shared.queue.woken() => {
                    self.answer_waiting().await;
                    // settings may have changed
                    next = next.min(Instant::now() + self.pause());
                }
                () = sleep_until(next) => {
                    self.tick().await;
                    next = Instant::now() + self.pause();
                }
            }
        }
    }

    fn pause(&self) -> Duration {
        match &self.away {
            Some((_, pause)) => *pause,
            None => self.shared.settings.load().flush_interval,
        }
    }

    /// Writes what was kept and what is dirty. A success ends an absence.
    pub(super) async fn flush(&mut self) -> Result<(), String> {
        // What is charged meanwhile is for the next time: under load there is no end to it.
        let mut owed: Vec<_> = self.shared.shards.iter().map(|shard| shard.lock().dirty()).collect();
        loop {
            if self.kept.is_empty() {
                self.set_back().await?;
            }
            let batch = match self.kept.front() {
                Some(kept) => kept.clone(),
                None => match self.gather(&mut owed) {
                    Some(batch) => batch,
                    None => return Ok(()),
                },
            };
            if self.kept.is_empty() {
                self.kept.push_back(batch.clone());
            }
            self.note_facts();
            match self.write(&batch).await {
                Written::Yes => {
                    self.kept.pop_front();
                    self.note_facts();
                    self.came_back();
                    if self.kept.is_empty() && !self.shared.times.went_back() {
                        self.refresh(&batch).await;
                    }
                }
                Written::Refused => {
                    // Without limits only a CHECK that we did not make can refuse it.
                    let error = "the table refuses the batch".to_owned();
                    self.went(&error);
                    return Err(error);
                }
                Written::Unknown(error) => {
                    self.went(&error);
                    return Err(error);
                }
            }
        }
    }

    /// A batch of what is dirty, held against no limit; of each shard no more than is `owed`.
    fn gather(&mut self, owed: &mut [usize]) -> Option<Batch> {
        let rows = self.take_rows(owed, |_| None);
        (!rows.is_empty()).then(|| {
            self.sequence += 1;
            Batch::new(self.sequence, rows)
        })
    }

    /// Takes all that is dirty out of the books.
    pub(super) fn take_all_rows(&self, limits: impl Fn(&Key) -> Option<Limits>) -> Vec<Row> {
        self.take_rows(&mut vec![MAX_ROWS; self.shared.shards.len()], limits)
    }

    fn take_rows(&self, owed: &mut [usize], limits: impl Fn(&Key) -> Option<Limits>) -> Vec<Row> {
        let mut rows = Vec::new();
        for (shard, owed) in self.shared.shards.iter().zip(owed) {
            while *owed > 0 && rows.len() < MAX_ROWS {
                let room = (*owed).min(MAX_ROWS - rows.len());
                let looked_at = shard.lock().take_dirty(room, |key, counter| {
                    let limits = limits(&key);
                    let row = Row::of(key.0, key.1, counter);
                    rows.push(match limits {
                        Some(limits) => row.capped(&limits),
                        None => row,
                    });
                });
                // Fewer than were owed are left when a reload took some.
                *owed = if looked_at == 0 { 0 } else { *owed - looked_at };
            }
        }
        rows
    }

    /// Re-reads what `batch` changed: other daemons may have charged it too.
    async fn refresh(&self, batch: &Batch) {
        let statement = self.sql.read(batch.rows.iter().map(|row| (row.kind, &*row.name)), false);
        let result = timeout(PATIENCE, self.database.writer().query_all_raw(statement)).await;
        let Ok(Ok(rows)) = result else { return };
        let Ok(stored) = rows.iter().map(stored).collect::<Result<Vec<_>, _>>() else { return };
        self.take_over(batch.rows.iter().map(|row| (row.kind, row.name.clone())), &stored);
    }

    /// Makes the counters `keys` say what is stored, and what is not written yet.
    pub(super) fn take_over(&self, keys: impl Iterator<Item = Key>, stored: &[Stored]) {
        let stored: HashMap<_, _> =
            stored.iter().map(|stored| ((stored.kind, stored.name.as_slice()), stored)).collect();
        for (kind, name) in keys {
            let stored = stored.get(&(kind, &*name));
            let mut book = self.shared.shard_of_key(kind, &name).lock();
            // What is stored may be of windows that have not begun any more.
            if self.shared.times.went_back() {
                return;
            }
            if stored.is_none() && book.find(kind, &name).is_none() {
                continue;
            }
            let counter = book.counter(kind, &name);
            for (window, tally) in counter.tallies.iter_mut().enumerate() {
                tally.refresh(stored.map(|stored| stored.windows[window]));
            }
            counter.stored_closes = stored.map_or(0, |stored| stored.closes);
            counter.closes = counter.closes.max(counter.stored_closes);
        }
    }

    /// Writes one batch, and finds out whether it was written when that is in doubt.
    pub(super) async fn write(&mut self, batch: &Batch) -> Written {
        let mut meetings = 0;
        let mut is_second = false;
        loop {
            let closes = own_closes(signed(self.shared.now()));
            let error = match self.execute(self.addition(batch, closes)).await {
                Ok(_) => {
                    self.was_added(closes);
                    return Written::Yes;
                }
                Err(error) => error,
            };
            match fault(&error) {
                Fault::Refused => return self.was_written(batch).await,
                Fault::Again if meetings < MEETINGS => {
                    meetings += 1;
                    tokio::time::sleep(Duration::from_millis(u64::from(meetings))).await;
                }
                // A connection that was idle while the server was started again fails once.
                Fault::Away if !is_second && self.away.is_none() && !is_patience(&error) => is_second = true,
                _ => return Written::Unknown(error.to_string()),
            }
        }
    }

    /// The statement that adds `batch`; the writer's own row closes at `closes`.
    pub(super) fn addition(&self, batch: &Batch, closes: i64) -> Statement {
        self.sql.add(batch, closes, closes > self.own_closes)
    }

    /// A batch was added by [`Writer::addition`].
    pub(super) fn was_added(&mut self, closes: i64) {
        self.own_closes = self.own_closes.max(closes);
        self.shared.facts.lock().batches += 1;
    }

    /// A CHECK refused `batch`: because it is written already, or because of a limit.
    async fn was_written(&self, batch: &Batch) -> Written {
        let result = timeout(PATIENCE, self.database.writer().query_one_raw(self.sql.last_written(false))).await;
        match result.map(|result| result.and_then(|row| row.map(|row| row.try_get_by_index::<i64>(0)).transpose())) {
            Ok(Ok(Some(last))) if last >= batch.sequence => Written::Yes,
            Ok(Ok(_)) => Written::Refused,
            Ok(Err(error)) => Written::Unknown(error.to_string()),
            Err(_) => Written::Unknown(patience().to_string()),
        }
    }

    /// Executes `statement`; how many rows it changed.
    pub(super) async fn execute(&self, statement: Statement) -> Result<u64, DbErr> {
        let result = timeout(PATIENCE, self.database.writer().execute_raw(statement)).await;
        let result = result.unwrap_or_else(|_| Err(patience()));
        self.database.observe(&result);
        result.map(|done| done.rows_affected())
    }

    /// Decides all that wait.
    pub(super) async fn answer_waiting(&mut self) {
        loop {
            let waiting = self.shared.queue.take(MAX_REQUESTS);
            if waiting.is_empty() {
                return;
            }
            if self.away.is_some() {
                self.answer_in_memory(waiting);
            } else {
                self.answer_after_commit(waiting).await;
            }
        }
    }

    /// Answers while the database is away: a refusal stands, the rest could not be asked.
    pub(super) fn answer_in_memory(&mut self, waiting: Vec<Waiting>) {
        let counts = self.shared.settings.load().count_when_away;
        let why = self.away.as_ref().map_or_else(String::new, |(why, _)| why.clone());
        let now = self.shared.now();
        for waiting in waiting {
            if waiting.answer.is_closed() && !counts {
                continue;
            }
            let mut undo = Undo::default();
            let mut book = self.shared.shard(&waiting.draft()).lock();
            let ruling = book.decide(now, &waiting.draft(), Some(&mut undo));
            let answer: Answer = match ruling {
                Ruling::Over(_) => Ok(ruling),
                Ruling::Pass => Err(Unavailable::new(format!("the counters can't be written: {why}"))),
            };
            if answer.is_err() && !counts {
                book.undo(undo);
            }
            drop(book);
            // It may have given up waiting: its request was answered without us.
            waiting.answer.send(answer);
        }
    }

    pub(super) fn went(&mut self, why: &str) {
        if self.away.is_none() {
            let durability = self.shared.settings.load().durability;
            let how =
                if durability == Durability::Strict { "answers are not durable" } else { "counting goes on in memory" };
            warn!(self.log, "counters can't be written: {}", how; "error" => why);
            self.away = Some((why.to_owned(), Duration::from_millis(50)));
        }
        self.note_facts();
    }

    pub(super) fn came_back(&mut self) {
        if self.away.take().is_some() {
            info!(self.log, "counters are written again");
            self.note_facts();
        }
    }

    pub(super) fn note_facts(&self) {
        let mut facts = self.shared.facts.lock();
        facts.in_batches = self.kept.iter().map(|batch| batch.rows.len()).sum();
        facts.batches_since = match facts.in_batches {
            0 => None,
            _ => facts.batches_since.or_else(|| Some(self.shared.now())),
        };
        facts.away = self.away.as_ref().map(|(why, _)| why.clone());
    }
}

/// Seconds as the database has them.
pub(super) fn signed(seconds: u64) -> i64 {
    i64::try_from(seconds).unwrap_or(i64::MAX)
}

//! The writer of a ledger: the only one that takes its counters to the database.
//!
//! There is no timer in `strict`: the batch in flight is the window in which the next one gathers. It goes to the
//! journal first, in `relaxed` to the counters' table at once. What the database could not be told is kept, in order,
//! and told again until it is known to be written; a batch carries a number, so that telling it twice counts it once
//! (see `append`, `sql`).
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
use tokio::time::{Instant, sleep, sleep_until};

use super::append::Written;
use super::book::{Key, Ruling, Undo};
use super::fault::in_time;
use super::fold::{Folding, done};
use super::journal::{Journal, MANY};
use super::ledger::{Answer, Durability, Order, SHARDS, Shared, Waiting};
use super::rows::{Batch, Row};
use super::sql::{Sql, Stored};
use crate::database::{Database, Held, Probe};
use crate::module::Unavailable;
use crate::supervise::panic_text;

/// Rows of one statement: SQLite takes 32,766 parameters, a row has 13.
pub(super) const MAX_ROWS: usize = 2000;
/// Requests decided together: each has at most four rows.
const MAX_REQUESTS: usize = MAX_ROWS / 4;
/// How long the database may take over a batch before it counts as away. Below a module's deadline.
pub(super) const PATIENCE: Duration = Duration::from_secs(4);
/// How often a batch of what was left is tried again that other daemons were quicker than.
const ATTEMPTS: u32 = 50;
/// The longest that entries of the journal stay before they are taken to the table.
const LONGEST: Duration = Duration::from_secs(1);
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

pub(super) struct Writer {
    pub(super) shared: Arc<Shared>,
    pub(super) database: Database,
    pub(super) sql: Sql,
    pub(super) log: Logger,
    /// Number of the last batch that was made.
    pub(super) sequence: i64,
    /// When the writer's own row closes, as it is stored.
    pub(super) own_closes: i64,
    /// What entries of the journal are written by.
    pub(super) held: Held,
    /// What is known of the journal.
    pub(super) journal: Journal,
    /// What is on its way from there to the table.
    pub(super) folding: Option<Folding>,
    /// Why that failed when it was last tried.
    pub(super) fold_trouble: Option<String>,
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
            held: Held::default(),
            journal: Journal::default(),
            folding: None,
            fold_trouble: None,
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
                        let _ = done.send(self.flush_all().await);
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
                folded = done(&mut self.folding) => drop(self.was_folded(folded)),
                () = sleep_until(next) => {
                    self.tick().await;
                    next = Instant::now() + self.pause();
                }
                // Last, and one batch at a time: under load there is no end to them.
                () = shared.queue.woken() => {
                    self.answer_batch().await;
                    if !shared.queue.is_empty() {
                        shared.queue.wake();
                    }
                    // settings may have changed
                    next = next.min(Instant::now() + self.pause());
                }
            }
        }
    }

    fn pause(&self) -> Duration {
        let flush_interval = self.shared.settings.load().flush_interval;
        match &self.away {
            Some((_, pause)) => *pause,
            None if self.journal.is_open => flush_interval.min(LONGEST),
            None => flush_interval,
        }
    }

    /// Writes what was kept and what is dirty: to the journal, or if none is open to the table. A success ends an
    /// absence.
    pub(super) async fn flush(&mut self) -> Result<(), String> {
        // What is charged meanwhile is for the next time: under load there is no end to it.
        let mut owed: Vec<_> = self.shared.shards.iter().map(|shard| shard.lock().dirty()).collect();
        let mut attempts = 0;
        loop {
            if self.kept.is_empty() {
                self.set_back().await?;
                self.make_room().await.map_err(|error| self.went(&error.to_string()))?;
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
                Written::Refused if batch.number.is_some() && attempts < ATTEMPTS => {
                    // It is not written, and never will be with that number.
                    attempts += 1;
                    self.follow().await.map_err(|error| self.went(&error.to_string()))?;
                    let number = self.journal.is_open.then_some(self.journal.position + 1);
                    self.kept[0] = Batch { number, ..batch };
                }
                Written::Refused => {
                    // Only a CHECK that we did not make can refuse it, or daemons that keep each other busy.
                    return Err(self.went("the table refuses the batch"));
                }
                Written::Unknown(error) => return Err(self.went(&error)),
            }
        }
    }

    /// The same, and takes all of it from the journal to the table.
    pub(super) async fn flush_all(&mut self) -> Result<(), String> {
        self.flush().await?;
        self.fold_all().await.map_err(|error| error.to_string())
    }

    /// Sees to it that the journal, if it is open, has room for an entry.
    pub(super) async fn make_room(&mut self) -> Result<(), DbErr> {
        if !self.journal.is_open {
            return Ok(());
        }
        if self.journal.waiting() >= MANY {
            self.start_fold().await?;
        }
        if self.journal.has_room() { Ok(()) } else { self.fold_all().await }
    }

    /// A batch of what is dirty; of each shard no more than is `owed`.
    fn gather(&mut self, owed: &mut [usize]) -> Option<Batch> {
        let rows = self.take_rows(owed);
        (!rows.is_empty()).then(|| self.next_batch(rows))
    }

    /// The next batch, of `rows`: an entry of the journal, if it is open.
    pub(super) fn next_batch(&mut self, rows: Vec<Row>) -> Batch {
        self.sequence += 1;
        if self.journal.is_open {
            Batch::entry(self.sequence, self.journal.position + 1, rows)
        } else {
            Batch::new(self.sequence, rows)
        }
    }

    /// Takes all that is dirty out of the books.
    pub(super) fn take_all_rows(&self) -> Vec<Row> {
        self.take_rows(&mut [MAX_ROWS; SHARDS])
    }

    fn take_rows(&self, owed: &mut [usize]) -> Vec<Row> {
        let mut rows = Vec::new();
        for (shard, owed) in self.shared.shards.iter().zip(owed) {
            while *owed > 0 && rows.len() < MAX_ROWS {
                let room = (*owed).min(MAX_ROWS - rows.len());
                let looked_at = shard.lock().take_dirty(room, |key, counter| rows.push(Row::of(key.0, key.1, counter)));
                // Fewer than were owed are left when a reload took some.
                *owed = if looked_at == 0 { 0 } else { *owed - looked_at };
            }
        }
        rows
    }

    /// Re-reads what `batch` changed: other daemons may have charged it too.
    async fn refresh(&mut self, batch: &Batch) {
        let statement = self.sql.read(batch.rows.iter().map(|row| (row.kind, &*row.name)), false);
        let Ok(stored) = self.look(Some(statement)).await else { return };
        self.take_over(batch.rows.iter().map(|row| (row.kind, row.name.clone())), &stored);
    }

    /// Makes the counters `keys` say what is stored, what is not folded, and what is not written yet. The rows `stored`
    /// are those of the moment that memory knows the journal of.
    pub(super) fn take_over(&self, keys: impl Iterator<Item = Key>, stored: &[Stored]) {
        let stored: HashMap<_, _> =
            stored.iter().map(|stored| ((stored.kind, stored.name.as_slice()), stored)).collect();
        for key in keys {
            let stored = self.journal.with_unfolded(&key, stored.get(&(key.0, &*key.1)).copied());
            let (kind, name) = key;
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
                tally.refresh(stored.as_ref().map(|stored| stored.windows[window]));
            }
            counter.stored_closes = stored.map_or(0, |stored| stored.closes);
            counter.closes = counter.closes.max(counter.stored_closes);
        }
    }

    /// Executes `statement`; how many rows it changed.
    pub(super) async fn execute(&self, statement: Statement) -> Result<u64, DbErr> {
        let result = in_time(self.database.writer().execute_raw(statement)).await;
        self.database.observe(&result);
        result.map(|done| done.rows_affected())
    }

    /// Decides some of those that wait, the oldest.
    pub(super) async fn answer_batch(&mut self) {
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

    /// Nothing can be written at present; gives back why.
    pub(super) fn went(&mut self, why: &str) -> String {
        if self.away.is_none() {
            let durability = self.shared.settings.load().durability;
            let how =
                if durability == Durability::Strict { "answers are not durable" } else { "counting goes on in memory" };
            warn!(self.log, "counters can't be written: {}", how; "error" => why);
            self.away = Some((why.to_owned(), Duration::from_millis(50)));
        }
        self.note_facts();
        why.to_owned()
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

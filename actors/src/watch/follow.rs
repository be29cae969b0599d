//! One followed table: the task that reads its rows and hands them to its follower.

use std::collections::HashSet;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};

use parking_lot::Mutex;
use sea_orm::{DatabaseConnection, DbErr};
use slog::{Logger, error, info, o, warn};
use tokio::sync::{Semaphore, mpsc, oneshot};
use tokio::time::Instant as Deadline;

use crate::database::WeakDatabase;
use crate::restart::jittered;
use crate::watch::blocks::Blocks;
use crate::watch::comparing::Answer;
use crate::watch::follower::{Change, Column, Follower};
use crate::watch::ids::Ids;
use crate::watch::loading::{BadRows, Loading, read};
use crate::watch::poller::Command;
use crate::watch::rows::{Query, absent};
use crate::watch::status::{self, Source};
use crate::watch::supervised::Task;

/// From here on, changes of more than half of the table are cheaper read as a whole table.
const MANY: usize = if cfg!(test) { 400 } else { 20_000 };
/// How long to wait before a failed question is asked again.
const AGAIN: Duration = Duration::from_millis(500);

/// What reaches the task of a followed table.
#[derive(Debug)]
pub(super) enum Event {
    /// Rows with the ids `ids` were written; of these, those in `new` were not there before.
    Written { ids: Vec<i64>, new: Vec<i64> },
    /// Anything may have changed; why.
    Reload(&'static str),
    /// The database is back, or the table's triggers were made: compare soon.
    Compare,
    /// First and last id as the database has them, once the rows written before are read.
    Bounds(Option<(i64, i64)>),
    /// The checksums that were asked for.
    Compared(Answer),
    /// Every change that was noted before the last comparison has been passed on.
    Settled,
    /// Changes are learnt this way from now on.
    Source(Source),
    /// Make sure that everything committed so far is published, then say so.
    Refresh(oneshot::Sender<Result<(), DbErr>>),
}

/// What the task of a followed table is connected to.
pub(super) struct Links {
    /// For loading.
    pub(super) pool: DatabaseConnection,
    pub(super) database: WeakDatabase,
    /// The poller, and how it reaches this task.
    pub(super) commands: mpsc::UnboundedSender<Command>,
    pub(super) events: mpsc::UnboundedSender<Event>,
    pub(super) status: Arc<status::Shared>,
    /// One comparison at a time, in all tables.
    pub(super) comparing: Arc<Semaphore>,
}

pub(super) struct Follow<F: Follower> {
    /// Locked by the thread that works with it.
    pub(super) follower: Arc<Mutex<F>>,
    pub(super) table: &'static str,
    pub(super) columns: &'static [Column],
    /// Those of the columns that the table lacks.
    pub(super) absent: Vec<&'static str>,
    pub(super) query: Query,
    pub(super) links: Links,
    pub(super) log: Logger,
    pub(super) ids: Ids,
    pub(super) bad: BadRows,
    pub(super) blocks: Blocks,
    /// What is still to be read.
    pub(super) written: HashSet<i64>,
    pub(super) reload: Option<&'static str>,
    pub(super) compare_at: Deadline,
    /// Changes may have been missed since the last comparison.
    pub(super) doubtful: bool,
    /// Ranges that differ although nothing was noted, until notes that were on their way have arrived.
    pub(super) suspect: Vec<(i64, i64)>,
    pub(super) settled: bool,
    pub(super) answer: Option<Answer>,
    pub(super) source: Source,
    pub(super) loaded: Instant,
    /// Bounds that did not fit ours when last seen.
    pub(super) odd_bounds: Option<Option<(i64, i64)>>,
}

/// The task of a followed table.
pub(super) struct Following<F: Follower> {
    pub(super) follow: Follow<F>,
    pub(super) events: mpsc::UnboundedReceiver<Event>,
    /// Following ends when its other end is dropped.
    pub(super) held: oneshot::Receiver<()>,
}

impl<F: Follower> Task for Following<F> {
    /// Serves events until nobody holds the handle.
    async fn run(&mut self) {
        let Self { follow, events, held } = self;
        let mut waiting = Vec::new();
        loop {
            let idle = follow.written.is_empty() && follow.reload.is_none();
            let compare = tokio::select! {
                // Never sent: an error says that the handle was dropped.
                _ = &mut *held => return,
                event = events.recv() => {
                    let Some(event) = event else { return };
                    follow.take(event, &mut waiting);
                    // One question for all that came together.
                    while let Ok(event) = events.try_recv() {
                        follow.take(event, &mut waiting);
                    }
                    !waiting.is_empty() && follow.source == Source::Checksums
                }
                () = tokio::time::sleep(AGAIN), if !idle => false,
                () = tokio::time::sleep_until(follow.compare_at), if idle => true,
            };
            let mut result = follow.catch_up().await;
            if result.is_ok() && std::mem::take(&mut follow.settled) {
                result = follow.judge().await;
            }
            if result.is_ok()
                && let Some(answer) = follow.answer.take()
            {
                result = follow.compare(answer).await;
            }
            if compare && result.is_ok() {
                match follow.source {
                    Source::Triggers => follow.start_comparison(),
                    Source::Checksums => result = follow.compare_now().await,
                }
            }
            follow.note(&result);
            for done in waiting.drain(..) {
                // Who asked may have gone.
                let _ = done.send(result.clone());
            }
        }
    }

    fn recover(&mut self) {
        // What was being read when it crashed is not known.
        self.follow.reload = Some("following crashed");
    }
}

impl<F: Follower> Follow<F> {
    pub(super) fn new(follower: F, links: Links, log: &Logger, source: Source) -> Self {
        links.status.update(|status| status.source = source);
        let (table, columns, backend) = (follower.table(), follower.columns(), links.pool.get_database_backend());
        let query = Query::new(backend, table, columns, &[]);
        let blocks = Blocks::new(backend, table, columns);
        let log = log.new(o!("table" => table));
        Self {
            follower: Arc::new(Mutex::new(follower)),
            table,
            columns,
            absent: Vec::new(),
            query,
            links,
            ids: Ids::default(),
            bad: BadRows::new(log.clone()),
            log,
            blocks,
            written: HashSet::new(),
            reload: None,
            compare_at: Deadline::now(),
            doubtful: false,
            suspect: Vec::new(),
            settled: false,
            answer: None,
            source,
            loaded: Instant::now(),
            odd_bounds: None,
        }
    }

    fn take(&mut self, event: Event, waiting: &mut Vec<oneshot::Sender<Result<(), DbErr>>>) {
        match event {
            Event::Written { ids, new } => {
                self.take_new(&new);
                self.written.extend(ids);
            }
            Event::Reload(why) => self.reload = Some(why),
            Event::Compare => {
                self.doubtful = true;
                self.compare_at = Deadline::now() + jittered(Duration::from_secs(1));
            }
            Event::Bounds(bounds) => self.take_bounds(bounds),
            Event::Compared(answer) => self.answer = Some(answer),
            Event::Settled => self.settled = true,
            Event::Source(source) => {
                self.source = source;
                self.links.status.update(|status| status.source = source);
                // What changed before the triggers were there, or after they were gone, nobody noted.
                self.reload = Some("changes are learnt in another way");
            }
            Event::Refresh(done) => waiting.push(done),
        }
    }

    /// A table that was truncated and filled again may have the bounds it had; but then rows appear
    /// that we have already. (So do, for a moment, those that the load of a whole table has seen first.)
    fn take_new(&mut self, new: &[i64]) {
        let settled = self.loaded.elapsed() > Duration::from_secs(2) && self.reload.is_none();
        if settled && new.iter().any(|id| self.ids.contains(*id) && !self.written.contains(id)) {
            self.reload = Some("truncated and filled again");
        }
    }

    /// MySQL has no trigger for TRUNCATE: it shows in the bounds. Bounds seen between two of our own
    /// questions may be ahead of us once, but not twice.
    fn take_bounds(&mut self, bounds: Option<(i64, i64)>) {
        if !self.written.is_empty() || self.reload.is_some() || bounds == self.ids.first().zip(self.ids.last()) {
            self.odd_bounds = None;
        } else if self.odd_bounds == Some(bounds) {
            self.odd_bounds = None;
            self.reload = Some("truncated");
        } else {
            self.odd_bounds = Some(bounds);
        }
    }

    /// Reads what is known to have changed.
    async fn catch_up(&mut self) -> Result<(), DbErr> {
        if let Some(why) = self.reload {
            return self.load(why).await;
        }
        if self.written.is_empty() {
            return Ok(());
        }
        if self.written.len() > MANY && self.written.len() as u64 > self.ids.len() / 2 {
            return self.load("most rows changed").await;
        }
        let mut ids: Vec<i64> = self.written.iter().copied().collect();
        ids.sort_unstable();
        self.apply(&ids).await?;
        self.written.clear();
        Ok(())
    }

    /// Reads the rows with these ids and applies how they are now.
    pub(super) async fn apply(&mut self, ids: &[i64]) -> Result<(), DbErr> {
        let rows = self.query.with_ids(&self.links.pool, ids).await;
        self.observe(&rows);
        let rows = rows?;
        let columns = self.columns;
        let read = self.lend(move |follower| {
            rows.iter().map(|result| read(follower, columns, result)).collect::<Result<Vec<_>, _>>()
        });
        let read = read.await??;
        let mut gone: HashSet<i64> = ids.iter().copied().collect();
        let mut changes = Vec::with_capacity(ids.len());
        for (id, row) in read {
            gone.remove(&id);
            self.ids.insert(id);
            match row {
                Ok(row) => {
                    self.bad.remove(id);
                    changes.push(Change::Is(id, row));
                }
                Err(why) => {
                    self.bad.add(id, why);
                    changes.push(Change::Gone(id));
                }
            }
        }
        self.bad.summary();
        for id in gone {
            self.ids.remove(id);
            self.bad.remove(id);
            changes.push(Change::Gone(id));
        }
        if self.source == Source::Triggers {
            self.blocks.touch(ids);
        }
        let number = changes.len() as u64;
        self.lend(move |follower| follower.apply(changes)).await?;
        let (rows, bad_rows) = (self.ids.len(), self.bad.len());
        self.links.status.update(|status| {
            status.rows = rows;
            status.bad_rows = bad_rows;
            status.changed = Some(SystemTime::now());
            status.changes += number;
        });
        Ok(())
    }

    /// Loads the whole table and publishes it.
    pub(super) async fn load(&mut self, why: &'static str) -> Result<(), DbErr> {
        let since = Instant::now();
        let (pieces, coming) = mpsc::channel(2);
        self.look_for_columns().await?;
        let columns = self.columns;
        let bad = self.bad.again();
        let (query, pool) = (self.query.clone(), self.links.pool.clone());
        self.blocks.forget();
        if self.source == Source::Checksums {
            // Before the rows: what changes in between differs at the next comparison.
            self.compare_now().await?;
        }
        let building = self.lend(move |follower| {
            let mut loading = Loading::new(follower, columns, coming, bad);
            let loaded = follower.load(&mut loading);
            // What it did not take is there nevertheless.
            loading.by_ref().for_each(drop);
            (loaded, loading.ids, loading.bad, loading.error)
        });
        let (read, built) = tokio::join!(query.all(&pool, pieces), building);
        self.observe(&read);
        let (loaded, ids, bad, unread) = built?;
        read?;
        if let Some(unread) = unread {
            return Err(unread);
        }
        self.lend(move |follower| follower.replace(loaded)).await?;
        self.ids = ids;
        self.bad = bad;
        self.bad.summary();
        self.written.clear();
        self.suspect.clear();
        self.reload = None;
        self.loaded = Instant::now();
        self.plan_comparison(Duration::ZERO);
        let (rows, bad_rows) = (self.ids.len(), self.bad.len());
        self.links.status.update(|status| {
            status.rows = rows;
            status.bad_rows = bad_rows;
            status.loaded = Some(SystemTime::now());
            status.changed = status.loaded;
            status.loads += 1;
        });
        let milliseconds = u64::try_from(since.elapsed().as_millis()).unwrap_or(u64::MAX);
        info!(self.log, "table loaded"; "rows" => rows, "not_usable" => bad_rows, "reason" => why, "milliseconds" => milliseconds);
        Ok(())
    }

    /// Whether the table has, or lacks, optional columns: it may be another one than before.
    async fn look_for_columns(&mut self) -> Result<(), DbErr> {
        let absent = absent(&self.links.pool, self.table, self.columns).await;
        self.observe(&absent);
        let absent = absent?;
        if absent != self.absent {
            for column in &absent {
                warn!(self.log, "the table lacks a column, which reads as NULL"; "column" => column);
            }
            self.query = Query::new(self.links.pool.get_database_backend(), self.table, self.columns, &absent);
            self.blocks.without(self.table, self.columns, &absent);
            self.absent.clone_from(&absent);
            self.links.status.update(|status| status.absent = absent);
        }
        Ok(())
    }

    /// Lends the follower to a thread where `work` may take its time. A panic there becomes an error:
    /// what the follower published before goes on serving, and it is tried again.
    async fn lend<T: Send + 'static>(&self, work: impl FnOnce(&mut F) -> T + Send + 'static) -> Result<T, DbErr> {
        let follower = Arc::clone(&self.follower);
        let lent = tokio::task::spawn_blocking(move || catch_unwind(AssertUnwindSafe(|| work(&mut follower.lock()))));
        // It can't fail but by the end of the runtime, which ends this task too.
        let Ok(result) = lent.await else { return std::future::pending().await };
        result.map_err(|_| {
            error!(self.log, "the follower of the table panicked");
            DbErr::Custom("the follower of the table panicked".to_owned())
        })
    }

    pub(super) fn observe<T>(&self, result: &Result<T, DbErr>) {
        if let Some(database) = self.links.database.upgrade() {
            database.observe(result);
        }
    }

    /// Keeps what went wrong for the status; says it once when the database itself is not away, which
    /// is said elsewhere.
    fn note(&self, result: &Result<(), DbErr>) {
        let error = result.as_ref().err().map(ToString::to_string);
        let known = self.links.status.get().error;
        if let Some(error) = error.as_ref().filter(|error| known.as_ref() != Some(error)) {
            warn!(self.log, "table can't be read, what is known of it goes on serving"; "error" => error);
        }
        if known != error {
            self.links.status.update(|status| status.error = error);
        }
    }
}

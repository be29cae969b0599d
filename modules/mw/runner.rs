//! One connection's queue, and the task behind it that runs the statements.
//!
//! The task lives on the thread of a pool of its own, also for the daemon's own database: a statement that
//! hangs keeps nobody waiting but those queued after it. What was not begun because the database is away
//! waits until it is back; what met another's lock and had no effect is run again; what failed is counted and
//! logged, and not tried again, since it may have been done.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::time::{Duration, Instant, SystemTime};

use actors::clock::Clock;
use actors::counting::{Fault, fault};
use actors::database::Database;
use actors::module::Query;
use parking_lot::Mutex;
use sea_orm::{ConnectionTrait as _, DbErr, Statement};
use serde_json::{Value, json};
use slog::Logger;
use tokio::sync::{Notify, mpsc};
use tokio::task::JoinHandle;

use super::settings::Connection;
use super::template::Template;
use crate::rarely::Rarely;

/// Bytes of requests that may wait, whatever their number.
const QUEUE_BYTES: usize = 64 << 20;
/// How long to wait before a database that is away is asked again.
const AWAY: Duration = Duration::from_secs(1);
/// Before a statement that met another's lock is run again.
const MET: Duration = Duration::from_millis(20);
/// How often the clock is looked at for the next hour.
const TICK: Duration = Duration::from_secs(1);
/// How long a stop waits for what is queued.
const STOP: Duration = Duration::from_secs(5);
/// In place of a statement's number: requests that did not fit the queue.
const DROPPED: i64 = 0;
/// The first hourly statement's number; those of requests count from 1.
const HOURLY: i64 = 1_000_000;

/// A connection at work.
pub(super) struct Runner {
    name: String,
    listeners: Option<Vec<String>>,
    on_request: usize,
    jobs: mpsc::Sender<Arc<Query>>,
    shared: Arc<Shared>,
    task: Mutex<Option<JoinHandle<()>>>,
}

/// What the queue's two ends know of each other.
#[derive(Default)]
struct Shared {
    bytes: AtomicUsize,
    waiting: AtomicUsize,
    run: AtomicU64,
    failed: AtomicU64,
    dropped: AtomicU64,
    stopping: AtomicBool,
    stop: Notify,
    rarely: Rarely,
}

impl Runner {
    /// Begins to run `connection`'s statements on `database`.
    pub(super) fn start(connection: Connection, database: Database, clock: Clock, log: Logger) -> Self {
        let (jobs, queue) = mpsc::channel(connection.queue);
        let shared = Arc::new(Shared::default());
        let (name, listeners) = (connection.name.clone(), connection.listeners.clone());
        let on_request = connection.on_request.len();
        let handle = database.handle();
        let work = Work { connection, database, shared: Arc::clone(&shared), clock, log };
        let task = Mutex::new(Some(handle.spawn(work.run(queue))));
        Self { name, listeners, on_request, jobs, shared, task }
    }

    /// Whether it has statements for a request of this listener.
    pub(super) fn wants(&self, query: &Query) -> bool {
        let listened = self.listeners.as_ref().is_none_or(|names| names.iter().any(|name| **name == *query.listener));
        self.on_request > 0 && listened
    }

    /// Queues the request's statements; when they do not fit, counts and logs that.
    pub(super) fn queue(&self, query: &Arc<Query>, log: &Logger) {
        let size = query.raw().len();
        let shared = &self.shared;
        let fits = shared.bytes.fetch_add(size, Ordering::Relaxed) + size <= QUEUE_BYTES;
        shared.waiting.fetch_add(1, Ordering::Relaxed);
        let sent = fits && self.jobs.try_send(Arc::clone(query)).is_ok();
        if !sent {
            shared.bytes.fetch_sub(size, Ordering::Relaxed);
            shared.waiting.fetch_sub(1, Ordering::Relaxed);
            shared.dropped.fetch_add(1, Ordering::Relaxed);
            if let Some(suppressed) = shared.rarely.warn(DROPPED, Instant::now()) {
                slog::warn!(log, "queue of statements is full: a request's are left out";
                    "connection" => &self.name, "suppressed" => suppressed);
            }
        }
    }

    /// How it stands, for `-s`.
    pub(super) fn status(&self) -> (String, Value) {
        let count = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        let shared = &self.shared;
        let facts = json!({
            "requests waiting": shared.waiting.load(Ordering::Relaxed),
            "statements run": count(&shared.run),
            "statements failed": count(&shared.failed),
            "requests left out": count(&shared.dropped),
        });
        (self.name.clone(), facts)
    }

    /// The name, and how many statements a request has.
    pub(super) fn describe(&self) -> String {
        format!("{}: {} statements", self.name, self.on_request)
    }

    /// Takes no more, and waits for what is queued, a while.
    pub(super) async fn stop(&self, log: &Logger) {
        self.shared.stopping.store(true, Ordering::Relaxed);
        self.shared.stop.notify_one();
        let Some(task) = self.task.lock().take() else { return };
        let abort = task.abort_handle();
        if tokio::time::timeout(STOP, task).await.is_err() {
            abort.abort();
        }
        let waiting = self.shared.waiting.load(Ordering::Relaxed);
        if waiting > 0 {
            slog::warn!(log, "requests whose statements were not run"; "connection" => &self.name, "requests" => waiting);
        }
    }
}

/// The task's side.
struct Work {
    connection: Connection,
    database: Database,
    shared: Arc<Shared>,
    clock: Clock,
    log: Logger,
}

impl Work {
    async fn run(self, mut queue: mpsc::Receiver<Arc<Query>>) {
        let mut hour = hour_of(self.clock.now());
        let mut tick = tokio::time::interval(TICK);
        tick.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        let hourly = !self.connection.every_hour.is_empty();
        loop {
            // The hour first: a queue that is never empty must not put it off for ever.
            if hourly && hour_of(self.clock.now()) > hour {
                hour = hour_of(self.clock.now());
                for (number, statement) in (HOURLY..).zip(&self.connection.every_hour) {
                    // A failure is counted and logged; the next hour comes.
                    let _ = self.run_statement(number, statement, None).await;
                }
            }
            tokio::select! {
                job = queue.recv() => match job {
                    Some(query) => match self.serve(&query).await {
                        Ok(()) => {}
                        Err(Away) => return,
                    },
                    None => return,
                },
                _ = tick.tick(), if hourly => {}
                // What is queued is still run; then there is nothing more to receive.
                () = self.shared.stop.notified() => queue.close(),
            }
        }
    }

    async fn serve(&self, query: &Query) -> Result<(), Away> {
        for (number, statement) in (1..).zip(&self.connection.on_request) {
            self.run_statement(number, statement, Some(query)).await?;
        }
        self.shared.bytes.fetch_sub(query.raw().len(), Ordering::Relaxed);
        self.shared.waiting.fetch_sub(1, Ordering::Relaxed);
        Ok(())
    }

    fn is_stopping(&self) -> bool {
        self.shared.stopping.load(Ordering::Relaxed)
    }

    /// Runs a statement as soon as the database is there. A failure is counted and logged.
    async fn run_statement(&self, number: i64, template: &Template, query: Option<&Query>) -> Result<(), Away> {
        let until = Instant::now() + self.connection.timeout;
        let fault = loop {
            match tokio::time::timeout(self.connection.timeout, self.execute(template, query)).await {
                Ok(Ok(())) => {
                    self.shared.run.fetch_add(1, Ordering::Relaxed);
                    return Ok(());
                }
                Ok(Err(error)) if has_met_another(&error, template) && Instant::now() < until => {
                    tokio::time::sleep(MET).await;
                }
                Ok(Err(error)) if was_not_begun(&error) && self.is_stopping() => return Err(Away),
                Ok(Err(error)) if was_not_begun(&error) => tokio::time::sleep(AWAY).await,
                Ok(Err(error)) => break error.to_string(),
                Err(_) => break format!("not done within {:?}", self.connection.timeout),
            }
        };
        self.shared.failed.fetch_add(1, Ordering::Relaxed);
        if let Some(suppressed) = self.shared.rarely.warn(number, Instant::now()) {
            slog::warn!(self.log, "statement failed"; "connection" => &self.connection.name,
                "statement" => template.sql(self.database.backend()), "error" => fault, "suppressed" => suppressed);
        }
        Ok(())
    }

    async fn execute(&self, template: &Template, query: Option<&Query>) -> Result<(), DbErr> {
        let (pool, backend) = (self.database.connection(), self.database.backend());
        let sql = template.sql(backend);
        let result = match query {
            Some(query) if template.has_placeholders() => {
                pool.execute_raw(Statement::from_sql_and_values(backend, sql, template.values(query))).await
            }
            // Some statements can't be prepared, and without parameters need not be.
            _ => pool.execute_unprepared(&sql).await,
        };
        self.database.observe(&result);
        result.map(drop)
    }
}

/// The daemon stops while the database is away: what waits is not run.
struct Away;

/// Whether it met another that held a lock, and had no effect. Without values it may be several statements, of which
/// the first may have had one.
fn has_met_another(error: &DbErr, template: &Template) -> bool {
    fault(error) == Fault::Again && (matches!(error, DbErr::Conn(_)) || template.has_placeholders())
}

/// Whether the database was away before the statement could have had an effect.
fn was_not_begun(error: &DbErr) -> bool {
    matches!(error, DbErr::ConnectionAcquire(_) | DbErr::Conn(_))
}

fn hour_of(time: SystemTime) -> u64 {
    time.duration_since(SystemTime::UNIX_EPOCH).map_or(0, |since| since.as_secs() / 3_600)
}

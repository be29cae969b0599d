//! The daemon's database: one pool for everybody, made before the server can be reached.
//!
//! Stands beside the actors: modules, the store and the followers of rule tables share one
//! [`Database`]. It has a thread and a runtime of its own, so that no connection belongs to a worker:
//! what runs through [`Database::run`] neither waits for a busy worker nor keeps one waiting.
//!
//! When the database goes away, whoever asks gets an error and decides; that it went, and that it is
//! back, is logged once each.

mod describe;
mod error;
mod held;
#[cfg(test)]
pub(crate) mod kept_log;
mod pool;
mod probe;
mod read_only;
mod runtime;
mod settings;
mod state;
mod template;
mod url;

use std::fmt;
use std::future::Future;
use std::sync::{Arc, OnceLock};
use std::time::{Duration, Instant};

use sea_orm::{
    ConnectionTrait as _, DatabaseBackend, DatabaseConnection, DatabaseTransaction, DbErr, IsolationLevel,
    SqliteTransactionMode, TransactionOptions, TransactionTrait as _,
};
use serde_json::Value;
use slog::{Logger, info, warn};

use crate::restart::jittered;
use crate::watch::Watch;

pub use self::describe::Description;
pub use self::error::DatabaseError;
pub use self::held::Held;
pub(crate) use self::held::failed;
pub use self::probe::Probe;
pub use self::read_only::ReadOnly;
pub use self::settings::{Settings, Synchronous};
pub use self::template::Template;
pub use self::url::DatabaseUrl;

use self::runtime::OwnThread;
use self::state::State;

/// How long daemons that make a file at the same time may take.
const IN_TURN: Duration = Duration::from_secs(5);

/// The daemon's database. Cheap to clone; closed when the last clone is dropped.
#[derive(Clone)]
pub struct Database(Arc<Inner>);

struct Inner {
    settings: Settings,
    /// For reading, and for writing on a server.
    pool: DatabaseConnection,
    /// SQLite has one writer at a time: writes that queue for its single connection are served in
    /// turn, those that meet at the file sleep and try again. On a server: the pool.
    writer: DatabaseConnection,
    state: State,
    log: Logger,
    watch: OnceLock<Watch>,
    // Last: the pools' tasks live on it.
    thread: OwnThread,
}

impl Database {
    /// Makes the pool. Nothing is connected yet, so this succeeds while the server is away.
    ///
    /// # Errors
    /// When the thread for it can't be started.
    pub fn open(settings: Settings, log: Logger) -> Result<Self, DatabaseError> {
        let thread = OwnThread::start("database").map_err(DatabaseError::Thread)?;
        let state = State::new(settings.url.to_string(), log.clone());
        let (pool, writer) = {
            let _inside = thread.handle().enter();
            let pool = pool::lazy(&settings, settings.max_connections, state.trouble());
            let writer = match settings.url.backend() {
                DatabaseBackend::Sqlite => pool::lazy(&settings, 1, state.trouble()),
                _ => pool.clone(),
            };
            (pool, writer)
        };
        Ok(Self(Arc::new(Inner { settings, pool, writer, state, log, watch: OnceLock::new(), thread })))
    }

    /// Connects for the first time: an SQLite file is created if absent, a server is tried again, with
    /// growing pauses, until `start_timeout` has passed.
    ///
    /// # Errors
    /// When the file's directory is not usable (at once), or the server did not answer in time.
    pub async fn connect_with_backoff(&self) -> Result<(), DatabaseError> {
        let settings = &self.0.settings;
        settings.url.check_directory()?;
        let since = Instant::now();
        let deadline = since + settings.start_timeout;
        let mut pause = Duration::from_millis(100);
        let mut said = String::new();
        loop {
            let error = match self.ping().await {
                Ok(()) => return Ok(()),
                Err(error) => error,
            };
            let left = deadline.saturating_duration_since(Instant::now());
            // A file that can't be opened will not open later; one that others are making will.
            let hopeless = settings.url.backend() == DatabaseBackend::Sqlite && !state::is_busy(&error);
            if left.is_zero() || hopeless {
                let waited = settings.start_timeout;
                return Err(DatabaseError::Unreachable { url: settings.url.to_string(), waited, source: error });
            }
            // Another daemon makes the file at this moment: that is no news.
            let in_turn = state::is_busy(&error) && since.elapsed() < IN_TURN;
            if !in_turn && said != error.to_string() {
                said = error.to_string();
                warn!(self.0.log, "database does not answer yet, trying again"; "database" => %settings.url, "error" => &said);
            }
            tokio::time::sleep(jittered(pause).min(left)).await;
            pause = (pause * 2).min(Duration::from_secs(2));
        }
    }

    /// Asks the server whether it answers.
    ///
    /// # Errors
    /// When it does not, within ten seconds.
    pub async fn ping(&self) -> Result<(), DbErr> {
        self.run(|pool| async move { pool.execute_unprepared("SELECT 1").await.map(drop) }).await
    }

    /// Runs `work` on the database's own thread and notes whether the database answered.
    ///
    /// This is the way to ask the database: a connection opened here belongs to that thread. Dropping
    /// the returned future does not end `work`.
    ///
    /// # Errors
    /// What `work` gives.
    pub async fn run<T, F, W>(&self, work: W) -> Result<T, DbErr>
    where
        T: Send + 'static,
        F: Future<Output = Result<T, DbErr>> + Send + 'static,
        W: FnOnce(DatabaseConnection) -> F,
    {
        self.on_thread(work(self.connection())).await
    }

    /// The same on the connection that writes go through: see [`Database::writer`].
    ///
    /// # Errors
    /// What `work` gives.
    pub async fn write<T, F, W>(&self, work: W) -> Result<T, DbErr>
    where
        T: Send + 'static,
        F: Future<Output = Result<T, DbErr>> + Send + 'static,
        W: FnOnce(DatabaseConnection) -> F,
    {
        self.on_thread(work(self.writer())).await
    }

    /// Begins a transaction on the connection that writes go through.
    ///
    /// This is the way to begin one for whoever may stop waiting: the drivers of both servers do not know of a
    /// transaction whose beginning was not waited for. Its connection would be used again within it, and what is
    /// written there would never be committed. Here it is begun in any case, and rolled back when nobody waits.
    ///
    /// # Errors
    /// When the database does not answer.
    pub async fn begin(&self, options: TransactionOptions) -> Result<DatabaseTransaction, DbErr> {
        let writer = self.writer();
        // Whoever begins it notes what the whole of it came to.
        self.unobserved(async move { writer.begin_with_options(options).await }).await
    }

    /// Begins a transaction that locks what it writes: on SQLite all of the file, at once. Rows that are not there are
    /// not locked as gaps, where two daemons would wait for each other.
    ///
    /// # Errors
    /// When the database does not answer.
    pub async fn begin_to_write(&self) -> Result<DatabaseTransaction, DbErr> {
        let is_sqlite = self.backend() == DatabaseBackend::Sqlite;
        self.begin(TransactionOptions {
            isolation_level: (!is_sqlite).then_some(IsolationLevel::ReadCommitted),
            sqlite_transaction_mode: is_sqlite.then_some(SqliteTransactionMode::Immediate),
            ..TransactionOptions::default()
        })
        .await
    }

    /// Begins a transaction that only reads, all of it as the database is at its first question. For whoever may
    /// stop waiting, as [`Database::begin`] is.
    ///
    /// # Errors
    /// When the database does not answer.
    pub async fn snapshot(&self) -> Result<DatabaseTransaction, DbErr> {
        let pool = self.connection();
        let is_sqlite = self.backend() == DatabaseBackend::Sqlite;
        let options = TransactionOptions {
            // One of SQLite is never anything else.
            isolation_level: (!is_sqlite).then_some(IsolationLevel::RepeatableRead),
            ..TransactionOptions::default()
        };
        self.unobserved(async move { pool.begin_with_options(options).await }).await
    }

    async fn on_thread<T, F>(&self, work: F) -> Result<T, DbErr>
    where
        T: Send + 'static,
        F: Future<Output = Result<T, DbErr>> + Send + 'static,
    {
        let result = self.unobserved(work).await;
        self.observe(&result);
        result
    }

    async fn unobserved<T, F>(&self, work: F) -> Result<T, DbErr>
    where
        T: Send + 'static,
        F: Future<Output = Result<T, DbErr>> + Send + 'static,
    {
        match self.handle().spawn(work).await {
            Ok(result) => result,
            // A panic of the work is the caller's: it goes on where the caller's own would.
            Err(error) if error.is_panic() => std::panic::resume_unwind(error.into_panic()),
            Err(_) => Err(DbErr::Custom("the database is closed".to_owned())),
        }
    }

    /// The pool. A connection that it opens belongs to the thread that asked first: [`Database::run`]
    /// asks from the database's own.
    pub fn connection(&self) -> DatabaseConnection {
        self.0.pool.clone()
    }

    /// The pool for writing: one connection on SQLite, the same pool as [`Database::connection`] on a server.
    pub fn writer(&self) -> DatabaseConnection {
        self.0.writer.clone()
    }

    /// The runtime of the database's own thread, for tasks that do nothing but ask it.
    pub fn handle(&self) -> tokio::runtime::Handle {
        self.0.thread.handle().clone()
    }

    /// Which of the three it is; MariaDB is `MySql`.
    pub fn backend(&self) -> DatabaseBackend {
        self.0.settings.url.backend()
    }

    /// Its settings.
    pub fn settings(&self) -> &Settings {
        &self.0.settings
    }

    /// Whether it answered when it was last asked. True before it was first asked.
    pub fn is_up(&self) -> bool {
        self.0.state.is_up()
    }

    /// Notes what a question to the database came to, for those that ask through their own connection.
    ///
    /// Only an error of the connection itself means that the database is away: an error of a statement
    /// is an answer.
    pub fn observe<T>(&self, result: &Result<T, DbErr>) {
        self.0.state.observe(result);
    }

    /// Product and version of the server.
    ///
    /// # Errors
    /// When it does not answer.
    pub async fn describe(&self) -> Result<Description, DbErr> {
        self.run(|pool| async move { describe::describe(&pool).await }).await
    }

    /// What follows tables of this database in memory: one for all modules.
    pub fn watch(&self) -> &Watch {
        self.0.watch.get_or_init(|| Watch::start(self))
    }

    /// Its own facts for `-s`.
    pub fn status(&self) -> Vec<(&'static str, Value)> {
        let mut facts = self.0.state.facts();
        let (open, idle) = pool::size(&self.0.pool);
        facts.push(("connections", open.into()));
        facts.push(("connections idle", idle.into()));
        facts
    }

    /// Closes all connections after the statements under way are done.
    pub async fn close(&self) {
        let inner = Arc::clone(&self.0);
        let closed = self.handle().spawn(async move {
            // With its last connection SQLite brings all that was written into the one file.
            if let Some(watch) = inner.watch.get() {
                watch.close().await;
            }
            for pool in [&inner.writer, &inner.pool] {
                if let Err(error) = pool.close_by_ref().await {
                    warn!(inner.log, "closing the database failed"; "error" => %error);
                }
            }
            info!(inner.log, "database closed"; "database" => %inner.settings.url);
        });
        // It fails only when the thread is gone, and the connections with it.
        let _ = closed.await;
    }

    /// A pool of its own with the same settings, for what must not wait for others or needs one
    /// connection to stay the same.
    pub(crate) fn separate_pool(&self, connections: u32) -> DatabaseConnection {
        let _inside = self.0.thread.handle().enter();
        pool::lazy(&self.0.settings, connections, self.0.state.trouble())
    }

    pub(crate) fn log(&self) -> &Logger {
        &self.0.log
    }

    pub(crate) fn downgrade(&self) -> WeakDatabase {
        WeakDatabase(Arc::downgrade(&self.0))
    }
}

/// A [`Database`] that does not keep it open.
#[derive(Clone)]
pub(crate) struct WeakDatabase(std::sync::Weak<Inner>);

impl WeakDatabase {
    /// The database, unless it is closed.
    pub(crate) fn upgrade(&self) -> Option<Database> {
        self.0.upgrade().map(Database)
    }
}

impl fmt::Debug for Database {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Database({}, {})", self.0.settings.url, if self.is_up() { "up" } else { "down" })
    }
}

#[cfg(test)]
mod tests;

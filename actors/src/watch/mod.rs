//! Rule tables followed in memory: answered from there, kept as the database has them.
//!
//! A module gives a [`Follower`] to [`Watch::follow`] and holds the [`Followed`] it gets. From then on,
//! rows changed by anybody with plain SQL reach the follower within a second, on SQLite, MySQL, MariaDB
//! and PostgreSQL; one changed row costs reading that row. While the database is away, the last state
//! serves; what changed meanwhile arrives when it is back.
//!
//! Everything here runs on the database's own thread, and what may take long (reading a million rows
//! into a new state) on threads for that: no worker waits for it.

mod blocks;
mod comparing;
mod feed;
mod follow;
mod follower;
mod ids;
mod loading;
mod noted;
mod poller;
mod rows;
mod status;
mod supervised;
mod triggers;
mod upkeep;

use std::sync::Arc;
use std::time::Duration;

use sea_orm::{DatabaseConnection, DbErr};
use slog::{Logger, o};
use tokio::sync::{Semaphore, mpsc, oneshot};
use tokio::time::timeout;

use crate::database::{Database, WeakDatabase};

pub use self::follower::{BadRow, Change, Column, Follower, Row, Rows};
pub use self::status::{Source, Status};

use self::follow::{Event, Follow, Following, Links};
use self::poller::{Command, Poller};
use self::supervised::supervise;
use self::triggers::Noting;

/// How long is waited for connections that are in use at the end.
const CLOSE: Duration = Duration::from_secs(2);

/// What follows the tables of one database. Got by [`Database::watch`]; cheap to clone.
#[derive(Clone)]
pub struct Watch(Arc<Inner>);

struct Inner {
    database: WeakDatabase,
    /// For loading: apart from the pool of the store, which must not wait for a million rows.
    loading: DatabaseConnection,
    handle: tokio::runtime::Handle,
    /// One comparison with checksums at a time, in all tables.
    comparing: Arc<Semaphore>,
    /// The poller ends when this is dropped.
    commands: mpsc::UnboundedSender<Command>,
}

/// Why a table can't be followed.
#[derive(Debug, thiserror::Error)]
pub enum FollowError {
    /// It could not be loaded for the first time.
    #[error("table {table} can't be loaded: {source}")]
    Load {
        /// The table.
        table: &'static str,
        /// What the database said.
        source: DbErr,
    },
    /// The database was closed meanwhile.
    #[error("table {0} can't be loaded: the database is closed")]
    Closed(&'static str),
}

/// A followed table. When it is dropped, following ends.
pub struct Followed {
    table: &'static str,
    status: Arc<status::Shared>,
    events: mpsc::UnboundedSender<Event>,
    commands: mpsc::UnboundedSender<Command>,
    /// Following ends when this is dropped.
    _held: oneshot::Sender<()>,
}

fn closed() -> DbErr {
    DbErr::Custom("the database is closed".to_owned())
}

impl Watch {
    pub(crate) fn start(database: &Database) -> Self {
        let (commands, coming) = mpsc::unbounded_channel();
        let (poller, log) = (Poller::new(database, coming), database.log().clone());
        database.handle().spawn(async move { supervise(poller, "poller of followed tables", &log).await });
        Self(Arc::new(Inner {
            database: database.downgrade(),
            // One of them may be taken by a comparison.
            loading: database.separate_pool(3),
            comparing: Arc::new(Semaphore::new(1)),
            handle: database.handle(),
            commands,
        }))
    }

    /// Follows a table: returns when it is loaded and published. Lines about it go to `log`.
    ///
    /// # Errors
    /// When the table can't be loaded now. Later faults are no end: the last state serves, and the
    /// [`Status`] says what is wrong.
    pub async fn follow<F: Follower>(&self, follower: F, log: &Logger) -> Result<Followed, FollowError> {
        let table = follower.table();
        let noting = Noting { table, only: follower.is_charged().then(|| follower.columns()) };
        let failed = |source| FollowError::Load { table, source };
        let (events, coming) = mpsc::unbounded_channel();
        // First the changes, then the rows: what changes while they are read is read again after.
        let (ready, when) = oneshot::channel();
        let subscribe = Command::Subscribe { noting, events: events.clone(), ready };
        self.0.commands.send(subscribe).map_err(|_| FollowError::Closed(table))?;
        let source = when.await.map_err(|_| FollowError::Closed(table))?.map_err(failed)?;

        let status = Arc::new(status::Shared::default());
        let links = Links {
            pool: self.0.loading.clone(),
            database: self.0.database.clone(),
            commands: self.0.commands.clone(),
            events: events.clone(),
            status: Arc::clone(&status),
            comparing: Arc::clone(&self.0.comparing),
        };
        let mut follow = Follow::new(follower, links, log, source);
        let task_log = log.new(o!("table" => table));
        let (held, alive) = oneshot::channel();
        let (loaded, first) = oneshot::channel();
        self.0.handle.spawn(async move {
            let result = follow.load("start").await;
            let good = result.is_ok();
            // Nobody waiting any more, the handle is gone too, and following ends below.
            let _ = loaded.send(result);
            if good {
                supervise(Following { follow, events: coming, held: alive }, "follower of a table", &task_log).await;
            }
        });
        first.await.map_err(|_| FollowError::Closed(table))?.map_err(failed)?;
        Ok(Followed { table, status, events, commands: self.0.commands.clone(), _held: held })
    }

    /// Begins anew, as after a crash: asks for changes from now on, and has all followed tables loaded.
    /// What was loaded before goes on serving meanwhile.
    ///
    /// # Errors
    /// When the database can't be asked; it is tried again.
    pub async fn restart(&self) -> Result<(), DbErr> {
        let (done, when) = oneshot::channel();
        self.0.commands.send(Command::Restart { done }).map_err(|_| closed())?;
        when.await.map_err(|_| closed())?
    }

    /// Ends all following and closes its connections; those that a hanging database holds are left.
    pub(crate) async fn close(&self) {
        let (done, when) = oneshot::channel();
        if self.0.commands.send(Command::Close { done }).is_ok() {
            let _ = timeout(CLOSE, when).await;
        }
        let _ = timeout(CLOSE, self.0.loading.close_by_ref()).await;
    }

    /// Returns when every change that was committed before the call, in any followed table, is published.
    ///
    /// # Errors
    /// When the database can't be asked.
    pub async fn refresh_now(&self) -> Result<(), DbErr> {
        refresh(&self.0.commands, None).await
    }
}

impl Followed {
    /// The table.
    pub fn table(&self) -> &'static str {
        self.table
    }

    /// Whether the table has the followed column `name`.
    pub fn has(&self, name: &str) -> bool {
        !self.status.get().absent.contains(&name)
    }

    /// How it stands.
    pub fn status(&self) -> Status {
        self.status.get()
    }

    /// Returns when every change that was committed before the call is published.
    ///
    /// # Errors
    /// When the database can't be asked.
    pub async fn refresh_now(&self) -> Result<(), DbErr> {
        refresh(&self.commands, Some(self.events.clone())).await
    }
}

async fn refresh(
    commands: &mpsc::UnboundedSender<Command>,
    to: Option<mpsc::UnboundedSender<Event>>,
) -> Result<(), DbErr> {
    let (done, when) = oneshot::channel();
    commands.send(Command::Refresh { to, done }).map_err(|_| closed())?;
    when.await.map_err(|_| closed())?
}

#[cfg(test)]
mod tests;

//! The one task that asks a database what changed, for all tables that are followed in it.
//!
//! It has a connection of its own, so that it waits for nobody. When the database does not answer it
//! asks on; the place up to which changes are known stays, and nothing is missed.

use std::collections::HashMap;
use std::time::{Duration, Instant};

use sea_orm::{ConnectionTrait as _, DatabaseBackend, DatabaseConnection, DbErr, QueryResult, Statement};
use slog::{Logger, warn};
use tokio::sync::{mpsc, oneshot};
use tokio::time::Instant as Deadline;

use crate::database::{Database, WeakDatabase};
use crate::restart::jittered;
use crate::watch::feed::Feed;
use crate::watch::follow::Event;
use crate::watch::follower::quote;
use crate::watch::noted::{Noted, TableChanges};
use crate::watch::status::Source;
use crate::watch::supervised::Task;
use crate::watch::triggers::{Noting, ensure};
use crate::watch::upkeep::{KEEP, UPKEEP};

/// A question that takes longer is given up, with its connection.
const PATIENCE: Duration = Duration::from_secs(20);
/// Away for longer than this, the database may be another one: compared when it is back.
const LONG: Duration = Duration::from_secs(5);

/// What the poller is asked to do.
pub(super) enum Command {
    /// Give the changes of a table from now on.
    Subscribe { noting: Noting, events: mpsc::UnboundedSender<Event>, ready: oneshot::Sender<Result<Source, DbErr>> },
    /// Begin anew: all tables are loaded.
    Restart { done: oneshot::Sender<Result<(), DbErr>> },
    /// Ask now, pass on what is new, then say so.
    Settle { to: mpsc::UnboundedSender<Event> },
    /// Close the connection and end.
    Close { done: oneshot::Sender<()> },
    /// Ask now, pass on what is new, and have `to` (all tables when absent) say when it is published.
    Refresh { to: Option<mpsc::UnboundedSender<Event>>, done: oneshot::Sender<Result<(), DbErr>> },
}

pub(super) struct Poller {
    pub(super) database: WeakDatabase,
    pub(super) backend: DatabaseBackend,
    pub(super) interval: Duration,
    pub(super) pool: DatabaseConnection,
    pub(super) log: Logger,
    pub(super) feed: Option<Feed>,
    pub(super) subscribers: Vec<Subscriber>,
    /// How each table's changes are learnt.
    pub(super) sources: HashMap<&'static str, Source>,
    pub(super) away_since: Option<Instant>,
    /// The fault that was logged last.
    pub(super) said: Option<String>,
    pub(super) upkeep_at: Deadline,
    pub(super) pruned: Instant,
    commands: mpsc::UnboundedReceiver<Command>,
}

pub(super) struct Subscriber {
    pub(super) noting: Noting,
    pub(super) events: mpsc::UnboundedSender<Event>,
}

impl Task for Poller {
    /// Runs until nobody can command any more: until the database is closed.
    async fn run(&mut self) {
        let mut next = Deadline::now();
        loop {
            tokio::select! {
                command = self.commands.recv() => match command {
                    None => return,
                    Some(Command::Close { done }) => {
                        // Closed or not, it is not used any more.
                        let _ = self.pool.close_by_ref().await;
                        let _ = done.send(());
                        return;
                    }
                    Some(command) => self.obey(command).await,
                },
                () = tokio::time::sleep_until(next), if !self.subscribers.is_empty() => {
                    // What went wrong is noted; it is asked again.
                    let _ = self.poll().await;
                    if Deadline::now() >= self.upkeep_at {
                        self.upkeep().await;
                    }
                    next = Deadline::now() + self.interval;
                }
            }
        }
    }

    fn recover(&mut self) {
        // Where it stood is not known: the next poll begins anew, and has all tables loaded.
        self.feed = None;
    }
}

impl Poller {
    pub(super) fn new(database: &Database, commands: mpsc::UnboundedReceiver<Command>) -> Self {
        Self {
            database: database.downgrade(),
            backend: database.backend(),
            interval: database.settings().poll_interval,
            pool: database.separate_pool(1),
            log: database.log().clone(),
            feed: None,
            subscribers: Vec::new(),
            sources: HashMap::new(),
            away_since: None,
            said: None,
            upkeep_at: Deadline::now() + jittered(UPKEEP),
            pruned: Instant::now(),
            commands,
        }
    }

    async fn obey(&mut self, command: Command) {
        match command {
            Command::Subscribe { noting, events, ready } => {
                let result = self.subscribe(noting, events).await;
                // Who asked may have gone; the closed subscription is removed later.
                let _ = ready.send(result);
            }
            Command::Close { .. } => unreachable!("the loop ends with it"),
            Command::Settle { to } => {
                if self.poll().await.is_ok() {
                    let _ = to.send(Event::Settled);
                }
            }
            Command::Restart { done } => {
                self.feed = None;
                let _ = done.send(self.poll().await);
            }
            Command::Refresh { to, done } => match self.poll().await {
                Ok(()) => self.pass_refresh(to, done),
                Err(error) => drop(done.send(Err(error))),
            },
        }
    }

    fn pass_refresh(&self, to: Option<mpsc::UnboundedSender<Event>>, done: oneshot::Sender<Result<(), DbErr>>) {
        let all: Vec<_> = match to {
            Some(to) => vec![to],
            None => self.subscribers.iter().map(|subscriber| subscriber.events.clone()).collect(),
        };
        let mut answers = Vec::new();
        for events in all {
            let (published, answer) = oneshot::channel();
            // A table that is followed no longer has nothing to publish.
            if events.send(Event::Refresh(published)).is_ok() {
                answers.push(answer);
            }
        }
        tokio::spawn(async move {
            let mut result = Ok(());
            for answer in answers {
                if let Ok(Err(error)) = answer.await {
                    result = Err(error);
                }
            }
            let _ = done.send(result);
        });
    }

    async fn subscribe(&mut self, noting: Noting, events: mpsc::UnboundedSender<Event>) -> Result<Source, DbErr> {
        let (pool, table) = (self.pool.clone(), noting.table);
        let ensured = self.ask(async move { ensure(&pool, noting, true).await }).await?;
        let source = self.take_source(table, &ensured);
        if source == Source::Triggers && self.feed.is_none() {
            let pool = self.pool.clone();
            self.feed = Some(self.ask(async move { Feed::begin(&pool).await }).await?);
        }
        self.subscribers.push(Subscriber { noting, events });
        Ok(source)
    }

    /// Asks what changed and passes it on.
    async fn poll(&mut self) -> Result<(), DbErr> {
        let Some(mut feed) = self.feed.take() else {
            let needed = self.sources.values().any(|source| *source == Source::Triggers);
            return if needed { self.begin_again().await } else { Ok(()) };
        };
        let pool = self.pool.clone();
        let answer = self.ask(async move {
            let noted = feed.poll(&pool).await;
            Ok((feed, noted))
        });
        let noted = match answer.await {
            Ok((feed, noted)) => {
                self.feed = Some(feed);
                noted
            }
            // Given up in the middle of a question: where it stood is not known.
            Err(error) => Err(error),
        };
        self.observe(&noted);
        let mut noted = noted.inspect_err(|error| self.failed(error))?;
        self.said = None;
        if let Some(since) = self.away_since.take() {
            if since.elapsed() > KEEP / 2 {
                noted.lost = Some("database was away for long");
            }
            noted.doubtful |= since.elapsed() > LONG;
        }
        self.pass_on(noted);
        if self.backend == DatabaseBackend::MySql && !self.subscribers.is_empty() {
            self.pass_bounds().await?;
        }
        Ok(())
    }

    /// A question for changes failed. That the database is away is said elsewhere.
    fn failed(&mut self, error: &DbErr) {
        self.away_since.get_or_insert_with(Instant::now);
        let up = self.database.upgrade().is_some_and(|database| database.is_up());
        if up && self.said.as_deref() != Some(error.to_string().as_str()) {
            warn!(self.log, "can't ask for changes of followed tables"; "error" => %error);
            self.said = Some(error.to_string());
            // The table of notes may have been dropped: then nobody can write to the followed ones.
            self.upkeep_at = Deadline::now();
        }
    }

    /// Changes from now on, and all tables whole.
    async fn begin_again(&mut self) -> Result<(), DbErr> {
        let pool = self.pool.clone();
        let feed = self.ask(async move { Feed::begin(&pool).await }).await;
        self.observe(&feed);
        self.feed = Some(feed?);
        self.pass_on(Noted::lost("begun anew"));
        Ok(())
    }

    fn pass_on(&mut self, mut noted: Noted) {
        if let Some(why) = noted.lost {
            warn!(self.log, "changes may have been missed, loading all followed tables"; "reason" => why);
        }
        let by_triggers = |table| self.sources.get(table) == Some(&Source::Triggers);
        self.subscribers.retain(|subscriber| {
            let mut sent = Ok(());
            if noted.lost.is_some() {
                sent = subscriber.events.send(Event::Reload("changes missed"));
            } else if noted.doubtful {
                sent = subscriber.events.send(Event::Compare);
            }
            if by_triggers(subscriber.noting.table)
                && let Some(changes) = noted.tables.get_mut(subscriber.noting.table)
            {
                let TableChanges { ids, new, whole } = &*changes;
                sent = match whole {
                    true => subscriber.events.send(Event::Reload("changed as a whole")),
                    false => subscriber.events.send(Event::Written { ids: ids.clone(), new: new.clone() }),
                };
            }
            sent.is_ok() && !subscriber.events.is_closed()
        });
    }

    /// The first and last id of each table: see [`Event::Bounds`].
    async fn pass_bounds(&mut self) -> Result<(), DbErr> {
        let tables = self.tables();
        let rows = match self.bounds(&tables).await {
            Ok(rows) => rows,
            Err(_) => {
                // One of them is gone, which is the business of who follows it.
                let mut rows = Vec::new();
                for table in &tables {
                    rows.extend(self.bounds(&[table]).await.unwrap_or_default());
                }
                rows
            }
        };
        for row in rows {
            let table: String = row.try_get_by_index(0)?;
            let (first, last): (Option<i64>, Option<i64>) = (row.try_get_by_index(1)?, row.try_get_by_index(2)?);
            for subscriber in self.subscribers.iter().filter(|subscriber| subscriber.noting.table == table) {
                // Closed ones are removed with the next changes.
                let _ = subscriber.events.send(Event::Bounds(first.zip(last)));
            }
        }
        Ok(())
    }

    async fn bounds(&mut self, tables: &[&'static str]) -> Result<Vec<QueryResult>, DbErr> {
        let ask = |table: &&str| {
            let (literal, name) = (table.replace('\'', "''"), quote(self.backend, table));
            format!("SELECT '{literal}', CAST(MIN(id) AS SIGNED), CAST(MAX(id) AS SIGNED) FROM {name}")
        };
        let sql = tables.iter().map(ask).collect::<Vec<_>>().join(" UNION ALL ");
        let (pool, backend) = (self.pool.clone(), self.backend);
        self.ask(async move { pool.query_all_raw(Statement::from_string(backend, sql)).await }).await
    }

    /// The tables that are followed, each once.
    pub(super) fn tables(&self) -> Vec<&'static str> {
        let mut tables: Vec<_> = self.subscribers.iter().map(|subscriber| subscriber.noting.table).collect();
        tables.sort_unstable();
        tables.dedup();
        tables
    }

    /// The triggers that followed tables want, each table once: who follows one, follows the same columns.
    pub(super) fn notings(&self) -> Vec<Noting> {
        let noting = |table| self.subscribers.iter().find(|subscriber| subscriber.noting.table == table);
        self.tables().into_iter().filter_map(noting).map(|subscriber| subscriber.noting).collect()
    }

    /// Runs a question on this task's own connection, within reason.
    pub(super) async fn ask<T>(&mut self, question: impl Future<Output = Result<T, DbErr>>) -> Result<T, DbErr> {
        if let Ok(answer) = tokio::time::timeout(PATIENCE, question).await {
            return answer;
        }
        // A connection that hangs would hang the next question too.
        if let Some(database) = self.database.upgrade() {
            self.pool = database.separate_pool(1);
        }
        Err(DbErr::Conn(sea_orm::RuntimeErr::Internal(format!("no answer for {PATIENCE:?}"))))
    }

    fn observe<T>(&self, result: &Result<T, DbErr>) {
        if let Some(database) = self.database.upgrade() {
            database.observe(result);
        }
    }
}

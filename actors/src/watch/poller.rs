//! The one task that asks a database what changed, for all tables that are followed in it.
//!
//! It has a connection of its own, so that it waits for nobody. When the database does not answer it
//! asks on; the place up to which changes are known stays, and nothing is missed.

use std::collections::HashMap;
use std::time::{Duration, Instant};

use sea_orm::{ConnectionTrait as _, DatabaseBackend, DatabaseConnection, DbErr, Statement};
use slog::{Logger, info, warn};
use tokio::sync::{mpsc, oneshot};
use tokio::time::Instant as Deadline;

use crate::database::{Database, WeakDatabase, jittered};
use crate::watch::feed::Feed;
use crate::watch::follow::Event;
use crate::watch::follower::quote;
use crate::watch::noted::{Noted, TableChanges};
use crate::watch::status::Source;
use crate::watch::triggers::{CHANGES, Ensured, ensure};

/// A question that takes longer is given up, with its connection.
const PATIENCE: Duration = Duration::from_secs(20);
/// How often the triggers are looked at, and old notes removed.
const UPKEEP: Duration = Duration::from_secs(if cfg!(test) { 1 } else { 60 });
/// How long notes are kept: a daemon that was away for longer loads its tables whole.
const KEEP: Duration = Duration::from_secs(3600);
/// Away for longer than this, the database may be another one: compared when it is back.
const LONG: Duration = Duration::from_secs(5);
const PRUNED_AT_ONCE: i64 = 5_000;

/// What the poller is asked to do.
pub(super) enum Command {
    /// Give the changes of a table from now on.
    Subscribe {
        table: &'static str,
        events: mpsc::UnboundedSender<Event>,
        ready: oneshot::Sender<Result<Source, DbErr>>,
    },
    /// Ask now, pass on what is new, then say so.
    Settle { to: mpsc::UnboundedSender<Event> },
    /// Ask now, pass on what is new, and have `to` (all tables when absent) say when it is published.
    Refresh { to: Option<mpsc::UnboundedSender<Event>>, done: oneshot::Sender<Result<(), DbErr>> },
}

pub(super) struct Poller {
    database: WeakDatabase,
    backend: DatabaseBackend,
    interval: Duration,
    pool: DatabaseConnection,
    log: Logger,
    feed: Option<Feed>,
    subscribers: Vec<Subscriber>,
    /// How each table's changes are learnt.
    sources: HashMap<&'static str, Source>,
    away_since: Option<Instant>,
    /// The fault that was logged last.
    said: Option<String>,
    upkeep_at: Deadline,
    pruned: Instant,
}

struct Subscriber {
    table: &'static str,
    events: mpsc::UnboundedSender<Event>,
}

impl Poller {
    pub(super) fn new(database: &Database) -> Self {
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
        }
    }

    /// Runs until nobody can command any more: until the database is closed.
    pub(super) async fn run(mut self, mut commands: mpsc::UnboundedReceiver<Command>) {
        let mut next = Deadline::now();
        loop {
            tokio::select! {
                command = commands.recv() => match command {
                    None => return,
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

    async fn obey(&mut self, command: Command) {
        match command {
            Command::Subscribe { table, events, ready } => {
                let result = self.subscribe(table, events).await;
                // Who asked may have gone; the closed subscription is removed later.
                let _ = ready.send(result);
            }
            Command::Settle { to } => {
                if self.poll().await.is_ok() {
                    let _ = to.send(Event::Settled);
                }
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

    async fn subscribe(&mut self, table: &'static str, events: mpsc::UnboundedSender<Event>) -> Result<Source, DbErr> {
        let pool = self.pool.clone();
        let ensured = self.ask(async move { ensure(&pool, table).await }).await?;
        let source = self.take_source(table, &ensured);
        if source == Source::Triggers && self.feed.is_none() {
            let pool = self.pool.clone();
            self.feed = Some(self.ask(async move { Feed::begin(&pool).await }).await?);
        }
        self.subscribers.push(Subscriber { table, events });
        Ok(source)
    }

    /// Notes how changes of `table` are learnt, and says it when it is not as it should be.
    fn take_source(&mut self, table: &'static str, ensured: &Ensured) -> Source {
        let source = if matches!(ensured, Ensured::Refused(_)) { Source::Checksums } else { Source::Triggers };
        let before = self.sources.insert(table, source);
        match ensured {
            Ensured::Refused(why) if before != Some(Source::Checksums) => {
                let needed = match self.backend {
                    DatabaseBackend::MySql => {
                        "privileges CREATE and TRIGGER (with binary logging also log_bin_trust_function_creators)"
                    }
                    DatabaseBackend::Postgres => "to own the table, and CREATE on its schema",
                    _ => "to write to the file",
                };
                warn!(self.log, "no trigger can note changes of the table, its checksums are compared instead; \
                    changes of big tables take longer to arrive"; "table" => table, "needs" => needed, "error" => why);
            }
            Ensured::Made if before == Some(Source::Checksums) => {
                info!(self.log, "triggers note changes of the table from now on"; "table" => table);
            }
            _ => {}
        }
        source
    }

    /// Asks what changed and passes it on.
    async fn poll(&mut self) -> Result<(), DbErr> {
        let Some(mut feed) = self.feed.take() else {
            return Ok(());
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
        if self.feed.is_none() {
            self.begin_again().await?;
        }
        let mut noted = noted.inspect_err(|error| self.failed(error))?;
        self.said = None;
        if let Some(since) = self.away_since.take() {
            if since.elapsed() > KEEP / 2 {
                noted.lost = Some("database was away for long");
            }
            noted.doubtful |= since.elapsed() > LONG;
        }
        self.pass_on(noted);
        if self.backend == DatabaseBackend::MySql {
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

    /// After a question that was given up: from now on, and all tables whole.
    async fn begin_again(&mut self) -> Result<(), DbErr> {
        let pool = self.pool.clone();
        self.feed = Some(self.ask(async move { Feed::begin(&pool).await }).await?);
        self.pass_on(Noted::lost("database hung"));
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
            if by_triggers(subscriber.table)
                && let Some(changes) = noted.tables.get_mut(subscriber.table)
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
        let mut tables: Vec<_> = self.subscribers.iter().map(|subscriber| subscriber.table).collect();
        tables.sort_unstable();
        tables.dedup();
        for table in tables {
            let name = quote(self.backend, table);
            let sql = format!("SELECT CAST(MIN(id) AS SIGNED), CAST(MAX(id) AS SIGNED) FROM {name}");
            let (pool, backend) = (self.pool.clone(), self.backend);
            let row = self.ask(async move { pool.query_one_raw(Statement::from_string(backend, sql)).await }).await;
            // A table that is gone is the business of who follows it.
            let Ok(Some(row)) = row else { continue };
            let (first, last): (Option<i64>, Option<i64>) = (row.try_get_by_index(0)?, row.try_get_by_index(1)?);
            for subscriber in self.subscribers.iter().filter(|subscriber| subscriber.table == table) {
                // Closed ones are removed with the next changes.
                let _ = subscriber.events.send(Event::Bounds(first.zip(last)));
            }
        }
        Ok(())
    }

    async fn upkeep(&mut self) {
        self.upkeep_at = Deadline::now() + jittered(UPKEEP * 2);
        self.subscribers.retain(|subscriber| !subscriber.events.is_closed());
        let mut tables: Vec<_> = self.subscribers.iter().map(|subscriber| subscriber.table).collect();
        tables.sort_unstable();
        tables.dedup();
        for table in tables {
            let pool = self.pool.clone();
            // The database being away is noticed by the next poll.
            let Ok(ensured) = self.ask(async move { ensure(&pool, table).await }).await else { return };
            let before = self.sources.get(table).copied();
            let source = self.take_source(table, &ensured);
            if ensured == Ensured::Made || before != Some(source) {
                if ensured == Ensured::Made && before == Some(Source::Triggers) {
                    warn!(self.log, "triggers of the table were gone and are made again"; "table" => table);
                }
                for subscriber in self.subscribers.iter().filter(|subscriber| subscriber.table == table) {
                    let _ = subscriber.events.send(Event::Source(source));
                }
            }
        }
        if self.feed.is_none() && self.sources.values().any(|source| *source == Source::Triggers) {
            // It is tried again with the next upkeep.
            let _ = self.begin_again().await;
        }
        self.prune();
    }

    /// Removes old notes, a few at a time, behind everybody's back.
    fn prune(&mut self) {
        if self.pruned.elapsed() < KEEP / 6 || self.feed.is_none() {
            return;
        }
        self.pruned = Instant::now();
        let Some(database) = self.database.upgrade() else { return };
        let (backend, log) = (self.backend, self.log.clone());
        tokio::spawn(async move {
            let result = database.write(move |pool| async move { prune(&pool, backend).await }).await;
            if let Err(error) = result {
                warn!(log, "old notes of changes can't be removed"; "table" => CHANGES, "error" => %error);
            }
        });
    }

    /// Runs a question on this task's own connection, within reason.
    async fn ask<T>(&mut self, question: impl Future<Output = Result<T, DbErr>>) -> Result<T, DbErr> {
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

async fn prune(pool: &DatabaseConnection, backend: DatabaseBackend) -> Result<(), DbErr> {
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap_or_default();
    let before = i64::try_from(now.saturating_sub(KEEP).as_secs()).unwrap_or(i64::MAX);
    // The last note stays, so that the numbers go on from it.
    let sql = match backend {
        DatabaseBackend::Sqlite => {
            "DELETE FROM valvula_change WHERE id IN (SELECT id FROM valvula_change WHERE stamp < ? \
             AND id < (SELECT MAX(id) FROM valvula_change) ORDER BY id LIMIT ?)"
        }
        DatabaseBackend::MySql => {
            "DELETE FROM valvula_change WHERE stamp < ? \
             AND id < (SELECT last FROM (SELECT MAX(id) AS last FROM valvula_change) AS most) ORDER BY id LIMIT ?"
        }
        _ => {
            "DELETE FROM valvula_change WHERE ctid = ANY(ARRAY(SELECT ctid FROM valvula_change WHERE stamp < $1 LIMIT $2))"
        }
    };
    loop {
        let statement = Statement::from_sql_and_values(backend, sql, [before.into(), PRUNED_AT_ONCE.into()]);
        let gone = pool.execute_raw(statement).await?.rows_affected();
        if i64::try_from(gone).is_ok_and(|gone| gone < PRUNED_AT_ONCE) {
            return Ok(());
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

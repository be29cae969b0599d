//! What the tests of modules that count need: a daemon's database, counters and clock, which outlive the
//! module instances that use them.

use std::sync::Arc;
use std::time::Duration;

use actors::clock::Clock;
use actors::counting::Counters;
use actors::database::Database;
use actors::local::Local;
use actors::module::{Decide, Module, ModuleContext, ModuleType, Outcome, Query};
use actors::settings::{Faults, Section};
use libvalvula::{Request, RequestBuilder};
use serde_json::Value;
use testkit::TestDatabase;

use crate::testing::node;

/// A daemon, as far as modules that count see one.
pub struct House {
    /// Its database.
    pub database: Database,
    /// Its counters.
    pub counters: Counters,
    /// Its clock, which stands still.
    pub clock: Clock,
}

impl House {
    /// Opens one on `sql` at `time` (UTC, RFC 3339); the schema is brought up to date.
    pub async fn open(sql: &TestDatabase, time: &str) -> Self {
        let settings = actors::database::Settings {
            poll_interval: Duration::from_millis(50),
            ..actors::database::Settings::new(sql.url().parse().unwrap())
        };
        let database = Database::open(settings, log()).unwrap();
        database.connect_with_backoff().await.unwrap();
        database.run(|pool| async move { Ok(migrations::migrate(&pool).await) }).await.unwrap().unwrap();
        let clock = Clock::manual(at(time));
        let counters = Counters::open(database.clone(), clock.clone(), log());
        Self { database, counters, clock }
    }

    /// Starts a module called `name`.
    pub async fn start(&self, kind: &dyn ModuleType, name: &str, settings: Value) -> Arc<dyn Module> {
        let faults = Faults::default();
        let mut section = Section::new(format!("module.{name}"), node(settings), faults.clone());
        let configured = kind.configure(&mut section);
        assert!(faults.is_empty(), "{:?}", faults.take());
        let context = ModuleContext {
            name: name.into(),
            log: log(),
            local: Local::fixed(&[], &[]),
            database: self.database.clone(),
            counters: self.counters.clone(),
            clock: self.clock.clone(),
        };
        configured.start(context).await.unwrap()
    }

    /// Sets the clock.
    pub fn at(&self, time: &str) {
        self.clock.set(at(time));
    }

    /// Ends as a daemon that is told to stop.
    pub async fn close(self) {
        self.counters.close().await;
        self.database.close().await;
    }
}

fn at(time: &str) -> std::time::SystemTime {
    time.parse::<jiff::Timestamp>().unwrap().into()
}

fn log() -> slog::Logger {
    slog::Logger::root(slog::Discard, slog::o!())
}

/// What `module` says of a request.
pub async fn outcome(module: &Arc<dyn Module>, request: RequestBuilder) -> Outcome {
    let query = Arc::new(Query { request: request.build().unwrap(), listener: "test".into() });
    match Arc::clone(module).decide(query) {
        Decide::Now(outcome) => outcome,
        Decide::Later(outcome) => outcome.await,
    }
}

/// The same in words: the answer to Postfix, `DUNNO`, or `could not ask`.
pub async fn ask(module: &Arc<dyn Module>, request: RequestBuilder) -> String {
    words(outcome(module, request).await)
}

/// What `module` would say, and what it looked at.
pub async fn explain(module: &Arc<dyn Module>, request: RequestBuilder) -> (String, Vec<String>) {
    let query = Arc::new(Query { request: request.build().unwrap(), listener: "test".into() });
    let explanation = Arc::clone(module).explain(query).await;
    (words(explanation.outcome), explanation.trace)
}

fn words(outcome: Outcome) -> String {
    match outcome {
        Ok(None) => "DUNNO".to_owned(),
        Ok(Some(decision)) => decision.verdict.to_string(),
        Err(_) => "could not ask".to_owned(),
    }
}

/// Asks again until the answer starts with `expected`.
pub async fn comes_to(module: &Arc<dyn Module>, expected: &str, request: impl Fn() -> RequestBuilder) {
    let give_up = tokio::time::Instant::now() + Duration::from_secs(20);
    loop {
        let told = ask(module, request()).await;
        if told.starts_with(expected) {
            return;
        }
        assert!(tokio::time::Instant::now() < give_up, "{told}, not {expected}");
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}

/// A request at RCPT by `user`.
pub fn rcpt(user: &str) -> RequestBuilder {
    Request::builder()
        .protocol_state("RCPT")
        .sender("sender@elsewhere.example")
        .recipient("r@x.example")
        .sasl_username(user)
}

/// A request at DATA by `user`, for `count` recipients.
pub fn data(user: &str, count: u32) -> RequestBuilder {
    rcpt(user).protocol_state("DATA").recipient("").recipient_count(count)
}

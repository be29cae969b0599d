//! What the tests of several modules need: a module started on a real database.

use std::sync::Arc;
use std::time::Duration;

use actors::clock::Clock;
use actors::counting::Counters;
use actors::database::{Database, Settings};
use actors::local::Local;
use actors::module::{Decide, Module, ModuleContext, ModuleType, Outcome, Query};
use actors::settings::{Faults, Node, Section};
use libvalvula::{Request, RequestBuilder};
use testkit::{Engine, TestDatabase};

/// A module on a database that the test changes with the database's own client.
pub struct Rig {
    /// The database, as an administrator sees it.
    pub sql: TestDatabase,
    /// The module.
    pub module: Arc<dyn Module>,
    /// The database, as the module sees it: closed with the rig.
    _database: Database,
}

/// Keeps the messages of what is logged.
#[derive(Clone, Default)]
pub struct Recorder(Arc<std::sync::Mutex<Vec<String>>>);

impl Recorder {
    /// A logger that writes here.
    pub fn logger(&self) -> slog::Logger {
        slog::Logger::root(self.clone(), slog::o!())
    }

    /// The messages so far, of level info and above.
    pub fn lines(&self) -> Vec<String> {
        self.0.lock().unwrap().clone()
    }
}

impl slog::Drain for Recorder {
    type Ok = ();
    type Err = slog::Never;

    fn log(&self, record: &slog::Record<'_>, _: &slog::OwnedKVList) -> Result<(), slog::Never> {
        if record.level().is_at_least(slog::Level::Info) {
            self.0.lock().unwrap().push(record.msg().to_string());
        }
        Ok(())
    }
}

/// The node that a configuration's TOML would give.
pub fn node(value: serde_json::Value) -> Node {
    use serde_json::Value;
    let origin = "valvula.toml";
    match value {
        Value::Object(keys) => Node::Table {
            keys: keys.into_iter().map(|(key, value)| (key, node(value))).collect(),
            origin: origin.into(),
        },
        Value::Array(items) => Node::List { items: items.into_iter().map(node).collect(), origin: origin.into() },
        value => Node::Leaf { value, origin: origin.into(), from_env: false },
    }
}

/// The faults that a section has.
pub fn faults(kind: &dyn ModuleType, settings: serde_json::Value) -> Vec<String> {
    let faults = Faults::default();
    let mut section = Section::new(format!("module.{}", kind.name()), node(settings), faults.clone());
    drop(kind.configure(&mut section));
    section.finish();
    faults.take().iter().map(ToString::to_string).collect()
}

/// A database that is open and has its tables.
pub async fn database(sql: &TestDatabase) -> Database {
    let settings = Settings { poll_interval: Duration::from_millis(50), ..Settings::new(sql.url().parse().unwrap()) };
    let database = Database::open(settings, log()).unwrap();
    database.connect_with_backoff().await.unwrap();
    database.run(|pool| async move { Ok(migrations::migrate(&pool).await) }).await.unwrap().unwrap();
    database
}

fn log() -> slog::Logger {
    slog::Logger::root(slog::Discard, slog::o!())
}

/// What a module gets at its start.
pub fn context(name: &str, database: &Database, local: Local) -> ModuleContext {
    let clock = Clock::system();
    ModuleContext {
        name: name.into(),
        log: log(),
        local,
        database: database.clone(),
        counters: Counters::open(database.clone(), clock.clone(), log()),
        clock,
    }
}

impl Rig {
    /// Starts `kind` with `settings` on a database of `engine` with the daemon's schema and `rows`.
    pub async fn start(
        kind: &dyn ModuleType,
        settings: serde_json::Value,
        local: Local,
        engine: Engine,
        rows: &str,
    ) -> Self {
        let sql = TestDatabase::new(engine);
        let database = database(&sql).await;
        if !rows.is_empty() {
            sql.sql(rows);
        }
        let faults = Faults::default();
        let mut section = Section::new(format!("module.{}", kind.name()), node(settings), faults.clone());
        let configured = kind.configure(&mut section);
        section.finish();
        assert!(faults.is_empty(), "{:?}", faults.take());
        let module = configured.start(context(kind.name(), &database, local)).await.unwrap();
        Self { sql, module, _database: database }
    }

    /// What the module says of a request.
    pub async fn ask(&self, request: RequestBuilder) -> Outcome {
        match Arc::clone(&self.module).decide(query(request)) {
            Decide::Now(outcome) => outcome,
            Decide::Later(outcome) => outcome.await,
        }
    }

    /// The action and what stands before the first `:` or `;` of the evidence, `DUNNO`, or `could not ask`.
    pub async fn told(&self, sender: &str, recipient: &str, user: &str) -> String {
        told(&self.ask(Request::builder().sender(sender).recipient(recipient).sasl_username(user)).await)
    }

    /// Asks again until the answer is `expected`.
    pub async fn comes_to(&self, expected: &str, sender: &str, recipient: &str, user: &str) {
        let give_up = tokio::time::Instant::now() + Duration::from_secs(10);
        loop {
            let told = self.told(sender, recipient, user).await;
            if told == expected {
                return;
            }
            assert!(
                tokio::time::Instant::now() < give_up,
                "{sender} -> {recipient} as {user:?}: {told}, not {expected}"
            );
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    }
}

/// A request that came in by the listener `test`.
pub fn query(request: RequestBuilder) -> Arc<Query> {
    Arc::new(Query { request: request.build().unwrap(), listener: "test".into() })
}

/// An outcome in short: see [`Rig::told`].
pub fn told(outcome: &Outcome) -> String {
    match outcome {
        Ok(None) => "DUNNO".to_owned(),
        Ok(Some(decision)) => {
            let row = decision.why.split([':', ';']).next().unwrap_or_default();
            format!("{} {row}", decision.verdict.action_name())
        }
        Err(_) => "could not ask".to_owned(),
    }
}

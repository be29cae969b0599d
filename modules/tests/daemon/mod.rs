//! A daemon, as far as counting goes: a database, its counters, a clock that stands still.
#![allow(dead_code, reason = "each test binary uses its part")]

use std::sync::Arc;
use std::time::{Duration, UNIX_EPOCH};

use actors::clock::Clock;
use actors::counting::counter::{UNLIMITED, WINDOWS};
use actors::counting::event::Worth;
use actors::counting::ledger::Answer;
use actors::counting::{Charging, Counters, Draft, Durability, Ledger, Settings};
use actors::database::Database;
use testkit::TestDatabase;

/// Answers after the commit, and counts also when it could not be asked.
pub const STRICT: Settings =
    Settings { durability: Durability::Strict, flush_interval: Duration::from_millis(200), count_when_away: true };

/// When it is.
pub const NOW: u64 = 1_800_000_000;

pub struct Daemon {
    pub database: Database,
    pub counters: Counters,
    pub ledger: Arc<Ledger>,
    pub clock: Clock,
}

impl Daemon {
    pub async fn start(sql: &TestDatabase, settings: Settings) -> Self {
        Self::named(sql, "mquota", settings).await
    }

    pub async fn named(sql: &TestDatabase, name: &str, settings: Settings) -> Self {
        Self::at(&sql.url(), name, settings).await
    }

    pub async fn at(url: &str, name: &str, settings: Settings) -> Self {
        Self::try_at(url, name, settings).await.unwrap()
    }

    /// Why it does not start.
    pub async fn try_start(sql: &TestDatabase, settings: Settings) -> Result<Self, String> {
        Self::try_at(&sql.url(), "mquota", settings).await
    }

    async fn try_at(url: &str, name: &str, settings: Settings) -> Result<Self, String> {
        let log = slog::Logger::root(slog::Discard, slog::o!());
        let database = Database::open(actors::database::Settings::new(url.parse().unwrap()), log.clone()).unwrap();
        database.connect_with_backoff().await.unwrap();
        database.run(|pool| async move { Ok(migrations::migrate(&pool).await) }).await.unwrap().unwrap();
        let clock = Clock::manual(UNIX_EPOCH + Duration::from_secs(NOW));
        let counters = Counters::open(database.clone(), clock.clone(), log);
        let ledger = counters.ledger(name, settings).await.map_err(|error| error.to_string())?;
        Ok(Self { database, counters, ledger, clock })
    }

    /// Used by `ann@example.com`, as this daemon has it.
    pub fn used(&self) -> i64 {
        let asked = Asked::default();
        self.ledger.peek(&asked.draft(&self.ledger)).2[0][0]
    }

    pub async fn stop(self) {
        self.counters.close().await;
        self.database.close().await;
    }
}

/// A request, in short.
#[derive(Clone, Copy)]
pub struct Asked<'a> {
    pub account: &'a [u8],
    pub instance: &'a str,
    pub recipient: &'a str,
    /// At DATA: this many recipients.
    pub message: Option<u32>,
    /// The account's limit in the minute.
    pub limit: i64,
    /// When its windows began.
    pub from: u64,
}

impl Default for Asked<'_> {
    fn default() -> Self {
        Self { account: b"ann@example.com", instance: "", recipient: "r@x", message: None, limit: UNLIMITED, from: NOW }
    }
}

impl<'a> Asked<'a> {
    pub fn draft(&self, ledger: &Ledger) -> Draft<'a> {
        let worth = self.message.map_or(Worth::Recipient, Worth::Message);
        let from = self.from as i64;
        Draft {
            event: ledger.events().event(self.instance.as_bytes(), self.account, self.recipient.as_bytes(), worth),
            account: self.account,
            domain: self
                .account
                .rsplit(|byte| *byte == b'@')
                .next()
                .filter(|rest| rest.len() < self.account.len())
                .unwrap_or_default(),
            windows: [from; WINDOWS],
            closes: from + 86_400,
            slot: 0,
            account_limits: [self.limit, UNLIMITED, UNLIMITED],
            domain_limits: [UNLIMITED; WINDOWS],
            force: false,
        }
    }

    pub async fn of(&self, ledger: &Ledger) -> Answer {
        match ledger.charge(&self.draft(ledger)) {
            Charging::Now(ruling) => Ok(ruling),
            Charging::Later(answer) => answer.await.unwrap(),
        }
    }
}

/// What the database has for `name`, an account or a domain, in the minute.
pub fn stored(sql: &TestDatabase, name: &str) -> i64 {
    let hex: String = name.bytes().map(|byte| format!("{byte:02x}")).collect();
    let literal = match sql.engine() {
        testkit::Engine::Postgres => format!("'\\x{hex}'"),
        _ => format!("x'{hex}'"),
    };
    sql.sql(&format!("SELECT minute_used FROM valvula_counter WHERE name = {literal};")).parse().unwrap_or(0)
}

//! What a request costs mod-mquota after a day of a million senders, over what it costs a daemon that has just begun.
//!
//! `cargo run --release -p modules --example day`. The day passes on a clock of its own: each of its minutes some 700
//! senders who have not written before send three messages. Whatever is remembered of senders and messages must not
//! make the next request dearer, nor stay for ever. Prints both costs, their ratio, and the memory.

#![allow(clippy::print_stdout, clippy::unwrap_used, reason = "it measures and prints, and ends when it can't")]

use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};

use actors::clock::Clock;
use actors::counting::Counters;
use actors::database::{Database, Settings};
use actors::local::Local;
use actors::module::{Decide, Module, ModuleContext, Query};
use actors::settings::{Faults, Node, Section};
use libvalvula::Request;
use serde_json::{Value, json};
use testkit::{Engine, TestDatabase};

const SENDERS: u32 = 1_000_000;
const MINUTES: u32 = 24 * 60;
/// Requests of a measured round, by senders who write all the time.
const ROUND: u32 = 200_000;
const ROUNDS: usize = 5;

fn settings() -> Value {
    let limit = 2_000_000_000;
    json!({"timezone": "UTC", "flush_interval": "10ms", "period": [
        {"label": "day", "from": "00:00", "to": "00:00", "minute": limit, "hour": limit, "global": limit},
    ]})
}

/// What a configuration file with these values is read as.
fn node(value: Value) -> Node {
    let origin = "day";
    match value {
        Value::Object(keys) => Node::Table {
            keys: keys.into_iter().map(|(key, value)| (key, node(value))).collect(),
            origin: origin.into(),
        },
        Value::Array(items) => Node::List { items: items.into_iter().map(node).collect(), origin: origin.into() },
        value => Node::Leaf { value, origin: origin.into(), from_env: false },
    }
}

struct Daemon {
    module: Arc<dyn Module>,
    clock: Clock,
    requests: u64,
}

impl Daemon {
    async fn start(sql: &TestDatabase) -> Self {
        let log = slog::Logger::root(slog::Discard, slog::o!());
        let database = Database::open(Settings::new(sql.url().parse().unwrap()), log.clone()).unwrap();
        database.connect_with_backoff().await.unwrap();
        database.run(|pool| async move { Ok(migrations::migrate(&pool).await) }).await.unwrap().unwrap();
        let clock = Clock::manual(SystemTime::UNIX_EPOCH + Duration::from_secs(1_800_000_000));
        let counters = Counters::open(database.clone(), clock.clone(), log.clone());
        let faults = Faults::default();
        let mut section = Section::new("module.mquota".to_owned(), node(settings()), faults.clone());
        let configured = modules::find("mquota").unwrap().configure(&mut section);
        assert!(faults.is_empty(), "{:?}", faults.take());
        let local = Local::fixed(&[], &[]);
        let context = ModuleContext { name: "mquota".into(), log, local, database, counters, clock: clock.clone() };
        Self { module: configured.start(context).await.unwrap(), clock, requests: 0 }
    }

    fn ask(&mut self, sender: u32) {
        self.requests += 1;
        let user = format!("user{sender}@dom{}.example.org", sender % 5_000);
        let request = Request::builder()
            .protocol_state("RCPT")
            .sender(&user)
            .recipient("somebody@elsewhere.example")
            .sasl_username(&user)
            .instance(format!("{:x}.1.0", self.requests))
            .build()
            .unwrap();
        let query = Arc::new(Query { request, listener: "day".into() });
        assert!(matches!(Arc::clone(&self.module).decide(query), Decide::Now(Ok(None))), "no limit is reached");
    }

    /// The median cost of a request, in nanoseconds.
    async fn cost(&mut self) -> f64 {
        let mut costs = Vec::new();
        for _ in 0..ROUNDS {
            let began = Instant::now();
            for request in 0..ROUND {
                self.ask(SENDERS + request % 1000);
            }
            costs.push(began.elapsed().as_nanos() as f64 / f64::from(ROUND));
            self.pass(Duration::from_secs(600)).await;
        }
        costs.sort_by(f64::total_cmp);
        costs[ROUNDS / 2]
    }

    /// Time passes, and the writer of the counters has its turns.
    async fn pass(&mut self, time: Duration) {
        self.clock.advance(time);
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

fn resident_mib() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).unwrap();
    line.trim().trim_end_matches("kB").trim().parse::<u64>().unwrap() / 1024
}

#[tokio::main(flavor = "multi_thread", worker_threads = 2)]
async fn main() {
    let sql = TestDatabase::new(Engine::Sqlite);
    let mut daemon = Daemon::start(&sql).await;
    let empty = daemon.cost().await;
    println!("empty: {empty:.0} ns a request, {} MiB", resident_mib());
    let mut sender = 0;
    for minute in 1..=MINUTES {
        let until = SENDERS / MINUTES * minute + SENDERS % MINUTES * minute / MINUTES;
        for _ in 0..3 {
            (sender..until).for_each(|sender| daemon.ask(sender));
        }
        sender = until;
        daemon.pass(Duration::from_secs(60)).await;
    }
    println!("at the end of the day: {} MiB, {} requests", resident_mib(), daemon.requests);
    let full = daemon.cost().await;
    println!("after the day: {full:.0} ns a request, {} MiB; ratio {:.2}", resident_mib(), full / empty);
}

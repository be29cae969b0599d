//! The database goes away and comes back, answers are lost: nothing that was answered is lost, and nothing is
//! counted twice. (The daemon itself killed: `tests/count_kill.rs`.)

#![allow(clippy::unwrap_used)] // a test may be blunt, its helpers too

mod daemon;
mod relay;

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicI64, Ordering};
use std::time::Duration;

use actors::counting::{Durability, Ruling, Settings};
use testkit::{Engine, Server, TestDatabase};

use self::daemon::{Asked, Daemon, STRICT};
use self::relay::Relay;

/// Tasks that ask until they are told to stop.
struct Load {
    stop: Arc<AtomicBool>,
    passed: Arc<AtomicI64>,
    unasked: Arc<AtomicI64>,
    tasks: Vec<tokio::task::JoinHandle<()>>,
}

impl Load {
    fn start(daemon: &Daemon, count: usize) -> Self {
        let (stop, passed, unasked) = <(Arc<AtomicBool>, Arc<AtomicI64>, Arc<AtomicI64>)>::default();
        let tasks = (0..count)
            .map(|_| {
                let ledger = daemon.ledger.clone();
                let (stop, passed, unasked) = (stop.clone(), passed.clone(), unasked.clone());
                tokio::spawn(async move {
                    while !stop.load(Ordering::Relaxed) {
                        match Asked::default().of(&ledger).await {
                            Ok(Ruling::Pass) => passed.fetch_add(1, Ordering::Relaxed),
                            Ok(Ruling::Over(over)) => panic!("refused although there is no limit: {over:?}"),
                            Err(_) => unasked.fetch_add(1, Ordering::Relaxed),
                        };
                        // a client that sends mail, not one that burns the processor while nothing waits
                        tokio::time::sleep(Duration::from_millis(1)).await;
                    }
                })
            })
            .collect();
        Self { stop, passed, unasked, tasks }
    }

    /// Waits until `more` have passed.
    async fn passes(&self, more: i64) {
        let target = self.passed.load(Ordering::Relaxed) + more;
        let give_up = tokio::time::Instant::now() + Duration::from_secs(60);
        while self.passed.load(Ordering::Relaxed) < target {
            assert!(tokio::time::Instant::now() < give_up, "no more requests pass");
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    }

    /// How many passed, and how many could not be asked.
    async fn end(self) -> (i64, i64) {
        self.stop.store(true, Ordering::Relaxed);
        for task in self.tasks {
            task.await.unwrap();
        }
        (self.passed.load(Ordering::Relaxed), self.unasked.load(Ordering::Relaxed))
    }
}

async fn stopped_and_started_under_load(engine: Engine, settings: Settings) {
    let server = Arc::new(Server::start_new(engine));
    let sql = TestDatabase::on_server(&server);
    let daemon = Daemon::start(&sql, settings).await;
    let load = Load::start(&daemon, 16);
    load.passes(200).await;
    for round in 0..3 {
        let at = server.clone();
        // ended in good order, then as by loss of power
        tokio::task::spawn_blocking(move || if round < 2 { at.stop() } else { at.kill() }).await.unwrap();
        if settings.durability == Durability::Relaxed {
            load.passes(100).await;
        }
        let at = server.clone();
        tokio::task::spawn_blocking(move || at.start()).await.unwrap();
        load.passes(200).await;
    }
    let (passed, unasked) = load.end().await;
    daemon.ledger.flush().await.unwrap();
    let charged = match (settings.durability, settings.count_when_away) {
        (Durability::Relaxed, _) => {
            assert_eq!(unasked, 0, "{engine:?}: relaxed always answers");
            passed
        }
        // its mail flowed, so it is counted
        (Durability::Strict, true) => passed + unasked,
        (Durability::Strict, false) => passed,
    };
    daemon.stop().await;
    assert_eq!(daemon::stored(&sql, "ann@example.com"), charged, "{engine:?} {settings:?}: {passed} + {unasked}");
    assert_eq!(daemon::stored(&sql, "example.com"), charged);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn relaxed_goes_on_in_memory_while_the_database_is_away_and_nothing_is_lost() {
    let settings = Settings { flush_interval: Duration::from_millis(50), ..Settings::default() };
    for engine in [Engine::MariaDb, Engine::Postgres] {
        stopped_and_started_under_load(engine, settings).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn strict_says_could_not_ask_while_the_database_is_away_and_counts_what_flowed() {
    for engine in [Engine::MariaDb, Engine::Postgres] {
        stopped_and_started_under_load(engine, STRICT).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn strict_does_not_count_what_was_deferred_while_the_database_was_away() {
    for engine in [Engine::MariaDb, Engine::Postgres] {
        stopped_and_started_under_load(engine, Settings { count_when_away: false, ..STRICT }).await;
    }
}

async fn answers_lost_under_load(engine: Engine, settings: Settings) {
    let sql = TestDatabase::new(engine);
    let relay = Relay::before(&sql).await;
    let daemon = Daemon::at(&relay.url, "mquota", settings).await;
    let load = Load::start(&daemon, 16);
    load.passes(50).await;
    for _ in 0..20 {
        relay.swallow_one().await;
        load.passes(20).await;
    }
    let (passed, unasked) = load.end().await;
    daemon.ledger.flush().await.unwrap();
    daemon.stop().await;
    assert_eq!(daemon::stored(&sql, "ann@example.com"), passed + unasked, "{engine:?} {settings:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_commit_whose_answer_was_lost_is_counted_once() {
    let relaxed = Settings { flush_interval: Duration::from_millis(10), ..Settings::default() };
    for engine in [Engine::MariaDb, Engine::Postgres] {
        for settings in [STRICT, relaxed] {
            answers_lost_under_load(engine, settings).await;
        }
    }
}

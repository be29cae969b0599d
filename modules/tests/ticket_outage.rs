//! Tickets when answers are lost: charged once for each request that passed.

#![allow(clippy::unwrap_used)] // a test may be blunt, its helpers too

mod daemon;
mod relay;

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicI64, Ordering};
use std::time::Duration;

use actors::local::Local;
use actors::module::{Decide, Module, ModuleContext, Query};
use actors::settings::{Faults, Node, Section};
use libvalvula::Request;
use testkit::{Engine, TestDatabase};

use self::daemon::{Daemon, STRICT};
use self::relay::Relay;

async fn start(daemon: &Daemon, on_failure: &str) -> Arc<dyn Module> {
    let leaf = |value: &str| Node::Leaf { value: value.into(), origin: "test".into(), from_env: false };
    let keys = [("timezone", "UTC"), ("on_failure", on_failure)].map(|(key, value)| (key.to_owned(), leaf(value)));
    let faults = Faults::default();
    let table = Node::Table { keys: keys.into(), origin: "test".into() };
    let mut section = Section::new("module.ticket", table, faults.clone());
    let configured = modules::find("ticket").unwrap().configure(&mut section);
    assert!(faults.is_empty(), "{:?}", faults.take());
    let context = ModuleContext {
        name: "ticket".into(),
        log: slog::Logger::root(slog::Discard, slog::o!()),
        local: Local::fixed(&[], &[]),
        database: daemon.database.clone(),
        counters: daemon.counters.clone(),
        clock: daemon.clock.clone(),
    };
    configured.start(context).await.unwrap()
}

/// Whether a request of its own message passes; `None`: could not ask.
async fn passes(module: &Arc<dyn Module>, instance: String) -> Option<bool> {
    let request =
        Request::builder().protocol_state("RCPT").sasl_username("ann@x.com").recipient("r@x").instance(instance);
    let query = Arc::new(Query { request: request.build().unwrap(), listener: "test".into() });
    let outcome = match Arc::clone(module).decide(query) {
        Decide::Now(outcome) => outcome,
        Decide::Later(outcome) => outcome.await,
    };
    outcome.ok().map(|decision| decision.is_none())
}

async fn answers_lost_under_load(engine: Engine, on_failure: &str) {
    let sql = TestDatabase::new(engine);
    let first = Daemon::start(&sql, STRICT).await;
    sql.sql("INSERT INTO domain_ticket (id, sasl_user) VALUES (1, 'ann@x.com');");
    first.stop().await;
    let relay = Relay::before(&sql).await;
    let daemon = Daemon::at(&relay.url, "unused", STRICT).await;
    let module = start(&daemon, on_failure).await;
    let (stop, passed, unasked) = <(Arc<AtomicBool>, Arc<AtomicI64>, Arc<AtomicI64>)>::default();
    let tasks: Vec<_> = (0..16)
        .map(|task| {
            let (module, stop, passed, unasked) = (module.clone(), stop.clone(), passed.clone(), unasked.clone());
            tokio::spawn(async move {
                for number in 0.. {
                    if stop.load(Ordering::Relaxed) {
                        return;
                    }
                    match passes(&module, format!("{task}.{number}")).await {
                        Some(true) => passed.fetch_add(1, Ordering::Relaxed),
                        Some(false) => panic!("refused although there is no limit"),
                        None => unasked.fetch_add(1, Ordering::Relaxed),
                    };
                    tokio::time::sleep(Duration::from_millis(1)).await;
                }
            })
        })
        .collect();
    for _ in 0..30 {
        let more = passed.load(Ordering::Relaxed) + 20;
        let give_up = tokio::time::Instant::now() + Duration::from_secs(60);
        while passed.load(Ordering::Relaxed) < more {
            assert!(tokio::time::Instant::now() < give_up, "no more requests pass");
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
        relay.swallow_one().await;
    }
    stop.store(true, Ordering::Relaxed);
    for task in tasks {
        task.await.unwrap();
    }
    // what is owed is written as soon as the database answers
    let expected =
        passed.load(Ordering::Relaxed) + if on_failure == "dunno" { unasked.load(Ordering::Relaxed) } else { 0 };
    let give_up = tokio::time::Instant::now() + Duration::from_secs(30);
    loop {
        let used: i64 = sql.sql("SELECT total_used FROM domain_ticket WHERE id = 1;").parse().unwrap();
        if used == expected {
            break;
        }
        assert!(
            used < expected + 16 && tokio::time::Instant::now() < give_up,
            "{engine:?} {on_failure}: {used} used, {expected} passed, of which could not be asked: {unasked:?}"
        );
        Arc::clone(&module).stop().await;
    }
    // and stays so
    Arc::clone(&module).stop().await;
    assert_eq!(sql.sql("SELECT total_used FROM domain_ticket WHERE id = 1;"), expected.to_string(), "{engine:?}");
    daemon.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_charge_whose_answer_was_lost_is_made_once() {
    for engine in [Engine::MariaDb, Engine::Postgres] {
        for on_failure in ["dunno", "defer"] {
            answers_lost_under_load(engine, on_failure).await;
        }
    }
}

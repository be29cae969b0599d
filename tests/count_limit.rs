//! 64 connections charge one account with a limit of 10,000: exactly 10,000 pass.

#![allow(clippy::unwrap_used)] // a test may be blunt, its helpers too

mod counting;

use counting::{Listeners, Load, quota, stored};
use support::{Engine, Home, TestDatabase, programs};

const LIMIT: u64 = 10_000;
const USER: &str = "ann@example.com";

/// `daemons` on one database, asked by 64 connections until each of them was refused.
fn exactly_the_limit_passes(engine: Engine, daemons: usize, module: &'static str) {
    let database = TestDatabase::new(engine);
    let sections = quota("strict", "durability = \"strict\"", &format!("global = {LIMIT}"))
        + &quota("relaxed", "durability = \"relaxed\"", &format!("global = {LIMIT}"))
        + "[module.ticket]\ntimezone = \"UTC\"\n";
    let listeners: Vec<_> = (0..daemons).map(|_| Listeners::new(&[module])).collect();
    let home = |listeners: &Listeners| Home::with(programs!(), &listeners.settings(&database, &sections));
    let homes: Vec<_> = listeners.iter().map(home).collect();
    // The tables first, and the ticket before any daemon looks for it.
    assert_eq!(homes[0].start().stop(), 0);
    database.sql(&format!(
        "INSERT INTO ticket_plan (id, total_limit) VALUES (1, {LIMIT}); \
         INSERT INTO domain_ticket (id, sasl_user, ticket_plan_id) VALUES (1, '{USER}', 1);"
    ));
    let running: Vec<_> = homes.iter().map(Home::start).collect();
    let loads: Vec<_> =
        listeners.iter().map(|own| Load::until_refused(own.address(module), 64 / daemons, USER)).collect();
    let mut passed = 0;
    for load in loads {
        let told = load.join();
        assert_eq!((told.refused, &told.faults), (64 / daemons as u64, &vec![]), "{engine:?} {module}");
        passed += told.passed();
    }
    assert_eq!(passed, LIMIT, "{engine:?} {module}, {daemons} daemons");
    for daemon in running {
        assert_eq!(daemon.stop(), 0);
    }
    let counted = if module == "ticket" { counting::ticket(&database, 1) } else { stored(&database, module, USER) };
    assert_eq!(counted, LIMIT, "{engine:?} {module}, {daemons} daemons");
}

#[test]
fn with_one_daemon_relaxed_on_each_database() {
    for engine in Engine::ALL {
        exactly_the_limit_passes(engine, 1, "relaxed");
    }
}

#[test]
fn with_one_daemon_strict_on_each_database() {
    for engine in Engine::ALL {
        exactly_the_limit_passes(engine, 1, "strict");
    }
}

#[test]
fn with_two_daemons_strict_on_one_mariadb() {
    exactly_the_limit_passes(Engine::MariaDb, 2, "strict");
}

#[test]
fn with_two_daemons_strict_on_one_postgresql() {
    exactly_the_limit_passes(Engine::Postgres, 2, "strict");
}

#[test]
fn with_two_daemons_and_a_ticket_on_one_sqlite_file() {
    exactly_the_limit_passes(Engine::Sqlite, 2, "ticket");
}

#[test]
fn with_two_daemons_and_a_ticket_on_one_mariadb() {
    exactly_the_limit_passes(Engine::MariaDb, 2, "ticket");
}

#[test]
fn with_two_daemons_and_a_ticket_on_one_postgresql() {
    exactly_the_limit_passes(Engine::Postgres, 2, "ticket");
}

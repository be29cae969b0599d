//! mod-mw's statements hang, fail, or find no server: no answer is delayed or changed by it.

#![allow(clippy::unwrap_used)] // a test may be blunt, its helpers too

use std::time::{Duration, Instant};

use support::{Address, Connection, Engine, Home, Request, TestDatabase, programs};

/// A chain with `mw` before `bwl`, whose statement is `statement` on the database `url`.
fn with_statement(url: &str, statement: &str) {
    let database = TestDatabase::new(Engine::Sqlite);
    let address: Address = support::loopback().into();
    let settings = format!(
        "[database]\nurl = \"{}\"\n[[listener]]\nname = \"in\"\naddress = \"{address}\"\nmodules = [\"mw\", \"bwl\"]\n\
         [[module.mw.connection]]\nname = \"main\"\nurl = \"{url}\"\nqueue = 10\ntimeout = \"60s\"\n\
         on_request = [\"{statement}\"]\n",
        database.url()
    );
    let home = Home::with(programs!(), &settings);
    assert_eq!(home.start().stop(), 0);
    database.sql("INSERT INTO bwl_global (is_active, source, status) VALUES (1, 'bad@away.example', 'reject');");
    let daemon = home.start();
    let mut connection = Connection::open(&address).unwrap();
    let since = Instant::now();
    for _ in 0..200 {
        assert_eq!(connection.ask(&Request::rcpt("good@away.example", "r@x.example")).unwrap(), "DUNNO");
        let refused = connection.ask(&Request::rcpt("bad@away.example", "r@x.example")).unwrap();
        assert!(refused.starts_with("REJECT "), "{refused}");
    }
    // One that waited for a single statement would take longer.
    assert!(since.elapsed() < Duration::from_secs(15), "{statement}: {:?}", since.elapsed());
    let stats = daemon.module("mw");
    assert_eq!(stats["requests"]["count"], 400, "{stats}");
    assert_eq!(stats["failures"].as_object().unwrap().values().filter(|count| **count != 0).count(), 0, "{stats}");
    // What did not fit the queue is counted.
    if !statement.contains("nowhere") {
        let left_out = daemon.fact("mw", "connections")["main"]["requests left out"].as_u64().unwrap();
        assert!((380..=400).contains(&left_out), "{left_out}");
    }
    // Also while it stops, within what it allows a module.
    assert_eq!(daemon.stop(), 0);
}

#[test]
fn a_statement_that_hangs() {
    with_statement(&TestDatabase::new(Engine::MariaDb).url(), "SELECT SLEEP(1000)");
    with_statement(&TestDatabase::new(Engine::Postgres).url(), "SELECT pg_sleep(1000)");
}

#[test]
fn a_statement_that_fails() {
    for engine in Engine::ALL {
        with_statement(&TestDatabase::new(engine).url(), "INSERT INTO nowhere VALUES (#size#)");
    }
}

#[test]
fn a_server_that_is_not_there() {
    let nobody = support::loopback();
    with_statement(&format!("mysql://valvula:secret@{nobody}/valvula"), "SELECT 1");
}

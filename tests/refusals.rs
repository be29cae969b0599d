//! What every module that refuses owes to the sender and to the administrator, and what counting owes to both when
//! its module is restarted: through the real daemon.

#![allow(clippy::unwrap_used)] // a test may be blunt, its helpers too

mod counting;

use std::sync::Arc;

use counting::{Listeners, quota};
use support::{Connection, Engine, Home, Request, Server, TestDatabase, programs};

const MODULES: [&str; 5] = ["bwl", "slm", "mquota", "ticket", "lmm"];

const ROWS: &str = "
    INSERT INTO bwl_global (id, is_active, source, status) VALUES (7, 1, '*.secret-rule.example', 'reject');
    INSERT INTO ticket_plan (id, name, total_limit) VALUES (1, 'secret plan', 1);
    INSERT INTO domain_ticket (id, sasl_user, total_used, ticket_plan_id) VALUES (9, 'ann@example.com', 1, 1);
    INSERT INTO lmm_by_domain (id, is_active, domain, allowed_networks) VALUES (5, 1, 'bank.example', '203.0.113.0/24');";

/// A refusal carries a text, which shows no configuration, and writes one line that names module, rule or
/// limit, and the values compared. After the last module without an opinion: `DUNNO`.
#[test]
fn every_refusal_carries_a_text_and_writes_one_line_that_names_what_was_compared() {
    let database = TestDatabase::new(Engine::Sqlite);
    let listeners = Listeners::new(&MODULES);
    let sections = "[module.slm]\nmode = \"full\"\n[module.ticket]\ntimezone = \"UTC\"\n".to_owned()
        + &quota("mquota", "", "hour = 0");
    let home = Home::with(programs!(), &listeners.settings(&database, &sections));
    assert_eq!(home.start().stop(), 0);
    database.sql(ROWS);
    let daemon = home.start();
    let by_ann = Request::rcpt("ann@example.com", "r@away.example").sasl("ann@example.com");
    for (module, request, why) in [
        (
            "bwl",
            Request::rcpt("x@a.secret-rule.example", "r@home.example"),
            "bwl_global 7: source *.secret-rule.example, destination (any); sender x@a.secret-rule.example, recipient r@home.example",
        ),
        (
            "slm",
            by_ann.clone().set("sender", "other@example.com"),
            "slm full: sender other@example.com, SASL user ann@example.com",
        ),
        ("mquota", by_ann.clone(), "hour limit of account ann@example.com: used 0 + 1 > 0"),
        ("ticket", by_ann.clone(), "domain_ticket 9: total limit, used 1 + 1 > 1"),
        (
            "lmm",
            Request::rcpt("x@bank.example", "r@home.example"),
            "lmm_by_domain 5: client 192.0.2.9, sender x@bank.example",
        ),
    ] {
        let answer = Connection::open(listeners.address(module)).unwrap().ask(&request).unwrap();
        let text = answer.strip_prefix("REJECT ").unwrap_or_else(|| panic!("{module}: {answer}"));
        assert!(text.split(' ').count() > 3, "{module}: {text}");
        for secret in ["secret", "203.0.113", "bwl", "slm", "mquota", "ticket", "lmm", "full", "rule", "_"] {
            assert!(!text.contains(secret), "{module}: {text} shows {secret}");
        }
        let parts = ["verdict", &format!("listener={module} "), "action=\"REJECT ", &format!("module={module} "), why];
        daemon.wait_log(&parts);
        assert_eq!(daemon.count_log(&["verdict", &format!("listener={module} ")]), 1, "one line: {}", daemon.log());
    }
    // Authenticated is who has a SASL user that is not empty.
    let nobody = by_ann.set("sasl_username", "").set("client_address", "203.0.113.5");
    for module in MODULES {
        let answer = Connection::open(listeners.address(module)).unwrap().ask(&nobody).unwrap();
        assert_eq!(answer, "DUNNO", "{module}");
    }
}

/// Counters live through a restart of the module's actor, of the store, and through a reload.
#[test]
fn counters_live_through_restarts_of_the_module_and_of_the_store_and_a_reload() {
    for engine in Engine::ALL {
        let database = TestDatabase::new(engine);
        let listeners = Listeners::new(&["relaxed", "strict"]);
        let sections = quota("relaxed", "durability = \"relaxed\"\nflush_interval = \"1h\"", "global = 4")
            + &quota("strict", "durability = \"strict\"", "global = 4");
        let home = Home::with(programs!(), &listeners.settings(&database, &sections));
        let daemon = home.start();
        for module in ["relaxed", "strict"] {
            let request =
                Request::rcpt("ann@example.com", "r@away.example").sasl("ann@example.com").set("instance", "");
            let ask = || Connection::open(listeners.address(module)).unwrap().ask(&request).unwrap();
            assert_eq!(ask(), "DUNNO");
            for order in [&["restart", module][..], &["restart", "store"], &["reload"]] {
                daemon.control(order);
                assert_eq!(ask(), "DUNNO", "{engine:?} {module} {order:?}");
            }
            assert!(ask().starts_with("REJECT "), "{engine:?} {module}: four are counted");
        }
        assert_eq!(daemon.stop(), 0);
    }
}

/// `timezone` is the machine's when it is absent.
#[test]
fn the_time_zone_is_the_machines_when_none_is_given() {
    let database = TestDatabase::new(Engine::Sqlite);
    let listeners = Listeners::new(&["mquota"]);
    let section = "[[module.mquota.period]]\nlabel = \"day\"\nfrom = \"00:00\"\nto = \"00:00\"\nhour = 0\n";
    let home = Home::with(programs!(), &listeners.settings(&database, section));
    for (zone, shown) in [("Asia/Kolkata", "IST"), ("UTC", "UTC")] {
        let daemon = home.start_with(&[], &[("TZ", zone)]);
        let request = Request::rcpt("ann@example.com", "r@away.example").sasl("ann@example.com");
        let answer = Connection::open(listeners.address("mquota")).unwrap().ask(&request).unwrap();
        assert!(answer.starts_with("REJECT Sending limit reached") && answer.ends_with(shown), "{zone}: {answer}");
        assert_eq!(daemon.stop(), 0);
    }
}

/// No request opens a connection to the database of its own.
#[test]
fn requests_share_the_databases_connections() {
    let server = Arc::new(Server::start_new(Engine::MariaDb));
    let database = TestDatabase::on_server(&server);
    let listeners = Listeners::new(&["ticket", "strict"]);
    let sections = "[module.ticket]\ntimezone = \"UTC\"\n".to_owned() + &quota("strict", "durability = \"strict\"", "");
    let home = Home::with(programs!(), &listeners.settings(&database, &sections));
    assert_eq!(home.start().stop(), 0);
    database.sql("INSERT INTO domain_ticket (id, sasl_user) VALUES (1, 'ann@example.com');");
    let daemon = home.start();
    let ever = || {
        let line = database.sql("SHOW GLOBAL STATUS LIKE 'Connections';");
        line.split('\t').nth(1).unwrap().parse::<u64>().unwrap()
    };
    let before = ever();
    let request = Request::rcpt("ann@example.com", "r@away.example").sasl("ann@example.com").set("instance", "");
    for module in ["ticket", "strict"] {
        let mut connection = Connection::open(listeners.address(module)).unwrap();
        for _ in 0..200 {
            assert_eq!(connection.ask(&request).unwrap(), "DUNNO");
        }
    }
    // Our own question is one of them.
    assert!(ever() - before < 30, "{} connections for 400 requests", ever() - before);
    assert_eq!(daemon.stop(), 0);
}

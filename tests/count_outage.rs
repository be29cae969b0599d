//! The database is stopped for ten seconds under load and started again: no request fails because of it, other
//! than as `on_failure` says; nothing is lost or counted twice; nobody is refused who had quota; and the log
//! says once that it went and once that it is back.

#![allow(clippy::unwrap_used)] // a test may be blunt, its helpers too
#![allow(clippy::print_stdout)] // the figures, for whoever asks for them with --nocapture

mod counting;

use std::sync::Arc;
use std::time::{Duration, Instant};

use counting::{Listeners, Load, quota, settled, stored};
use support::{Connection, Engine, Home, Request, Server, TestDatabase, programs};

const WAYS: [&str; 5] = ["relaxed", "strict", "strict-defers", "ticket", "ticket-defers"];
const OUTAGE: Duration = Duration::from_secs(10);

fn user(way: &str) -> String {
    format!("{way}@example.com")
}

fn away_for_ten_seconds_under_load(engine: Engine) {
    let server = Arc::new(Server::start_new(engine));
    let database = TestDatabase::on_server(&server);
    let mut names = WAYS.to_vec();
    names.push("bwl");
    let listeners = Listeners::new(&names);
    let room = "global = 1000000\ndomain_global = 1000000";
    let sections = quota("relaxed", "durability = \"relaxed\"", room)
        + &quota("strict", "durability = \"strict\"", room)
        + &quota("strict-defers", "durability = \"strict\"\non_failure = \"defer\"", room)
        + "[module.ticket]\ntimezone = \"UTC\"\n\
           [module.ticket-defers]\ntype = \"ticket\"\ntimezone = \"UTC\"\non_failure = \"defer\"\n";
    let home = Home::with(programs!(), &listeners.settings(&database, &sections));
    assert_eq!(home.start().stop(), 0);
    database.sql(
        "INSERT INTO ticket_plan (id, total_limit) VALUES (1, 1000000); \
         INSERT INTO domain_ticket (id, sasl_user, ticket_plan_id) VALUES (1, 'ticket@example.com', 1); \
         INSERT INTO domain_ticket (id, sasl_user, ticket_plan_id) VALUES (2, 'ticket-defers@example.com', 1); \
         INSERT INTO bwl_global (is_active, source, status) VALUES (1, 'bad@away.example', 'reject');",
    );
    let daemon = home.start();
    let bad = || {
        let mut connection = Connection::open(listeners.address("bwl")).unwrap();
        connection.ask(&Request::rcpt("bad@away.example", "ann@example.com")).unwrap()
    };
    assert!(bad().starts_with("REJECT "));

    let loads = WAYS.map(|way| Load::start(listeners.address(way), 4, &user(way), Duration::from_millis(5)));
    let all_pass = |more: u64| {
        let from = loads.each_ref().map(Load::passed);
        support::wait_until("requests pass", Duration::from_secs(60), || {
            loads.iter().zip(from).all(|(load, from)| load.passed() >= from + more)
        });
    };
    all_pass(50);
    server.stop();
    let since = Instant::now();
    daemon.wait_log(&["database is away"]);
    support::wait_until("the outage ends", OUTAGE * 2, || {
        // Rules are answered from memory as ever.
        assert!(bad().starts_with("REJECT "));
        since.elapsed() >= OUTAGE
    });
    server.start();
    all_pass(50);
    let told = loads.map(Load::end);
    // What was counted in memory meanwhile is written.
    assert_eq!(daemon.stop(), 0);

    let counted = settled(|| {
        WAYS.map(|way| match way {
            "ticket" => counting::ticket(&database, 1),
            "ticket-defers" => counting::ticket(&database, 2),
            _ => stored(&database, way, &user(way)),
        })
    });
    for ((way, told), counted) in WAYS.into_iter().zip(&told).zip(counted) {
        let what = format!("{engine:?} {way}: {} passed, {} deferred", told.passed(), told.deferred);
        assert_eq!(told.faults, Vec::<String>::new(), "{what}");
        assert_eq!(told.refused, 0, "{what}: all have quota");
        assert_eq!(counted, told.passed(), "{what}: what passed is counted, once");
        match way.ends_with("defers") {
            true => assert!(told.deferred > 0, "{what}: as on_failure says"),
            false => assert_eq!(told.deferred, 0, "{what}"),
        }
        // A module's deadline is five seconds.
        assert!(told.longest < Duration::from_secs(15), "{what}: {:?}", told.longest);
        println!("{what}, {counted} counted, the longest answer took {:?}", told.longest);
    }
    let log = daemon.log();
    let said = |what: &str| log.lines().filter(|line| line.contains(what)).count();
    assert_eq!((said("database is away"), said("database is back")), (1, 1), "{log}");
}

#[test]
fn a_mariadb_that_is_away_for_ten_seconds_under_load() {
    away_for_ten_seconds_under_load(Engine::MariaDb);
}

#[test]
fn a_postgresql_that_is_away_for_ten_seconds_under_load() {
    away_for_ten_seconds_under_load(Engine::Postgres);
}

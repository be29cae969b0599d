//! The daemon and its database: made, checked, waited for, refused when it is too new.

#![allow(clippy::unwrap_used)] // a test may be blunt, its helpers too

use std::sync::Arc;
use std::time::{Duration, Instant};

use support::{Address, Connection, Daemon, Engine, Home, Request, Server, TestDatabase, programs};

fn settings(address: &Address, database: &str) -> String {
    format!("[database]\n{database}\n\n[[listener]]\nname = \"in\"\naddress = \"{address}\"\nmodules = [\"bwl\"]\n")
}

fn url(database: &TestDatabase) -> String {
    format!("url = \"{}\"", database.url())
}

fn answer(address: &Address) -> String {
    Connection::open(address).unwrap().ask(&Request::rcpt("bad@away.example", "ann@example.com")).unwrap()
}

const REFUSE: &str = "INSERT INTO bwl_global (is_active, source, status) VALUES (1, 'bad@away.example', 'reject');";

/// `-b` without a daemon, with one, and after: which database, which version, which schema.
fn check_db(engine: Engine, named: &str) {
    let database = TestDatabase::new(engine);
    let address = support::loopback().into();
    let home = Home::with(programs!(), &settings(&address, &url(&database)));
    let daemon = home.start();
    let found = home.valvulad(&["-b"]).ok().stdout;
    assert!(found.to_lowercase().contains(named), "{named}: {found}");
    assert!(found.contains("schema"), "{found}");
    let version = match engine {
        Engine::Sqlite => database.sql("SELECT sqlite_version();"),
        Engine::MariaDb => database.sql("SELECT VERSION();"),
        Engine::Postgres => database.sql("SHOW server_version;"),
    };
    let number = version.split(['-', ' ']).next().unwrap();
    // The daemon's own SQLite is another than that of the client.
    assert!(engine == Engine::Sqlite || found.contains(number), "{number}: {found}");
    assert!(!found.contains("secret"), "the password must not be shown: {found}");
    assert_eq!(daemon.stop(), 0);
    home.valvulad(&["-b"]).ok();
}

#[test]
fn check_db_says_what_it_found_sqlite() {
    check_db(Engine::Sqlite, "sqlite");
}

#[test]
fn check_db_says_what_it_found_mariadb() {
    check_db(Engine::MariaDb, "mariadb");
}

#[test]
fn check_db_says_what_it_found_postgresql() {
    check_db(Engine::Postgres, "postgresql");
}

#[test]
fn check_db_of_a_database_that_is_not_there_ends_with_1_and_says_why() {
    let nobody = support::loopback();
    let home = Home::with(
        programs!(),
        &settings(&support::loopback().into(), &format!("url = \"mysql://valvula:secret@{nobody}/valvula\"")),
    );
    let since = Instant::now();
    let output = home.valvulad(&["-b"]);
    assert_eq!(output.code, Some(1), "{output:?}");
    let said = format!("{}{}", output.stdout, output.stderr);
    assert!(said.contains(&nobody.to_string()) || said.contains("refused"), "{said}");
    assert!(!said.contains("secret"), "the password must not be shown: {said}");
    assert!(since.elapsed() < Duration::from_secs(30), "{:?}", since.elapsed());
}

#[test]
fn a_server_that_does_not_come_ends_the_start_with_69_after_start_timeout() {
    let nobody = support::loopback();
    let address = support::loopback().into();
    let home = Home::with(
        programs!(),
        &settings(&address, &format!("url = \"postgres://valvula:secret@{nobody}/valvula\"\nstart_timeout = \"2s\"")),
    );
    let since = Instant::now();
    let daemon = Daemon::spawn(&home);
    support::wait_until("it says that it waits", Duration::from_secs(10), || {
        daemon.count_log(&["database"]) > 0 || daemon.ended().is_some()
    });
    // A port that listens already would let mail wait for a daemon that is not ready.
    assert!(Connection::open(&address).is_err(), "it must not listen before its modules are ready");
    assert_eq!(daemon.wait(), 69, "{}", daemon.log());
    let took = since.elapsed();
    assert!(took >= Duration::from_secs(2) && took < Duration::from_secs(20), "after {took:?}");
    assert!(!daemon.log().contains("secret"), "the password must not be logged: {}", daemon.log());
}

/// The server is down at the start and comes within `start_timeout`; is stopped later, and comes again.
fn server_comes_and_goes(engine: Engine) {
    let server = Arc::new(Server::start_new(engine));
    let database = TestDatabase::on_server(&server);
    let address = support::loopback().into();
    let home = Home::with(programs!(), &settings(&address, &(url(&database) + "\nstart_timeout = \"60s\"")));
    server.stop();
    let daemon = Daemon::spawn(&home);
    daemon.wait_log(&["database"]);
    assert!(daemon.ended().is_none(), "{}", daemon.log());
    server.start();
    daemon.wait_ready();
    database.sql(REFUSE);
    let refused = || answer(&address).starts_with("REJECT");
    support::wait_until("the rule is loaded", Duration::from_secs(10), refused);

    server.stop();
    for _ in 0..20 {
        assert!(refused(), "while the database is away the last snapshot serves");
    }
    server.start();
    database.sql("DELETE FROM bwl_global;");
    support::wait_until("changes count again", Duration::from_secs(30), || answer(&address) == "DUNNO");
    assert_eq!(daemon.stop(), 0);
}

#[test]
fn a_mariadb_that_comes_and_goes_is_waited_for_and_its_last_rules_serve() {
    server_comes_and_goes(Engine::MariaDb);
}

#[test]
fn a_postgresql_that_comes_and_goes_is_waited_for_and_its_last_rules_serve() {
    server_comes_and_goes(Engine::Postgres);
}

#[test]
fn a_database_newer_than_the_program_is_refused_clearly() {
    for engine in Engine::ALL {
        let database = TestDatabase::new(engine);
        let address = support::loopback().into();
        let home = Home::with(programs!(), &settings(&address, &url(&database)));
        assert_eq!(home.start().stop(), 0);
        database
            .sql("INSERT INTO valvula_migration (version, applied_at) VALUES ('m99991231_000001_from_the_future', 1);");
        let daemon = Daemon::spawn(&home);
        assert_ne!(daemon.wait(), 0, "{engine:?}: {}", daemon.log());
        daemon.wait_log(&["newer"]);
        assert!(daemon.log().contains("m99991231_000001_from_the_future"), "{engine:?}: {}", daemon.log());
        let checked = home.valvulad(&["-b"]);
        assert_eq!(checked.code, Some(1), "{engine:?}: {checked:?}");
    }
}

#[test]
fn daemons_that_start_at_once_on_an_empty_database_all_serve() {
    for engine in Engine::ALL {
        let database = TestDatabase::new(engine);
        let addresses: Vec<Address> = (0..3).map(|_| support::loopback().into()).collect();
        let homes: Vec<Home> =
            addresses.iter().map(|address| Home::with(programs!(), &settings(address, &url(&database)))).collect();
        let daemons: Vec<Daemon<'_>> = homes.iter().map(Daemon::spawn).collect();
        for daemon in &daemons {
            daemon.wait_ready();
        }
        database.sql(REFUSE);
        for address in &addresses {
            support::wait_until("the rule is loaded by each", Duration::from_secs(10), || {
                answer(address).starts_with("REJECT")
            });
        }
        let applied = database.sql("SELECT count(*), count(DISTINCT version) FROM valvula_migration;");
        let mut counts = applied.split(['|', '\t']);
        assert_eq!(counts.next(), counts.next(), "{engine:?}: each step once: {applied}");
    }
}

#[test]
fn without_a_url_the_database_is_made_in_the_state_directory() {
    let address = support::loopback().into();
    let home = Home::with(
        programs!(),
        &format!("[[listener]]\nname = \"in\"\naddress = \"{address}\"\nmodules = [\"bwl\"]\n"),
    );
    let daemon = home.start();
    assert!(home.path("state/valvula.db").is_file());
    assert_eq!(answer(&address), "DUNNO");
    assert_eq!(daemon.stop(), 0);
}

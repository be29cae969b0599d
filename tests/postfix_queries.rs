//! `[postfix] domains_query` and `addresses_query`: rows of a database make a domain or an address local.

#![allow(clippy::unwrap_used)] // a test may be blunt, its helpers too

use std::sync::Arc;
use std::time::Duration;

use rustix::process::Signal;
use support::{Address, Connection, Engine, Home, Request, Server, TestDatabase, programs};

const ROWS: &str = "CREATE TABLE panel_domain (name VARCHAR(255));
    INSERT INTO panel_domain VALUES ('panel.example');
    CREATE TABLE panel_user (address VARCHAR(255));
    INSERT INTO panel_user VALUES ('ann@panel.example');";
const QUERIES: &str = "domains_query = \"SELECT 1 FROM panel_domain WHERE name = #domain#\"\n\
    addresses_query = \"SELECT 1 FROM panel_user WHERE address = #address#\"\n";
/// Its domain is local, the sender is not, and the delivery is.
fn forged() -> Request {
    Request::rcpt("nobody@panel.example", "ann@panel.example")
}

fn honest() -> Request {
    Request::rcpt("ann@panel.example", "ann@panel.example")
}

fn configure(home: &Home, address: &Address, postfix: &str) {
    home.configure(&format!(
        "[postfix]\nautodetect = false\n{postfix}\n[[listener]]\naddress = \"{address}\"\nmodules = [\"bwl\"]\n\
         [module.bwl]\non_failure = \"defer\"\n"
    ));
}

#[test]
fn rows_of_each_engine_make_domains_and_addresses_local_until_a_reload_without_them() {
    for engine in Engine::ALL {
        let home = Home::new(programs!());
        let panel = TestDatabase::new(engine);
        panel.sql(ROWS);
        let address: Address = support::loopback().into();
        configure(&home, &address, &format!("query_url = \"{}\"\n{QUERIES}", panel.url()));
        let daemon = home.start();
        let mut connection = Connection::open(&address).unwrap();
        assert!(connection.ask(&forged()).unwrap().starts_with("REJECT"), "{engine:?}: {}", daemon.log());
        assert_eq!(connection.ask(&honest()).unwrap(), "DUNNO", "{engine:?}");
        let odd = Request::rcpt("' OR '1' = '1@panel.example", "ann@panel.example");
        assert!(connection.ask(&odd).unwrap().starts_with("REJECT"), "{engine:?}: {}", daemon.log());

        let shown = home.valvulactl(&["lookup", "ann@panel.example"]).ok().stdout;
        assert!(shown.starts_with("yes (database query: ") && shown.contains(" has ann@panel.example"), "{shown}");
        assert!(!shown.contains("secret"), "{shown}");
        let shown = home.valvulad(&["-l", "nobody@panel.example"]);
        assert_eq!(shown.code, Some(1), "{shown:?}");
        assert!(shown.stdout.contains("database query: ") && shown.stdout.contains(" does not have "), "{shown:?}");

        configure(&home, &address, "");
        daemon.signal(Signal::HUP);
        support::wait_until("the panel is no longer asked", Duration::from_secs(10), || {
            connection.ask(&forged()).unwrap() == "DUNNO"
        });
        assert_eq!(daemon.stop(), 0);
    }
}

#[test]
fn without_a_url_the_daemons_own_database_is_asked() {
    let home = Home::new(programs!());
    let own = TestDatabase::new(Engine::Sqlite);
    own.sql(ROWS);
    let address: Address = support::loopback().into();
    configure(&home, &address, &format!("{QUERIES}\n[database]\nurl = \"{}\"\n", own.url()));
    let _daemon = home.start();
    let mut connection = Connection::open(&address).unwrap();
    assert!(connection.ask(&forged()).unwrap().starts_with("REJECT"));
    assert_eq!(connection.ask(&honest()).unwrap(), "DUNNO");
}

#[test]
fn a_database_that_is_away_could_not_be_asked_and_counts_again_when_it_is_back() {
    for engine in [Engine::MariaDb, Engine::Postgres] {
        let home = Home::new(programs!());
        let server = Arc::new(Server::start_new(engine));
        let panel = TestDatabase::on_server(&server);
        panel.sql(ROWS);
        let address: Address = support::loopback().into();
        let keys = format!(
            "query_url = \"{}\"\ncache_positive = \"1ms\"\ncache_negative = \"1ms\"\ncache_retry = \"10ms\"\n{QUERIES}",
            panel.url()
        );
        configure(&home, &address, &keys);
        let daemon = home.start();
        let mut connection = Connection::open(&address).unwrap();
        assert!(connection.ask(&forged()).unwrap().starts_with("REJECT"), "{engine:?}: {}", daemon.log());
        server.stop();
        for _ in 0..3 {
            // What was known serves; what was not is no "no": bwl can't decide.
            assert!(connection.ask(&forged()).unwrap().starts_with("REJECT"), "{engine:?}: {}", daemon.log());
            let unknown = Request::rcpt("new@unknown.example", "ann@unknown.example");
            assert!(connection.ask(&unknown).unwrap().starts_with("DEFER"), "{engine:?}: {}", daemon.log());
        }
        daemon.wait_log(&["database of local names could not be asked"]);
        let away = home.valvulactl(&["lookup", "panel.example"]);
        assert_eq!(away.code, Some(75), "{away:?}");
        assert!(away.stdout.starts_with("could not ask (database query: "), "{}", away.stdout);
        assert!(!away.stdout.contains("secret") && !daemon.log().contains("secret"), "{}", away.stdout);
        server.start();
        panel.sql("INSERT INTO panel_user VALUES ('nobody@panel.example');");
        support::wait_until("the new row counts", Duration::from_secs(20), || {
            connection.ask(&forged()).unwrap() == "DUNNO"
        });
        daemon.wait_log(&["database of local names answers again"]);
        assert_eq!(daemon.count_log(&["database of local names could not be asked"]), 1);
    }
}

#[test]
fn a_foreign_file_is_only_read_and_never_made() {
    let home = Home::new(programs!());
    let address: Address = support::loopback().into();
    let path = home.path("panel.db");
    configure(&home, &address, &format!("query_url = \"sqlite://{}\"\n{QUERIES}", path.display()));
    let daemon = home.start();
    let mut connection = Connection::open(&address).unwrap();
    assert!(connection.ask(&forged()).unwrap().starts_with("DEFER"), "{}", daemon.log());
    assert!(!path.exists());
}

#[test]
fn faults_are_named_at_the_start() {
    let home = Home::new(programs!());
    let address: Address = support::loopback().into();
    configure(
        &home,
        &address,
        "query_url = \"mysql://ann:hunter2@db\"\ndomains_query = \"SELECT 1\"\naddresses_query = \"DELETE FROM a WHERE b = #address#\"\n",
    );
    let refused = home.valvulad(&["--check-config"]);
    assert_eq!(refused.code, Some(78), "{refused:?}");
    for (key, reason) in [
        ("query_url", "names no database"),
        ("domains_query", "expected #domain# in it"),
        ("addresses_query", "SELECT"),
    ] {
        let named = |line: &str| line.contains(&format!("postfix.{key}: ")) && line.contains(reason);
        assert!(refused.stderr.lines().any(named), "{key}: {}", refused.stderr);
    }
    assert!(!refused.stderr.contains("hunter2"), "{}", refused.stderr);
}

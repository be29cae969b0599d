//! A module's section adds a source for the local questions, though no chain names it.

#![allow(clippy::unwrap_used)] // a test may be blunt, its helpers too

use std::time::Duration;

use rustix::process::Signal;
use support::{Address, Connection, Engine, Home, Request, TestDatabase, programs};

#[test]
fn plesks_domains_and_users_are_local_from_its_section_alone_until_a_reload_without_it() {
    let home = Home::new(programs!());
    let plesk = TestDatabase::new(Engine::Sqlite);
    plesk.sql(
        "CREATE TABLE domains (id INTEGER, name TEXT, status INTEGER); INSERT INTO domains VALUES (1, 'plesk.example', 0);
         CREATE TABLE users (name TEXT, dom_id INTEGER); INSERT INTO users VALUES ('ann', 1);",
    );
    let address: Address = support::loopback().into();
    let configure = |section: &str| {
        home.configure(&format!("[[listener]]\naddress = \"{address}\"\nmodules = [\"bwl\"]\n{section}\n"));
    };
    configure(&format!("[module.object-resolver]\nplesk_database = \"{}\"", plesk.name()));
    let daemon = home.start();
    let mut connection = Connection::open(&address).unwrap();
    let forged = Request::rcpt("nobody@plesk.example", "ann@plesk.example");
    // Forged: its domain is local, the sender is not, and the delivery is.
    assert!(connection.ask(&forged).unwrap().starts_with("REJECT"), "{}", daemon.log());
    assert_eq!(connection.ask(&Request::rcpt("ann@plesk.example", "ann@plesk.example")).unwrap(), "DUNNO");

    configure("");
    daemon.signal(Signal::HUP);
    support::wait_until("plesk is no longer asked", Duration::from_secs(10), || {
        connection.ask(&forged).unwrap() == "DUNNO"
    });
}

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

#[test]
fn lookup_asks_plesk_too_and_names_its_file() {
    let home = Home::new(programs!());
    let plesk = TestDatabase::new(Engine::Sqlite);
    plesk.sql(
        "CREATE TABLE domains (id INTEGER, name TEXT, status INTEGER); INSERT INTO domains VALUES (1, 'plesk.example', 0);
         CREATE TABLE users (name TEXT, dom_id INTEGER); INSERT INTO users VALUES ('ann', 1);",
    );
    let listener = "[[listener]]\naddress = \"127.0.0.1:3579\"\nmodules = [\"bwl\"]\n";
    home.configure(&format!(
        "{listener}[module.plesk]\ntype = \"object-resolver\"\nplesk_database = \"{}\"\n",
        plesk.name()
    ));
    for (name, code, begins) in [
        ("plesk.example", 0, format!("yes (object-resolver: {} has plesk.example)\n", plesk.name())),
        ("ann@plesk.example", 0, format!("yes (object-resolver: {} has ann@plesk.example)\n", plesk.name())),
        ("ben@plesk.example", 1, format!("no\n  object-resolver: {} does not have ben@plesk.example\n", plesk.name())),
    ] {
        for shown in [home.valvulad(&["-l", name]), home.valvulactl(&["lookup", name])] {
            assert_eq!(shown.code, Some(code), "{shown:?}");
            assert!(shown.stdout.starts_with(&begins), "{}", shown.stdout);
        }
    }
    home.configure(&format!("{listener}[module.object-resolver]\nplesk_database = \"/nowhere/passwd.db\"\n"));
    for shown in [home.valvulad(&["-l", "plesk.example"]), home.valvulactl(&["lookup", "plesk.example"])] {
        assert_eq!(shown.code, Some(75), "{shown:?}");
        assert!(
            shown.stdout.starts_with("could not ask (object-resolver: /nowhere/passwd.db could not be asked for"),
            "{shown:?}"
        );
    }
    home.configure(&format!("{listener}[module.object-resolver]\nplesk_database = \"passwd.db\"\n"));
    let refused = home.valvulactl(&["lookup", "plesk.example"]);
    assert_eq!(refused.code, Some(78), "{refused:?}");
    assert!(refused.stderr.contains("module.object-resolver.plesk_database"), "{}", refused.stderr);
}

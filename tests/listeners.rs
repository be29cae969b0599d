//! Several listeners, each with its own chain; a chain's order is the order of its list.

#![allow(clippy::unwrap_used)] // a test may be blunt, its helpers too

use std::os::unix::fs::{FileTypeExt as _, MetadataExt as _};
use std::time::Duration;

use support::{Address, Connection, Engine, Home, Request, TestDatabase, programs};

fn listener(name: &str, address: &Address, modules: &str) -> String {
    format!("[[listener]]\nname = \"{name}\"\naddress = \"{address}\"\nmodules = [{modules}]\n\n")
}

#[test]
fn two_listeners_with_different_chains_decide_differently_and_in_the_order_of_their_lists() {
    let (first, last, without) = (support::loopback().into(), support::loopback().into(), support::loopback().into());
    let database = TestDatabase::new(Engine::Sqlite);
    let home = Home::with(
        programs!(),
        &(format!("[database]\nurl = \"{}\"\n\n", database.url())
            + &listener("first", &first, "\"bwl\", \"test\"")
            + &listener("last", &last, "\"test\", \"mod-bwl\"")
            + &listener("without", &without, "\"test\"")),
    );
    let daemon = home.start();
    let request = Request::rcpt("bad@away.example", "ann@example.com");
    database.sql("INSERT INTO bwl_global (is_active, source, status) VALUES (1, 'bad@away.example', 'reject');");
    let mut connection = Connection::open(&last).unwrap();
    support::wait_until("the rule is loaded", Duration::from_secs(10), || {
        connection.ask(&request).unwrap().starts_with("REJECT")
    });

    let count = |daemon: &support::Daemon<'_>| daemon.module("test")["requests"]["count"].as_u64().unwrap();
    let settled = |expected: u64| {
        support::wait_until(&format!("mod-test was asked {expected} times"), Duration::from_secs(10), || {
            count(&daemon) == expected
        })
    };
    // Behind bwl, which has an opinion, mod-test is not asked; before it, it is. The probes of the
    // rule's loading went by "last".
    let probes = daemon.listener("last")["requests"]["count"].as_u64().unwrap();
    settled(probes);
    let ask = |address: &Address, expected: &str| {
        let mut connection = Connection::open(address).unwrap();
        for _ in 0..10 {
            let answer = connection.ask(&request).unwrap();
            assert!(answer.starts_with(expected), "{answer}");
        }
    };
    ask(&first, "REJECT");
    ask(&without, "DUNNO");
    settled(probes + 10);
    ask(&last, "REJECT");
    settled(probes + 20);
}

#[test]
fn a_unix_socket_has_the_mode_and_owner_of_the_configuration() {
    let home = Home::new(programs!());
    let path = home.path("policy");
    let address = Address::Unix(path.clone());
    let owner = std::fs::metadata(home.directory()).unwrap().uid();
    let user = if owner == 0 { "user = \"nobody\"\ngroup = \"nogroup\"\n" } else { "" };
    home.configure(&format!("{}mode = \"0640\"\n{user}", listener("in", &address, "\"test\"")));
    let daemon = home.start();
    let answer = Connection::open(&address).unwrap().ask(&Request::rcpt("a@b.example", "c@d.example")).unwrap();
    assert_eq!(answer, "DUNNO");
    let metadata = std::fs::metadata(&path).unwrap();
    assert!(metadata.file_type().is_socket());
    assert_eq!(metadata.mode() & 0o777, 0o640);
    if owner == 0 {
        assert_eq!((metadata.uid(), metadata.gid()), (65534, 65534), "nobody, nogroup");
    }
    assert_eq!(daemon.stop(), 0);
    assert!(!path.exists(), "removed at the end");
}

#[test]
fn port_0_becomes_a_port_that_the_statistics_name() {
    let home = Home::with(
        programs!(),
        &listener("any", &"127.0.0.1:0".parse::<std::net::SocketAddr>().unwrap().into(), "\"test\""),
    );
    let daemon = home.start();
    let address = daemon.listener("any")["address"].as_str().unwrap().to_owned();
    let address: std::net::SocketAddr = address.parse().unwrap_or_else(|error| panic!("{address}: {error}"));
    assert_ne!(address.port(), 0);
    let answer = Connection::open(&address.into()).unwrap().ask(&Request::rcpt("a@b.example", "c@d.example")).unwrap();
    assert_eq!(answer, "DUNNO");
}

#[test]
fn above_max_connections_a_client_waits_in_the_kernel_and_is_served_when_one_leaves() {
    let address = support::loopback().into();
    let home = Home::with(programs!(), &(listener("in", &address, "\"test\"") + "max_connections = 2\n"));
    let daemon = home.start();
    let request = Request::rcpt("a@b.example", "c@d.example");
    let mut open: Vec<Connection> = (0..2).map(|_| Connection::open(&address).unwrap()).collect();
    for connection in &mut open {
        assert_eq!(connection.ask(&request).unwrap(), "DUNNO");
    }
    let mut third = Connection::open(&address).expect("the kernel takes it");
    third.send(&request.bytes()).unwrap();
    third.set_timeout(Duration::from_millis(300)).unwrap();
    let waiting = third.answer().expect_err("it is not served yet");
    assert_eq!(waiting.kind(), std::io::ErrorKind::WouldBlock, "and not refused: {waiting}");
    assert_eq!(daemon.listener("in")["connections"], 2);
    open.pop();
    third.set_timeout(Duration::from_secs(20)).unwrap();
    assert_eq!(third.answer().unwrap().as_deref(), Some("DUNNO"));
}

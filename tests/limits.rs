//! Who may connect, and what all connections together may take.

#![allow(clippy::unwrap_used)] // a test may be blunt, its helpers too

use std::time::{Duration, Instant};

use support::{Address, Connection, Home, Request, programs};

fn listener(address: &Address, more: &str) -> String {
    format!("[[listener]]\nname = \"in\"\naddress = \"{address}\"\nmodules = [\"test\"]\n{more}\n")
}

fn good() -> Request {
    Request::rcpt("a@away.example", "b@example.com")
}

#[test]
fn a_public_address_needs_allow_and_the_message_says_so() {
    for (address, more, good) in [
        ("127.0.0.1:3579", "", true),
        ("[::1]:3579", "", true),
        ("10.1.2.3:3579", "", true),
        ("[fd00::1]:3579", "", true),
        ("0.0.0.0:3579", "", false),
        ("[::]:3579", "", false),
        ("192.0.2.1:3579", "", false),
        ("[2001:db8::1]:3579", "", false),
        ("[::ffff:192.0.2.1]:3579", "", false),
        ("0.0.0.0:3579", "allow = [\"127.0.0.0/8\", \"10.0.0.0/8\"]", true),
        ("[2001:db8::1]:3579", "allow = [\"2001:db8::/32\"]", true),
    ] {
        let home = Home::new(programs!());
        home.configure(&format!("[[listener]]\naddress = \"{address}\"\nmodules = [\"test\"]\n{more}\n"));
        let output = home.valvulad(&["--check-config"]);
        assert_eq!(output.code, Some(if good { 0 } else { 78 }), "{address}: {output:?}");
        if !good {
            assert!(output.stderr.contains("listener[0].address") && output.stderr.contains("allow"), "{output:?}");
            let output = home.valvulad(&[]);
            assert_eq!(output.code, Some(78), "nor does it start: {output:?}");
        }
    }
}

#[test]
fn what_is_no_network_is_named() {
    for (allow, says) in [
        ("[\"10.0.0.1/8\"]", "10.0.0.0/8"),
        ("[\"example.com\"]", "example.com"),
        ("[]", "nobody"),
        ("\"10.0.0.0/8\"", "sequence"),
    ] {
        let home = Home::with(programs!(), &listener(&support::loopback().into(), &format!("allow = {allow}")));
        let output = home.valvulad(&["--check-config"]);
        assert_eq!(output.code, Some(78), "{output:?}");
        assert!(output.stderr.contains("listener[0].allow") && output.stderr.contains(says), "{output:?}");
    }
    let home = Home::new(programs!());
    home.configure(&listener(&Address::Unix(home.path("policy")), "allow = [\"10.0.0.0/8\"]"));
    let output = home.valvulad(&["--check-config"]);
    assert!(output.stderr.contains("unix socket"), "{output:?}");
}

#[test]
fn a_client_outside_the_allowed_networks_is_closed_with_one_line_and_a_reload_lets_it_in() {
    let address = support::loopback().into();
    let home = Home::with(programs!(), &listener(&address, "allow = [\"192.0.2.0/24\", \"2001:db8::/32\"]"));
    let daemon = home.start();
    for _ in 0..50 {
        // Its end may come before the request is sent.
        let mut connection = Connection::open(&address).unwrap();
        let _ = connection.send(&good().bytes());
        connection.assert_ended();
    }
    let line = daemon.wait_log(&["client is not allowed"]);
    assert!(line.contains("127.") && line.contains("192.0.2.0/24"), "{line}");
    let lines = daemon.count_log(&["client is not allowed"]);
    assert!(lines <= 3, "at most one in ten seconds: {lines}");
    let listener_now = daemon.listener("in");
    assert_eq!((&listener_now["ended"]["not_allowed"], &listener_now["accepted"]), (&50.into(), &0.into()));
    assert_eq!(listener_now["connections"], 0, "none of them holds a place");

    home.configure(&listener(&address, ""));
    daemon.control(&["reload"]);
    let mut connection = Connection::open(&address).unwrap();
    assert_eq!(connection.ask(&good()).unwrap(), "DUNNO");
    home.configure(&listener(&address, "allow = [\"192.0.2.0/24\"]"));
    daemon.control(&["reload"]);
    assert_eq!(connection.ask(&good()).unwrap(), "DUNNO", "who is in stays in");
    Connection::open(&address).unwrap().assert_ended();
}

#[test]
fn one_byte_a_second_is_ended_by_the_time_for_a_request() {
    let address = support::loopback().into();
    let home = Home::with(programs!(), &listener(&address, "request_timeout = \"2500ms\""));
    let daemon = home.start();
    let since = Instant::now();
    let mut slow: Vec<_> = (0..20).map(|_| Connection::open(&address).unwrap()).collect();
    let mut other = Connection::open(&address).unwrap();
    let bytes = good().bytes();
    for byte in &bytes[..8] {
        for connection in &mut slow {
            let _ = connection.send(&[*byte]);
        }
        assert_eq!(other.ask(&good()).unwrap(), "DUNNO");
        other.set_timeout(Duration::from_secs(1)).unwrap();
        // A second passes: nothing comes unasked.
        assert_eq!(other.answer().unwrap_err().kind(), std::io::ErrorKind::WouldBlock);
        other.set_timeout(Duration::from_secs(20)).unwrap();
        if daemon.listener("in")["connections"] == 1 {
            break;
        }
    }
    assert_eq!(daemon.listener("in")["connections"], 1, "after {:?}", since.elapsed());
    assert!(since.elapsed() >= Duration::from_millis(2500));
    assert_eq!(daemon.listener("in")["ended"]["request_timeout"], 20);
    slow.iter_mut().for_each(Connection::assert_ended);
}

#[test]
fn large_requests_that_never_end_take_no_more_memory_than_they_may_all_together() {
    let address = support::loopback().into();
    let home = Home::new(programs!());
    let server = home.server_section().replace("[server]\n", "[server]\nmax_request_memory = 1048576\n");
    home.configure(&(server + &listener(&address, "request_timeout = \"1m\"")));
    let daemon = home.start();
    // A request of 60 KiB that lacks its end.
    let mut half = b"request=smtpd_access_policy\n".to_vec();
    while half.len() < 60 * 1024 {
        half.extend_from_slice(b"unknown=");
        half.resize(half.len() + 1000, b'x');
        half.push(b'\n');
    }
    let mut greedy: Vec<_> = (0..64).map(|_| Connection::open(&address).unwrap()).collect();
    for connection in &mut greedy {
        let _ = connection.send(&half); // the daemon may end it before it has read all
    }
    let ended = || daemon.listener("in")["ended"]["memory"].as_u64().unwrap_or(0);
    let (count, _) = support::wait_for("some are ended", Duration::from_secs(20), || {
        let count = ended();
        let open = daemon.listener("in")["connections"].as_u64().unwrap();
        (open <= 16 && open + count == 64).then_some(count)
    });
    // 1 MiB holds 16 of 64 KiB. While they grow side by side, some more may be refused.
    assert!((48..=60).contains(&count), "{count} of 64 were ended");
    let stats = daemon.stats();
    let held = stats["parts"]["requests"][0][1].as_u64().unwrap();
    assert!((1..=1_048_576).contains(&held), "{held}");
    assert!(daemon.count_log(&["no memory left for large requests"]) <= 10, "limited in number");

    // Postfix's own requests are small: they take nothing of it.
    let mut connection = Connection::open(&address).unwrap();
    assert_eq!(connection.ask(&good()).unwrap(), "DUNNO");
    drop(greedy);
    support::wait_until("it is given back", Duration::from_secs(20), || daemon.stats()["parts"]["requests"][0][1] == 0);
    half.extend_from_slice(b"\n");
    let mut large = Connection::open(&address).unwrap();
    large.send(&half).unwrap();
    assert_eq!(large.answer().unwrap().as_deref(), Some("DUNNO"));
}

//! Bytes that are no request, requests in odd pieces, clients that wait.

#![allow(clippy::unwrap_used)] // a test may be blunt, its helpers too

use std::time::{Duration, Instant};

use support::{Address, Connection, Home, Request, programs};

/// A daemon with one worker, whose rule refuses `bad@away.example`, and its address.
fn home(settings: &str) -> (Home, Address) {
    let address = Address::from(support::loopback());
    let home = Home::new(programs!());
    let server = home.server_section().replace("workers = 2", "workers = 1");
    home.configure(&format!(
        "{server}[[listener]]\nname = \"in\"\naddress = \"{address}\"\nmodules = [\"bwl\"]\n{settings}\n"
    ));
    (home, address)
}

/// Two requests with different answers, once the rule for the first is loaded.
fn refused_and_passed(home: &Home, address: &Address) -> (Request, Request) {
    let insert = "INSERT INTO bwl_global (is_active, source, status) VALUES (1, 'bad@away.example', 'reject')";
    let database = home.path("state/valvula.db");
    let status =
        std::process::Command::new("sqlite3").args(["-cmd", ".timeout 20000"]).arg(database).arg(insert).status();
    assert!(status.expect("sqlite3 is installed").success());
    let refused = Request::rcpt("bad@away.example", "ann@example.com");
    let mut connection = Connection::open(address).unwrap();
    support::wait_until("the rule is loaded", Duration::from_secs(10), || {
        connection.ask(&refused).unwrap().starts_with("REJECT")
    });
    (refused, Request::rcpt("good@away.example", "ann@example.com"))
}

/// A request of exactly `length` bytes.
fn of_length(length: usize) -> Vec<u8> {
    let mut bytes = b"request=smtpd_access_policy\n".to_vec();
    while bytes.len() + 1002 < length {
        bytes.extend_from_slice(b"unknown=");
        bytes.resize(bytes.len() + 991, b'x');
        bytes.push(b'\n');
    }
    bytes.extend_from_slice(b"u=");
    bytes.resize(length - 2, b'x');
    bytes.extend_from_slice(b"\n\n");
    bytes
}

fn of_attributes(count: usize) -> Vec<u8> {
    let mut bytes = b"request=smtpd_access_policy\n".to_vec();
    for number in 1..count {
        bytes.extend_from_slice(format!("a{number}=1\n").as_bytes());
    }
    bytes.push(b'\n');
    bytes
}

fn of_line(length: usize) -> Vec<u8> {
    let mut bytes = b"request=smtpd_access_policy\nhelo_name=".to_vec();
    bytes.resize(bytes.len() + length - "helo_name=".len(), b'x');
    bytes.extend_from_slice(b"\n\n");
    bytes
}

#[test]
fn a_malformed_request_ends_its_connection_only_and_the_log_says_why() {
    // What is sent, and a word of the log line that says what is wrong.
    let cases: &[(&str, Vec<u8>, &str)] = &[
        ("a line without =", b"request=smtpd_access_policy\nnonsense\n\n".to_vec(), "="),
        ("a NUL", b"request=smtpd_access_policy\nsender=a\0b\n\n".to_vec(), "NUL"),
        ("a line too long", of_line(16 * 1024 + 1), "16384"),
        ("an endless line", vec![b'x'; 1024 * 1024], "16384"),
        ("too many attributes", of_attributes(257), "256"),
        ("too many bytes", of_length(64 * 1024 + 1), "65536"),
        ("a web browser", b"GET / HTTP/1.1\r\nHost: x\r\n\r\n".to_vec(), "="),
    ];
    for (what, bytes, why) in cases {
        // A daemon for each: the log's lines about clients are limited in number.
        let (home, address) = home("");
        let daemon = home.start();
        let mut neighbour = Connection::open(&address).unwrap();
        let good = Request::rcpt("a@away.example", "b@example.com");
        assert_eq!(neighbour.ask(&good).unwrap(), "DUNNO");

        let mut connection = Connection::open(&address).unwrap();
        let _ = connection.send(bytes); // the daemon may end it before it has read all
        connection.assert_ended();
        let line = daemon.wait_log(&["malformed"]);
        assert!(line.contains(why), "{what}: {line}");
        assert_eq!(daemon.count_log(&["malformed"]), 1, "{what}: one line");
        assert_eq!(neighbour.ask(&good).unwrap(), "DUNNO", "{what}: the neighbour goes on");
        assert_eq!(daemon.stop(), 0);
    }
}

#[test]
fn what_stands_at_a_limit_is_answered() {
    let (home, address) = home("");
    let _daemon = home.start();
    for bytes in [of_line(16 * 1024), of_attributes(256), of_length(64 * 1024)] {
        let mut connection = Connection::open(&address).unwrap();
        connection.send(&bytes).unwrap();
        assert_eq!(connection.answer().unwrap().as_deref(), Some("DUNNO"), "{} bytes", bytes.len());
    }
}

#[test]
fn a_request_that_ends_in_the_middle_is_never_decided() {
    let (home, address) = home("");
    let daemon = home.start();
    let (refused, _) = refused_and_passed(&home, &address);
    let bytes = refused.bytes();
    let mut connection = Connection::open(&address).unwrap();
    connection.send(&bytes[..bytes.len() - 1]).unwrap(); // all but the blank line
    connection.half_close().unwrap();
    connection.assert_ended();
    daemon.wait_log(&["malformed"]);
}

#[test]
fn a_half_close_after_a_full_request_still_gets_the_answer() {
    let (home, address) = home("");
    let _daemon = home.start();
    let (refused, passed) = refused_and_passed(&home, &address);
    let mut connection = Connection::open(&address).unwrap();
    let both = [passed.bytes(), refused.bytes()].concat();
    connection.send(&both).unwrap();
    connection.half_close().unwrap();
    assert_eq!(connection.answer().unwrap().as_deref(), Some("DUNNO"));
    assert!(connection.answer().unwrap().is_some_and(|answer| answer.starts_with("REJECT")));
    connection.assert_ended();
}

#[test]
fn a_hundred_requests_at_once_are_answered_in_order() {
    let (home, address) = home("");
    let _daemon = home.start();
    let (refused, passed) = refused_and_passed(&home, &address);
    let is_refused = |number: usize| number.is_multiple_of(3);
    let bytes: Vec<u8> =
        (0..100).flat_map(|number| if is_refused(number) { refused.bytes() } else { passed.bytes() }).collect();
    let mut connection = Connection::open(&address).unwrap();
    connection.send(&bytes).unwrap();
    for number in 0..100 {
        let answer = connection.answer().unwrap().unwrap_or_else(|| panic!("ended before answer {number}"));
        assert_eq!(answer.starts_with("REJECT"), is_refused(number), "answer {number}: {answer}");
    }
}

#[test]
fn a_request_cut_at_every_byte_is_answered_right() {
    let (home, address) = home("");
    let _daemon = home.start();
    let (refused, passed) = refused_and_passed(&home, &address);
    // One worker serves both connections: an answer on the second shows that the worker has been
    // around since the first piece was sent, so the pieces really arrive apart.
    let mut cut = Connection::open(&address).unwrap();
    let mut between = Connection::open(&address).unwrap();
    let bytes = refused.bytes();
    for at in 1..bytes.len() {
        cut.send(&bytes[..at]).unwrap();
        assert_eq!(between.ask(&passed).unwrap(), "DUNNO");
        cut.send(&bytes[at..]).unwrap();
        let answer = cut.answer().unwrap();
        assert!(answer.as_ref().is_some_and(|answer| answer.starts_with("REJECT")), "cut at {at}: {answer:?}");
    }
}

#[test]
fn crlf_odd_order_repeated_and_unknown_names_are_a_request() {
    let (home, address) = home("");
    let _daemon = home.start();
    refused_and_passed(&home, &address);
    let texts: &[&[u8]] = &[
        b"request=smtpd_access_policy\r\nprotocol_state=RCPT\r\nsender=bad@away.example\r\nrecipient=a@b.example\r\n\r\n",
        b"sender=BAD@Away.Example\nrecipient=a@b.example\nprotocol_state=RCPT\nrequest=smtpd_access_policy\n\n",
        b"request=smtpd_access_policy\nsender=x@y.example\nsender=bad@away.example\nprotocol_state=RCPT\n\n",
        b"request=smtpd_access_policy\nfrom_the_future=a=b=c\nsender=bad@away.example\nprotocol_state=RCPT\n\n",
    ];
    for text in texts {
        let mut connection = Connection::open(&address).unwrap();
        connection.send(text).unwrap();
        let answer = connection.answer().unwrap();
        assert!(answer.as_ref().is_some_and(|answer| answer.starts_with("REJECT")), "{answer:?}");
    }
}

#[test]
fn checkserver_is_answered_and_the_connection_closed() {
    let (home, address) = home("");
    let _daemon = home.start();
    let mut connection = Connection::open(&address).unwrap();
    connection.send(b"checkserver\n").unwrap();
    let answer = connection.rest().unwrap();
    assert_eq!(String::from_utf8_lossy(&answer).trim_end(), "I'm running right");
}

#[test]
fn half_a_request_is_ended_after_the_limit_and_an_idle_connection_is_not() {
    const LIMIT: Duration = Duration::from_millis(400);
    let (home, address) = home("request_timeout = \"400ms\"");
    let daemon = home.start();
    let good = Request::rcpt("a@away.example", "b@example.com");
    let mut idle = Connection::open(&address).unwrap();
    let mut used = Connection::open(&address).unwrap();
    assert_eq!(used.ask(&good).unwrap(), "DUNNO");

    let mut half = Connection::open(&address).unwrap();
    let since = Instant::now();
    half.send(&good.bytes()[..100]).unwrap();
    half.assert_ended();
    let took = since.elapsed();
    assert!(took >= LIMIT, "ended early, after {took:?}");
    assert!(took < LIMIT + Duration::from_secs(5), "ended late, after {took:?}");
    daemon.wait_log(&["request_timeout"]);

    assert_eq!(idle.ask(&good).unwrap(), "DUNNO", "a connection that never sent anything");
    assert_eq!(used.ask(&good).unwrap(), "DUNNO", "a connection between two requests");
}

#[test]
fn a_client_that_sends_a_byte_now_and_then_is_ended_after_the_limit_too() {
    let (home, address) = home("request_timeout = \"400ms\"");
    let _daemon = home.start();
    let bytes = Request::rcpt("a@away.example", "b@example.com").bytes();
    let mut slow = Connection::open(&address).unwrap();
    slow.set_timeout(Duration::from_millis(50)).unwrap();
    let since = Instant::now();
    for byte in &bytes[..bytes.len() - 1] {
        // Waiting 50 ms for an answer that must not come is the pause between two bytes.
        let ended = slow.send(&[*byte]).is_err()
            || !matches!(slow.answer(), Err(error) if error.kind() == std::io::ErrorKind::WouldBlock);
        if ended {
            let took = since.elapsed();
            assert!(took < Duration::from_secs(6), "ended after {took:?}");
            return;
        }
    }
    panic!("{} bytes were taken in {:?}", bytes.len(), since.elapsed());
}

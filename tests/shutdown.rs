//! SIGTERM, SIGINT, and what a daemon leaves behind.

#![allow(clippy::unwrap_used)] // a test may be blunt, its helpers too

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use rustix::process::Signal;
use support::{Address, Connection, Home, Request, programs};

fn home() -> (Home, Address) {
    let address = Address::from(support::loopback());
    let settings = format!("[[listener]]\nname = \"in\"\naddress = \"{address}\"\nmodules = [\"bwl\", \"test\"]\n");
    (Home::with(programs!(), &settings), address)
}

#[test]
fn sigterm_under_load_answers_what_was_read_and_ends_with_0_within_the_grace() {
    let (home, address) = home();
    let daemon = home.start();
    let answers = AtomicU64::new(0);
    let took = std::thread::scope(|scope| {
        for _ in 0..8 {
            scope.spawn(|| {
                let mut connection = Connection::open(&address).unwrap();
                let request = Request::rcpt("a@away.example", "ann@example.com");
                loop {
                    match connection.ask(&request) {
                        Ok(answer) => assert_eq!(answer, "DUNNO"),
                        Err(error) => {
                            // An end between requests; never half an answer, never silence.
                            use std::io::ErrorKind::{BrokenPipe, ConnectionReset, UnexpectedEof};
                            let ended = matches!(error.kind(), UnexpectedEof | ConnectionReset | BrokenPipe);
                            return assert!(ended, "{error:?}");
                        }
                    }
                    answers.fetch_add(1, Ordering::Relaxed);
                }
            });
        }
        support::wait_until("requests flow", Duration::from_secs(20), || answers.load(Ordering::Relaxed) > 500);
        let since = Instant::now();
        assert_eq!(daemon.stop(), 0);
        since.elapsed()
    });
    assert!(took < Duration::from_secs(10), "longer than the grace: {took:?}");
    // Every request that was read is answered: as many verdicts were logged as answers arrived.
    let logged = daemon.count_log(&["verdict", "DUNNO"]) as u64;
    let dropped = daemon.count_log(&["dropped"]);
    assert!(dropped > 0 || logged == answers.load(Ordering::Relaxed), "{logged} verdicts, {answers:?} answers");
    assert!(Connection::open(&address).is_err(), "nobody listens any more");
    assert!(!home.control_socket().exists(), "the control socket is removed");
}

#[test]
fn sigint_ends_it_as_well_and_idle_connections_do_not_hold_it() {
    let (home, address) = home();
    let daemon = home.start();
    let mut idle = Connection::open(&address).unwrap();
    let mut used = Connection::open(&address).unwrap();
    assert_eq!(used.ask(&Request::rcpt("a@away.example", "ann@example.com")).unwrap(), "DUNNO");
    let since = Instant::now();
    daemon.signal(Signal::INT);
    assert_eq!(daemon.wait(), 0);
    assert!(since.elapsed() < Duration::from_secs(5), "idle connections held it for {:?}", since.elapsed());
    idle.assert_ended();
    used.assert_ended();
}

#[test]
fn it_starts_again_where_it_was_stopped_and_where_it_was_killed() {
    let directory = tempfile::tempdir().unwrap();
    let (tcp, unix) = (Address::from(support::loopback()), Address::Unix(directory.path().join("policy")));
    let listener = |name, address: &Address| {
        format!("[[listener]]\nname = \"{name}\"\naddress = \"{address}\"\nmodules = [\"bwl\"]\n")
    };
    let home = Home::with(programs!(), &(listener("tcp", &tcp) + &listener("unix", &unix)));
    for round in 0..4 {
        let daemon = home.start();
        for address in [&tcp, &unix] {
            let answer = Connection::open(address).unwrap().ask(&Request::rcpt("a@away.example", "ann@example.com"));
            assert_eq!(answer.unwrap(), "DUNNO", "round {round}, {address}");
        }
        assert_eq!(daemon.stats()["pid"], daemon.pid());
        if round % 2 == 0 {
            daemon.kill();
            assert!(home.control_socket().exists(), "a stale socket is what the next start meets");
        } else {
            assert_eq!(daemon.stop(), 0);
        }
    }
}

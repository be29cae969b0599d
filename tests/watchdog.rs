//! The service manager's watchdog: fed while every listener answers or has a reason not to; left hungry, with the
//! listener named in the log, when one hangs. A listener hangs here because mod-panic stops its thread.

#![allow(clippy::unwrap_used)] // a test may be blunt, its helpers too

use std::io::ErrorKind;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use support::{Address, Connection, Daemon, Home, Request, programs};

/// In microseconds: it is fed three times in that.
const PATIENCE: (&str, &str) = ("WATCHDOG_USEC", "900000");
const FED: &str = "WATCHDOG=1";

fn listener(name: &str, address: &Address, more: &str) -> String {
    format!("[[listener]]\nname = \"{name}\"\naddress = \"{address}\"\nmodules = [\"panic\"]\n{more}\n")
}

fn to(local_part: &str) -> Request {
    Request::rcpt("a@away.example", &format!("{local_part}@example.com"))
}

#[track_caller]
fn fed(daemon: &Daemon<'_>, times: usize) {
    for _ in 0..times {
        let since = Instant::now();
        while !daemon.notified(FED) {
            assert!(since.elapsed() < Duration::from_secs(20), "the watchdog is hungry:\n{}", daemon.log());
        }
    }
}

/// Takes what the service manager was told so far.
fn forget(daemon: &Daemon<'_>) {
    while !daemon.told().is_empty() {}
}

#[test]
fn listeners_whose_thread_hangs_are_named_and_the_watchdog_is_hungry_until_they_answer_again() {
    let (one, other) = (support::loopback().into(), support::loopback().into());
    let home = Home::new(programs!());
    let server = home.server_section().replace("workers = 2", "workers = 1");
    home.configure(&(server + &listener("one", &one, "") + &listener("other", &other, "")));
    let daemon = home.start_with(&[], &[PATIENCE]);
    fed(&daemon, 3);

    let mut connection = Connection::open(&one).unwrap();
    let begun = Instant::now();
    connection.send(&to("hang-9s").bytes()).unwrap();
    let line = daemon.wait_log(&["no sign of life"]);
    for name in ["one: no answer", "other: no answer", "workers: number 0 of 1 does not answer"] {
        assert!(line.contains(name), "{line}");
    }
    forget(&daemon);
    connection.set_timeout(Duration::from_millis(50)).unwrap();
    while begun.elapsed() < Duration::from_secs(8) {
        assert!(!daemon.notified(FED), "a listener hangs:\n{}", daemon.log());
        assert_eq!(connection.answer().unwrap_err().kind(), ErrorKind::WouldBlock, "it hangs");
    }
    connection.set_timeout(Duration::from_secs(20)).unwrap();
    assert_eq!(connection.answer().unwrap().as_deref(), Some("DUNNO"));
    fed(&daemon, 3);
    // Hung or not, all that was handled is in the statistics.
    assert_eq!(daemon.stats()["requests"]["count"], 1);
    assert_eq!(daemon.stop(), 0);
}

#[test]
fn one_listener_that_nobody_can_reach_is_named_alone_and_the_others_go_on() {
    let sound = support::loopback().into();
    let home = Home::new(programs!());
    let gone = Address::Unix(home.path("policy"));
    home.configure(&(listener("gone", &gone, "") + &listener("sound", &sound, "")));
    let daemon = home.start_with(&[], &[PATIENCE]);
    fed(&daemon, 3);
    // Somebody tidied up: only a restart makes the socket anew.
    std::fs::remove_file(home.path("policy")).unwrap();
    let line = daemon.wait_log(&["no sign of life"]);
    assert!(line.contains("gone: ") && !line.contains("sound: "), "{line}");
    forget(&daemon);
    let since = Instant::now();
    while since.elapsed() < Duration::from_secs(2) {
        assert!(!daemon.notified(FED), "{}", daemon.log());
    }
    assert_eq!(Connection::open(&sound).unwrap().ask(&to("ann")).unwrap(), "DUNNO");
    assert_eq!(daemon.stop(), 0);
}

#[test]
fn a_listener_with_more_clients_than_it_serves_in_time_is_not_taken_for_one_that_hangs() {
    let address = Address::from(support::loopback());
    let home = Home::with(programs!(), &listener("in", &address, "max_connections = 1"));
    let daemon = home.start_with(&[], &[PATIENCE]);
    let over = AtomicBool::new(false);
    std::thread::scope(|scope| {
        // 80 clients with 60 ms each: whoever comes now waits for longer than a self-check does.
        for _ in 0..80 {
            scope.spawn(|| {
                while !over.load(Ordering::Relaxed) {
                    let answer = Connection::open(&address).unwrap().ask(&to("sleep-60ms"));
                    assert_eq!(answer.unwrap(), "DUNNO");
                }
            });
        }
        support::wait_until("clients wait", Duration::from_secs(20), || daemon.count_log(&["verdict"]) > 10);
        forget(&daemon);
        let since = Instant::now();
        while since.elapsed() < Duration::from_secs(4) {
            fed(&daemon, 1);
        }
        over.store(true, Ordering::Relaxed);
    });
    assert_eq!(daemon.count_log(&["no sign of life"]), 0, "{}", daemon.log());
    assert_eq!(daemon.stop(), 0);
}

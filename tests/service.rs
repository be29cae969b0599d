//! What a service manager sees: privileges dropped, readiness, watchdog.

#![allow(clippy::unwrap_used)] // a test may be blunt, its helpers too

use std::os::unix::fs::{MetadataExt as _, chown};
use std::time::{Duration, Instant};

use support::{Address, Connection, Home, Request, programs};

fn listener(address: &Address) -> String {
    format!("[[listener]]\nname = \"in\"\naddress = \"{address}\"\nmodules = [\"bwl\"]\n")
}

fn asks(address: &Address) {
    let answer = Connection::open(address).unwrap().ask(&Request::rcpt("a@b.example", "c@d.example"));
    assert_eq!(answer.unwrap(), "DUNNO");
}

/// `field` of `/proc/PID/status`, its values.
fn status(pid: u32, field: &str) -> Vec<u32> {
    let text = std::fs::read_to_string(format!("/proc/{pid}/status")).unwrap();
    let line = text.lines().find_map(|line| line.strip_prefix(field)).unwrap();
    line.split_whitespace().map(|value| value.parse().unwrap()).collect()
}

#[test]
fn privileges_are_dropped_whole_and_what_is_made_belongs_to_the_user() {
    let home = Home::new(programs!());
    let is_root = std::fs::metadata(home.directory()).unwrap().uid() == 0;
    assert!(is_root, "this test drops privileges: run it as root (scripts/test does)");
    // Debian's user games has no supplementary group; whoever started us has root's.
    let address = support::loopback().into();
    let server = home.server_section().replace("[server]\n", "[server]\nuser = \"games\"\n");
    home.configure(&(server + &listener(&address)));
    let passwd = std::fs::read_to_string("/etc/passwd").unwrap();
    let games: Vec<&str> = passwd.lines().find(|line| line.starts_with("games:")).unwrap().split(':').collect();
    let (uid, gid): (u32, u32) = (games[2].parse().unwrap(), games[3].parse().unwrap());
    chown(home.path("state"), Some(uid), Some(gid)).unwrap();

    let daemon = home.start();
    asks(&address);
    assert_eq!(status(daemon.pid(), "Uid:"), [uid; 4]);
    assert_eq!(status(daemon.pid(), "Gid:"), [gid; 4]);
    assert!(status(daemon.pid(), "Groups:").iter().all(|group| *group == gid), "root's groups are gone");
    for thread in std::fs::read_dir(format!("/proc/{}/task", daemon.pid())).unwrap() {
        let text = std::fs::read_to_string(thread.unwrap().path().join("status")).unwrap();
        let uids = text.lines().find(|line| line.starts_with("Uid:")).unwrap();
        assert_eq!(uids.split_whitespace().nth(1).unwrap(), uid.to_string(), "every thread: {text}");
    }
    let made = std::fs::metadata(home.path("state/valvula.db")).unwrap();
    assert_eq!((made.uid(), made.gid()), (uid, gid), "the database");
    let socket = std::fs::metadata(home.control_socket()).unwrap();
    assert_eq!(socket.mode() & 0o777, 0o660, "the control socket");
    assert_eq!(daemon.stats()["pid"], daemon.pid());
    assert_eq!(daemon.stop(), 0);
}

#[test]
fn a_user_that_does_not_exist_is_a_fault_of_the_configuration() {
    let home = Home::new(programs!());
    let server = home.server_section().replace("[server]\n", "[server]\nuser = \"nobody-of-that-name\"\n");
    home.configure(&(server + &listener(&support::loopback().into())));
    let output = home.valvulad(&["--check-config"]);
    assert_eq!(output.code, Some(78), "{output:?}");
    assert!(output.stderr.contains("nobody-of-that-name"), "{output:?}");
}

#[test]
fn readiness_comes_after_the_ports_listen_and_stopping_is_told() {
    let address = support::loopback().into();
    let home = Home::with(programs!(), &listener(&address));
    let daemon = home.start(); // returned at READY=1
    asks(&address);
    daemon.signal(rustix::process::Signal::TERM);
    let since = Instant::now();
    while !daemon.notified("STOPPING=1") {
        assert!(since.elapsed() < Duration::from_secs(10), "STOPPING=1 was not told:\n{}", daemon.log());
    }
    assert_eq!(daemon.wait(), 0);
}

#[test]
fn the_watchdog_is_fed_within_its_time() {
    let address = support::loopback().into();
    let home = Home::with(programs!(), &listener(&address));
    let daemon = home.start_with(&[], &[("WATCHDOG_USEC", "600000")]);
    for _ in 0..3 {
        let since = Instant::now();
        while !daemon.notified("WATCHDOG=1") {
            assert!(since.elapsed() < Duration::from_secs(3), "the watchdog is hungry:\n{}", daemon.log());
        }
    }
    assert_eq!(daemon.stop(), 0);
}

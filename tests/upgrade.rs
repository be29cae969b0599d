//! `valvulactl upgrade`: another program in the running one's place, and nobody notices.

#![allow(clippy::unwrap_used)] // a test may be blunt, its helpers too

use std::os::unix::net::UnixStream;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process_group};
use support::{Address, Connection, Daemon, Engine, Home, Postfix, Request, Smtp, TestDatabase, programs};

const PATIENCE: Duration = Duration::from_secs(60);

/// The daemons that take the first one's place are of its process group, and end with the test.
struct Descendants(Pid);

impl Descendants {
    fn of(daemon: &Daemon<'_>) -> Self {
        Self(Pid::from_raw(i32::try_from(daemon.pid()).unwrap()).unwrap())
    }
}

impl Drop for Descendants {
    fn drop(&mut self) {
        let _ = kill_process_group(self.0, Signal::KILL);
    }
}

fn listener(name: &str, address: &Address, modules: &str) -> String {
    format!("[[listener]]\nname = \"{name}\"\naddress = \"{address}\"\nmodules = [{modules}]\n")
}

fn request() -> Request {
    Request::rcpt("a@away.example", "ann@example.com")
}

fn pid(home: &Home) -> u64 {
    let stats = home.valvulad(&["-s", "--json"]).ok().stdout;
    serde_json::from_str::<serde_json::Value>(&stats).unwrap()["pid"].as_u64().unwrap()
}

#[test]
fn under_load_every_request_is_answered_once_and_no_connection_is_refused_or_closed() {
    let directory = tempfile::tempdir().unwrap();
    let (tcp, unix) = (Address::from(support::loopback()), Address::Unix(directory.path().join("policy")));
    let home = Home::with(programs!(), &(listener("tcp", &tcp, "\"bwl\"") + &listener("unix", &unix, "\"bwl\"")));
    let daemon = home.start();
    let _descendants = Descendants::of(&daemon);
    let (answers, fresh, done) = (AtomicU64::new(0), AtomicU64::new(0), AtomicBool::new(false));
    let mut idle: Vec<_> = [&tcp, &unix].iter().map(|address| Connection::open(address).unwrap()).collect();
    idle.iter_mut().for_each(|connection| assert_eq!(connection.ask(&request()).unwrap(), "DUNNO"));

    std::thread::scope(|scope| {
        for client in 0..8 {
            let (address, answers, fresh, done) = (if client % 2 == 0 { &tcp } else { &unix }, &answers, &fresh, &done);
            // Half of them keep one connection for all their requests, half open one for each.
            scope.spawn(move || {
                let mut kept = Connection::open(address).unwrap();
                while !done.load(Ordering::Relaxed) {
                    if client < 4 {
                        assert_eq!(kept.ask(&request()).expect("the connection lives on"), "DUNNO");
                    } else {
                        let answer = Connection::open(address).expect("somebody listens").ask(&request());
                        assert_eq!(answer.expect("it is answered"), "DUNNO");
                        fresh.fetch_add(1, Ordering::Relaxed);
                    }
                    answers.fetch_add(1, Ordering::Relaxed);
                }
            });
        }
        let mut pids = vec![pid(&home)];
        for round in 0..3 {
            let before = (answers.load(Ordering::Relaxed), fresh.load(Ordering::Relaxed));
            support::wait_until("requests flow", PATIENCE, || answers.load(Ordering::Relaxed) > before.0 + 200);
            let output = home.valvulactl(&["upgrade"]);
            if output.code != Some(0) {
                done.store(true, Ordering::Relaxed);
                panic!("{output:?}\n{}", daemon.log());
            }
            let now = pid(&home);
            assert!(!pids.contains(&now), "another process answers: {now} of {pids:?}");
            assert!(output.stdout.contains(&now.to_string()), "{output:?}");
            pids.push(now);
            support::wait_until("connections are accepted", PATIENCE, || fresh.load(Ordering::Relaxed) > before.1 + 50);
            idle.iter_mut().for_each(|connection| assert_eq!(connection.ask(&request()).unwrap(), "DUNNO", "{round}"));
        }
        done.store(true, Ordering::Relaxed);
    });
    assert_eq!(daemon.wait(), 0, "the first one ended well");
    assert!(answers.load(Ordering::Relaxed) > 600);
    for line in ["connections handed over", "connections taken over"] {
        // Each of the three says so when it leaves, or when the other has left.
        support::wait_until(line, PATIENCE, || daemon.count_log(&[line]) == 3);
    }
    assert_eq!(daemon.count_log(&["connections taken over", "closed=0"]), 3, "none was closed");
    for line in ["panic", "connection lost", "could not be handed over"] {
        assert_eq!(daemon.count_log(&[line]), 0, "{line}:\n{}", daemon.log());
    }
    // The last one has it all: it can be stopped, and removes what is its own.
    drop(idle);
    let last = Pid::from_raw(i32::try_from(pid(&home)).unwrap()).unwrap();
    rustix::process::kill_process(last, Signal::TERM).unwrap();
    support::wait_until("its sockets are gone", PATIENCE, || {
        !directory.path().join("policy").exists() && !home.control_socket().exists()
    });
}

#[test]
fn a_request_that_is_half_sent_or_long_in_hand_does_not_stop_it() {
    let address = support::loopback().into();
    let home = Home::with(programs!(), &listener("in", &address, "\"test\""));
    let daemon = home.start();
    let _descendants = Descendants::of(&daemon);
    let bytes = request().bytes();
    let mut half = Connection::open(&address).unwrap();
    half.send(&bytes[..50]).unwrap();
    let mut whole = Connection::open(&address).unwrap();
    assert_eq!(whole.ask(&request()).unwrap(), "DUNNO");
    let since = Instant::now();
    home.valvulactl(&["upgrade"]).ok();
    assert!(since.elapsed() < Duration::from_secs(30));
    assert_eq!(whole.ask(&request()).unwrap(), "DUNNO");
    // Nothing of it was answered: Postfix asks again.
    half.assert_ended();
    assert_eq!(daemon.wait(), 0);
}

#[test]
fn a_program_that_does_not_get_ready_leaves_the_old_one_in_service() {
    let directory = tempfile::tempdir().unwrap();
    let (tcp, unix) = (Address::from(support::loopback()), Address::Unix(directory.path().join("policy")));
    let home = Home::new(programs!());
    let good = listener("tcp", &tcp, "\"test\"") + &listener("unix", &unix, "\"test\"");
    home.configure(&good);
    let daemon = home.start();
    let _descendants = Descendants::of(&daemon);
    let mut kept: Vec<_> = [&tcp, &unix].iter().map(|address| Connection::open(address).unwrap()).collect();
    let taken = std::net::TcpListener::bind(support::loopback()).unwrap();
    let busy = Address::from(taken.local_addr().unwrap());
    for (what, bad) in [
        ("a fault of the configuration", good.clone() + "[nonsense]\n"),
        ("an address in use", good.clone() + &listener("more", &busy, "\"test\"")),
        ("a database that is not there", format!("[database]\nurl = \"sqlite:///nowhere/x.db\"\n{good}")),
        // The unix socket would go with it.
        ("a fault, and a listener less", listener("tcp", &tcp, "\"test\"") + &listener("more", &busy, "\"test\"")),
    ] {
        home.configure(&bad);
        let output = home.valvulactl(&["upgrade"]);
        assert_eq!(output.code, Some(1), "{what}: {output:?}");
        assert!(!output.stderr.trim().is_empty(), "{what}: it says why: {output:?}");
        assert_eq!(pid(&home), u64::from(daemon.pid()), "{what}");
        for (connection, address) in kept.iter_mut().zip([&tcp, &unix]) {
            assert_eq!(connection.ask(&request()).unwrap(), "DUNNO", "{what}");
            assert_eq!(Connection::open(address).unwrap().ask(&request()).unwrap(), "DUNNO", "{what}");
        }
    }
    home.configure(&good);
    home.valvulactl(&["upgrade"]).ok();
    assert_eq!(daemon.wait(), 0);
    for connection in &mut kept {
        assert_eq!(connection.ask(&request()).unwrap(), "DUNNO", "mended, it goes");
    }
}

#[test]
fn listeners_that_come_go_and_are_suspended_are_those_of_the_new_configuration() {
    let (stays, goes, comes) = (support::loopback().into(), support::loopback().into(), support::loopback().into());
    let home = Home::with(programs!(), &(listener("stays", &stays, "\"test\"") + &listener("goes", &goes, "\"test\"")));
    let daemon = home.start();
    let _descendants = Descendants::of(&daemon);
    let mut gone = Connection::open(&goes).unwrap();
    let mut stayed = Connection::open(&stays).unwrap();
    daemon.control(&["suspend", "stays"]);
    home.configure(&(listener("renamed", &stays, "\"test\"") + &listener("comes", &comes, "\"test\"")));
    home.valvulactl(&["upgrade"]).ok();
    assert_eq!(daemon.wait(), 0);
    gone.assert_ended();
    assert!(Connection::open(&goes).is_err(), "nobody listens there any more");
    assert_eq!(Connection::open(&comes).unwrap().ask(&request()).unwrap(), "DUNNO");
    assert_eq!(stayed.ask(&request()).unwrap(), "DUNNO");
    let stats: serde_json::Value = serde_json::from_str(&home.valvulad(&["-s", "--json"]).ok().stdout).unwrap();
    assert_eq!(
        (&stats["listeners"][0]["name"], &stats["listeners"][0]["state"]),
        (&"renamed".into(), &"suspended".into())
    );
}

#[test]
fn what_was_counted_is_known_to_the_new_program_in_either_durability() {
    const QUOTA: u64 = 20_000;
    for durability in ["relaxed", "strict"] {
        let address = support::loopback().into();
        let database = TestDatabase::new(Engine::Sqlite);
        // Nothing is written behind by itself while this test runs.
        let home = Home::with(
            programs!(),
            &format!(
                "[database]\nurl = \"{}\"\n{}[module.mquota]\ndurability = \"{durability}\"\nflush_interval = \"60s\"\n\
                 [[module.mquota.period]]\nlabel = \"all\"\nfrom = \"00:00\"\nto = \"23:59\"\nminute = -1\nhour = {QUOTA}\n\
                 global = -1\n",
                database.url(),
                listener("in", &address, "\"mquota\"")
            ),
        );
        let daemon = home.start();
        let _descendants = Descendants::of(&daemon);
        let (accepted, refused) = (AtomicU64::new(0), AtomicU64::new(0));
        std::thread::scope(|scope| {
            for client in 0..4 {
                let (address, accepted, refused) = (&address, &accepted, &refused);
                scope.spawn(move || {
                    let mut connection = Connection::open(address).unwrap();
                    for number in 0.. {
                        let instance = format!("{client}.{number}.{durability}");
                        let message = request().sasl("ann@example.com").set("instance", instance);
                        if connection.ask(&message).unwrap() != "DUNNO" {
                            refused.fetch_add(1, Ordering::Relaxed);
                            break;
                        }
                        accepted.fetch_add(1, Ordering::Relaxed);
                    }
                });
            }
            // While they are charged: what is charged after the new program has read the counters counts too. No
            // further one follows, whose beginning would set right what the last one left wrong.
            for _ in 0..2 {
                home.valvulactl(&["upgrade"]).ok();
            }
            assert!(refused.load(Ordering::Relaxed) == 0, "{durability}: under load to the end");
        });
        let accepted = accepted.load(Ordering::Relaxed);
        assert_eq!(accepted, QUOTA, "{durability}: exactly the quota");
        assert_eq!(daemon.wait(), 0);
    }
}

#[test]
fn postfix_logs_nothing_about_us_while_mail_flows() {
    let policy = Address::from(support::loopback());
    let postfix = Postfix::asking(&policy.for_postfix());
    let home = Home::new(programs!());
    home.configure(&format!(
        "[postfix]\nconfig_directory = \"{}\"\n{}",
        postfix.config_directory().display(),
        listener("mx", &policy, "\"bwl\"")
    ));
    let daemon = home.start();
    let _descendants = Descendants::of(&daemon);
    let (mails, done) = (AtomicU64::new(0), AtomicBool::new(false));
    std::thread::scope(|scope| {
        for client in 0..4 {
            let (postfix, mails, done) = (&postfix, &mails, &done);
            scope.spawn(move || {
                let mut number = 0;
                while !done.load(Ordering::Relaxed) {
                    let mut smtp = Smtp::open(postfix.mx());
                    for _ in 0..5 {
                        let reply = smtp.rcpt("kind@away.example", "ann@example.com");
                        assert!(reply.starts_with("250"), "{reply}");
                        let reply = smtp.data(&format!("{client}.{number}"));
                        assert!(reply.starts_with("250"), "{reply}");
                        number += 1;
                        mails.fetch_add(1, Ordering::Relaxed);
                    }
                    assert!(smtp.command("QUIT").starts_with("221"));
                }
            });
        }
        for _ in 0..3 {
            let before = mails.load(Ordering::Relaxed);
            support::wait_until("mail flows", PATIENCE, || mails.load(Ordering::Relaxed) > before + 10);
            let output = home.valvulactl(&["upgrade"]);
            if output.code != Some(0) {
                done.store(true, Ordering::Relaxed);
                panic!("{output:?}\n{}", daemon.log());
            }
        }
        let before = mails.load(Ordering::Relaxed);
        support::wait_until("mail flows on", PATIENCE, || mails.load(Ordering::Relaxed) > before + 10);
        done.store(true, Ordering::Relaxed);
    });
    let log = postfix.log();
    let about_us = |line: &&str| {
        let port = policy.for_postfix().rsplit(':').next().unwrap().to_owned();
        line.contains("warning") || line.contains("fatal") || line.contains("policy") || line.contains(&port)
    };
    // cleanup(8) says so of a machine whose clock lags behind its file system's.
    let clock = |line: &&str| line.contains("file system clock") || line.contains("resetting file time stamps");
    let lines: Vec<_> = log.lines().filter(about_us).filter(|line| !clock(line)).collect();
    assert!(lines.is_empty(), "{lines:#?}");
    support::wait_until("every mail is delivered", PATIENCE, || {
        postfix.delivered().len() as u64 == mails.load(Ordering::Relaxed)
    });
}

#[test]
fn systemd_is_told_who_the_service_is_now() {
    let address = support::loopback().into();
    let home = Home::with(programs!(), &listener("in", &address, "\"test\""));
    let daemon = home.start_with(&[], &[("WATCHDOG_USEC", "600000")]);
    let _descendants = Descendants::of(&daemon);
    let order = std::thread::scope(|scope| {
        let order = scope.spawn(|| home.valvulactl(&["upgrade"]));
        let (mut main, since) = (false, Instant::now());
        let mut fed = 0;
        // The new one says that it is ready only after the old one has named it, and feeds the watchdog then.
        while fed < 3 {
            assert!(since.elapsed() < PATIENCE, "main {main}, fed {fed}:\n{}", daemon.log());
            for line in daemon.told() {
                assert_ne!(line, "STOPPING=1", "the service goes on");
                if line.starts_with("MAINPID=") {
                    assert_ne!(line, format!("MAINPID={}", daemon.pid()));
                    main = true;
                }
                fed += u32::from(main && line == "WATCHDOG=1");
            }
        }
        order.join().unwrap()
    });
    order.ok();
}

/// What systemd does: it listens, and starts the daemon with the sockets from descriptor 3 on.
#[test]
fn sockets_that_systemd_listens_on_are_used_and_stay_systemds() {
    let home = Home::new(programs!());
    let path = home.path("policy");
    let (unix, bound) = (Address::Unix(path.clone()), Address::from(support::loopback()));
    home.configure(&(listener("unix", &unix, "\"test\"") + &listener("own", &bound, "\"test\"")));
    let systemd = std::os::unix::net::UnixListener::bind(&path).unwrap();
    // Before the daemon runs a client is not refused: it waits.
    let mut early = Connection::open(&unix).unwrap();
    early.send(&request().bytes()).unwrap();
    let daemon = Daemon::spawn_activated(&home, &systemd);
    daemon.wait_ready();
    let _descendants = Descendants::of(&daemon);
    assert_eq!(early.answer().unwrap().as_deref(), Some("DUNNO"));
    assert_eq!(Connection::open(&bound).unwrap().ask(&request()).unwrap(), "DUNNO");
    home.valvulactl(&["upgrade"]).ok();
    assert_eq!(daemon.wait(), 0);
    assert_eq!(early.ask(&request()).unwrap(), "DUNNO");
    let last = Pid::from_raw(i32::try_from(pid(&home)).unwrap()).unwrap();
    rustix::process::kill_process(last, Signal::TERM).unwrap();
    early.assert_ended();
    support::wait_until("it ends", PATIENCE, || !home.control_socket().exists());
    assert!(UnixStream::connect(&path).is_ok(), "systemd still listens: nobody is refused until the next start");
}

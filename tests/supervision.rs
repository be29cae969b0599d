//! Modules that crash, are slow, or cannot ask: what they do to their requests, and to nobody else's.
//!
//! `mod-panic` fails as the recipient's local part asks; it is compiled with the feature `panic-module`.

#![allow(clippy::unwrap_used)] // a test may be blunt, its helpers too

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use serde_json::Value;
use support::{Address, Connection, Daemon, Home, Request, programs};

fn to(local_part: &str) -> Request {
    Request::rcpt("a@away.example", &format!("{local_part}@example.com"))
}

/// One worker, a listener "faulty" whose chain is mod-panic and then mod-test, and "sound" with mod-test.
struct Scene {
    home: Home,
    faulty: Address,
    sound: Address,
}

impl Scene {
    fn new(module: &str) -> Self {
        let (faulty, sound) = (support::loopback().into(), support::loopback().into());
        let home = Home::new(programs!());
        let server = home.server_section().replace("workers = 2", "workers = 1");
        let listener = |name, address, modules| {
            format!("[[listener]]\nname = \"{name}\"\naddress = \"{address}\"\nmodules = [{modules}]\n")
        };
        home.configure(&format!(
            "{server}{}{}[module.panic]\n{module}\n",
            listener("faulty", &faulty, "\"panic\", \"test\""),
            listener("sound", &sound, "\"test\"")
        ));
        Self { home, faulty, sound }
    }
}

fn number(of: &Value) -> u64 {
    of.as_u64().unwrap_or(0)
}

/// Waits until mod-panic's failures of `kind` are `expected`; gives what is said of the module.
#[track_caller]
fn failures(daemon: &Daemon<'_>, kind: &str, expected: u64) -> Value {
    let found = || {
        let module = daemon.module("panic");
        let count = number(&module["failures"][kind]);
        assert!(count <= expected, "{kind}: {count} of {expected}: {module}");
        (count == expected).then_some(module)
    };
    support::wait_for(&format!("{expected} requests counted as {kind}"), Duration::from_secs(10), found).0
}

/// What a request that fails as `how` comes to, by `on_failure`.
fn each_on_failure(how: &str, kind: &str) {
    for on_failure in ["dunno", "defer", "disconnect"] {
        let scene = Scene::new(&format!("deadline = \"200ms\"\non_failure = \"{on_failure}\""));
        let daemon = scene.home.start();
        let mut connection = Connection::open(&scene.faulty).unwrap();
        assert_eq!(connection.ask(&to("ann")).unwrap(), "DUNNO");
        connection.send(&to(how).bytes()).unwrap();
        let answer = connection.answer().unwrap();
        match on_failure {
            "dunno" => assert_eq!(answer.as_deref(), Some("DUNNO"), "{how}"),
            "defer" => assert!(answer.as_ref().is_some_and(|text| text.starts_with("DEFER ")), "{how}: {answer:?}"),
            _ => assert_eq!(answer, None, "{how}: the connection is ended without an answer"),
        }
        let module = failures(&daemon, kind, 1);
        let asked_next = number(&daemon.module("test")["requests"]["count"]);
        assert_eq!(asked_next, if on_failure == "dunno" { 2 } else { 1 }, "whether the chain goes on");
        assert_eq!(number(&module["failures"].as_object().unwrap().values().map(number).sum::<u64>().into()), 1);
        daemon.wait_log(&["panic", if kind == "crashed" { "asked to" } else { kind }]);
        assert_eq!(daemon.stop(), 0);
    }
}

#[test]
fn a_panic_is_counted_as_crashed_and_answered_by_on_failure() {
    each_on_failure("panic", "crashed");
}

#[test]
fn a_panic_after_waiting_is_counted_as_crashed_and_answered_by_on_failure() {
    each_on_failure("panic-later", "crashed");
}

#[test]
fn a_passed_deadline_is_counted_as_timed_out_and_answered_by_on_failure() {
    each_on_failure("sleep-5s", "timed_out");
}

#[test]
fn what_could_not_be_asked_is_counted_as_unavailable_and_answered_by_on_failure() {
    each_on_failure("unavailable", "unavailable");
}

#[test]
fn a_crashing_module_is_restarted_and_given_up_past_its_intensity_while_all_others_are_answered() {
    let scene = Scene::new("on_failure = \"defer\"");
    let daemon = scene.home.start();
    let stop = AtomicBool::new(false);
    let neighbours = AtomicU64::new(0);
    std::thread::scope(|scope| {
        // Neighbours on the same thread: another listener, and slow requests in the same module's hands.
        for (address, recipient) in [(&scene.sound, "ann"), (&scene.sound, "panic"), (&scene.sound, "bob")] {
            scope.spawn(|| {
                let mut connection = Connection::open(address).unwrap();
                let request = to(recipient);
                while !stop.load(Ordering::Relaxed) {
                    assert_eq!(connection.ask(&request).unwrap(), "DUNNO");
                    neighbours.fetch_add(1, Ordering::Relaxed);
                }
            });
        }
        let work = || {
            let mut in_hand = Connection::open(&scene.faulty).unwrap();
            in_hand.send(&to("sleep-2s").bytes()).unwrap();
            let mut connection = Connection::open(&scene.faulty).unwrap();
            // Five crashes in a minute are borne: after each, the module decides again.
            for crash in 1..=5 {
                let answer = connection.ask(&to("panic")).unwrap();
                assert!(answer.starts_with("DEFER "), "crash {crash}: {answer}");
                let answer = connection.ask(&to("reject")).unwrap();
                assert!(answer.starts_with("REJECT "), "after crash {crash} it decides again: {answer}");
            }
            assert_eq!(in_hand.answer().unwrap().as_deref(), Some("DUNNO"), "what it had in hand is not lost");
            let module = failures(&daemon, "crashed", 5);
            assert_eq!(module["restarts"], 5, "{module}");
            assert_eq!(module["states"], serde_json::json!(["up"]), "{module}");

            // The sixth is one too many: it is down, refuses at once, and says so.
            assert!(connection.ask(&to("panic")).unwrap().starts_with("DEFER "));
            support::wait_until("it is down", Duration::from_secs(10), || {
                daemon.module("panic")["states"] == serde_json::json!(["down"])
            });
            daemon.wait_log(&["panic", "down"]);
            let since = Instant::now();
            for _ in 0..10 {
                let answer = connection.ask(&to("reject")).unwrap();
                assert!(answer.starts_with("DEFER "), "down, it is answered by on_failure: {answer}");
            }
            assert!(since.elapsed() < Duration::from_secs(2), "at once: {:?}", since.elapsed());
            failures(&daemon, "crashed", 16);

            // An operator who has mended the cause does not wait for the next try.
            daemon.control(&["restart", "panic"]);
            support::wait_until("it decides again", Duration::from_secs(5), || {
                connection.ask(&to("reject")).unwrap().starts_with("REJECT ")
            });
        };
        let result = std::panic::catch_unwind(std::panic::AssertUnwindSafe(work));
        stop.store(true, Ordering::Relaxed);
        if let Err(panic) = result {
            std::panic::resume_unwind(panic);
        }
    });
    assert!(neighbours.load(Ordering::Relaxed) > 50, "the neighbours were at work");
    let sound = daemon.listener("sound");
    assert_eq!(number(&sound["accepted"]), 3, "on the same connections all the time: {sound}");
    assert_eq!(daemon.stop(), 0);
}

#[test]
fn an_observed_module_is_counted_and_logged_and_has_no_say() {
    let scene = Scene::new("observe = true\non_failure = \"defer\"\ndeadline = \"200ms\"");
    let daemon = scene.home.start();
    let mut connection = Connection::open(&scene.faulty).unwrap();
    for request in ["reject", "ann", "panic", "sleep-5s", "unavailable"] {
        assert_eq!(connection.ask(&to(request)).unwrap(), "DUNNO", "{request}");
    }
    let module = failures(&daemon, "unavailable", 1);
    assert_eq!(module["would_have"]["REJECT"], 1, "{module}");
    daemon.wait_log(&["would have", "REJECT"]);
}

#[test]
fn mean_min_max_and_percentiles_are_right_against_a_known_load() {
    let scene = Scene::new("");
    let daemon = scene.home.start();
    let mut connection = Connection::open(&scene.faulty).unwrap();
    // 88 of 10 ms, 10 of 50 ms, 2 of 200 ms: p50 is 10, p90 is 50, p99 is 200.
    let load: Vec<u64> = (0..100)
        .map(|index| {
            if index % 50 == 49 {
                200
            } else if index % 10 == 9 || index % 50 == 5 {
                50
            } else {
                10
            }
        })
        .collect();
    assert_eq!(load.iter().filter(|&&ms| ms == 50).count(), 10);
    let mut seen = Vec::new();
    for ms in &load {
        let since = Instant::now();
        assert_eq!(connection.ask(&to(&format!("sleep-{ms}ms"))).unwrap(), "DUNNO");
        seen.push(since.elapsed().as_secs_f64() * 1000.0);
    }
    let counted = || (number(&daemon.stats()["requests"]["count"]) == 100).then(|| daemon.stats());
    let stats = support::wait_for("all are counted", Duration::from_secs(10), counted).0;
    seen.sort_by(f64::total_cmp);
    let mean = |values: &[f64]| values.iter().sum::<f64>() / values.len() as f64;
    let slept = mean(&load.iter().map(|ms| *ms as f64).collect::<Vec<_>>());

    // The daemon can't have taken less than was slept, nor longer than the client waited. A histogram
    // is right within 1 %.
    for part in [&stats["requests"], &daemon.listener("faulty")["requests"], &daemon.module("panic")["requests"]] {
        let within = |key: &str, least: f64, most: f64| {
            let value = part[key].as_f64().unwrap();
            assert!(value >= least * 0.99 && value <= most * 1.01, "{key}: {value}, not in {least} to {most}: {part}");
        };
        within("avg_ms", slept, mean(&seen));
        within("min_ms", 10.0, seen[0]);
        within("max_ms", 200.0, seen[99]);
        within("p50_ms", 10.0, seen[50]);
        within("p90_ms", 50.0, seen[90]);
        within("p99_ms", 200.0, seen[99]);
    }
}

#[test]
fn sigterm_waits_for_the_requests_in_hand_and_takes_no_more() {
    let scene = Scene::new("deadline = \"8s\"");
    let daemon = scene.home.start();
    let mut slow: Vec<Connection> = (0..20).map(|_| Connection::open(&scene.faulty).unwrap()).collect();
    for connection in &mut slow {
        connection.send(&to("sleep-2s").bytes()).unwrap();
    }
    let mut idle = Connection::open(&scene.faulty).unwrap();
    assert_eq!(idle.ask(&to("ann")).unwrap(), "DUNNO");
    support::wait_until("all are in hand", Duration::from_secs(10), || number(&daemon.stats()["pending"]) == 20);
    daemon.signal(rustix::process::Signal::TERM);
    idle.assert_ended();
    for connection in &mut slow {
        assert_eq!(connection.answer().unwrap().as_deref(), Some("DUNNO"), "read, so answered");
        connection.assert_ended();
    }
    assert_eq!(daemon.wait(), 0);
    assert!(Connection::open(&scene.faulty).is_err());
}

#[test]
fn a_second_signal_ends_at_once() {
    let scene = Scene::new("deadline = \"9s\"");
    let daemon = scene.home.start();
    let mut slow = Connection::open(&scene.faulty).unwrap();
    slow.send(&to("sleep-8s").bytes()).unwrap();
    support::wait_until("it is in hand", Duration::from_secs(10), || number(&daemon.stats()["pending"]) == 1);
    let since = Instant::now();
    daemon.signal(rustix::process::Signal::TERM);
    support::wait_until("it stops taking connections", Duration::from_secs(5), || {
        Connection::open(&scene.sound).is_err()
    });
    assert!(daemon.ended().is_none(), "it waits for the request in hand");
    daemon.signal(rustix::process::Signal::TERM);
    daemon.wait();
    assert!(since.elapsed() < Duration::from_secs(5), "it took {:?}", since.elapsed());
}

#[test]
fn a_request_that_outlasts_the_grace_does_not_hold_the_stop() {
    let scene = Scene::new("deadline = \"60s\"");
    let server = scene.home.server_section().replace("workers = 2", "workers = 1\ngrace = \"1s\"");
    scene.home.configure(&format!(
        "{server}[[listener]]\nname = \"faulty\"\naddress = \"{}\"\ndeadline = \"60s\"\nmodules = [\"panic\"]\n\
         [module.panic]\ndeadline = \"60s\"\n",
        scene.faulty
    ));
    let daemon = scene.home.start();
    let mut slow = Connection::open(&scene.faulty).unwrap();
    slow.send(&to("sleep-50s").bytes()).unwrap();
    support::wait_until("it is in hand", Duration::from_secs(10), || number(&daemon.stats()["pending"]) == 1);
    let since = Instant::now();
    daemon.stop();
    assert!(since.elapsed() >= Duration::from_secs(1) && since.elapsed() < Duration::from_secs(10));
    slow.assert_ended();
}

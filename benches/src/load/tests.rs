use std::io::{Read, Write};
use std::net::TcpListener;
use std::thread;

use libvalvula::Endpoint;
use structopt::StructOpt;

use super::*;
use crate::floor;

fn floor(mode: floor::Mode, endpoint: &str, threads: usize) -> String {
    let (bound, address) = std::sync::mpsc::channel();
    let endpoint: Endpoint = endpoint.parse().expect("an endpoint");
    // Serves until the tests end.
    thread::spawn(move || {
        floor::serve(&endpoint, mode, threads, "action=DUNNO x\n\n", |endpoint| {
            bound.send(endpoint.to_string()).expect("somebody waits");
        })
    });
    address.recv().expect("bound")
}

/// A server that does `serve` with each connection in turn.
fn server(serve: impl Fn(std::net::TcpStream) + Send + 'static) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").expect("bound");
    let address = listener.local_addr().expect("an address").to_string();
    thread::spawn(move || listener.incoming().flatten().for_each(serve));
    address
}

fn load(flags: &[&str]) -> Report {
    run(&Options::from_iter([&["policyload"], flags].concat())).expect("a report")
}

#[test]
fn a_total_is_exact_whatever_the_floor_is_made_of() {
    let directory = tempfile::tempdir().expect("a directory");
    let unix = format!("unix:{}", directory.path().join("floor").display());
    for (mode, endpoint, threads) in [
        (floor::Mode::Epoll, "127.0.0.1:0", 2),
        (floor::Mode::Tokio, "127.0.0.1:0", 2),
        (floor::Mode::TokioMultiThread, "127.0.0.1:0", 2),
        (floor::Mode::Epoll, &unix, 1),
        (floor::Mode::Tokio, &unix, 1),
    ] {
        let address = floor(mode, endpoint, threads);
        let flags = ["--addr", &address, "--total", "1000", "--conns", "7", "--threads", "2", "--secs", "30"];
        let report = load(&[&flags[..], &["--expect", "DUNNO", "--fragment", "100"]].concat());
        assert_eq!((report.done, report.errors), (1000, Errors::default()), "{mode:?} {endpoint}");
        assert_eq!(report.actions, [("DUNNO".to_owned(), 1000)].into(), "{mode:?} {endpoint}");
        assert!(report.p50_us > 0.0 && report.p50_us <= report.p99_us && report.p99_us <= report.max_us);
    }
}

#[test]
fn the_open_loop_sends_by_the_clock() {
    let address = floor(floor::Mode::Tokio, "127.0.0.1:0", 1);
    let report =
        load(&["--addr", &address, "--rate", "1000", "--conns", "20", "--secs", "1", "--warmup", "0.1", "--poisson"]);
    assert_eq!(report.errors, Errors::default());
    // A closed loop makes tens of thousands; a busy machine makes fewer than were asked for.
    assert!((100..=1500).contains(&report.done), "{report}");
}

#[test]
fn connections_are_opened_anew_as_often_as_asked_for() {
    let address = floor(floor::Mode::Epoll, "127.0.0.1:0", 1);
    let report =
        load(&["--addr", &address, "--total", "100", "--conns", "1", "--reconnect-every", "5", "--secs", "30"]);
    assert_eq!((report.done, report.reconnects, report.errors), (100, 20, Errors::default()));
}

#[test]
fn wrong_answers_are_errors_of_their_kind() {
    let answering = |answer: &'static [u8]| {
        server(move |mut stream| {
            let mut request = [0; 4096];
            while stream.read(&mut request).is_ok_and(|read| read > 0) && stream.write_all(answer).is_ok() {}
        })
    };
    let flags = ["--total", "3", "--conns", "1", "--secs", "2", "--expect", "DUNNO"];
    let load = |address: &str| load(&[&["--addr", address], &flags[..]].concat());

    let report = load(&answering(b"action=OK\n\n"));
    assert_eq!((report.done, report.errors.unexpected, report.errors.protocol), (3, 3, 0));
    let report = load(&answering(b"DUNNO\n\n"));
    assert_eq!((report.errors.unexpected, report.errors.protocol), (3, 3));
    let report = load(&server(drop));
    assert_eq!((report.done, report.errors.closed), (0, 3));
    // An address on which no other test listens.
    let free = TcpListener::bind("127.0.0.77:0").and_then(|listener| listener.local_addr()).expect("an address");
    assert!(load(&free.to_string()).errors.connect > 0);
}

#[test]
fn a_server_that_never_answers_does_not_hang_the_generator() {
    let address = server(std::mem::forget);
    let report = load(&["--addr", &address, "--conns", "2", "--secs", "1.5", "--warmup", "0"]);
    assert_eq!((report.done, report.errors.unanswered), (0, 2));
}

#[test]
fn idle_connections_are_counted() {
    let address = floor(floor::Mode::Tokio, "127.0.0.1:0", 1);
    let pid = std::process::id().to_string();
    let flags = ["policyload", "--addr", &address, "--conns", "50", "--idle-warm", "--secs", "0", "--pid", &pid];
    let report = idle(&Options::from_iter(flags)).expect("a report");
    assert_eq!((report.connections, report.errors), (50, Errors::default()));
    assert!(report.rss_kib > 0);
}

#[test]
fn latency_is_that_of_the_server() {
    let address = server(|mut stream| {
        let mut request = [0; 4096];
        while stream.read(&mut request).is_ok_and(|read| read > 0) {
            crate::pause(Duration::from_millis(20));
            if stream.write_all(b"action=DUNNO\n\n").is_err() {
                break;
            }
        }
    });
    let report = load(&["--addr", &address, "--conns", "1", "--total", "5", "--secs", "30"]);
    assert!(report.p50_us >= 20_000.0 && report.mean_us >= 20_000.0 && report.max_us >= report.p99_us, "{report}");
    // In the open loop it counts from when a request was due: half of these wait for their turn.
    let flags = ["--addr", &address, "--conns", "1", "--rate", "100", "--secs", "1", "--warmup", "0"];
    let report = load(&flags);
    assert!(report.p50_us >= 100_000.0 && report.backlog > 0, "{report}");
}

#[test]
fn a_report_reads_as_it_was_written() {
    let report = Report { done: 3, rate: 1.5, actions: [("OK".to_owned(), 3)].into(), ..Report::default() };
    let json = serde_json::to_string(&report).expect("JSON");
    let back: Report = serde_json::from_str(&json).expect("a report");
    assert_eq!((back.done, back.rate, back.actions), (3, 1.5, report.actions));
}

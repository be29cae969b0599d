//! `valvulad -s`: the numbers add up to what was sent, while it is sent and afterwards.

#![allow(clippy::unwrap_used)] // a test may be blunt, its helpers too

use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use serde_json::Value;
use support::{Address, Connection, Daemon, Engine, Home, Request, TestDatabase, programs};

/// Every third request of a client is refused by bwl.
const REFUSED: &str = "bad@away.example";
const CLIENTS: u64 = 6;
const REQUESTS: u64 = 300;

fn request(number: u64) -> Request {
    Request::rcpt(if number.is_multiple_of(3) { REFUSED } else { "good@away.example" }, "ann@example.com")
}

fn count(of: &Value) -> u64 {
    of["count"].as_u64().unwrap_or_else(|| panic!("no count in {of}"))
}

fn sum(of: &Value) -> u64 {
    of.as_object().unwrap_or_else(|| panic!("no table: {of}")).values().map(|value| value.as_u64().unwrap()).sum()
}

fn listeners(stats: &Value) -> &Vec<Value> {
    stats["listeners"].as_array().unwrap()
}

/// What must be true of every report, whenever it is asked for.
fn adds_up(stats: &Value) {
    let requests = &stats["requests"];
    assert_eq!(count(requests), sum(&requests["actions"]), "each request has one answer: {stats}");
    let each: u64 = listeners(stats).iter().map(|listener| count(&listener["requests"])).sum();
    assert_eq!(count(requests), each, "all is the sum of the listeners: {stats}");
    for part in listeners(stats).iter().chain(stats["modules"].as_array().unwrap()) {
        let requests = &part["requests"];
        let failures = if part["failures"].is_object() { sum(&part["failures"]) } else { 0 };
        assert_eq!(count(requests), sum(&requests["actions"]) + failures, "{part}");
    }
}

fn settled(daemon: &Daemon<'_>, expected: u64) -> Value {
    let report = || {
        let stats = daemon.stats();
        adds_up(&stats);
        assert!(count(&stats["requests"]) <= expected, "more than was sent: {stats}");
        (count(&stats["requests"]) == expected).then_some(stats)
    };
    support::wait_for(&format!("{expected} requests are counted"), Duration::from_secs(10), report).0
}

#[test]
fn the_numbers_add_up_to_what_was_sent_while_it_flows_and_afterwards() {
    let addresses: [Address; 2] = [support::loopback().into(), support::loopback().into()];
    let database = TestDatabase::new(Engine::Sqlite);
    let mut settings = format!("[database]\nurl = \"{}\"\n", database.url());
    for (name, (address, modules)) in
        ["a", "b"].iter().zip(addresses.iter().zip(["\"bwl\", \"test\"", "\"test\", \"bwl\""]))
    {
        settings += &format!("[[listener]]\nname = \"{name}\"\naddress = \"{address}\"\nmodules = [{modules}]\n");
    }
    let home = Home::with(programs!(), &settings);
    let daemon = home.start();
    database.sql(&format!("INSERT INTO bwl_global (is_active, source, status) VALUES (1, '{REFUSED}', 'reject');"));
    let mut probe = Connection::open(&addresses[0]).unwrap();
    let mut probes = 0;
    support::wait_until("the rule is loaded", Duration::from_secs(10), || {
        probes += 1;
        probe.ask(&request(0)).unwrap().starts_with("REJECT")
    });
    let before = settled(&daemon, probes);
    let test_before = count(&daemon.module("test")["requests"]);

    let flowing = AtomicBool::new(true);
    std::thread::scope(|scope| {
        let clients: Vec<_> = (0..CLIENTS)
            .map(|client| {
                let address = &addresses[usize::from(client % 2 == 1)];
                scope.spawn(move || {
                    let mut connection = Connection::open(address).unwrap();
                    for number in 0..REQUESTS {
                        let answer = connection.ask(&request(number)).unwrap();
                        assert_eq!(answer.starts_with("REJECT"), number.is_multiple_of(3), "{answer}");
                    }
                })
            })
            .collect();
        let watcher = scope.spawn(|| {
            let (mut last, mut reports) = (probes, 0);
            while flowing.load(Ordering::Relaxed) {
                let stats = daemon.stats();
                adds_up(&stats);
                let now = count(&stats["requests"]);
                assert!(now >= last, "from {last} back to {now}");
                assert!(now <= probes + CLIENTS * REQUESTS, "more than was sent: {now}");
                (last, reports) = (now, reports + 1);
            }
            reports
        });
        for client in clients {
            client.join().unwrap();
        }
        flowing.store(false, Ordering::Relaxed);
        assert!(watcher.join().unwrap() > 0, "asked while requests flowed");
    });

    let all = CLIENTS * REQUESTS;
    let after = settled(&daemon, probes + all);
    let refused = REQUESTS.div_ceil(3) * CLIENTS;
    let rejects = |stats: &Value| stats["requests"]["actions"]["REJECT"].as_u64().unwrap_or(0);
    assert_eq!(rejects(&after) - rejects(&before), refused);
    let module = |stats: &Value, name: &str| {
        let modules = stats["modules"].as_array().unwrap();
        modules.iter().find(|module| module["name"] == name).unwrap()["requests"].clone()
    };
    assert_eq!(count(&module(&after, "bwl")), probes + all, "bwl is asked everything");
    // Of a, mod-test sees only what bwl had no opinion on; of b, all.
    assert_eq!(count(&module(&after, "test")) - test_before, all - refused / 2);
    assert_eq!(module(&after, "bwl")["actions"]["REJECT"].as_u64().unwrap() - rejects(&before), refused);
    assert_eq!(after["pending"], 0);
    assert_eq!(after["connections"], 1, "the probe's");
    for listener in listeners(&after) {
        let probe = u64::from(listener["name"] == "a");
        assert_eq!(listener["accepted"].as_u64().unwrap(), CLIENTS / 2 + probe, "{listener}");
    }

    // Asked again, it is the same: nothing comes late, nothing twice.
    assert_eq!(probe.ask(&request(1)).unwrap(), "DUNNO");
    settled(&daemon, probes + all + 1);
}

#[test]
fn the_text_has_the_lines_that_scripts_read_with_the_numbers_of_the_json() {
    let address = support::loopback().into();
    let home = Home::with(
        programs!(),
        &format!("[[listener]]\nname = \"in\"\naddress = \"{address}\"\nmodules = [\"bwl\", \"test\"]\n"),
    );
    let daemon = home.start();
    let mut connection = Connection::open(&address).unwrap();
    for _ in 0..25 {
        assert_eq!(connection.ask(&request(1)).unwrap(), "DUNNO");
    }
    settled(&daemon, 25);
    let text = home.valvulad(&["-s"]).ok().stdout;
    let json = daemon.stats();

    // Names and order of the contract; what else a section holds may follow.
    let expected = [
        "--== General stats ==--",
        "valvula pid:",
        "operation stamp:",
        "handlers registered:",
        "requests handled:",
        "seconds_running:",
        "--== TCP stats ==--",
        "current listeners:",
        "current connections:",
        "--== Work load ==--",
        "pending tasks:",
        "--== Processing stats (in ms) ==--",
        "avg request processing time:",
        "min request processing time:",
        "max request processing time:",
        "--== Processing stats for mod-bwl (in ms) ==--",
        "avg request processing time:",
        "min request processing time:",
        "max request processing time:",
        "--== Processing stats for mod-test (in ms) ==--",
        "avg request processing time:",
    ];
    let mut lines = text.lines().map(str::trim);
    for line in expected {
        assert!(lines.any(|found| found.starts_with(line)), "{line:?} is missing or out of order in:\n{text}");
    }
    let value = |name: &str| {
        let line = text.lines().map(str::trim).find(|line| line.starts_with(name)).unwrap();
        line[name.len()..].trim().to_owned()
    };
    assert_eq!(value("valvula pid:"), daemon.pid().to_string());
    assert_eq!(value("handlers registered:"), "2");
    assert_eq!(value("requests handled:"), "25");
    assert_eq!(value("current listeners:"), "1");
    assert_eq!(value("current connections:"), "1");
    assert_eq!(value("pending tasks:"), "0");
    for (name, key) in [("avg", "avg_ms"), ("min", "min_ms"), ("max", "max_ms")] {
        let shown = value(&format!("{name} request processing time:"));
        let (_, decimals) = shown.split_once('.').unwrap_or_else(|| panic!("{shown} has no decimals"));
        assert_eq!(decimals.len(), 3, "{shown} has three decimals");
        let (shown, known): (f64, f64) = (shown.parse().unwrap(), json["requests"][key].as_f64().unwrap());
        assert!((shown - known).abs() < 0.000_6, "{name}: {shown} in the text, {known} in the JSON");
    }
}

#[test]
fn without_a_daemon_the_answer_is_69_and_one_clear_line() {
    let home = Home::with(programs!(), "[[listener]]\naddress = \"127.0.0.1:0\"\nmodules = [\"test\"]\n");
    let socket = home.control_socket();
    for output in [home.valvulad(&["-s"]), home.valvulactl(&["stats"]), home.valvulactl(&["listeners"])] {
        assert_eq!(output.code, Some(69), "{output:?}");
        assert_eq!(output.stderr.trim().lines().count(), 1, "{output:?}");
        assert!(output.stderr.contains(socket.to_str().unwrap()), "{output:?}");
    }
}

#[test]
fn sigusr1_writes_the_statistics_to_the_log() {
    let address = support::loopback().into();
    let home = Home::with(
        programs!(),
        &format!("[[listener]]\nname = \"in\"\naddress = \"{address}\"\nmodules = [\"test\"]\n"),
    );
    let daemon = home.start();
    let mut connection = Connection::open(&address).unwrap();
    for _ in 0..7 {
        connection.ask(&request(1)).unwrap();
    }
    settled(&daemon, 7);
    daemon.signal(rustix::process::Signal::USR1);
    daemon.wait_log(&["requests handled", "7"]);
}

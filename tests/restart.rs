//! Orders in the middle of traffic: what is not concerned does not notice.

#![allow(clippy::unwrap_used)] // a test may be blunt, its helpers too

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use support::{Address, Connection, Daemon, Engine, Home, Request, TestDatabase, programs};

const REFUSED: &str = "bad@away.example";

/// Two listeners, a and b, whose rule refuses [`REFUSED`].
struct Scene {
    home: Home,
    a: Address,
    b: Address,
    database: TestDatabase,
}

impl Scene {
    fn new() -> Self {
        let (a, b) = (support::loopback().into(), support::loopback().into());
        let database = TestDatabase::new(Engine::Sqlite);
        let listener = |name, address| {
            format!("[[listener]]\nname = \"{name}\"\naddress = \"{address}\"\nmodules = [\"bwl\", \"test\"]\n")
        };
        let settings = format!("[database]\nurl = \"{}\"\n{}{}", database.url(), listener("a", &a), listener("b", &b));
        Self { home: Home::with(programs!(), &settings), a, b, database }
    }

    fn start(&self) -> Daemon<'_> {
        let daemon = self.home.start();
        self.database.sql(&format!(
            "DELETE FROM bwl_global; INSERT INTO bwl_global (is_active, source, status) VALUES (1, '{REFUSED}', 'reject');"
        ));
        let mut probe = Connection::open(&self.a).unwrap();
        support::wait_until("the rule is loaded", Duration::from_secs(10), || {
            probe.ask(&request(0)).unwrap().starts_with("REJECT")
        });
        daemon
    }
}

fn request(number: u64) -> Request {
    Request::rcpt(if number.is_multiple_of(2) { REFUSED } else { "good@away.example" }, "ann@example.com")
}

/// A right answer; a wrong one fails the test.
fn check(number: u64, answer: &str) {
    let right = if number.is_multiple_of(2) { answer.starts_with("REJECT ") } else { answer == "DUNNO" };
    assert!(right, "request {number} was answered {answer:?}");
}

/// Clients of one listener until `stop`: how many answers came, and how often a connection was ended.
#[derive(Default)]
struct Traffic {
    answers: AtomicU64,
    reconnects: AtomicU64,
}

impl Traffic {
    /// A client that keeps its connection as Postfix does, and connects again when it is ended. A
    /// request whose connection ended without an answer is sent again, once.
    fn client(&self, address: &Address, stop: &AtomicBool) {
        let mut connection = Connection::open(address).unwrap();
        let mut number = 0;
        while !stop.load(Ordering::Relaxed) {
            let answer = connection.ask(&request(number)).unwrap_or_else(|error| {
                // Only an end is allowed; half an answer or silence is `InvalidData` or `WouldBlock`.
                use std::io::ErrorKind::{BrokenPipe, ConnectionReset, UnexpectedEof};
                assert!(matches!(error.kind(), UnexpectedEof | ConnectionReset | BrokenPipe), "{error:?}");
                self.reconnects.fetch_add(1, Ordering::Relaxed);
                connection = reconnect(address);
                connection.ask(&request(number)).expect("Postfix tries once more: that must succeed")
            });
            check(number, &answer);
            number += 1;
            self.answers.fetch_add(1, Ordering::Relaxed);
        }
    }

    fn answers(&self) -> u64 {
        self.answers.load(Ordering::Relaxed)
    }

    /// Waits for `more` further answers.
    fn flow(&self, more: u64) {
        let from = self.answers();
        support::wait_until("answers flow", Duration::from_secs(20), || self.answers() >= from + more);
    }
}

/// Postfix waits a second before it connects again: within that the listener must be back.
fn reconnect(address: &Address) -> Connection {
    support::wait_for("the listener is back", Duration::from_secs(1), || Connection::open(address).ok()).0
}

/// Runs four clients on each of the two listeners while `orders` are given; the traffic of a and of b.
fn during_traffic(scene: &Scene, orders: impl FnOnce(&Traffic, &Traffic)) -> (Traffic, Traffic) {
    let (on_a, on_b) = (Traffic::default(), Traffic::default());
    let stop = AtomicBool::new(false);
    std::thread::scope(|scope| {
        for _ in 0..4 {
            scope.spawn(|| on_a.client(&scene.a, &stop));
            scope.spawn(|| on_b.client(&scene.b, &stop));
        }
        // Clients stop also when an order fails.
        let orders = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| orders(&on_a, &on_b)));
        stop.store(true, Ordering::Relaxed);
        if let Err(panic) = orders {
            std::panic::resume_unwind(panic);
        }
    });
    (on_a, on_b)
}

#[test]
fn restart_of_a_port_is_not_noticed_on_the_other_and_no_answer_on_it_is_wrong() {
    let scene = Scene::new();
    let daemon = scene.start();
    let (on_a, on_b) = during_traffic(&scene, |on_a, on_b| {
        for _ in 0..3 {
            on_a.flow(100);
            on_b.flow(100);
            daemon.control(&["restart", "a"]);
        }
        on_a.flow(100);
        on_b.flow(100);
    });
    assert_eq!(on_b.reconnects.into_inner(), 0, "the other port's connections do not notice");
    let b = daemon.listener("b");
    assert_eq!((b["accepted"].as_u64(), b["restarts"].as_u64()), (Some(4), Some(0)), "{b}");
    let reconnects = on_a.reconnects.into_inner();
    assert!((1..=12).contains(&reconnects), "each of 4 clients at most once for each of 3 restarts: {reconnects}");
}

/// Nothing at all is noticed by any connection, and no request is lost from the count.
fn loses_nothing(target: &str) {
    let scene = Scene::new();
    let daemon = scene.start();
    let counted = |daemon: &Daemon<'_>| daemon.stats()["requests"]["count"].as_u64().unwrap();
    let mut last = 0;
    support::wait_until("the probes are counted", Duration::from_secs(10), || {
        let now = counted(&daemon);
        let same = now > 0 && now == last;
        last = now;
        same
    });
    let (on_a, on_b) = during_traffic(&scene, |on_a, on_b| {
        for _ in 0..4 {
            on_a.flow(100);
            on_b.flow(100);
            daemon.control(&["restart", target]);
        }
        on_a.flow(100);
        on_b.flow(100);
    });
    assert_eq!(on_a.reconnects.load(Ordering::Relaxed) + on_b.reconnects.load(Ordering::Relaxed), 0);
    let sent = last + on_a.answers() + on_b.answers();
    support::wait_until("every request is counted", Duration::from_secs(10), || {
        let now = counted(&daemon);
        assert!(now <= sent, "{now} of {sent}");
        now == sent
    });
    assert_eq!(
        daemon.module("bwl")["failures"].as_object().map_or(0, |kinds| kinds.values().filter(|n| **n != 0).count()),
        0
    );
}

#[test]
fn restart_of_a_module_loses_no_request() {
    loses_nothing("bwl");
}

#[test]
fn restart_of_the_statistics_is_not_noticed() {
    loses_nothing("stats");
}

#[test]
fn restart_of_the_store_is_not_noticed() {
    loses_nothing("store");
}

#[test]
fn restart_of_what_answers_the_local_questions_is_not_noticed() {
    loses_nothing("postfix");
}

#[test]
fn a_suspended_port_takes_no_new_connection_and_resumes() {
    let scene = Scene::new();
    let daemon = scene.start();
    let state = || daemon.listener("a")["state"].as_str().unwrap().to_owned();
    assert_eq!(state(), "listening");
    daemon.control(&["suspend", "a"]);
    assert_eq!(state(), "suspended");

    // Whether the kernel refuses it or keeps it waiting, nobody answers it.
    if let Ok(mut waiting) = Connection::open(&scene.a) {
        waiting.set_timeout(Duration::from_millis(300)).unwrap();
        let answer = waiting.ask(&request(1));
        assert!(answer.is_err(), "a suspended port answered {answer:?}");
    }
    check(1, &Connection::open(&scene.b).unwrap().ask(&request(1)).unwrap());

    daemon.control(&["resume", "a"]);
    assert_eq!(state(), "listening");
    let mut connection = reconnect(&scene.a);
    check(0, &connection.ask(&request(0)).unwrap());
}

#[test]
fn an_order_for_what_is_not_there_is_refused_and_says_what_is() {
    let scene = Scene::new();
    let _daemon = scene.start();
    for order in [["restart", "nonsense"], ["suspend", "bwl"], ["resume", "c"]] {
        let output = scene.home.valvulactl(&order);
        assert!(!matches!(output.code, None | Some(0)), "{order:?}: {output:?}");
        assert!(output.stderr.contains(order[1]), "{order:?}: {output:?}");
    }
}

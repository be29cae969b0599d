//! What a slow module can hold is bounded; the rest is answered at once, as configured.

#![allow(clippy::unwrap_used)] // a test may be blunt, its helpers too

use std::collections::BTreeMap;
use std::sync::Barrier;
use std::time::{Duration, Instant};

use support::{Address, Connection, Home, Request, programs};

const CONNECTIONS: usize = 500;

#[test]
fn five_hundred_connections_never_put_more_than_max_in_flight_into_a_slow_module() {
    let address = Address::from(support::loopback());
    let sound = Address::from(support::loopback());
    let home = Home::with(
        programs!(), // with two workers
        &format!(
            "[[listener]]\nname = \"slow\"\naddress = \"{address}\"\nmodules = [\"panic\"]\n\
             [[listener]]\nname = \"sound\"\naddress = \"{sound}\"\nmodules = [\"test\"]\n\
             [module.panic]\nmax_in_flight = 4\non_failure = \"defer\"\n"
        ),
    );
    let daemon = home.start();
    let start = Barrier::new(CONNECTIONS + 1);
    let request = Request::rcpt("a@away.example", "sleep-3s@example.com");
    let answers = std::thread::scope(|scope| {
        let clients: Vec<_> = (0..CONNECTIONS)
            .map(|_| {
                std::thread::Builder::new()
                    .stack_size(256 * 1024)
                    .spawn_scoped(scope, || {
                        let mut connection = Connection::open(&address).unwrap();
                        start.wait();
                        let since = Instant::now();
                        let answer = connection.ask(&request).unwrap();
                        (answer.split(' ').next().unwrap().to_owned(), since.elapsed())
                    })
                    .unwrap()
            })
            .collect();
        start.wait();
        // While it is full, the statistics show no more than the bound, and others are served.
        let mut seen_full = false;
        let since = Instant::now();
        let mut neighbour = Connection::open(&sound).unwrap();
        while since.elapsed() < Duration::from_secs(2) {
            let module = daemon.module("panic");
            let in_flight = module["in_flight"].as_u64().unwrap();
            assert!(in_flight <= 8, "4 on each of 2 workers: {module}");
            seen_full |= in_flight == 8;
            assert_eq!(neighbour.ask(&Request::rcpt("a@b.example", "c@d.example")).unwrap(), "DUNNO");
        }
        assert!(seen_full, "both workers were full at some time");
        clients.into_iter().map(|client| client.join().unwrap()).collect::<Vec<_>>()
    });

    let mut counts = BTreeMap::new();
    for (answer, _) in &answers {
        *counts.entry(answer.as_str()).or_insert(0) += 1;
    }
    let decided = counts.get("DUNNO").copied().unwrap_or(0);
    let deferred = counts.get("DEFER").copied().unwrap_or(0);
    assert_eq!(decided + deferred, CONNECTIONS, "{counts:?}");
    assert!(decided >= 8, "what found room was decided: {counts:?}");
    // All were sent within less than the module's three seconds, so no place became free for a second one.
    assert_eq!(decided, 8, "{counts:?}");
    let slowest = answers.iter().filter(|(answer, _)| answer == "DEFER").map(|(_, took)| *took).max().unwrap();
    assert!(slowest < Duration::from_secs(3), "the others did not wait for a place: {slowest:?}");

    support::wait_until("all are counted", Duration::from_secs(10), || {
        daemon.listener("slow")["requests"]["count"].as_u64() == Some(CONNECTIONS as u64)
    });
    let module = daemon.module("panic");
    assert_eq!(module["failures"]["overloaded"].as_u64(), Some(deferred as u64), "{module}");
    assert_eq!(module["in_flight_peak"], 4, "the most on one worker: {module}");
    assert_eq!(module["max_in_flight"], 4, "{module}");
    assert_eq!(daemon.stop(), 0);
}

//! Thousands of open connections, a tenth of them active: one right answer to each request, nothing else, and
//! memory stays where it is.

#![allow(clippy::unwrap_used)] // a test may be blunt, its helpers too
#![allow(clippy::print_stdout)] // the figures, for whoever asks for them with --nocapture

use std::process::Command;
use std::time::{Duration, Instant};

use support::{Address, Crowd, Home, Request, programs, resident};

/// A connection is a file on either side, and each side has some more.
const SPARE: u64 = 200;

fn crowd(connections: usize, active: usize, pause: Duration, span: Duration) {
    let files = support::raise_file_limit();
    assert!(files >= connections as u64 + SPARE, "{files} open files are allowed: raise the limit (ulimit -n)");
    let address = Address::from(support::loopback());
    // A line for each verdict would be gigabytes.
    let home = Home::with(
        programs!(),
        &format!(
            "[log]\ntarget = \"stderr\"\nlevel = \"warning\"\n[[listener]]\nname = \"in\"\naddress = \"{address}\"\n\
             modules = [\"bwl\"]\nmax_connections = {}\n",
            connections + 10
        ),
    );
    assert_eq!(home.start().stop(), 0);
    let refuse = "INSERT INTO bwl_global (is_active, source, status) VALUES (1, 'bad@away.example', 'reject');";
    let refused = Command::new("sqlite3").arg(home.path("state/valvula.db")).arg(refuse).status();
    assert!(refused.unwrap().success());
    let daemon = home.start();
    let empty = resident(daemon.pid());
    let questions = [("good@away.example", "DUNNO\n"), ("bad@away.example", "REJECT ")]
        .map(|(sender, answer)| (Request::rcpt(sender, "ann@example.com"), answer));
    let mut crowd = Crowd::open(&address, connections, &questions).unwrap();
    let all = crowd.ask_each();
    all.assert_good();
    support::wait_until("all are open", Duration::from_secs(20), || {
        daemon.listener("in")["connections"] == connections
    });

    // What it has while all are open and some ask: read each second.
    let (begun, mut memory) = (Instant::now(), Vec::new());
    let mut seen = crowd.ask(active, pause, || {
        if begun.elapsed().as_secs() >= memory.len() as u64 {
            memory.push(resident(daemon.pid()));
        }
        begun.elapsed() >= span
    });
    let took = begun.elapsed();
    seen.assert_good();
    let idle = crowd.ask_each();
    idle.assert_good();

    let listener = daemon.listener("in");
    let (asked, refused) = (all.asked + seen.asked + idle.asked, (all.asked + seen.asked + idle.asked) / 2);
    assert_eq!(listener["requests"]["count"], asked, "one answer each: {listener}");
    let actions = &listener["requests"]["actions"];
    let each = [actions["DUNNO"].as_u64().unwrap(), actions["REJECT"].as_u64().unwrap()];
    assert!(each.iter().sum::<u64>() == asked && each[1].abs_diff(refused) <= 3, "{listener}");
    assert_eq!((&listener["connections"], &listener["pending"]), (&connections.into(), &0.into()));
    assert_eq!(daemon.complaints(true), Vec::<String>::new());
    let (first, last) = (memory[memory.len() / 10], *memory.last().unwrap());
    let most = *memory.iter().max().unwrap();
    println!(
        "{connections} connections, {active} active, {:.0} s: {seen}, {:.0} a second; p50 {:?}, p99 {:?}, p99.9 {:?}; \
         memory {empty} KiB without them, {first} KiB after a tenth of the time, {most} KiB at most, {last} KiB at the end",
        took.as_secs_f64(),
        seen.answered as f64 / took.as_secs_f64(),
        seen.quantile(0.5),
        seen.quantile(0.99),
        seen.quantile(0.999),
    );
    assert!(last <= first + first / 20 + 2048, "memory grows: {memory:?}");
    assert!(most - empty < 16 * connections as u64 + 16 * 1024, "{empty} KiB became {most} KiB");
    drop(crowd);
    support::wait_until("all are gone", Duration::from_secs(30), || daemon.listener("in")["connections"] == 0);
    assert_eq!(daemon.stop(), 0);
}

#[test]
fn two_thousand_connections_a_tenth_of_them_active() {
    crowd(2_000, 200, Duration::from_millis(100), Duration::from_secs(5));
}

#[test]
#[ignore = "takes ten minutes: scripts/reliability connections"]
fn ten_thousand_connections_a_tenth_of_them_active_for_ten_minutes() {
    crowd(10_000, 1_000, Duration::from_millis(250), Duration::from_secs(600));
}

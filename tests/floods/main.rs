//! Clients that do harm, hundreds at once: others are answered as before, memory is bounded, each is ended by its
//! limit, and the log says so in few lines.

#![allow(clippy::unwrap_used)] // a test may be blunt, its helpers too
#![allow(clippy::print_stdout)] // the figures, for whoever asks for them with --nocapture

mod attackers;

use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use attackers::{Attacker, Kind};
use support::{Address, Crowd, Home, Random, Request, programs, resident};

/// Between two looks at all attackers.
const TICK: Duration = Duration::from_millis(10);
/// Other clients, and the pause that each makes.
const OTHERS: (usize, Duration) = (16, Duration::from_millis(5));
/// What all attackers together may take, in KiB: 600 connections, of which 50 can hold 16 KiB at most.
const MEMORY: u64 = 32 * 1024;

/// Of one run.
struct Flood {
    /// Attackers come and are gone, in turn.
    rounds: usize,
    span: Duration,
    request_timeout: Duration,
    /// Others' p99 may be so many times that of the rounds without attackers, and so much besides.
    factor: u32,
    grace: Duration,
}

fn tcp(address: &Address) -> SocketAddr {
    let Address::Tcp(address) = address else { panic!("they come by TCP") };
    *address
}

/// The attackers do what they do until `over`.
fn attack(address: &Address, mut attackers: Vec<Attacker>, random: &mut Random, over: &AtomicBool) -> Vec<Attacker> {
    while !over.load(Ordering::Relaxed) {
        let tick = Instant::now() + TICK;
        attackers.iter_mut().for_each(|attacker| attacker.step(tcp(address), random));
        #[allow(clippy::disallowed_methods)] // no arbiter runs on a test's thread; nothing is waited for
        std::thread::sleep(tick.saturating_duration_since(Instant::now()));
    }
    attackers
}

fn median(mut of: Vec<Duration>) -> Duration {
    of.sort_unstable();
    of[of.len() / 2]
}

fn flood(flood: &Flood) {
    support::raise_file_limit();
    let mut random = Random::seeded();
    let address = Address::from(support::loopback());
    let home = Home::with(
        programs!(),
        &format!(
            "[log]\ntarget = \"stderr\"\nlevel = \"warning\"\n[[listener]]\nname = \"in\"\naddress = \"{address}\"\n\
             modules = [\"bwl\"]\nrequest_timeout = \"{}ms\"\n",
            flood.request_timeout.as_millis()
        ),
    );
    let begun = Instant::now();
    let daemon = home.start_with(&[], &[("WATCHDOG_USEC", "30000000")]);
    let question = [(Request::rcpt("a@away.example", "ann@example.com"), "DUNNO\n")];
    let mut others = Crowd::open(&address, OTHERS.0, &question).unwrap();
    let mut all = attackers::all(Instant::now());
    // One comes alone: among the others the log's lines are too few for each kind.
    let mut alone = attackers::all(Instant::now()).into_iter().find(|one| one.kind == Kind::Greedy).unwrap();
    support::wait_until("an endless line is ended", Duration::from_secs(20), || {
        alone.step(tcp(&address), &mut random);
        alone.ended > 0
    });
    daemon.wait_log(&["malformed request, connection ended", "longer than 16384 bytes"]);
    let (mut without, mut with) = (Vec::new(), Vec::new());
    let (mut before, mut most) = (0, 0);
    let mut ask = |span: Duration, most: &mut u64| {
        let since = Instant::now();
        let mut seen = others.ask(OTHERS.0, OTHERS.1, || {
            *most = (*most).max(resident(daemon.pid()));
            since.elapsed() >= span
        });
        seen.assert_good();
        seen.quantile(0.99)
    };
    ask(Duration::from_secs(1), &mut before);
    for _ in 0..flood.rounds {
        // The service manager listens.
        while !daemon.told().is_empty() {}
        without.push(ask(flood.span, &mut before));
        let over = AtomicBool::new(false);
        std::thread::scope(|scope| {
            let attackers = std::mem::take(&mut all);
            let attacking = scope.spawn(|| attack(&address, attackers, &mut random, &over));
            with.push(ask(flood.span, &mut most));
            over.store(true, Ordering::Relaxed);
            all = attacking.join().unwrap();
        });
        all.iter_mut().for_each(Attacker::leave);
    }
    // Each was ended by its limit, and that is what the statistics say.
    let over = AtomicBool::new(false);
    std::thread::scope(|scope| {
        let attackers = std::mem::take(&mut all);
        let attacking = scope.spawn(|| attack(&address, attackers, &mut random, &over));
        let late = || daemon.listener("in")["ended"]["request_timeout"].as_u64().unwrap_or(0);
        support::wait_until("all slow ones are ended", flood.request_timeout * 4 + Duration::from_secs(20), || {
            late() >= 400
        });
        over.store(true, Ordering::Relaxed);
        all = attacking.join().unwrap();
    });
    let ended = |kinds: &[Kind]| all.iter().filter(|one| kinds.contains(&one.kind)).map(|one| one.ended).sum::<u64>();
    for one in all.iter().filter(|one| one.kind != Kind::Leaver) {
        assert!(one.ended > 0, "{:?} goes on", one.kind);
    }
    let said = daemon.listener("in")["ended"].clone();
    assert!(said["malformed"].as_u64().unwrap() >= ended(&[Kind::Garbage, Kind::Greedy]), "{said}");
    assert!(said["request_timeout"].as_u64().unwrap() >= ended(&[Kind::Half, Kind::Slow]), "{said}");
    // What the kernel takes before the daemon hangs up is not what the daemon has read.
    let taken = all.iter().filter(|one| one.kind == Kind::Greedy).map(|one| one.most).max().unwrap();
    assert!(taken < 16 << 20, "{taken} bytes of an endless line were taken");
    let lines = daemon.complaints(true);
    for what in ["malformed request, connection ended", "why=request_timeout"] {
        assert!(lines.iter().any(|line| line.contains(what)), "{what}: {lines:#?}");
    }
    assert_eq!(daemon.count_log(&["no sign of life"]), 0, "the watchdog is fed");
    drop(all);
    support::wait_until("all are gone", Duration::from_secs(20), || daemon.listener("in")["connections"] == OTHERS.0);
    let after = resident(daemon.pid());
    let (quiet, loud) = (median(without.clone()), median(with.clone()));
    println!(
        "others' p99 {quiet:?} without attackers {without:?}, {loud:?} with them {with:?}; memory {before} KiB, \
         {most} KiB at most, {after} KiB after; ended: {said}; at most {taken} bytes taken of a gigabyte; {} log lines in {:.0} s",
        lines.len(),
        begun.elapsed().as_secs_f64(),
    );
    // On each of two workers, five lines of two kinds in ten seconds.
    let bound = 20 * (begun.elapsed().as_secs() / 10 + 2);
    assert!(lines.len() as u64 <= bound, "{} lines, {bound} are enough: {lines:#?}", lines.len());
    assert!(most <= before + MEMORY, "{before} KiB became {most} KiB");
    assert!(loud <= quiet * flood.factor + flood.grace, "p99 was {quiet:?} and is {loud:?}");
    assert_eq!(daemon.stop(), 0);
}

#[test]
fn hundreds_of_clients_that_do_harm_are_ended_and_others_answered() {
    flood(&Flood {
        rounds: 1,
        span: Duration::from_secs(4),
        request_timeout: Duration::from_secs(2),
        // A machine that does other things besides.
        factor: 20,
        grace: Duration::from_millis(500),
    });
}

#[test]
#[ignore = "takes minutes, and figures of an optimised program: scripts/reliability floods"]
fn the_p99_of_others_at_most_doubles() {
    flood(&Flood {
        rounds: 8,
        span: Duration::from_secs(10),
        request_timeout: Duration::from_secs(5),
        factor: 2,
        grace: Duration::ZERO,
    });
}

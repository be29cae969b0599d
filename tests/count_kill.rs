//! The daemon is killed under load, twenty times: `strict` and tickets have every request that was answered,
//! `relaxed` all but those of the last `flush_interval`. Stopped in good order, nothing is missing in either.
//! Nothing is ever counted twice.
//!
//! `VALVULA_TEST_KILLS` asks for more rounds.

#![allow(clippy::unwrap_used)] // a test may be blunt, its helpers too
#![allow(clippy::print_stdout)] // the figures, for whoever asks for them with --nocapture

mod counting;

use std::time::{Duration, Instant};

use counting::{Listeners, Load, quota, settled, stored};
use support::{Engine, Home, TestDatabase, programs};

const USER: &str = "ann@example.com";
const WAYS: [&str; 3] = ["strict", "relaxed", "ticket"];
const CLIENTS: usize = 4;
/// Rounds that end in good order, behind the others.
const STOPS: u32 = 4;

fn rounds() -> u32 {
    std::env::var("VALVULA_TEST_KILLS").ok().map_or(20, |rounds| rounds.parse().unwrap())
}

fn killed_and_stopped_under_load(engine: Engine) {
    let database = TestDatabase::new(engine);
    let listeners = Listeners::new(&WAYS);
    let sections = quota("strict", "durability = \"strict\"", "")
        + &quota("relaxed", "durability = \"relaxed\"\nflush_interval = \"100ms\"", "")
        + "[module.ticket]\ntimezone = \"UTC\"\n";
    let home = Home::with(programs!(), &listeners.settings(&database, &sections));
    assert_eq!(home.start().stop(), 0);
    database.sql(&format!("INSERT INTO domain_ticket (id, sasl_user) VALUES (1, '{USER}');"));
    let counted =
        || [stored(&database, "strict", USER), stored(&database, "relaxed", USER), counting::ticket(&database, 1)];
    let mut before = counted();
    let mut oldest_lost = Duration::ZERO;
    for round in 0..rounds() + STOPS {
        let is_killed = round < rounds();
        let daemon = home.start();
        let loads = WAYS.map(|way| Load::start(listeners.address(way), CLIENTS, USER, Duration::from_millis(2)));
        support::wait_until("there is a load", Duration::from_secs(60), || {
            loads.iter().all(|load| load.passed() >= 10)
        });
        // The second batch from now on was begun after these were answered, so it has them at the latest.
        let batches = || daemon.fact("relaxed", "batches written").as_u64().unwrap();
        let (must, written) = (loads[1].passed(), batches());
        support::wait_until("two intervals pass", Duration::from_secs(60), || batches() >= written + 2);
        // Each time at another moment of the interval.
        let pause = Instant::now() + Duration::from_millis(u64::from(round % 20) * 10);
        support::wait_until("a moment comes", Duration::from_secs(60), || Instant::now() >= pause);
        let end = Instant::now();
        if is_killed {
            daemon.kill();
        } else {
            assert_eq!(daemon.stop(), 0);
        }
        let told = loads.map(Load::join);
        if is_killed {
            // What was answered for stands in the journal; the next daemon takes it to the table.
            let _ = settled(|| database.sql("SELECT COALESCE(MAX(number), 0) FROM valvula_journal WHERE slot >= 0;"));
            assert_eq!(home.start().stop(), 0);
        }
        let after = settled(counted);
        for (place, way) in WAYS.into_iter().enumerate() {
            let (told, counted) = (&told[place], after[place] - before[place]);
            let what = format!("{engine:?}, round {round}, {way}: {counted} counted, {} answered", told.passed());
            assert_eq!((told.refused, told.deferred), (0, 0), "{what}");
            // One for each client may have been charged and its answer not sent.
            assert!(counted <= told.passed() + CLIENTS as u64, "{what}");
            if is_killed && way == "relaxed" {
                assert!(counted >= must, "{what}, {must} before the last interval");
                let mut times = told.passed.clone();
                times.sort_unstable();
                let lost = times.get(usize::try_from(counted).unwrap());
                oldest_lost = oldest_lost.max(lost.map_or(Duration::ZERO, |at| end.saturating_duration_since(*at)));
            } else {
                assert!(counted >= told.passed(), "{what}");
            }
        }
        before = after;
    }
    println!(
        "{engine:?}: {before:?} counted; relaxed lost nothing answered earlier than {oldest_lost:?} before a kill"
    );
}

#[test]
fn killed_under_load_on_sqlite() {
    killed_and_stopped_under_load(Engine::Sqlite);
}

#[test]
fn killed_under_load_on_mariadb() {
    killed_and_stopped_under_load(Engine::MariaDb);
}

#[test]
fn killed_under_load_on_postgresql() {
    killed_and_stopped_under_load(Engine::Postgres);
}

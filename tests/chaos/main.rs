//! A daemon under load while what is near it breaks, in an order that a seed decides. Every request gets exactly
//! one right answer, or its connection ends before the answer, where its port was restarted; at the end the
//! database has counted what passed, the statistics add up to what the clients saw, memory, threads and
//! descriptors are as before, and nobody did anything for it.
//!
//! `scripts/reliability chaos` runs it at length. `VALVULA_TEST_SEED` repeats a run, `VALVULA_TEST_FAULTS` makes it
//! longer or shorter.

#![allow(clippy::unwrap_used)] // a test may be blunt, its helpers too
#![allow(clippy::print_stdout)] // the figures, for whoever asks for them with --nocapture

mod clients;
#[path = "../counting/mod.rs"]
mod counting;
mod faults;
mod hang;
mod process;
mod scene;
mod ways;

use std::sync::Arc;
use std::time::{Duration, Instant};

use clients::{Told, get};
use faults::Fault;
use process::Process;
use scene::{Scene, Stage, port_of};
use serde_json::Value;
use support::{Daemon, Engine, Random};
use ways::{CAP, Charged, WAYS};

/// A run of at least `faults` faults.
fn chaos(engine: Engine, faults: usize) {
    let faults = std::env::var("VALVULA_TEST_FAULTS").map_or(faults, |text| text.parse().expect("a number of faults"));
    let mut random = Random::seeded();
    println!("chaos on {engine:?}");
    let stage = Stage::new(engine);
    let mut scene = Scene::start(&stage, random.seed());
    for _ in 0..5 {
        scene.recovers();
    }
    let before = Process::look(scene.daemon.pid());
    let since = Instant::now();
    let mut struck = 0;
    for fault in Fault::script(engine, faults, &mut random) {
        let began = since.elapsed().as_secs_f64();
        let (count, what) = fault.strike(&mut scene, &mut random);
        struck += count;
        scene.recovers();
        scene.assert_right();
        assert!(scene.daemon.ended().is_none(), "the daemon ended");
        println!("  {began:6.1} s  {fault:?}: {what} (all as before at {:.1} s)", since.elapsed().as_secs_f64());
    }
    let took = since.elapsed();
    let restarts = scene.restarts.clone();
    let Scene { daemon, clients, .. } = scene;
    let told: Vec<_> = clients.into_iter().map(clients::Clients::end).collect();
    let after = process::settled(daemon.pid(), &before);
    statistics_add_up(&daemon, &told);
    stage.home.valvulad(&["-p"]).ok();
    assert_eq!(daemon.stop(), 0);
    counted_is_what_passed(&stage, &told);

    let answers: u64 = told.iter().map(|told| told.answered()).sum();
    let lost: u64 = told.iter().map(|told| get(&told.lost)).sum();
    let longest = told.iter().map(|told| get(&told.longest)).max().unwrap();
    println!(
        "  {struck} faults in {} s: {answers} requests answered once and rightly, {lost} not answered in {} restarts of \
         ports, the longest answer {longest} ms; memory {} MiB before, {} MiB after",
        took.as_secs(),
        restarts.iter().sum::<u64>(),
        before.resident >> 20,
        after.resident >> 20,
    );
}

/// `-s` says what the clients saw. Requests that were not answered may have been handled, or not.
fn statistics_add_up(daemon: &Daemon<'_>, told: &[Arc<Told>]) {
    let number = |value: &Value| value.as_u64().unwrap_or(0);
    let stats = daemon.stats();
    let mut all = (0, 0);
    for (way, told) in WAYS.iter().zip(told) {
        let name = port_of(way);
        let listener = daemon.listener(&name);
        let requests = &listener["requests"];
        let lost = get(&told.lost);
        let is = |what: &str, counted: u64, seen: u64| {
            assert!((seen..=seen + lost).contains(&counted), "{name}: {what} {counted}, seen {seen}: {listener}");
        };
        is("requests", number(&requests["count"]), told.answered());
        is("DUNNO", number(&requests["actions"]["DUNNO"]), get(&told.passed));
        is("REJECT", number(&requests["actions"]["REJECT"]), get(&told.refused));
        is("DEFER", number(&requests["actions"]["DEFER"]), get(&told.deferred));
        assert_eq!(number(&listener["accepted"]), get(&told.connections), "{name}: {listener}");
        assert_eq!((number(&listener["connections"]), number(&listener["pending"])), (0, 0), "{name}: {listener}");
        assert_eq!((&listener["state"], &listener["ended"]), (&"listening".into(), &serde_json::json!({})), "{name}");
        all.0 += number(&requests["count"]);
        all.1 += number(&requests["count"]) - told.answered();
    }
    // The listener that comes and goes has no clients.
    assert_eq!(number(&stats["requests"]["count"]), all.0, "{stats}");
    for module in stats["modules"].as_array().unwrap() {
        let name = module["name"].as_str().unwrap();
        // Five crashes in a minute and it is down for the next.
        let is_up = |state: &Value| state == "up" || name == "panic" && state == "down";
        assert!(module["states"].as_array().unwrap().iter().all(is_up), "{module}");
        assert_eq!(number(&module["in_flight"]), 0, "{module}");
    }
}

/// What passed is counted, once. A request whose connection was ended may be counted too.
fn counted_is_what_passed(stage: &Stage, told: &[Arc<Told>]) {
    for (way, told) in WAYS.iter().zip(told) {
        let Some(counted) = way.counted(&stage.database) else { continue };
        let (passed, lost) = (get(&told.passed), get(&told.lost));
        let what = format!(
            "{:?} {}: {counted} counted, {passed} passed, {} refused, {} deferred, {lost} not answered",
            stage.engine,
            way.name,
            get(&told.refused),
            get(&told.deferred)
        );
        println!("  {what}");
        assert!((passed..=passed + lost).contains(&counted), "{what}");
        if way.is_capped() {
            assert!(counted <= CAP, "{what}");
            // It was full long before the end, and nobody was refused who had room.
            assert!(counted == CAP && get(&told.refused) > 0, "{what}");
        }
        assert!(way.charged != Charged::Nowhere);
    }
}

#[test]
fn each_fault_twice_on_mariadb_under_load() {
    chaos(Engine::MariaDb, 30);
}

#[test]
fn each_fault_twice_on_sqlite_under_load() {
    chaos(Engine::Sqlite, 28);
}

#[test]
#[ignore = "minutes: scripts/reliability chaos"]
fn five_runs_on_mariadb() {
    (0..5).for_each(|_| chaos(Engine::MariaDb, 35));
}

#[test]
#[ignore = "minutes: scripts/reliability chaos"]
fn five_runs_on_postgresql() {
    (0..5).for_each(|_| chaos(Engine::Postgres, 35));
}

#[test]
#[ignore = "minutes: scripts/reliability chaos"]
fn five_runs_on_sqlite() {
    (0..5).for_each(|_| chaos(Engine::Sqlite, 35));
}

#[test]
fn a_server_that_hangs_for_seven_seconds_keeps_nobody_waiting_who_does_not_need_it() {
    hang::hang(Engine::MariaDb, Duration::from_secs(3), Duration::from_secs(7), None);
}

#[test]
#[ignore = "minutes: scripts/reliability hang"]
fn mariadb_hangs_for_a_minute() {
    hang::hang(Engine::MariaDb, Duration::from_secs(30), Duration::from_secs(60), Some(2));
}

#[test]
#[ignore = "minutes: scripts/reliability hang"]
fn postgresql_hangs_for_a_minute() {
    hang::hang(Engine::Postgres, Duration::from_secs(30), Duration::from_secs(60), Some(2));
}

//! A database server that hangs: stopped where it stands, while the kernel goes on accepting for it. What does not need
//! it is answered as before, what does by the last known rules and counters, and nobody waits much longer than ever.

use std::sync::PoisonError;
use std::time::{Duration, Instant};

use support::Engine;

use crate::clients::{Clients, get};
use crate::process::{self, Process};
use crate::scene::{Scene, Stage, pause};
use crate::ways::WAYS;

/// What a way's clients were told in a span.
struct Span {
    answers: usize,
    passed: u64,
    refused: u64,
    deferred: u64,
    p50: Duration,
    p99: Duration,
    longest: Duration,
}

/// Lets `span` pass; what was told meanwhile, by way.
fn look(scene: &Scene<'_>, span: Duration) -> Vec<Span> {
    let counts = |clients: &Clients| [&clients.told.passed, &clients.told.refused, &clients.told.deferred].map(get);
    let times =
        |clients: &Clients| std::mem::take(&mut *clients.told.took.lock().unwrap_or_else(PoisonError::into_inner));
    let before: Vec<_> = scene.clients.iter().map(|clients| (times(clients), counts(clients))).collect();
    let since = Instant::now();
    while since.elapsed() < span {
        scene.assert_right();
        pause();
    }
    let told = |(clients, (_, before)): (&Clients, &(_, [u64; 3]))| {
        let mut took = times(clients);
        took.sort_unstable();
        let part = |of: usize| {
            took.get((took.len() * of / 100).min(took.len().saturating_sub(1))).copied().unwrap_or_default()
        };
        let [passed, refused, deferred] = counts(clients);
        Span {
            answers: took.len(),
            passed: passed - before[0],
            refused: refused - before[1],
            deferred: deferred - before[2],
            p50: part(50),
            p99: part(99),
            longest: part(100),
        }
    };
    scene.clients.iter().zip(&before).map(told).collect()
}

/// The server hangs for `span`, after a look of `before`. With `factor`: p99 meanwhile is at most so many times that of
/// before, a millisecond given or taken.
pub fn hang(engine: Engine, before: Duration, span: Duration, factor: Option<u32>) {
    let stage = Stage::new(engine);
    let scene = Scene::start(&stage, 1);
    for _ in 0..40 {
        scene.recovers();
    }
    let process = Process::look(scene.daemon.pid());
    let usual = look(&scene, before);
    let server = stage.server.as_ref().expect("a server");
    server.hang();
    let hung = look(&scene, span);
    server.go_on();
    println!("{engine:?} hung for {span:?}; p50, p99, longest before, and meanwhile:");
    let mut slow = Vec::new();
    for ((way, usual), hung) in WAYS.iter().zip(&usual).zip(&hung) {
        let what = format!(
            "{:14} {:?} {:?} {:?}, {:?} {:?} {:?} ({} answers: {} passed, {} refused, {} deferred)",
            way.name,
            usual.p50,
            usual.p99,
            usual.longest,
            hung.p50,
            hung.p99,
            hung.longest,
            hung.answers,
            hung.passed,
            hung.refused,
            hung.deferred
        );
        println!("  {what}");
        if factor.is_some_and(|factor| hung.p99 > usual.p99 * factor + Duration::from_millis(1)) {
            slow.push(what.clone());
        }
        // The first ones wait in vain, those after them are told at once.
        assert!(hung.answers > 0 && hung.p50 < Duration::from_secs(1), "{what}");
        // A module's deadline.
        assert!(hung.longest < Duration::from_secs(10), "{what}");
        match way.name {
            "rules" | "test" | "relaxed" => assert!(hung.deferred == 0 && hung.passed > 0, "{what}"),
            // Who was at the limit stays there.
            "capped-relaxed" | "capped-strict" => assert!(hung.passed == 0 && hung.refused > 0, "{what}"),
            _ => {}
        }
    }
    assert_eq!(slow, Vec::<String>::new());
    scene.recovers();
    let Scene { daemon, clients, .. } = scene;
    let told: Vec<_> = clients.into_iter().map(Clients::end).collect();
    process::settled(daemon.pid(), &process);
    assert_eq!(daemon.stop(), 0);
    crate::counted_is_what_passed(&stage, &told);
}

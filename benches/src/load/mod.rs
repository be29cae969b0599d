//! The load generator: closed or open loop, one outstanding request on each connection.
//!
//! Postfix blocks for each answer, so a connection never has more than one request on its way. The closed
//! loop measures what a server can do; the open loop sends by the clock and counts latency from the
//! intended time, so that a server that stalls can't hide it by slowing the generator.

mod connection;
mod generator;
mod options;
mod report;
mod worker;

#[cfg(test)]
mod tests;

use std::sync::Barrier;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::Relaxed};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, anyhow};

use self::connection::Connection;
use self::generator::{Generator, Message, Plan};
pub use self::options::Options;
use self::report::Tally;
pub use self::report::{Errors, IdleReport, Report};
use self::worker::{Shared, Worker};
use crate::process::{Usage, machine_cpu, own_cpu};

/// One request as it would be sent.
pub fn sample(options: &Options) -> anyhow::Result<Vec<u8>> {
    let mut request = Vec::new();
    Generator::new(Plan::new(options)?, options.seed, 0).write(&mut request, &mut Message::default());
    Ok(request)
}

/// Puts the load on and reports what it came to. A server that can't be reached is counted in the report's
/// errors.
pub fn run(options: &Options) -> anyhow::Result<Report> {
    let mut options = options.clone();
    options.threads = options.threads.clamp(1, options.connections.max(1));
    let plan = Plan::new(&options)?;
    let shared = Shared {
        is_measuring: AtomicBool::new(false),
        is_over: AtomicBool::new(false),
        budget: AtomicU64::new(options.total),
        barrier: Barrier::new(options.threads + 1),
        start: Instant::now(),
    };
    // All workers are made before any runs: one that can't be made must not leave the others waiting.
    let mut workers = Vec::new();
    for id in 0..options.threads {
        let count = options.connections / options.threads + usize::from(id < options.connections % options.threads);
        let generator = Generator::new(plan.clone(), options.seed, id as u64);
        workers.push(Worker::new(id, count, &options, &shared, generator).context("epoll")?);
    }
    thread::scope(|scope| {
        let threads: Vec<_> = workers.into_iter().map(|worker| scope.spawn(|| worker.run())).collect();
        let measured = measure(&options, &shared);
        let mut tally = Tally::new();
        for thread in threads {
            let counted = thread.join().map_err(|_| anyhow!("a thread of the generator has panicked"))?;
            tally.add(counted.context("epoll")?);
        }
        Ok(report(&options, tally, measured))
    })
}

struct Measured {
    seconds: f64,
    own_cpu: f64,
    machine_cpu: f64,
    before: Usage,
    after: Usage,
}

/// Starts the workers, lets the time pass, stops them.
fn measure(options: &Options, shared: &Shared) -> Measured {
    let seconds = |seconds: f64| Duration::from_secs_f64(seconds.max(0.0));
    shared.barrier.wait();
    shared.barrier.wait();
    let has_total = options.total > 0;
    if !has_total {
        crate::pause(seconds(options.warmup));
    }
    let before = Usage::of_all(&options.pids);
    let (own_before, machine_before, started) = (own_cpu(), machine_cpu(), Instant::now());
    shared.is_measuring.store(true, Relaxed);
    if has_total {
        // The workers stop by themselves; this ends a server that hangs.
        while shared.budget.load(Relaxed) > 0 && started.elapsed() < seconds(options.seconds) {
            crate::pause(Duration::from_millis(1));
        }
        let grace = Duration::from_secs(5).min(seconds(options.seconds));
        thread::scope(|scope| {
            let (done, is_done) = std::sync::mpsc::channel::<()>();
            scope.spawn(move || {
                if is_done.recv_timeout(grace).is_err() {
                    shared.is_over.store(true, Relaxed);
                }
            });
            shared.barrier.wait();
            // The other side waits no longer than its time-out.
            let _ = done.send(());
        });
    } else {
        crate::pause(seconds(options.seconds));
        shared.is_measuring.store(false, Relaxed);
    }
    let measured = Measured {
        seconds: started.elapsed().as_secs_f64(),
        own_cpu: own_cpu() - own_before,
        machine_cpu: machine_cpu() - machine_before,
        before,
        after: Usage::of_all(&options.pids),
    };
    if !has_total {
        shared.is_over.store(true, Relaxed);
        shared.barrier.wait();
    }
    measured
}

fn report(options: &Options, tally: Tally, measured: Measured) -> Report {
    let Measured { seconds, own_cpu, machine_cpu, before, after } = measured;
    let requests = tally.done.max(1) as f64;
    let latency = |quantile| tally.latency.value_at_quantile(quantile) as f64 / 1e3;
    let (user, system) = (after.user - before.user, after.system - before.system);
    Report {
        connections: options.connections,
        seconds,
        done: tally.done,
        rate: tally.done as f64 / seconds,
        rate_asked: options.rate,
        backlog: tally.backlog,
        mean_us: tally.latency.mean() / 1e3,
        p50_us: latency(0.5),
        p99_us: latency(0.99),
        p999_us: latency(0.999),
        max_us: tally.latency.max() as f64 / 1e3,
        errors: tally.errors,
        reconnects: tally.reconnects,
        generator_cpu_us: own_cpu / requests * 1e6,
        generator_cpu_percent: own_cpu / seconds * 100.0,
        others_cpu_percent: (machine_cpu - own_cpu - user - system).max(0.0) / seconds * 100.0,
        server_user_us: user / requests * 1e6,
        server_system_us: system / requests * 1e6,
        server_cpu_us: (user + system) / requests * 1e6,
        server_cpu_percent: (user + system) / seconds * 100.0,
        server_switches: after.switches.saturating_sub(before.switches) as f64 / requests,
        server_rss_kib: after.rss_kib,
        server_threads: after.threads,
        actions: tally
            .actions
            .into_iter()
            .map(|(action, count)| (String::from_utf8_lossy(&action).into_owned(), count))
            .collect(),
    }
}

/// Opens the connections, lets them idle, closes them; says what memory they took.
pub fn idle(options: &Options) -> anyhow::Result<IdleReport> {
    let mut generator = Generator::new(Plan::new(options)?, options.seed, 9);
    let before = Usage::of_all(&options.pids);
    let mut errors = Errors::default();
    let mut open = Vec::new();
    for index in 0..options.connections {
        let endpoint = index % options.addresses.len();
        let Ok(socket) = Connection::connect(&options.addresses[endpoint]) else {
            errors.connect += 1;
            continue;
        };
        let mut connection = Connection::new(Some(socket), endpoint);
        if options.idle_warm && !worker::one_request(&mut connection, &mut generator) {
            errors.unanswered += 1;
        }
        // Only the socket is kept: the generator needs no memory for what it does not use.
        open.extend(connection.socket.take());
    }
    let settle = Duration::from_millis(500);
    crate::pause(settle);
    let with = Usage::of_all(&options.pids);
    crate::pause(Duration::from_secs_f64(options.seconds.max(0.0)));
    let idled = Usage::of_all(&options.pids);
    let connections = open.len();
    drop(open);
    crate::pause(settle);
    let after = Usage::of_all(&options.pids);
    Ok(IdleReport {
        connections,
        errors,
        rss_before_kib: before.rss_kib,
        rss_kib: with.rss_kib,
        kib_per_connection: (with.rss_kib as f64 - before.rss_kib as f64) / connections.max(1) as f64,
        rss_after_kib: after.rss_kib,
        cpu_seconds: idled.user + idled.system - with.user - with.system,
    })
}

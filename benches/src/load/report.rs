//! What a load came to, for people and for programs.

use std::collections::BTreeMap;
use std::fmt;

use hdrhistogram::Histogram;
use serde::{Deserialize, Serialize};

/// What one thread counted.
pub(super) struct Tally {
    /// Latencies in nanoseconds.
    pub latency: Histogram<u64>,
    /// Answers by their action.
    pub actions: BTreeMap<Vec<u8>, u64>,
    pub done: u64,
    pub errors: Errors,
    pub reconnects: u64,
    /// Open loop: requests that were due and not sent.
    pub backlog: u64,
}

/// More kinds of answers than these are counted as one.
const KINDS: usize = 64;

impl Tally {
    pub fn new() -> Self {
        Self {
            // From a nanosecond to an hour; longer than that is shown as an hour.
            latency: Histogram::new_with_bounds(1, 3_600_000_000_000, 3).expect("the bounds are in range"),
            actions: BTreeMap::new(),
            done: 0,
            errors: Errors::default(),
            reconnects: 0,
            backlog: 0,
        }
    }

    pub fn answered(&mut self, action: &[u8], latency: u64) {
        self.done += 1;
        self.latency.saturating_record(latency);
        if let Some(count) = self.actions.get_mut(action) {
            *count += 1;
        } else {
            let name = if self.actions.len() < KINDS { action } else { b"(other)" };
            *self.actions.entry(name.to_vec()).or_default() += 1;
        }
    }

    pub fn add(&mut self, other: Self) {
        self.latency.add(other.latency).expect("all histograms have the same bounds");
        for (action, count) in other.actions {
            *self.actions.entry(action).or_default() += count;
        }
        self.done += other.done;
        self.errors.add(other.errors);
        self.reconnects += other.reconnects;
        self.backlog += other.backlog;
    }
}

/// What went wrong, by kind.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Errors {
    /// Connections that ended while an answer was due.
    pub closed: u64,
    /// Answers that are none.
    pub protocol: u64,
    /// Answers other than `--expect`.
    pub unexpected: u64,
    /// Connections that could not be made.
    pub connect: u64,
    /// Requests that had no answer for more than a second at the end.
    pub unanswered: u64,
}

impl Errors {
    fn add(&mut self, other: Self) {
        self.closed += other.closed;
        self.protocol += other.protocol;
        self.unexpected += other.unexpected;
        self.connect += other.connect;
        self.unanswered += other.unanswered;
    }

    /// All of them.
    pub fn sum(&self) -> u64 {
        self.closed + self.protocol + self.unexpected + self.connect + self.unanswered
    }
}

/// What a load came to. Times are in microseconds; CPU is microseconds a request.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
#[allow(missing_docs)] // the names say it, and are those of the JSON
pub struct Report {
    pub connections: usize,
    pub seconds: f64,
    /// Answered requests.
    pub done: u64,
    /// Answered requests a second.
    pub rate: f64,
    /// What the open loop was asked for; 0 in the closed loop.
    pub rate_asked: f64,
    pub backlog: u64,
    pub mean_us: f64,
    pub p50_us: f64,
    pub p99_us: f64,
    pub p999_us: f64,
    pub max_us: f64,
    pub errors: Errors,
    pub reconnects: u64,
    /// What the generator itself used; near 100 % of a core for each of its threads it is the bottleneck.
    pub generator_cpu_us: f64,
    pub generator_cpu_percent: f64,
    /// What neither the generator nor the servers of `--pid` used, in percent of a core. Interrupts are part of it.
    pub others_cpu_percent: f64,
    pub server_user_us: f64,
    pub server_system_us: f64,
    pub server_cpu_us: f64,
    pub server_cpu_percent: f64,
    pub server_switches: f64,
    pub server_rss_kib: u64,
    pub server_threads: u64,
    /// Answers by their action.
    pub actions: BTreeMap<String, u64>,
}

impl fmt::Display for Report {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.rate_asked > 0.0 {
            write!(out, "open loop, {:.0} requests/s asked, backlog {}: ", self.rate_asked, self.backlog)?;
        } else {
            write!(out, "closed loop: ")?;
        }
        writeln!(out, "{} connections, {:.2} s, {:.0} requests/s", self.connections, self.seconds, self.rate)?;
        let (mean, p50, p99) = (self.mean_us, self.p50_us, self.p99_us);
        writeln!(
            out,
            "latency in us: mean {mean:.1}  p50 {p50:.1}  p99 {p99:.1}  p99.9 {:.1}  max {:.1}",
            self.p999_us, self.max_us
        )?;
        let Errors { closed, protocol, unexpected, connect, unanswered } = self.errors;
        writeln!(
            out,
            "errors {} (closed {closed}, protocol {protocol}, unexpected {unexpected}, connect {connect}, \
             unanswered {unanswered}), reconnects {}",
            self.errors.sum(),
            self.reconnects
        )?;
        writeln!(
            out,
            "generator: {:.2} us CPU a request, {:.0} % of a core; others {:.0} % of a core",
            self.generator_cpu_us, self.generator_cpu_percent, self.others_cpu_percent
        )?;
        if self.server_threads > 0 {
            writeln!(
                out,
                "server: {:.2} us CPU a request (user {:.2}, kernel {:.2}), {:.0} % of a core, {:.3} context switches a \
                 request, {} KiB resident, {} threads",
                self.server_cpu_us,
                self.server_user_us,
                self.server_system_us,
                self.server_cpu_percent,
                self.server_switches,
                self.server_rss_kib,
                self.server_threads
            )?;
        }
        self.actions.iter().try_for_each(|(action, count)| writeln!(out, "{count:>12}  {action}"))
    }
}

/// What connections cost that do nothing.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
#[allow(missing_docs)] // the names say it, and are those of the JSON
pub struct IdleReport {
    pub connections: usize,
    pub errors: Errors,
    pub rss_before_kib: u64,
    pub rss_kib: u64,
    pub kib_per_connection: f64,
    /// After all of them were closed.
    pub rss_after_kib: u64,
    /// CPU seconds that the server spent while they were open and idle.
    pub cpu_seconds: f64,
}

impl fmt::Display for IdleReport {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(
            out,
            "{} idle connections, errors {}: {:.2} KiB each (resident {} KiB before, {} with them, {} after), {:.3} s CPU",
            self.connections,
            self.errors.sum(),
            self.kib_per_connection,
            self.rss_before_kib,
            self.rss_kib,
            self.rss_after_kib,
            self.cpu_seconds
        )
    }
}

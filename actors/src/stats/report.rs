//! What the Stats actor answers: everything `valvulad -s`, `valvulactl stats` and the dump at SIGUSR1 show.
//!
//! Times are in milliseconds, as `-s` has always printed them; counts are since the start of the daemon.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

/// The whole report.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Report {
    /// Process id of the daemon.
    pub pid: u32,
    /// When the report was made, seconds since 1970 (`operation stamp`).
    pub stamp: u64,
    /// Program version.
    pub version: String,
    /// How long the daemon has been running.
    pub seconds_running: u64,
    /// Modules that are loaded (`handlers registered`).
    pub handlers: usize,
    /// All listeners and requests together.
    pub requests: Processing,
    /// Connections open now.
    pub connections: usize,
    /// Requests read and not yet answered (`pending tasks`).
    pub pending: usize,
    /// Worker threads.
    pub workers: usize,
    /// Each listener, in the order of the configuration.
    pub listeners: Vec<ListenerReport>,
    /// Each module, in the order of the configuration.
    pub modules: Vec<ModuleReport>,
    /// Other parts' own facts, by part (`store`, `postfix`, `database`): name and value.
    #[serde(default)]
    pub parts: BTreeMap<String, Vec<(String, serde_json::Value)>>,
}

/// How many were handled, and how long it took.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Processing {
    /// How many.
    pub count: u64,
    /// True mean, milliseconds.
    pub avg_ms: f64,
    /// Shortest, milliseconds; 0 when there was none.
    pub min_ms: f64,
    /// Longest, milliseconds.
    pub max_ms: f64,
    /// Median, milliseconds, within 1 %.
    pub p50_ms: f64,
    /// 90th percentile, milliseconds, within 1 %.
    pub p90_ms: f64,
    /// 99th percentile, milliseconds, within 1 %.
    pub p99_ms: f64,
    /// Answers by action name (`DUNNO`, `REJECT`, ...).
    pub actions: BTreeMap<String, u64>,
}

/// One listener.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct ListenerReport {
    /// Its name.
    pub name: String,
    /// What it listens on, with the port that a port of 0 became.
    pub address: String,
    /// `listening`, `suspended`, `draining` or `down`.
    pub state: String,
    /// Its chain.
    pub modules: Vec<String>,
    /// Connections open now.
    pub connections: usize,
    /// Limit of open connections.
    pub max_connections: usize,
    /// Connections accepted.
    pub accepted: u64,
    /// Requests read and not yet answered.
    pub pending: usize,
    /// Times its supervisor restarted it.
    pub restarts: u64,
    /// Its requests.
    pub requests: Processing,
    /// Connections ended for a fault of the client, by kind (`malformed`, `request_timeout`, `idle_timeout`, ...).
    pub ended: BTreeMap<String, u64>,
    /// Requests left without an answer because a module's `on_failure` is `disconnect`.
    pub disconnects: u64,
}

/// One module, all workers together.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct ModuleReport {
    /// Its name without `mod-`.
    pub name: String,
    /// Its type, when that is another (`mquota` for `mquota-bulk`).
    pub kind: String,
    /// Its requests. `actions` counts opinions and `DUNNO`.
    pub requests: Processing,
    /// Requests it did not answer, by kind: `overloaded`, `timed_out`, `crashed`, `unavailable`.
    pub failures: BTreeMap<String, u64>,
    /// What it would have answered, by action, where `observe` is set.
    pub would_have: BTreeMap<String, u64>,
    /// Requests it holds now, queued and running.
    pub in_flight: usize,
    /// The most it may hold, per worker.
    pub max_in_flight: usize,
    /// The most it held at one time on one worker.
    pub in_flight_peak: usize,
    /// Times its actors were restarted.
    pub restarts: u64,
    /// State of its actor on each worker: `up`, `restarting` or `down`.
    pub states: Vec<String>,
    /// Its own facts: name and value.
    pub facts: Vec<(String, serde_json::Value)>,
}

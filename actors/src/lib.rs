//! The runtime of a policy server: supervised actors, ports, sessions, chains, the module contract,
//! statistics.
//!
//! ```text
//! system arbiter   Port (one a listener) · Stats · PostfixConfig · Store
//! worker arbiters  Worker · a replica of every module actor · the sessions handed to it
//! ```
//!
//! A request's way: the **Port** accepts the connection and hands it to a **Worker**; its **Session**
//! reads the request, and its **Chain** sends it to one **module actor** after the other, each on the
//! same thread, each behind its own gate, deadline and containment; the first opinion is the answer.
//!
//! `examples/embed.rs` runs a policy server with one handler in some twenty lines.

mod bind;
mod budget;
mod chain;
pub mod clock;
pub mod counting;
pub mod database;
pub mod explain;
mod gate;
pub mod local;
mod log_limit;
pub mod mail;
pub mod module;
mod module_actor;
pub mod networks;
pub mod operate;
mod outbox;
mod port;
pub mod postfix_config;
pub mod probe;
pub mod reply;
pub mod restart;
mod runtime;
pub mod runtime_settings;
mod seat;
pub mod secret;
mod session;
pub mod settings;
mod socket;
pub mod stats;
pub mod supervise;
mod turns;
pub mod watch;
mod worker;

pub use bind::{BindError, Bound};
pub use runtime::{Connected, OrderError, ReadyModule, Restarted, Runtime, SharedSocket};

//! Counting mail: the one place that knows what a request is worth, what was charged, and for how long.
//!
//! Pure, in memory:
//! - [`event`]: what a request is worth, and to which message it belongs
//! - [`instance`], `ring`: what is remembered of a message while it arrives
//! - [`counter`]: what an account or a domain has used of its windows
//! - [`draft`]: a request that wants to be charged, and what it draws on
//! - [`book`]: counters and messages together, and the decision
//!
//! With the database:
//! - [`store`]: the counters of the daemon, found again by name
//! - [`ledger`]: the counters of one name, decided by any worker
//! - `set_back`: what becomes of them when the clock is set back
//! - `writer`, `strict`, `upkeep`, `reading`: what takes them to the database, behind the answers or before
//!   them, and back from there
//! - `journal`, `append`, `catch_up`, `fold`: where strict answers are written first, what other daemons wrote there,
//!   and how that comes into the table
//! - `rows`, `entry`, `sql`, `journal_sql`, `fault`: what is written, how, and what its errors mean
//! - [`queue`], [`receipt`]: for a module that keeps its counters in a table of its own

mod append;
pub mod book;
mod catch_up;
pub mod counter;
pub mod draft;
mod entry;
pub mod event;
mod fault;
mod fold;
pub mod instance;
mod journal;
mod journal_sql;
pub mod ledger;
pub mod queue;
mod reading;
pub mod receipt;
mod ring;
mod rows;
mod set_back;
mod sql;
pub mod store;
mod strict;
mod upkeep;
mod writer;

pub use book::{Draft, Limits, Over, Ruling};
pub use fault::{Fault, fault};
pub use ledger::{Charging, Durability, Ledger, Settings};
pub use queue::Queue;
pub use receipt::Receipts;
pub use store::Counters;

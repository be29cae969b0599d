//! Counting mail: the one place that knows what a request is worth, what was charged, and for how long.
//!
//! - [`event`]: what a request is worth, and to which message it belongs
//! - [`instance`]: what is remembered of a message while it arrives
//! - [`counter`]: what an account or a domain has used of its windows
//! - [`book`]: counters and messages together, and the decision
//! - [`store`]: the counters of the daemon, found again by name

pub mod book;
pub mod counter;
pub mod event;
pub mod instance;
pub mod store;

pub use store::Counters;

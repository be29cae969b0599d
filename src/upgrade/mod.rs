//! Another program in this one's place, without a connection refused or lost.
//!
//! The old daemon starts the new one, which is given the listening sockets and loads everything while the
//! old one still answers. Then the old one stops accepting, waits for the requests in hand, writes what it
//! has counted, and lets the new one begin; connections between two requests are handed over as they are.
//! Until the new one says that it answers, any failure leaves the old one in service.

mod channel;
mod inherited;
mod leave;

pub use inherited::{Inherited, Predecessor};
pub(crate) use leave::{Leaving, Upgrade};

/// Marks a program that takes another one's place.
const MARK: &str = "VALVULAD_TAKES_OVER";

//! Measures policy servers: what `policyload`, `floor` and `compare` are made of.
//!
//! - [`load`]: the load generator, one outstanding request on each connection, as Postfix does it.
//! - [`floor`]: the least that a policy server can do, which every ratio is over.
//! - [`compare`]: starts servers in turn and makes the table of docs/performance.md.
//!
//! README.md of this folder says how to use them, and how to read what they say.

pub mod compare;
pub mod floor;
pub mod load;
pub mod process;

use std::time::Duration;

/// Lets time pass. The programs of this crate measure time spans; nothing waits for a condition by sleeping
/// except where another process has to get ready.
#[allow(clippy::disallowed_methods)] // no actor runs here
pub(crate) fn pause(span: Duration) {
    std::thread::sleep(span);
}

/// Raises the limit of open files to what the system allows, for thousands of connections.
pub fn raise_file_limit() {
    use rustix::process::{Resource, getrlimit, setrlimit};
    let mut limit = getrlimit(Resource::Nofile);
    limit.current = limit.maximum;
    // What can't be raised shows as connections that fail, which are counted.
    let _ = setrlimit(Resource::Nofile, limit);
}

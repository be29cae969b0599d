//! What tests of several crates share: databases of their own, real clients, waiting with a deadline.
//!
//! Nothing here knows a crate of the project. A test that cannot get what it asked for panics and says
//! what is missing: a test that passes because its server was not there would prove nothing.

mod client;
mod database;
mod disk;
mod processes;
mod programs;
mod server;
mod wait;

pub use client::Client;
pub use database::{Engine, TestDatabase};
pub use disk::SmallDisk;
pub use server::Server;
pub use wait::{wait_for, wait_until};

/// A private directory, removed when dropped. Readable by all, so that a server that runs as another
/// user can live in it.
pub fn directory() -> tempfile::TempDir {
    use std::os::unix::fs::PermissionsExt as _;
    let directory = tempfile::Builder::new().prefix("valvula-test-").tempdir().expect("a temporary directory");
    std::fs::set_permissions(directory.path(), std::fs::Permissions::from_mode(0o755)).expect("its mode is set");
    directory
}

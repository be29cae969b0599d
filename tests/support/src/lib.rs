//! What the integration tests drive: the real `valvulad` and `valvulactl`, policy connections of raw
//! bytes, SMTP, and a private Postfix.
//!
//! It knows no crate of the project on purpose: a fault shared by the daemon's codec and the tests'
//! would never show. Whatever it starts ends with the test, however that ends.

mod addresses;
mod crowd;
mod daemon;
mod home;
mod moved_clock;
mod policy;
mod postfix;
mod process;
mod random;
mod smtp;

pub use addresses::{loopback, loopback6};
pub use crowd::{Crowd, Seen};
pub use daemon::Daemon;
pub use home::{Home, Output, Programs};
pub use moved_clock::MovedClock;
pub use policy::{Address, Connection, Request};
pub use postfix::Postfix;
pub use process::{raise_file_limit, resident};
pub use random::Random;
pub use smtp::Smtp;
pub use testkit::{Engine, Server, SmallDisk, TestDatabase, wait_for, wait_until};

/// The programs under test. Only the root package's integration tests know where cargo built them.
#[macro_export]
macro_rules! programs {
    () => {
        $crate::Programs { valvulad: env!("CARGO_BIN_EXE_valvulad"), valvulactl: env!("CARGO_BIN_EXE_valvulactl") }
    };
}

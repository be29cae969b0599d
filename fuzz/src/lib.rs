//! What is held against arbitrary bytes: a function for each reader of the project that reads what others
//! wrote. Each asserts more than "it does not crash": that reading in pieces is reading at once, that what
//! was written is read back, that an independent way to the same answer gives the same answer, and that
//! results and messages stay within their bounds.
//!
//! libvalvula and postfix are used as libraries. Pure parts of the daemon, which is too large to be built
//! for this, are compiled in from their own files: the control protocol, the import of the original's
//! configuration, the layers of ours, and how an administrator's query becomes a statement.

#![forbid(unsafe_code)]

// The daemon's files name these two crates, and of each no more than stands here.
extern crate self as actors;
extern crate self as modules;

mod address;
mod codec;
mod control;
mod import;
mod input;
mod layers;
mod lists;
mod main_cf;
mod sql;
mod tables;
mod verdict;

#[path = "../../actors/src/networks.rs"]
pub mod networks;
#[path = "../../actors/src/settings.rs"]
pub mod settings;

pub use address::address;
pub use codec::codec;
pub use control::control;
pub use import::import;
pub use layers::settings;
pub use lists::lists;
pub use main_cf::main_cf;
pub use sql::sql;
pub use tables::tables;
pub use verdict::verdict;

/// What the import asks of the daemon's modules: whether there is one of that name.
pub fn find(name: &str) -> Option<()> {
    ["bwl", "slm", "mquota", "ticket", "lmm", "transport", "mw", "test"].contains(&name).then_some(())
}

//! Rows that hold address rules, kept in memory so that finding the ones that match costs the same
//! among ten as among a million.
//!
//! What several modules share (bwl, transport, lmm, slm); it names none of them. Plain synchronous data
//! structures: rows come in as [`Rule`]s, and [`RuleTable`] gives every reader an immutable
//! [`Snapshot`]. Nothing here can fail at a request.
//!
//! - `atoms`: every text once, each with a number;
//! - `index`: the immutable index from (source, destination, SASL user) to rows;
//! - `snapshot`: a big index, and over it smaller ones with what changed since;
//! - `table`: who changes it, and how they are merged, off the workers' threads;
//! - `follower`: the only file that knows of a database, and keeps a table as the database has it.

mod atoms;
mod follower;
mod index;
mod snapshot;
mod table;

pub use follower::{ReadRow, fact};
pub use index::{Builder, Index, Rule, TooMuch};
pub use snapshot::{Hit, Matches, Seek, Snapshot};
pub use table::{Change, RuleTable};

#[cfg(test)]
mod tests;

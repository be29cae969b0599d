//! Statistics: what workers write down, the actor that adds it up, the report it gives.

mod actor;
mod ledger;
pub mod report;

pub(crate) use actor::{Batch, Snapshot, Stats, Totals, failures, named};
pub use ledger::FailureKind;
pub(crate) use ledger::{Ledger, Owner, Slot};

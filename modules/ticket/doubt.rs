//! A transaction that took too long, or whose end nobody saw.

use std::collections::BTreeMap;

use sea_orm::DbErr;

use super::sql::Delta;

/// A transaction of which nobody knows whether it was committed.
pub(super) struct Doubt {
    pub(super) number: i64,
    /// To be added if it was not.
    pub(super) missing: BTreeMap<i64, Delta>,
    /// To be added if it was: charges of requests that were not answered by it.
    pub(super) surplus: BTreeMap<i64, Delta>,
}

const LATE: &str = "the database took too long over a ticket";

/// The error of a transaction that took too long.
pub(super) fn late() -> DbErr {
    DbErr::Conn(sea_orm::RuntimeErr::Internal(LATE.to_owned()))
}

/// Whether it is that one.
pub(super) fn is_late(error: &DbErr) -> bool {
    matches!(error, DbErr::Conn(sea_orm::RuntimeErr::Internal(why)) if why == LATE)
}

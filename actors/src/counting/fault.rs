//! What an error of the database means for a batch.

use sea_orm::{DbErr, ExecResult, RuntimeErr, SqlxError};
use tokio::time::timeout;

use super::writer::PATIENCE;

/// What to do about an error.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fault {
    /// A CHECK or a key refused it: the batch is written already, or another daemon has taken its place.
    Refused,
    /// It met another writer (deadlock, lock not granted in time): the same again may succeed. Nothing
    /// of it was written.
    Again,
    /// It could not be written, or nobody knows whether it was: keep it and try later.
    Away,
}

/// What `error` means.
pub fn fault(error: &DbErr) -> Fault {
    let (DbErr::Exec(RuntimeErr::SqlxError(error))
    | DbErr::Query(RuntimeErr::SqlxError(error))
    | DbErr::Conn(RuntimeErr::SqlxError(error))) = error
    else {
        return Fault::Away;
    };
    let SqlxError::Database(error) = &**error else { return Fault::Away };
    if error.is_check_violation() || error.is_unique_violation() {
        return Fault::Refused;
    }
    if let Some(error) = error.try_downcast_ref::<sea_orm::SqlxMySqlError>() {
        // ER_LOCK_WAIT_TIMEOUT, ER_LOCK_DEADLOCK, ER_CHECKREAD (MariaDB: the row changed since it was read)
        return if matches!(error.number(), 1205 | 1213 | 1020) { Fault::Again } else { Fault::Away };
    }
    match error.code().as_deref() {
        // PostgreSQL: serialization_failure, deadlock_detected, lock_not_available
        Some("40001" | "40P01" | "55P03") => Fault::Again,
        // SQLite: SQLITE_BUSY, SQLITE_LOCKED and the extended codes of both
        Some("5" | "6" | "261" | "262" | "517" | "518" | "773") => Fault::Again,
        _ => Fault::Away,
    }
}

const OUT_OF_PATIENCE: &str = "the database took too long over a batch";

/// What `asking` gives, if that does not take the database too long: requests wait behind it.
pub(super) async fn in_time<T>(asking: impl Future<Output = Result<T, DbErr>>) -> Result<T, DbErr> {
    let out_of_patience = |_| Err(DbErr::Conn(RuntimeErr::Internal(OUT_OF_PATIENCE.to_owned())));
    timeout(PATIENCE, asking).await.unwrap_or_else(out_of_patience)
}

/// Whether a row was inserted; if not, there is one of that key.
pub(super) fn inserted(result: Result<ExecResult, DbErr>) -> Result<bool, DbErr> {
    match result {
        Err(error) if fault(&error) == Fault::Refused => Ok(false),
        result => Ok(result?.rows_affected() > 0),
    }
}

pub(super) fn is_patience(error: &DbErr) -> bool {
    matches!(error, DbErr::Conn(RuntimeErr::Internal(why)) if why == OUT_OF_PATIENCE)
}

//! What can go wrong with the database as a whole. No message holds a password.

use std::io;
use std::path::PathBuf;
use std::time::Duration;

use sea_orm::DbErr;

/// Why the database can't be used.
#[derive(Debug, thiserror::Error)]
pub enum DatabaseError {
    /// The directory that the SQLite file is in, or goes into, is not usable.
    #[error("the directory {} of the database can't be used: {source}", directory.display())]
    Directory {
        /// The directory.
        directory: PathBuf,
        /// Why not.
        source: io::Error,
    },
    /// The database did not answer in time.
    #[error("the database {url} does not answer (tried for {waited:?}): {source}")]
    Unreachable {
        /// Its URL, without password.
        url: String,
        /// How long it was tried.
        waited: Duration,
        /// What the last attempt came to.
        source: DbErr,
    },
    /// The database's own thread could not be started.
    #[error("can't start the database's thread: {0}")]
    Thread(io::Error),
}

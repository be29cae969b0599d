//! A receipt: what tells a writer whether its transaction was committed when the answer was lost.
//!
//! It is written in the same transaction, and counts: it can be written once for each number.

use sea_orm::{ConnectionTrait, DatabaseBackend, DbErr, Statement};

use super::rows::Batch;
use super::sql::{Sql, own_closes};

/// Receipts of one writer. No two writers have the same, on whatever machine.
#[derive(Debug, Clone)]
pub struct Receipts(Sql);

impl Receipts {
    /// Receipts of a new writer called `name`.
    pub fn new(backend: DatabaseBackend, name: &str) -> Self {
        Self(Sql::new(backend, name, &writer_name()))
    }

    /// What writes the receipt of transaction `number`; `now`: unix time. Numbers count up.
    pub fn write(&self, number: i64, now: i64) -> Statement {
        self.0.add(&Batch::new(number, Vec::new()), own_closes(now), true)
    }

    /// The number of the last transaction that was committed. In a transaction of its own on a server:
    /// waits for one that is still on its way, if `lock` is said.
    ///
    /// # Errors
    /// When the database does not answer.
    pub async fn last(&self, connection: &impl ConnectionTrait, lock: bool) -> Result<Option<i64>, DbErr> {
        let row = connection.query_one_raw(self.0.last_written(lock)).await?;
        row.map(|row| row.try_get_by_index(0)).transpose()
    }
}

/// Unlike any other writer's name, also one of another machine.
pub(super) fn writer_name() -> String {
    use std::hash::BuildHasher as _;
    let random = std::hash::RandomState::new();
    format!("{:016x}{:016x}", random.hash_one(0u8), random.hash_one(std::time::SystemTime::now()))
}

//! Asks what changed since the last time, on each engine in its own way.
//!
//! The difficulty is the order: a transaction gets the numbers of its notes when it writes them, and
//! shows them when it is committed, maybe much later than others with higher numbers.

mod mysql;
mod postgres;
mod sqlite;

use sea_orm::{ConnectionTrait as _, DatabaseBackend, DatabaseConnection, DbErr, QueryResult, Statement, Value};

use crate::watch::noted::Noted;

/// Notes read at once.
const PIECE: i64 = if cfg!(test) { 300 } else { 20_000 };
/// From here on, the tables are read whole rather than the notes one by one.
const MANY: i64 = if cfg!(test) { 2_000 } else { 200_000 };

/// The place up to which changes are known.
pub(super) enum Feed {
    Sqlite(sqlite::Feed),
    MySql(mysql::Feed),
    Postgres(postgres::Feed),
}

impl Feed {
    /// Begins here: what is committed from now on will be given by [`Feed::poll`].
    pub(super) async fn begin(pool: &DatabaseConnection) -> Result<Self, DbErr> {
        Ok(match pool.get_database_backend() {
            DatabaseBackend::Sqlite => Self::Sqlite(sqlite::Feed::begin(pool).await?),
            DatabaseBackend::MySql => Self::MySql(mysql::Feed::begin(pool).await?),
            _ => Self::Postgres(postgres::Feed::begin(pool).await?),
        })
    }

    /// What was committed since the last time.
    pub(super) async fn poll(&mut self, pool: &DatabaseConnection) -> Result<Noted, DbErr> {
        match self {
            Self::Sqlite(feed) => feed.poll(pool).await,
            Self::MySql(feed) => feed.poll(pool).await,
            Self::Postgres(feed) => feed.poll(pool).await,
        }
    }
}

/// All rows of an answer.
async fn ask<const N: usize>(
    pool: &DatabaseConnection,
    sql: &str,
    values: [Value; N],
) -> Result<Vec<QueryResult>, DbErr> {
    pool.query_all_raw(Statement::from_sql_and_values(pool.get_database_backend(), sql, values)).await
}

/// The only row of an answer.
async fn ask_one<const N: usize>(
    pool: &DatabaseConnection,
    sql: &str,
    values: [Value; N],
) -> Result<QueryResult, DbErr> {
    let row = pool.query_one_raw(Statement::from_sql_and_values(pool.get_database_backend(), sql, values)).await?;
    row.ok_or_else(|| DbErr::RecordNotFound(sql.to_owned()))
}

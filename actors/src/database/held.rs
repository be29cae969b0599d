//! A connection that is held from one statement to the next, for whoever has one after the other.
//!
//! A pool asks the server each time it gets a connection back whether that still works, which under load costs as
//! much as a small statement does. So under load the connection is not given back.

use sea_orm::sqlx::pool::PoolConnection;
use sea_orm::sqlx::query::Query;
use sea_orm::sqlx::{self, AssertSqlSafe, Encode, IntoArguments, MySql, Postgres, Type};
use sea_orm::{ConnAcquireErr, ConnectionTrait as _, DatabaseBackend, DbErr, RuntimeErr, SqlxError, Statement, Value};

use super::Database;

/// With fewer connections than this none is held: somebody else needs one.
const FEWEST: u32 = 4;

/// A connection for writing. On SQLite there is one for all, which is not held.
#[derive(Default)]
pub struct Held {
    connection: Option<Connection>,
    was_used: bool,
}

enum Connection {
    MySql(PoolConnection<MySql>),
    Postgres(PoolConnection<Postgres>),
}

impl Held {
    /// Executes `statement`, whose values are integers and bytes; how many rows it changed. After an error, and when it
    /// is not waited for to the end, the connection is held no longer.
    ///
    /// # Errors
    /// What the database gives.
    pub async fn execute(&mut self, database: &Database, statement: Statement) -> Result<u64, DbErr> {
        let is_shared = database.backend() == DatabaseBackend::Sqlite || database.settings().max_connections < FEWEST;
        if is_shared {
            return database.writer().execute_raw(statement).await.map(|done| done.rows_affected());
        }
        self.was_used = true;
        let mut connection = match self.connection.take() {
            Some(connection) => connection,
            None => Connection::of(database).await.map_err(failed)?,
        };
        let rows = connection.execute(statement).await.map_err(failed)?;
        self.connection = Some(connection);
        Ok(rows)
    }

    /// Gives the connection back if it was not used since this was last called.
    pub fn give_back_unused(&mut self) {
        if !std::mem::take(&mut self.was_used) {
            self.connection = None;
        }
    }
}

impl Connection {
    async fn of(database: &Database) -> Result<Self, SqlxError> {
        let pool = database.writer();
        Ok(match database.backend() {
            DatabaseBackend::MySql => Self::MySql(pool.get_mysql_connection_pool().acquire().await?),
            _ => Self::Postgres(pool.get_postgres_connection_pool().acquire().await?),
        })
    }

    async fn execute(&mut self, statement: Statement) -> Result<u64, SqlxError> {
        Ok(match self {
            Self::MySql(connection) => bound(statement)?.execute(&mut **connection).await?.rows_affected(),
            Self::Postgres(connection) => bound(statement)?.execute(&mut **connection).await?.rows_affected(),
        })
    }
}

/// `statement` with its values.
fn bound<D: sqlx::Database>(statement: Statement) -> Result<Query<'static, D, D::Arguments>, SqlxError>
where
    Option<i64>: for<'v> Encode<'v, D> + Type<D>,
    Option<Vec<u8>>: for<'v> Encode<'v, D> + Type<D>,
    D::Arguments: IntoArguments<D>,
{
    // The text is that of the statement's maker.
    let mut query = sqlx::query(AssertSqlSafe(statement.sql));
    for value in statement.values.into_iter().flat_map(|values| values.0) {
        query = match value {
            Value::BigInt(number) => query.bind(number),
            Value::Bytes(bytes) => query.bind(bytes),
            other => return Err(SqlxError::Protocol(format!("{other:?} is not bound here"))),
        };
    }
    Ok(query)
}

/// What sea-orm makes of the driver's error.
pub(crate) fn failed(error: SqlxError) -> DbErr {
    match error {
        SqlxError::PoolTimedOut => DbErr::ConnectionAcquire(ConnAcquireErr::Timeout),
        SqlxError::PoolClosed => DbErr::ConnectionAcquire(ConnAcquireErr::ConnectionClosed),
        error => DbErr::Exec(RuntimeErr::SqlxError(error.into())),
    }
}

//! A pool of connections with the settings that we rely on, made without connecting.

use std::time::Duration;

use log::LevelFilter;
use sea_orm::sqlx::mysql::MySqlPoolOptions;
use sea_orm::sqlx::pool::PoolOptions;
use sea_orm::sqlx::postgres::PgPoolOptions;
use sea_orm::sqlx::sqlite::{
    SqliteConnectOptions, SqliteConnection, SqliteJournalMode, SqlitePoolOptions, SqliteSynchronous,
};
use sea_orm::sqlx::{ConnectOptions, Connection as _, Executor as _, MySql};
use sea_orm::{DatabaseBackend, DatabaseConnection, SqlxError};

use crate::database::settings::{Settings, Synchronous};
use crate::database::state::Trouble;
use crate::database::url::Target;

/// How long to wait for a connection, made or freed, before the database counts as away.
const ACQUIRE: Duration = Duration::from_secs(3);
/// How long SQLite waits for another writer.
const BUSY: Duration = Duration::from_secs(10);
const SLOW: Duration = Duration::from_secs(1);
/// A connection that was idle for less is taken for good.
const FRESH: Duration = Duration::from_secs(1);

/// Strict, so that a value which does not fit is an error and never cut short; and the same on every
/// server, whatever its own default. A metadata lock is waited for a minute, not a day.
const MYSQL_SESSION: &str = "SET SESSION \
    sql_mode = 'STRICT_TRANS_TABLES,ERROR_FOR_DIVISION_BY_ZERO,NO_ENGINE_SUBSTITUTION', lock_wait_timeout = 60";

/// A pool for the database of `settings`. Must be called inside the runtime that is to keep it.
pub(super) fn lazy(settings: &Settings, connections: u32, trouble: Trouble) -> DatabaseConnection {
    match &settings.url.0 {
        Target::Sqlite(path) => {
            let options = SqliteConnectOptions::new()
                .filename(path)
                .create_if_missing(true)
                .journal_mode(SqliteJournalMode::Wal)
                .synchronous(match settings.synchronous {
                    Synchronous::Normal => SqliteSynchronous::Normal,
                    Synchronous::Full => SqliteSynchronous::Full,
                })
                .busy_timeout(BUSY)
                // Rows that a loader has not taken yet: enough that the reading thread seldom waits.
                .row_buffer_size(4096);
            // A file does not go away: an idle connection costs nothing and keeps its statements.
            let pool: SqlitePoolOptions = common(connections)
                .idle_timeout(None)
                .max_lifetime(None)
                .after_release(|connection, _| Box::pin(is_between_transactions(connection)));
            pool.connect_lazy_with(logged(options)).into()
        }
        Target::MySql(options) => {
            let pool: MySqlPoolOptions =
                tested::<MySql>(common(connections), trouble).after_connect(|connection, _| {
                    Box::pin(async move { connection.execute(MYSQL_SESSION).await.map(drop) })
                });
            pool.connect_lazy_with(logged((**options).clone())).into()
        }
        Target::Postgres(options) => {
            let pool: PgPoolOptions = tested(common(connections), trouble);
            pool.connect_lazy_with(logged((**options).clone())).into()
        }
    }
}

/// Whether a connection of SQLite can be used again: if not, the pool closes it.
///
/// SQLite ends a transaction by itself when a statement of it fails for want of room, memory or a working disk. The
/// driver's rollback then fails, and it goes on counting a transaction that is not there: it would begin the next one
/// as a part of that, and what it takes for the end of that part ends nothing. All that is written later would
/// seem to be committed, and be lost with the connection.
async fn is_between_transactions(connection: &mut SqliteConnection) -> Result<bool, SqlxError> {
    if connection.is_in_transaction() {
        // A rollback may be on its way: what was asked before is done before this is answered.
        connection.ping().await?;
    }
    Ok(!connection.is_in_transaction())
}

fn common<D: sea_orm::sqlx::Database>(connections: u32) -> PoolOptions<D> {
    PoolOptions::new().max_connections(connections).acquire_timeout(ACQUIRE)
}

/// Asks a server, before a connection is used, whether it is still there: but not a connection that was in use
/// a moment ago, where that would be a second question for each; unless one went dead since.
fn tested<D: sea_orm::sqlx::Database>(pool: PoolOptions<D>, trouble: Trouble) -> PoolOptions<D> {
    pool.test_before_acquire(false).before_acquire(move |connection, used| {
        let is_fresh = used.idle_for < FRESH && !trouble.is_since(used.idle_for);
        Box::pin(async move { Ok(is_fresh || connection.ping().await.is_ok()) })
    })
}

/// Statements are logged with their placeholders, never with values.
fn logged<O: ConnectOptions>(options: O) -> O {
    options.log_statements(LevelFilter::Debug).log_slow_statements(LevelFilter::Warn, SLOW)
}

/// Connections that are open, and of these idle.
pub(super) fn size(pool: &DatabaseConnection) -> (u32, usize) {
    match pool.get_database_backend() {
        DatabaseBackend::Sqlite => {
            let pool = pool.get_sqlite_connection_pool();
            (pool.size(), pool.num_idle())
        }
        DatabaseBackend::MySql => {
            let pool = pool.get_mysql_connection_pool();
            (pool.size(), pool.num_idle())
        }
        DatabaseBackend::Postgres => {
            let pool = pool.get_postgres_connection_pool();
            (pool.size(), pool.num_idle())
        }
        _ => (0, 0),
    }
}

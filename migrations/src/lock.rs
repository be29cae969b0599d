//! One daemon at a time changes the schema: a lock that ends with the connection that holds it.
//!
//! On SQLite and PostgreSQL all the work is one transaction, on the connection that has the lock:
//! nothing half done stays. MySQL ends a transaction at each change of a table, so there it is only the
//! way to keep one connection; its lock is by name and lasts until released. (Galera's nodes do not
//! share such locks: there, that each step can be done twice is what keeps two daemons right.)

use sea_orm::{
    ConnectionTrait as _, DatabaseBackend, DatabaseConnection, DatabaseTransaction, DbErr, SqliteTransactionMode,
    Statement, TransactionOptions,
};

use crate::{MigrateError, begin, doing};

/// How long to wait for another daemon. A million rows are taken over in less.
const SECONDS: u32 = 120;

/// How long a server waits for the next statement of who has the lock. A daemon that was killed is seen to
/// be gone at once; of one whose machine is gone the server hears nothing, for hours by its own settings.
const IDLE: u32 = 15;

/// The lock, and the connection that has it.
pub(crate) struct Lock(DatabaseTransaction);

/// Waits for the lock.
pub(crate) async fn take(database: &DatabaseConnection) -> Result<Lock, MigrateError> {
    let waiting = "waiting for the lock on the database's schema";
    match database.get_database_backend() {
        DatabaseBackend::Sqlite => sqlite(database).await,
        DatabaseBackend::MySql => {
            let connection = begin(database, TransactionOptions::default()).await.map_err(doing(waiting))?;
            // Names are the server's, not the database's, and at most 64 characters.
            let sql = format!("SELECT GET_LOCK(CONCAT('valvula.schema.', MD5(DATABASE())), {SECONDS}) AS got");
            let row = connection.query_one_raw(Statement::from_string(DatabaseBackend::MySql, sql)).await;
            let got = row.and_then(|row| match row {
                Some(row) => row.try_get_by_index::<Option<i64>>(0),
                None => Ok(None),
            });
            match got.map_err(doing(waiting))? {
                Some(1) => {
                    let sql = format!("SET SESSION wait_timeout = {IDLE}");
                    connection.execute_unprepared(&sql).await.map_err(doing(waiting))?;
                    Ok(Lock(connection))
                }
                _ => Err(MigrateError::Locked { seconds: SECONDS }),
            }
        }
        _ => {
            let connection = begin(database, TransactionOptions::default()).await.map_err(doing(waiting))?;
            // The number is "valvula" in ASCII; these locks are apart for each database.
            let sql = format!(
                "SET LOCAL lock_timeout = '{SECONDS}s'; SET LOCAL idle_in_transaction_session_timeout = '{IDLE}s'; \
                 SELECT pg_advisory_xact_lock(33323244513684577)"
            );
            match connection.execute_unprepared(&sql).await {
                Ok(_) => Ok(Lock(connection)),
                Err(error) if code(&error).as_deref() == Some("55P03") => {
                    Err(MigrateError::Locked { seconds: SECONDS })
                }
                Err(error) => Err(doing(waiting)(error)),
            }
        }
    }
}

/// SQLite's writers wait for each other without order, and give up after the connection's own
/// `busy_timeout`: it is tried again until time is up.
async fn sqlite(database: &DatabaseConnection) -> Result<Lock, MigrateError> {
    let since = std::time::Instant::now();
    loop {
        let immediate = TransactionOptions {
            sqlite_transaction_mode: Some(SqliteTransactionMode::Immediate),
            ..TransactionOptions::default()
        };
        match begin(database, immediate).await {
            Ok(connection) => return Ok(Lock(connection)),
            Err(error) if !is_busy(&error) => {
                return Err(doing("waiting for the lock on the database's schema")(error));
            }
            Err(_) if since.elapsed().as_secs() >= SECONDS.into() => {
                return Err(MigrateError::Locked { seconds: SECONDS });
            }
            Err(_) => {}
        }
    }
}

impl Lock {
    pub(crate) fn connection(&self) -> &DatabaseTransaction {
        &self.0
    }

    /// Makes the work last if it is good, and lets the next one in.
    pub(crate) async fn release(self, good: bool) -> Result<(), DbErr> {
        let released = match self.0.get_database_backend() {
            DatabaseBackend::MySql => {
                let sql = "SELECT RELEASE_LOCK(CONCAT('valvula.schema.', MD5(DATABASE())))";
                let released = self.0.query_one_raw(Statement::from_string(DatabaseBackend::MySql, sql)).await;
                // The connection goes on in the pool.
                let restored = self.0.execute_unprepared("SET SESSION wait_timeout = @@GLOBAL.wait_timeout").await;
                released.map(drop).and(restored.map(drop))
            }
            _ => Ok(()),
        };
        if good {
            self.0.commit().await?
        } else {
            self.0.rollback().await?
        }
        released
    }
}

/// The database's own code of an error.
pub(crate) fn code(error: &DbErr) -> Option<String> {
    use sea_orm::{RuntimeErr, SqlxError};
    let (DbErr::Conn(RuntimeErr::SqlxError(error))
    | DbErr::Exec(RuntimeErr::SqlxError(error))
    | DbErr::Query(RuntimeErr::SqlxError(error))) = error
    else {
        return None;
    };
    match &**error {
        SqlxError::Database(error) => error.code().map(std::borrow::Cow::into_owned),
        _ => None,
    }
}

/// `SQLITE_BUSY` in its variants: the lowest byte of the code is 5.
fn is_busy(error: &DbErr) -> bool {
    code(error).and_then(|code| code.parse::<u32>().ok()).is_some_and(|code| code & 0xff == 5)
}

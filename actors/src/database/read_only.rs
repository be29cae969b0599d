//! A database of somebody else's: asked, never changed.
//!
//! No file is made, no journal mode set, no schema touched. A connection is made when it is needed and
//! kept for a minute after its last use; SQLite's file is opened for each question, so that one that was
//! put in its place is seen. What takes longer than the time limit could not be asked, and its connection
//! is given up.

use std::fmt;
use std::time::{Duration, Instant};

use parking_lot::Mutex;
use sea_orm::sqlx::encode::IsNull;
use sea_orm::sqlx::error::BoxDynError;
use sea_orm::sqlx::mysql::MySqlConnection;
use sea_orm::sqlx::postgres::types::Oid;
use sea_orm::sqlx::postgres::{PgArgumentBuffer, PgConnection, PgTypeInfo};
use sea_orm::sqlx::sqlite::{SqliteConnectOptions, SqliteConnection};
use sea_orm::sqlx::{self, AssertSqlSafe, ConnectOptions as _, Connection as _, Postgres};
use tokio::sync::Semaphore;

use crate::database::template::Template;
use crate::database::url::{DatabaseUrl, Target};

/// Questions at a time.
const AT_ONCE: usize = 4;
/// How long a connection is kept without use.
const IDLE: Duration = Duration::from_secs(60);
/// How long SQLite waits while another process writes.
const BUSY: Duration = Duration::from_secs(2);

/// A database that is only asked.
pub struct ReadOnly {
    url: DatabaseUrl,
    timeout: Duration,
    places: Semaphore,
    idle: Mutex<Vec<(Connection, Instant)>>,
}

enum Connection {
    MySql(MySqlConnection),
    Postgres(PgConnection),
    Sqlite(SqliteConnection),
}

impl ReadOnly {
    /// The database at `url`; one question may take as long as `timeout`. Nothing is connected yet.
    pub fn new(url: DatabaseUrl, timeout: Duration) -> Self {
        Self { url, timeout, places: Semaphore::new(AT_ONCE), idle: Mutex::default() }
    }

    /// Where it is, without its password.
    pub fn url(&self) -> &DatabaseUrl {
        &self.url
    }

    /// Whether `statement` selects a row, `value` standing for each of its placeholders.
    ///
    /// # Errors
    /// Why it could not be asked.
    pub async fn has_row<P: Copy>(&self, statement: &Template<P>, value: &str) -> Result<bool, String> {
        let sql = statement.sql(self.url.backend());
        let values = vec![value; statement.placeholders().len()];
        match tokio::time::timeout(self.timeout, self.ask(&sql, &values)).await {
            Ok(answer) => answer.map_err(|error| error.to_string()),
            Err(_) => Err(format!("no answer within {:?}", self.timeout)),
        }
    }

    async fn ask(&self, sql: &str, values: &[&str]) -> Result<bool, sqlx::Error> {
        let _place = self.places.acquire().await;
        // A kept connection may have been closed by the server meanwhile: then a new one is made.
        while let Some(mut connection) = self.take_idle() {
            if let Ok(found) = connection.has_row(sql, values).await {
                self.keep(connection);
                return Ok(found);
            }
        }
        let mut connection = self.connect().await?;
        let found = connection.has_row(sql, values).await?;
        match connection {
            // What was read stands, whatever closing comes to.
            Connection::Sqlite(file) => drop(file.close().await),
            server => self.keep(server),
        }
        Ok(found)
    }

    async fn connect(&self) -> Result<Connection, sqlx::Error> {
        // sqlx's log would show mail addresses.
        Ok(match &self.url.0 {
            Target::Sqlite(path) => {
                let options = SqliteConnectOptions::new().filename(path).read_only(true).create_if_missing(false);
                Connection::Sqlite(options.busy_timeout(BUSY).disable_statement_logging().connect().await?)
            }
            Target::MySql(options) => {
                Connection::MySql((**options).clone().disable_statement_logging().connect().await?)
            }
            Target::Postgres(options) => {
                Connection::Postgres((**options).clone().disable_statement_logging().connect().await?)
            }
        })
    }

    fn take_idle(&self) -> Option<Connection> {
        let mut idle = self.idle.lock();
        idle.retain(|(_, since)| since.elapsed() < IDLE);
        idle.pop().map(|(connection, _)| connection)
    }

    fn keep(&self, connection: Connection) {
        self.idle.lock().push((connection, Instant::now()));
    }
}

impl Connection {
    async fn has_row(&mut self, sql: &str, values: &[&str]) -> Result<bool, sqlx::Error> {
        let text = || AssertSqlSafe(sql.to_owned());
        Ok(match self {
            Self::MySql(connection) => {
                let query = values.iter().fold(sqlx::query(text()), |query, value| query.bind(*value));
                query.fetch_optional(connection).await?.is_some()
            }
            Self::Postgres(connection) => match has_row_of_postgres(connection, sql, values).await {
                Err(error) if is_lost_statement(&error) => has_row_of_postgres(connection, sql, values).await?,
                answer => answer?,
            },
            Self::Sqlite(connection) => {
                let query = values.iter().fold(sqlx::query(text()), |query, value| query.bind(*value));
                query.fetch_optional(connection).await?.is_some()
            }
        })
    }
}

async fn has_row_of_postgres(connection: &mut PgConnection, sql: &str, values: &[&str]) -> Result<bool, sqlx::Error> {
    let sql = AssertSqlSafe(sql.to_owned());
    let query = values.iter().fold(sqlx::query(sql), |query, value| query.bind(Untyped((*value).to_owned())));
    // Poolers between us and the server do not know named statements.
    Ok(query.persistent(false).fetch_optional(connection).await?.is_some())
}

/// What sqlx asks the server about a type that it does not know (`citext`) takes an unnamed statement's place.
/// Once: then the connection knows the type.
fn is_lost_statement(error: &sqlx::Error) -> bool {
    const INVALID_STATEMENT_NAME: &str = "26000";
    error.as_database_error().is_some_and(|error| error.code().as_deref() == Some(INVALID_STATEMENT_NAME))
}

/// A value whose type PostgreSQL finds out from where it stands: declared as `text`, it would be compared
/// with a `citext` column with regard to case.
struct Untyped(String);

impl sqlx::Type<Postgres> for Untyped {
    fn type_info() -> PgTypeInfo {
        PgTypeInfo::with_oid(Oid(0))
    }
}

impl sqlx::Encode<'_, Postgres> for Untyped {
    fn encode_by_ref(&self, buffer: &mut PgArgumentBuffer) -> Result<IsNull, BoxDynError> {
        buffer.extend_from_slice(self.0.as_bytes());
        Ok(IsNull::No)
    }
}

impl fmt::Debug for ReadOnly {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "ReadOnly({})", self.url)
    }
}

//! The servers of a table, and their connections.
//!
//! A connection is made when it is needed and kept for a minute after its last use. Servers are tried in
//! turn, beginning with the one that answered last; one that failed is passed over for a second while
//! there is another, so that a dead server delays one look-up and not all.

use std::sync::OnceLock;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use futures_util::TryStreamExt;
use parking_lot::Mutex;
use sqlx::encode::IsNull;
use sqlx::error::BoxDynError;
use sqlx::mysql::{MySqlConnection, MySqlRow};
use sqlx::postgres::types::Oid;
use sqlx::postgres::{PgArgumentBuffer, PgConnection, PgRow, PgTypeInfo};
use sqlx::sqlite::{SqliteConnection, SqliteRow};
use sqlx::{
    AssertSqlSafe, Column, ConnectOptions, Either, Executor, Postgres, Row, SqlSafeStr, Statement, Type, TypeInfo,
    ValueRef,
};
use tokio::sync::Semaphore;

use super::super::TableError;
use super::hosts::{Options, options};
use super::{Backend, File};

/// A row's columns as text; a NULL is `None`.
pub(super) type Columns = Vec<Option<Vec<u8>>>;

/// The servers of a table.
#[derive(Debug)]
pub(super) struct Servers {
    servers: Vec<Server>,
    /// The server that answered last.
    preferred: AtomicUsize,
    permits: Semaphore,
    /// Whether PostgreSQL takes all values for texts; not known before the first connection.
    texts_only: OnceLock<bool>,
}

#[derive(Debug)]
struct Server {
    name: String,
    options: Options,
    idle: Mutex<Vec<(Connection, Instant)>>,
    failed: Mutex<Option<Instant>>,
}

#[derive(Debug)]
enum Connection {
    MySql(MySqlConnection),
    Postgres(PgConnection),
    Sqlite(SqliteConnection),
}

/// Connections of a table at a time.
const MAX_CONNECTIONS: usize = 4;
const MAX_IDLE: Duration = Duration::from_secs(60);
/// How long a server that failed is passed over while there is another.
const PASSED_OVER: Duration = Duration::from_secs(1);
/// How long one of several servers may take to connect.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(1);
/// The most rows that are read of an answer.
const MAX_ROWS: usize = 10_000;

impl Servers {
    /// `Ok(None)`: `postmap` has to be asked.
    pub fn new(backend: Backend, path: &str, file: &File) -> Result<Option<Self>, String> {
        let Some(servers) = options(backend, path, file)? else { return Ok(None) };
        let server = |(name, options)| Server { name, options, idle: Mutex::default(), failed: Mutex::default() };
        let servers = servers.into_iter().map(server).collect();
        Ok(Some(Self {
            servers,
            preferred: AtomicUsize::new(0),
            permits: Semaphore::new(MAX_CONNECTIONS),
            texts_only: OnceLock::new(),
        }))
    }

    /// The rows that `statement` selects. `Ok(None)`: a column has a type that we do not show as Postfix does.
    pub async fn query(&self, statement: &str, values: &[String]) -> Result<Option<Vec<Columns>>, TableError> {
        let _permit = self.permits.acquire().await.map_err(TableError::new)?;
        let count = self.servers.len();
        let first = self.preferred.load(Ordering::Relaxed);
        let (up, down): (Vec<_>, Vec<_>) =
            (0..count).map(|turn| (first + turn) % count).partition(|index| !self.servers[*index].failed_lately());
        let mut failures = Vec::new();
        for index in up.into_iter().chain(down) {
            let server = &self.servers[index];
            if self.texts_only.get() == Some(&false) {
                return Ok(None);
            }
            match server.query(statement, values, count > 1, &self.texts_only).await {
                Ok(rows) => {
                    self.preferred.store(index, Ordering::Relaxed);
                    *server.failed.lock() = None;
                    return Ok(rows);
                }
                // The server is there and refuses the query: another would not take it either.
                Err(QueryError::Refused(error)) => return Err(TableError(format!("{}: {error}", server.name))),
                Err(QueryError::Unreachable(error)) => {
                    *server.failed.lock() = Some(Instant::now());
                    failures.push(format!("{}: {error}", server.name));
                }
            }
        }
        Err(TableError(failures.join("; ")))
    }
}

enum QueryError {
    Refused(String),
    Unreachable(String),
}

impl Server {
    fn failed_lately(&self) -> bool {
        self.failed.lock().is_some_and(|at| at.elapsed() < PASSED_OVER)
    }

    async fn query(
        &self,
        statement: &str,
        values: &[String],
        bounded: bool,
        texts_only: &OnceLock<bool>,
    ) -> Result<Option<Vec<Columns>>, QueryError> {
        // A kept connection may have been closed by the server meanwhile: then a new one is made.
        while let Some(mut connection) = self.take_idle() {
            if let Ok(rows) = connection.query(statement, values).await {
                self.keep(connection);
                return Ok(rows);
            }
        }
        let unreachable = |error: sqlx::Error| QueryError::Unreachable(error.to_string());
        let mut connection = if bounded {
            let connecting = tokio::time::timeout(CONNECT_TIMEOUT, self.options.connect()).await;
            connecting.map_err(|_| QueryError::Unreachable("not connected in time".to_owned()))?.map_err(unreachable)?
        } else {
            self.options.connect().await.map_err(unreachable)?
        };
        let checked = match texts_only.get() {
            Some(known) => Ok(*known),
            None => connection.takes_texts(statement, values.len()).await,
        };
        let answer = match checked {
            Ok(true) => connection.query(statement, values).await,
            Ok(false) => {
                // Another look-up may have found it out meanwhile: the same.
                let _ = texts_only.set(false);
                return Ok(None);
            }
            Err(error) => Err(error),
        };
        match answer {
            Ok(rows) => {
                // The connection that was used for the check has a named statement, which poolers between
                // us and the server mix up: it is not kept.
                if texts_only.set(true).is_err() {
                    self.keep(connection);
                }
                Ok(rows)
            }
            Err(sqlx::Error::Io(error)) => Err(QueryError::Unreachable(error.to_string())),
            Err(error) => Err(QueryError::Refused(error.to_string())),
        }
    }

    fn take_idle(&self) -> Option<Connection> {
        let mut idle = self.idle.lock();
        idle.retain(|(_, since)| since.elapsed() < MAX_IDLE);
        idle.pop().map(|(connection, _)| connection)
    }

    fn keep(&self, connection: Connection) {
        self.idle.lock().push((connection, Instant::now()));
    }
}

impl Options {
    async fn connect(&self) -> Result<Connection, sqlx::Error> {
        // Statements are the administrator's: sqlx's log would show mail addresses.
        Ok(match self {
            Self::MySql(options) => Connection::MySql(options.clone().disable_statement_logging().connect().await?),
            Self::Postgres(options) => {
                Connection::Postgres(options.clone().disable_statement_logging().connect().await?)
            }
            Self::Sqlite(options) => Connection::Sqlite(options.clone().disable_statement_logging().connect().await?),
        })
    }
}

impl Connection {
    /// Whether the server takes each of the values for a text. PostgreSQL finds out what a value is from where
    /// it stands; a number, for instance, would be read from our text as if it were a number's bytes.
    async fn takes_texts(&mut self, statement: &str, values: usize) -> Result<bool, sqlx::Error> {
        let Self::Postgres(connection) = self else { return Ok(true) };
        let sql = AssertSqlSafe(statement.to_owned()).into_sql_str();
        let types = vec![Untyped::type_info(); values];
        let prepared = match connection.prepare_with(sql, &types).await {
            Ok(prepared) => prepared,
            // It could not find out what one is: indeterminate_datatype.
            Err(sqlx::Error::Database(error)) if error.code().as_deref() == Some("42P18") => return Ok(false),
            Err(error) => return Err(error),
        };
        Ok(match prepared.parameters() {
            Some(Either::Left(types)) => types.iter().all(|kind| is_text(kind.name())),
            _ => values == 0,
        })
    }

    async fn query(&mut self, statement: &str, values: &[String]) -> Result<Option<Vec<Columns>>, sqlx::Error> {
        let sql = || AssertSqlSafe(statement.to_owned());
        match self {
            Self::MySql(connection) => {
                let query = values.iter().fold(sqlx::query(sql()), |query, value| query.bind(value.clone()));
                collect(query.fetch(connection), mysql_row).await
            }
            Self::Postgres(connection) => match postgres_rows(connection, statement, values).await {
                Err(error) if is_lost_statement(&error) => postgres_rows(connection, statement, values).await,
                answer => answer,
            },
            Self::Sqlite(connection) => {
                let query = values.iter().fold(sqlx::query(sql()), |query, value| query.bind(value.clone()));
                collect(query.fetch(connection), sqlite_row).await
            }
        }
    }
}

async fn postgres_rows(
    connection: &mut PgConnection,
    statement: &str,
    values: &[String],
) -> Result<Option<Vec<Columns>>, sqlx::Error> {
    let sql = AssertSqlSafe(statement.to_owned());
    let query = values.iter().fold(sqlx::query(sql), |query, value| query.bind(Untyped(value.clone())));
    // Poolers between us and the server do not know named statements.
    collect(query.persistent(false).fetch(connection), postgres_row).await
}

/// What sqlx asks the server about a type that it does not know (`citext`) takes an unnamed statement's place.
/// Once: then the connection knows the type.
fn is_lost_statement(error: &sqlx::Error) -> bool {
    const INVALID_STATEMENT_NAME: &str = "26000";
    error.as_database_error().is_some_and(|error| error.code().as_deref() == Some(INVALID_STATEMENT_NAME))
}

async fn collect<R>(
    mut rows: impl futures_util::Stream<Item = Result<R, sqlx::Error>> + Unpin,
    columns: fn(&R) -> Result<Option<Columns>, sqlx::Error>,
) -> Result<Option<Vec<Columns>>, sqlx::Error> {
    let mut all = Vec::new();
    while let Some(row) = rows.try_next().await? {
        match columns(&row)? {
            Some(columns) => all.push(columns),
            None => return Ok(None),
        }
        if all.len() > MAX_ROWS {
            return Err(sqlx::Error::Protocol(format!("the query selects more than {MAX_ROWS} rows")));
        }
    }
    Ok(Some(all))
}

fn mysql_row(row: &MySqlRow) -> Result<Option<Columns>, sqlx::Error> {
    let mut columns = Vec::new();
    for index in 0..row.len() {
        if row.try_get_raw(index)?.is_null() {
            columns.push(None);
            continue;
        }
        let kind = row.column(index).type_info().name().to_owned();
        columns.push(Some(match kind.as_str() {
            "TINYINT" | "SMALLINT" | "INT" | "MEDIUMINT" | "BIGINT" | "BOOLEAN" | "YEAR" => {
                row.try_get_unchecked::<i64, _>(index)?.to_string().into_bytes()
            }
            kind if kind.ends_with("INT UNSIGNED") => row.try_get_unchecked::<u64, _>(index)?.to_string().into_bytes(),
            "VARCHAR" | "CHAR" | "TEXT" | "TINYTEXT" | "MEDIUMTEXT" | "LONGTEXT" | "ENUM" | "SET" | "BLOB"
            | "TINYBLOB" | "MEDIUMBLOB" | "LONGBLOB" | "VARBINARY" | "BINARY" | "DECIMAL" => {
                row.try_get_unchecked::<Vec<u8>, _>(index)?
            }
            _ => return Ok(None),
        }));
    }
    Ok(Some(columns))
}

fn postgres_row(row: &PgRow) -> Result<Option<Columns>, sqlx::Error> {
    let mut columns = Vec::new();
    for index in 0..row.len() {
        let value = row.try_get_raw(index)?;
        if value.is_null() {
            columns.push(None);
            continue;
        }
        let bytes = value.as_bytes().map_err(sqlx::Error::Decode)?.to_vec();
        let kind = row.column(index).type_info().name().to_ascii_lowercase();
        let number = |bytes: &[u8]| match *bytes {
            [a, b] => Some(i64::from(i16::from_be_bytes([a, b]))),
            [a, b, c, d] => Some(i64::from(i32::from_be_bytes([a, b, c, d]))),
            [a, b, c, d, e, f, g, h] => Some(i64::from_be_bytes([a, b, c, d, e, f, g, h])),
            _ => None,
        };
        columns.push(Some(match kind.as_str() {
            kind if is_text(kind) => bytes,
            "bool" => {
                if bytes == [1] {
                    b"t".to_vec()
                } else {
                    b"f".to_vec()
                }
            }
            "int2" | "int4" | "int8" => match number(&bytes) {
                Some(number) => number.to_string().into_bytes(),
                None => return Ok(None),
            },
            _ => return Ok(None),
        }));
    }
    Ok(Some(columns))
}

/// PostgreSQL's types that are sent as the bytes of their text.
fn is_text(name: &str) -> bool {
    let names = ["text", "varchar", "char", "bpchar", "name", "unknown", "citext"];
    names.iter().any(|known| name.eq_ignore_ascii_case(known))
}

fn sqlite_row(row: &SqliteRow) -> Result<Option<Columns>, sqlx::Error> {
    let mut columns = Vec::new();
    // Postfix reads the first column alone here.
    for index in 0..row.len().min(1) {
        let value = row.try_get_raw(index)?;
        if value.is_null() {
            columns.push(None);
            continue;
        }
        let kind = value.type_info().name().to_owned();
        columns.push(Some(match kind.as_str() {
            "TEXT" | "BLOB" => row.try_get_unchecked::<Vec<u8>, _>(index)?,
            "INTEGER" => row.try_get_unchecked::<i64, _>(index)?.to_string().into_bytes(),
            _ => return Ok(None),
        }));
    }
    Ok(Some(columns))
}

/// A value whose type PostgreSQL finds out, as it does of a quoted text in a query: declared as `text`, it
/// would be compared with a `citext` column with regard to case.
struct Untyped(String);

impl Type<Postgres> for Untyped {
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

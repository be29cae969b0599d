//! The database schema: made and brought up to date by itself, one file a step.
//!
//! [`migrate`] is called at each start, before any module. However many daemons start at once, one
//! works and the others wait. Where the database has no transactions for this (MySQL), every step can
//! be done again, so that a start after a crash in the middle goes on from there. Tables that are
//! there already, made by somebody else, are taken over: see `table.rs`.
//!
//! A new step: a file in `steps/`, and its line in `Steps::migrations`. A step that was released is
//! never changed.

mod lock;
mod steps;
mod table;
mod tables;
mod take_over;

use std::fmt;

use sea_orm::{ConnectionTrait, DatabaseBackend, DatabaseConnection, DbErr, DynIden, Statement, TransactionTrait as _};
use sea_orm_migration::prelude::{Alias, IntoIden as _};
use sea_orm_migration::{MigratorTrait as _, SchemaManager};

use self::steps::Steps;

/// Where applied steps are noted. No other program's: several may share one database.
const NOTED: &str = "valvula_migration";

/// A version of the schema: the steps up to this one are applied.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Version {
    /// How many steps there are up to it; 0 is the empty database.
    pub number: usize,
    /// The last step's name, empty for the empty database.
    pub name: String,
}

impl Version {
    fn of(names: &[String]) -> Self {
        Self { number: names.len(), name: names.last().cloned().unwrap_or_default() }
    }
}

impl fmt::Display for Version {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.name.as_str() {
            "" => f.write_str("0 (empty)"),
            name => write!(f, "{} ({name})", self.number),
        }
    }
}

/// What [`migrate`] did.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Report {
    /// The schema as it was found.
    pub from: Version,
    /// The schema as it is.
    pub to: Version,
    /// The steps applied now, in order.
    pub applied: Vec<String>,
    /// What was changed in tables that somebody else had made.
    pub taken_over: Vec<String>,
    /// What could not be changed in them, and why; everything works nevertheless, as far as said.
    pub warnings: Vec<String>,
}

/// What [`status`] found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Status {
    /// The schema of the database.
    pub database: Version,
    /// The schema that this program wants.
    pub program: Version,
    /// Steps that the next start would apply.
    pub pending: Vec<String>,
    /// Steps applied to the database that this program does not know: it is newer.
    pub unknown: Vec<String>,
}

/// Why the schema could not be brought up to date.
#[derive(Debug, thiserror::Error)]
pub enum MigrateError {
    /// The database was already used by a newer program.
    #[error(
        "the database has schema version {database}, this program knows versions up to {program}: \
         use a newer valvulad, or a database of its own"
    )]
    Newer {
        /// The version of the database.
        database: Version,
        /// The last version that this program knows.
        program: Version,
    },
    /// Another daemon has been working on the schema for too long.
    #[error("another daemon has held the lock on the database's schema for {seconds} seconds")]
    Locked {
        /// How long it was waited for.
        seconds: u32,
    },
    /// The database user may not do what is needed.
    #[error("{doing}: {source}; {needed}")]
    Denied {
        /// What was being done.
        doing: String,
        /// What the database said.
        source: DbErr,
        /// What an administrator has to grant, as a statement.
        needed: String,
    },
    /// The database refused, or did not answer.
    #[error("{doing}: {source}")]
    Database {
        /// What was being done.
        doing: String,
        /// What the database said.
        source: DbErr,
    },
}

pub(crate) fn doing(what: impl Into<String>) -> impl FnOnce(DbErr) -> MigrateError {
    move |source| MigrateError::Database { doing: what.into(), source }
}

/// Brings the schema up to date. Any number may call this at once on one database.
///
/// # Errors
/// When the database is newer than this program, when it can't be changed as needed, or when another
/// daemon holds the lock for more than a minute. What was done so far stays, and the next call goes on.
pub async fn migrate(database: &DatabaseConnection) -> Result<Report, MigrateError> {
    let lock = lock::take(database).await?;
    let result = work(lock.connection()).await;
    let released = lock.release(result.is_ok()).await;
    let report = match result {
        Err(MigrateError::Database { doing, source }) if table::is_denied(&source) => {
            let needed = needed(database).await;
            return Err(MigrateError::Denied { doing, source, needed });
        }
        other => other?,
    };
    released.map_err(doing("ending the change of the schema"))?;
    Ok(report)
}

/// The statement that grants what bringing up the schema needs, to whom we are in the database we use.
async fn needed(database: &DatabaseConnection) -> String {
    let backend = database.get_database_backend();
    let sql = match backend {
        DatabaseBackend::MySql => "SELECT CAST(CURRENT_USER() AS CHAR), CAST(DATABASE() AS CHAR)",
        _ => "SELECT CAST(CURRENT_USER AS TEXT), CAST(COALESCE(CURRENT_SCHEMA(), 'public') AS TEXT)",
    };
    let asked = database.query_one_raw(Statement::from_string(backend, sql)).await.ok().flatten();
    let text = |index| asked.as_ref().and_then(|row| row.try_get_by_index::<String>(index).ok());
    let (user, place) = (text(0).unwrap_or_else(|| "our user".to_owned()), text(1).unwrap_or_default());
    match backend {
        DatabaseBackend::MySql => {
            let (user, host) = user.rsplit_once('@').unwrap_or((&user, "%"));
            format!(
                "an administrator has to say: GRANT SELECT, INSERT, UPDATE, DELETE, CREATE, ALTER, INDEX, TRIGGER \
                 ON `{place}`.* TO '{user}'@'{host}'"
            )
        }
        _ => format!(
            "an administrator has to say: GRANT CREATE, USAGE ON SCHEMA \"{place}\" TO \"{user}\", and for tables that \
             belong to another user: ALTER TABLE ... OWNER TO \"{user}\""
        ),
    }
}

async fn work(connection: &sea_orm::DatabaseTransaction) -> Result<Report, MigrateError> {
    let manager = SchemaManager::new(connection);
    let found = read(&manager).await.map_err(doing("reading the schema's version"))?;
    if !found.unknown.is_empty() {
        return Err(MigrateError::Newer { database: found.database, program: found.program });
    }
    for step in &found.pending {
        Steps::up(connection, Some(1)).await.map_err(doing(format!("schema step {step}")))?;
    }
    let mut report = Report {
        from: found.database,
        to: found.program,
        applied: found.pending,
        taken_over: Vec::new(),
        warnings: Vec::new(),
    };
    // Also behind the last step: a restored backup may have brought back tables of the old kind.
    take_over::take_over(&manager, &mut report).await?;
    Ok(report)
}

/// The schema that this program wants.
pub fn program_version() -> Version {
    Version::of(&step_names())
}

fn step_names() -> Vec<String> {
    Steps::migrations().iter().map(|step| step.name().to_owned()).collect()
}

/// Reads the schema's version without changing anything.
///
/// # Errors
/// When the database does not answer.
pub async fn status(database: &DatabaseConnection) -> Result<Status, DbErr> {
    read(&SchemaManager::new(database)).await
}

async fn read(manager: &SchemaManager<'_>) -> Result<Status, DbErr> {
    let known = step_names();
    let applied = match manager.has_table(NOTED).await? {
        false => Vec::new(),
        true => {
            let connection = manager.get_connection();
            let backend = connection.get_database_backend();
            let sql = format!("SELECT version FROM {NOTED} ORDER BY version");
            let rows = connection.query_all_raw(Statement::from_string(backend, sql)).await?;
            rows.iter().map(|row| row.try_get_by_index(0)).collect::<Result<Vec<String>, _>>()?
        }
    };
    Ok(Status {
        pending: known.iter().filter(|name| !applied.contains(name)).cloned().collect(),
        unknown: applied.iter().filter(|name| !known.contains(name)).cloned().collect(),
        database: Version::of(&applied),
        program: Version::of(&known),
    })
}

/// The name of the table of applied steps, for sea-orm-migration.
fn noted() -> DynIden {
    Alias::new(NOTED).into_iden()
}

/// Starts a transaction on one connection: what the lock is made of.
pub(crate) async fn begin(
    database: &DatabaseConnection,
    options: sea_orm::TransactionOptions,
) -> Result<sea_orm::DatabaseTransaction, DbErr> {
    database.begin_with_options(options).await
}

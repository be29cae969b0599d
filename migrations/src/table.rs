//! How a table of ours is made, or an existing one given what it lacks.
//!
//! All columns but the key are nullable and have no meaning-bearing default: that is how the tables
//! have always been, and panels write to them with the columns they know.

use sea_orm::DatabaseBackend;
use sea_orm_migration::prelude::{Alias, ColumnDef, ConnectionTrait as _, DbErr, Index, SchemaManager, Table as Sql};

use crate::lock::code;

/// What a column holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    /// A number of up to nine digits, and yes or no as 1 or 0.
    Integer,
    /// A unix time, or a count.
    Big,
    /// A name, address or rule: 1,024 characters.
    Name,
    /// A list of names, or prose.
    Text,
}

/// A table with the columns and indexes that we need of it.
pub(crate) struct Table {
    pub(crate) name: &'static str,
    /// Whether it has an `id` that counts up.
    pub(crate) has_id: bool,
    pub(crate) columns: &'static [(&'static str, Kind)],
    /// Columns without which everything goes on but what they are for.
    pub(crate) optional: &'static [&'static str],
    /// Columns that have an index of their own.
    pub(crate) indexes: &'static [&'static str],
}

/// What became of a table that was there already.
#[derive(Default)]
pub(crate) struct Ensured {
    /// What was added to it.
    pub(crate) done: Vec<String>,
    /// What could do without, and could not be added because the database user may not; what the database said.
    pub(crate) refused: Vec<(String, DbErr)>,
}

impl Kind {
    fn define(self, column: &mut ColumnDef) {
        match self {
            Self::Integer => column.integer(),
            Self::Big => column.big_integer(),
            Self::Name => column.string_len(1024),
            Self::Text => column.text(),
        };
    }
}

impl Table {
    fn column(&self, name: &str, kind: Kind) -> ColumnDef {
        let mut column = ColumnDef::new(Alias::new(name));
        kind.define(&mut column);
        column.null();
        column
    }

    /// Makes the table if it is absent, and the columns and indexes that it lacks.
    ///
    /// An optional column and an index that may not be added are left out, where a refusal leaves the work so
    /// far as it is (MySQL).
    ///
    /// # Errors
    /// When a column that is not optional can't be added.
    pub(crate) async fn ensure(&self, manager: &SchemaManager<'_>) -> Result<Ensured, DbErr> {
        let mut ensured = Ensured::default();
        let mut note = |what: String, result: Result<(), DbErr>, is_optional: bool| match result {
            Ok(()) => {
                ensured.done.push(format!("{}: {what} added", self.name));
                Ok(())
            }
            Err(error) if is_optional && is_denied(&error) && is_mysql(manager) => {
                ensured.refused.push((what, error));
                Ok(())
            }
            Err(error) => Err(error),
        };
        if manager.has_table(self.name).await? {
            for (name, kind) in self.columns {
                if manager.has_column(self.name, name).await? {
                    continue;
                }
                let mut column = self.column(name, *kind);
                let statement = Sql::alter().table(Alias::new(self.name)).add_column(&mut column).to_owned();
                let added = tolerate(manager.alter_table(statement).await, &["1060"]);
                note(format!("column {name}"), added, self.optional.contains(name))?;
            }
        } else {
            self.create(manager).await?;
        }
        for column in self.indexes {
            match self.make_index(manager, column).await {
                Ok(false) => {}
                made => note(format!("index on {column}"), made.map(drop), true)?,
            }
        }
        Ok(ensured)
    }

    async fn create(&self, manager: &SchemaManager<'_>) -> Result<(), DbErr> {
        let mut table = Sql::create().table(Alias::new(self.name)).if_not_exists().to_owned();
        if is_mysql(manager) {
            // Whatever the server's own defaults: any address fits, and rows can be locked one by one.
            table.engine("InnoDB").character_set("utf8mb4").collate("utf8mb4_unicode_ci");
        }
        if self.has_id {
            table.col(ColumnDef::new(Alias::new("id")).integer().not_null().auto_increment().primary_key());
        }
        for (name, kind) in self.columns {
            table.col(self.column(name, *kind));
        }
        manager.create_table(table).await
    }

    /// Makes the index on `column` unless it is there; whether it was made.
    async fn make_index(&self, manager: &SchemaManager<'_>, column: &str) -> Result<bool, DbErr> {
        let name = format!("valvula_{}_{column}", self.name);
        if manager.has_index(self.name, &name).await? {
            return Ok(false);
        }
        let index = Index::create().name(&name).table(Alias::new(self.name)).col(Alias::new(column)).to_owned();
        tolerate(manager.create_index(index).await, &["1061"])?;
        Ok(true)
    }
}

fn is_mysql(manager: &SchemaManager<'_>) -> bool {
    manager.get_database_backend() == DatabaseBackend::MySql
}

/// Access denied: to the database, to the table, to a column, to what needs a special privilege.
const DENIED: [&str; 5] = ["1044", "1142", "1143", "1227", "42501"];

/// Whether the database user may not do it.
pub(crate) fn is_denied(error: &DbErr) -> bool {
    number(error).is_some_and(|number| DENIED.contains(&number.as_str()))
}

/// Takes it for done when another daemon (on another node of a cluster) did the same just before.
fn tolerate(result: Result<(), DbErr>, numbers: &[&str]) -> Result<(), DbErr> {
    match result {
        Err(error) if number(&error).is_some_and(|number| numbers.contains(&number.as_str())) => Ok(()),
        other => other,
    }
}

/// MySQL's number of an error (1060); elsewhere the code.
pub(crate) fn number(error: &DbErr) -> Option<String> {
    use sea_orm::{RuntimeErr, SqlxError, SqlxMySqlError};
    if let DbErr::Exec(RuntimeErr::SqlxError(inner)) | DbErr::Query(RuntimeErr::SqlxError(inner)) = error
        && let SqlxError::Database(inner) = &**inner
        && let Some(mysql) = inner.try_downcast_ref::<SqlxMySqlError>()
    {
        return Some(mysql.number().to_string());
    }
    code(error)
}

/// A connection that statements are executed on as they are.
pub(crate) async fn execute(manager: &SchemaManager<'_>, sql: &str) -> Result<(), DbErr> {
    manager.get_connection().execute_unprepared(sql).await.map(drop)
}

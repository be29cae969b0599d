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
    /// Columns that have an index of their own.
    pub(crate) indexes: &'static [&'static str],
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

    /// Makes the table if it is absent, and the columns and indexes that it lacks. What was done to a
    /// table that was there already is returned.
    pub(crate) async fn ensure(&self, manager: &SchemaManager<'_>) -> Result<Vec<String>, DbErr> {
        let mut done = Vec::new();
        if manager.has_table(self.name).await? {
            for (name, kind) in self.columns {
                if manager.has_column(self.name, name).await? {
                    continue;
                }
                let mut column = self.column(name, *kind);
                let statement = Sql::alter().table(Alias::new(self.name)).add_column(&mut column).to_owned();
                tolerate(manager.alter_table(statement).await, &["1060"])?;
                done.push(format!("{}: column {name} added", self.name));
            }
        } else {
            self.create(manager).await?;
        }
        for column in self.indexes {
            if self.make_index(manager, column).await? {
                done.push(format!("{}: index on {column} added", self.name));
            }
        }
        Ok(done)
    }

    async fn create(&self, manager: &SchemaManager<'_>) -> Result<(), DbErr> {
        let mut table = Sql::create().table(Alias::new(self.name)).if_not_exists().to_owned();
        if manager.get_database_backend() == DatabaseBackend::MySql {
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

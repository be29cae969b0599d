//! Tables that the C Valvula made: latin1, sometimes without transactions, without the later columns.
//!
//! Looked at in each start, because a restored backup may bring them back. Rows and ids stay. What the
//! database user may not change becomes a warning that says what will not work.

use sea_orm::{ConnectionTrait as _, DatabaseBackend, DbErr, QueryResult, Statement};
use sea_orm_migration::SchemaManager;

use crate::table::{Ensured, Kind, Table, execute, is_denied};
use crate::tables::ALL;
use crate::{MigrateError, Report, doing};

const COLLATION: &str = "utf8mb4_unicode_ci";

pub(crate) async fn take_over(manager: &SchemaManager<'_>, report: &mut Report) -> Result<(), MigrateError> {
    for table in ALL {
        let name = table.name;
        match table.ensure(manager).await {
            // In a database that we made there is nothing to add: it is news.
            Ok(Ensured { done, refused }) => {
                report.taken_over.extend(done);
                report.warnings.extend(refused.into_iter().map(|(what, error)| {
                    format!(
                        "table {name} goes without {what}, which the database user may not add \
                         (it needs the privileges ALTER and INDEX): {error}"
                    )
                }));
            }
            Err(error) => return Err(doing(format!("completing table {name}"))(error)),
        }
        if manager.get_database_backend() == DatabaseBackend::MySql {
            let change = convert(manager, table).await;
            match change.map_err(|error| (is_denied(&error), error)) {
                Ok(done) => report.taken_over.extend(done),
                Err((true, error)) => report.warnings.push(format!(
                    "table {name} can't be made fit for every address: the database user lacks the privilege ALTER; \
                     addresses that the table's own character set has not can't be stored in it: {error}"
                )),
                Err((false, error)) => report
                    .warnings
                    .push(format!("table {name} can't be made fit for every address and stays as it is: {error}")),
            }
        }
    }
    Ok(())
}

/// Brings a table of another character set, of an engine without transactions, or with short columns
/// to what ours are, in one change: a failure leaves it as it was.
async fn convert(manager: &SchemaManager<'_>, table: &Table) -> Result<Option<String>, DbErr> {
    let name = table.name;
    let found = ask(
        manager,
        "SELECT CAST(ENGINE AS CHAR), CAST(TABLE_COLLATION AS CHAR) FROM information_schema.TABLES \
         WHERE TABLE_SCHEMA = DATABASE() AND TABLE_NAME = ? AND TABLE_TYPE = 'BASE TABLE'",
        name,
    )
    .await?;
    let Some(row) = found.first() else { return Ok(None) };
    let engine: Option<String> = row.try_get_by_index(0)?;
    let collation: Option<String> = row.try_get_by_index(1)?;
    let columns = Columns::of(manager, table).await?;
    let mut changes = Vec::new();
    let mut said = Vec::new();
    for (column, change) in columns.short {
        said.push(format!("column {column} widened"));
        changes.push(change);
    }
    let fit = collation.as_deref().is_some_and(|collation| collation.starts_with("utf8mb4"));
    if !fit || columns.foreign {
        said.push(format!("character set (was {}) made utf8mb4", collation.as_deref().unwrap_or("unknown")));
        changes.push(format!("CONVERT TO CHARACTER SET utf8mb4 COLLATE {COLLATION}"));
    }
    if !engine.as_deref().is_some_and(|engine| engine.eq_ignore_ascii_case("InnoDB")) {
        said.push(format!("engine {} made InnoDB", engine.as_deref().unwrap_or("unknown")));
        changes.push("ENGINE = InnoDB".to_owned());
    }
    if changes.is_empty() {
        return Ok(None);
    }
    execute(manager, &format!("ALTER TABLE `{name}` {}", changes.join(", "))).await?;
    Ok(Some(format!("{name}: {}", said.join(", "))))
}

/// What is not as ours among the text columns that we know.
#[derive(Default)]
struct Columns {
    /// Name, and the change that brings it there.
    short: Vec<(String, String)>,
    /// Whether one has another character set than utf8mb4.
    foreign: bool,
}

impl Columns {
    async fn of(manager: &SchemaManager<'_>, table: &Table) -> Result<Self, DbErr> {
        let rows = ask(
            manager,
            "SELECT CAST(COLUMN_NAME AS CHAR), CAST(DATA_TYPE AS CHAR), CAST(CHARACTER_MAXIMUM_LENGTH AS SIGNED), \
             CAST(CHARACTER_SET_NAME AS CHAR) FROM information_schema.COLUMNS \
             WHERE TABLE_SCHEMA = DATABASE() AND TABLE_NAME = ?",
            table.name,
        )
        .await?;
        let mut found = Self::default();
        for row in rows {
            let name: String = row.try_get_by_index(0)?;
            let kind: String = row.try_get_by_index(1)?;
            let length: Option<i64> = row.try_get_by_index(2)?;
            let charset: Option<String> = row.try_get_by_index(3)?;
            let Some((_, ours)) = table.columns.iter().find(|(ours, _)| ours.eq_ignore_ascii_case(&name)) else {
                continue;
            };
            let is_char = matches!(kind.to_ascii_lowercase().as_str(), "char" | "varchar" | "tinytext");
            let foreign = charset.is_some_and(|charset| charset != "utf8mb4");
            found.foreign |= foreign;
            let wanted = match ours {
                Kind::Name if is_char && length.is_some_and(|length| length < 1024) => "VARCHAR(1024)",
                // With four bytes a character, several of these would not fit into one row.
                Kind::Name if is_char && foreign && length.is_some_and(|length| length > 4000) => "TEXT",
                Kind::Text if is_char => "TEXT",
                _ => continue,
            };
            let change = format!("MODIFY `{name}` {wanted} CHARACTER SET utf8mb4 COLLATE {COLLATION} NULL");
            found.short.push((name, change));
        }
        Ok(found)
    }
}

async fn ask(manager: &SchemaManager<'_>, sql: &str, table: &str) -> Result<Vec<QueryResult>, DbErr> {
    let statement = Statement::from_sql_and_values(DatabaseBackend::MySql, sql, [table.into()]);
    manager.get_connection().query_all_raw(statement).await
}

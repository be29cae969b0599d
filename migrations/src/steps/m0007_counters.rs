//! The table of what has been sent in minutes, hours and runs of periods: ours alone, so its names are
//! bytes, its columns are never NULL, and the CHECK is what holds several daemons to one limit.

use sea_orm::DatabaseBackend;
use sea_orm_migration::prelude::*;

use crate::table::execute;

#[derive(DeriveMigrationName)]
pub(super) struct Migration;

#[async_trait::async_trait]
impl MigrationTrait for Migration {
    async fn up(&self, manager: &SchemaManager) -> Result<(), DbErr> {
        let backend = manager.get_database_backend();
        let bytes = match backend {
            DatabaseBackend::MySql => "VARBINARY(512)",
            DatabaseBackend::Postgres => "BYTEA",
            _ => "BLOB",
        };
        // There the privilege INDEX is wanted for an index that is made apart from its table.
        let (index, tail) = match backend {
            DatabaseBackend::MySql => (", KEY valvula_counter_closes (closes)", " ENGINE=InnoDB ROW_FORMAT=DYNAMIC"),
            // The key is the row: one tree to search instead of two.
            DatabaseBackend::Sqlite => ("", " WITHOUT ROWID"),
            // Each charge makes a new version of its row: room for it on the same page spares the index.
            _ => ("", " WITH (fillfactor = 50)"),
        };
        let windows: Vec<_> = ["minute", "hour", "run"]
            .iter()
            .map(|name| {
                format!("{name}_from BIGINT NOT NULL, {name}_used BIGINT NOT NULL, {name}_cap BIGINT NOT NULL, ")
            })
            .collect();
        let create = format!(
            "CREATE TABLE IF NOT EXISTS valvula_counter (\
             store {bytes} NOT NULL, kind SMALLINT NOT NULL, name {bytes} NOT NULL, {}closes BIGINT NOT NULL, \
             exceeded SMALLINT NOT NULL, PRIMARY KEY (store, kind, name), \
             CONSTRAINT valvula_counter_room CHECK (exceeded = 0){index}){tail}",
            windows.concat()
        );
        execute(manager, &create).await?;
        if !manager.has_index("valvula_counter", "valvula_counter_closes").await? {
            execute(manager, "CREATE INDEX valvula_counter_closes ON valvula_counter (closes)").await?;
        }
        Ok(())
    }
}

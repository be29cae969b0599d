//! The journal of strict counters: a ring of places for each name, each with one batch, and a head (`slot` -1).

use sea_orm::DatabaseBackend;
use sea_orm_migration::prelude::*;

use crate::table::execute;

#[derive(DeriveMigrationName)]
pub(super) struct Migration;

#[async_trait::async_trait]
impl MigrationTrait for Migration {
    async fn up(&self, manager: &SchemaManager) -> Result<(), DbErr> {
        let (bytes, batch, tail) = match manager.get_database_backend() {
            DatabaseBackend::MySql => ("VARBINARY(512)", "MEDIUMBLOB", " ENGINE=InnoDB ROW_FORMAT=DYNAMIC"),
            // Each entry makes a new version of its row: with room for it on the same page the index is left alone. What
            // fits into a page is neither compressed nor put elsewhere.
            DatabaseBackend::Postgres => ("BYTEA", "BYTEA", " WITH (fillfactor = 50, toast_tuple_target = 8160)"),
            _ => ("BLOB", "BLOB", ""),
        };
        let create = format!(
            "CREATE TABLE IF NOT EXISTS valvula_journal (\
             store {bytes} NOT NULL, slot BIGINT NOT NULL, number BIGINT NOT NULL, writer {bytes} NOT NULL, \
             sequence BIGINT NOT NULL, batch {batch} NOT NULL, PRIMARY KEY (store, slot)){tail}"
        );
        execute(manager, &create).await
    }
}

//! The table of mod-transport.

use sea_orm_migration::prelude::*;

use crate::tables::TRANSPORT_GLOBAL;

#[derive(DeriveMigrationName)]
pub(super) struct Migration;

#[async_trait::async_trait]
impl MigrationTrait for Migration {
    async fn up(&self, manager: &SchemaManager) -> Result<(), DbErr> {
        for table in [TRANSPORT_GLOBAL] {
            table.ensure(manager).await?;
        }
        Ok(())
    }
}

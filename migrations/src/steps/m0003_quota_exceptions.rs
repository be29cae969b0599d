//! The rule table of mod-mquota.

use sea_orm_migration::prelude::*;

use crate::tables::MQUOTA_EXCEPTION;

#[derive(DeriveMigrationName)]
pub(super) struct Migration;

#[async_trait::async_trait]
impl MigrationTrait for Migration {
    async fn up(&self, manager: &SchemaManager) -> Result<(), DbErr> {
        for table in [MQUOTA_EXCEPTION] {
            table.ensure(manager).await?;
        }
        Ok(())
    }
}

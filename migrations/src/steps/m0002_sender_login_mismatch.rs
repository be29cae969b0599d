//! The table of mod-slm.

use sea_orm_migration::prelude::*;

use crate::tables::SLM_EXCEPTION;

#[derive(DeriveMigrationName)]
pub(super) struct Migration;

#[async_trait::async_trait]
impl MigrationTrait for Migration {
    async fn up(&self, manager: &SchemaManager) -> Result<(), DbErr> {
        for table in [SLM_EXCEPTION] {
            table.ensure(manager).await?;
        }
        Ok(())
    }
}

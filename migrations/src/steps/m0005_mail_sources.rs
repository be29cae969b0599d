//! The table of mod-lmm.

use sea_orm_migration::prelude::*;

use crate::tables::LMM_BY_DOMAIN;

#[derive(DeriveMigrationName)]
pub(super) struct Migration;

#[async_trait::async_trait]
impl MigrationTrait for Migration {
    async fn up(&self, manager: &SchemaManager) -> Result<(), DbErr> {
        for table in [LMM_BY_DOMAIN] {
            table.ensure(manager).await?;
        }
        Ok(())
    }
}

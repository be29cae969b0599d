//! When a rule of mod-bwl ends: a column that the original's tables have not.

use sea_orm_migration::prelude::*;

use crate::tables::{BWL_ACCOUNT, BWL_DOMAIN, BWL_GLOBAL, BWL_GLOBAL_SASL};

#[derive(DeriveMigrationName)]
pub(super) struct Migration;

#[async_trait::async_trait]
impl MigrationTrait for Migration {
    async fn up(&self, manager: &SchemaManager) -> Result<(), DbErr> {
        for table in [BWL_GLOBAL, BWL_DOMAIN, BWL_ACCOUNT, BWL_GLOBAL_SASL] {
            table.ensure(manager).await?;
        }
        Ok(())
    }
}

//! The tables of mod-ticket.

use sea_orm_migration::prelude::*;

use crate::tables::{
    DOMAIN_MONTH_TICKET_HISTORY, DOMAIN_TICKET, DOMAIN_TICKET_HISTORY, OUTGOING_IP, TICKET_PLAN, TIME_TRACKING,
};

#[derive(DeriveMigrationName)]
pub(super) struct Migration;

#[async_trait::async_trait]
impl MigrationTrait for Migration {
    async fn up(&self, manager: &SchemaManager) -> Result<(), DbErr> {
        for table in
            [TICKET_PLAN, DOMAIN_TICKET, DOMAIN_TICKET_HISTORY, DOMAIN_MONTH_TICKET_HISTORY, OUTGOING_IP, TIME_TRACKING]
        {
            table.ensure(manager).await?;
        }
        Ok(())
    }
}

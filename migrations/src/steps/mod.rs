//! The steps, in their order.

#![expect(elided_lifetimes_in_paths, reason = "the trait's async methods elide it, and must be matched")]

mod m0001_black_and_white_lists;
mod m0002_sender_login_mismatch;
mod m0003_quota_exceptions;
mod m0004_tickets;
mod m0005_mail_sources;
mod m0006_transports;
mod m0007_counters;
mod m0008_rules_that_expire;
mod m0009_counter_journal;

use sea_orm::DynIden;
use sea_orm_migration::{MigrationTrait, MigratorTrait};

pub(crate) struct Steps;

impl MigratorTrait for Steps {
    fn migrations() -> Vec<Box<dyn MigrationTrait>> {
        vec![
            Box::new(m0001_black_and_white_lists::Migration),
            Box::new(m0002_sender_login_mismatch::Migration),
            Box::new(m0003_quota_exceptions::Migration),
            Box::new(m0004_tickets::Migration),
            Box::new(m0005_mail_sources::Migration),
            Box::new(m0006_transports::Migration),
            Box::new(m0007_counters::Migration),
            Box::new(m0008_rules_that_expire::Migration),
            Box::new(m0009_counter_journal::Migration),
        ]
    }

    fn migration_table_name() -> DynIden {
        crate::noted()
    }
}

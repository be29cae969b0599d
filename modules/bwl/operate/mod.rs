//! What an operator does with the four tables: list, add, remove, enable, disable, and try a mail.
//!
//! - `sheets`: the tables as an operator names them, and how a row reads
//! - `change`: rows added, removed, switched on and off
//! - `trial`: which rule would decide, and why the others do not

mod change;
mod sheets;
#[cfg(test)]
mod tests;
mod trial;

use std::sync::Arc;

use actors::operate::{Done, Order, Refused};
use sea_orm::sea_query::Condition;
use serde::Deserialize;
use serde_json::{Value, json};

use self::sheets::Table;
use super::Bwl;
use crate::operating::{MOST_ROWS, active, contains, one_of};

/// Carries out an order about `rule`.
pub(super) async fn carry_out(bwl: Arc<Bwl>, order: Order) -> Result<Done, Refused> {
    match order.words() {
        ("rule", "list") => list(&bwl, order.read()?).await.map(Done::seen),
        ("rule", "add") => change::add(&bwl, order.read()?).await.map(Done::changed),
        ("rule", "remove") => change::remove(&bwl, order.read()?).await.map(Done::changed),
        ("rule", "enable") => change::switch(&bwl, order.read()?, true).await.map(Done::changed),
        ("rule", "disable") => change::switch(&bwl, order.read()?, false).await.map(Done::changed),
        ("rule", "test") => trial::run(bwl, order.read()?).await.map(Done::seen),
        _ => Err(order.unknown()),
    }
}

/// Which rules to list; all of these must hold.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
struct Filter {
    /// Only of these tables.
    tables: Vec<Table>,
    /// Only with this status.
    status: Option<String>,
    /// Only where a name, address or note holds this.
    contains: Option<String>,
    /// Only those that are active, or those that are not.
    active: Option<bool>,
    /// At most so many.
    limit: Option<u64>,
}

async fn list(bwl: &Bwl, filter: Filter) -> Result<Value, Refused> {
    let limit = filter.limit.unwrap_or(MOST_ROWS).clamp(1, MOST_ROWS);
    let mut rules = Vec::new();
    let mut more = false;
    for table in Table::ALL {
        let no_status = filter.status.is_some() && table == Table::Sasl;
        if no_status || !(filter.tables.is_empty() || filter.tables.contains(&table)) {
            continue;
        }
        let mut which = Condition::all();
        if let Some(status) = &filter.status {
            which = which.add(one_of("status", std::slice::from_ref(status)));
        }
        if let Some(part) = &filter.contains {
            which = which.add(contains(table.texts(), part));
        }
        if let Some(yes) = filter.active {
            which = which.add(active(yes));
        }
        let room = limit - rules.len() as u64;
        // One more than is shown says whether there are more.
        let mut rows = table.sheet(bwl).rows(&bwl.context.database, which, i64::MIN, room + 1).await?;
        if rows.len() as u64 > room {
            more = true;
            rows.truncate(usize::try_from(room).unwrap_or(usize::MAX));
        }
        rules.extend(rows.iter().map(|row| table.show(row, bwl)));
    }
    Ok(json!({ "rules": rules, "more": more }))
}

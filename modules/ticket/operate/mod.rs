//! What an operator does with plans and tickets.
//!
//! - `plans`: `ticket_plan`
//! - `tickets`: `domain_ticket`, and what was used in days and months that ended
//!
//! Counters are changed by relative update, so that a charge at the same moment is not undone.

mod plans;
#[cfg(test)]
mod tests;
mod tickets;

use actors::module::ModuleContext;
use actors::operate::{Done, Order, Refused};

/// Carries out an order about `ticket-plan` or `ticket`.
pub(super) async fn carry_out(context: &ModuleContext, order: Order) -> Result<Done, Refused> {
    let database = &context.database;
    match order.words() {
        ("ticket-plan", "list") => plans::list(database).await.map(Done::seen),
        ("ticket-plan", "add") => plans::add(database, order.read()?).await.map(Done::seen),
        ("ticket-plan", "change") => plans::change(database, order.read()?).await.map(Done::seen),
        ("ticket-plan", "remove") => plans::remove(database, order.read()?).await.map(Done::seen),
        ("ticket", "show") => tickets::show(database, order.read()?).await.map(Done::seen),
        ("ticket", "assign") => tickets::assign(database, order.read()?).await.map(Done::changed),
        ("ticket", "block") => tickets::block(database, order.read()?, true).await.map(Done::seen),
        ("ticket", "unblock") => tickets::block(database, order.read()?, false).await.map(Done::seen),
        ("ticket", "credit") => tickets::credit(database, order.read()?).await.map(Done::seen),
        ("ticket", "history") => tickets::history(database, order.read()?).await.map(Done::seen),
        _ => Err(order.unknown()),
    }
}

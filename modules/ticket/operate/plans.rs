//! Plans: what a ticket may be used for, in all, in a day and in a month.

use actors::database::Database;
use actors::operate::Refused;
use sea_orm::Value as Bound;
use sea_orm::sea_query::{Condition, ExprTrait as _};
use serde::Deserialize;
use serde_json::{Value, json};

use super::super::row::limit;
use crate::operating::{self, MOST_ROWS, Record, Sheet, column};

pub(super) const SHEET: Sheet =
    Sheet { table: "ticket_plan", columns: &["name", "description", "total_limit", "day_limit", "month_limit"] };

/// The row, for the operator; a limit that limits nothing is null.
pub(super) fn show(row: &Record) -> Value {
    json!({
        "id": row.id,
        "name": row.text("name"),
        "description": row.text("description"),
        "total": limit(row.number("total_limit")),
        "day": limit(row.number("day_limit")),
        "month": limit(row.number("month_limit")),
    })
}

pub(super) async fn list(database: &Database) -> Result<Value, Refused> {
    let rows = SHEET.rows(database, Condition::all(), i64::MIN, MOST_ROWS).await?;
    Ok(json!({ "plans": rows.iter().map(show).collect::<Vec<_>>(), "more": rows.len() as u64 == MOST_ROWS }))
}

/// The plan with this name, or this id.
///
/// # Errors
/// When there is none, or several have the name.
pub(super) async fn find(database: &Database, plan: &str) -> Result<Record, Refused> {
    let name = plan.trim_ascii();
    let mut which = Condition::any().add(operating::one_of("name", &[name.to_owned()]));
    if let Ok(id) = name.parse::<i64>() {
        which = which.add(column("id").eq(id));
    }
    let mut rows = SHEET.rows(database, which, i64::MIN, MOST_ROWS).await?;
    match rows.len() {
        0 => Err(Refused::NotFound(format!("there is no plan {plan:?}"))),
        1 => Ok(rows.remove(0)),
        _ => Err(Refused::Invalid(format!("several plans are called {plan:?}: name it by its id"))),
    }
}

/// What a plan has. On a change: what is absent stays.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Plan {
    /// The plan to change.
    plan: Option<String>,
    name: Option<String>,
    total: Option<i64>,
    day: Option<i64>,
    month: Option<i64>,
    note: Option<String>,
}

impl Plan {
    fn values(&self) -> Result<Vec<(&'static str, Bound)>, Refused> {
        let mut values: Vec<(&'static str, Bound)> = Vec::new();
        if let Some(name) = &self.name {
            let name = operating::name("name", name.trim_ascii())?;
            if name.is_empty() || name.parse::<i64>().is_ok() {
                return Err(Refused::Invalid(format!("{name:?} is no name of a plan: numbers are their ids")));
            }
            values.push(("name", name.into()));
        }
        for (column, limit) in [("total_limit", self.total), ("day_limit", self.day), ("month_limit", self.month)] {
            match limit {
                None => {}
                Some(limit) if limit > 0 || limit == -1 => values.push((column, limit.into())),
                Some(limit) => {
                    return Err(Refused::Invalid(format!("{limit} is no limit: expected more than 0, or -1 for none")));
                }
            }
        }
        if let Some(note) = &self.note {
            values.push(("description", operating::note(note)?.into()));
        }
        Ok(values)
    }

    async fn refuse_double(&self, database: &Database, except: Option<i64>) -> Result<(), Refused> {
        let Some(name) = &self.name else { return Ok(()) };
        let same = Condition::all().add(operating::one_of("name", &[name.trim_ascii().to_owned()]));
        let rows = SHEET.rows(database, same, i64::MIN, 2).await?;
        match rows.iter().find(|row| Some(row.id) != except) {
            Some(row) => Err(Refused::Exists(format!("plan {} has this name", row.id))),
            None => Ok(()),
        }
    }
}

pub(super) async fn add(database: &Database, plan: Plan) -> Result<Value, Refused> {
    if plan.name.is_none() || plan.plan.is_some() {
        return Err(Refused::invalid("a new plan needs a name"));
    }
    let values = plan.values()?;
    plan.refuse_double(database, None).await?;
    let id = SHEET.insert(database, values).await?;
    shown(database, id).await
}

pub(super) async fn change(database: &Database, plan: Plan) -> Result<Value, Refused> {
    let row = find(database, plan.plan.as_deref().unwrap_or_default()).await?;
    let values = plan.values()?;
    if values.is_empty() {
        return Err(Refused::invalid("nothing is to be changed"));
    }
    plan.refuse_double(database, Some(row.id)).await?;
    SHEET.update(database, row.id, values).await?;
    shown(database, row.id).await
}

async fn shown(database: &Database, id: i64) -> Result<Value, Refused> {
    Ok(SHEET.row(database, id).await?.map_or_else(|| json!({ "id": id }), |row| show(&row)))
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Named {
    plan: String,
}

/// Removes a plan that no ticket has: a ticket without its plan would be without limits.
pub(super) async fn remove(database: &Database, named: Named) -> Result<Value, Refused> {
    let row = find(database, &named.plan).await?;
    let having = Condition::all().add(column("ticket_plan_id").eq(row.id));
    let tickets = super::tickets::SHEET.rows(database, having, i64::MIN, 20).await?;
    if !tickets.is_empty() {
        let ids: Vec<_> = tickets.iter().map(|ticket| ticket.id.to_string()).collect();
        let what = format!("tickets have plan {}, and would have no limit without it: {}", row.id, ids.join(", "));
        return Err(Refused::Invalid(what));
    }
    SHEET.delete(database, row.id).await?;
    Ok(json!({ "removed": show(&row) }))
}

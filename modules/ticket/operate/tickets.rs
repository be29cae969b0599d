//! Tickets: who has which plan, and what is used of it.

use std::collections::HashMap;

use actors::database::Database;
use actors::operate::Refused;
use sea_orm::Value as Bound;
use sea_orm::sea_query::{Condition, ExprTrait as _};
use serde::Deserialize;
use serde_json::{Value, json};

use super::super::row::{domain_name_key, names, user_key, valid_until};
use super::plans;
use crate::columns;
use crate::operating::{self, MOST_ROWS, Record, Sheet, column};

pub(super) const SHEET: Sheet = Sheet {
    table: "domain_ticket",
    columns: &[
        "domain",
        "sasl_user",
        "total_used",
        "current_day_usage",
        "current_month_usage",
        "valid_until",
        "ticket_plan_id",
        "block_ticket",
        "has_outgoing_ip",
        "outgoing_ip_id",
    ],
};
const DAYS: Sheet = Sheet { table: "domain_ticket_history", columns: &["stamp", "day_usage"] };
const MONTHS: Sheet = Sheet { table: "domain_month_ticket_history", columns: &["stamp", "month_usage"] };

fn shown(row: &Record, plan: Option<&Value>) -> Value {
    let used = |column: &str| row.number(column).unwrap_or(0);
    json!({
        "id": row.id,
        "sasl_user": row.text("sasl_user"),
        "domain": row.text("domain"),
        "plan_id": row.number("ticket_plan_id"),
        "plan": plan,
        "blocked": columns::is_active(row.number("block_ticket")),
        "valid_until": valid_until(row.number("valid_until")),
        "used": {
            "total": used("total_used"),
            "day": used("current_day_usage"),
            "month": used("current_month_usage"),
        },
        "outgoing_ip_id": columns::is_active(row.number("has_outgoing_ip")).then(|| row.number("outgoing_ip_id")).flatten(),
    })
}

async fn with_plans(database: &Database, rows: &[Record]) -> Result<Vec<Value>, Refused> {
    let mut ids: Vec<i64> = rows.iter().filter_map(|row| row.number("ticket_plan_id")).collect();
    ids.sort_unstable();
    ids.dedup();
    let mut known: HashMap<i64, Option<Value>> = HashMap::new();
    for id in ids {
        let plan = plans::SHEET.row(database, id).await?;
        known.insert(id, plan.as_ref().map(plans::show));
    }
    let plan = |row: &Record| row.number("ticket_plan_id").and_then(|id| known.get(&id)?.as_ref());
    Ok(rows.iter().map(|row| shown(row, plan(row))).collect())
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Which {
    /// A user, a domain or an id; absent: all.
    name: Option<String>,
}

/// Whether the row names this user or domain, whole.
fn names_it(row: &Record, name: &str) -> bool {
    let (user, domain) = (user_key(name), domain_name_key(name));
    names(row.text("sasl_user").unwrap_or_default()).any(|listed| user_key(listed) == user)
        || names(row.text("domain").unwrap_or_default()).any(|listed| domain_name_key(listed) == domain)
}

pub(super) async fn show(database: &Database, which: Which) -> Result<Value, Refused> {
    let Some(name) = which.name.as_deref().map(str::trim_ascii) else {
        let rows = SHEET.rows(database, Condition::all(), i64::MIN, MOST_ROWS).await?;
        let more = rows.len() as u64 == MOST_ROWS;
        return Ok(json!({ "tickets": with_plans(database, &rows).await?, "more": more }));
    };
    let mut found = Vec::new();
    if let Ok(id) = name.parse::<i64>() {
        found.extend(SHEET.row(database, id).await?);
    }
    if found.is_empty() {
        // A name may stand in a list, and in another spelling: the module's own reading decides.
        let mut after = i64::MIN;
        loop {
            let rows = SHEET.rows(database, Condition::all(), after, MOST_ROWS).await?;
            let Some(last) = rows.last() else { break };
            after = last.id;
            found.extend(rows.into_iter().filter(|row| names_it(row, name)));
        }
    }
    if found.is_empty() {
        return Err(Refused::NotFound(format!("no ticket names {name:?}")));
    }
    Ok(json!({ "tickets": with_plans(database, &found).await?, "more": false }))
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Assign {
    plan: String,
    /// A ticket that is there, to give it another plan.
    ticket: Option<i64>,
    user: Option<String>,
    domain: Option<String>,
    /// A unix time; -1: no end.
    valid_until: Option<i64>,
}

/// Makes a ticket of a plan, or gives a ticket another plan.
pub(super) async fn assign(database: &Database, assign: Assign) -> Result<Value, Refused> {
    let plan = plans::find(database, &assign.plan).await?;
    let mut values: Vec<(&'static str, Bound)> = vec![("ticket_plan_id", plan.id.into())];
    values.extend(assign.valid_until.map(|until| ("valid_until", until.into())));
    let id = match (assign.ticket, &assign.user, &assign.domain) {
        (Some(id), None, None) => {
            if !SHEET.update(database, id, values).await? {
                return Err(no_ticket(id));
            }
            id
        }
        (None, Some(name), None) => add(database, "sasl_user", name, values).await?,
        (None, None, Some(name)) => add(database, "domain", name, values).await?,
        _ => return Err(Refused::invalid("expected one of user, domain and ticket")),
    };
    one(database, id).await
}

async fn add(
    database: &Database,
    to: &'static str,
    name: &str,
    mut values: Vec<(&'static str, Bound)>,
) -> Result<i64, Refused> {
    let name = operating::name(to, name.trim_ascii())?;
    if names(&name).next() != Some(&*name) {
        return Err(Refused::Invalid(format!("{name:?} is not one name")));
    }
    let same = Condition::all().add(operating::one_of(to, std::slice::from_ref(&name)));
    if let Some(row) = SHEET.rows(database, same, i64::MIN, 1).await?.first() {
        return Err(Refused::Exists(format!("ticket {} is for {name}: give it another plan, or credit it", row.id)));
    }
    values.push((to, name.into()));
    for counter in ["total_used", "current_day_usage", "current_month_usage", "block_ticket", "has_outgoing_ip"] {
        values.push((counter, 0.into()));
    }
    if !values.iter().any(|(column, _)| *column == "valid_until") {
        values.push(("valid_until", (-1).into()));
    }
    SHEET.insert(database, values).await
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Named {
    ticket: i64,
}

pub(super) async fn block(database: &Database, named: Named, yes: bool) -> Result<Value, Refused> {
    if !SHEET.update(database, named.ticket, vec![("block_ticket", i32::from(yes).into())]).await? {
        return Err(no_ticket(named.ticket));
    }
    one(database, named.ticket).await
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Credit {
    ticket: i64,
    /// So many messages less are used.
    count: i64,
}

pub(super) async fn credit(database: &Database, credit: Credit) -> Result<Value, Refused> {
    let Credit { ticket, count } = credit;
    if count <= 0 {
        return Err(Refused::Invalid(format!("{count} is no credit: expected more than 0")));
    }
    if !SHEET.take_from(database, ticket, "total_used", count).await? {
        let row = SHEET.row(database, ticket).await?.ok_or_else(|| no_ticket(ticket))?;
        let used = row.number("total_used").unwrap_or(0);
        let what = format!("ticket {ticket} has used {used} in all: no more than that can be credited");
        return Err(Refused::Invalid(what));
    }
    one(database, ticket).await
}

async fn one(database: &Database, id: i64) -> Result<Value, Refused> {
    let row = SHEET.row(database, id).await?.ok_or_else(|| no_ticket(id))?;
    Ok(with_plans(database, &[row]).await?.remove(0))
}

fn no_ticket(id: i64) -> Refused {
    Refused::NotFound(format!("there is no ticket {id}"))
}

/// What was used in the days and months that ended, the latest first.
pub(super) async fn history(database: &Database, named: Named) -> Result<Value, Refused> {
    one(database, named.ticket).await?;
    let mut answer = json!({});
    for (key, sheet, used) in [("days", DAYS, "day_usage"), ("months", MONTHS, "month_usage")] {
        let of = Condition::all().add(column("domain_ticket_id").eq(named.ticket));
        let mut rows = sheet.rows(database, of, i64::MIN, MOST_ROWS).await?;
        rows.sort_by_key(|row| std::cmp::Reverse(row.number("stamp")));
        let rows: Vec<_> =
            rows.iter().map(|row| json!({ "stamp": row.number("stamp"), "used": row.number(used).unwrap_or(0) })).collect();
        answer[key] = rows.into();
    }
    Ok(answer)
}

//! What an operator does with `slm_exception`: list, add, remove.

use actors::module::ModuleContext;
use actors::operate::{Done, Order, Refused};
use sea_orm::Value as Bound;
use sea_orm::sea_query::Condition;
use serde::Deserialize;
use serde_json::{Value, json};

use super::exceptions::ExceptionRow;
use crate::columns;
use crate::operating::{self, MOST_ROWS, Record, Sheet};

const SHEET: Sheet =
    Sheet { table: "slm_exception", columns: &["is_active", "sasl_username", "mail_from", "description"] };

/// Carries out an order about `slm-exception`.
pub(super) async fn carry_out(context: &ModuleContext, order: Order) -> Result<Done, Refused> {
    match order.words() {
        ("slm-exception", "list") => list(context, order.read()?).await.map(Done::seen),
        ("slm-exception", "add") => add(context, order.read()?).await.map(Done::changed),
        ("slm-exception", "remove") => remove(context, order.read()?).await.map(Done::changed),
        _ => Err(order.unknown()),
    }
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Filter {
    contains: Option<String>,
}

async fn list(context: &ModuleContext, filter: Filter) -> Result<Value, Refused> {
    let which = match &filter.contains {
        None => Condition::all(),
        Some(part) => operating::contains(&SHEET.columns[1..], part),
    };
    let mut rows = SHEET.rows(&context.database, which, i64::MIN, MOST_ROWS + 1).await?;
    let more = rows.len() as u64 > MOST_ROWS;
    rows.truncate(usize::try_from(MOST_ROWS).unwrap_or(usize::MAX));
    Ok(json!({ "exceptions": rows.iter().map(show).collect::<Vec<_>>(), "more": more }))
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Add {
    sasl_username: String,
    /// Absent: any sender.
    mail_from: Option<String>,
    note: Option<String>,
}

async fn add(context: &ModuleContext, add: Add) -> Result<Value, Refused> {
    let user = operating::name("SASL user", add.sasl_username.trim_ascii())?;
    let sender = operating::name("sender", add.mail_from.as_deref().unwrap_or_default().trim_ascii())?;
    let row = ExceptionRow {
        id: 0,
        is_active: Some(1),
        mail_from: Some(sender.clone()),
        sasl_username: Some(user.clone()),
    };
    let rule = row.read().map_err(Refused::invalid)?;
    let alike = Condition::all().add(operating::one_of("sasl_username", std::slice::from_ref(&user))).add(
        match sender.is_empty() {
            true => operating::column_is_empty("mail_from"),
            false => operating::one_of("mail_from", std::slice::from_ref(&sender)),
        },
    );
    for old in SHEET.rows(&context.database, alike, i64::MIN, MOST_ROWS).await? {
        let is_active = columns::is_active(old.number("is_active"));
        let same = read(&old).is_some_and(|old| rule.as_ref().is_some_and(|new| old == (new.source.clone(), new.users.clone())));
        if same && is_active {
            return Err(Refused::Exists(format!("exception {} says the same", old.id)));
        }
    }
    let mut values: Vec<(&'static str, Bound)> = vec![("is_active", 1.into()), ("sasl_username", user.into())];
    values.push(("mail_from", sender.into()));
    values.push(("description", add.note.as_deref().map(operating::note).transpose()?.into()));
    let id = SHEET.insert(&context.database, values).await?;
    let row = SHEET.row(&context.database, id).await?;
    Ok(row.map_or_else(|| json!({ "id": id }), |row| show(&row)))
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Named {
    ids: Vec<i64>,
}

async fn remove(context: &ModuleContext, named: Named) -> Result<Value, Refused> {
    let mut rows = Vec::with_capacity(named.ids.len());
    for &id in &named.ids {
        let row = SHEET.row(&context.database, id).await?;
        rows.push(row.ok_or_else(|| Refused::NotFound(format!("there is no exception {id}")))?);
    }
    for row in &rows {
        SHEET.delete(&context.database, row.id).await?;
    }
    Ok(json!({ "removed": rows.iter().map(show).collect::<Vec<_>>() }))
}

fn row_of(row: &Record) -> ExceptionRow {
    ExceptionRow {
        id: row.id,
        is_active: Some(1),
        mail_from: row.owned("mail_from"),
        sasl_username: row.owned("sasl_username"),
    }
}

fn read(row: &Record) -> Option<(libvalvula::AddressRule, Option<Vec<libvalvula::AddressKey>>)> {
    row_of(row).read().ok().flatten().map(|rule| (rule.source, rule.users))
}

fn show(row: &Record) -> Value {
    json!({
        "id": row.id,
        "active": columns::is_active(row.number("is_active")),
        "sasl_username": row.text("sasl_username"),
        "mail_from": row.text("mail_from"),
        "description": row.text("description"),
        "fault": row_of(row).read().err().map(|fault| fault.to_string()),
    })
}

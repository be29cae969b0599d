//! Which rule would decide a mail, and why the others that are for it do not.

use std::sync::Arc;

use actors::module::{Decision, Module as _, Query};
use actors::operate::Refused;
use libvalvula::Request;
use serde::Deserialize;
use serde_json::{Value, json};

use super::super::Bwl;
use super::super::until::Until;
use super::sheets::{self, Table};
use crate::operating::active;
use crate::rules::{Hit, Rule, Seek};

/// Of the rules that are not tried, so many are shown at most.
const MOST: usize = 100;
/// Disabled rows read at a time.
const PIECE: u64 = 5000;

/// The mail.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Mail {
    sender: String,
    recipient: String,
    sasl: Option<String>,
    client: Option<String>,
}

/// Tries the mail. Nothing is charged or counted, as with `explain`.
pub(super) async fn run(bwl: Arc<Bwl>, mail: Mail) -> Result<Value, Refused> {
    let request = Request::builder()
        .protocol_state("RCPT")
        .sender(&mail.sender)
        .recipient(&mail.recipient)
        .sasl_username(mail.sasl.as_deref().unwrap_or_default())
        .client_address(mail.client.as_deref().unwrap_or("127.0.0.1"))
        .build()
        .map_err(Refused::invalid)?;
    let query = Arc::new(Query { request, listener: "rule test".into() });
    let explanation = Arc::clone(&bwl).explain(Arc::clone(&query)).await;
    let (answer, why, could_not_ask) = match explanation.outcome {
        Ok(Some(Decision { verdict, why })) => (verdict.to_string(), Some(why.into_owned()), None),
        Ok(None) => ("DUNNO".to_owned(), None, None),
        Err(unavailable) => ("DUNNO".to_owned(), None, Some(unavailable.what.into_owned())),
    };
    let mut others = not_reached(&bwl, &query, &explanation.trace);
    others.extend(disabled(&bwl, &query).await?);
    let more = others.len().saturating_sub(MOST);
    others.truncate(MOST);
    if more > 0 {
        others.push(format!("and {more} more"));
    }
    Ok(json!({
        "answer": answer,
        "why": why,
        "could_not_ask": could_not_ask,
        "trace": explanation.trace,
        "others": others,
    }))
}

/// Active rules for this mail that the decision did not come to.
fn not_reached(bwl: &Bwl, query: &Query, trace: &[String]) -> Vec<String> {
    let user = query.is_authenticated().then(|| query.sasl_key());
    let seek = |user| Seek { sender: query.sender_key(), recipient: query.recipient_key(), user };
    let tables = &bwl.tables;
    let mut lines = Vec::new();
    let mut add = |table: &str, id: i64, (source, destination): (String, String), why: &str| {
        let name = format!("{table} {id}");
        let known = |line: &String| line.strip_prefix(&*name).is_some_and(|rest| rest.starts_with(':'));
        if !trace.iter().any(known) {
            lines.push(format!("{name}: source {source}, destination {destination}: {why}"));
        }
    };
    fn of<P>(hit: &Hit<'_, P>) -> (String, String) {
        (hit.source(), hit.destination())
    }
    let later = |until: Until| match until.is_over(&bwl.context.clock) {
        true => "it has expired",
        false => "not tried, what is above comes first",
    };
    for hit in tables.global.now().matches(seek(user)) {
        add("bwl_global", hit.id, of(&hit), later(hit.payload.until));
    }
    for hit in tables.global.now().limited_to_others(seek(user)) {
        add("bwl_global", hit.id, of(&hit), "limit_rule_to_sasl_users does not name the user");
    }
    for (table, rows) in [("bwl_domain", &tables.domain), ("bwl_account", &tables.account)] {
        for hit in rows.now().matches(seek(None)) {
            add(table, hit.id, of(&hit), later(hit.payload.until));
        }
    }
    lines
}

/// Rules for this mail that are disabled.
async fn disabled(bwl: &Bwl, query: &Query) -> Result<Vec<String>, Refused> {
    let mut lines = Vec::new();
    for table in Table::ALL {
        let mut after = i64::MIN;
        loop {
            let rows = table.sheet(bwl).rows(&bwl.context.database, active(false), after, PIECE).await?;
            let Some(last) = rows.last() else { break };
            after = last.id;
            let name = |id: i64| format!("{} {id}: disabled", table.table());
            lines.extend(rows.iter().filter(|row| is_for(table, row, query)).map(|row| name(row.id)));
        }
    }
    Ok(lines)
}

/// Whether the row, were it active, is for this mail.
fn is_for(table: Table, row: &crate::operating::Record, query: &Query) -> bool {
    let (sender, recipient) = (query.sender_key(), query.recipient_key());
    let rule = match table {
        Table::Global => sheets::global_row(row, Some(1)).read().map(|rule| rule.map(plain)),
        Table::Domain => {
            sheets::recipient_row(row, Some(1)).read_for_domain().map(|rule| rule.map(plain))
        }
        Table::Account => {
            sheets::recipient_row(row, Some(1)).read_for_account().map(|rule| rule.map(plain))
        }
        Table::Sasl => sheets::sasl_row(row, Some(1)).read().map(|rule| rule.map(plain)),
    };
    let Ok(Some(rule)) = rule else { return false };
    let user = query.is_authenticated().then(|| query.sasl_key());
    rule.source.matches(sender)
        && rule.destination.matches(recipient)
        && rule.users.is_none_or(|users| user.is_some_and(|user| users.contains(user)))
}

fn plain<P>(rule: Rule<P>) -> Rule<()> {
    let Rule { id, source, destination, users, payload: _ } = rule;
    Rule { id, source, destination, users, payload: () }
}

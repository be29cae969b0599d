//! mod-transport: chooses the way out by sender and recipient.
//!
//! The rows of one table are held in memory; every request is answered at once. While the database is
//! away the rows as last read serve.

#[cfg(test)]
mod tests;

use std::sync::Arc;

use actors::module::{
    BoxFuture, Configured, Decide, Decision, Explanation, Module, ModuleContext, ModuleType, Query, StartError,
};
use actors::settings::Section;
use actors::watch::{BadRow, Column, Followed, Row};
use libvalvula::{Printable, Verdict};
use serde_json::Value;

use crate::columns;
use crate::rules::{self, Rule, RuleTable, Seek};
use crate::trace::Trace;

/// The registry's entry.
pub static MODULE: Type = Type;

/// `transport`, the way out.
pub struct Type;

impl ModuleType for Type {
    fn name(&self) -> &'static str {
        "transport"
    }

    fn configure(&self, _: &mut Section) -> Box<dyn Configured> {
        Box::new(Settings)
    }
}

struct Settings;

impl Configured for Settings {
    fn start(self: Box<Self>, context: ModuleContext) -> BoxFuture<Result<Arc<dyn Module>, StartError>> {
        Box::pin(async move {
            let rows = RuleTable::new();
            let read: rules::ReadRow<_> = |row| TransportRow::of(row)?.read();
            let followed = rows.follow(&context, "transport_global", TransportRow::COLUMNS, read).await?;
            Ok(Arc::new(Transport { rows, followed }) as Arc<dyn Module>)
        })
    }
}

/// What is kept of a row besides what it is found by.
#[derive(Debug, Clone)]
struct WayOut {
    only_auth: bool,
    verdict: Arc<Verdict>,
}

/// A row of `transport_global`, columns as they are.
#[derive(Debug, Clone, Default)]
struct TransportRow {
    id: i64,
    is_active: Option<i64>,
    only_auth: Option<i64>,
    source: Option<String>,
    destination: Option<String>,
    transport: Option<String>,
}

impl TransportRow {
    const COLUMNS: &[Column] = &[
        Column::integer("is_active"),
        Column::integer("only_auth"),
        Column::text("source"),
        Column::text("destination"),
        Column::text("transport"),
    ];

    fn of(row: &Row<'_>) -> Result<Self, BadRow> {
        Ok(Self {
            id: row.id(),
            is_active: row.integer("is_active")?,
            only_auth: row.integer("only_auth")?,
            source: row.text("source")?,
            destination: row.text("destination")?,
            transport: row.text("transport")?,
        })
    }

    fn read(&self) -> Result<Option<Rule<WayOut>>, BadRow> {
        if !columns::is_active(self.is_active) {
            return Ok(None);
        }
        let transport = columns::name(self.transport.as_deref()).ok_or_else(|| BadRow::new("transport is empty"))?;
        let colon = if transport.contains(':') { "" } else { ":" };
        let verdict = Verdict::filter(&format!("{transport}{colon}"))
            .map_err(|error| BadRow::new(format!("transport {transport:?}: {error}")))?;
        Ok(Some(Rule {
            id: self.id,
            source: columns::address_rule("source", self.source.as_deref())?,
            destination: columns::address_rule("destination", self.destination.as_deref())?,
            users: None,
            payload: WayOut { only_auth: columns::is_active(self.only_auth), verdict: Arc::new(verdict) },
        }))
    }
}

struct Transport {
    rows: RuleTable<WayOut>,
    followed: Followed,
}

/// The first row that matches and does not ask for a login that is not there.
fn choose(rows: &RuleTable<WayOut>, query: &Query, trace: &mut Trace) -> Option<Decision> {
    let rows = rows.now();
    let seek = Seek { sender: query.sender_key(), recipient: query.recipient_key(), user: None };
    for hit in rows.matches(seek) {
        let why = || {
            format!(
                "transport_global {}: source {}, destination {}; sender {}, recipient {}",
                hit.id,
                hit.source(),
                hit.destination(),
                Printable::new(seek.sender.as_bytes()),
                Printable::new(seek.recipient.as_bytes())
            )
        };
        if hit.payload.only_auth && !query.is_authenticated() {
            trace.note(|| format!("{}: passed over, only_auth and not authenticated", why()));
            continue;
        }
        trace.note(|| format!("{}: {}", why(), hit.payload.verdict));
        return Some(Decision::new(Verdict::clone(&hit.payload.verdict), why()));
    }
    trace.note(|| format!("transport_global: none of {} rows decides", rows.len()));
    None
}

impl Module for Transport {
    fn decide(self: Arc<Self>, query: Arc<Query>) -> Decide {
        Decide::Now(Ok(choose(&self.rows, &query, &mut Trace::default())))
    }

    fn explain(self: Arc<Self>, query: Arc<Query>) -> BoxFuture<Explanation> {
        let mut trace = Trace::kept();
        let outcome = Ok(choose(&self.rows, &query, &mut trace));
        Box::pin(async { Explanation { outcome, trace: trace.into_lines() } })
    }

    fn status(&self) -> Vec<(&'static str, Value)> {
        vec![rules::fact(&self.followed)]
    }
}

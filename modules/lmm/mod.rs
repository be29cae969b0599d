//! mod-lmm: where a domain's mail may come from.
//!
//! The rows of one table are held in memory; every request is answered at once. While the database is
//! away the rows as last read serve.

mod networks;
#[cfg(test)]
mod tests;

use std::sync::Arc;

use actors::module::{
    BoxFuture, Configured, Decide, Decision, Explanation, Module, ModuleContext, ModuleType, Query, StartError,
};
use actors::settings::Section;
use actors::watch::{BadRow, Column, Followed, Row};
use libvalvula::{AddressRule, Attribute, Printable, Text, Verdict};
use serde_json::Value;

use self::networks::Networks;
use crate::columns;
use crate::rules::{self, Rule, RuleTable, Seek};
use crate::trace::Trace;

/// The registry's entry.
pub static MODULE: Type = Type;

/// `lmm`, networks of a domain.
pub struct Type;

impl ModuleType for Type {
    fn name(&self) -> &'static str {
        "lmm"
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
            let read: rules::ReadRow<_> = |row| DomainRow::of(row)?.read();
            let followed = rows.follow(&context, "lmm_by_domain", DomainRow::COLUMNS, read).await?;
            Ok(Arc::new(Lmm { rows, followed }) as Arc<dyn Module>)
        })
    }
}

/// A row of `lmm_by_domain`, columns as they are.
#[derive(Debug, Clone, Default)]
struct DomainRow {
    id: i64,
    is_active: Option<i64>,
    domain: Option<String>,
    allowed_networks: Option<String>,
}

impl DomainRow {
    const COLUMNS: &[Column] =
        &[Column::integer("is_active"), Column::text("domain"), Column::text("allowed_networks")];

    fn of(row: &Row<'_>) -> Result<Self, BadRow> {
        Ok(Self {
            id: row.id(),
            is_active: row.integer("is_active")?,
            domain: row.text("domain")?,
            allowed_networks: row.text("allowed_networks")?,
        })
    }

    fn read(&self) -> Result<Option<Rule<Arc<Networks>>>, BadRow> {
        if !columns::is_active(self.is_active) {
            return Ok(None);
        }
        let source = match columns::address_rule("domain", self.domain.as_deref())? {
            // It would hold for the mail of the whole world, bounces included.
            AddressRule::Everything => return Err(BadRow::new("domain is empty: it names no domain")),
            rule => rule,
        };
        let networks = Networks::parse(self.allowed_networks.as_deref().unwrap_or_default())
            .map_err(|entry| BadRow::new(format!("allowed_networks: {entry:?} is no network")))?;
        Ok(Some(Rule {
            id: self.id,
            source,
            destination: AddressRule::Everything,
            users: None,
            payload: Arc::new(networks),
        }))
    }
}

struct Lmm {
    rows: RuleTable<Arc<Networks>>,
    followed: Followed,
}

/// Refuses a client that no row of the sender's domain allows. Several rows of one domain add up.
fn check(rows: &RuleTable<Arc<Networks>>, query: &Query, trace: &mut Trace) -> Option<Decision> {
    if query.is_authenticated() {
        trace.note(|| "authenticated: not asked".to_owned());
        return None;
    }
    let rows = rows.now();
    let seek = Seek { sender: query.sender_key(), recipient: query.recipient_key(), user: None };
    let client = query.client_address();
    let mut refusing = Vec::new();
    for hit in rows.matches(seek) {
        if client.is_some_and(|client| hit.payload.contains(client)) {
            trace.note(|| format!("lmm_by_domain {}: domain {}, client allowed", hit.id, hit.source()));
            return None;
        }
        trace.note(|| format!("lmm_by_domain {}: domain {}, client not allowed", hit.id, hit.source()));
        refusing.push(hit.id.to_string());
    }
    if refusing.is_empty() {
        trace.note(|| format!("lmm_by_domain: none of {} rows is for the sender", rows.len()));
        return None;
    }
    let why = format!(
        "lmm_by_domain {}: client {}, sender {}",
        refusing.join(", "),
        Printable::new(query.value(Attribute::ClientAddress)),
        Printable::new(seek.sender.as_bytes())
    );
    let text = Text::new("Mail from this domain is not accepted from this client");
    Some(Decision::new(Verdict::reject(text), why))
}

impl Module for Lmm {
    fn decide(self: Arc<Self>, query: Arc<Query>) -> Decide {
        Decide::Now(Ok(check(&self.rows, &query, &mut Trace::default())))
    }

    fn explain(self: Arc<Self>, query: Arc<Query>) -> BoxFuture<Explanation> {
        let mut trace = Trace::kept();
        let outcome = Ok(check(&self.rows, &query, &mut trace));
        Box::pin(async { Explanation { outcome, trace: trace.into_lines() } })
    }

    fn status(&self) -> Vec<(&'static str, Value)> {
        vec![rules::fact(&self.followed)]
    }
}

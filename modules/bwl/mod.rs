//! mod-bwl: black and white lists of senders, recipients and SASL users.
//!
//! The rows of four tables are held in memory, so that no query stands between a request and its answer:
//! `tables` reads them, `decide` holds a request against them. Most requests are answered at once; one
//! that hangs on a local question not yet answered waits for it. While the database is away the rows
//! as last read serve.

#[cfg(test)]
mod database_tests;
mod decide;
mod operate;
mod status;
mod tables;
mod until;

use std::sync::Arc;
use std::time::Instant;

use actors::module::{
    BoxFuture, Configured, Decide, Explanation, Module, ModuleContext, ModuleType, Query, StartError, Unavailable,
};
use actors::operate::{Done, Order, Refused};
use actors::settings::Section;
use actors::watch::Followed;
use serde_json::Value;

use self::decide::{Case, Notes};
use self::tables::Tables;
use crate::{operating, questions};
use crate::rarely::Rarely;
use crate::rules;

/// The registry's entry.
pub static MODULE: Type = Type;

/// `bwl`, black and white lists.
pub struct Type;

impl ModuleType for Type {
    fn name(&self) -> &'static str {
        "bwl"
    }

    fn configure(&self, section: &mut Section) -> Box<dyn Configured> {
        Box::new(Settings { deny_unknown_local: section.or("deny_unknown_local_mail_from", true) })
    }
}

struct Settings {
    deny_unknown_local: bool,
}

impl Configured for Settings {
    fn start(self: Box<Self>, context: ModuleContext) -> BoxFuture<Result<Arc<dyn Module>, StartError>> {
        Box::pin(async move {
            let tables = Tables::default();
            let followed = tables.follow(&context).await?;
            let bwl = Bwl { settings: *self, tables, followed, context, guarded: Rarely::default() };
            Ok(Arc::new(bwl) as Arc<dyn Module>)
        })
    }
}

struct Bwl {
    settings: Settings,
    tables: Tables,
    followed: [Followed; 4],
    context: ModuleContext,
    guarded: Rarely,
}

impl Bwl {
    fn case<'a>(&'a self, query: &'a Query) -> Case<'a> {
        Case {
            tables: &self.tables,
            deny_unknown_local: self.settings.deny_unknown_local,
            clock: &self.context.clock,
            query,
        }
    }

    /// Warns of `ok` rows that would have opened a relay.
    fn warn_of(&self, guarded: &[i64], query: &Query) {
        for &row in guarded {
            let Some(suppressed) = self.guarded.warn(row, Instant::now()) else { continue };
            slog::warn!(self.context.log, "ok row passed over: it would make an open relay";
                "row" => format!("bwl_global {row}"),
                "sender" => %libvalvula::Printable::new(query.sender()),
                "recipient" => %libvalvula::Printable::new(query.recipient()),
                "suppressed" => suppressed);
        }
    }
}

impl Module for Bwl {
    fn decide(self: Arc<Self>, query: Arc<Query>) -> Decide {
        let local = self.context.local.clone();
        let asked = Arc::clone(&query);
        questions::decide(&local, asked, move |questions| {
            let mut notes = Notes::default();
            let outcome = self.case(&query).decide(questions, &mut notes)?;
            self.warn_of(&notes.guarded, &query);
            Ok(outcome)
        })
    }

    fn explain(self: Arc<Self>, query: Arc<Query>) -> BoxFuture<Explanation> {
        let local = self.context.local.clone();
        Box::pin(questions::explain(local, Arc::clone(&query), move |questions, trace| {
            let mut notes = Notes { trace: std::mem::take(trace), ..Notes::default() };
            let outcome = self.case(&query).decide(questions, &mut notes);
            *trace = notes.trace;
            outcome
        }))
    }

    fn operate(self: Arc<Self>, order: Order) -> BoxFuture<Result<Done, Refused>> {
        Box::pin(operate::carry_out(self, order))
    }

    fn refresh(self: Arc<Self>) -> BoxFuture<Result<(), Unavailable>> {
        Box::pin(async move { operating::refresh(&self.followed).await })
    }

    fn status(&self) -> Vec<(&'static str, Value)> {
        self.followed.iter().map(rules::fact).collect()
    }
}

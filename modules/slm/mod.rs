//! mod-slm: an authenticated client may only send as whom it logged in.
//!
//! `check` holds a request against the mode, with the exceptions of one table in memory. Most requests
//! are answered at once; one that hangs on a local question not yet answered waits for it. While the
//! database is away the exceptions as last read serve.

mod check;
mod exceptions;
mod operate;
#[cfg(test)]
mod tests;

use std::sync::Arc;

use actors::module::{
    BoxFuture, Configured, Decide, Explanation, Module, ModuleContext, ModuleType, Query, StartError, Unavailable,
};
use actors::operate::{Done, Order, Refused};
use actors::settings::Section;
use actors::watch::Followed;
use serde_json::Value;

use self::check::{Case, Mode, Settings};
use self::exceptions::{Exception, ExceptionRow};
use crate::{operating, questions};
use crate::rules::{self, RuleTable};
use crate::trace::Trace;

/// The registry's entry.
pub static MODULE: Type = Type;

/// `slm`, sender login mismatch.
pub struct Type;

impl ModuleType for Type {
    fn name(&self) -> &'static str {
        "slm"
    }

    fn configure(&self, section: &mut Section) -> Box<dyn Configured> {
        let modes = [
            ("full", Mode::Full),
            ("same-domain", Mode::SameDomain),
            ("valid-mail-from", Mode::ValidMailFrom),
            ("disabled", Mode::Disabled),
        ];
        Box::new(Settings {
            mode: section.one_of("mode", Mode::SameDomain, &modes),
            allow_empty_mail_from: section.or("allow_empty_mail_from", true),
            allow_login_maps: section.or("allow_login_maps", false),
        })
    }
}

impl Configured for Settings {
    fn start(self: Box<Self>, context: ModuleContext) -> BoxFuture<Result<Arc<dyn Module>, StartError>> {
        Box::pin(async move {
            let exceptions = RuleTable::new();
            let read: rules::ReadRow<_> = |row| ExceptionRow::of(row)?.read();
            let followed = exceptions.follow(&context, "slm_exception", ExceptionRow::COLUMNS, read).await?;
            Ok(Arc::new(Slm { settings: *self, exceptions, followed, context }) as Arc<dyn Module>)
        })
    }
}

struct Slm {
    settings: Settings,
    exceptions: RuleTable<Exception>,
    followed: Followed,
    context: ModuleContext,
}

impl Slm {
    fn case<'a>(&'a self, query: &'a Query) -> Case<'a> {
        Case { settings: &self.settings, exceptions: &self.exceptions, local: &self.context.local, query }
    }
}

impl Module for Slm {
    fn decide(self: Arc<Self>, query: Arc<Query>) -> Decide {
        if !query.is_authenticated() {
            return Decide::DUNNO;
        }
        let local = self.context.local.clone();
        let asked = Arc::clone(&query);
        questions::decide(&local, asked, move |questions| {
            self.case(&query).decide(questions, &mut Trace::default())
        })
    }

    fn explain(self: Arc<Self>, query: Arc<Query>) -> BoxFuture<Explanation> {
        let local = self.context.local.clone();
        Box::pin(questions::explain(local, Arc::clone(&query), move |questions, trace| {
            self.case(&query).decide(questions, trace)
        }))
    }

    fn operate(self: Arc<Self>, order: Order) -> BoxFuture<Result<Done, Refused>> {
        Box::pin(async move { operate::carry_out(&self.context, order).await })
    }

    fn refresh(self: Arc<Self>) -> BoxFuture<Result<(), Unavailable>> {
        Box::pin(async move { operating::refresh([&self.followed]).await })
    }

    fn status(&self) -> Vec<(&'static str, Value)> {
        vec![rules::fact(&self.followed)]
    }
}

//! A listener's chain on one worker: the modules in order, and what the answer is in the end.
//!
//! The first module with an opinion wins. A module that fails is answered for by its `on_failure`; that
//! is counted by kind and logged, so that no mail flows unchecked in silence. After the last module:
//! `DUNNO`.

use std::cell::RefCell;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use libvalvula::{Text, Verdict};
use slog::{Logger, info};
use tokio::time::Instant;

use crate::log_limit::LogLimit;
use crate::module::{Decision, Query};
use crate::module_actor::{Failure, Reply, Route};
use crate::runtime_settings::{ModuleSettings, OnFailure};
use crate::stats::{Ledger, Slot};

/// One module's place in a chain.
pub(crate) struct Link {
    pub(crate) settings: Arc<ModuleSettings>,
    pub(crate) route: Route,
    pub(crate) slot: Slot,
    pub(crate) failures: Rc<LogLimit>,
}

/// A listener's modules, in order.
pub(crate) struct Chain {
    pub(crate) links: Vec<Link>,
    pub(crate) deadline: Duration,
    pub(crate) ledger: Rc<RefCell<Ledger>>,
    pub(crate) log: Logger,
    /// The name of who decides when no module does: none.
    pub(crate) nobody: Arc<str>,
}

/// The answer for a module that failed, with `on_failure = "defer"`.
pub(crate) fn deferred() -> Verdict {
    Verdict::defer(Text::new("4.3.0 Temporary problem of the policy server, try again later"))
}

/// What a chain comes to.
pub(crate) enum Ending {
    /// This answer. `by` names the module that decided, empty when none had an opinion.
    Answer { verdict: Verdict, by: Arc<str>, why: std::borrow::Cow<'static, str> },
    /// No answer, and the connection ended, as `on_failure = "disconnect"` of this module says.
    Disconnect { by: Arc<str>, why: String },
}

impl Chain {
    /// Routes `query` through the modules.
    pub(crate) async fn run(&self, query: &Arc<Query>, received: Instant) -> Ending {
        let end = received + self.deadline;
        let mut started = received;
        for link in &self.links {
            let deadline = end.min(started + link.settings.deadline);
            let reply = link.route.ask(query.clone(), deadline).await;
            let now = Instant::now();
            let ending = self.judge(link, query, reply, now - started);
            if let Some(ending) = ending {
                return ending;
            }
            started = now;
        }
        Ending::Answer { verdict: Verdict::DUNNO, by: self.nobody.clone(), why: "no module had an opinion".into() }
    }

    /// Writes down what a module said; an ending if the chain ends with it.
    fn judge(&self, link: &Link, query: &Query, reply: Reply, took: Duration) -> Option<Ending> {
        let settings = &link.settings;
        let mut ledger = self.ledger.borrow_mut();
        let page = ledger.page(link.slot);
        page.timed(took);
        match reply {
            Ok(None) => {
                page.answered(Verdict::DUNNO.action_name());
                None
            }
            Ok(Some(Decision { verdict, why })) if settings.observe => {
                page.observed(verdict.action_name());
                drop(ledger);
                info!(self.log, "would have"; "module" => %settings.name, "action" => %verdict, "why" => %why,
                    "instance" => %query.instance().escape_ascii(), "sender" => %query.sender().escape_ascii(),
                    "recipient" => %query.recipient().escape_ascii());
                None
            }
            Ok(Some(Decision { verdict, why })) => {
                page.answered(verdict.action_name());
                Some(Ending::Answer { verdict, by: settings.name.clone(), why })
            }
            Err(failure) => {
                page.failed(failure.kind);
                drop(ledger);
                self.answer_for(link, &failure)
            }
        }
    }

    fn answer_for(&self, link: &Link, failure: &Failure) -> Option<Ending> {
        let settings = &link.settings;
        let name = &settings.name;
        let kind = failure.kind.name();
        if let Some(passed_over) = link.failures.allow(Instant::now()) {
            let on_failure = if settings.observe { "none, observed" } else { settings.on_failure.name() };
            slog::warn!(self.log, "module did not decide"; "module" => %name, "failure" => kind,
                "what" => &failure.what, "on_failure" => on_failure, "not_logged_before" => passed_over);
        }
        match settings.on_failure {
            // What is only observed has no say, whatever becomes of it.
            _ if settings.observe => None,
            OnFailure::Dunno => None,
            OnFailure::Defer => Some(Ending::Answer {
                verdict: deferred(),
                by: name.clone(),
                why: format!("{kind}: {}", failure.what).into(),
            }),
            OnFailure::Disconnect => {
                Some(Ending::Disconnect { by: name.clone(), why: format!("{kind}: {}", failure.what) })
            }
        }
    }
}

//! A chain asked without any effect: what each module looked at, what it says, and what comes of it.
//!
//! The walk obeys the rules of `chain.rs` (order, deadlines, containment of panics, `on_failure`,
//! `observe`) but asks [`Module::explain`] instead of a module's actor: nothing is charged or remembered,
//! no permit is taken, no statistics are written. A crash here is no crash of the module's actor.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::time::Duration;

use futures_util::FutureExt as _;
use libvalvula::Verdict;
use serde::{Deserialize, Serialize};
use tokio::time::{Instant, timeout_at};

use crate::module::{Decision, Explanation, Module, Query};
use crate::runtime_settings::{ModuleSettings, OnFailure};
use crate::stats::FailureKind;
use crate::supervise::panic_text;

/// What a listener would answer to a request, and how it comes to that.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Explained {
    /// The listener.
    pub listener: String,
    /// Its chain, module by module.
    pub steps: Vec<Step>,
    /// The answer to Postfix; absent when the connection would be ended without one.
    pub answer: Option<String>,
    /// The module that decided; empty when none had an opinion.
    pub by: String,
    /// What led to the answer.
    pub why: String,
    /// Microseconds for the whole chain.
    pub took_us: u64,
}

/// One module's part.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Step {
    /// Its name.
    pub module: String,
    /// What it came to.
    #[serde(flatten)]
    pub said: Said,
    /// What it looked at, line by line.
    pub trace: Vec<String>,
    /// Microseconds.
    pub took_us: u64,
}

/// What a module came to.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "said", rename_all = "kebab-case")]
pub enum Said {
    /// It has no opinion.
    NoOpinion,
    /// It decided.
    Decided {
        /// The answer to Postfix.
        answer: String,
        /// The rule or limit, and the values compared.
        why: String,
    },
    /// It would have decided, but is configured to observe only.
    WouldHave {
        /// The answer it would have given.
        answer: String,
        /// The rule or limit, and the values compared.
        why: String,
    },
    /// It could not decide.
    Failed {
        /// How: `unavailable`, `timed out`, `crashed`.
        failure: String,
        /// What was the matter.
        what: String,
        /// What is done then.
        on_failure: String,
    },
    /// A module before it decided.
    NotAsked,
}

/// A module in the chain that is walked.
pub(crate) struct Stop {
    pub(crate) settings: Arc<ModuleSettings>,
    pub(crate) module: Arc<dyn Module>,
    /// On how many of how many workers it is down.
    pub(crate) down: (usize, usize),
}

/// Asks the modules of `chain` in turn.
pub(crate) async fn walk(listener: &str, chain: Vec<Stop>, deadline: Duration, query: &Arc<Query>) -> Explained {
    let begun = Instant::now();
    let end = begun + deadline;
    let mut explained = Explained {
        listener: listener.to_owned(),
        steps: Vec::with_capacity(chain.len()),
        answer: Some(Verdict::DUNNO.to_string()),
        by: String::new(),
        why: "no module had an opinion".to_owned(),
        took_us: 0,
    };
    let mut decided = false;
    for Stop { settings, module, down } in chain {
        let mut step = Step { module: settings.name.to_string(), said: Said::NotAsked, trace: Vec::new(), took_us: 0 };
        if !decided {
            let started = Instant::now();
            let (outcome, trace) = ask(module, query.clone(), end.min(started + settings.deadline)).await;
            step.took_us = microseconds(started.elapsed());
            step.trace = trace;
            if down.0 > 0 {
                let note = format!(
                    "down after too many crashes on {} of {} workers: there its on_failure ({}) answers",
                    down.0,
                    down.1,
                    settings.on_failure.name()
                );
                step.trace.insert(0, note);
            }
            step.said = said(&settings, outcome);
            decided = conclude(&settings, &step.said, &mut explained);
        }
        explained.steps.push(step);
    }
    explained.took_us = microseconds(begun.elapsed());
    explained
}

type Heard = Result<Option<Decision>, (FailureKind, String)>;

async fn ask(module: Arc<dyn Module>, query: Arc<Query>, deadline: Instant) -> (Heard, Vec<String>) {
    let crashed = |panic: Box<dyn std::any::Any + Send>| (Err((FailureKind::Crashed, panic_text(&*panic))), Vec::new());
    let future = match catch_unwind(AssertUnwindSafe(|| module.explain(query))) {
        Ok(future) => future,
        Err(panic) => return crashed(panic),
    };
    match timeout_at(deadline, AssertUnwindSafe(future).catch_unwind()).await {
        Ok(Ok(Explanation { outcome, trace })) => {
            (outcome.map_err(|error| (FailureKind::Unavailable, error.what.into_owned())), trace)
        }
        Ok(Err(panic)) => crashed(panic),
        Err(_) => (Err((FailureKind::TimedOut, "its deadline passed".to_owned())), Vec::new()),
    }
}

fn said(settings: &ModuleSettings, outcome: Heard) -> Said {
    match outcome {
        Ok(None) => Said::NoOpinion,
        Ok(Some(Decision { verdict, why })) => {
            let (answer, why) = (verdict.to_string(), why.into_owned());
            if settings.observe { Said::WouldHave { answer, why } } else { Said::Decided { answer, why } }
        }
        Err((kind, what)) => {
            Said::Failed { failure: kind.name().to_owned(), what, on_failure: settings.on_failure.name().to_owned() }
        }
    }
}

/// Whether the chain ends with what a module said.
fn conclude(settings: &ModuleSettings, said: &Said, explained: &mut Explained) -> bool {
    let (answer, why) = match said {
        Said::NoOpinion | Said::WouldHave { .. } | Said::NotAsked => return false,
        Said::Decided { answer, why } => (Some(answer.clone()), why.clone()),
        Said::Failed { failure, what, .. } => {
            let answer = match settings.on_failure {
                OnFailure::Dunno => return false,
                OnFailure::Defer => Some(crate::chain::deferred().to_string()),
                OnFailure::Disconnect => None,
            };
            (answer, format!("{failure}: {what}"))
        }
    };
    explained.answer = answer;
    explained.by = settings.name.to_string();
    explained.why = why;
    true
}

fn microseconds(time: Duration) -> u64 {
    u64::try_from(time.as_micros()).unwrap_or(u64::MAX)
}

#[cfg(test)]
#[path = "explain_tests.rs"]
mod tests;

//! The actor in front of a module: one replica on every worker.
//!
//! It gives the module what the contract promises: a bounded number of requests in hand (the permit in
//! each message), a deadline, containment of panics. What a module knows at once is answered in the
//! handler; what has to wait runs in a task of its own, so that the actor goes on with its mailbox.
//!
//! When the module panics, the request is answered `Crashed` first; then the panic goes on into the
//! supervisor, which restarts this actor and counts. The module itself is shared by all replicas and
//! lives on.

use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::sync::Arc;

use actix::{Actor, ActorContext, Addr, AsyncContext, Context, Handler, Message, Supervised};
use futures_util::FutureExt;
use tokio::sync::oneshot;
use tokio::time::{Instant, timeout_at};

use crate::gate::{Gate, Permit};
use crate::mail::post;
use crate::module::{BoxFuture, Decide, Decision, Module, Outcome, Query, Unavailable};
use crate::stats::FailureKind;
use crate::supervise::{Health, Restart, panic_text};

/// Why a module has no answer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Failure {
    pub(crate) kind: FailureKind,
    pub(crate) what: String,
}

impl Failure {
    fn new(kind: FailureKind, what: impl Into<String>) -> Self {
        Self { kind, what: what.into() }
    }
}

impl From<Unavailable> for Failure {
    fn from(unavailable: Unavailable) -> Self {
        Self::new(FailureKind::Unavailable, unavailable.what)
    }
}

/// What comes back from a module.
pub(crate) type Reply = Result<Option<Decision>, Failure>;

/// One request for a module.
#[derive(Message)]
#[rtype(result = "()")]
struct Ask {
    query: Arc<Query>,
    deadline: Instant,
    reply: oneshot::Sender<Reply>,
    permit: Permit,
}

/// A task of the module panicked.
#[derive(Message)]
#[rtype(result = "()")]
struct TaskPanicked(String);

/// From now on this is the module.
#[derive(Message)]
#[rtype(result = "()")]
pub(crate) struct Replace(pub(crate) Arc<dyn Module>);

pub(crate) struct ModuleActor {
    module: Arc<dyn Module>,
    health: Arc<Health>,
}

impl ModuleActor {
    pub(crate) fn new(module: Arc<dyn Module>, health: Arc<Health>) -> Self {
        Self { module, health }
    }
}

impl Actor for ModuleActor {
    type Context = Context<Self>;
}

impl Supervised for ModuleActor {}

impl Handler<Ask> for ModuleActor {
    type Result = ();

    fn handle(&mut self, ask: Ask, context: &mut Self::Context) {
        let Ask { query, deadline, reply, permit } = ask;
        if self.health.is_down() {
            let _ = reply.send(Err(Failure::new(FailureKind::Crashed, "the module is down after too many crashes")));
            return;
        }
        // It may have waited in the mailbox while the actor was restarting.
        if Instant::now() >= deadline {
            let _ = reply.send(Err(Failure::new(FailureKind::TimedOut, "its deadline passed in the mailbox")));
            return;
        }
        let module = self.module.clone();
        // A session that is gone does not read the reply: nothing to do about it, and nothing lost.
        match catch_unwind(AssertUnwindSafe(|| module.decide(query))) {
            Ok(Decide::Now(outcome)) => {
                let _ = reply.send(outcome.map_err(Failure::from));
            }
            Ok(Decide::Later(future)) => {
                actix_rt::spawn(later(future, deadline, reply, permit, context.address()));
            }
            Err(panic) => {
                let _ = reply.send(Err(Failure::new(FailureKind::Crashed, panic_text(&*panic))));
                drop(permit);
                resume_unwind(panic);
            }
        }
    }
}

/// The part of a decision that waits. The permit lives as long as it does.
async fn later(
    future: BoxFuture<Outcome>,
    deadline: Instant,
    reply: oneshot::Sender<Reply>,
    permit: Permit,
    actor: Addr<ModuleActor>,
) {
    let answer = match timeout_at(deadline, AssertUnwindSafe(future).catch_unwind()).await {
        Ok(Ok(outcome)) => outcome.map_err(Failure::from),
        Ok(Err(panic)) => {
            let what = panic_text(&*panic);
            post(&actor, TaskPanicked(what.clone()));
            Err(Failure::new(FailureKind::Crashed, what))
        }
        Err(_) => Err(Failure::new(FailureKind::TimedOut, "its deadline passed")),
    };
    drop(permit);
    let _ = reply.send(answer);
}

impl Handler<TaskPanicked> for ModuleActor {
    type Result = ();

    fn handle(&mut self, TaskPanicked(what): TaskPanicked, _: &mut Self::Context) {
        // On to the supervisor, which counts it; the panic hook has shown it already.
        resume_unwind(Box::new(what));
    }
}

impl Handler<Replace> for ModuleActor {
    type Result = ();

    fn handle(&mut self, Replace(module): Replace, context: &mut Self::Context) {
        self.module = module;
        context.stop();
    }
}

impl Handler<Restart> for ModuleActor {
    type Result = ();

    fn handle(&mut self, _: Restart, context: &mut Self::Context) {
        context.stop();
    }
}

/// The way to one worker's replica of a module.
#[derive(Clone)]
pub(crate) struct Route {
    pub(crate) address: Addr<ModuleActor>,
    pub(crate) gate: Arc<Gate>,
}

impl Route {
    /// Asks the module; every way it can go wrong is a [`Failure`].
    pub(crate) async fn ask(&self, query: Arc<Query>, deadline: Instant) -> Reply {
        let Some(permit) = self.gate.enter() else {
            return Err(Failure::new(FailureKind::Overloaded, "max_in_flight reached"));
        };
        let (reply, answer) = oneshot::channel();
        post(&self.address, Ask { query, deadline, reply, permit });
        answer.await.unwrap_or_else(|_| Err(Failure::new(FailureKind::Crashed, "the actor ended before it answered")))
    }
}

//! The actor in front of a module: one replica on every worker.
//!
//! It gives the module what the contract promises: a bounded number of requests in hand (a permit for each),
//! a deadline, containment of panics, restart and a state.
//!
//! The sessions of its thread reach it by a [`Route`]. While the actor is up, the module is asked on the
//! spot, in the session's own turn: most answers are known at once, and a message there and back would cost
//! more than the answer. What has to wait is waited for there too, and becomes a task of its own when the session
//! ends first: what a module has begun is not broken off because a client left.
//! While the actor is restarting, requests wait in its mailbox; while it is down, they are answered for.
//!
//! When the module panics, the request is answered `Crashed`; then the panic goes on into the supervisor,
//! which restarts this actor and counts. The module itself is shared by all replicas and lives on.

use std::cell::RefCell;
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::pin::Pin;
use std::rc::Rc;
use std::sync::Arc;
use std::task::{self, Poll, ready};

use actix::{Actor, ActorContext, Addr, AsyncContext, Context, Handler, Message, Supervised};
use futures_util::FutureExt;
use slog::Logger;
use tokio::runtime::Handle;
use tokio::sync::oneshot;
use tokio::time::{Instant, timeout_at};

use crate::gate::{Gate, Permit};
use crate::mail::post;
use crate::module::{BoxFuture, Decide, Decision, Module, Outcome, Query, Unavailable};
use crate::stats::FailureKind;
use crate::supervise::{Health, Restart, State, panic_text, supervise};

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

fn down() -> Failure {
    Failure::new(FailureKind::Crashed, "the module is down after too many crashes")
}

/// What comes back from a module.
pub(crate) type Reply = Result<Option<Decision>, Failure>;

/// A request that could not be asked on the spot.
#[derive(Message)]
#[rtype(result = "()")]
struct Ask {
    query: Arc<Query>,
    deadline: Instant,
    reply: oneshot::Sender<Reply>,
    permit: Permit,
}

/// The part of a decision that has to wait. Goes on as a task of its own when it is not waited for to the end.
struct Finishing(Option<Pin<Box<dyn Future<Output = Reply>>>>);

impl Future for Finishing {
    type Output = Reply;

    fn poll(mut self: Pin<&mut Self>, context: &mut task::Context<'_>) -> Poll<Reply> {
        let Some(rest) = &mut self.0 else { return Poll::Pending };
        let reply = ready!(rest.as_mut().poll(context));
        self.0 = None;
        Poll::Ready(reply)
    }
}

impl Drop for Finishing {
    fn drop(&mut self) {
        // Without a runtime the thread ends, and all with it.
        if let Some(rest) = self.0.take()
            && Handle::try_current().is_ok()
        {
            actix_rt::spawn(rest);
        }
    }
}

/// The module as the actor and the sessions of its thread see it; replaced by order.
type Shared = Rc<RefCell<Arc<dyn Module>>>;

/// The module panicked outside the actor's own turn: in a session's, or in a task.
#[derive(Message)]
#[rtype(result = "()")]
struct Panicked(String);

/// From now on this is the module.
#[derive(Message)]
#[rtype(result = "()")]
pub(crate) struct Replace(pub(crate) Arc<dyn Module>);

pub(crate) struct ModuleActor {
    module: Shared,
    health: Arc<Health>,
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
            let _ = reply.send(Err(down()));
            return;
        }
        // It may have waited in the mailbox while the actor was restarting.
        if Instant::now() >= deadline {
            let _ = reply.send(Err(Failure::new(FailureKind::TimedOut, "its deadline passed in the mailbox")));
            return;
        }
        match call(&self.module, query) {
            Ok(Decide::Now(outcome)) => {
                let _ = reply.send(outcome.map_err(Failure::from));
            }
            Ok(Decide::Later(future)) => {
                let rest = later(future, deadline, permit, context.address());
                // A session that is gone does not read the reply: nothing to do about it, and nothing lost.
                actix_rt::spawn(async move { drop(reply.send(rest.await)) });
            }
            Err(what) => {
                drop(permit);
                let _ = reply.send(Err(Failure::new(FailureKind::Crashed, what.clone())));
                resume_unwind(Box::new(what));
            }
        }
    }
}

/// Asks the module, a panic contained.
fn call(module: &Shared, query: Arc<Query>) -> Result<Decide, String> {
    let module = module.borrow().clone();
    catch_unwind(AssertUnwindSafe(|| module.decide(query))).map_err(|panic| panic_text(&*panic))
}

/// The part of a decision that waits. The permit lives as long as it does.
async fn later(future: BoxFuture<Outcome>, deadline: Instant, permit: Permit, actor: Addr<ModuleActor>) -> Reply {
    let reply = match timeout_at(deadline, AssertUnwindSafe(future).catch_unwind()).await {
        Ok(Ok(outcome)) => outcome.map_err(Failure::from),
        Ok(Err(panic)) => {
            let what = panic_text(&*panic);
            post(&actor, Panicked(what.clone()));
            Err(Failure::new(FailureKind::Crashed, what))
        }
        Err(_) => Err(Failure::new(FailureKind::TimedOut, "its deadline passed")),
    };
    drop(permit);
    reply
}

impl Handler<Panicked> for ModuleActor {
    type Result = ();

    fn handle(&mut self, Panicked(what): Panicked, _: &mut Self::Context) {
        // On to the supervisor, which counts it; the panic hook has shown it already.
        resume_unwind(Box::new(what));
    }
}

impl Handler<Replace> for ModuleActor {
    type Result = ();

    fn handle(&mut self, Replace(module): Replace, context: &mut Self::Context) {
        self.module.replace(module);
        context.stop();
    }
}

impl Handler<Restart> for ModuleActor {
    type Result = ();

    fn handle(&mut self, _: Restart, context: &mut Self::Context) {
        context.stop();
    }
}

/// The way to one worker's replica of a module, for the sessions of its thread.
#[derive(Clone)]
pub(crate) struct Route {
    pub(crate) address: Addr<ModuleActor>,
    pub(crate) gate: Arc<Gate>,
    pub(crate) health: Arc<Health>,
    module: Shared,
}

impl Route {
    /// Starts the replica on the current thread's worker.
    pub(crate) fn start(name: &str, module: Arc<dyn Module>, max_in_flight: usize, log: &Logger) -> Self {
        let module = Rc::new(RefCell::new(module));
        let shared = module.clone();
        let name = format!("module {name}");
        let (address, health) = supervise(&name, log, |health| ModuleActor { module: shared, health });
        Self { address, gate: Gate::new(max_in_flight), health, module }
    }

    /// Asks the module; every way it can go wrong is a [`Failure`].
    pub(crate) async fn ask(&self, query: Arc<Query>, deadline: Instant) -> Reply {
        let Some(permit) = self.gate.enter() else {
            return Err(Failure::new(FailureKind::Overloaded, "max_in_flight reached"));
        };
        let answer = match self.health.state() {
            State::Up => match call(&self.module, query) {
                Ok(Decide::Now(outcome)) => return outcome.map_err(Failure::from),
                Ok(Decide::Later(future)) => {
                    return Finishing(Some(Box::pin(later(future, deadline, permit, self.address.clone())))).await;
                }
                Err(what) => {
                    post(&self.address, Panicked(what.clone()));
                    return Err(Failure::new(FailureKind::Crashed, what));
                }
            },
            State::Restarting => {
                let (reply, answer) = oneshot::channel();
                post(&self.address, Ask { query, deadline, reply, permit });
                answer
            }
            State::Down => return Err(down()),
        };
        answer.await.unwrap_or_else(|_| Err(Failure::new(FailureKind::Crashed, "the actor ended before it answered")))
    }
}

//! The module contract: what the author of a module writes, and all that a module sees of the runtime.
//!
//! A module is plain Rust. It names no actor, holds no address, spawns nothing on an arbiter: the
//! runtime puts one supervised actor in front of it on every worker, and that actor gives it its
//! permit, its deadline, its clock and its containment of panics. `docs/writing-a-module.md` walks
//! through the smallest one, `mod-test`.
//!
//! A module lives through three steps, each of which fails apart from the others:
//!
//! 1. [`ModuleType::configure`] reads the module's section and reports every fault in it. It does no
//!    input or output, so a configuration can be checked without a database.
//! 2. [`Configured::start`] makes the module ready to answer (first snapshot loaded). No request is
//!    answered before it returned.
//! 3. [`Module::decide`] is asked, from any worker, until the module is stopped.

use std::borrow::Cow;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context as TaskContext, Poll, Waker};

use libvalvula::{Request, Verdict};

use crate::clock::Clock;
use crate::counting::Counters;
use crate::database::Database;
use crate::local::Local;
use crate::operate::{Done, Order, Refused};
use crate::postfix_config::Source;
use crate::settings::Section;
use crate::watch::{Followed, Follower};

/// One request on its way through a chain: what Postfix sent, and where it came in.
#[derive(Debug)]
pub struct Query {
    /// What Postfix sent.
    pub request: Request,
    /// Name of the listener it came in by.
    pub listener: Arc<str>,
}

impl std::ops::Deref for Query {
    type Target = Request;
    fn deref(&self) -> &Request {
        &self.request
    }
}

/// An opinion: the verdict, and for the log what led to it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Decision {
    /// The answer to Postfix.
    pub verdict: Verdict,
    /// For the log only, never shown to a mail sender: the rule's id or the limit, and the values
    /// compared. For example `bwl_global 17: source *.mailer.net`.
    pub why: Cow<'static, str>,
}

impl Decision {
    /// An opinion and its evidence.
    pub fn new(verdict: Verdict, why: impl Into<Cow<'static, str>>) -> Self {
        Self { verdict, why: why.into() }
    }
}

/// Something the module needs to decide did not answer: a database, a table, a local question.
///
/// Never "no": the chain applies the module's `on_failure`.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{what}")]
pub struct Unavailable {
    /// What could not be asked and why, for the log.
    pub what: Cow<'static, str>,
}

impl Unavailable {
    /// Says what could not be asked.
    pub fn new(what: impl Into<Cow<'static, str>>) -> Self {
        Self { what: what.into() }
    }
}

/// What a module comes to: an opinion, none (`Ok(None)`, Postfix's `DUNNO`), or could not ask.
pub type Outcome = Result<Option<Decision>, Unavailable>;

/// A future as the contract passes it about.
pub type BoxFuture<T> = Pin<Box<dyn Future<Output = T> + Send + 'static>>;

/// The answer of [`Module::decide`]: known at once, or later.
pub enum Decide {
    /// Known without waiting. The cheap way: no task, no timer.
    Now(Outcome),
    /// Has to wait. Runs in a task of its own under the module's deadline.
    Later(BoxFuture<Outcome>),
}

impl Decide {
    /// No opinion.
    pub const DUNNO: Self = Self::Now(Ok(None));

    /// Runs `future` as far as it goes without waiting; what is left of it becomes [`Decide::Later`].
    ///
    /// Lets a module be written as one `async fn` although it waits only once in a thousand requests.
    pub fn soon(future: impl Future<Output = Outcome> + Send + 'static) -> Self {
        let mut future: BoxFuture<Outcome> = Box::pin(future);
        // A no-op waker loses no wake-up: the future is polled again, with the task's own waker, as
        // soon as the runtime has put it into its task.
        match future.as_mut().poll(&mut TaskContext::from_waker(Waker::noop())) {
            Poll::Ready(outcome) => Self::Now(outcome),
            Poll::Pending => Self::Later(future),
        }
    }
}

impl From<Outcome> for Decide {
    fn from(outcome: Outcome) -> Self {
        Self::Now(outcome)
    }
}

/// What [`Module::explain`] gives: the outcome, and line by line what the module looked at.
pub struct Explanation {
    /// What the module would have decided.
    pub outcome: Outcome,
    /// What it looked at, for people.
    pub trace: Vec<String>,
}

/// A module that is ready to decide. One value is shared by the actors of all workers.
pub trait Module: Send + Sync + 'static {
    /// What this module says of `query`.
    ///
    /// Must not block the thread (no file, no socket, no lock held across a wait): a worker serves all
    /// its connections meanwhile. A panic is contained, counted as a crash and answered by
    /// `on_failure`.
    fn decide(self: Arc<Self>, query: Arc<Query>) -> Decide;

    /// The same without any effect: nothing charged, nothing remembered, nothing changed.
    ///
    /// The default asks [`Module::decide`]: a module whose `decide` changes anything must write its own.
    fn explain(self: Arc<Self>, query: Arc<Query>) -> BoxFuture<Explanation> {
        Box::pin(async move {
            let outcome = match self.decide(query) {
                Decide::Now(outcome) => outcome,
                Decide::Later(future) => future.await,
            };
            Explanation { outcome, trace: Vec::new() }
        })
    }

    /// Carries out what an operator asks of the module's own tables and counters (`valvulactl rule`, `quota`,
    /// ...). Values are checked by the code that reads the tables, and reach the database bound.
    fn operate(self: Arc<Self>, order: Order) -> BoxFuture<Result<Done, Refused>> {
        Box::pin(async move { Err(order.unknown()) })
    }

    /// Returns when everything that was committed to the module's tables before the call is obeyed.
    fn refresh(self: Arc<Self>) -> BoxFuture<Result<(), Unavailable>> {
        Box::pin(async { Ok(()) })
    }

    /// The module's own facts for `-s` and `stats`, each a name and a value (rules loaded, writes pending).
    fn status(&self) -> Vec<(&'static str, serde_json::Value)> {
        Vec::new()
    }

    /// Called once when the module has answered its last request: write what is not yet written.
    fn stop(self: Arc<Self>) -> BoxFuture<()> {
        Box::pin(async {})
    }
}

/// What a module may use. Cheap to clone.
#[derive(Clone)]
pub struct ModuleContext {
    /// The name it has in chains, statistics and logs (`mquota-bulk`), without `mod-`.
    pub name: Arc<str>,
    /// A logger that already carries the module's name.
    pub log: slog::Logger,
    /// The three local questions.
    pub local: Local,
    /// The daemon's database. The module must be able to live while it is away.
    pub database: Database,
    /// The daemon's counters, which outlive a reload.
    pub counters: Counters,
    /// The time of day; injected, so that a test can set it.
    pub clock: Clock,
}

impl ModuleContext {
    /// Loads a table and has it followed for as long as what is returned is held: see [`crate::watch`].
    ///
    /// # Errors
    /// When it can't be loaded, which keeps the module from starting.
    pub async fn follow<F: Follower>(&self, follower: F) -> Result<Followed, StartError> {
        self.database.watch().follow(follower, &self.log).await.map_err(StartError::new)
    }
}

/// A module's settings, read and found good.
pub trait Configured: Send + 'static {
    /// Makes the module ready: loads what it needs to answer its first request.
    ///
    /// An error ends the start of the daemon (or the reload, the old configuration staying).
    fn start(self: Box<Self>, context: ModuleContext) -> BoxFuture<Result<Arc<dyn Module>, StartError>>;

    /// Another source for the local questions, asked after Postfix's own configuration.
    ///
    /// Called before [`Configured::start`], also for a module that has a section but stands in no chain.
    fn source(&self, log: &slog::Logger) -> Option<Arc<dyn Source>> {
        let _ = log;
        None
    }
}

/// Why a module could not start.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub struct StartError(pub String);

impl StartError {
    /// Says why.
    pub fn new(why: impl std::fmt::Display) -> Self {
        Self(why.to_string())
    }
}

/// A kind of module: what the registry lists, one line each.
pub trait ModuleType: Send + Sync + 'static {
    /// Its name without `mod-`, as chains and `type = "..."` name it.
    fn name(&self) -> &'static str;

    /// Reads the module's own keys of `section` (those common to all modules are read already).
    ///
    /// Faults are recorded in the section; what is returned then is not used. A third party's module
    /// that has no settings returns at once: a key nobody asked for is reported as unknown.
    fn configure(&self, section: &mut Section) -> Box<dyn Configured>;
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_future_that_need_not_wait_is_answered_now() {
        assert!(matches!(Decide::soon(async { Ok(None) }), Decide::Now(Ok(None))));
    }

    #[test]
    fn a_future_that_waits_is_kept_for_later() {
        assert!(matches!(Decide::soon(std::future::pending()), Decide::Later(_)));
    }
}

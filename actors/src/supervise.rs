//! The supervisor of every long-lived actor: it survives the actor's panics.
//!
//! `actix::Supervisor` dies with the actor it supervises when a handler panics. This one polls the
//! actor under `catch_unwind` and restarts it in place: its address stays good and the messages that
//! were waiting in its mailbox are handled by the restarted actor. Crashes are counted against a
//! restart [`Intensity`]. Past it the actor is [`State::Down`]: it runs, so that nobody waits in vain
//! for its answer, but it is expected to refuse work (it asks its [`Health`]) until the one more try
//! that comes each 60 s.

use std::future::Future;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU8, AtomicU64, Ordering};
use std::task::{Context as TaskContext, Poll};

use actix::dev::ContextFut;
use actix::{Actor, AsyncContext, Context, Message, Supervised};
use slog::{Logger, error, info, o, warn};
use tokio::time::{Instant, Sleep, sleep};

use crate::restart::{Intensity, Next};

/// Restart this actor: its spawned futures are dropped, its mailbox stays. An order, not a crash.
#[derive(Message, Debug, Clone, Copy)]
#[rtype(result = "()")]
pub struct Restart;

/// What state a supervised actor is in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum State {
    /// It works.
    Up,
    /// It crashed and waits for its restart; messages wait with it.
    Restarting,
    /// It crashed too often; it refuses work until it is tried again.
    Down,
}

impl State {
    /// `up`, `restarting` or `down`.
    pub fn name(self) -> &'static str {
        match self {
            Self::Up => "up",
            Self::Restarting => "restarting",
            Self::Down => "down",
        }
    }
}

/// An actor's health, shared with whoever routes work to it.
#[derive(Debug, Default)]
pub struct Health {
    state: AtomicU8,
    restarts: AtomicU64,
    retired: AtomicBool,
}

impl Health {
    /// Its state.
    pub fn state(&self) -> State {
        match self.state.load(Ordering::Relaxed) {
            0 => State::Up,
            1 => State::Restarting,
            _ => State::Down,
        }
    }

    /// Whether it is to refuse work.
    pub fn is_down(&self) -> bool {
        self.state() == State::Down
    }

    /// How often it was restarted, by crash or by order.
    pub fn restarts(&self) -> u64 {
        self.restarts.load(Ordering::Relaxed)
    }

    /// When the actor next stops, it is not restarted.
    pub fn retire(&self) {
        self.retired.store(true, Ordering::Relaxed);
    }

    fn set(&self, state: State) {
        self.state.store(state as u8, Ordering::Relaxed);
    }
}

/// Starts a supervised actor on the current arbiter. `make` gets the health the actor will have.
pub fn supervise<A>(name: &str, log: &Logger, make: impl FnOnce(Arc<Health>) -> A) -> (actix::Addr<A>, Arc<Health>)
where
    A: Actor<Context = Context<A>> + Supervised,
{
    supervise_with(name, log, Intensity::default(), make)
}

/// [`supervise`] with a restart intensity of the caller's choice.
pub fn supervise_with<A>(
    name: &str,
    log: &Logger,
    intensity: Intensity,
    make: impl FnOnce(Arc<Health>) -> A,
) -> (actix::Addr<A>, Arc<Health>)
where
    A: Actor<Context = Context<A>> + Supervised,
{
    let health = Arc::new(Health::default());
    let context = Context::new();
    let address = context.address();
    let future = context.into_future(make(health.clone()));
    let log = log.new(o!("actor" => name.to_owned()));
    actix_rt::spawn(Supervisor { future, health: health.clone(), intensity, pause: None, log });
    (address, health)
}

/// The future that polls an actor and outlives its panics.
struct Supervisor<A: Actor<Context = Context<A>>> {
    future: ContextFut<A, Context<A>>,
    health: Arc<Health>,
    intensity: Intensity,
    /// While restarting: until then the actor is not polled. While down: until then it refuses work.
    pause: Option<Pin<Box<Sleep>>>,
    log: Logger,
}

impl<A> Supervisor<A>
where
    A: Actor<Context = Context<A>> + Supervised,
{
    fn crashed(&mut self, panic: &(dyn std::any::Any + Send)) {
        self.health.restarts.fetch_add(1, Ordering::Relaxed);
        let what = panic_text(panic);
        match self.intensity.crashed(Instant::now()) {
            Next::Again(pause) => {
                warn!(self.log, "actor crashed, restarting"; "panic" => what, "pause_ms" => pause.as_millis());
                self.health.set(State::Restarting);
                self.pause = Some(Box::pin(sleep(pause)));
            }
            Next::Down(pause) => {
                error!(self.log, "actor crashed too often, down"; "panic" => what, "retry_s" => pause.as_secs());
                self.health.set(State::Down);
                self.pause = Some(Box::pin(sleep(pause)));
            }
        }
    }
}

impl<A> Future for Supervisor<A>
where
    A: Actor<Context = Context<A>> + Supervised,
{
    type Output = ();

    fn poll(self: Pin<&mut Self>, context: &mut TaskContext<'_>) -> Poll<()> {
        let this = self.get_mut();
        loop {
            if let Some(pause) = this.pause.as_mut() {
                let over = pause.as_mut().poll(context).is_ready();
                if over {
                    if this.health.is_down() {
                        info!(this.log, "actor is tried again");
                    }
                    this.pause = None;
                    this.health.set(State::Up);
                } else if this.health.state() == State::Restarting {
                    return Poll::Pending;
                }
            }
            match catch_unwind(AssertUnwindSafe(|| Pin::new(&mut this.future).poll(context))) {
                Ok(Poll::Pending) => return Poll::Pending,
                Ok(Poll::Ready(())) => {
                    if this.health.retired.load(Ordering::Relaxed) || !this.future.restart() {
                        return Poll::Ready(());
                    }
                    this.health.restarts.fetch_add(1, Ordering::Relaxed);
                    // Whoever orders it has mended the cause: it is tried at once, and begins anew.
                    this.intensity.forgive();
                    this.pause = None;
                    this.health.set(State::Up);
                    info!(this.log, "actor restarted by order");
                }
                Err(panic) => {
                    this.crashed(&*panic);
                    if !this.future.restart() {
                        return Poll::Ready(());
                    }
                }
            }
        }
    }
}

/// What a panic said.
pub(crate) fn panic_text(panic: &(dyn std::any::Any + Send)) -> String {
    if let Some(text) = panic.downcast_ref::<&str>() {
        (*text).to_owned()
    } else if let Some(text) = panic.downcast_ref::<String>() {
        text.clone()
    } else {
        "no text".to_owned()
    }
}

#[cfg(test)]
#[path = "supervise_tests.rs"]
mod tests;

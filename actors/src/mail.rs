//! The two ways this runtime puts a message into a mailbox.
//!
//! `Addr::send` and `Addr::do_send` never refuse, however full the mailbox: clippy bans them, and this
//! file alone may call them. It is safe here for a reason each: work that comes from outside carries a
//! permit (see `gate.rs`), orders come from an operator one at a time, and statistics come once
//! per worker and tick.

use actix::dev::ToEnvelope;
use actix::{Actor, Addr, Handler, Message};

/// The actor is gone; it ends only when the runtime does.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the actor has ended")]
pub struct Gone;

/// Sends `message` without waiting for an answer.
#[allow(clippy::disallowed_methods, reason = "the one place that may; see the head of this file")]
pub fn post<A, M>(to: &Addr<A>, message: M)
where
    A: Actor + Handler<M>,
    A::Context: ToEnvelope<A, M>,
    M: Message + Send + 'static,
    M::Result: Send,
{
    to.do_send(message);
}

/// Sends `message` and waits for the answer.
///
/// # Errors
/// [`Gone`] when the actor ended before it answered.
#[allow(clippy::disallowed_methods, reason = "the one place that may; see the head of this file")]
pub async fn ask<A, M>(to: &Addr<A>, message: M) -> Result<M::Result, Gone>
where
    A: Actor + Handler<M>,
    A::Context: ToEnvelope<A, M>,
    M: Message + Send + 'static,
    M::Result: Send,
{
    to.send(message).await.map_err(|_| Gone)
}

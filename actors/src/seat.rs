//! A port's numbers that several threads touch, and the right of one connection to be open.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};

use arc_swap::ArcSwap;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use crate::networks::Networks;

/// What the port, its acceptor, its sessions on all workers and the report share.
#[derive(Debug)]
pub(crate) struct Seats {
    /// One permit a connection; taken before a connection is accepted.
    free: Arc<Semaphore>,
    most: AtomicUsize,
    /// Permits that a smaller limit took away while they were in use: destroyed when given back.
    debt: AtomicUsize,
    open: AtomicUsize,
    pending: AtomicUsize,
    accepted: AtomicU64,
    /// Who may sit down.
    allow: ArcSwap<Networks>,
    turned_away: AtomicU64,
}

impl Seats {
    pub(crate) fn new(most: usize, allow: Networks) -> Arc<Self> {
        Arc::new(Self {
            free: Arc::new(Semaphore::new(most)),
            most: AtomicUsize::new(most),
            debt: AtomicUsize::new(0),
            open: AtomicUsize::new(0),
            pending: AtomicUsize::new(0),
            accepted: AtomicU64::new(0),
            allow: ArcSwap::from_pointee(allow),
            turned_away: AtomicU64::new(0),
        })
    }

    /// Waits until one more connection may be open.
    pub(crate) async fn take(self: &Arc<Self>) -> Seat {
        let permit = self.free.clone().acquire_owned().await.expect("the semaphore is never closed");
        Seat { seats: self.clone(), permit: Some(permit), counted: false }
    }

    /// Changes the limit; with more connections open than it allows, none is accepted until enough are gone.
    pub(crate) fn resize(&self, most: usize) {
        let before = self.most.swap(most, Ordering::Relaxed);
        if most >= before {
            let mut more = most - before;
            // What is still owed is forgiven first.
            let forgiven = more.min(self.debt.load(Ordering::Relaxed));
            self.debt.fetch_sub(forgiven, Ordering::Relaxed);
            more -= forgiven;
            self.free.add_permits(more);
        } else {
            let fewer = before - most;
            let taken = self.free.forget_permits(fewer);
            self.debt.fetch_add(fewer - taken, Ordering::Relaxed);
        }
    }

    /// Connections open.
    pub(crate) fn open(&self) -> usize {
        self.open.load(Ordering::Relaxed)
    }

    /// Whether no further connection may be open.
    pub(crate) fn is_full(&self) -> bool {
        self.open() >= self.most.load(Ordering::Relaxed)
    }

    /// Who may connect.
    pub(crate) fn allow(&self) -> Arc<Networks> {
        self.allow.load_full()
    }

    /// Changes who may connect; connections that are open stay.
    pub(crate) fn set_allow(&self, allow: Networks) {
        self.allow.store(Arc::new(allow));
    }

    /// A client was turned away.
    pub(crate) fn turn_away(&self) {
        self.turned_away.fetch_add(1, Ordering::Relaxed);
    }

    /// Clients turned away so far.
    pub(crate) fn turned_away(&self) -> u64 {
        self.turned_away.load(Ordering::Relaxed)
    }

    /// Grows with each client whose connection was accepted, or closed because it is not allowed.
    pub(crate) fn progress(&self) -> u64 {
        self.accepted() + self.turned_away()
    }

    /// Requests read and not yet answered.
    pub(crate) fn pending(&self) -> usize {
        self.pending.load(Ordering::Relaxed)
    }

    /// A request in hand is answered, or never will be.
    pub(crate) fn answered(&self) {
        self.pending.fetch_sub(1, Ordering::Relaxed);
    }

    /// Connections accepted so far.
    pub(crate) fn accepted(&self) -> u64 {
        self.accepted.load(Ordering::Relaxed)
    }
}

/// One connection's place; given back when dropped.
#[derive(Debug)]
pub(crate) struct Seat {
    seats: Arc<Seats>,
    permit: Option<OwnedSemaphorePermit>,
    counted: bool,
}

impl Seat {
    /// A connection has been accepted into this seat: of a client, or of the daemon's own self-check.
    pub(crate) fn seated(mut self, of_a_client: bool) -> Self {
        self.counted = true;
        if of_a_client {
            self.seats.accepted.fetch_add(1, Ordering::Relaxed);
        }
        self.seats.open.fetch_add(1, Ordering::Relaxed);
        self
    }

    /// The port's numbers.
    pub(crate) fn seats(&self) -> &Arc<Seats> {
        &self.seats
    }

    /// A request is in hand until the returned value is dropped.
    pub(crate) fn request(&self) -> InHand<'_> {
        self.seats.pending.fetch_add(1, Ordering::Relaxed);
        InHand(&self.seats)
    }
}

impl Drop for Seat {
    fn drop(&mut self) {
        if self.counted {
            self.seats.open.fetch_sub(1, Ordering::Relaxed);
        }
        let owed = self.seats.debt.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |debt| debt.checked_sub(1));
        if let (Ok(_), Some(permit)) = (owed, self.permit.take()) {
            permit.forget();
        }
    }
}

/// A request that was read and is not yet answered.
pub(crate) struct InHand<'a>(&'a Seats);

impl InHand<'_> {
    /// It stays in hand until [`Seats::answered`].
    pub(crate) fn keep(self) {
        std::mem::forget(self);
    }
}

impl Drop for InHand<'_> {
    fn drop(&mut self) {
        self.0.answered();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_smaller_limit_holds_once_enough_connections_are_gone() {
        let seats = Seats::new(3, Networks::private());
        let mut taken =
            vec![seats.take().await.seated(true), seats.take().await.seated(true), seats.take().await.seated(true)];
        seats.resize(1);
        taken.truncate(1);
        assert_eq!((seats.open(), seats.free.available_permits()), (1, 0));
        taken.clear();
        assert_eq!(seats.free.available_permits(), 1);
        seats.resize(4);
        assert_eq!(seats.free.available_permits(), 4);
    }

    #[tokio::test]
    async fn what_is_owed_is_forgiven_when_the_limit_grows_again() {
        let seats = Seats::new(2, Networks::private());
        let taken = (seats.take().await, seats.take().await);
        seats.resize(1);
        seats.resize(2);
        drop(taken);
        assert_eq!(seats.free.available_permits(), 2);
    }
}

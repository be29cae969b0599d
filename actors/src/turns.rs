//! Fairness between the listeners of one worker: a listener that is flooded does not keep another waiting.
//!
//! A thread serves its connections in the order in which they have something to say. With hundreds of busy
//! connections at one listener, a request at another waits for all of them. So while more than one
//! listener is busy, each gives out a few [turns](Lane::turn) a round, and between two rounds the
//! thread looks which connections have something to say. With one busy listener a turn is had at once.

use std::cell::{Cell, RefCell};
use std::collections::VecDeque;
use std::future::poll_fn;
use std::rc::{Rc, Weak};
use std::task::{Poll, Waker};

/// Turns of a listener in one round. A request takes some 10 us of a worker, so that another listener's
/// waits some 50 us for each flooded one; fewer would cost the flooded one more rounds.
const TURNS: usize = 4;

/// How many looks without a request it takes for a listener to be busy no longer.
const QUIET: u32 = 10;

/// All listeners of a worker.
#[derive(Default)]
pub(crate) struct Turns {
    lanes: RefCell<Vec<Weak<Lane>>>,
    /// More than one listener is busy.
    is_shared: Cell<bool>,
    /// Rounds are begun.
    is_running: Cell<bool>,
}

/// One listener.
pub(crate) struct Lane {
    turns: Rc<Turns>,
    waiting: RefCell<VecDeque<Rc<Place>>>,
    taken: Cell<usize>,
    is_busy: Cell<bool>,
    /// Looks since its last request.
    quiet: Cell<u32>,
}

#[derive(Default)]
struct Place {
    is_called: Cell<bool>,
    waker: RefCell<Option<Waker>>,
}

impl Turns {
    /// The lane of one more listener, for as long as it is held.
    pub(crate) fn lane(self: &Rc<Self>) -> Rc<Lane> {
        let lane = Rc::new(Lane {
            turns: self.clone(),
            waiting: RefCell::default(),
            taken: Cell::new(0),
            is_busy: Cell::new(false),
            quiet: Cell::new(0),
        });
        self.lanes.borrow_mut().push(Rc::downgrade(&lane));
        lane
    }

    /// To be called at regular intervals: finds out who is busy.
    pub(crate) fn look(&self) {
        self.each(|lane| {
            lane.quiet.set(lane.quiet.get().saturating_add(1));
            if lane.quiet.get() > QUIET {
                lane.is_busy.set(false);
            }
        });
        self.recount();
    }

    fn recount(&self) {
        let mut busy = 0;
        self.each(|lane| busy += usize::from(lane.is_busy.get()));
        self.is_shared.set(busy > 1);
    }

    fn each(&self, mut see: impl FnMut(&Lane)) {
        self.lanes.borrow_mut().retain(|lane| lane.upgrade().inspect(|lane| see(lane)).is_some());
    }

    /// Begins round after round until nobody waits.
    async fn run(self: Rc<Self>) {
        loop {
            // Comes back when the runtime has looked for connections that have something to say.
            tokio::task::yield_now().await;
            let mut is_used = false;
            self.each(|lane| is_used |= lane.begin_round());
            if !is_used {
                self.is_running.set(false);
                return;
            }
        }
    }
}

impl Lane {
    /// Waits for the next turn. What it is for is done at once, without another wait.
    pub(crate) async fn turn(&self) {
        self.quiet.set(0);
        if !self.is_busy.replace(true) {
            self.turns.recount();
        }
        // Who waits from before is not overtaken.
        if !self.turns.is_shared.get() && self.waiting.borrow().is_empty() {
            return;
        }
        if !self.turns.is_running.replace(true) {
            actix_rt::spawn(self.turns.clone().run());
        }
        if self.taken.get() < TURNS && self.waiting.borrow().is_empty() {
            self.taken.set(self.taken.get() + 1);
            return;
        }
        let place = Rc::new(Place::default());
        self.waiting.borrow_mut().push_back(place.clone());
        poll_fn(|context| {
            if place.is_called.get() {
                return Poll::Ready(());
            }
            place.waker.replace(Some(context.waker().clone()));
            Poll::Pending
        })
        .await;
    }

    /// Calls the next ones. Whether the round before was used.
    fn begin_round(&self) -> bool {
        let was_used = self.taken.replace(0) > 0;
        let mut waiting = self.waiting.borrow_mut();
        while self.taken.get() < TURNS {
            let Some(place) = waiting.pop_front() else { break };
            // Only its connection held it otherwise: that is gone.
            if Rc::strong_count(&place) == 1 {
                continue;
            }
            self.taken.set(self.taken.get() + 1);
            place.is_called.set(true);
            if let Some(waker) = place.waker.take() {
                waker.wake();
            }
        }
        was_used || self.taken.get() > 0
    }
}

#[cfg(test)]
mod tests {
    use actix_rt::System;
    use futures_util::FutureExt as _;

    use super::*;

    /// A listener's connection that takes `count` turns and writes down each.
    fn take(lane: &Rc<Lane>, name: char, count: usize, order: &Rc<RefCell<String>>) -> actix_rt::task::JoinHandle<()> {
        let (lane, order) = (lane.clone(), order.clone());
        actix_rt::spawn(async move {
            for _ in 0..count {
                lane.turn().await;
                order.borrow_mut().push(name);
            }
        })
    }

    #[test]
    fn a_flooded_listener_lets_another_have_its_turn() {
        System::new().block_on(async {
            let turns = Rc::new(Turns::default());
            let (flooded, other) = (turns.lane(), turns.lane());
            let order = Rc::default();
            // Both are busy.
            take(&flooded, 'f', 1, &order).await.expect("one turn");
            take(&other, 'o', 1, &order).await.expect("one turn");
            order.borrow_mut().clear();
            let flood: Vec<_> = (0..200).map(|_| take(&flooded, 'f', 5, &order)).collect();
            tokio::task::yield_now().await;
            take(&other, 'o', 3, &order).await.expect("three turns");
            let before = order.borrow().matches('f').count();
            assert!(before <= 6 * TURNS, "{before} turns of the flooded one came before three of the other");
            for connection in flood {
                connection.await.expect("all its turns");
            }
            assert_eq!(order.borrow().matches('f').count(), 1000, "nobody is forgotten");
        });
    }

    #[test]
    fn one_busy_listener_never_waits() {
        System::new().block_on(async {
            let turns = Rc::new(Turns::default());
            let (lane, _idle) = (turns.lane(), turns.lane());
            assert!((0..1000).all(|_| lane.turn().now_or_never().is_some()));
        });
    }

    #[test]
    fn a_listener_that_became_quiet_or_was_closed_is_not_waited_for() {
        System::new().block_on(async {
            let turns = Rc::new(Turns::default());
            let (lane, other, closed) = (turns.lane(), turns.lane(), turns.lane());
            let at_once = || lane.turn().now_or_never().is_some();
            other.turn().await;
            closed.turn().await;
            assert!((0..10 * TURNS).any(|_| !at_once()), "shared");
            drop(closed);
            for _ in 0..=QUIET {
                turns.look();
            }
            // Those who waited are gone; the rounds go on until that is noticed.
            while turns.is_running.get() {
                tokio::task::yield_now().await;
            }
            assert!((0..10 * TURNS).all(|_| at_once()));
        });
    }
}

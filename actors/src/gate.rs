//! The permit gate in front of a module actor: what bounds queue and execution together.
//!
//! An actix mailbox does not bound what an actor has in hand: an asynchronous handler empties it at
//! once. So each request takes a permit before it is sent, carries it in the message and through the
//! module's future, and gives it back by `Drop`, also when the module panics.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

/// Bounds how many requests one module actor holds.
#[derive(Debug)]
pub struct Gate {
    most: usize,
    held: AtomicUsize,
    peak: AtomicUsize,
}

impl Gate {
    /// At most `most` permits at a time.
    pub fn new(most: usize) -> Arc<Self> {
        Arc::new(Self { most, held: AtomicUsize::new(0), peak: AtomicUsize::new(0) })
    }

    /// A permit, or none when `most` are out.
    pub fn enter(self: &Arc<Self>) -> Option<Permit> {
        let before = self.held.fetch_add(1, Ordering::Relaxed);
        if before >= self.most {
            self.held.fetch_sub(1, Ordering::Relaxed);
            return None;
        }
        // A load first: the peak is rarely moved, and then only by this thread.
        if before + 1 > self.peak.load(Ordering::Relaxed) {
            self.peak.fetch_max(before + 1, Ordering::Relaxed);
        }
        Some(Permit(self.clone()))
    }

    /// Permits out now.
    pub fn held(&self) -> usize {
        self.held.load(Ordering::Relaxed).min(self.most)
    }

    /// The most permits that were out at one time.
    pub fn peak(&self) -> usize {
        self.peak.load(Ordering::Relaxed)
    }
}

/// The right to be in a module actor's hands; given back when dropped.
#[derive(Debug)]
pub struct Permit(Arc<Gate>);

impl Drop for Permit {
    fn drop(&mut self) {
        self.0.held.fetch_sub(1, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_more_than_the_limit_is_let_in_and_a_dropped_permit_lets_the_next_in() {
        let gate = Gate::new(2);
        let first = gate.enter().expect("room for one");
        let _second = gate.enter().expect("room for two");
        assert!(gate.enter().is_none());
        drop(first);
        assert!(gate.enter().is_some());
        assert_eq!((gate.held(), gate.peak()), (1, 2));
    }

    #[test]
    fn a_permit_comes_back_from_a_panic() {
        let gate = Gate::new(1);
        let permit = gate.enter();
        let _ = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
            let _held = permit;
            panic!("expected by this test");
        }));
        assert_eq!(gate.held(), 0);
    }
}

//! The memory that requests on their way may take, all connections of the daemon together.
//!
//! Each connection is bounded by its own limits, but thousands of them together are not. Up to
//! [`FREE`] bytes of a connection are not counted: a request of Postfix has 1 to 2 KiB, so that clients
//! which fill the budget with large, slow requests take no room from it. Past the budget the connection
//! that asks for more is ended.

use std::cell::Cell;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

/// Bytes of a connection that are not counted: bounded by `max_connections`.
pub(crate) const FREE: usize = 4096;

/// What is held, and may be held, in bytes.
#[derive(Debug)]
pub(crate) struct Budget {
    most: AtomicUsize,
    held: AtomicUsize,
}

impl Budget {
    pub(crate) fn new(most: usize) -> Arc<Self> {
        Arc::new(Self { most: AtomicUsize::new(most), held: AtomicUsize::new(0) })
    }

    /// Changes the limit; what is held stays.
    pub(crate) fn resize(&self, most: usize) {
        self.most.store(most, Ordering::Relaxed);
    }

    /// What is held.
    pub(crate) fn held(&self) -> usize {
        self.held.load(Ordering::Relaxed)
    }
}

/// The share of one connection; given back when dropped.
#[derive(Debug)]
pub(crate) struct Share {
    budget: Arc<Budget>,
    held: Cell<usize>,
}

impl Share {
    pub(crate) fn of(budget: &Arc<Budget>) -> Self {
        Self { budget: budget.clone(), held: Cell::new(0) }
    }

    /// Whether this connection may hold `bytes`; if so it holds them.
    pub(crate) fn hold(&self, bytes: usize) -> bool {
        let bytes = if bytes > FREE { bytes } else { 0 };
        let before = self.held.get();
        if bytes > before {
            let more = bytes - before;
            let most = self.budget.most.load(Ordering::Relaxed);
            if self.budget.held.fetch_add(more, Ordering::Relaxed) + more > most {
                self.budget.held.fetch_sub(more, Ordering::Relaxed);
                return false;
            }
        } else if bytes < before {
            self.budget.held.fetch_sub(before - bytes, Ordering::Relaxed);
        }
        self.held.set(bytes);
        true
    }
}

impl Drop for Share {
    fn drop(&mut self) {
        self.hold(0);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_held_is_bounded_and_comes_back() {
        let budget = Budget::new(20_000);
        let (one, other) = (Share::of(&budget), Share::of(&budget));
        assert!(one.hold(FREE) && budget.held() == 0, "small requests are not counted");
        assert!(one.hold(10_000) && one.hold(12_000));
        assert_eq!(budget.held(), 12_000);
        assert!(!other.hold(8_001), "past the budget");
        assert_eq!(budget.held(), 12_000, "what was refused is not held");
        assert!(other.hold(8_000));
        drop(one);
        assert_eq!(budget.held(), 8_000);
        assert!(other.hold(0) && budget.held() == 0);
        budget.resize(5_000);
        assert!(!other.hold(6_000) && other.hold(5_000));
    }
}

//! A limit on log lines that repeat: at most so many in a span of time, and a count of the rest.

use std::cell::Cell;
use std::time::Duration;

use tokio::time::Instant;

/// At most `most` lines each `each`.
#[derive(Debug)]
pub(crate) struct LogLimit {
    most: u32,
    each: Duration,
    since: Cell<Option<Instant>>,
    shown: Cell<u32>,
    passed_over: Cell<u64>,
}

impl Default for LogLimit {
    /// 5 lines in 10 s.
    fn default() -> Self {
        Self::new(5, Duration::from_secs(10))
    }
}

impl LogLimit {
    pub(crate) fn new(most: u32, each: Duration) -> Self {
        Self { most, each, since: Cell::new(None), shown: Cell::new(0), passed_over: Cell::new(0) }
    }

    /// Whether a line may be written at `now`; if so, how many were passed over before it.
    pub(crate) fn allow(&self, now: Instant) -> Option<u64> {
        if self.since.get().is_none_or(|since| now.duration_since(since) >= self.each) {
            self.since.set(Some(now));
            self.shown.set(0);
        }
        if self.shown.get() >= self.most {
            self.passed_over.set(self.passed_over.get() + 1);
            return None;
        }
        self.shown.set(self.shown.get() + 1);
        Some(self.passed_over.take())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_past_the_limit_are_counted_and_the_next_span_says_so() {
        let limit = LogLimit::new(2, Duration::from_secs(10));
        let start = Instant::now();
        assert_eq!(limit.allow(start), Some(0));
        assert_eq!(limit.allow(start), Some(0));
        assert_eq!(limit.allow(start), None);
        assert_eq!(limit.allow(start), None);
        assert_eq!(limit.allow(start + Duration::from_secs(10)), Some(2));
    }
}

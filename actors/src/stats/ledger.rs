//! What a worker writes down about its requests, until the Stats actor collects it.
//!
//! One ledger per worker, touched by that worker's thread only: a request costs a few additions here
//! and no message. Each tick, and whenever a report is asked for, what was written since the last time
//! goes to the Stats actor as one batch.

use std::sync::Arc;
use std::time::Duration;

use hdrhistogram::Histogram;

/// Longest time that is told apart: 1000 s. Two significant digits: percentiles within 1 %.
const LONGEST_NS: u64 = 1_000_000_000_000;

/// Whose numbers these are.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum Owner {
    /// A listener, by name.
    Listener(Arc<str>),
    /// A module, by name.
    Module(Arc<str>),
}

/// Why a module did not answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum FailureKind {
    /// No permit: too many requests in hand.
    Overloaded,
    /// Its deadline passed.
    TimedOut,
    /// It panicked, or is down after too many panics.
    Crashed,
    /// Something it needs did not answer.
    Unavailable,
}

impl FailureKind {
    /// All kinds, in the order of `Tally::failures`.
    pub const ALL: [Self; 4] = [Self::Overloaded, Self::TimedOut, Self::Crashed, Self::Unavailable];

    /// Its name in reports and logs.
    pub fn name(self) -> &'static str {
        match self {
            Self::Overloaded => "overloaded",
            Self::TimedOut => "timed_out",
            Self::Crashed => "crashed",
            Self::Unavailable => "unavailable",
        }
    }
}

/// Counts by a name from a small fixed set.
#[derive(Debug, Clone, Default)]
pub struct Counts(Vec<(&'static str, u64)>);

impl Counts {
    /// One more of `name`.
    pub fn add(&mut self, name: &'static str) {
        self.add_many(name, 1);
    }

    fn add_many(&mut self, name: &'static str, by: u64) {
        match self.0.iter_mut().find(|(known, _)| *known == name) {
            Some((_, count)) => *count += by,
            None => self.0.push((name, by)),
        }
    }

    /// Adds all of `other`.
    pub fn merge(&mut self, other: &Self) {
        for (name, count) in &other.0 {
            self.add_many(name, *count);
        }
    }

    /// Each name and its count.
    pub fn iter(&self) -> impl Iterator<Item = (&'static str, u64)> {
        self.0.iter().copied()
    }

    fn clear(&mut self) {
        self.0.clear();
    }
}

/// The numbers of one owner.
#[derive(Debug, Clone)]
pub struct Tally {
    /// Requests.
    pub count: u64,
    /// All their times together, nanoseconds.
    pub sum_ns: u128,
    /// Shortest, nanoseconds.
    pub min_ns: u64,
    /// Longest, nanoseconds.
    pub max_ns: u64,
    /// Times, nanoseconds.
    pub times: Histogram<u64>,
    /// Answers by action.
    pub actions: Counts,
    /// Failures, by [`FailureKind::ALL`].
    pub failures: [u64; 4],
    /// What `observe` kept from being answered, by action.
    pub would_have: Counts,
    /// Connections ended for a fault of the client, by kind.
    pub ended: Counts,
    /// Requests left unanswered on purpose (`on_failure = "disconnect"`).
    pub disconnects: u64,
    dirty: bool,
}

impl Default for Tally {
    fn default() -> Self {
        Self {
            count: 0,
            sum_ns: 0,
            min_ns: u64::MAX,
            max_ns: 0,
            times: Histogram::new_with_bounds(1, LONGEST_NS, 2).expect("bounds and digits are within the crate's"),
            actions: Counts::default(),
            failures: [0; 4],
            would_have: Counts::default(),
            ended: Counts::default(),
            disconnects: 0,
            dirty: false,
        }
    }
}

impl Tally {
    /// One request that took `took`.
    pub fn timed(&mut self, took: Duration) {
        let nanos = u64::try_from(took.as_nanos()).unwrap_or(u64::MAX);
        self.dirty = true;
        self.count += 1;
        self.sum_ns += u128::from(nanos);
        self.min_ns = self.min_ns.min(nanos);
        self.max_ns = self.max_ns.max(nanos);
        self.times.saturating_record(nanos.max(1));
    }

    /// One answer with this action.
    pub fn answered(&mut self, action: &'static str) {
        self.dirty = true;
        self.actions.add(action);
    }

    /// One failure.
    pub fn failed(&mut self, kind: FailureKind) {
        self.dirty = true;
        self.failures[kind as usize] += 1;
    }

    /// One opinion that was only observed.
    pub fn observed(&mut self, action: &'static str) {
        self.dirty = true;
        self.would_have.add(action);
    }

    /// One connection ended for a fault of the client.
    pub fn ended(&mut self, kind: &'static str) {
        self.dirty = true;
        self.ended.add(kind);
    }

    /// One request left without an answer.
    pub fn disconnected(&mut self) {
        self.dirty = true;
        self.disconnects += 1;
    }

    /// Adds all of `other`.
    pub fn merge(&mut self, other: &Self) {
        self.count += other.count;
        self.sum_ns += other.sum_ns;
        self.min_ns = self.min_ns.min(other.min_ns);
        self.max_ns = self.max_ns.max(other.max_ns);
        // Fails only for histograms of other bounds; all are made above.
        let _ = self.times.add(&other.times);
        self.actions.merge(&other.actions);
        for (mine, theirs) in self.failures.iter_mut().zip(other.failures) {
            *mine += theirs;
        }
        self.would_have.merge(&other.would_have);
        self.ended.merge(&other.ended);
        self.disconnects += other.disconnects;
    }

    fn clear(&mut self) {
        self.count = 0;
        self.sum_ns = 0;
        self.min_ns = u64::MAX;
        self.max_ns = 0;
        self.times.reset();
        self.actions.clear();
        self.failures = [0; 4];
        self.would_have.clear();
        self.ended.clear();
        self.disconnects = 0;
        self.dirty = false;
    }
}

/// A place in a ledger.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Slot(usize);

/// One worker's ledger.
#[derive(Debug, Default)]
pub struct Ledger {
    pages: Vec<(Owner, Tally)>,
}

impl Ledger {
    /// The place of `owner`, made if it is new.
    pub fn slot(&mut self, owner: &Owner) -> Slot {
        if let Some(place) = self.pages.iter().position(|(known, _)| known == owner) {
            return Slot(place);
        }
        self.pages.push((owner.clone(), Tally::default()));
        Slot(self.pages.len() - 1)
    }

    /// The numbers at `slot`.
    pub fn page(&mut self, slot: Slot) -> &mut Tally {
        &mut self.pages[slot.0].1
    }

    /// What was written since the last time.
    pub fn take(&mut self) -> Vec<(Owner, Tally)> {
        let written: Vec<_> = self.pages.iter().filter(|(_, tally)| tally.dirty).cloned().collect();
        for (_, tally) in &mut self.pages {
            if tally.dirty {
                tally.clear();
            }
        }
        written
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_taken_twice_is_counted_once() {
        let mut ledger = Ledger::default();
        let bwl = ledger.slot(&Owner::Module("bwl".into()));
        assert_eq!(ledger.slot(&Owner::Module("bwl".into())), bwl);
        ledger.page(bwl).timed(Duration::from_micros(10));
        ledger.page(bwl).answered("REJECT");
        let mut total = Tally::default();
        for (_, tally) in ledger.take().into_iter().chain(ledger.take()) {
            total.merge(&tally);
        }
        assert_eq!((total.count, total.sum_ns, total.min_ns, total.max_ns), (1, 10_000, 10_000, 10_000));
        assert_eq!(total.actions.iter().collect::<Vec<_>>(), [("REJECT", 1)]);
    }

    #[test]
    fn percentiles_are_within_a_hundredth() {
        let mut tally = Tally::default();
        for micros in 1..=1000 {
            tally.timed(Duration::from_micros(micros));
        }
        let median = tally.times.value_at_quantile(0.5) as f64;
        assert!((median - 500_000.0).abs() <= 5_000.0, "{median}");
    }
}

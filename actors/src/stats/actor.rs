//! The Stats actor: adds up the batches of all workers and gives the totals.
//!
//! It keeps its numbers through a restart of its own, by crash or by order: they are the actor's value,
//! which the supervisor keeps.

use std::collections::{BTreeMap, HashMap};

use actix::{Actor, Context, Handler, Message, MessageResult, Supervised};

use super::ledger::{FailureKind, Owner, Tally};
use super::report::Processing;
use crate::supervise::Restart;

/// What one worker wrote down since its last batch.
#[derive(Message)]
#[rtype(result = "()")]
pub(crate) struct Batch(pub Vec<(Owner, Tally)>);

/// Asks for the totals.
#[derive(Message)]
#[rtype(result = "Totals")]
pub(crate) struct Snapshot;

/// The totals of all owners.
#[derive(Default)]
pub(crate) struct Totals {
    tallies: HashMap<Owner, Tally>,
}

impl Totals {
    /// Of one owner, if it was ever written about.
    pub(crate) fn of(&self, owner: &Owner) -> Option<&Tally> {
        self.tallies.get(owner)
    }

    /// Of all listeners together.
    pub(crate) fn all_listeners(&self) -> Tally {
        let mut all = Tally::default();
        for (owner, tally) in &self.tallies {
            if matches!(owner, Owner::Listener(_)) {
                all.merge(tally);
            }
        }
        all
    }
}

/// The actor.
#[derive(Default)]
pub(crate) struct Stats {
    tallies: HashMap<Owner, Tally>,
}

impl Actor for Stats {
    type Context = Context<Self>;
}

impl Supervised for Stats {}

impl Handler<Batch> for Stats {
    type Result = ();

    fn handle(&mut self, Batch(batch): Batch, _: &mut Self::Context) {
        for (owner, tally) in batch {
            self.tallies.entry(owner).or_default().merge(&tally);
        }
    }
}

impl Handler<Snapshot> for Stats {
    type Result = MessageResult<Snapshot>;

    fn handle(&mut self, _: Snapshot, _: &mut Self::Context) -> Self::Result {
        MessageResult(Totals { tallies: self.tallies.clone() })
    }
}

impl Handler<Restart> for Stats {
    type Result = ();

    fn handle(&mut self, _: Restart, context: &mut Self::Context) {
        actix::ActorContext::stop(context);
    }
}

impl From<&Tally> for Processing {
    fn from(tally: &Tally) -> Self {
        let millis = |nanos: u64| nanos as f64 / 1e6;
        // A bucket of the histogram may end past the longest time that was seen.
        let quantile = |q| millis(tally.times.value_at_quantile(q).clamp(tally.min_ns.min(tally.max_ns), tally.max_ns));
        Self {
            count: tally.count,
            avg_ms: if tally.count == 0 { 0.0 } else { tally.sum_ns as f64 / tally.count as f64 / 1e6 },
            min_ms: if tally.count == 0 { 0.0 } else { millis(tally.min_ns) },
            max_ms: millis(tally.max_ns),
            p50_ms: quantile(0.50),
            p90_ms: quantile(0.90),
            p99_ms: quantile(0.99),
            actions: named(tally.actions.iter()),
        }
    }
}

/// Failures by name, those that happened.
pub(crate) fn failures(tally: &Tally) -> BTreeMap<String, u64> {
    named(FailureKind::ALL.iter().map(|kind| (kind.name(), tally.failures[*kind as usize])).filter(|(_, n)| *n > 0))
}

/// Counts by name.
pub(crate) fn named(counts: impl Iterator<Item = (&'static str, u64)>) -> BTreeMap<String, u64> {
    counts.map(|(name, count)| (name.to_owned(), count)).collect()
}

//! The cache of local answers: bounded, with a lifetime each for yes and no, and a longer one for what
//! serves while a source is away.
//!
//! Two generations instead of a list in order of use: entries are written to the young one; when it is
//! full the old one is dropped and the young one becomes old; an entry found in the old one is moved. So
//! what is used stays, memory is bounded, and a look-up is one or two look-ups in a hash map.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use foldhash::fast::RandomState;
use parking_lot::Mutex;
use std::hash::BuildHasher;
use tokio::time::Instant;

/// Shards, so that workers seldom meet at one lock.
const SHARDS: usize = 16;

/// How long answers live, and how many are kept.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct CacheSettings {
    /// The most answers of a kind kept. Names longer than those of mail take the room of several.
    pub entries: usize,
    /// How long a yes is believed.
    pub positive: Duration,
    /// How long a no is believed.
    pub negative: Duration,
    /// How long after that the last known answer serves while its source is away.
    pub stale: Duration,
    /// How long nobody asks again after a source failed.
    pub retry: Duration,
    /// How long a new answer is waited for where the last known one may serve.
    pub patience: Duration,
}

impl Default for CacheSettings {
    fn default() -> Self {
        Self {
            entries: 200_000,
            positive: Duration::from_secs(300),
            negative: Duration::from_secs(30),
            stale: Duration::from_secs(24 * 3600),
            retry: Duration::from_secs(1),
            patience: Duration::from_secs(1),
        }
    }
}

/// How long after a failure the last known answer serves at once, while the source is asked beside it.
const AWAY: Duration = Duration::from_secs(60);
/// Names up to this length count as one entry.
const USUAL_NAME: usize = 128;

/// An answer, or why it could not be asked for.
pub(super) type Answer<V> = Result<V, Arc<str>>;

/// What the cache says of a question.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Found<V> {
    /// This answer, to be believed.
    Fresh(Answer<V>),
    /// The source is away: this answer serves. With `ask` it is time to ask again, without waiting for it.
    Stale { known: V, ask: bool },
    /// It has to be asked for; what was known before serves if that takes too long.
    Ask(Option<V>),
}

#[derive(Debug, Clone)]
struct Entry<V> {
    /// What was answered; absent when the source never answered.
    known: Option<V>,
    /// Why it could not be asked the last time, while that is so.
    failing: Option<Arc<str>>,
    /// Until when `known` is fresh, or while failing until when nobody asks again.
    until: Instant,
    /// When `known` was learnt.
    learnt: Instant,
}

type Entries<V> = HashMap<Box<[u8]>, Entry<V>, RandomState>;

#[derive(Debug)]
struct Shard<V> {
    young: Entries<V>,
    old: Entries<V>,
    /// What the names of `young` weigh.
    weight: usize,
    settings: CacheSettings,
}

/// The cache of the answers to one kind of question, by what is asked for in normal form.
#[derive(Debug)]
pub(super) struct Cache<V> {
    shards: Box<[Mutex<Shard<V>>]>,
    hasher: RandomState,
    pub(super) hits: AtomicU64,
    pub(super) misses: AtomicU64,
    pub(super) stale: AtomicU64,
    /// Moved by [`Cache::expire`]: an answer that was asked for before is not kept.
    epoch: AtomicU64,
}

impl<V: Clone> Cache<V> {
    pub(super) fn new(settings: CacheSettings) -> Self {
        Self {
            shards: (0..SHARDS).map(|_| Mutex::new(Shard::new(settings))).collect(),
            hasher: RandomState::default(),
            hits: AtomicU64::new(0),
            misses: AtomicU64::new(0),
            stale: AtomicU64::new(0),
            epoch: AtomicU64::new(0),
        }
    }

    pub(super) fn configure(&self, settings: CacheSettings) {
        self.shards.iter().for_each(|shard| shard.lock().settings = settings);
    }

    fn shard(&self, key: &[u8]) -> &Mutex<Shard<V>> {
        let hash = self.hasher.hash_one(key);
        &self.shards[usize::try_from(hash >> 32).unwrap_or_default() % SHARDS]
    }

    pub(super) fn epoch(&self) -> u64 {
        self.epoch.load(Ordering::Acquire)
    }

    /// What is known of `key` at `now`.
    pub(super) fn look_up(&self, key: &[u8], now: Instant) -> Found<V> {
        let mut shard = self.shard(key).lock();
        let found = shard.look_up(key, now);
        let count = match &found {
            Found::Fresh(_) => &self.hits,
            Found::Stale { .. } => &self.stale,
            Found::Ask(_) => &self.misses,
        };
        count.fetch_add(1, Ordering::Relaxed);
        found
    }

    /// Keeps for `life` what was answered to a question asked in `epoch`; gives what is to be answered
    /// now: the last known answer if it could not be asked.
    pub(super) fn learn(&self, key: &[u8], answer: Answer<V>, life: Duration, epoch: u64, now: Instant) -> Answer<V> {
        let mut shard = self.shard(key).lock();
        let settings = shard.settings;
        let before = shard.remove(key);
        let entry = match answer.clone() {
            Ok(known) => Entry { known: Some(known), failing: None, until: now + life, learnt: now },
            Err(why) => {
                let learnt = before.as_ref().map_or(now, |entry| entry.learnt);
                let known = before.and_then(|entry| entry.known_within(settings.stale, now));
                Entry { known, failing: Some(why), until: now + settings.retry, learnt }
            }
        };
        let said = match (answer, &entry.known) {
            (Err(_), Some(known)) => {
                self.stale.fetch_add(1, Ordering::Relaxed);
                Ok(known.clone())
            }
            (answer, _) => answer,
        };
        // An answer from before a change of the configuration is given to who asked, and not kept.
        if epoch == self.epoch() {
            shard.insert(key.into(), entry);
        }
        said
    }

    /// Believes nothing any more without asking again: the configuration or a table's file changed. What
    /// was known still serves if a source is away.
    pub(super) fn expire(&self, now: Instant) {
        self.epoch.fetch_add(1, Ordering::AcqRel);
        for shard in &self.shards {
            let mut shard = shard.lock();
            let Shard { young, old, .. } = &mut *shard;
            for entry in young.values_mut().chain(old.values_mut()) {
                entry.until = now;
                entry.failing = None;
            }
        }
    }

    /// How many answers are kept.
    pub(super) fn len(&self) -> usize {
        self.shards.iter().map(|shard| shard.lock()).map(|shard| shard.young.len() + shard.old.len()).sum()
    }
}

impl<V: Clone> Entry<V> {
    fn known_within(&self, stale: Duration, now: Instant) -> Option<V> {
        self.known.clone().filter(|_| now.duration_since(self.learnt) <= stale)
    }
}

impl<V: Clone> Shard<V> {
    fn new(settings: CacheSettings) -> Self {
        Self { young: HashMap::default(), old: HashMap::default(), weight: 0, settings }
    }

    fn look_up(&mut self, key: &[u8], now: Instant) -> Found<V> {
        let (stale, retry) = (self.settings.stale, self.settings.retry);
        let entry = match self.young.get_mut(key) {
            Some(entry) => entry,
            None => {
                let Some((key, entry)) = self.old.remove_entry(key) else { return Found::Ask(None) };
                self.insert(key.clone(), entry);
                // It is in the old generation again if it filled the young one.
                let kept = if self.young.contains_key(&key) { &mut self.young } else { &mut self.old };
                let Some(entry) = kept.get_mut(&key) else { return Found::Ask(None) };
                entry
            }
        };
        let known = entry.known_within(stale, now);
        let fresh = now < entry.until;
        match (&entry.failing, known) {
            (None, Some(known)) if fresh => Found::Fresh(Ok(known)),
            (Some(why), None) if fresh => Found::Fresh(Err(why.clone())),
            (Some(_), Some(known)) if fresh => Found::Stale { known, ask: false },
            (Some(_), Some(known)) if now < entry.until + AWAY => {
                // One asks; for the others it is as if it had failed again.
                entry.until = now + retry;
                Found::Stale { known, ask: true }
            }
            (_, known) => Found::Ask(known),
        }
    }

    fn insert(&mut self, key: Box<[u8]>, entry: Entry<V>) {
        let weight = weight_of(&key);
        if self.young.insert(key, entry).is_none() {
            self.weight += weight;
        }
        if self.weight >= (self.settings.entries / SHARDS / 2).max(1) {
            self.old = std::mem::take(&mut self.young);
            self.weight = 0;
        }
    }

    fn remove(&mut self, key: &[u8]) -> Option<Entry<V>> {
        let young = self.young.remove(key);
        if young.is_some() {
            self.weight -= weight_of(key);
        }
        let old = self.old.remove(key);
        young.or(old)
    }
}

/// A name of a request may be as long as a line of the protocol: memory is bounded all the same.
fn weight_of(key: &[u8]) -> usize {
    key.len().div_ceil(USUAL_NAME).max(1)
}

#[cfg(test)]
#[path = "cache_tests.rs"]
mod tests;

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
    /// The most answers kept.
    pub entries: usize,
    /// How long a yes is believed.
    pub positive: Duration,
    /// How long a no is believed.
    pub negative: Duration,
    /// How long after that the last known answer serves while its source is away.
    pub stale: Duration,
    /// How long nobody asks again after a source failed.
    pub retry: Duration,
}

impl Default for CacheSettings {
    fn default() -> Self {
        Self {
            entries: 200_000,
            positive: Duration::from_secs(300),
            negative: Duration::from_secs(30),
            stale: Duration::from_secs(24 * 3600),
            retry: Duration::from_secs(1),
        }
    }
}

/// An answer, or why it could not be asked for.
pub(super) type Answer<V> = Result<V, Arc<str>>;

/// What the cache says of a question.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Found<V> {
    /// This answer, to be believed.
    Fresh(Answer<V>),
    /// It has to be asked for.
    Ask,
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

#[derive(Debug)]
struct Shard<V> {
    young: HashMap<Box<[u8]>, Entry<V>, RandomState>,
    old: HashMap<Box<[u8]>, Entry<V>, RandomState>,
}

impl<V> Default for Shard<V> {
    fn default() -> Self {
        Self { young: HashMap::default(), old: HashMap::default() }
    }
}

/// The cache of the answers to one kind of question, by what is asked for in normal form.
#[derive(Debug)]
pub(super) struct Cache<V> {
    settings: Mutex<CacheSettings>,
    shards: Box<[Mutex<Shard<V>>]>,
    hasher: RandomState,
    pub(super) hits: AtomicU64,
    pub(super) misses: AtomicU64,
    pub(super) stale: AtomicU64,
    /// Moved by [`Cache::clear`]: an answer that was asked for before is not kept.
    epoch: AtomicU64,
}

impl<V: Clone> Cache<V> {
    pub(super) fn new(settings: CacheSettings) -> Self {
        Self {
            settings: Mutex::new(settings),
            shards: (0..SHARDS).map(|_| Mutex::default()).collect(),
            hasher: RandomState::default(),
            hits: AtomicU64::new(0),
            misses: AtomicU64::new(0),
            stale: AtomicU64::new(0),
            epoch: AtomicU64::new(0),
        }
    }

    pub(super) fn configure(&self, settings: CacheSettings) {
        *self.settings.lock() = settings;
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
        let settings = *self.settings.lock();
        let mut shard = self.shard(key).lock();
        if let Some((key, entry)) = shard.old.remove_entry(key) {
            shard.young.entry(key).or_insert(entry);
            shard.turn_if_full(settings.entries / SHARDS / 2);
        }
        let Shard { young, old } = &*shard;
        let Some(entry) = young.get(key).or_else(|| old.get(key)).filter(|entry| now < entry.until) else {
            self.misses.fetch_add(1, Ordering::Relaxed);
            return Found::Ask;
        };
        let found = match (&entry.failing, entry.known_within(settings.stale, now)) {
            (None, Some(known)) => Ok(known),
            (Some(_), Some(known)) => {
                self.stale.fetch_add(1, Ordering::Relaxed);
                return Found::Fresh(Ok(known));
            }
            (Some(why), None) => Err(why.clone()),
            (None, None) => return Found::Ask,
        };
        self.hits.fetch_add(1, Ordering::Relaxed);
        Found::Fresh(found)
    }

    /// Keeps for `life` what was answered to a question asked in `epoch`; gives what is to be answered
    /// now: the last known answer if it could not be asked.
    pub(super) fn learn(&self, key: &[u8], answer: Answer<V>, life: Duration, epoch: u64, now: Instant) -> Answer<V> {
        let settings = *self.settings.lock();
        let mut shard = self.shard(key).lock();
        let before = shard.young.remove(key).or_else(|| shard.old.remove(key));
        let entry = match answer.clone() {
            Ok(known) => Entry { known: Some(known), failing: None, until: now + life, learnt: now },
            Err(why) => {
                let learnt = before.as_ref().map_or(now, |entry| entry.learnt);
                let known = before.and_then(|entry| entry.known_within(settings.stale, now));
                Entry { known, failing: Some(why), until: now + settings.retry, learnt }
            }
        };
        let said = match (answer, &entry.known) {
            (Err(_), Some(known)) => Ok(known.clone()),
            (answer, _) => answer,
        };
        // An answer from before a change of the configuration is given to who asked, and not kept.
        if epoch == self.epoch() {
            shard.young.insert(key.into(), entry);
            shard.turn_if_full(settings.entries / SHARDS / 2);
        }
        said
    }

    /// Believes nothing any more without asking again: the configuration or a table's file changed. What
    /// was known still serves if a source is away.
    pub(super) fn expire(&self, now: Instant) {
        self.epoch.fetch_add(1, Ordering::AcqRel);
        for shard in &self.shards {
            let mut shard = shard.lock();
            let Shard { young, old } = &mut *shard;
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

impl<V> Shard<V> {
    fn turn_if_full(&mut self, most: usize) {
        if self.young.len() >= most.max(1) {
            self.old = std::mem::take(&mut self.young);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SETTINGS: CacheSettings = CacheSettings {
        entries: 3200,
        positive: Duration::from_secs(300),
        negative: Duration::from_secs(60),
        stale: Duration::from_secs(3600),
        retry: Duration::from_secs(1),
    };

    const YES: Answer<bool> = Ok(true);
    const NO: Answer<bool> = Ok(false);

    fn cache() -> (Cache<bool>, Instant) {
        (Cache::new(SETTINGS), Instant::now())
    }

    fn away() -> Answer<bool> {
        Err("the server is down".into())
    }

    fn seconds(seconds: u64) -> Duration {
        Duration::from_secs(seconds)
    }

    #[test]
    fn an_answer_lives_as_long_as_was_said() {
        let (cache, start) = cache();
        let _ = cache.learn(b"a", YES, seconds(300), 0, start);
        assert_eq!(cache.look_up(b"a", start + seconds(299)), Found::Fresh(YES));
        assert_eq!(cache.look_up(b"a", start + seconds(300)), Found::Ask);
        assert_eq!(cache.look_up(b"other", start), Found::Ask);
    }

    #[test]
    fn the_last_known_answer_serves_while_the_source_is_away_and_then_it_could_not_be_asked() {
        let (cache, start) = cache();
        let _ = cache.learn(b"a", YES, seconds(300), 0, start);
        assert_eq!(cache.learn(b"a", away(), seconds(300), 0, start + seconds(400)), YES);
        assert_eq!(cache.look_up(b"a", start + seconds(400)), Found::Fresh(YES), "nobody asks again so soon");
        assert_eq!(cache.look_up(b"a", start + seconds(402)), Found::Ask);
        assert_eq!(cache.learn(b"a", away(), seconds(300), 0, start + seconds(1000)), YES);
        assert_eq!(cache.learn(b"a", away(), seconds(300), 0, start + seconds(4000)), away(), "too old to serve");
    }

    #[test]
    fn what_was_never_answered_is_never_a_no() {
        let (cache, start) = cache();
        assert_eq!(cache.learn(b"a", away(), seconds(300), 0, start), away());
        assert_eq!(cache.look_up(b"a", start), Found::Fresh(away()));
        assert_eq!(cache.look_up(b"a", start + seconds(1)), Found::Ask);
    }

    #[test]
    fn memory_is_bounded_and_what_is_used_stays() {
        let (cache, start) = cache();
        let _ = cache.learn(b"used", YES, seconds(300), 0, start);
        for n in 0..20_000 {
            let _ = cache.learn(format!("once{n}").as_bytes(), NO, seconds(300), 0, start);
            assert_eq!(cache.look_up(b"used", start), Found::Fresh(YES), "after {n}");
        }
        assert!(cache.len() <= SETTINGS.entries, "{}", cache.len());
    }

    #[test]
    fn an_answer_asked_for_before_a_change_is_not_kept_after_it() {
        let (cache, start) = cache();
        let epoch = cache.epoch();
        cache.expire(start);
        assert_eq!(cache.learn(b"a", NO, seconds(60), epoch, start), NO);
        assert_eq!(cache.look_up(b"a", start), Found::Ask);
    }

    #[test]
    fn after_a_change_all_is_asked_again_but_still_serves_if_that_fails() {
        let (cache, start) = cache();
        let _ = cache.learn(b"a", YES, seconds(300), 0, start);
        cache.expire(start);
        assert_eq!(cache.look_up(b"a", start), Found::Ask);
        assert_eq!(cache.learn(b"a", away(), seconds(300), cache.epoch(), start), YES);
    }
}

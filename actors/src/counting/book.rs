//! Counters and messages of one shard, and the decision: may this request be charged, and to what.
//!
//! Pure and sequential: whoever holds the book decides. An account and its domain always stand in the
//! same book, so that both are charged or neither.

use std::collections::{HashMap, VecDeque};
use std::sync::Arc;

use foldhash::fast::RandomState;
use smallvec::SmallVec;

use super::counter::{Counter, UNLIMITED, WINDOWS};
use super::draft::Line;
use super::event::{Event, Worth};
use super::instance::{Charged, Due, Instances, Message};
use super::rows::Row;

pub use super::draft::Draft;

/// Limits of a counter, by window; [`UNLIMITED`]: none.
pub type Limits = [i64; WINDOWS];

/// A limit that has no room for a request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Over {
    /// The domain's limit, not the account's.
    pub domain: bool,
    /// Which window: `MINUTE`, `HOUR` or `RUN`.
    pub window: usize,
    /// The limit.
    pub limit: i64,
    /// What was used of it before.
    pub used: i64,
    /// What the request wanted to add.
    pub count: u32,
}

/// What a request comes to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Ruling {
    /// There was room: charged, or nothing was due.
    Pass,
    /// Over a limit. Charged only if the draft was forced.
    Over(Over),
}

/// Where a message was charged.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Place {
    windows: [i64; WINDOWS],
    slot: u8,
}

/// Which counter: kind and name. Kinds 0 and 1 are accounts and domains; each further slot has two more,
/// which hold that slot's run only.
pub type Key = (u8, Arc<[u8]>);

/// A message as it was remembered; mostly it was not.
type Image = Option<Box<Message<Place, Over>>>;

/// What was changed, so that it can be undone.
#[derive(Debug, Default)]
pub struct Undo {
    /// Counters as they were, in the order changed.
    counters: SmallVec<[(Key, Option<Counter>); 2]>,
    message: Option<(Event, Image)>,
    charged: Option<(Place, u32)>,
}

/// One shard's counters and messages.
#[derive(Debug)]
pub struct Book {
    kinds: Vec<HashMap<Arc<[u8]>, Counter, RandomState>>,
    messages: Instances<Place, Over>,
    dirty: VecDeque<Key>,
    /// When the first of `dirty` became so.
    dirty_since: Option<u64>,
}

impl Book {
    /// An empty book that remembers at most `messages` messages.
    pub fn new(messages: usize) -> Self {
        Self {
            kinds: vec![HashMap::default(); 2],
            messages: Instances::new(messages),
            dirty: VecDeque::new(),
            dirty_since: None,
        }
    }

    /// Decides `draft` at `now` (seconds since 1970) and charges it. With `undo`, notes what to put back.
    pub fn decide(&mut self, now: u64, draft: &Draft<'_>, mut undo: Option<&mut Undo>) -> Ruling {
        let draft = &draft.begun_by(now);
        let due = self.messages.due(now, &draft.event);
        if due == Due::Nothing {
            return self.messages.note(now, &draft.event).map_or(Ruling::Pass, |over| Ruling::Over(*over));
        }
        if let Some(undo) = undo.as_deref_mut() {
            undo.message = Some((draft.event, self.messages.image(&draft.event).map(Box::new)));
        }
        self.dirty_since = self.dirty_since.or(Some(now));
        match due {
            Due::Nothing => Ruling::Pass,
            Due::GiveBack(count) => {
                let places = self.messages.given_back(now, &draft.event, count);
                self.give_back(draft, &places, undo);
                Ruling::Pass
            }
            Due::Charge(count) => match self.over(draft, count) {
                Some(over) if !draft.force => {
                    if matches!(draft.event.worth, Worth::Message(_)) {
                        // refused as a whole: none of its recipients was accepted
                        let places = self.messages.refused(now, &draft.event);
                        self.give_back(draft, &places, undo);
                    }
                    Ruling::Over(over)
                }
                over => {
                    let place = self.charge(draft, count, undo.as_deref_mut());
                    if let Some(undo) = undo {
                        undo.charged = Some((place, count));
                    }
                    self.messages.charged(now, &draft.event, place, count, over);
                    over.map_or(Ruling::Pass, Ruling::Over)
                }
            },
        }
    }

    /// What [`Book::decide`] would say, changing nothing.
    pub fn peek(&self, now: u64, draft: &Draft<'_>) -> (Due, Ruling) {
        let due = self.messages.due(now, &draft.event);
        let over = match due {
            Due::Charge(count) => self.over(draft, count),
            _ => self.messages.note(now, &draft.event).copied(),
        };
        (due, over.map_or(Ruling::Pass, Ruling::Over))
    }

    /// What is used of the draft's windows: by the account and by the domain.
    pub fn used(&self, draft: &Draft<'_>) -> [[i64; WINDOWS]; 2] {
        let mut used = [[0; WINDOWS]; 2];
        for line in draft.lines() {
            let counter = self.find(line.kind, line.name);
            for window in line.windows.clone() {
                used[usize::from(line.kind % 2)][window] =
                    counter.map_or(0, |counter| counter.tallies[window].used_in(draft.windows[window]));
            }
        }
        used
    }

    /// Puts back what `undo` noted.
    pub fn undo(&mut self, undo: Undo) {
        for ((kind, name), image) in undo.counters.into_iter().rev() {
            let counters = &mut self.kinds[usize::from(kind)];
            match image {
                Some(image) => {
                    counters.insert(name, image);
                }
                None => {
                    counters.remove(&name);
                }
            }
        }
        if let Some((event, image)) = undo.message {
            self.messages.restore(&event, image.map(|image| *image));
        }
    }

    /// Gives back what `draft` was charged, although it may be written already: its request was not
    /// answered by it. `undo` is what was noted when it was decided.
    pub fn revoke(&mut self, now: u64, draft: &Draft<'_>, undo: &Undo) {
        let Some((place, count)) = undo.charged else { return };
        let places = match draft.event.instance {
            Some(_) => self.messages.revoked(now, &draft.event, count),
            None => smallvec::smallvec![Charged { place, count }],
        };
        self.dirty_since = self.dirty_since.or(Some(now));
        self.give_back(draft, &places, None);
    }

    /// Another daemon has written `row`: counts it too.
    pub fn follow(&mut self, row: &Row) {
        let counter = self.counter(row.kind, &row.name);
        for (tally, (from, change)) in counter.tallies.iter_mut().zip(row.windows) {
            tally.follow(from, change);
        }
        counter.closes = counter.closes.max(row.closes);
        counter.stored_closes = counter.stored_closes.max(row.closes);
    }

    /// Takes what is to be written, the oldest first, and looks at no more than `room` counters: each as it
    /// stands, with `unwritten` as the change since it was last taken. How many were looked at.
    pub fn take_dirty(&mut self, room: usize, mut take: impl FnMut(Key, &Counter)) -> usize {
        let mut looked_at = 0;
        while looked_at < room {
            let Some(key) = self.dirty.pop_front() else { break };
            looked_at += 1;
            let Some(counter) = self.kinds[usize::from(key.0)].get_mut(&key.1) else { continue };
            if !std::mem::take(&mut counter.dirty) || counter.is_written() {
                continue;
            }
            take(key, counter);
            counter.tallies.iter_mut().for_each(|tally| tally.unwritten = 0);
            counter.stored_closes = counter.closes;
        }
        if self.dirty.is_empty() {
            self.dirty_since = None;
        }
        looked_at
    }

    /// Since when the oldest change waits to be written (seconds since 1970).
    pub fn dirty_since(&self) -> Option<u64> {
        if self.dirty.is_empty() { None } else { self.dirty_since }
    }

    /// How many counters are waiting to be written.
    pub fn dirty(&self) -> usize {
        self.dirty.len()
    }

    /// How many counters there are.
    pub fn counters(&self) -> usize {
        self.kinds.iter().map(HashMap::len).sum()
    }

    /// How many messages are remembered.
    pub fn messages(&self) -> usize {
        self.messages.len()
    }

    /// The counter `key`, made if there is none.
    pub fn counter(&mut self, kind: u8, name: &[u8]) -> &mut Counter {
        self.entry(kind, name).1
    }

    /// The counter `key`, if there is one.
    pub fn find(&self, kind: u8, name: &[u8]) -> Option<&Counter> {
        self.kinds.get(usize::from(kind))?.get(name)
    }

    /// All counters.
    pub fn each(&self, mut see: impl FnMut(u8, &[u8], &Counter)) {
        for (kind, counters) in (0..).zip(&self.kinds) {
            for (name, counter) in counters {
                see(kind, name, counter);
            }
        }
    }

    /// The clock was set back to `now`: windows that begin later have not begun, and count nothing.
    pub fn set_back(&mut self, now: i64) {
        for counter in self.kinds.iter_mut().flat_map(HashMap::values_mut) {
            counter.tallies.iter_mut().for_each(|tally| tally.set_back(now));
        }
    }

    /// Forgets counters all of whose windows have closed, and old messages.
    pub fn sweep(&mut self, now: u64) {
        let closed = i64::try_from(now).unwrap_or(i64::MAX);
        for counters in &mut self.kinds {
            counters.retain(|_, counter| counter.dirty || counter.closes >= closed || !counter.is_written());
            if counters.capacity() > 64 && counters.capacity() / 8 > counters.len() {
                counters.shrink_to_fit();
            }
        }
        self.messages.forget_all_old(now);
    }

    /// The limit without room for `count` more; of several the longest window's, whose end is when the
    /// request can pass.
    fn over(&self, draft: &Draft<'_>, count: u32) -> Option<Over> {
        let mut over: Option<Over> = None;
        for line in draft.lines() {
            let counter = self.find(line.kind, line.name);
            for window in line.windows.clone() {
                let limit = line.limits[window];
                let used = counter.map_or(0, |counter| counter.tallies[window].used_in(draft.windows[window]));
                let is_over = limit != UNLIMITED && used.saturating_add(i64::from(count)) > limit;
                if is_over && over.is_none_or(|over| over.window < window) {
                    over = Some(Over { domain: line.kind % 2 == 1, window, limit, used, count });
                }
            }
        }
        over
    }

    fn charge(&mut self, draft: &Draft<'_>, count: u32, mut undo: Option<&mut Undo>) -> Place {
        let mut windows = draft.windows;
        for line in draft.lines() {
            self.change(draft, &line, undo.as_deref_mut(), |counter| {
                for window in line.windows.clone() {
                    let from = counter.tallies[window].add(draft.windows[window], i64::from(count));
                    windows[window] = windows[window].max(from);
                }
            });
        }
        Place { windows, slot: draft.slot }
    }

    fn give_back(&mut self, draft: &Draft<'_>, places: &[Charged<Place>], mut undo: Option<&mut Undo>) {
        for charged in places {
            // the message was charged where its slot was then
            let then = Draft { slot: charged.place.slot, ..*draft };
            for line in then.lines() {
                self.change(&then, &line, undo.as_deref_mut(), |counter| {
                    for window in line.windows.clone() {
                        counter.tallies[window].give_back(charged.place.windows[window], i64::from(charged.count));
                    }
                });
            }
        }
    }

    /// Changes one counter: notes how it was, and that it is to be written.
    fn change(
        &mut self,
        draft: &Draft<'_>,
        line: &Line<'_>,
        undo: Option<&mut Undo>,
        change: impl FnOnce(&mut Counter),
    ) {
        if let Some(undo) = undo {
            let before = self.find(line.kind, line.name).copied();
            let (name, counter) = self.entry(line.kind, line.name);
            undo.counters.push(((line.kind, name.clone()), before));
            change(counter);
            counter.closes = counter.closes.max(draft.closes);
            if !std::mem::replace(&mut counter.dirty, true) {
                self.dirty.push_back((line.kind, name));
            }
            return;
        }
        if let Some(counter) = self.kinds.get_mut(usize::from(line.kind)).and_then(|kind| kind.get_mut(line.name)) {
            change(counter);
            counter.closes = counter.closes.max(draft.closes);
            if counter.dirty {
                return;
            }
        } else {
            let counter = self.entry(line.kind, line.name).1;
            change(counter);
            counter.closes = draft.closes;
        }
        let (name, counter) = self.entry(line.kind, line.name);
        counter.dirty = true;
        self.dirty.push_back((line.kind, name));
    }

    fn entry(&mut self, kind: u8, name: &[u8]) -> (Arc<[u8]>, &mut Counter) {
        let kind = usize::from(kind);
        if self.kinds.len() <= kind {
            self.kinds.resize_with(kind + 1, HashMap::default);
        }
        let counters = &mut self.kinds[kind];
        let name: Arc<[u8]> = match counters.get_key_value(name) {
            Some((name, _)) => name.clone(),
            None => name.into(),
        };
        let counter = counters.entry(name.clone()).or_default();
        (name, counter)
    }
}

#[cfg(test)]
#[path = "book_tests.rs"]
mod tests;

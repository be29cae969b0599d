//! The counters of one name: decided in memory by any worker, written by one writer.
//!
//! `relaxed`: a request is decided and charged under its shard's lock, at once; the writer writes behind.
//! `strict`: a request waits in a queue; the writer decides all that wait, writes them in one statement
//! and answers after it. In both the writer is the only one that talks to the database.

use std::borrow::Cow;
use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use arc_swap::ArcSwap;
use foldhash::fast::RandomState;
use parking_lot::Mutex;
use smallvec::SmallVec;
use std::hash::BuildHasher as _;
use tokio::sync::{mpsc, oneshot};

use super::book::{Book, Draft, Key, Limits, Ruling};
use super::counter::{Counter, WINDOWS};
use super::event::{Event, Events};
use super::instance::Due;
use super::queue::Queue;
use super::rows::{LONGEST_NAME, stored_name};
use super::set_back::Times;
use crate::clock::Clock;
use crate::module::Unavailable;
use crate::reply::{Awaited, Reply, reply};

/// Messages remembered at the same time by one ledger: an hour of 72 messages a second.
const MESSAGES: usize = 1 << 18;
/// More than workers there can be, so that they seldom meet.
pub(super) const SHARDS: usize = 64;

/// When a request is answered.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Durability {
    /// After its charge is committed.
    Strict,
    /// At once; the charge is written within [`Settings::flush_interval`].
    Relaxed,
}

/// How a ledger works. A reload may change it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Settings {
    /// When a request is answered.
    pub durability: Durability,
    /// How long a relaxed charge may wait to be written: what `kill -9` can lose.
    pub flush_interval: Duration,
    /// Strict, and the database is away, so that the answer is "could not ask": is the request's mail
    /// accepted all the same (`on_failure = "dunno"`)? Then it is counted, in memory first.
    pub count_when_away: bool,
}

impl Default for Settings {
    fn default() -> Self {
        Self { durability: Durability::Relaxed, flush_interval: Duration::from_secs(1), count_when_away: true }
    }
}

/// What a strict request is answered with.
pub type Answer = Result<Ruling, Unavailable>;

/// What a request comes to: known, or known after the commit.
pub enum Charging {
    /// Known.
    Now(Ruling),
    /// Waiting for the commit. [`crate::reply::Ended`]: the ledger was closed.
    Later(Awaited<Answer>),
}

/// A request that waits for the writer.
pub(super) struct Waiting {
    event: Event,
    /// The account, and behind it the domain if it does not end with that.
    names: SmallVec<[u8; 48]>,
    account: usize,
    domain: usize,
    windows: [i64; WINDOWS],
    closes: i64,
    slot: u8,
    account_limits: Limits,
    domain_limits: Limits,
    force: bool,
    pub(super) answer: Reply<Answer>,
}

impl Waiting {
    fn new(draft: &Draft<'_>, answer: Reply<Answer>) -> Self {
        let mut names = SmallVec::from_slice(draft.account);
        if !draft.account.ends_with(draft.domain) {
            names.extend_from_slice(draft.domain);
        }
        Self {
            event: draft.event,
            names,
            account: draft.account.len(),
            domain: draft.domain.len(),
            windows: draft.windows,
            closes: draft.closes,
            slot: draft.slot,
            account_limits: draft.account_limits,
            domain_limits: draft.domain_limits,
            force: draft.force,
            answer,
        }
    }

    pub(super) fn draft(&self) -> Draft<'_> {
        Draft {
            event: self.event,
            account: &self.names[..self.account],
            domain: &self.names[self.names.len() - self.domain..],
            windows: self.windows,
            closes: self.closes,
            slot: self.slot,
            account_limits: self.account_limits,
            domain_limits: self.domain_limits,
            force: self.force,
        }
    }
}

/// What a ledger tells its writer.
pub(super) enum Order {
    /// Write what is not written, and say how it went.
    Flush(oneshot::Sender<Result<(), String>>),
    /// The same, then read what is stored of the open counters: these, or all.
    Refresh(Option<Vec<Key>>, oneshot::Sender<Result<(), String>>),
    /// Set the counters of this name to nothing used.
    Reset(Vec<u8>, oneshot::Sender<Result<u64, String>>),
    /// Begin anew, with all that is not written.
    Restart(oneshot::Sender<Result<(), String>>),
    /// Write what is not written and end.
    Close(oneshot::Sender<Result<(), String>>),
}

/// The part that ledger and writer share.
pub(super) struct Shared {
    pub(super) shards: Vec<Mutex<Book>>,
    hash: RandomState,
    pub(super) clock: Clock,
    pub(super) settings: ArcSwap<Settings>,
    pub(super) queue: Queue<Waiting>,
    pub(super) facts: Mutex<Facts>,
    pub(super) times: Times,
}

/// What the writer says of itself.
#[derive(Debug, Clone, Default)]
pub(super) struct Facts {
    /// Counters in batches that were taken and are not known to be written.
    pub(super) in_batches: usize,
    /// Since when the oldest of them waits.
    pub(super) batches_since: Option<u64>,
    /// Batches written so far.
    pub(super) batches: u64,
    /// Why nothing can be written at present.
    pub(super) away: Option<String>,
}

impl Shared {
    pub(super) fn now(&self) -> u64 {
        seconds(self.clock.now())
    }

    pub(super) fn shard(&self, draft: &Draft<'_>) -> &Mutex<Book> {
        self.shard_of_key(0, draft.account)
    }

    /// The shard of a counter by its name: all counters of one domain stand together.
    fn shard_of(&self, domain: &[u8]) -> &Mutex<Book> {
        // remainder of a u64 by a small number fits
        let index = self.hash.hash_one(domain) % SHARDS as u64;
        &self.shards[usize::try_from(index).unwrap_or_default()]
    }

    pub(super) fn shard_of_key(&self, kind: u8, name: &[u8]) -> &Mutex<Book> {
        if kind % 2 == 1 {
            return self.shard_of(name);
        }
        match name.iter().rposition(|byte| *byte == b'@') {
            Some(at) if at + 1 < name.len() => self.shard_of(&name[at + 1..]),
            _ => self.shard_of(name),
        }
    }

    pub(super) fn dirty(&self) -> usize {
        self.shards.iter().map(|shard| shard.lock().dirty()).sum()
    }
}

/// The counters of one name.
pub struct Ledger {
    shared: Arc<Shared>,
    events: Events,
    orders: mpsc::UnboundedSender<Order>,
}

/// How much a ledger holds.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Status {
    /// Counters held in memory.
    pub counters: usize,
    /// Messages on their way that are remembered.
    pub messages: usize,
    /// Counters with changes that are not known to be written.
    pub pending: usize,
    /// How long the oldest of these changes has waited.
    pub oldest: Option<Duration>,
    /// Batches written.
    pub batches: u64,
    /// Why nothing can be written at present.
    pub away: Option<String>,
}

impl Ledger {
    pub(super) fn new(clock: Clock, settings: Settings) -> (Self, Arc<Shared>, mpsc::UnboundedReceiver<Order>) {
        let shared = Arc::new(Shared {
            shards: (0..SHARDS).map(|_| Mutex::new(Book::new(MESSAGES / SHARDS))).collect(),
            hash: RandomState::default(),
            clock,
            settings: ArcSwap::from_pointee(settings),
            queue: Queue::default(),
            facts: Mutex::default(),
            times: Times::default(),
        });
        let (orders, received) = mpsc::unbounded_channel();
        (Self { shared: shared.clone(), events: Events::default(), orders }, shared, received)
    }

    /// What makes this ledger's events.
    pub fn events(&self) -> &Events {
        &self.events
    }

    /// Works from now on by `settings`.
    pub fn set(&self, settings: Settings) {
        self.shared.settings.store(Arc::new(settings));
        self.shared.queue.wake();
    }

    /// Decides `draft` and charges it.
    pub fn charge(&self, draft: &Draft<'_>) -> Charging {
        let now = self.shared.look_at_clock();
        with_names_that_fit(draft, |draft| match self.shared.settings.load().durability {
            Durability::Relaxed => Charging::Now(self.shared.shard(draft).lock().decide(now, draft, None)),
            Durability::Strict => {
                let (answer, answered) = reply();
                self.shared.queue.add(Waiting::new(draft, answer));
                Charging::Later(answered)
            }
        })
    }

    /// What [`Ledger::charge`] would say, by what is in memory, changing nothing; and what is used of
    /// the draft's windows by the account and the domain.
    pub fn peek(&self, draft: &Draft<'_>) -> (Due, Ruling, [[i64; WINDOWS]; 2]) {
        let now = self.shared.look_at_clock();
        with_names_that_fit(draft, |draft| {
            let book = self.shared.shard(draft).lock();
            let (due, ruling) = book.peek(now, draft);
            (due, ruling, book.used(draft))
        })
    }

    /// Every counter held: kind (even: an account, odd: a domain; above 1: the run of an overlapping
    /// period), name, and what it has used.
    pub fn each(&self, mut see: impl FnMut(u8, &[u8], &Counter)) {
        for shard in &self.shared.shards {
            shard.lock().each(&mut see);
        }
    }

    /// Sets what the account or domain `name` (in normal form) has used to nothing, here and in the
    /// database. Returns how many counters there were.
    ///
    /// # Errors
    /// When the database did not do it; then nothing was changed here either.
    pub async fn reset(&self, name: &[u8]) -> Result<u64, String> {
        let (done, answer) = oneshot::channel();
        self.order(Order::Reset(fit(name).into_owned(), done), answer).await
    }

    /// Writes what is not written yet.
    ///
    /// # Errors
    /// Why it could not be written. It is kept, and written when the database is back.
    pub async fn flush(&self) -> Result<(), String> {
        let (done, answer) = oneshot::channel();
        self.order(Order::Flush(done), answer).await
    }

    /// Writes what is not written yet, then brings memory up to what is stored, with what other daemons
    /// have charged: the counters `keys` (kind as in [`Ledger::each`], name in normal form), or all.
    ///
    /// # Errors
    /// Why the database did not do it: what is in memory may not be all then.
    pub async fn refresh(&self, keys: Option<Vec<(u8, Box<[u8]>)>>) -> Result<(), String> {
        let (done, answer) = oneshot::channel();
        let keys = keys.map(|keys| keys.into_iter().map(|(kind, name)| (kind, fit(&name).into())).collect());
        self.order(Order::Refresh(keys, done), answer).await
    }

    /// Restarts the writer: nothing that it holds is lost, and nobody who is counted notices.
    ///
    /// # Errors
    /// It has ended.
    pub async fn restart(&self) -> Result<(), String> {
        let (done, answer) = oneshot::channel();
        self.order(Order::Restart(done), answer).await
    }

    /// Writes what is not written yet, and ends the writer.
    ///
    /// # Errors
    /// Why it could not be written: it is lost.
    pub async fn close(&self) -> Result<(), String> {
        let (done, answer) = oneshot::channel();
        self.order(Order::Close(done), answer).await
    }

    async fn order<T>(&self, order: Order, answer: oneshot::Receiver<Result<T, String>>) -> Result<T, String> {
        let closed = || "the counters are closed".to_owned();
        self.orders.send(order).map_err(|_| closed())?;
        answer.await.unwrap_or_else(|_| Err(closed()))
    }

    /// How much it holds.
    pub fn status(&self) -> Status {
        let mut status = Status::default();
        let mut since = None;
        for shard in &self.shared.shards {
            let book = shard.lock();
            status.counters += book.counters();
            status.messages += book.messages();
            status.pending += book.dirty();
            since = [since, book.dirty_since()].into_iter().flatten().min();
        }
        let facts = self.shared.facts.lock().clone();
        status.pending += facts.in_batches;
        status.batches = facts.batches;
        status.away = facts.away;
        let since = [since, facts.batches_since].into_iter().flatten().min();
        status.oldest = since.map(|since| Duration::from_secs(self.shared.now().saturating_sub(since)));
        status
    }
}

/// Seconds since 1970; 0 before.
pub fn seconds(time: SystemTime) -> u64 {
    time.duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs())
}

/// An account's name as it is held in memory and stored: a very long one is cut, see [`stored_name`].
fn fit(name: &[u8]) -> Cow<'_, [u8]> {
    if name.len() <= LONGEST_NAME { Cow::Borrowed(name) } else { Cow::Owned(stored_name(name)) }
}

fn with_names_that_fit<T>(draft: &Draft<'_>, then: impl FnOnce(&Draft<'_>) -> T) -> T {
    if draft.account.len() <= LONGEST_NAME {
        return then(draft);
    }
    // A cut name keeps a domain that can exist; one that is longer than names can be is no domain.
    let account = fit(draft.account);
    let domain = if account.ends_with(draft.domain) { draft.domain } else { b"" };
    then(&Draft { account: &account, domain, ..*draft })
}

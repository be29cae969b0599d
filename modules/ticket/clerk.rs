//! Who charges tickets: takes all requests that wait, decides them together in one transaction that holds
//! the rows of their tickets, and answers after its commit; meanwhile the next ones gather.
//!
//! The database is the truth. Nothing of a ticket is kept from one transaction to the next, only what
//! could not be charged while the database was away, and a transaction of which nobody knows whether it
//! was committed: its receipt tells, once the database answers again.

use std::collections::BTreeMap;
use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::time::Duration;

use actors::counting::instance::Due;
use actors::counting::ledger::seconds;
use actors::counting::{Fault, Receipts, fault};
use actors::database::Probe;
use actors::module::Unavailable;
use actors::reply::Replies;
use futures_util::FutureExt as _;
use jiff::civil::Date;
use sea_orm::{ConnectionTrait as _, DbErr};
use slog::{Logger, info, warn};
use tokio::sync::{mpsc, oneshot};
use tokio::time::{Instant, sleep_until, timeout};

use super::change::change_day;
use super::day::day_of;
use super::desk::{Ruling, Shared};
use super::doubt::{Doubt, is_late, late};
use super::round::{Decided, Place, Round, Waiting, charge, signed};
use super::sql::{Delta, Sql, ticket};

/// Requests decided together.
const MOST: usize = 500;
/// How long a transaction may take before the database counts as away. Below a module's deadline.
const PATIENCE: Duration = Duration::from_secs(4);
/// How often a transaction that met another writer is tried again.
const MEETINGS: u32 = 50;
/// How soon an absent database is tried again; later more seldom.
const FIRST_PAUSE: Duration = Duration::from_millis(25);
/// How often the change of day is looked for, and at least how often an absent database is tried again.
const TICK: Duration = Duration::from_secs(1);

/// Who works at the desk.
pub struct Clerk {
    shared: Arc<Shared>,
    log: Logger,
    sql: Sql,
    receipts: Receipts,
    /// Number of the last transaction that charged.
    number: i64,
    /// Charges that could not be written when they were made.
    owed: BTreeMap<i64, Delta>,
    doubt: Option<Doubt>,
    is_registered: bool,
    /// The day that is known to be handled.
    handled: Option<Date>,
    /// Why the database can't be asked.
    away: Option<String>,
    /// How long to wait before an absent database is tried again.
    pause: Duration,
    /// Looks whether it is back, while requests are answered.
    probe: Probe,
}

impl Clerk {
    /// A clerk for the desk called `name`.
    pub fn new(shared: Arc<Shared>, name: &str, log: Logger) -> Self {
        let backend = shared.database.backend();
        Self {
            shared,
            log,
            sql: Sql(backend),
            receipts: Receipts::new(backend, name),
            number: 0,
            owed: BTreeMap::new(),
            doubt: None,
            is_registered: false,
            handled: None,
            away: None,
            pause: FIRST_PAUSE,
            probe: Probe::default(),
        }
    }

    /// Works until nobody is left to charge anything. A panic ends only what was in hand.
    pub async fn run(mut self, mut orders: mpsc::UnboundedReceiver<oneshot::Sender<()>>) {
        while AssertUnwindSafe(self.work(&mut orders)).catch_unwind().await.is_err() {
            slog::error!(self.log, "the desk of tickets panicked: it goes on with what it has");
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
    }

    async fn work(&mut self, orders: &mut mpsc::UnboundedReceiver<oneshot::Sender<()>>) {
        let shared = self.shared.clone();
        let mut next = Instant::now();
        loop {
            tokio::select! {
                biased;
                order = orders.recv() => {
                    self.serve().await;
                    if !self.owed.is_empty() || self.doubt.is_some() {
                        self.settle().await;
                    }
                    match order {
                        Some(done) => drop(done.send(())),
                        None => return self.report_lost(),
                    }
                }
                is_back = self.probe.answered() => {
                    if is_back {
                        self.settle().await;
                    }
                    next = Instant::now() + if self.away.is_some() { self.pause } else { TICK };
                }
                () = sleep_until(next) => {
                    self.tick().await;
                    self.pause = (self.pause * 2).min(TICK);
                    next = Instant::now() + if self.away.is_some() { self.pause } else { TICK };
                }
                // Last, and one transaction at a time: under load there is no end to them.
                () = shared.queue.woken() => {
                    self.serve_round().await;
                    if !shared.queue.is_empty() {
                        shared.queue.wake();
                    }
                    if self.away.is_some() {
                        next = next.min(Instant::now() + self.pause);
                    }
                }
            }
            self.note_facts();
        }
    }

    fn report_lost(&self) {
        if !self.owed.is_empty() || self.doubt.is_some() {
            slog::error!(self.log, "tickets could not be charged before the end: these charges are lost";
                "tickets" => self.owed.len());
        }
    }

    fn note_facts(&self) {
        let mut facts = self.shared.facts.lock();
        facts.owed = self.owed.len() + self.doubt.as_ref().map_or(0, |doubt| doubt.missing.len());
        facts.away = self.away.clone();
    }

    async fn tick(&mut self) {
        let now = self.now();
        self.shared.messages.lock().forget_old(now, 1000);
        if self.away.is_some() {
            return self.probe.start(&self.shared.database);
        }
        let is_behind = self.handled != Some(self.today()) || !self.owed.is_empty() || self.doubt.is_some();
        if is_behind {
            self.settle().await;
        }
    }

    /// A transaction without requests: what is owed, and the change of day.
    async fn settle(&mut self) {
        let mut round = Round::default();
        match self.attempt(&mut round).await {
            Ok(()) => self.came_back(),
            Err(error) if round.is_committing => self.doubt(round, &error),
            Err(error) => self.went(&error),
        }
    }

    /// [`Clerk::transact`], but not for ever.
    async fn attempt(&mut self, round: &mut Round) -> Result<(), DbErr> {
        let result = timeout(PATIENCE, self.transact(round)).await.unwrap_or_else(|_| Err(late()));
        self.shared.database.observe(&result);
        result
    }

    fn now(&self) -> u64 {
        seconds(self.shared.clock.now())
    }

    fn today(&self) -> Date {
        day_of(&self.shared.settings.load().zone, signed(self.now()))
    }

    fn went(&mut self, error: &DbErr) {
        if fault(error) == Fault::Away && self.away.is_none() {
            warn!(self.log, "tickets can't be read: who has one can't be answered"; "error" => %error);
            self.away = Some(error.to_string());
            // It may have been one connection only.
            self.pause = FIRST_PAUSE;
        }
    }

    fn came_back(&mut self) {
        if self.away.take().is_some() {
            info!(self.log, "tickets can be read again");
        }
    }

    /// Decides all that wait.
    async fn serve(&mut self) {
        while !self.shared.queue.is_empty() {
            self.serve_round().await;
        }
    }

    /// Decides some of those that wait, the oldest.
    async fn serve_round(&mut self) {
        let mut waiting = self.shared.queue.take(MOST);
        if waiting.is_empty() {
            return;
        }
        if !self.shared.settings.load().count_when_away {
            // Who gave up waiting was answered without us, and its mail deferred.
            waiting.retain(|waiting| !waiting.answer.is_closed());
        }
        match &self.away {
            Some(why) => {
                let why = why.clone();
                self.answer_unasked(waiting, &why);
            }
            None => self.answer_after_commit(Round { waiting, ..Round::default() }).await,
        }
        self.note_facts();
    }

    async fn answer_after_commit(&mut self, mut round: Round) {
        let mut is_second = false;
        for attempt in 1..=MEETINGS {
            let Err(error) = self.attempt(&mut round).await else { return self.answer(round) };
            if round.is_committing {
                return self.doubt(round, &error);
            }
            round.undo(&mut self.shared.messages.lock());
            match fault(&error) {
                // A connection that was idle while the server was started again fails once.
                Fault::Away if !is_second && !is_late(&error) => is_second = true,
                Fault::Away => {
                    self.went(&error);
                    return self.answer_unasked(round.waiting, &error.to_string());
                }
                Fault::Again | Fault::Refused => {
                    tokio::time::sleep(Duration::from_millis(u64::from(attempt.min(10)))).await;
                }
            }
        }
        for waiting in round.waiting {
            waiting.answer.send(Err(Unavailable::new("other daemons keep the tickets busy")));
        }
    }

    /// Makes the row of our receipts, which tells a later transaction to wait for an earlier one.
    async fn register(&mut self) -> Result<(), DbErr> {
        let statement = self.receipts.write(0, signed(self.now()));
        match self.shared.database.writer().execute_raw(statement).await {
            Err(error) if fault(&error) != Fault::Refused => Err(error),
            // refused: it is there, and the answer that said so was lost
            _ => {
                self.is_registered = true;
                Ok(())
            }
        }
    }

    /// One transaction: settles what is owed, handles the change of day, reads the tickets, decides, and
    /// charges.
    async fn transact(&mut self, round: &mut Round) -> Result<(), DbErr> {
        let today = self.today();
        if !self.is_registered {
            self.register().await?;
        }
        if self.handled != Some(today) {
            let zone = self.shared.settings.load().zone.clone();
            change_day(&self.shared.database, self.sql, &zone, today, &self.log).await?;
            self.handled = Some(today);
        }
        let transaction = self.shared.database.begin_to_write().await?;
        if self.doubt.is_some() {
            let last = self.receipts.last(&transaction, true).await?;
            if let Some(doubt) = self.doubt.take() {
                let was_written = last.is_some_and(|last| last >= doubt.number);
                let missing = if was_written { doubt.surplus } else { doubt.missing };
                missing.into_iter().for_each(|(id, delta)| self.owed.entry(id).or_default().add(delta.counts));
            }
        }
        let mut ids: Vec<i64> = round.waiting.iter().flat_map(|waiting| waiting.candidates.iter().copied()).collect();
        ids.sort_unstable();
        ids.dedup();
        let mut tickets = Vec::new();
        for ids in ids.chunks(1024) {
            let rows = transaction.query_all_raw(self.sql.tickets(ids, true)).await?;
            tickets.extend(rows.iter().map(ticket).collect::<Result<Vec<_>, _>>()?);
        }
        round.deltas.clone_from(&self.owed);
        for (id, owed) in &self.owed {
            if let Some(ticket) = tickets.iter_mut().find(|ticket| ticket.id == *id) {
                charge(ticket, owed.counts);
            }
        }
        round.decide(&mut self.shared.messages.lock(), &mut tickets, self.now(), today);
        round.deltas.retain(|_, delta| !delta.is_zero());
        if round.deltas.is_empty() {
            return transaction.rollback().await;
        }
        let deltas: Vec<_> = round.deltas.iter().map(|(id, delta)| (*id, *delta)).collect();
        for deltas in deltas.chunks(1024) {
            transaction.execute_raw(self.sql.add(deltas)).await?;
        }
        transaction.execute_raw(self.receipts.write(self.number + 1, signed(self.now()))).await?;
        self.number += 1;
        round.is_committing = true;
        transaction.commit().await?;
        round.is_committing = false;
        self.owed.clear();
        self.shared.facts.lock().batches += 1;
        Ok(())
    }

    fn answer(&mut self, round: Round) {
        let counts = self.shared.settings.load().count_when_away;
        let mut replies = Replies::default();
        for decided in round.decided {
            if decided.waiting.answer.is_closed() && !counts {
                // answered without us meanwhile, and its mail deferred
                self.revoke(&decided);
                continue;
            }
            replies.add(decided.waiting.answer, Ok(decided.ruling));
        }
    }

    /// Gives back what a request was charged that was not answered by it.
    fn revoke(&mut self, decided: &Decided) {
        let Some((place, count)) = decided.charged else { return };
        let event = &decided.waiting.event;
        let counts = match event.instance {
            Some(_) => {
                let back = self.shared.messages.lock().revoked(self.now(), event, count);
                u32::try_from(back.iter().map(|back| u64::from(back.count)).sum::<u64>()).unwrap_or(count)
            }
            None => count,
        };
        let counts = place.given_back(self.today(), counts);
        self.owed.entry(place.ticket).or_default().add(counts);
    }

    /// Nobody knows whether the round's transaction was committed: its receipt will tell.
    fn doubt(&mut self, round: Round, error: &DbErr) {
        self.went(error);
        let counts = self.shared.settings.load().count_when_away;
        let missing = round.deltas;
        // What was owed is in the transaction, so it is missing if that is.
        self.owed.clear();
        for decided in &round.decided {
            if !counts {
                self.revoke(decided);
            }
        }
        let surplus = std::mem::take(&mut self.owed);
        let mut missing = missing;
        for (id, delta) in &surplus {
            missing.entry(*id).or_default().add(delta.counts);
        }
        self.doubt = Some(Doubt { number: self.number, missing, surplus });
        for decided in round.decided {
            let answer = match decided.ruling {
                Ruling::Pass(..) => Err(Unavailable::new(format!("the ticket can't be charged: {error}"))),
                ruling => Ok(ruling),
            };
            decided.waiting.answer.send(answer);
        }
    }

    /// Answers while the database is away: nobody knows what a ticket says. Mail that is accepted all
    /// the same is charged later, to the ticket that most likely holds.
    fn answer_unasked(&mut self, waiting: Vec<Waiting>, why: &str) {
        let counts = self.shared.settings.load().count_when_away;
        let (now, today) = (self.now(), self.today());
        for waiting in waiting {
            if let (true, Some(id)) = (counts, waiting.candidates.first()) {
                let mut messages = self.shared.messages.lock();
                let place = Place { ticket: *id, day: today };
                match messages.due(now, &waiting.event) {
                    Due::Nothing => {}
                    Due::Charge(count) => {
                        messages.charged(now, &waiting.event, place, count, None);
                        self.owed.entry(*id).or_default().add([i64::from(count); 3]);
                    }
                    Due::GiveBack(count) => {
                        for back in messages.given_back(now, &waiting.event, count) {
                            let counts = back.place.given_back(today, back.count);
                            self.owed.entry(back.place.ticket).or_default().add(counts);
                        }
                    }
                }
            }
            waiting.answer.send(Err(Unavailable::new(format!("the ticket can't be read: {why}"))));
        }
    }
}

//! The desk where tickets are charged: one for a database and a name, shared by all workers.
//!
//! The database is the truth. All requests that wait are decided together in one transaction that holds
//! the rows of their tickets, and answered after its commit; meanwhile the next ones gather. Nothing of a
//! ticket is kept in memory from one transaction to the next, only what messages on their way were
//! charged, and what could not be charged while the database was away.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use actors::clock::Clock;
use actors::counting::event::{Event, Events, Worth};
use actors::counting::instance::{Due, Instances};
use actors::counting::ledger::seconds;
use actors::counting::{Fault, Queue, Receipts, fault};
use actors::database::Database;
use actors::module::Unavailable;
use arc_swap::ArcSwap;
use jiff::civil::Date;
use jiff::tz::TimeZone;
use parking_lot::Mutex;
use sea_orm::{
    ConnectionTrait as _, DatabaseBackend, DatabaseTransaction, DbErr, IsolationLevel, SqliteTransactionMode,
    TransactionOptions, TransactionTrait as _,
};
use slog::{Logger, info, warn};
use smallvec::SmallVec;
use tokio::sync::{mpsc, oneshot};
use tokio::time::{Instant, sleep_until, timeout};

use super::day::{self, day_of};
use super::row::{Refusal, Ticket, Wanted};
use super::sql::{Delta, Sql, ticket};

/// Requests decided together.
const MOST: usize = 500;
/// Messages remembered.
const MESSAGES: usize = 1 << 18;
/// How long a transaction may take before the database counts as away. Below a module's deadline.
const PATIENCE: Duration = Duration::from_secs(4);
/// How often a transaction that met another writer is tried again.
const MEETINGS: u32 = 50;
/// How often the change of day is looked for, and an absent database tried again.
const TICK: Duration = Duration::from_secs(1);

/// What a ticket says of a request.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Ruling {
    /// No ticket holds.
    NoTicket,
    /// Charged, or charged before; by this ticket, and this way out if it has one.
    Pass(i64, Option<String>),
    /// Refused by this ticket.
    Refused(i64, Refusal),
}

/// The answer to a request that waited.
pub type Answer = Result<Ruling, Unavailable>;

/// How the desk works. A reload may change it.
#[derive(Debug, Clone)]
pub struct Settings {
    /// The zone whose days and months count.
    pub zone: TimeZone,
    /// The database is away, so that the answer is "could not ask": is the request's mail accepted all the
    /// same (`on_failure = "dunno"`)? Then it is charged as soon as the database is back.
    pub count_when_away: bool,
}

/// Where a message was charged: the ticket, and the day and month as they were.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Place {
    ticket: i64,
    day: Date,
}

/// A request that waits to be charged.
struct Waiting {
    event: Event,
    wanted: Wanted,
    candidates: SmallVec<[i64; 2]>,
    answer: oneshot::Sender<Answer>,
}

/// What the desk says of itself.
#[derive(Debug, Clone, Default)]
pub struct Facts {
    /// Transactions committed.
    pub batches: u64,
    /// Tickets with charges that wait for the database.
    pub owed: usize,
    /// Why nothing can be charged at present.
    pub away: Option<String>,
}

struct Shared {
    database: Database,
    clock: Clock,
    settings: ArcSwap<Settings>,
    queue: Queue<Waiting>,
    messages: Mutex<Instances<Place>>,
    facts: Mutex<Facts>,
}

/// The desk. Its work ends when it is dropped.
pub struct Desk {
    shared: Arc<Shared>,
    events: Events,
    settle: mpsc::UnboundedSender<oneshot::Sender<()>>,
}

impl Desk {
    /// Opens the desk. Does no input or output itself.
    pub fn open(name: &str, database: &Database, clock: Clock, settings: Settings, log: Logger) -> Self {
        let shared = Arc::new(Shared {
            database: database.clone(),
            clock,
            settings: ArcSwap::from_pointee(settings),
            queue: Queue::default(),
            messages: Mutex::new(Instances::new(MESSAGES)),
            facts: Mutex::default(),
        });
        let (settle, orders) = mpsc::unbounded_channel();
        let backend = database.backend();
        let clerk = Clerk {
            shared: shared.clone(),
            log,
            sql: Sql(backend),
            receipts: Receipts::new(backend, name),
            number: 0,
            owed: BTreeMap::new(),
            doubt: None,
            is_registered: false,
            handled: None,
            away: None,
        };
        database.handle().spawn(clerk.run(orders));
        Self { shared, events: Events::default(), settle }
    }

    /// Works from now on by `settings`.
    pub fn set(&self, settings: Settings) {
        self.shared.settings.store(Arc::new(settings));
        self.shared.queue.wake();
    }

    /// What `request` is worth, charged to whom it names.
    pub fn event(&self, request: &libvalvula::Request, wanted: &Wanted) -> Event {
        let payer = [wanted.user.as_slice(), b"\n", &wanted.domain].concat();
        self.events.of(request, &payer)
    }

    /// Charges a request to one of the tickets `candidates`. A sender that is gone: the desk was closed.
    pub fn charge(&self, event: Event, wanted: Wanted, candidates: SmallVec<[i64; 2]>) -> oneshot::Receiver<Answer> {
        let (answer, answered) = oneshot::channel();
        self.shared.queue.add(Waiting { event, wanted, candidates, answer });
        answered
    }

    /// What [`Desk::charge`] would say, changing nothing: what is due, the ticket that holds, and the ruling.
    ///
    /// # Errors
    /// When the database does not answer.
    pub async fn look(
        &self,
        event: Event,
        wanted: Wanted,
        candidates: SmallVec<[i64; 2]>,
    ) -> Result<(Due, Option<Ticket>, Ruling), DbErr> {
        let shared = &self.shared;
        let now = seconds(shared.clock.now());
        let due = shared.messages.lock().due(now, &event);
        let statement = Sql(shared.database.backend()).tickets(&candidates, false);
        let rows = shared.database.run(|pool| async move { pool.query_all_raw(statement).await }).await?;
        let mut tickets = rows.iter().map(ticket).collect::<Result<Vec<_>, _>>()?;
        let Some(ticket) = Ticket::holding(tickets.iter_mut(), &wanted) else {
            return Ok((due, None, Ruling::NoTicket));
        };
        let count = if let Due::Charge(count) = due { count } else { 0 };
        let ruling = match ticket.refusal(signed(now), count) {
            Some(refusal) => Ruling::Refused(ticket.id, refusal),
            None => Ruling::Pass(ticket.id, ticket.transport.clone()),
        };
        Ok((due, Some(ticket.clone()), ruling))
    }

    /// Charges what waits, as far as the database answers.
    pub async fn settle(&self) {
        let (done, settled) = oneshot::channel();
        if self.settle.send(done).is_ok() {
            // Gone: closed meanwhile, and nothing is left to settle.
            let _ = settled.await;
        }
    }

    /// What it says of itself.
    pub fn facts(&self) -> Facts {
        self.shared.facts.lock().clone()
    }

    /// Messages remembered.
    pub fn messages(&self) -> usize {
        self.shared.messages.lock().len()
    }
}

/// The memory of a message as it was.
type Image = Option<actors::counting::instance::Message<Place, ()>>;

/// What was decided of a request, and what to undo if it does not come about.
struct Decided {
    waiting: Waiting,
    ruling: Ruling,
    image: Image,
    charged: Option<(Place, u32)>,
}

/// A transaction of which nobody knows whether it was committed.
struct Doubt {
    number: i64,
    /// To be added if it was not.
    missing: BTreeMap<i64, Delta>,
    /// To be added if it was: charges of requests that were not answered by it.
    surplus: BTreeMap<i64, Delta>,
}

/// Requests on their way through a transaction.
#[derive(Default)]
struct Round {
    waiting: Vec<Waiting>,
    decided: Vec<Decided>,
    deltas: BTreeMap<i64, Delta>,
    is_committing: bool,
}

/// Who works at the desk.
struct Clerk {
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
}

impl Clerk {
    async fn run(mut self, mut orders: mpsc::UnboundedReceiver<oneshot::Sender<()>>) {
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
                () = shared.queue.woken() => self.serve().await,
                () = sleep_until(next) => {
                    next = Instant::now() + TICK;
                    self.tick().await;
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
        let is_behind = self.handled != Some(self.today()) || !self.owed.is_empty() || self.doubt.is_some();
        if !is_behind && self.away.is_none() {
            return;
        }
        self.settle().await;
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
        }
    }

    fn came_back(&mut self) {
        if self.away.take().is_some() {
            info!(self.log, "tickets can be read again");
        }
    }

    /// Decides all that wait.
    async fn serve(&mut self) {
        loop {
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
    }

    async fn answer_after_commit(&mut self, mut round: Round) {
        let mut is_second = false;
        for attempt in 1..=MEETINGS {
            let Err(error) = self.attempt(&mut round).await else { return self.answer(round) };
            if round.is_committing {
                return self.doubt(round, &error);
            }
            self.undo(&mut round);
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
            let _ = waiting.answer.send(Err(Unavailable::new("other daemons keep the tickets busy")));
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
            self.change_day(today).await?;
        }
        let transaction = self.begin().await?;
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
        self.decide(round, &mut tickets, today);
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

    async fn begin(&self) -> Result<DatabaseTransaction, DbErr> {
        let is_sqlite = self.sql.0 == DatabaseBackend::Sqlite;
        let options = TransactionOptions {
            isolation_level: (!is_sqlite).then_some(IsolationLevel::ReadCommitted),
            sqlite_transaction_mode: is_sqlite.then_some(SqliteTransactionMode::Immediate),
            ..TransactionOptions::default()
        };
        self.shared.database.writer().begin_with_options(options).await
    }

    /// Does what is due at the change of day, unless another daemon has done it.
    async fn change_day(&mut self, today: Date) -> Result<(), DbErr> {
        let zone = self.shared.settings.load().zone.clone();
        let transaction = self.begin().await?;
        let rows = transaction.query_all_raw(self.sql.tracked()).await?;
        let tracked: Option<(Option<i64>, Option<i64>)> =
            rows.first().map(|row| Ok::<_, DbErr>((row.try_get_by_index(0)?, row.try_get_by_index(1)?))).transpose()?;
        let due = match tracked {
            None => day::Due::Note,
            Some((day, month)) => day::due(&zone, today, day, month),
        };
        match due {
            day::Due::Nothing => transaction.rollback().await?,
            day::Due::Note => {
                transaction.execute_raw(self.sql.track(today, tracked.is_none())).await?;
                transaction.commit().await?;
            }
            day::Due::Change(change) => {
                for statement in self.sql.close(change) {
                    transaction.execute_raw(statement).await?;
                }
                transaction.execute_raw(self.sql.track(today, false)).await?;
                transaction.commit().await?;
                info!(self.log, "a day of tickets ended"; "today" => %today, "month" => change.month_end.is_some());
            }
        }
        self.handled = Some(today);
        Ok(())
    }

    /// Decides what waits, in the order it came, on tickets that are held.
    fn decide(&self, round: &mut Round, tickets: &mut [Ticket], today: Date) {
        let now = self.now();
        let mut messages = self.shared.messages.lock();
        for waiting in std::mem::take(&mut round.waiting) {
            let image = messages.image(&waiting.event);
            let mut decided = Decided { waiting, ruling: Ruling::NoTicket, image, charged: None };
            let event = decided.waiting.event;
            let mine = tickets.iter_mut().filter(|ticket| decided.waiting.candidates.contains(&ticket.id));
            if let Some(ticket) = Ticket::holding(mine, &decided.waiting.wanted) {
                let id = ticket.id;
                let due = messages.due(now, &event);
                let count = if let Due::Charge(count) = due { count } else { 0 };
                let refusal = ticket.refusal(signed(now), count);
                let mut given_back = SmallVec::new();
                decided.ruling = match refusal {
                    Some(refusal) => Ruling::Refused(id, refusal),
                    None => Ruling::Pass(id, ticket.transport.clone()),
                };
                match (due, refusal) {
                    (Due::Charge(_), None) => {
                        let place = Place { ticket: id, day: today };
                        messages.charged(now, &event, place, count, None);
                        charge(ticket, [i64::from(count); 3]);
                        round.deltas.entry(id).or_default().add([i64::from(count); 3]);
                        decided.charged = Some((place, count));
                    }
                    (Due::GiveBack(count), None) => given_back = messages.given_back(now, &event, count),
                    // refused as a whole: none of its recipients was accepted
                    (_, Some(_)) if matches!(event.worth, Worth::Message(_)) => {
                        given_back = messages.refused(now, &event);
                    }
                    _ => {}
                }
                for back in given_back {
                    let counts = back.place.given_back(today, back.count);
                    if let Some(ticket) = tickets.iter_mut().find(|ticket| ticket.id == back.place.ticket) {
                        charge(ticket, counts);
                    }
                    round.deltas.entry(back.place.ticket).or_default().add(counts);
                }
            }
            round.decided.push(decided);
        }
    }

    /// As if nothing of the round had been decided.
    fn undo(&self, round: &mut Round) {
        let mut messages = self.shared.messages.lock();
        for decided in std::mem::take(&mut round.decided).into_iter().rev() {
            messages.restore(&decided.waiting.event, decided.image);
            round.waiting.push(decided.waiting);
        }
        round.waiting.reverse();
        round.deltas.clear();
    }

    fn answer(&mut self, round: Round) {
        let counts = self.shared.settings.load().count_when_away;
        for decided in round.decided {
            if decided.waiting.answer.is_closed() && !counts {
                // answered without us meanwhile, and its mail deferred
                self.revoke(&decided);
                continue;
            }
            let _ = decided.waiting.answer.send(Ok(decided.ruling));
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
            let _ = decided.waiting.answer.send(answer);
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
            let _ = waiting.answer.send(Err(Unavailable::new(format!("the ticket can't be read: {why}"))));
        }
    }
}

impl Place {
    /// What to add to the ticket for `count` given back `today`: the day and the month only if they are
    /// still the same.
    fn given_back(self, today: Date, count: u32) -> [i64; 3] {
        let count = -i64::from(count);
        let is_month = (self.day.year(), self.day.month()) == (today.year(), today.month());
        [count, if self.day == today { count } else { 0 }, if is_month { count } else { 0 }]
    }
}

/// What the ticket will be once `counts` are added.
fn charge(ticket: &mut Ticket, counts: [i64; 3]) {
    ticket.used.iter_mut().zip(counts).for_each(|(used, count)| *used = used.saturating_add(count).max(0));
}

fn signed(seconds: u64) -> i64 {
    i64::try_from(seconds).unwrap_or(i64::MAX)
}

const LATE: &str = "the database took too long over a ticket";

fn late() -> DbErr {
    DbErr::Conn(sea_orm::RuntimeErr::Internal(LATE.to_owned()))
}

fn is_late(error: &DbErr) -> bool {
    matches!(error, DbErr::Conn(sea_orm::RuntimeErr::Internal(why)) if why == LATE)
}

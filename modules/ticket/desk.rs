//! The desk where tickets are charged: one for a database and a name, shared by all workers.
//!
//! A request waits here until the `clerk` has charged it. What messages on their way were charged is
//! remembered here too, so that it outlives a reload and a clerk that panics.

use std::sync::Arc;

use actors::clock::Clock;
use actors::counting::Queue;
use actors::counting::event::{Event, Events};
use actors::counting::instance::{Due, Instances};
use actors::counting::ledger::seconds;
use actors::database::Database;
use actors::module::Unavailable;
use actors::reply::{Awaited, reply};
use arc_swap::ArcSwap;
use jiff::tz::TimeZone;
use parking_lot::Mutex;
use sea_orm::{ConnectionTrait as _, DbErr};
use slog::Logger;
use smallvec::SmallVec;
use tokio::sync::{mpsc, oneshot};

use super::clerk::Clerk;
use super::round::{Place, Waiting, signed};
use super::row::{Refusal, Ticket, Wanted};
use super::sql::{Sql, ticket};

/// Messages remembered.
const MESSAGES: usize = 1 << 18;

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

/// What desk and clerk share.
pub(super) struct Shared {
    pub(super) database: Database,
    pub(super) clock: Clock,
    pub(super) settings: ArcSwap<Settings>,
    pub(super) queue: Queue<Waiting>,
    pub(super) messages: Mutex<Instances<Place>>,
    pub(super) facts: Mutex<Facts>,
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
        let clerk = Clerk::new(shared.clone(), name, log);
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

    /// Charges a request to one of the tickets `candidates`. [`actors::reply::Ended`]: the desk was closed.
    pub fn charge(&self, event: Event, wanted: Wanted, candidates: SmallVec<[i64; 2]>) -> Awaited<Answer> {
        let (answer, answered) = reply();
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

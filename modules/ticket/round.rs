//! Requests that are decided together, and what that comes to. Pure: the tickets' rows are given.

use std::collections::BTreeMap;

use actors::counting::event::{Event, Worth};
use actors::counting::instance::{Due, Instances, Message};
use actors::reply::Reply;
use jiff::civil::Date;
use smallvec::SmallVec;

use super::desk::{Answer, Ruling};
use super::row::{Ticket, Wanted};
use super::sql::Delta;

/// Where a message was charged: the ticket, and the day and month as they were.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Place {
    pub ticket: i64,
    pub day: Date,
}

/// A request that waits to be charged.
pub struct Waiting {
    pub event: Event,
    pub wanted: Wanted,
    pub candidates: SmallVec<[i64; 2]>,
    pub answer: Reply<Answer>,
}

/// The memory of a message as it was.
pub type Image = Option<Message<Place, ()>>;

/// What was decided of a request, and what to undo if it does not come about.
pub struct Decided {
    pub waiting: Waiting,
    pub ruling: Ruling,
    pub image: Image,
    pub charged: Option<(Place, u32)>,
}

/// Requests on their way through a transaction.
#[derive(Default)]
pub struct Round {
    pub waiting: Vec<Waiting>,
    pub decided: Vec<Decided>,
    pub deltas: BTreeMap<i64, Delta>,
    pub is_committing: bool,
}

impl Round {
    /// Decides what waits, in the order it came, on `tickets`, whose rows are held; `now`: unix time.
    pub fn decide(&mut self, messages: &mut Instances<Place>, tickets: &mut [Ticket], now: u64, today: Date) {
        for waiting in std::mem::take(&mut self.waiting) {
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
                        self.deltas.entry(id).or_default().add([i64::from(count); 3]);
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
                    self.deltas.entry(back.place.ticket).or_default().add(counts);
                }
            }
            self.decided.push(decided);
        }
    }

    /// As if nothing of the round had been decided.
    pub fn undo(&mut self, messages: &mut Instances<Place>) {
        for decided in std::mem::take(&mut self.decided).into_iter().rev() {
            messages.restore(&decided.waiting.event, decided.image);
            self.waiting.push(decided.waiting);
        }
        self.waiting.reverse();
        self.deltas.clear();
    }
}

impl Place {
    /// What to add to the ticket for `count` given back `today`: the day and the month only if they are
    /// still the same.
    pub fn given_back(self, today: Date, count: u32) -> [i64; 3] {
        let count = -i64::from(count);
        let is_month = (self.day.year(), self.day.month()) == (today.year(), today.month());
        [count, if self.day == today { count } else { 0 }, if is_month { count } else { 0 }]
    }
}

/// What the ticket will be once `counts` are added.
pub fn charge(ticket: &mut Ticket, counts: [i64; 3]) {
    ticket.used.iter_mut().zip(counts).for_each(|(used, count)| *used = used.saturating_add(count).max(0));
}

/// Seconds as the database has them.
pub fn signed(seconds: u64) -> i64 {
    i64::try_from(seconds).unwrap_or(i64::MAX)
}

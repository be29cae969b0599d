//! mod-ticket: prepaid sending plans, charged in the database before a request is answered.
//!
//! Which names have a ticket is held in memory: everybody else is answered at once. What a ticket says
//! is read in the transaction that charges it (`desk`), so that a panel's plain SQL is obeyed from the
//! next request on and several daemons never sell it twice. While the database is away whoever has a
//! ticket can't be answered: `on_failure` decides.

mod change;
mod clerk;
mod day;
mod desk;
mod doubt;
mod names;
mod operate;
mod round;
mod row;
mod sql;
#[cfg(test)]
mod tests;


use std::sync::Arc;
use std::time::Instant;

use actors::counting::event::{Event, Worth};
use actors::counting::instance::Due;
use actors::module::{
    BoxFuture, Configured, Decide, Decision, Explanation, Module, ModuleContext, ModuleType, Outcome, Query,
    StartError, Unavailable,
};
use actors::operate::{Done, Order, Refused};
use actors::settings::Section;
use actors::watch::Followed;
use libvalvula::{Printable, Text, Verdict};
use serde_json::Value;
use smallvec::SmallVec;

use self::desk::{Desk, Ruling, Settings};
use self::names::Names;
use self::row::{Refusal, Ticket, Wanted};
use crate::mquota::settings::{accepts_on_failure, zone};
use crate::rarely::Rarely;
use crate::{operating, rules};

/// The registry's entry.
pub static MODULE: Type = Type;

/// `ticket`, prepaid plans.
pub struct Type;

impl ModuleType for Type {
    fn name(&self) -> &'static str {
        "ticket"
    }

    fn configure(&self, section: &mut Section) -> Box<dyn Configured> {
        Box::new(Settings { zone: zone(section), count_when_away: accepts_on_failure(section) })
    }
}

impl Configured for Settings {
    fn start(self: Box<Self>, context: ModuleContext) -> BoxFuture<Result<Arc<dyn Module>, StartError>> {
        Box::pin(async move {
            let names = Names::default();
            let followed = context.follow(names.follower()).await?;
            let desk = context.counters.keep(&format!("ticket {}", context.name), || {
                let name = format!("ticket {}", context.name);
                Desk::open(&name, &context.database, context.clock.clone(), (*self).clone(), context.log.clone())
            });
            desk.set(*self);
            Ok(Arc::new(TicketModule { names, followed, desk, context, odd: Rarely::default() }) as Arc<dyn Module>)
        })
    }
}

struct TicketModule {
    names: Names,
    followed: Followed,
    desk: Arc<Desk>,
    context: ModuleContext,
    /// Warnings of ways out that are none.
    odd: Rarely,
}

/// A request that some ticket may hold for.
struct Case {
    event: Event,
    wanted: Wanted,
    candidates: SmallVec<[i64; 2]>,
}

impl TicketModule {
    fn case(&self, query: &Query) -> Option<Case> {
        let candidates = self.names.candidates(query.sasl_key().as_bytes(), query.sender_key().domain());
        if candidates.is_empty() {
            return None;
        }
        let wanted = Wanted::of(&query.request);
        let event = self.desk.event(&query.request, &wanted);
        (event.worth != Worth::Nothing).then_some(Case { event, wanted, candidates })
    }

    fn outcome(&self, ruling: Ruling, query: &Query) -> Outcome {
        match ruling {
            Ruling::NoTicket | Ruling::Pass(_, None) => Ok(None),
            Ruling::Pass(id, Some(transport)) => Ok(self.filter(id, transport.trim())),
            Ruling::Refused(id, refusal) => Ok(Some(refused(id, refusal, query))),
        }
    }

    fn filter(&self, id: i64, transport: &str) -> Option<Decision> {
        let destination = if transport.contains(':') { transport.to_owned() } else { format!("{transport}:") };
        match Verdict::filter(&destination) {
            Ok(verdict) => Some(Decision::new(verdict, format!("domain_ticket {id}: outgoing_ip transport {transport}"))),
            Err(error) => {
                if let Some(suppressed) = self.odd.warn(id, Instant::now()) {
                    slog::warn!(self.context.log, "way out passed over: it is no transport";
                        "row" => format!("domain_ticket {id}"), "error" => %error, "suppressed" => suppressed);
                }
                None
            }
        }
    }
}

const LIMITS: [(&str, &str); 3] = [("total", "in total"), ("day", "per day"), ("month", "per month")];

/// What a refusal says to the sender, and to the log.
fn refused(id: i64, refusal: Refusal, query: &Query) -> Decision {
    let who = if query.is_authenticated() { query.sasl_username() } else { query.sender_key().domain() };
    let who = Printable::bounded(who, 200);
    let (text, why) = match refusal {
        Refusal::Expired(until) => (format!("The sending plan of {who} has ended"), format!("valid_until {until} is past")),
        Refusal::Blocked => (format!("Sending is blocked for {who}"), "block_ticket is set".to_owned()),
        Refusal::Full { which, limit, used, count } => {
            let (name, per) = LIMITS[which];
            (
                format!("The sending plan of {who} is used up: {limit} messages {per}"),
                format!("{name} limit, used {used} + {count} > {limit}"),
            )
        }
    };
    Decision::new(Verdict::reject(Text::new(text)), format!("domain_ticket {id}: {why}"))
}

/// For people: what a ticket says.
fn trace(ticket: &Ticket, due: Due) -> Vec<String> {
    let mut lines = vec![format!("domain_ticket {} holds", ticket.id)];
    for (which, (name, _)) in LIMITS.iter().enumerate() {
        let limit = ticket.limits[which].map_or_else(|| "no limit".to_owned(), |limit| format!("limit {limit}"));
        lines.push(format!("{name}: used {}, {limit}", ticket.used[which]));
    }
    lines.push(match due {
        Due::Nothing => "nothing to charge: this message was charged for it before".to_owned(),
        Due::Charge(count) => format!("to charge: {count}"),
        Due::GiveBack(count) => format!("to give back: {count}, of recipients refused later"),
    });
    lines
}

impl Module for TicketModule {
    fn decide(self: Arc<Self>, query: Arc<Query>) -> Decide {
        let Some(Case { event, wanted, candidates }) = self.case(&query) else { return Decide::DUNNO };
        let answer = self.desk.charge(event, wanted, candidates);
        Decide::Later(Box::pin(async move {
            let ruling = answer.await.map_err(|_| Unavailable::new("the tickets are closed"))??;
            self.outcome(ruling, &query)
        }))
    }

    fn explain(self: Arc<Self>, query: Arc<Query>) -> BoxFuture<Explanation> {
        Box::pin(async move {
            let Some(Case { event, wanted, candidates }) = self.case(&query) else {
                return Explanation { outcome: Ok(None), trace: vec!["no ticket names the user or the domain".to_owned()] };
            };
            match self.desk.look(event, wanted, candidates).await {
                Ok((due, ticket, ruling)) => {
                    let trace = ticket.map_or_else(Vec::new, |ticket| trace(&ticket, due));
                    Explanation { outcome: self.outcome(ruling, &query), trace }
                }
                Err(error) => {
                    let why = format!("the ticket can't be read: {error}");
                    Explanation { outcome: Err(Unavailable::new(why)), trace: Vec::new() }
                }
            }
        })
    }

    fn operate(self: Arc<Self>, order: Order) -> BoxFuture<Result<Done, Refused>> {
        Box::pin(async move { operate::carry_out(&self.context, order).await })
    }

    fn refresh(self: Arc<Self>) -> BoxFuture<Result<(), Unavailable>> {
        Box::pin(async move { operating::refresh([&self.followed]).await })
    }

    fn status(&self) -> Vec<(&'static str, Value)> {
        let facts = self.desk.facts();
        let (users, domains) = self.names.len();
        vec![
            ("users with a ticket", users.into()),
            ("domains with a ticket", domains.into()),
            ("messages remembered", self.desk.messages().into()),
            ("writes pending", facts.owed.into()),
            ("transactions", facts.batches.into()),
            ("not charged because", facts.away.map_or(Value::Null, Value::from)),
            rules::fact(&self.followed),
        ]
    }

    fn stop(self: Arc<Self>) -> BoxFuture<()> {
        Box::pin(async move { self.desk.settle().await })
    }
}

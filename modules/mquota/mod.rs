//! mod-mquota: how much an account, and its domain, may send in a minute, an hour and a period.
//!
//! Counters stand in memory and in the database (`actors::counting`). `relaxed` answers at once and
//! writes behind; `strict` answers after the commit. While the database is away counting goes on in
//! memory; `strict` then can't keep its promise and says "could not ask" where it would have passed.

mod exceptions;
mod operate;
mod period;
mod quota;
pub(crate) mod settings;
#[cfg(test)]
mod tests;


use std::sync::Arc;

use actors::counting::ledger::seconds;
use actors::counting::{Charging, Ledger};
use actors::module::{
    BoxFuture, Configured, Decide, Explanation, Module, ModuleContext, ModuleType, Query, StartError, Unavailable,
};
use actors::operate::{Done, Order, Refused};
use actors::settings::Section;
use actors::watch::Followed;
use arc_swap::ArcSwap;
use serde_json::Value;

use self::exceptions::Exceptions;
use self::period::Moment;
use self::quota::Quota;
use self::settings::Settings;
use crate::{operating, rules};

/// The registry's entry.
pub static MODULE: Type = Type;

/// `mquota`, sending quotas.
pub struct Type;

impl ModuleType for Type {
    fn name(&self) -> &'static str {
        "mquota"
    }

    fn configure(&self, section: &mut Section) -> Box<dyn Configured> {
        Box::new(Settings::read(section))
    }
}

impl Configured for Settings {
    fn start(self: Box<Self>, context: ModuleContext) -> BoxFuture<Result<Arc<dyn Module>, StartError>> {
        Box::pin(async move {
            let exceptions = Exceptions::default();
            let followed = context.follow(exceptions.follower()).await?;
            let ledger = context.counters.ledger(&context.name, self.counting).await.map_err(StartError::new)?;
            let moment = ArcSwap::from_pointee(self.calendar.at(now(&context)));
            let mquota = Mquota { settings: *self, exceptions, followed, ledger, moment, context };
            Ok(Arc::new(mquota) as Arc<dyn Module>)
        })
    }
}

struct Mquota {
    settings: Settings,
    exceptions: Exceptions,
    followed: Followed,
    ledger: Arc<Ledger>,
    /// The windows as last reckoned: they hold for a minute.
    moment: ArcSwap<Moment>,
    context: ModuleContext,
}

fn now(context: &ModuleContext) -> i64 {
    i64::try_from(seconds(context.clock.now())).unwrap_or(i64::MAX)
}

impl Mquota {
    fn moment(&self, now: i64) -> Moment {
        let known = **self.moment.load();
        if known.holds.contains(now) {
            return known;
        }
        let moment = self.settings.calendar.at(now);
        self.moment.store(Arc::new(moment));
        moment
    }

    /// What `query` is held against; `None`: it is none of our business.
    fn quota<'a>(&'a self, query: &'a Query) -> Option<Quota<'a>> {
        if !query.is_authenticated() || self.exceptions.covering(query.sasl_key()).is_some() {
            return None;
        }
        let now = now(&self.context);
        let event = self.ledger.events().of(&query.request, query.sasl_key().as_bytes());
        Quota::new(&self.settings, self.moment(now), now, event, query.sasl_key())
    }
}

impl Module for Mquota {
    fn decide(self: Arc<Self>, query: Arc<Query>) -> Decide {
        let (answer, event, moment, now) = match self.quota(&query) {
            None => return Decide::DUNNO,
            Some(quota) => match self.ledger.charge(&quota.draft) {
                Charging::Now(ruling) => return Decide::Now(Ok(quota.decision(ruling))),
                Charging::Later(answer) => (answer, quota.draft.event, quota.moment, quota.now),
            },
        };
        Decide::Later(Box::pin(async move {
            let ruling = answer.await.map_err(|_| Unavailable::new("the counters are closed"))??;
            let quota = Quota::new(&self.settings, moment, now, event, query.sasl_key());
            Ok(quota.and_then(|quota| quota.decision(ruling)))
        }))
    }

    fn explain(self: Arc<Self>, query: Arc<Query>) -> BoxFuture<Explanation> {
        Box::pin(async move {
            let mut trace = Vec::new();
            let outcome = match self.quota(&query) {
                Some(quota) => {
                    let (due, ruling, used) = self.ledger.peek(&quota.draft);
                    trace = quota.trace(due, &used);
                    Ok(quota.decision(ruling))
                }
                None if !query.is_authenticated() => {
                    trace.push("not authenticated: not counted".to_owned());
                    Ok(None)
                }
                None => {
                    trace.push(match self.exceptions.covering(query.sasl_key()) {
                        Some(name) => format!("mquota_exception for {}", libvalvula::Printable::new(name)),
                        None => "nothing is counted at this stage".to_owned(),
                    });
                    Ok(None)
                }
            };
            Explanation { outcome, trace }
        })
    }

    fn operate(self: Arc<Self>, order: Order) -> BoxFuture<Result<Done, Refused>> {
        Box::pin(async move { operate::carry_out(&self, order).await })
    }

    fn refresh(self: Arc<Self>) -> BoxFuture<Result<(), Unavailable>> {
        Box::pin(async move { operating::refresh([&self.followed]).await })
    }

    fn status(&self) -> Vec<(&'static str, Value)> {
        let status = self.ledger.status();
        vec![
            ("counters", status.counters.into()),
            ("messages remembered", status.messages.into()),
            ("writes pending", status.pending.into()),
            ("oldest unwritten seconds", status.oldest.map_or(0, |oldest| oldest.as_secs()).into()),
            ("batches written", status.batches.into()),
            ("not written because", status.away.map_or(Value::Null, Value::from)),
            ("exceptions", self.exceptions.len().into()),
            rules::fact(&self.followed),
        ]
    }

    fn stop(self: Arc<Self>) -> BoxFuture<()> {
        Box::pin(async move {
            // The counters live on; what can't be written now is written, or reported, by them.
            let _ = self.ledger.flush().await;
        })
    }
}

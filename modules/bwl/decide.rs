//! The order of decision, as one plain function over rows in memory and answers to local questions.

use actors::clock::Clock;
use actors::local::Truth;
use actors::module::{Decision, Outcome, Query, Unavailable};
use libvalvula::{AddressKey, Printable, Text, Verdict};

use super::status::Status;
use super::tables::{Entry, Tables};
use super::until::Until;
use crate::questions::{Clearing, Question, Questions, Wait};
use crate::rules::{Hit, Seek};
use crate::trace::Trace;

/// What a decision leaves behind besides its outcome.
#[derive(Default)]
pub(super) struct Notes {
    /// Line by line what was looked at, when somebody wants to know.
    pub(super) trace: Trace,
    /// Ids of the `ok` rows of `bwl_global` that were passed over, since they would have opened a relay.
    pub(super) guarded: Vec<i64>,
}

/// One request held against the rows.
pub(super) struct Case<'a> {
    pub(super) tables: &'a Tables,
    /// Refuse forged local senders (level 4).
    pub(super) deny_unknown_local: bool,
    /// Rows end by it.
    pub(super) clock: &'a Clock,
    pub(super) query: &'a Query,
}

impl Case<'_> {
    /// What bwl says of the request.
    ///
    /// Asks a question only when the outcome hangs on its answer, and says `Unavailable` only then.
    pub(super) fn decide(&self, questions: &mut Questions, notes: &mut Notes) -> Result<Outcome, Wait> {
        if let Some(decision) = self.blocked_user(&mut notes.trace) {
            return Ok(Ok(Some(decision)));
        }
        if let Some(outcome) = self.global(questions, notes)? {
            return Ok(outcome);
        }
        if let Some(outcome) = self.of_recipient(questions, notes)? {
            return Ok(outcome);
        }
        self.forged(questions, notes)
    }

    fn user(&self) -> Option<&AddressKey> {
        self.query.is_authenticated().then(|| self.query.sasl_key())
    }

    fn seek<'a>(&'a self, user: Option<&'a AddressKey>) -> Seek<'a> {
        Seek { sender: self.query.sender_key(), recipient: self.query.recipient_key(), user }
    }

    /// Level 1: the SASL user is blocked.
    fn blocked_user(&self, trace: &mut Trace) -> Option<Decision> {
        let user = self.user()?;
        let rows = self.tables.blocked.now();
        let shown = Printable::new(user.as_bytes());
        let mut hits = rows.matches(self.seek(Some(user)));
        let Some(hit) = hits.find(|hit| self.holds(hit, *hit.payload, "bwl_global_sasl", trace)) else {
            trace.note(|| format!("bwl_global_sasl: SASL user {shown} is in none of {} rows", rows.len()));
            return None;
        };
        let why = format!("bwl_global_sasl {}: SASL user {shown}", hit.id);
        trace.note(|| format!("{why}: reject"));
        Some(Decision::new(Verdict::reject(Text::new("This account may not send mail")), why))
    }

    /// Level 2: the rows of `bwl_global`.
    fn global(&self, questions: &mut Questions, notes: &mut Notes) -> Result<Option<Outcome>, Wait> {
        let rows = self.tables.global.now();
        let seek = self.seek(self.user());
        for hit in rows.matches(seek) {
            if !self.holds(&hit, hit.payload.until, "bwl_global", &mut notes.trace) {
                continue;
            }
            let skip = hit.payload.skip.as_ref().zip(seek.user);
            if skip.is_some_and(|(users, user)| users.contains(user)) {
                notes.trace.note(|| format!("{}: passed over, sasl_users_to_skip names the user", self.why("bwl_global", &hit)));
                continue;
            }
            if hit.payload.status == Status::Ok && seek.user.is_none() {
                match questions.ask(Question::Delivery)? {
                    Truth::Yes => {}
                    Truth::No => {
                        notes.trace.note(|| {
                            format!(
                                "{}: passed over, ok is neither for a local delivery nor for an authenticated client",
                                self.why("bwl_global", &hit)
                            )
                        });
                        notes.guarded.push(hit.id);
                        continue;
                    }
                    Truth::CouldNotAsk(reason) => {
                        let why = self.why("bwl_global", &hit);
                        return Ok(Some(Err(could_not_ask(Question::Delivery.asked(), &reason, &why, notes))));
                    }
                }
            }
            return Ok(Some(Ok(Some(self.decision("bwl_global", &hit, &mut notes.trace)))));
        }
        if notes.trace.is_kept() {
            for hit in rows.limited_to_others(seek) {
                let why = self.why("bwl_global", &hit);
                notes.trace.note(|| format!("{why}: passed over, limit_rule_to_sasl_users does not name the user"));
            }
            notes.trace.note(|| format!("bwl_global: none of {} rows decides", rows.len()));
        }
        Ok(None)
    }

    /// Level 3: the rows of the recipient's domain, then of the recipient.
    fn of_recipient(&self, questions: &mut Questions, notes: &mut Notes) -> Result<Option<Outcome>, Wait> {
        for (table, rows) in [("bwl_domain", &self.tables.domain), ("bwl_account", &self.tables.account)] {
            let rows = rows.now();
            let mut hits = rows.matches(self.seek(None));
            let Some(hit) = hits.find(|hit| self.holds(hit, hit.payload.until, table, &mut notes.trace)) else {
                notes.trace.note(|| format!("{table}: none of {} rows matches", rows.len()));
                continue;
            };
            // Only now does it matter whether the delivery is local.
            match questions.ask(Question::Delivery)? {
                Truth::Yes => return Ok(Some(Ok(Some(self.decision(table, &hit, &mut notes.trace))))),
                Truth::No => {
                    notes.trace.note(|| {
                        format!("{}: passed over, the delivery is not local", self.why(table, &hit))
                    });
                    return Ok(Some(Ok(None)));
                }
                Truth::CouldNotAsk(reason) => {
                    let why = self.why(table, &hit);
                    return Ok(Some(Err(could_not_ask(Question::Delivery.asked(), &reason, &why, notes))));
                }
            }
        }
        Ok(None)
    }

    /// Level 4: a sender of a local domain who does not exist there.
    ///
    /// One answer that clears the sender is enough, whatever could not be asked besides.
    fn forged(&self, questions: &mut Questions, notes: &mut Notes) -> Result<Outcome, Wait> {
        let sender = self.query.sender_key();
        if self.query.is_authenticated() || !self.deny_unknown_local || sender.domain().is_empty() {
            return Ok(Ok(None));
        }
        let why =
            || format!("forged local sender {}, recipient {}", Printable::new(sender.as_bytes()), self.recipient());
        match questions.clearing(&[
            (Question::Delivery, false),
            (Question::SenderDomain, false),
            (Question::Sender, true),
        ])? {
            Clearing::By(so) => {
                notes.trace.note(|| format!("forged local sender: no, {so}"));
                Ok(Ok(None))
            }
            Clearing::Unknown(asked, reason) => Ok(Err(could_not_ask(asked, &reason, &why(), notes))),
            Clearing::None => {
                let why = why();
                notes.trace.note(|| format!("{why}: reject"));
                let text = Text::new("The sender address does not exist in this domain");
                Ok(Ok(Some(Decision::new(Verdict::reject(text), why))))
            }
        }
    }

    /// Whether a row that matches has not ended yet.
    fn holds<P>(&self, hit: &Hit<'_, P>, until: Until, table: &str, trace: &mut Trace) -> bool {
        let is_over = until.is_over(self.clock);
        if is_over {
            trace.note(|| format!("{}: passed over, it has expired", self.why(table, hit)));
        }
        !is_over
    }

    fn decision(&self, table: &str, hit: &Hit<'_, Entry>, trace: &mut Trace) -> Decision {
        let why = self.why(table, hit);
        let verdict = hit.payload.status.verdict();
        trace.note(|| format!("{why}: {}", verdict.action_name()));
        Decision::new(verdict, why)
    }

    /// Table, row and the values compared.
    fn why<P>(&self, table: &str, hit: &Hit<'_, P>) -> String {
        let sender = Printable::new(self.query.sender_key().as_bytes());
        format!(
            "{table} {}: source {}, destination {}; sender {sender}, recipient {}",
            hit.id,
            hit.source(),
            hit.destination(),
            self.recipient()
        )
    }

    fn recipient(&self) -> Printable<'_> {
        Printable::new(self.query.recipient_key().as_bytes())
    }
}

fn could_not_ask(what: &str, reason: &str, why: &str, notes: &mut Notes) -> Unavailable {
    notes.trace.note(|| format!("{why}: could not ask {what}: {reason}"));
    Unavailable::new(format!("{what}: {reason} ({why})"))
}

#[cfg(test)]
#[path = "decide_tests.rs"]
mod tests;

//! The order of the checks, as one plain function over exceptions in memory and answers to local questions.

use actors::local::Local;
use actors::module::{Decision, Outcome, Query, Unavailable};
use libvalvula::{AddressKey, Text, Verdict};

use super::exceptions::Exception;
use crate::questions::{Clearing, Question, Questions, Wait};
use crate::rules::{RuleTable, Seek};
use crate::trace::Trace;

/// What sender and SASL user must have in common.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Mode {
    /// They are equal.
    Full,
    /// Their domains are equal, and the sender is a local address.
    SameDomain,
    /// The sender is a local address.
    ValidMailFrom,
    /// Nothing.
    Disabled,
}

impl Mode {
    fn name(self) -> &'static str {
        match self {
            Self::Full => "full",
            Self::SameDomain => "same-domain",
            Self::ValidMailFrom => "valid-mail-from",
            Self::Disabled => "disabled",
        }
    }
}

/// The module's settings.
#[derive(Debug, Clone)]
pub(super) struct Settings {
    pub(super) mode: Mode,
    pub(super) allow_empty_mail_from: bool,
    /// Also accept a sender that `smtpd_sender_login_maps` gives to the SASL user.
    pub(super) allow_login_maps: bool,
}

/// One request held against settings and exceptions.
pub(super) struct Case<'a> {
    pub(super) settings: &'a Settings,
    pub(super) exceptions: &'a RuleTable<Exception>,
    pub(super) local: &'a Local,
    pub(super) query: &'a Query,
}

impl Case<'_> {
    /// What slm says of the request.
    pub(super) fn decide(&self, questions: &mut Questions, trace: &mut Trace) -> Result<Outcome, Wait> {
        if !self.query.is_authenticated() {
            trace.note(|| "not authenticated: not asked".to_owned());
            return Ok(Ok(None));
        }
        if self.is_excepted(trace) {
            return Ok(Ok(None));
        }
        if self.sender().is_empty() {
            return Ok(Ok(self.empty_sender(trace)));
        }
        let Some(clearing) = self.clearing(trace) else { return Ok(Ok(None)) };
        let why = || {
            let mode = self.settings.mode.name();
            format!("slm {mode}: sender {}, SASL user {}", self.sender(), self.user())
        };
        match questions.clearing(clearing)? {
            Clearing::By(so) => {
                trace.note(|| format!("{}: no opinion, {so}", why()));
                Ok(Ok(None))
            }
            Clearing::Unknown(what, reason) => {
                trace.note(|| format!("{}: could not ask {what}: {reason}", why()));
                Ok(Err(Unavailable::new(format!("{what}: {reason} ({})", why()))))
            }
            Clearing::None => {
                trace.note(|| format!("{}: reject", why()));
                let text = Text::new("The sender address does not belong to the account that is logged in");
                Ok(Ok(Some(Decision::new(Verdict::reject(text), why()))))
            }
        }
    }

    fn sender(&self) -> &AddressKey {
        self.query.sender_key()
    }

    fn user(&self) -> &AddressKey {
        self.query.sasl_key()
    }

    fn is_excepted(&self, trace: &mut Trace) -> bool {
        let rows = self.exceptions.now();
        let seek = Seek { sender: self.sender(), recipient: self.query.recipient_key(), user: Some(self.user()) };
        let Some(hit) = rows.matches(seek).find(|hit| hit.payload.is_for(self.sender())) else {
            trace.note(|| format!("slm_exception: none of {} rows is for this user and sender", rows.len()));
            return false;
        };
        trace.note(|| {
            format!("slm_exception {}: mail_from {}, SASL user {}: no opinion", hit.id, hit.source(), self.user())
        });
        true
    }

    fn empty_sender(&self, trace: &mut Trace) -> Option<Decision> {
        if self.settings.allow_empty_mail_from {
            trace.note(|| "empty sender: allowed".to_owned());
            return None;
        }
        let why = format!("slm allow_empty_mail_from is off: empty sender, SASL user {}", self.user());
        trace.note(|| format!("{why}: reject"));
        Some(Decision::new(Verdict::reject(Text::new("Mail without a sender address is not accepted here")), why))
    }

    /// The answers that clear the request; `None` when it is clear without asking.
    ///
    /// A recipient who is a local address clears every mode. It is asked after the sender all the same: the
    /// outcome is the same, and the few senders of a server are mostly known already.
    fn clearing(&self, trace: &mut Trace) -> Option<&'static [(Question, bool)]> {
        use Question::{Recipient, Sender, SenderOwned};
        const RECIPIENT: &[(Question, bool)] = &[(Recipient, true), (SenderOwned, true)];
        const EITHER: &[(Question, bool)] = &[(Sender, true), (Recipient, true), (SenderOwned, true)];
        let asks_sender = match self.settings.mode {
            Mode::Disabled => {
                trace.note(|| "slm disabled: no opinion".to_owned());
                return None;
            }
            Mode::Full if self.is_same() => {
                trace.note(|| format!("slm full: sender {} is the SASL user: no opinion", self.sender()));
                return None;
            }
            Mode::Full => false,
            Mode::SameDomain => self.is_same_domain(),
            Mode::ValidMailFrom => true,
        };
        let clearing = if asks_sender { EITHER } else { RECIPIENT };
        let owned = usize::from(!self.settings.allow_login_maps);
        Some(&clearing[..clearing.len() - owned])
    }

    /// Only the sender loses its extension: two users whose names differ behind a delimiter stay two.
    fn is_same(&self) -> bool {
        let (sender, user) = (self.sender(), self.user());
        sender == user || sender.without_extension(&self.local.recipient_delimiter()) == *user
    }

    fn is_same_domain(&self) -> bool {
        self.user().has_domain() && self.user().domain() == self.sender().domain()
    }
}

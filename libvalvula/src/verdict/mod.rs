//! What Postfix is told.
//!
//! Postfix takes an answer literally, and some that look harmless do harm: a bare number permits, a
//! blank before the action or a missing empty line makes it wait or fall back to its own default, a status
//! code with nothing behind it crashes some versions. A [`Verdict`] is none of these, however it was made,
//! and [`Verdict::encode`] is the only place where an answer is written.

mod parse;
#[cfg(test)]
mod tests;
mod text;

use std::fmt;

use bytes::{BufMut, BytesMut};

pub use self::parse::VerdictError;
pub use self::text::{Code, Text};

/// An answer that Postfix understands as it is meant.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Verdict(Action);

#[derive(Debug, Clone, PartialEq, Eq, Hash)]
enum Action {
    Dunno,
    Ok,
    Reject(Text),
    Defer(Text),
    DeferIfReject(Text),
    DeferIfPermit(Text),
    Code(Code, Text),
    Discard(Text),
    Hold(Text),
    Filter(Text),
    Redirect(Text),
    Bcc(Text),
    Prepend(Text),
    Info(Text),
    Warn(Text),
}

/// Said when a refusal was given no text.
const REFUSED: &str = "Access denied";
/// Said when a temporary refusal was given no text.
const DEFERRED: &str = "Service temporarily unavailable, try again later";
/// Logged by Postfix when an action for its log was given no text.
const NOTED: &str = "decided by policy";

impl Verdict {
    /// No opinion: Postfix goes on with its next restriction.
    pub const DUNNO: Self = Self(Action::Dunno);

    /// Permit. Postfix skips the restrictions behind the policy service, so an `OK` to a stranger's mail
    /// for a stranger makes an open relay.
    pub const fn ok() -> Self {
        Self(Action::Ok)
    }

    /// Refuse for good (554 unless configured otherwise in Postfix).
    pub fn reject(text: Text) -> Self {
        Self(Action::Reject(text.or(REFUSED)))
    }

    /// Refuse for now (450).
    pub fn defer(text: Text) -> Self {
        Self(Action::Defer(text.or(DEFERRED)))
    }

    /// Refuse for now if a later restriction refuses for good.
    pub fn defer_if_reject(text: Text) -> Self {
        Self(Action::DeferIfReject(text.or(DEFERRED)))
    }

    /// Refuse for now if a later restriction permits.
    pub fn defer_if_permit(text: Text) -> Self {
        Self(Action::DeferIfPermit(text.or(DEFERRED)))
    }

    /// Refuse with this reply code.
    pub fn code(code: Code, text: Text) -> Self {
        let default = if code.is_temporary() { DEFERRED } else { REFUSED };
        Self(Action::Code(code, text.or(default)))
    }

    /// Accept the message and throw it away, for all its recipients. The text goes to Postfix's log.
    pub fn discard(text: Text) -> Self {
        Self(Action::Discard(text.or(NOTED)))
    }

    /// Put the message on hold. The text goes to Postfix's log.
    pub fn hold(text: Text) -> Self {
        Self(Action::Hold(text.or(NOTED)))
    }

    /// Write the text to Postfix's log.
    pub fn info(text: Text) -> Self {
        Self(Action::Info(text.or(NOTED)))
    }

    /// Write the text to Postfix's log as a warning.
    pub fn warn(text: Text) -> Self {
        Self(Action::Warn(text.or(NOTED)))
    }

    /// Send the message through this content filter: `transport:destination`, the destination may be
    /// empty.
    pub fn filter(destination: &str) -> Result<Self, VerdictError> {
        parse::filter(destination).map(|text| Self(Action::Filter(text)))
    }

    /// Send the message to this address in place of all its recipients.
    pub fn redirect(address: &str) -> Result<Self, VerdictError> {
        parse::address("REDIRECT", address).map(|text| Self(Action::Redirect(text)))
    }

    /// Send a copy of the message to this address.
    pub fn bcc(address: &str) -> Result<Self, VerdictError> {
        parse::address("BCC", address).map(|text| Self(Action::Bcc(text)))
    }

    /// Put a header in front of the message: its name, and its value made one line.
    pub fn prepend(name: &str, value: &str) -> Result<Self, VerdictError> {
        parse::header(name, value).map(|text| Self(Action::Prepend(text)))
    }

    /// Reads an answer as an administrator writes it: an action in any case, then what belongs to it.
    ///
    /// A text that is missing gets a default; what Postfix could not carry out is an error.
    pub fn parse(answer: &str) -> Result<Self, VerdictError> {
        parse::verdict(answer)
    }

    /// The action as Postfix knows it, for logs and statistics; `4NN` or `5NN` for a code.
    pub const fn action_name(&self) -> &'static str {
        match &self.0 {
            Action::Dunno => "DUNNO",
            Action::Ok => "OK",
            Action::Reject(_) => "REJECT",
            Action::Defer(_) => "DEFER",
            Action::DeferIfReject(_) => "DEFER_IF_REJECT",
            Action::DeferIfPermit(_) => "DEFER_IF_PERMIT",
            Action::Code(code, _) => {
                if code.is_temporary() {
                    "4NN"
                } else {
                    "5NN"
                }
            }
            Action::Discard(_) => "DISCARD",
            Action::Hold(_) => "HOLD",
            Action::Filter(_) => "FILTER",
            Action::Redirect(_) => "REDIRECT",
            Action::Bcc(_) => "BCC",
            Action::Prepend(_) => "PREPEND",
            Action::Info(_) => "INFO",
            Action::Warn(_) => "WARN",
        }
    }

    /// What follows the action: the text, destination, address or header; none for `DUNNO` and `OK`.
    pub const fn text(&self) -> Option<&Text> {
        match &self.0 {
            Action::Dunno | Action::Ok => None,
            Action::Reject(text)
            | Action::Defer(text)
            | Action::DeferIfReject(text)
            | Action::DeferIfPermit(text)
            | Action::Code(_, text)
            | Action::Discard(text)
            | Action::Hold(text)
            | Action::Filter(text)
            | Action::Redirect(text)
            | Action::Bcc(text)
            | Action::Prepend(text)
            | Action::Info(text)
            | Action::Warn(text) => Some(text),
        }
    }

    /// Whether it is [`Verdict::DUNNO`].
    pub const fn is_dunno(&self) -> bool {
        matches!(self.0, Action::Dunno)
    }

    /// Whether Postfix refuses the client's command because of it, for good or for now. What depends on
    /// later restrictions (`DEFER_IF_...`) is not counted.
    pub const fn is_refusal(&self) -> bool {
        matches!(self.0, Action::Reject(_) | Action::Defer(_) | Action::Code(..))
    }

    /// Writes the whole answer, its empty line included.
    pub fn encode(&self, answer: &mut BytesMut) {
        let code;
        let action = match &self.0 {
            Action::Code(number, _) => {
                code = number.digits();
                &code[..]
            }
            _ => self.action_name().as_bytes(),
        };
        let text = self.text().map_or("", Text::as_str);
        answer.reserve(b"action= \n\n".len() + action.len() + text.len());
        answer.put_slice(b"action=");
        answer.put_slice(action);
        if !text.is_empty() {
            answer.put_u8(b' ');
            answer.put_slice(text.as_bytes());
        }
        answer.put_slice(b"\n\n");
    }
}

/// The answer without `action=` and line ends: `REJECT not from there`.
impl fmt::Display for Verdict {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.0 {
            Action::Code(code, _) => code.fmt(out)?,
            _ => out.write_str(self.action_name())?,
        }
        match self.text() {
            Some(text) => write!(out, " {text}"),
            None => Ok(()),
        }
    }
}

impl std::str::FromStr for Verdict {
    type Err = VerdictError;

    fn from_str(answer: &str) -> Result<Self, VerdictError> {
        Self::parse(answer)
    }
}

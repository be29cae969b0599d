//! Answers that somebody wrote: held against what Postfix can carry out.

use super::text::LONGEST;
use super::{Code, Text, Verdict};
use crate::printable::Excerpt;

/// Why an answer can't be given.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum VerdictError {
    /// Nothing was written.
    #[error("empty answer, expected an action such as REJECT or DUNNO")]
    Empty,
    /// No action of Postfix.
    #[error(
        "{0} is no action: expected DUNNO, OK, REJECT, DEFER, DEFER_IF_REJECT, DEFER_IF_PERMIT, 4NN, 5NN, DISCARD, \
         HOLD, FILTER, REDIRECT, BCC, PREPEND, INFO or WARN"
    )]
    UnknownAction(Excerpt),
    /// A number that Postfix would take for a permit.
    #[error("{0} is no reply code that refuses: expected 400 to 599")]
    Code(u16),
    /// Something behind an action that takes nothing.
    #[error("{action} takes no text, got {found}")]
    NoText {
        /// The action.
        action: &'static str,
        /// What stood behind it.
        found: Excerpt,
    },
    /// A filter without a transport.
    #[error("FILTER {0}: expected transport:destination")]
    Filter(Excerpt),
    /// No address.
    #[error("{action} {found}: expected one address, user@domain")]
    Address {
        /// The action.
        action: &'static str,
        /// What stood behind it.
        found: Excerpt,
    },
    /// No header.
    #[error("PREPEND {0}: expected a header, Name: value")]
    Header(Excerpt),
    /// Longer than an answer may be.
    #[error("{action}: longer than {LONGEST} bytes")]
    TooLong {
        /// The action.
        action: &'static str,
    },
}

pub(super) fn verdict(answer: &str) -> Result<Verdict, VerdictError> {
    let answer = answer.trim();
    let (word, rest) = answer.split_once(|character: char| character.is_whitespace()).unwrap_or((answer, ""));
    let rest = rest.trim();
    let text = || Text::new(rest);
    let without_text = |verdict: Verdict| match rest {
        "" => Ok(verdict),
        _ => Err(VerdictError::NoText { action: verdict.action_name(), found: Excerpt::of(rest.as_bytes()) }),
    };
    match word.to_ascii_uppercase().as_str() {
        "" => Err(VerdictError::Empty),
        "DUNNO" => without_text(Verdict::DUNNO),
        "OK" => without_text(Verdict::ok()),
        "REJECT" => Ok(Verdict::reject(text())),
        "DEFER" => Ok(Verdict::defer(text())),
        "DEFER_IF_REJECT" => Ok(Verdict::defer_if_reject(text())),
        "DEFER_IF_PERMIT" => Ok(Verdict::defer_if_permit(text())),
        "DISCARD" => Ok(Verdict::discard(text())),
        "HOLD" => Ok(Verdict::hold(text())),
        "INFO" => Ok(Verdict::info(text())),
        "WARN" => Ok(Verdict::warn(text())),
        "FILTER" => Verdict::filter(rest),
        "REDIRECT" => Verdict::redirect(rest),
        "BCC" => Verdict::bcc(rest),
        "PREPEND" => match rest.split_once(':') {
            Some((name, value)) => Verdict::prepend(name, value),
            None => Err(VerdictError::Header(Excerpt::of(rest.as_bytes()))),
        },
        number if number.len() == 3 && number.bytes().all(|byte| byte.is_ascii_digit()) => {
            let number = number.bytes().fold(0, |number, digit| number * 10 + u16::from(digit - b'0'));
            Ok(Verdict::code(Code::new(number)?, text()))
        }
        _ => Err(VerdictError::UnknownAction(Excerpt::of(word.as_bytes()))),
    }
}

pub(super) fn filter(destination: &str) -> Result<Text, VerdictError> {
    let is_transport = |name: &str| {
        !name.is_empty() && name.bytes().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_' | b'.'))
    };
    match destination.split_once(':') {
        Some((transport, nexthop)) if is_transport(transport) && is_one_word(nexthop) => bounded("FILTER", destination),
        _ => Err(VerdictError::Filter(Excerpt::of(destination.as_bytes()))),
    }
}

pub(super) fn address(action: &'static str, address: &str) -> Result<Text, VerdictError> {
    let is_special = |character: char| matches!(character, '<' | '>' | ',' | ';');
    match address.rsplit_once('@') {
        Some((local, domain))
            if !local.is_empty() && !domain.is_empty() && is_one_word(address) && !address.contains(is_special) =>
        {
            bounded(action, address)
        }
        _ => Err(VerdictError::Address { action, found: Excerpt::of(address.as_bytes()) }),
    }
}

pub(super) fn header(name: &str, value: &str) -> Result<Text, VerdictError> {
    // RFC 5322, section 3.6.8: printable ASCII without the colon.
    let is_name = !name.is_empty() && name.bytes().all(|byte| byte.is_ascii_graphic() && byte != b':');
    let clean = Text::new(value);
    if !is_name || clean.is_empty() {
        return Err(VerdictError::Header(Excerpt::of(format!("{name}:{value}").as_bytes())));
    }
    bounded("PREPEND", &format!("{name}: {clean}"))
}

fn is_one_word(text: &str) -> bool {
    !text.contains(|character: char| character.is_whitespace() || character.is_control())
}

/// An argument that must not be cut, unlike a text: half an address is another one.
fn bounded(action: &'static str, argument: &str) -> Result<Text, VerdictError> {
    if argument.len() <= LONGEST { Ok(Text::new(argument)) } else { Err(VerdictError::TooLong { action }) }
}

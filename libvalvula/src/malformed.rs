//! Why a request is refused: what is wrong and where, ready for a log line.
//!
//! A malformed request ends its connection: Postfix then asks once more on a new one, and falls back to
//! its own default action. Nothing of the request is decided or charged.

use crate::attribute::Attribute;
use crate::printable::Excerpt;

/// A request that can't be decided. Lines are counted from 1; what is quoted is bounded and printable.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Malformed {
    /// An empty line with no attribute before it.
    #[error("empty request: an empty line without any attribute before it")]
    Empty,
    /// A line that is no `name=value`.
    #[error("line {line}: no \"=\" in {text}")]
    NoEquals {
        /// Which line.
        line: usize,
        /// How it begins.
        text: Excerpt,
    },
    /// A NUL byte, which no SMTP value can hold.
    #[error("line {line}: NUL byte after {before}")]
    Nul {
        /// Which line.
        line: usize,
        /// The line up to there.
        before: Excerpt,
    },
    /// A line longer than [`Limits::line`](crate::Limits::line).
    #[error("line {line}: longer than {limit} bytes, begins with {text}")]
    LineTooLong {
        /// Which line.
        line: usize,
        /// The limit in bytes.
        limit: usize,
        /// How it begins.
        text: Excerpt,
    },
    /// More lines than [`Limits::attributes`](crate::Limits::attributes).
    #[error("more than {limit} attributes")]
    TooManyAttributes {
        /// The limit.
        limit: usize,
    },
    /// More bytes than [`Limits::request`](crate::Limits::request).
    #[error("request longer than {limit} bytes")]
    TooLong {
        /// The limit in bytes.
        limit: usize,
    },
    /// No `request=` line: not a policy request.
    #[error("no attribute \"request\", expected request=smtpd_access_policy")]
    NoRequest,
    /// Another kind of request.
    #[error("request={found} is not served, expected request=smtpd_access_policy")]
    OtherRequest {
        /// What was asked for.
        found: Excerpt,
    },
    /// An attribute that must be a number and is none, or is greater than anything that makes sense.
    #[error("{attribute}={found} is not a number from 0 to {max}")]
    NotANumber {
        /// Which attribute.
        attribute: Attribute,
        /// Its value.
        found: Excerpt,
        /// The greatest value that is understood.
        max: u64,
    },
    /// Bytes after the empty line, where exactly one request was expected.
    #[error("{bytes} bytes after the empty line that ends the request")]
    Trailing {
        /// How many.
        bytes: usize,
    },
    /// A value given to the builder that would end its own line.
    #[error("{attribute}: a value can't hold a newline: {found}")]
    Newline {
        /// Which attribute.
        attribute: Attribute,
        /// Its value.
        found: Excerpt,
    },
}

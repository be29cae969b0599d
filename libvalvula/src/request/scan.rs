//! Finds the lines of a request as they arrive, and the places of its attributes.
//!
//! Each byte is looked at once, however the request is cut into packets: a [`Scan`] remembers how far it
//! came. It keeps offsets only; the bytes stay in the buffer that the codec (or the caller of
//! `Request::parse`) owns.

use memchr::{memchr, memchr2};

use crate::attribute::Attribute;
use crate::limits::Limits;
use crate::malformed::Malformed;
use crate::printable::Excerpt;

/// What monitors send in place of a request.
const CHECK_SERVER: &[u8] = b"checkserver";

/// Where a value lies. `start` 0 means that the attribute was not sent: before a value stand at least its
/// name and `=`.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Span {
    start: u32,
    end: u32,
}

/// Where the value of each attribute lies.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Spans([Span; Attribute::COUNT]);

impl Spans {
    pub(crate) fn value<'a>(&self, attribute: Attribute, block: &'a [u8]) -> Option<&'a [u8]> {
        let Span { start, end } = self.0[attribute as usize];
        if start == 0 { None } else { Some(&block[start as usize..end as usize]) }
    }
}

/// What a scan found. Offsets are those of the byte after it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Found {
    /// A whole request, its empty line included.
    Request { end: usize },
    /// The line `checkserver` where a request would begin.
    CheckServer { end: usize },
}

/// A request under way.
#[derive(Debug, Clone)]
pub(crate) struct Scan {
    spans: Spans,
    /// Where the line begins that is not complete yet.
    line_start: usize,
    /// Up to where the buffer was looked at.
    scanned: usize,
    /// Complete lines.
    lines: usize,
    /// Index of the attribute that Postfix sends next.
    next: usize,
}

impl Scan {
    pub(crate) fn new() -> Self {
        Self { spans: Spans([Span::default(); Attribute::COUNT]), line_start: 0, scanned: 0, lines: 0, next: 0 }
    }

    /// Where the values lie, once the request is whole.
    pub(crate) fn spans(&self) -> &Spans {
        &self.spans
    }

    /// Complete lines so far.
    pub(crate) fn lines(&self) -> usize {
        self.lines
    }

    /// Goes on where the last call stopped. `buffer` is the same as then, with more bytes at its end.
    ///
    /// `Ok(None)`: the request goes on behind the buffer. The error for a stream is the same however the
    /// stream is cut: it is the one whose proof comes first in the stream.
    pub(crate) fn advance(&mut self, buffer: &[u8], limits: &Limits) -> Result<Option<Found>, Malformed> {
        loop {
            let rest = buffer.get(self.scanned..).unwrap_or_default();
            let Some(found) = memchr2(b'\n', 0, rest).map(|offset| self.scanned + offset) else {
                self.check(buffer, buffer.len(), buffer.len(), limits)?;
                self.scanned = buffer.len();
                return Ok(None);
            };
            let consumed = found + 1;
            if buffer[found] == 0 {
                self.check(buffer, consumed, consumed, limits)?;
                let before = Excerpt::of(&buffer[self.line_start..found]);
                return Err(Malformed::Nul { line: self.lines + 1, before });
            }
            self.check(buffer, found, consumed, limits)?;
            let start = self.line_start;
            let line = &buffer[start..found];
            let line = line.strip_suffix(b"\r").unwrap_or(line);
            if line.is_empty() {
                return if self.lines == 0 {
                    Err(Malformed::Empty)
                } else {
                    Ok(Some(Found::Request { end: consumed }))
                };
            }
            if self.lines == 0 && line == CHECK_SERVER {
                return Ok(Some(Found::CheckServer { end: consumed }));
            }
            if self.lines == limits.attributes {
                return Err(Malformed::TooManyAttributes { limit: limits.attributes });
            }
            self.lines += 1;
            self.attribute(line, start)?;
            self.line_start = consumed;
            self.scanned = consumed;
        }
    }

    /// Holds the line that ends (or has come so far) at `line_end` and the request that has come as far as
    /// `consumed` against the limits; of two that are passed, the one that was passed first is reported.
    #[inline]
    fn check(&self, buffer: &[u8], line_end: usize, consumed: usize, limits: &Limits) -> Result<(), Malformed> {
        let request = limits.request_bytes();
        let line_too_long = line_end.saturating_sub(self.line_start) > limits.line;
        if line_too_long && self.line_start.saturating_add(limits.line) <= request {
            let start = &buffer[self.line_start..self.line_start + limits.line];
            let text = Excerpt::of(start);
            return Err(Malformed::LineTooLong { line: self.lines + 1, limit: limits.line, text });
        }
        if consumed > request { Err(Malformed::TooLong { limit: request }) } else { Ok(()) }
    }

    /// Remembers where the value of `line` lies, if its name is known; `start` is the line's offset.
    #[inline]
    fn attribute(&mut self, line: &[u8], start: usize) -> Result<(), Malformed> {
        // Postfix sends its attributes always in the same order, so the next one is nearly always known
        // beforehand, and comparing with it costs less than looking for "=" and the name.
        let (index, value) = match Attribute::ALL.get(self.next) {
            Some(expected) if line.starts_with(expected.prefix()) => (self.next, expected.prefix().len()),
            _ => {
                let Some(equals) = memchr(b'=', line) else {
                    return Err(Malformed::NoEquals { line: self.lines, text: Excerpt::of(line) });
                };
                match Attribute::from_name(&line[..equals]) {
                    Some(attribute) => (attribute as usize, equals + 1),
                    None => return Ok(()),
                }
            }
        };
        self.next = index + 1;
        self.spans.0[index] = Span { start: offset(start + value), end: offset(start + line.len()) };
        Ok(())
    }
}

fn offset(at: usize) -> u32 {
    u32::try_from(at).expect("Limits::MAX_REQUEST keeps every offset below 2^32")
}

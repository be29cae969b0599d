//! Finds the lines of a request as they arrive, and the places of its attributes.
//!
//! Each byte is looked at once, however the request is cut into packets: a [`Scan`] remembers how far it
//! came. It keeps offsets only; the bytes stay in the buffer that the codec (or the caller of
//! `Request::parse`) owns.

use memchr::arch::all::memchr::Two;
use memchr::memchr;

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
    #[inline]
    pub(crate) fn advance(&mut self, buffer: &[u8], limits: &Limits) -> Result<Option<Found>, Malformed> {
        let request = limits.request_bytes();
        loop {
            let start = self.line_start;
            let expected = self.expected(buffer);
            let Some(found) = line_end(buffer, expected.map_or(self.scanned, |(_, value)| value)) else {
                self.check(buffer, buffer.len(), buffer.len(), limits)?;
                self.scanned = buffer.len();
                return Ok(None);
            };
            if buffer[found] == 0 {
                self.check(buffer, found + 1, found + 1, limits)?;
                let before = Excerpt::of(&buffer[start..found]);
                return Err(Malformed::Nul { line: self.lines + 1, before });
            }
            if found >= request || found - start > limits.line {
                self.check(buffer, found, found + 1, limits)?;
            }
            let end = if found > start && buffer[found - 1] == b'\r' { found - 1 } else { found };
            if end == start {
                return if self.lines == 0 {
                    Err(Malformed::Empty)
                } else {
                    Ok(Some(Found::Request { end: found + 1 }))
                };
            }
            let line = &buffer[start..end];
            if self.lines == 0 && line == CHECK_SERVER {
                return Ok(Some(Found::CheckServer { end: found + 1 }));
            }
            if self.lines == limits.attributes {
                return Err(Malformed::TooManyAttributes { limit: limits.attributes });
            }
            self.lines += 1;
            let known = match expected {
                Some(known) => Some(known),
                None => self.find(line, start)?,
            };
            if let Some((index, value)) = known {
                self.next = index + 1;
                self.spans.0[index] = Span { start: offset(value), end: offset(end) };
            }
            self.line_start = found + 1;
            self.scanned = found + 1;
        }
    }

    /// The attribute that the current line begins with and where its value begins, when it is the one
    /// that Postfix sends next.
    ///
    /// Postfix sends its attributes always in the same order. Comparing with the name that is nearly
    /// always there costs less than looking at each of its bytes for the line's end and the `=`.
    #[inline]
    fn expected(&self, buffer: &[u8]) -> Option<(usize, usize)> {
        if self.scanned > self.line_start {
            return None;
        }
        let expected = Attribute::ALL.get(self.next)?;
        let line = buffer.get(self.line_start..)?;
        expected.begins(line).then(|| (self.next, self.line_start + expected.prefix().len()))
    }

    /// The same by the line's name; `None` when the name is unknown.
    fn find(&self, line: &[u8], start: usize) -> Result<Option<(usize, usize)>, Malformed> {
        match memchr(b'=', line) {
            Some(equals) => {
                let known = Attribute::from_name(&line[..equals]);
                Ok(known.map(|attribute| (attribute as usize, start + equals + 1)))
            }
            None => Err(Malformed::NoEquals { line: self.lines, text: Excerpt::of(line) }),
        }
    }

    /// Holds the line that ends (or has come so far) at `line_end` and the request that has come as far as
    /// `consumed` against the limits; of two that are passed, the one that was passed first is reported.
    #[cold]
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
}

/// The first newline or NUL from `from` on.
#[inline]
fn line_end(buffer: &[u8], from: usize) -> Option<usize> {
    let rest = buffer.get(from..)?;
    // Half of Postfix's attributes are empty.
    if rest.first() == Some(&b'\n') {
        return Some(from);
    }
    // Values are short: a portable search that is inlined beats a vectorised one that is called.
    Two::new(b'\n', 0).find(rest).map(|found| from + found)
}

fn offset(at: usize) -> u32 {
    u32::try_from(at).expect("Limits::MAX_REQUEST keeps every offset below 2^32")
}

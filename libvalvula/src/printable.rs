//! Bytes from the network made fit for a log line or an error message.
//!
//! A value may hold anything but NUL and newline. Written as it is, it could forge log lines or drive a
//! terminal; here it can't, and it can't be longer than the bound either.

use std::fmt;

/// How many bytes of a value an error message quotes.
const EXCERPT: usize = 64;

/// Shows bytes on one line: printable text as it is, all else as `\xNN`, at most a number of bytes.
#[derive(Debug, Clone, Copy)]
pub struct Printable<'a> {
    bytes: &'a [u8],
    limit: usize,
}

impl<'a> Printable<'a> {
    /// Shows all of `bytes`.
    pub fn new(bytes: &'a [u8]) -> Self {
        Self { bytes, limit: usize::MAX }
    }

    /// The value itself, when it is plain ASCII text of which nothing is escaped or left out.
    pub fn as_plain(&self) -> Option<&'a str> {
        let plain = |byte: &u8| matches!(byte, b' '..=b'~') && *byte != b'\\';
        (self.bytes.len() <= self.limit && self.bytes.iter().all(plain))
            .then(|| std::str::from_utf8(self.bytes).ok())
            .flatten()
    }

    /// Shows the first `limit` bytes (or up to three fewer, to end with a whole character), then `...`.
    pub fn bounded(bytes: &'a [u8], limit: usize) -> Self {
        Self { bytes, limit }
    }
}

impl fmt::Display for Printable<'_> {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        let shown = self.bytes.get(..self.limit).map_or(self.bytes, whole_characters);
        for chunk in shown.utf8_chunks() {
            for character in chunk.valid().chars() {
                if is_printable(character) {
                    fmt::Write::write_char(out, character)?;
                } else {
                    escape(character.encode_utf8(&mut [0; 4]).as_bytes(), out)?;
                }
            }
            escape(chunk.invalid(), out)?;
        }
        if shown.len() < self.bytes.len() { out.write_str("...") } else { Ok(()) }
    }
}

/// `cut` without the beginning of a character at its end; as it is when that is no UTF-8 anyway.
fn whole_characters(cut: &[u8]) -> &[u8] {
    match std::str::from_utf8(cut) {
        Err(error) if error.error_len().is_none() => &cut[..error.valid_up_to()],
        _ => cut,
    }
}

/// Backslash counts as not printable: an escape must not be mistaken for a value that looks like one.
fn is_printable(character: char) -> bool {
    !character.is_control()
        && !matches!(character, '\\' | '\u{2028}' | '\u{2029}' | '\u{200e}' | '\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}' | '\u{feff}')
}

fn escape(bytes: &[u8], out: &mut fmt::Formatter<'_>) -> fmt::Result {
    bytes.iter().try_for_each(|byte| write!(out, "\\x{byte:02x}"))
}

/// A bounded, printable copy of what was received, for an error message.
#[derive(Clone, PartialEq, Eq)]
pub struct Excerpt(Box<str>);

impl Excerpt {
    /// The beginning of `bytes`.
    pub fn of(bytes: &[u8]) -> Self {
        Self(Printable::bounded(bytes, EXCERPT).to_string().into_boxed_str())
    }

    /// The printable text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for Excerpt {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "\"{}\"", self.0)
    }
}

impl fmt::Debug for Excerpt {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, out)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_stays_and_everything_that_could_forge_a_line_is_escaped() {
        let shown = |bytes: &[u8]| Printable::new(bytes).to_string();
        assert_eq!(shown("jörg@exämple.org".as_bytes()), "jörg@exämple.org");
        assert_eq!(shown(b"a\r\nb\x1b[0m\x7f"), r"a\x0d\x0ab\x1b[0m\x7f");
        assert_eq!(shown(b"caf\xe9"), r"caf\xe9");
        assert_eq!(shown(br"a\x41"), r"a\x5cx41");
        assert_eq!(shown("a\u{2028}b\u{202e}c\u{85}".as_bytes()), r"a\xe2\x80\xa8b\xe2\x80\xaec\xc2\x85");
    }

    #[test]
    fn the_bound_counts_bytes_and_keeps_whole_characters() {
        assert_eq!(Printable::bounded(b"abcdef", 3).to_string(), "abc...");
        assert_eq!(Printable::bounded(b"abc", 3).to_string(), "abc");
        assert_eq!(Printable::bounded("aé€b".as_bytes(), 4).to_string(), "aé...");
    }

    #[test]
    fn what_is_plain_is_shown_as_it_is() {
        for bytes in [&b"ann@x.com"[..], b"", b"a b", b"a\\b", b"a\nb", "ä".as_bytes(), b"\x7f"] {
            let value = Printable::new(bytes);
            if let Some(plain) = value.as_plain() {
                assert_eq!(plain, value.to_string());
            }
        }
        assert_eq!(Printable::new(b"ann@x.com").as_plain(), Some("ann@x.com"));
        assert_eq!(Printable::bounded(b"abcdef", 3).as_plain(), None);
    }

    #[test]
    fn an_excerpt_of_anything_is_short() {
        assert!(Excerpt::of(&[0; 100_000]).as_str().len() <= 4 * EXCERPT + 3);
    }
}

//! The two forms of a log line: text for people, JSON for programs.
//!
//! Made by the log's own thread of what a worker copied into a `batch`. Values come from the network. Nothing in a
//! value can end a line, begin another or move a terminal's cursor: every control character is written as an escape.

use std::fmt::{self, Write as _};

use jiff::Timestamp;
use serde::ser::{Serialize, SerializeMap as _, Serializer as _};
use slog::Level;

use super::batch::{Line, Value};

impl Line<'_> {
    /// `2026-03-01T12:00:00.123Z info     message key=value`, without a line end.
    pub fn write_text(&self, stamp: &mut Stamp, out: &mut String) {
        stamp.write(self.time, out);
        // Writing to a String can't fail, here and below.
        let _ = write!(out, " {:<8} ", word(self.level));
        self.write_body(out);
    }

    /// `message key=value`.
    pub fn write_body(&self, out: &mut String) {
        let _ = write!(out, "{}", Escaped(self.message));
        for (key, value) in self.fields() {
            out.push(' ');
            out.push_str(key);
            out.push('=');
            match value {
                Value::Text(text) => quote(text, out),
                other => drop(write!(out, "{other}")),
            }
        }
    }

    /// One JSON object, without a line end.
    pub fn write_json(&self, stamp: &mut Stamp, out: &mut String) {
        let mut time = String::new();
        stamp.write(self.time, &mut time);
        // Fails only for what is no text, number or name; there is nothing else here.
        let _ = Json(out).serialize(&time, self);
    }
}

struct Json<'a>(&'a mut String);

impl Json<'_> {
    fn serialize(self, time: &str, line: &Line<'_>) -> serde_json::Result<()> {
        let mut bytes = std::mem::take(self.0).into_bytes();
        let start = bytes.len();
        let mut json = serde_json::Serializer::new(&mut bytes);
        let mut object = json.serialize_map(None)?;
        object.serialize_entry("time", time)?;
        object.serialize_entry("level", word(line.level))?;
        object.serialize_entry("message", line.message)?;
        for (key, value) in line.fields() {
            // A value never hides what the line itself says.
            match key {
                "time" | "level" | "message" => object.serialize_entry(&format!("{key}_"), &value)?,
                _ => object.serialize_entry(key, &value)?,
            }
        }
        object.end()?;
        // serde_json escapes what JSON demands: not the rest that ends a line or acts on a terminal.
        let is_safe = bytes[start..].iter().all(|byte| matches!(byte, b' '..=b'~'));
        *self.0 = String::from_utf8(bytes).unwrap_or_default();
        if !is_safe {
            let line = self.0.split_off(start.min(self.0.len()));
            let _ = write!(self.0, "{}", InJson(&line));
        }
        Ok(())
    }
}

impl Serialize for Value<'_> {
    fn serialize<S: serde::Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        match *self {
            Self::Text(text) => to.serialize_str(text),
            Self::Unsigned(number) => to.serialize_u64(number),
            Self::Signed(number) => to.serialize_i64(number),
            Self::Float(number) => to.serialize_f64(number),
            Self::Bool(yes) => to.serialize_bool(yes),
            Self::Nothing => to.serialize_unit(),
        }
    }
}

/// A value that is no text, as JSON writes it; a text as it is.
impl fmt::Display for Value<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match *self {
            Self::Text(text) => f.write_str(text),
            Self::Unsigned(number) => number.fmt(f),
            Self::Signed(number) => number.fmt(f),
            Self::Float(number) => number.fmt(f),
            Self::Bool(yes) => yes.fmt(f),
            Self::Nothing => f.write_str("null"),
        }
    }
}

/// Writes the time of a line, to the millisecond. Lines come in order: most share their second with the
/// one before.
#[derive(Debug, Default)]
pub(super) struct Stamp {
    second: Option<i64>,
    text: String,
}

impl Stamp {
    fn write(&mut self, time: Timestamp, out: &mut String) {
        let milliseconds = time.as_millisecond();
        let (second, rest) = (milliseconds.div_euclid(1000), milliseconds.rem_euclid(1000));
        if self.second != Some(second) {
            self.text.clear();
            let whole = Timestamp::from_second(second).unwrap_or(time);
            let _ = write!(self.text, "{whole:.0}");
            self.second = Some(second);
        }
        out.push_str(self.text.trim_end_matches('Z'));
        let _ = write!(out, ".{rest:03}Z");
    }
}

/// The name of a level, as the configuration writes it.
pub(super) fn word(level: Level) -> &'static str {
    crate::config::LEVELS.iter().find(|(_, known)| *known == level).map_or("info", |(word, _)| word)
}

/// What syslog and the journal call a level (RFC 5424, table 2).
pub(super) fn severity(level: Level) -> u8 {
    match level {
        Level::Critical => 2,
        Level::Error => 3,
        Level::Warning => 4,
        Level::Info => 6,
        Level::Debug | Level::Trace => 7,
    }
}

/// A text in which every character that could act on the reader's side is an escape.
struct Escaped<'a>(&'a str);

impl fmt::Display for Escaped<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut plain = 0;
        for (at, c) in self.0.char_indices() {
            if acts(c) {
                f.write_str(&self.0[plain..at])?;
                write!(f, "{}", c.escape_default())?;
                plain = at + c.len_utf8();
            }
        }
        f.write_str(&self.0[plain..])
    }
}

/// Writes a value: as it is when it is one plain word, else in quotes, with `"` and `\` escaped.
fn quote(text: &str, out: &mut String) {
    // Most values are plain ASCII, which is told without looking at characters.
    let plain_ascii = |byte: &u8| matches!(byte, b'!'..=b'~') && !matches!(byte, b'"' | b'\\' | b'=');
    let plain = |c: char| !acts(c) && !c.is_whitespace() && !matches!(c, '"' | '\\' | '=');
    if !text.is_empty() && (text.as_bytes().iter().all(plain_ascii) || text.chars().all(plain)) {
        return out.push_str(text);
    }
    out.push('"');
    for c in text.chars() {
        match c {
            '"' | '\\' => out.extend(['\\', c]),
            c if acts(c) => out.extend(c.escape_default()),
            c => out.push(c),
        }
    }
    out.push('"');
}

/// JSON, in which every character that could act is an escape: such a character can stand in a text only.
struct InJson<'a>(&'a str);

impl fmt::Display for InJson<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for c in self.0.chars() {
            if acts(c) {
                for unit in c.encode_utf16(&mut [0; 2]) {
                    write!(f, "\\u{unit:04x}")?;
                }
            } else {
                f.write_char(c)?;
            }
        }
        Ok(())
    }
}

/// Control characters, the line separators of Unicode, and its format characters: those that change the
/// direction of a line, are not seen, or speak to programs.
fn acts(c: char) -> bool {
    c.is_control()
        || matches!(c,
            '\u{ad}' | '\u{61c}' | '\u{180e}' | '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}'
            | '\u{2060}'..='\u{206f}' | '\u{feff}' | '\u{fff9}'..='\u{fffb}' | '\u{e0000}'..='\u{e007f}')
}

#[cfg(test)]
#[path = "line_tests.rs"]
mod tests;

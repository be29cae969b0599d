//! Log lines: how they are kept on their way to the target, and their two forms: text for people, JSON
//! for programs.
//!
//! A worker only copies a line's values into a [`Batch`], whose memory is used again and again; the log's
//! own thread makes the text of them. Values come from the network. Nothing in a value can end a line,
//! begin another or move a terminal's cursor: every control character is written as an escape.

use std::fmt::{self, Write as _};

use jiff::Timestamp;
use serde::ser::{Serialize, SerializeMap as _, Serializer as _};
use slog::{KV, Key, Level, OwnedKVList, Record, Serializer};

/// Lines on their way to their target, in order.
#[derive(Default)]
pub(super) struct Batch {
    /// Messages and texts, one after another.
    text: String,
    fields: Vec<Field>,
    heads: Vec<Head>,
}

struct Head {
    time: Timestamp,
    level: Level,
    /// Lengths of the line's text, of the message at its beginning, and of its fields.
    text: usize,
    message: usize,
    fields: usize,
}

struct Field {
    key: Key,
    value: Stored,
}

enum Stored {
    /// Where it begins and ends in the line's text.
    Text(usize, usize),
    Unsigned(u64),
    Signed(i64),
    Float(f64),
    Bool(bool),
    Nothing,
}

/// A value of a line.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) enum Value<'a> {
    Text(&'a str),
    Unsigned(u64),
    Signed(i64),
    Float(f64),
    Bool(bool),
    Nothing,
}

/// One line of a batch.
pub(super) struct Line<'a> {
    /// When it was logged.
    pub time: Timestamp,
    /// How severe it is.
    pub level: Level,
    /// What happened.
    pub message: &'a str,
    text: &'a str,
    fields: &'a [Field],
}

impl Batch {
    /// How many lines it holds.
    pub fn lines(&self) -> usize {
        self.heads.len()
    }

    /// How many bytes of text it holds.
    pub fn bytes(&self) -> usize {
        self.text.len()
    }

    /// Forgets all lines and keeps the memory.
    pub fn clear(&mut self) {
        self.text.clear();
        self.fields.clear();
        self.heads.clear();
    }

    /// Adds the line that `record` and its logger's `values` make.
    pub fn push(&mut self, time: Timestamp, record: &Record<'_>, values: &OwnedKVList) {
        let mut line = Writer { start: self.text.len(), first: self.fields.len(), batch: self };
        // Collecting can't fail: the writer never returns an error, and a value that fails itself is left out.
        let _ = write!(line.batch.text, "{}", record.msg());
        let message = line.batch.text.len() - line.start;
        let _ = record.kv().serialize(record, &mut line);
        let _ = values.serialize(record, &mut line);
        let (text, fields) = (line.batch.text.len() - line.start, line.batch.fields.len() - line.first);
        self.heads.push(Head { time, level: record.level(), text, message, fields });
    }

    /// Adds a line of the log's own, with one number.
    pub fn push_own(&mut self, level: Level, message: &str, key: Key, number: u64) {
        self.text.push_str(message);
        self.fields.push(Field { key, value: Stored::Unsigned(number) });
        let text = message.len();
        self.heads.push(Head { time: Timestamp::now(), level, text, message: text, fields: 1 });
    }

    /// Moves all lines of `other` behind its own.
    pub fn append(&mut self, other: &mut Self) {
        self.text.push_str(&other.text);
        other.text.clear();
        self.fields.append(&mut other.fields);
        self.heads.append(&mut other.heads);
    }

    /// The only line.
    #[cfg(test)]
    pub fn first(&self) -> Line<'_> {
        self.iter().next().expect("a line")
    }

    /// Each line, in order.
    pub fn iter(&self) -> impl Iterator<Item = Line<'_>> {
        let (mut text, mut fields) = (&*self.text, &*self.fields);
        self.heads.iter().map(move |head| {
            let (own_text, other_text) = text.split_at(head.text);
            let (own_fields, other_fields) = fields.split_at(head.fields);
            (text, fields) = (other_text, other_fields);
            let message = &own_text[..head.message];
            Line { time: head.time, level: head.level, message, text: own_text, fields: own_fields }
        })
    }
}

impl<'a> Line<'a> {
    /// The values of its logger, then its own, in the order given.
    pub fn fields(&self) -> impl Iterator<Item = (Key, Value<'a>)> {
        let text = self.text;
        // slog hands everything over backwards, from the line's last value to the outermost logger's first.
        self.fields.iter().rev().map(move |field| {
            let value = match field.value {
                Stored::Text(start, end) => Value::Text(&text[start..end]),
                Stored::Unsigned(number) => Value::Unsigned(number),
                Stored::Signed(number) => Value::Signed(number),
                Stored::Float(number) => Value::Float(number),
                Stored::Bool(yes) => Value::Bool(yes),
                Stored::Nothing => Value::Nothing,
            };
            (field.key, value)
        })
    }

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

/// Collects the values of one line.
struct Writer<'a> {
    batch: &'a mut Batch,
    /// Where the line's text and fields begin.
    start: usize,
    first: usize,
}

impl Writer<'_> {
    /// A name stands once: the line's own value, which comes first, wins over its logger's.
    fn add(&mut self, key: Key, value: Stored) -> slog::Result {
        if !self.batch.fields[self.first..].iter().any(|known| known.key == key) {
            self.batch.fields.push(Field { key, value });
        }
        Ok(())
    }

    fn add_text(&mut self, key: Key, write: impl FnOnce(&mut String) -> fmt::Result) -> slog::Result {
        let start = self.batch.text.len();
        if write(&mut self.batch.text).is_err() {
            self.batch.text.truncate(start);
            return Ok(());
        }
        self.add(key, Stored::Text(start - self.start, self.batch.text.len() - self.start))
    }
}

impl Serializer for Writer<'_> {
    fn emit_arguments(&mut self, key: Key, value: &fmt::Arguments<'_>) -> slog::Result {
        self.add_text(key, |text| text.write_fmt(*value))
    }
    fn emit_str(&mut self, key: Key, value: &str) -> slog::Result {
        self.add_text(key, |text| text.write_str(value))
    }
    fn emit_bool(&mut self, key: Key, value: bool) -> slog::Result {
        self.add(key, Stored::Bool(value))
    }
    fn emit_unit(&mut self, key: Key) -> slog::Result {
        self.add(key, Stored::Nothing)
    }
    fn emit_none(&mut self, key: Key) -> slog::Result {
        self.add(key, Stored::Nothing)
    }
    fn emit_usize(&mut self, key: Key, value: usize) -> slog::Result {
        self.add(key, Stored::Unsigned(value as u64))
    }
    fn emit_u8(&mut self, key: Key, value: u8) -> slog::Result {
        self.add(key, Stored::Unsigned(value.into()))
    }
    fn emit_u16(&mut self, key: Key, value: u16) -> slog::Result {
        self.add(key, Stored::Unsigned(value.into()))
    }
    fn emit_u32(&mut self, key: Key, value: u32) -> slog::Result {
        self.add(key, Stored::Unsigned(value.into()))
    }
    fn emit_u64(&mut self, key: Key, value: u64) -> slog::Result {
        self.add(key, Stored::Unsigned(value))
    }
    fn emit_isize(&mut self, key: Key, value: isize) -> slog::Result {
        self.add(key, Stored::Signed(value as i64))
    }
    fn emit_i8(&mut self, key: Key, value: i8) -> slog::Result {
        self.add(key, Stored::Signed(value.into()))
    }
    fn emit_i16(&mut self, key: Key, value: i16) -> slog::Result {
        self.add(key, Stored::Signed(value.into()))
    }
    fn emit_i32(&mut self, key: Key, value: i32) -> slog::Result {
        self.add(key, Stored::Signed(value.into()))
    }
    fn emit_i64(&mut self, key: Key, value: i64) -> slog::Result {
        self.add(key, Stored::Signed(value))
    }
    fn emit_f32(&mut self, key: Key, value: f32) -> slog::Result {
        self.add(key, Stored::Float(value.into()))
    }
    fn emit_f64(&mut self, key: Key, value: f64) -> slog::Result {
        self.add(key, Stored::Float(value))
    }
}

/// A batch of one line, whose values are in the order given.
#[cfg(test)]
pub(super) fn example(message: &str, fields: &[(Key, Value<'_>)]) -> Batch {
    let mut batch = Batch::default();
    batch.text.push_str(message);
    for (key, value) in fields.iter().rev() {
        let value = match *value {
            Value::Text(text) => {
                let start = batch.text.len();
                batch.text.push_str(text);
                Stored::Text(start, batch.text.len())
            }
            Value::Unsigned(number) => Stored::Unsigned(number),
            Value::Signed(number) => Stored::Signed(number),
            Value::Float(number) => Stored::Float(number),
            Value::Bool(yes) => Stored::Bool(yes),
            Value::Nothing => Stored::Nothing,
        };
        batch.fields.push(Field { key, value });
    }
    let (text, message, fields) = (batch.text.len(), message.len(), fields.len());
    batch.heads.push(Head { time: Timestamp::UNIX_EPOCH, level: Level::Warning, text, message, fields });
    batch
}

#[cfg(test)]
#[path = "line_tests.rs"]
mod tests;

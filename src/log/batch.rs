//! Log lines on their way from a worker to the log's thread: values as they are, in memory that is used again and
//! again. Their text is made later, by `line`.

use std::fmt::{self, Write as _};

use jiff::Timestamp;
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

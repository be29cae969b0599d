//! One log line, and its two forms: text for people, JSON for programs.
//!
//! Values come from the network. Nothing in a value can end a line, begin another or move a terminal's
//! cursor: every control character is written as an escape.

use std::fmt::{self, Write as _};

use jiff::Timestamp;
use serde_json::{Map, Value};
use slog::{KV, Key, Level, OwnedKVList, Record, Serializer};

/// A line on its way to its target.
pub(super) struct Line {
    /// When it was logged.
    pub time: Timestamp,
    /// How severe it is.
    pub level: Level,
    /// What happened.
    pub message: String,
    /// The values of its logger, then its own; a name stands once, the line's own wins.
    pub fields: Vec<(Key, Value)>,
}

impl Line {
    /// The line that `record` and its logger's `values` make.
    pub fn new(time: Timestamp, record: &Record<'_>, values: &OwnedKVList) -> Self {
        let mut fields = Fields(Vec::with_capacity(16));
        // Collecting can't fail: `Fields` never returns an error, and a value that fails itself is left out.
        let _ = record.kv().serialize(record, &mut fields);
        let _ = values.serialize(record, &mut fields);
        // slog hands everything over backwards, from the line's last value to the outermost logger's first.
        fields.0.reverse();
        Self { time, level: record.level(), message: record.msg().to_string(), fields: fields.0 }
    }

    /// A line of the log's own.
    pub fn own(level: Level, message: &str, fields: Vec<(Key, Value)>) -> Self {
        Self { time: Timestamp::now(), level, message: message.to_owned(), fields }
    }

    /// `2026-03-01T12:00:00.123Z info  message key=value`, without a line end.
    pub fn write_text(&self, out: &mut String) {
        // Writing to a String can't fail, here and below.
        let _ = write!(out, "{:.3} {:<8} ", self.time, word(self.level));
        self.write_body(out);
    }

    /// `message key=value`.
    pub fn write_body(&self, out: &mut String) {
        let _ = write!(out, "{}", Escaped(&self.message));
        for (key, value) in &self.fields {
            let _ = match value {
                Value::String(text) => write!(out, " {key}={}", Quoted(text)),
                other => write!(out, " {key}={other}"),
            };
        }
    }

    /// One JSON object, without a line end.
    pub fn write_json(&self, out: &mut String) {
        let mut object = Map::new();
        object.insert("time".to_owned(), format!("{:.3}", self.time).into());
        object.insert("level".to_owned(), word(self.level).into());
        object.insert("message".to_owned(), self.message.clone().into());
        for (key, value) in &self.fields {
            let key = if object.contains_key(*key) { format!("{key}_") } else { (*key).to_owned() };
            object.insert(key, value.clone());
        }
        let _ = write!(out, "{}", Value::Object(object));
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

/// A value: as it is when it is one plain word, else in quotes, with `"` and `\` escaped.
struct Quoted<'a>(&'a str);

impl fmt::Display for Quoted<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let plain = |c: char| !acts(c) && !c.is_whitespace() && !matches!(c, '"' | '\\' | '=');
        if !self.0.is_empty() && self.0.chars().all(plain) {
            return f.write_str(self.0);
        }
        f.write_char('"')?;
        for c in self.0.chars() {
            match c {
                '"' | '\\' => write!(f, "\\{c}")?,
                c if acts(c) => write!(f, "{}", c.escape_default())?,
                c => f.write_char(c)?,
            }
        }
        f.write_char('"')
    }
}

/// Control characters, the line separators of Unicode, and those that change the direction of a line.
fn acts(c: char) -> bool {
    c.is_control()
        || matches!(c, '\u{2028}' | '\u{2029}' | '\u{200e}' | '\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
}

struct Fields(Vec<(Key, Value)>);

impl Fields {
    fn add(&mut self, key: Key, value: impl Into<Value>) -> slog::Result {
        if !self.0.iter().any(|(known, _)| *known == key) {
            self.0.push((key, value.into()));
        }
        Ok(())
    }
}

impl Serializer for Fields {
    fn emit_arguments(&mut self, key: Key, value: &fmt::Arguments<'_>) -> slog::Result {
        self.add(key, value.to_string())
    }
    fn emit_str(&mut self, key: Key, value: &str) -> slog::Result {
        self.add(key, value)
    }
    fn emit_bool(&mut self, key: Key, value: bool) -> slog::Result {
        self.add(key, value)
    }
    fn emit_unit(&mut self, key: Key) -> slog::Result {
        self.add(key, ())
    }
    fn emit_none(&mut self, key: Key) -> slog::Result {
        self.add(key, ())
    }
    fn emit_usize(&mut self, key: Key, value: usize) -> slog::Result {
        self.add(key, value)
    }
    fn emit_isize(&mut self, key: Key, value: isize) -> slog::Result {
        self.add(key, value)
    }
    fn emit_u8(&mut self, key: Key, value: u8) -> slog::Result {
        self.add(key, value)
    }
    fn emit_i8(&mut self, key: Key, value: i8) -> slog::Result {
        self.add(key, value)
    }
    fn emit_u16(&mut self, key: Key, value: u16) -> slog::Result {
        self.add(key, value)
    }
    fn emit_i16(&mut self, key: Key, value: i16) -> slog::Result {
        self.add(key, value)
    }
    fn emit_u32(&mut self, key: Key, value: u32) -> slog::Result {
        self.add(key, value)
    }
    fn emit_i32(&mut self, key: Key, value: i32) -> slog::Result {
        self.add(key, value)
    }
    fn emit_u64(&mut self, key: Key, value: u64) -> slog::Result {
        self.add(key, value)
    }
    fn emit_i64(&mut self, key: Key, value: i64) -> slog::Result {
        self.add(key, value)
    }
    fn emit_f32(&mut self, key: Key, value: f32) -> slog::Result {
        self.add(key, value)
    }
    fn emit_f64(&mut self, key: Key, value: f64) -> slog::Result {
        self.add(key, value)
    }
}

#[cfg(test)]
pub(super) fn example(message: &str, fields: &[(Key, Value)]) -> Line {
    Line { time: Timestamp::UNIX_EPOCH, level: Level::Warning, message: message.to_owned(), fields: fields.to_vec() }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn text(line: &Line) -> String {
        let mut out = String::new();
        line.write_text(&mut out);
        out
    }

    #[test]
    fn a_text_line_has_time_level_message_and_values() {
        let line = example("verdict", &[("sender", "ann@x.com".into()), ("us", 12.into()), ("text", "a \"b\"".into())]);
        assert_eq!(text(&line), r#"1970-01-01T00:00:00.000Z warning  verdict sender=ann@x.com us=12 text="a \"b\"""#);
    }

    #[test]
    fn no_value_and_no_message_can_begin_a_line_or_move_the_cursor() {
        let hostile = "a\nb\r\x1b[2J\x00\u{85}\u{2028}\u{202e}\x7f";
        let line = example(hostile, &[("sender", hostile.into())]);
        let shown = text(&line);
        assert!(shown.chars().all(|c| !acts(c)), "{shown:?}");
        assert!(shown.contains(r#"sender="a\nb\r\u{1b}[2J\u{0}\u{85}\u{2028}\u{202e}\u{7f}""#), "{shown}");
        let mut json = String::new();
        line.write_json(&mut json);
        assert!(!json.contains('\n'));
        assert_eq!(serde_json::from_str::<Value>(&json).unwrap()["sender"], hostile);
    }

    #[test]
    fn an_empty_value_is_seen_and_a_fake_pair_stays_inside_its_quotes() {
        let line = example("m", &[("a", "".into()), ("b", "x action=OK".into()), ("c", "x=y".into())]);
        assert!(text(&line).ends_with(r#"m a="" b="x action=OK" c="x=y""#));
    }

    #[test]
    fn a_value_never_hides_the_fields_of_the_line_itself() {
        let mut json = String::new();
        example("m", &[("level", "fake".into())]).write_json(&mut json);
        let json: Value = serde_json::from_str(&json).unwrap();
        assert_eq!((&json["level"], &json["level_"]), (&"warning".into(), &"fake".into()));
    }
}

//! One TOML file as a layer of the configuration, each value with the line it was written on.
//!
//! The crate `config` reads TOML too, but keeps no line numbers and stops at the first fault of a file.
//! This parses with the parser that `config` itself uses, keeps the lines, and reports every fault of the
//! syntax; what could be read around a fault is still used, so that faults of its content show as well.

use actors::settings::{Fault, Faults};
use config::{Map, Value, ValueKind};
use toml::de::{DeTable, DeValue};
use toml::{Spanned, de::DeArray};

/// Reads `text`, the content of the file `name`. Faults name file, line and column.
pub(super) fn parse(name: &str, text: &str, faults: &Faults) -> Map<String, Value> {
    let file = File { name, text, faults };
    let (table, errors) = DeTable::parse_recoverable(text);
    for error in errors {
        let at = error.span().map_or(0, |span| span.start);
        let (line, column) = file.position(at);
        // Only the parser's message: the line itself may hold a password.
        faults.push(Fault {
            origin: format!("{name}:{line}:{column}"),
            key: String::new(),
            message: format!("not valid TOML: {}", error.message()),
        });
    }
    file.table(table.into_inner(), "")
}

struct File<'a> {
    name: &'a str,
    text: &'a str,
    faults: &'a Faults,
}

impl File<'_> {
    /// Line and column, both from 1, of the byte at `offset`.
    fn position(&self, offset: usize) -> (usize, usize) {
        let before = &self.text[..self.text.floor_char_boundary(offset)];
        let line = before.matches('\n').count() + 1;
        let column = before.rsplit('\n').next().unwrap_or_default().chars().count() + 1;
        (line, column)
    }

    fn origin(&self, offset: usize) -> String {
        format!("{}:{}", self.name, self.position(offset).0)
    }

    fn table(&self, table: DeTable<'_>, path: &str) -> Map<String, Value> {
        table
            .into_iter()
            .map(|(key, value)| {
                let path = join(path, key.get_ref());
                // A table's span is its header, which another file's table of the same name shares; a
                // value's line is that of its key.
                let value = self.value(key.span().start, value, &path);
                (key.into_inner().into_owned(), value)
            })
            .collect()
    }

    fn array(&self, array: DeArray<'_>, path: &str) -> Vec<Value> {
        array
            .into_iter()
            .enumerate()
            .map(|(index, value)| self.value(value.span().start, value, &format!("{path}[{index}]")))
            .collect()
    }

    fn value(&self, at: usize, value: Spanned<DeValue<'_>>, path: &str) -> Value {
        let origin = self.origin(at);
        let kind = match value.into_inner() {
            DeValue::String(text) => ValueKind::String(text.into_owned()),
            DeValue::Boolean(value) => ValueKind::Boolean(value),
            DeValue::Integer(number) => match i64::from_str_radix(number.as_str(), number.radix()) {
                Ok(number) => ValueKind::I64(number),
                Err(_) => self.out_of_range(&origin, path),
            },
            DeValue::Float(number) => match number.as_str().parse::<f64>() {
                Ok(number) if number.is_finite() => ValueKind::Float(number),
                _ => self.out_of_range(&origin, path),
            },
            // Nothing of ours is a date: whoever reads the key says what was expected instead.
            DeValue::Datetime(time) => ValueKind::String(time.to_string()),
            DeValue::Array(items) => ValueKind::Array(self.array(items, path)),
            DeValue::Table(table) => ValueKind::Table(self.table(table, path)),
        };
        Value::new(Some(&origin), kind)
    }

    fn out_of_range(&self, origin: &str, path: &str) -> ValueKind {
        self.faults.push(Fault {
            origin: origin.to_owned(),
            key: path.to_owned(),
            message: "the number is out of range".to_owned(),
        });
        ValueKind::Nil
    }
}

fn join(path: &str, key: &str) -> String {
    if path.is_empty() { key.to_owned() } else { format!("{path}.{key}") }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn faults_of(text: &str) -> Vec<String> {
        let faults = Faults::default();
        parse("a.toml", text, &faults);
        faults.take().iter().map(ToString::to_string).collect()
    }

    #[test]
    fn each_value_knows_its_line() {
        let faults = Faults::default();
        let layer = parse("a.toml", "[log]\nlevel = \"info\"\n\n[[listener]]\naddress = \"x\"\n", &faults);
        let log = layer["log"].clone().into_table().unwrap();
        assert_eq!(log["level"].origin(), Some("a.toml:2"));
        let listener = layer["listener"].clone().into_array().unwrap()[0].clone();
        assert_eq!(listener.origin(), Some("a.toml:4"));
        assert_eq!(listener.into_table().unwrap()["address"].origin(), Some("a.toml:5"));
        assert!(faults.is_empty());
    }

    #[test]
    fn every_fault_of_the_syntax_is_reported_with_line_and_column() {
        let shown = faults_of("[server]\nuser = \"a\"\nuser = \"b\"\nworkers = \n");
        assert_eq!(shown.len(), 2, "{shown:#?}");
        assert_eq!(shown[0], "a.toml:3:1: not valid TOML: duplicate key");
        assert!(shown[1].starts_with("a.toml:4:"), "{shown:#?}");
    }

    #[test]
    fn a_fault_of_the_syntax_does_not_show_the_line_it_is_in() {
        let shown = faults_of("[database]\nurl = \"mysql://u:geheim@h/d\nx = 1\n");
        assert!(!shown.is_empty() && shown.iter().all(|fault| !fault.contains("geheim")), "{shown:#?}");
    }

    #[test]
    fn a_number_that_does_not_fit_is_a_fault_with_its_key() {
        let shown = faults_of("[a]\nb = [99999999999999999999]\nc = 1e999\n");
        assert_eq!(
            shown,
            ["a.toml:2: a.b[0]: the number is out of range", "a.toml:3: a.c: the number is out of range"]
        );
    }
}

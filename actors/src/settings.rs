//! Configuration as a module reads it: key by key, every fault kept, none hiding another.
//!
//! The daemon merges its files and the environment into a tree of [`Node`]s, each of which knows where
//! it was written ([`Origin`]). A [`Section`] is one table of it. Whoever owns a section asks it for
//! each key it knows; a key of the wrong type or out of bounds is recorded as a [`Fault`] and the
//! default is used, so that reading goes on and the next fault is found too; a key nobody asked for is
//! reported as unknown, with the keys that were asked for, by [`Section::finish`].

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::fmt;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use serde::de::DeserializeOwned;
use serde_json::Value;

/// Where a value was written: a file's path, or `environment NAME`.
pub type Origin = Arc<str>;

/// A value of the merged configuration and where it came from.
#[derive(Debug, Clone, PartialEq)]
pub enum Node {
    /// A text, number or truth value. Values from the environment are always texts: see `from_env`.
    Leaf {
        /// The value.
        value: Value,
        /// Where it was written.
        origin: Origin,
        /// From the environment: a text that may stand for a number or a truth value.
        from_env: bool,
    },
    /// An array.
    List {
        /// Its elements.
        items: Vec<Node>,
        /// Where it was written.
        origin: Origin,
    },
    /// A table.
    Table {
        /// Its keys.
        keys: BTreeMap<String, Node>,
        /// Where it was (first) written.
        origin: Origin,
    },
}

impl Node {
    /// Where this value was written.
    pub fn origin(&self) -> &Origin {
        match self {
            Self::Leaf { origin, .. } | Self::List { origin, .. } | Self::Table { origin, .. } => origin,
        }
    }

    fn kind(&self) -> &'static str {
        match self {
            Self::Leaf { value: Value::String(_), .. } => "a string",
            Self::Leaf { value: Value::Bool(_), .. } => "a boolean",
            Self::Leaf { .. } => "a number",
            Self::List { .. } => "an array",
            Self::Table { .. } => "a table",
        }
    }

    fn to_json(&self) -> Value {
        match self {
            Self::Leaf { value: Value::String(text), from_env: true, .. } => {
                // `5`, `true`, `["a", "b"]`; anything else is a text
                serde_json::from_str(text).unwrap_or_else(|_| Value::String(text.clone()))
            }
            Self::Leaf { value, .. } => value.clone(),
            Self::List { items, .. } => Value::Array(items.iter().map(Self::to_json).collect()),
            Self::Table { keys, .. } => {
                Value::Object(keys.iter().map(|(key, node)| (key.clone(), node.to_json())).collect())
            }
        }
    }
}

/// One thing wrong with the configuration.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Fault {
    /// The file (or environment variable).
    pub origin: String,
    /// The key, with its path: `listener[0].address`. Empty when the whole file is meant.
    pub key: String,
    /// What is wrong and what was expected.
    pub message: String,
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.key.as_str() {
            "" => write!(f, "{}: {}", self.origin, self.message),
            key => write!(f, "{}: {key}: {}", self.origin, self.message),
        }
    }
}

/// The faults found so far, shared by all sections of one configuration.
#[derive(Debug, Clone, Default)]
pub struct Faults(Rc<RefCell<Vec<Fault>>>);

impl Faults {
    /// Records a fault.
    pub fn push(&self, fault: Fault) {
        self.0.borrow_mut().push(fault);
    }

    /// All faults so far, in the order found.
    pub fn take(&self) -> Vec<Fault> {
        std::mem::take(&mut self.0.borrow_mut())
    }

    /// Whether none was found yet.
    pub fn is_empty(&self) -> bool {
        self.0.borrow().is_empty()
    }
}

/// One table of the configuration, on its way to be read.
#[derive(Debug)]
pub struct Section {
    path: String,
    origin: Origin,
    keys: BTreeMap<String, Node>,
    asked: Vec<String>,
    faults: Faults,
}

impl Section {
    /// The table `node` at `path` (`module.bwl`); a node that is no table is a fault and reads as empty.
    pub fn new(path: impl Into<String>, node: Node, faults: Faults) -> Self {
        let path = path.into();
        let origin = node.origin().clone();
        let keys = match node {
            Node::Table { keys, .. } => keys,
            other => {
                faults.push(Fault {
                    origin: origin.to_string(),
                    key: path.clone(),
                    message: format!("expected a table, found {}", other.kind()),
                });
                BTreeMap::new()
            }
        };
        Self { path, origin, keys, asked: Vec::new(), faults }
    }

    /// A section nobody wrote: all defaults.
    pub fn empty(path: impl Into<String>, origin: impl Into<Origin>, faults: Faults) -> Self {
        Self { path: path.into(), origin: origin.into(), keys: BTreeMap::new(), asked: Vec::new(), faults }
    }

    /// Where the section was (first) written.
    pub fn origin(&self) -> &Origin {
        &self.origin
    }

    /// The section's own path, `module.bwl`.
    pub fn path(&self) -> &str {
        &self.path
    }

    /// Whether `key` was written.
    pub fn has(&self, key: &str) -> bool {
        self.keys.contains_key(key)
    }

    /// The keys that nobody asked for yet.
    pub fn remaining(&self) -> impl Iterator<Item = &str> {
        self.keys.keys().map(String::as_str).filter(|key| !self.asked.iter().any(|asked| asked == key))
    }

    /// The node at `key`, unread.
    pub fn node(&mut self, key: &str) -> Option<Node> {
        if !self.asked.iter().any(|asked| asked == key) {
            self.asked.push(key.to_owned());
        }
        self.keys.get(key).cloned()
    }

    /// The value at `key`, if it was written and is a `T`; of the wrong type: a fault, and `None`.
    pub fn value<T: DeserializeOwned>(&mut self, key: &str) -> Option<T> {
        let node = self.node(key)?;
        if matches!(node, Node::Leaf { value: Value::Null, .. }) {
            return None; // TOML has none: it stands for a number out of range, which is reported
        }
        let read = serde_json::from_value(node.to_json()).or_else(|error| match &node {
            // A text from the environment that looked like a number may have been meant as a text.
            Node::Leaf { value, from_env: true, .. } => serde_json::from_value(value.clone()).map_err(|_| error),
            _ => Err(error),
        });
        match read {
            Ok(value) => Some(value),
            Err(error) => {
                self.fault(key, format!("{error} (it is {})", node.kind()));
                None
            }
        }
    }

    /// The value at `key`, or `default`.
    pub fn or<T: DeserializeOwned>(&mut self, key: &str, default: T) -> T {
        self.value(key).unwrap_or(default)
    }

    /// A whole number at `key` within `bounds` (both included), or `default`.
    pub fn number(&mut self, key: &str, default: i64, bounds: std::ops::RangeInclusive<i64>) -> i64 {
        let Some(number) = self.value::<i64>(key) else { return default };
        if bounds.contains(&number) {
            return number;
        }
        self.fault(key, format!("{number} is out of bounds: expected {} to {}", bounds.start(), bounds.end()));
        default
    }

    /// A span of time at `key`: a text like `"500ms"`, `"5s"`, `"10m"`, `"2h"`, `"1d"`, or a whole number
    /// of seconds; or `default`.
    pub fn duration(&mut self, key: &str, default: Duration) -> Duration {
        match self.value::<Value>(key) {
            None => default,
            Some(Value::Number(seconds)) if seconds.is_u64() => {
                Duration::from_secs(seconds.as_u64().unwrap_or_default())
            }
            Some(Value::String(text)) => parse_duration(&text).unwrap_or_else(|| {
                self.fault(
                    key,
                    format!(
                        "{text:?} is no span of time: expected for example \"500ms\", \"5s\", \"10m\", \"2h\" or \"1d\""
                    ),
                );
                default
            }),
            Some(_) => {
                self.fault(key, "expected a span of time, for example \"5s\"");
                default
            }
        }
    }

    /// One of a set of words at `key`, or `default`.
    pub fn one_of<T: Clone>(&mut self, key: &str, default: T, words: &[(&str, T)]) -> T {
        let Some(word) = self.value::<String>(key) else { return default };
        if let Some((_, value)) = words.iter().find(|(name, _)| *name == word) {
            return value.clone();
        }
        let names: Vec<_> = words.iter().map(|(name, _)| format!("{name:?}")).collect();
        self.fault(key, format!("{word:?} is not known: expected one of {}", names.join(", ")));
        default
    }

    /// The table at `key`, empty if it was not written.
    pub fn table(&mut self, key: &str) -> Self {
        let path = self.path_of(key);
        match self.node(key) {
            Some(node) => Self::new(path, node, self.faults.clone()),
            None => Self::empty(path, self.origin.clone(), self.faults.clone()),
        }
    }

    /// The tables of the array of tables at `key` (`[[module.mquota.period]]`).
    pub fn tables(&mut self, key: &str) -> Vec<Self> {
        let path = self.path_of(key);
        match self.node(key) {
            None => Vec::new(),
            Some(Node::List { items, .. }) => items
                .into_iter()
                .enumerate()
                .map(|(index, node)| Self::new(format!("{path}[{index}]"), node, self.faults.clone()))
                .collect(),
            Some(other) => {
                self.fault(key, format!("expected an array of tables ([[{path}]]), found {}", other.kind()));
                Vec::new()
            }
        }
    }

    /// Records that `key` is wrong. An empty key means the section itself.
    pub fn fault(&self, key: &str, message: impl Into<String>) {
        let origin = self.keys.get(key).map_or(&self.origin, Node::origin);
        self.faults.push(Fault { origin: origin.to_string(), key: self.path_of(key), message: message.into() });
    }

    /// Reports each key that nobody asked for.
    pub fn finish(self) {
        let unknown: Vec<_> = self.remaining().map(str::to_owned).collect();
        for key in unknown {
            let mut known = self.asked.clone();
            known.sort_unstable();
            let hint = match known.len() {
                0 => "nothing is expected here".to_owned(),
                _ => format!("expected one of {}", known.join(", ")),
            };
            self.fault(&key, format!("unknown key; {hint}"));
        }
    }

    fn path_of(&self, key: &str) -> String {
        match (self.path.as_str(), key) {
            (path, "") => path.to_owned(),
            ("", key) => key.to_owned(),
            (path, key) => format!("{path}.{key}"),
        }
    }
}

/// Reads `500ms`, `5s`, `10m`, `2h`, `1d`.
pub fn parse_duration(text: &str) -> Option<Duration> {
    let digits = text.find(|c: char| !c.is_ascii_digit())?;
    let number: u64 = text[..digits].parse().ok()?;
    let millis = match text[digits..].trim() {
        "ms" => 1,
        "s" => 1_000,
        "m" => 60_000,
        "h" => 3_600_000,
        "d" => 86_400_000,
        _ => return None,
    };
    number.checked_mul(millis).map(Duration::from_millis)
}

#[cfg(test)]
#[path = "settings_tests.rs"]
mod tests;

//! The environment as the last layer: `VALVULA__SECTION__KEY=value`.
//!
//! Each `__` goes one table deeper, or into an array by number (`VALVULA__LISTENER__0__ADDRESS`). A shell
//! knows no `-` in names, so `_` also finds a key that is written with `-`
//! (`VALVULA__MODULE__MQUOTA_BULK__OBSERVE` means `[module.mquota-bulk]`). Values are texts; whoever reads a
//! key takes them for the type it needs (`5`, `true`, `["a", "b"]`).

use std::ffi::OsString;

use actors::settings::{Fault, Faults};
use config::{ConfigError, Map, Source, Value, ValueKind};

/// What the names of our variables begin with.
const PREFIX: &str = "VALVULA__";
/// What the origin of a value from the environment begins with.
const ORIGIN: &str = "environment ";

/// One variable of ours.
#[derive(Debug, Clone)]
pub(super) struct Variable {
    origin: String,
    path: Vec<String>,
    value: String,
}

/// Whether a value with this origin came from the environment.
pub(super) fn is_origin(origin: &str) -> bool {
    origin.starts_with(ORIGIN)
}

/// Our variables among `all`, by name; what is malformed is a fault.
pub(super) fn variables(all: impl IntoIterator<Item = (OsString, OsString)>, faults: &Faults) -> Vec<Variable> {
    let mut ours: Vec<_> = all
        .into_iter()
        .filter_map(|(name, value)| {
            let name = name.to_string_lossy().into_owned();
            name.starts_with(PREFIX).then_some((name, value))
        })
        .collect();
    ours.sort();
    let mut variables = Vec::new();
    for (name, value) in ours {
        let origin = format!("{ORIGIN}{name}");
        let path: Vec<_> = name[PREFIX.len()..].split("__").map(str::to_lowercase).collect();
        if path.iter().any(String::is_empty) {
            fault(faults, origin, "no key: expected a name like VALVULA__LOG__LEVEL");
        } else if let Ok(value) = value.into_string() {
            variables.push(Variable { origin, path, value });
        } else {
            fault(faults, origin, "the value is not valid UTF-8");
        }
    }
    variables
}

impl Source for Variable {
    fn clone_into_box(&self) -> Box<dyn Source + Send + Sync> {
        Box::new(self.clone())
    }

    fn collect(&self) -> Result<Map<String, Value>, ConfigError> {
        let mut alone = Map::new();
        in_table(&mut alone, &self.path, "", self)?;
        Ok(alone)
    }

    /// What lies below counts: the variable may mean an element that is there.
    fn collect_to(&self, cache: &mut Value) -> Result<(), ConfigError> {
        in_value(cache, &self.path, "", self)
    }
}

fn in_table(
    table: &mut Map<String, Value>,
    path: &[String],
    written: &str,
    variable: &Variable,
) -> Result<(), ConfigError> {
    let (part, rest) = path.split_first().expect("a path that has ended is not followed");
    let key = existing(table, part);
    let written = if written.is_empty() { key.clone() } else { format!("{written}.{key}") };
    let empty = || Value::new(Some(&variable.origin), ValueKind::Table(Map::new()));
    in_value(table.entry(key).or_insert_with(empty), rest, &written, variable)
}

fn in_value(value: &mut Value, path: &[String], written: &str, variable: &Variable) -> Result<(), ConfigError> {
    let fault = |message| ConfigError::At {
        error: Box::new(ConfigError::Message(message)),
        origin: Some(variable.origin.clone()),
        key: Some(written.to_owned()),
    };
    let Some((index, rest)) = path.split_first() else {
        *value = Value::new(Some(&variable.origin), ValueKind::String(variable.value.clone()));
        return Ok(());
    };
    match &mut value.kind {
        ValueKind::Table(table) => in_table(table, path, written, variable),
        ValueKind::Array(items) => {
            let count = items.len();
            match index.parse().ok().and_then(|index: usize| items.get_mut(index)) {
                Some(item) => in_value(item, rest, &format!("{written}[{index}]"), variable),
                None => Err(fault(format!("there is no element {index}: {count} are configured, counted from 0"))),
            }
        }
        _ => Err(fault("is a single value and holds no further keys".to_owned())),
    }
}

/// The key of `table` that `part` stands for.
fn existing(table: &Map<String, Value>, part: &str) -> String {
    if table.contains_key(part) {
        return part.to_owned();
    }
    table.keys().find(|key| key.replace('-', "_") == part).cloned().unwrap_or_else(|| part.to_owned())
}

fn fault(faults: &Faults, origin: String, message: &str) {
    faults.push(Fault { origin, key: String::new(), message: message.to_owned() });
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::toml_layer;
    use std::os::unix::ffi::OsStringExt;

    fn with(text: &str, all: &[(&str, &str)]) -> (Map<String, Value>, Vec<String>) {
        let faults = Faults::default();
        let mut root = Value::new(None, ValueKind::Table(toml_layer::parse("a.toml", text, &faults)));
        let all = all.iter().map(|(name, value)| (OsString::from(name), OsString::from(value)));
        let variables = variables(all, &faults);
        let mut shown: Vec<_> = faults.take().iter().map(ToString::to_string).collect();
        for variable in variables {
            if let Err(ConfigError::At { error, origin, key }) = variable.collect_to(&mut root) {
                shown.push(format!("{}: {}: {error}", origin.unwrap(), key.unwrap()));
            }
        }
        (table(&root), shown)
    }

    fn table(value: &Value) -> Map<String, Value> {
        value.clone().into_table().unwrap()
    }

    #[test]
    fn a_variable_sets_a_key_of_a_section_that_need_not_exist() {
        let (root, faults) = with("", &[("VALVULA__LOG__LEVEL", "debug"), ("PATH", "/bin"), ("VALVULAX", "y")]);
        assert_eq!(faults, [""; 0]);
        assert_eq!(root.len(), 1);
        let level = &table(&root["log"])["level"];
        assert_eq!(level.to_string(), "debug");
        assert!(is_origin(level.origin().unwrap()));
    }

    #[test]
    fn an_underscore_finds_a_key_with_a_hyphen_and_a_number_an_element() {
        let (root, faults) = with(
            "[module.mquota-bulk]\ntype = \"mquota\"\n[[listener]]\naddress = \"x\"",
            &[("VALVULA__MODULE__MQUOTA_BULK__OBSERVE", "true"), ("VALVULA__LISTENER__0__ADDRESS", "y")],
        );
        assert_eq!(faults, [""; 0]);
        assert_eq!(table(&table(&root["module"])["mquota-bulk"]).len(), 2);
        let listener = root["listener"].clone().into_array().unwrap()[0].clone();
        assert_eq!(table(&listener)["address"].to_string(), "y");
    }

    #[test]
    fn a_variable_that_fits_nowhere_is_a_fault_that_names_it_and_not_its_value() {
        let (_, faults) = with(
            "a = 1\n[[listener]]\naddress = \"x\"",
            &[
                ("VALVULA__A__B", "secret"),
                ("VALVULA__LISTENER__1__ADDRESS", "secret"),
                ("VALVULA__LISTENER__ADDRESS", "secret"),
                ("VALVULA__", "secret"),
            ],
        );
        assert_eq!(faults.len(), 4, "{faults:#?}");
        assert!(faults.iter().all(|fault| fault.starts_with("environment VALVULA__") && !fault.contains("secret")));
        assert!(faults.iter().any(|fault| fault.contains("there is no element 1: 1 are configured")));
    }

    #[test]
    fn a_value_that_is_not_utf8_is_a_fault() {
        let faults = Faults::default();
        variables([(OsString::from("VALVULA__A"), OsString::from_vec(vec![0xff]))], &faults);
        assert_eq!(faults.take()[0].to_string(), "environment VALVULA__A: the value is not valid UTF-8");
    }
}

//! How the layers of the configuration lie over each other.
//!
//! Tables are merged key by key and the later layer wins; arrays of tables (`[[listener]]`) grow by the
//! elements of the later layer; everything else is replaced. `config` itself would replace arrays of
//! tables too: a listener in `conf.d` would then remove those of the main file.

use config::{Map, Value, ValueKind};

/// Lays `over` on top of `under`.
pub(super) fn merge(under: &mut Map<String, Value>, over: Map<String, Value>) {
    for (key, value) in over {
        match under.get_mut(&key) {
            Some(old) => merge_value(old, value),
            None => {
                under.insert(key, value);
            }
        }
    }
}

fn merge_value(old: &mut Value, mut new: Value) {
    match (&mut old.kind, &mut new.kind) {
        (ValueKind::Table(old), ValueKind::Table(new)) => merge(old, std::mem::take(new)),
        (ValueKind::Array(old), ValueKind::Array(new)) if all_tables(old) && all_tables(new) => old.append(new),
        _ => *old = new,
    }
}

fn all_tables(items: &[Value]) -> bool {
    !items.is_empty() && items.iter().all(|item| matches!(item.kind, ValueKind::Table(_)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::toml_layer::parse;
    use actors::settings::Faults;

    fn merged(under: &str, over: &str) -> Map<String, Value> {
        let faults = Faults::default();
        let mut all = parse("a", under, &faults);
        merge(&mut all, parse("b", over, &faults));
        assert!(faults.is_empty());
        all
    }

    #[test]
    fn tables_are_merged_key_by_key_and_the_later_wins() {
        let all = merged("[log]\nlevel = \"info\"\nformat = \"text\"", "[log]\nlevel = \"debug\"");
        let log = all["log"].clone().into_table().unwrap();
        assert_eq!((log["level"].to_string(), log["level"].origin()), ("debug".to_owned(), Some("b:2")));
        assert_eq!(log["format"].to_string(), "text");
    }

    #[test]
    fn arrays_of_tables_grow_and_plain_arrays_are_replaced() {
        let all = merged("list = [1, 2]\n[[listener]]\nx = 1", "list = [3]\n[[listener]]\nx = 2");
        assert_eq!(all["listener"].clone().into_array().unwrap().len(), 2);
        assert_eq!(all["list"].clone().into_array().unwrap().len(), 1);
    }
}

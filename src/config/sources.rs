//! Where the configuration is read from: the main file, `conf.d/*.toml` beside it in the order of their
//! names, then the environment; each a [`config::Source`] that lays itself over those before it.
//!
//! The sources are not put through `config::ConfigBuilder`: it merges tables without their origins, so that
//! a section that is wrong as a whole would be reported in the wrong file.
//!
//! What can't be read is a fault, and the rest is still read: an administrator sees all faults at once.

use std::ffi::OsString;
use std::fs::{self, File};
use std::io::{self, Read};
use std::path::{Path, PathBuf};

use actors::settings::{Fault, Faults, Node, Origin};
use config::{ConfigError, Map, Source, Value, ValueKind};

use super::{environment, merge, toml_layer};

/// No file of a configuration is larger; protects from a device or a wrong file named by mistake.
const MAX_FILE: u64 = 16 * 1024 * 1024;

/// Reads and merges everything. The node is a table, whose origin is the main file.
pub(super) fn read(main: &Path, environment: impl IntoIterator<Item = (OsString, OsString)>, faults: &Faults) -> Node {
    let mut layers: Vec<Box<dyn Source>> = Vec::new();
    for path in std::iter::once(main.to_owned()).chain(fragments(main, faults)) {
        if let Some(text) = read_text(&path, faults) {
            layers.push(Box::new(Layer(toml_layer::parse(&path.display().to_string(), &text, faults))));
        }
    }
    layers.extend(environment::variables(environment, faults).into_iter().map(|one| Box::new(one) as Box<dyn Source>));
    let mut merged = Value::new(Some(&main.display().to_string()), ValueKind::Table(Map::new()));
    for layer in layers {
        match layer.collect_to(&mut merged) {
            Ok(()) => {}
            Err(ConfigError::At { error, origin, key }) => faults.push(Fault {
                origin: origin.unwrap_or_default(),
                key: key.unwrap_or_default(),
                message: error.to_string(),
            }),
            Err(error) => push(faults, &main.display().to_string(), error.to_string()),
        }
    }
    node(merged, &main.display().to_string().into())
}

/// The `*.toml` of `conf.d` beside `main`, in the order of their names; hidden files are left out.
fn fragments(main: &Path, faults: &Faults) -> Vec<PathBuf> {
    let directory = main.parent().unwrap_or(Path::new("")).join("conf.d");
    let entries = fs::read_dir(&directory).and_then(|entries| entries.collect::<io::Result<Vec<_>>>());
    let mut paths: Vec<_> = match entries {
        Ok(entries) => entries.into_iter().map(|entry| entry.path()).collect(),
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Vec::new(),
        Err(error) => {
            push(faults, &directory.display().to_string(), format!("can't be read: {error}"));
            return Vec::new();
        }
    };
    paths.retain(|path| {
        let name = path.file_name().unwrap_or_default().as_encoded_bytes();
        name.ends_with(b".toml") && !name.starts_with(b".")
    });
    paths.sort();
    paths
}

fn read_text(path: &Path, faults: &Faults) -> Option<String> {
    let name = path.display().to_string();
    let mut bytes = Vec::new();
    let read = File::open(path).and_then(|file| {
        if !file.metadata()?.is_file() {
            return Err(io::Error::other("not a regular file"));
        }
        file.take(MAX_FILE + 1).read_to_end(&mut bytes)
    });
    if let Err(error) = read {
        push(faults, &name, format!("can't be read: {error}"));
        return None;
    }
    if bytes.len() as u64 > MAX_FILE {
        push(faults, &name, format!("is larger than {MAX_FILE} bytes: not a configuration"));
        return None;
    }
    match String::from_utf8(bytes) {
        Ok(text) => Some(text),
        Err(error) => {
            let good = &error.as_bytes()[..error.utf8_error().valid_up_to()];
            let line = good.iter().filter(|byte| **byte == b'\n').count() + 1;
            let column = good.iter().rev().take_while(|byte| **byte != b'\n').count() + 1;
            push(faults, &format!("{name}:{line}:{column}"), "is not valid UTF-8".to_owned());
            None
        }
    }
}

fn push(faults: &Faults, origin: &str, message: String) {
    faults.push(Fault { origin: origin.to_owned(), key: String::new(), message });
}

/// One file.
#[derive(Debug, Clone)]
struct Layer(Map<String, Value>);

impl Source for Layer {
    fn clone_into_box(&self) -> Box<dyn Source + Send + Sync> {
        Box::new(self.clone())
    }

    fn collect(&self) -> Result<Map<String, Value>, ConfigError> {
        Ok(self.0.clone())
    }

    fn collect_to(&self, cache: &mut Value) -> Result<(), ConfigError> {
        if let ValueKind::Table(under) = &mut cache.kind {
            merge::merge(under, self.0.clone());
        }
        Ok(())
    }
}

fn node(value: Value, parent: &Origin) -> Node {
    let origin: Origin = value.origin().map_or_else(|| parent.clone(), Origin::from);
    let from_env = environment::is_origin(&origin);
    let leaf = |value: serde_json::Value| Node::Leaf { value, origin: origin.clone(), from_env };
    match value.kind {
        ValueKind::Nil => leaf(serde_json::Value::Null),
        ValueKind::Boolean(value) => leaf(value.into()),
        ValueKind::I64(value) => leaf(value.into()),
        ValueKind::U64(value) => leaf(value.into()),
        ValueKind::Float(value) => leaf(value.into()),
        ValueKind::String(value) => leaf(value.into()),
        // None of our layers makes these.
        ValueKind::I128(value) => leaf(value.to_string().into()),
        ValueKind::U128(value) => leaf(value.to_string().into()),
        ValueKind::Array(items) => {
            Node::List { items: items.into_iter().map(|item| node(item, &origin)).collect(), origin }
        }
        ValueKind::Table(table) => {
            Node::Table { keys: table.into_iter().map(|(key, value)| (key, node(value, &origin))).collect(), origin }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs::{create_dir, write};

    fn keys(node: &Node) -> Vec<String> {
        match node {
            Node::Table { keys, .. } => keys.keys().cloned().collect(),
            _ => panic!("not a table: {node:?}"),
        }
    }

    #[test]
    fn every_source_is_read_and_every_fault_of_every_source_reported() {
        let dir = tempfile::tempdir().unwrap();
        let (main, conf) = (dir.path().join("valvula.toml"), dir.path().join("conf.d"));
        create_dir(&conf).unwrap();
        write(&main, "main = 1\n").unwrap();
        write(conf.join("20-b.toml"), "b = \n").unwrap();
        write(conf.join("10-a.toml"), "main = 2\na = \"\u{e4}\"").unwrap();
        write(conf.join("30-c.toml"), b"c = 1\nd = \"\xff\"".as_slice()).unwrap();
        write(conf.join(".hidden.toml"), "hidden = 1").unwrap();
        write(conf.join("readme.txt"), "not TOML").unwrap();
        create_dir(conf.join("40-d.toml")).unwrap();
        let faults = Faults::default();
        let tree = read(&main, [("VALVULA__E".into(), "x".into())], &faults);
        assert_eq!(keys(&tree), ["a", "b", "e", "main"]);
        let Node::Table { keys, .. } = &tree else { unreachable!() };
        assert!(keys["main"].origin().ends_with("10-a.toml:1"), "{}", keys["main"].origin());
        let shown: Vec<_> = faults.take().iter().map(ToString::to_string).collect();
        assert_eq!(shown.len(), 3, "{shown:#?}");
        assert!(shown[0].contains("conf.d/20-b.toml:1:"), "{shown:#?}");
        assert!(shown[1].contains("conf.d/30-c.toml:2:6: is not valid UTF-8"), "{shown:#?}");
        assert!(shown[2].contains("conf.d/40-d.toml: can't be read: not a regular file"), "{shown:#?}");
    }

    #[test]
    fn a_file_that_is_not_there_is_a_fault() {
        let faults = Faults::default();
        let tree = read(Path::new("/nowhere/valvula.toml"), [], &faults);
        assert_eq!(keys(&tree), [""; 0]);
        assert!(faults.take()[0].to_string().starts_with("/nowhere/valvula.toml: can't be read: "));
    }
}

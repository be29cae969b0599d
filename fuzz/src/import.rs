//! The configuration of the original Valvula.

use std::fmt;
use std::net::SocketAddr;

#[path = "../../src/cli/import/convert.rs"]
mod convert;
#[path = "../../src/cli/import/output.rs"]
mod output;
#[path = "../../src/cli/import/values.rs"]
mod values;
#[path = "../../src/cli/import/write.rs"]
mod write;
#[path = "../../src/cli/import/xml.rs"]
mod xml;

// As src/cli/import/mod.rs has them.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Finding {
    line: u32,
    what: String,
}

impl fmt::Display for Finding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "line {}: {}", self.line, self.what)
    }
}

struct Imported {
    toml: String,
    findings: Vec<Finding>,
}

/// What is written is TOML whose listeners have addresses and chains; nothing that was found is left out
/// of its comments; and no text of the original becomes a key.
pub fn import(data: &[u8]) {
    let Ok(text) = xml::decode(data) else { return };
    let lines = u32::try_from(text.matches('\n').count() + 1).expect("few lines");
    let imported = match convert::convert(&text) {
        Ok(imported) => imported,
        Err(faults) => {
            assert!(!faults.is_empty());
            assert!(faults.iter().all(|fault| (1..=lines).contains(&fault.line)), "{faults:?}");
            return;
        }
    };
    for finding in &imported.findings {
        assert!((1..=lines).contains(&finding.line), "{finding}");
        let comment = libvalvula::Printable::new(finding.to_string().as_bytes()).to_string();
        assert!(imported.toml.contains(&format!("# {comment}\n")), "{finding} is no comment");
    }
    let table: toml::Table = imported.toml.parse().unwrap_or_else(|error| panic!("{error}\n{}", imported.toml));
    let sections = ["server", "log", "database", "postfix", "listener", "module"];
    assert!(table.keys().all(|key| sections.contains(&&key[..])), "{table:?}");
    for listener in table.get("listener").and_then(toml::Value::as_array).into_iter().flatten() {
        let address = listener["address"].as_str().expect("a text");
        assert!(address.parse::<SocketAddr>().is_ok(), "{address}");
        let modules = listener["modules"].as_array().expect("a chain");
        assert!(!modules.is_empty() && modules.iter().all(|name| crate::find(name.as_str().unwrap_or("")).is_some()));
    }
    let known = ["bwl", "slm", "mquota"];
    let modules = table.get("module").and_then(toml::Value::as_table);
    assert!(modules.is_none_or(|modules| modules.keys().all(|name| known.contains(&&name[..]))));
}

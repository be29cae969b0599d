//! The configuration's layers: a TOML file, and behind a line `==> environment` variables, one a line.

use std::cell::RefCell;
use std::ffi::OsString;
use std::os::unix::ffi::OsStringExt as _;

use crate::input::{Choices, MemoryFile, is_one_printable_line};
use crate::settings::{Faults, Node, Section, parse_duration};

#[path = "../../src/config/environment.rs"]
mod environment;
#[path = "../../src/config/merge.rs"]
mod merge;
#[path = "../../src/config/sources.rs"]
mod sources;
#[path = "../../src/config/toml_layer.rs"]
mod toml_layer;

/// Where the environment begins.
const ENVIRONMENT: &[u8] = b"==> environment\n";

/// Every value and every fault names the file or the variable it is of; reading twice gives the same.
pub fn settings(data: &[u8]) {
    thread_local! {
        static FILE: RefCell<MemoryFile> = RefCell::new(MemoryFile::new());
    }
    let split = data.windows(ENVIRONMENT.len()).position(|window| window == ENVIRONMENT);
    let (text, variables) = match split {
        Some(at) => (&data[..at], &data[at + ENVIRONMENT.len()..]),
        None => (data, &data[..0]),
    };
    let read = || {
        let variables = variables.split(|byte| *byte == b'\n').filter_map(|line| {
            let equals = line.iter().position(|byte| *byte == b'=')?;
            Some((OsString::from_vec(line[..equals].to_vec()), OsString::from_vec(line[equals + 1..].to_vec())))
        });
        let faults = Faults::default();
        let tree = FILE.with_borrow_mut(|file| sources::read(file.holds(text), variables, &faults));
        (tree, faults.take())
    };
    let (tree, mut found) = read();
    if Choices::of(data).below(16) == 0 {
        assert_eq!(read(), (tree.clone(), found.clone()), "read twice");
    }
    named(&tree);
    found.extend(asked(tree));
    for fault in found {
        assert!(is_named(&fault.origin), "{fault}");
        assert!(!fault.message.is_empty());
        assert!(is_one_printable_line(fault.origin.split("VALVULA__").next().unwrap_or_default()), "{fault:?}");
    }
}

fn is_named(origin: &str) -> bool {
    origin.starts_with("/proc/self/fd/") || origin.starts_with("environment VALVULA__")
}

fn named(node: &Node) {
    assert!(is_named(node.origin()), "{}", node.origin());
    match node {
        Node::Leaf { .. } => {}
        Node::List { items, .. } => items.iter().for_each(named),
        Node::Table { keys, .. } => keys.values().for_each(named),
    }
}

/// Reads sections as the daemon does, with each kind of key; what remains is a fault.
fn asked(tree: Node) -> Vec<crate::settings::Fault> {
    let faults = Faults::default();
    let mut root = Section::new("", tree, faults.clone());
    let mut server = root.table("server");
    let workers = server.number("workers", 0, 0..=1024);
    assert!((0..=1024).contains(&workers));
    let user: Option<String> = server.value("user");
    let grace = server.duration("grace", std::time::Duration::from_secs(10));
    assert!(user.is_none_or(|user| user.len() < 1 << 24) && grace <= std::time::Duration::MAX);
    server.finish();
    let mut log = root.table("log");
    assert!((1..4).contains(&log.one_of("level", 1, &[("info", 1), ("debug", 2), ("error", 3)])));
    log.finish();
    for mut listener in root.tables("listener") {
        let names: Vec<String> = listener.value("modules").unwrap_or_default();
        for name in &names {
            let _ = parse_duration(name);
        }
        let _: Option<String> = listener.value("address");
        let _: bool = listener.or("observe", false);
        listener.finish();
    }
    root.finish();
    faults.take()
}

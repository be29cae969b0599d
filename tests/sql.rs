//! No value becomes part of SQL text: the sources are read for texts that are SQL and have something put in.
//!
//! What is put in by the programs themselves (names of tables and columns, which no database takes as a
//! parameter) is listed below, file by file and name by name, with who decides about it. Anything new is a
//! question for whoever reviews it; a line below that nothing needs any more is one too.

#![allow(clippy::unwrap_used)] // a test may be blunt, its helpers too

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

/// What may be put into a text that is SQL: file, what (`` is `{}`), who decides about it.
const PUT_IN: &[(&str, &[&str], &str)] = &[
    ("actors/src/counting/journal_sql.rs", &["COLUMNS", "JOURNAL"], "our table and its columns"),
    (
        "actors/src/counting/sql.rs",
        &["", "COLUMNS", "SOME", "TABLE", "UNNEST", "on_conflict", "column", "head", "limit"],
        "our table and its columns; numbers of this file; placeholders",
    ),
    ("actors/src/watch/blocks.rs", &["block", "table", "text"], "a module's table and columns, quoted"),
    ("actors/src/watch/feed/postgres.rs", &["", "SINCE"], "constants of that file"),
    ("actors/src/watch/poller.rs", &["literal", "name"], "a module's table, a constant, quoted"),
    (
        "actors/src/watch/rows.rs",
        &["", "cast", "condition", "from", "id", "select"],
        "a module's table and columns, quoted; a condition with placeholders",
    ),
    (
        "actors/src/watch/triggers.rs",
        &["", "CHANGES", "MANY", "body", "does", "event", "id", "ids", "name", "on", "op", "trigger", "when"],
        "names of our triggers and of a module's tables, quoted",
    ),
    ("migrations/src/lib.rs", &["NOTED", "host", "place", "user"], "our table; the rest is advice that is shown"),
    ("migrations/src/lock.rs", &["IDLE", "SECONDS"], "constants of that file"),
    ("migrations/src/steps/m0007_counters.rs", &["", "bytes", "index", "tail"], "the schema"),
    ("migrations/src/steps/m0009_counter_journal.rs", &["batch", "bytes", "tail"], "the schema"),
    ("migrations/src/take_over.rs", &["", "error", "name", "what"], "names of our schema; the rest is shown"),
    ("modules/bwl/operate/change.rs", &["table"], "no SQL: what is shown"),
    (
        "modules/ticket/sql.rs",
        &["", "column", "counter", "day", "history", "lock", "month", "usage"],
        "columns and tables, constants of that file; placeholders",
    ),
    (
        "postfix/src/tables/sql/mod.rs",
        &["", "condition", "field", "function", "table"],
        "the administrator's own table file; a key is bound where %s stands",
    ),
];

/// Where SQL is run that is not a literal at that place: file, and where the text comes from.
const RUN_AS_TEXT: &[(&str, &str)] = &[
    ("actors/src/database/describe.rs", "constants"),
    ("actors/src/database/held.rs", "a statement; its values are bound"),
    ("actors/src/database/mod.rs", "a constant"),
    ("actors/src/database/read_only.rs", "an administrator's query; its values are bound"),
    ("actors/src/watch/blocks.rs", "a module's table and columns"),
    ("actors/src/watch/poller.rs", "a module's tables"),
    ("actors/src/watch/rows.rs", "a module's table and columns"),
    ("actors/src/watch/triggers.rs", "our triggers on a module's tables"),
    ("migrations/src/lib.rs", "the schema"),
    ("migrations/src/lock.rs", "constants"),
    ("migrations/src/table.rs", "the schema"),
    ("modules/mw/runner.rs", "an administrator's statement without placeholders; with them its values are bound"),
    ("modules/object_resolver/plesk.rs", "constants; values are bound"),
    ("postfix/src/tables/sql/connection.rs", "the administrator's query of a table file; the key is bound"),
    ("src/log/bridge.rs", "no SQL: the name of a log target"),
];

/// Words by which SQL is known; in capitals, as all SQL here is written.
const WORDS: &[&str] = &[
    "SELECT", "INSERT", "UPDATE", "DELETE", "REPLACE", "CREATE", "ALTER", "DROP", "TRUNCATE", "WHERE", "VALUES",
    "FROM", "GRANT", "JOIN", "UNION", "ORDER BY", "GROUP BY", "LIMIT",
];

/// Calls that run a text, or make a statement of it, which knows no parameters or does not ask for them.
const CALLS: &[&str] = &["execute_unprepared(", "Statement::from_string(", "AssertSqlSafe(", "sqlx::query", "raw_sql("];

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// The sources of what is shipped, by their path from the root.
fn sources() -> Vec<(String, String)> {
    let mut found = Vec::new();
    let mut directories: Vec<PathBuf> = ["src", "libvalvula", "postfix", "actors", "modules", "migrations"]
        .iter()
        .map(|name| root().join(name))
        .collect();
    while let Some(directory) = directories.pop() {
        for entry in std::fs::read_dir(directory).unwrap() {
            let path = entry.unwrap().path();
            let name = path.file_name().unwrap().to_str().unwrap().to_owned();
            if path.is_dir() {
                if !["tests", "examples", "benches"].contains(&name.as_str()) {
                    directories.push(path);
                }
            } else if name.ends_with(".rs") && name != "tests.rs" && !name.ends_with("_tests.rs") {
                let text = std::fs::read_to_string(&path).unwrap();
                let shipped = text.split("#[cfg(test)]\nmod tests {").next().unwrap().to_owned();
                found.push((path.strip_prefix(root()).unwrap().to_str().unwrap().to_owned(), shipped));
            }
        }
    }
    found.sort();
    assert!(found.len() > 100, "the sources are found: {}", found.len());
    found
}

/// The texts between quotes, without comments.
fn literals(source: &str) -> Vec<String> {
    let bytes = source.as_bytes();
    let (mut found, mut at) = (Vec::new(), 0);
    while at < bytes.len() {
        match bytes[at] {
            b'/' if bytes.get(at + 1) == Some(&b'/') => {
                at += source[at..].find('\n').unwrap_or(source.len() - at);
            }
            // A character, not a lifetime.
            b'\'' if bytes.get(at + 1) == Some(&b'\\') => at += 3,
            b'\'' if bytes.get(at + 2) == Some(&b'\'') => at += 3,
            b'r' if is_raw(bytes, at) => {
                let hashes = bytes[at + 1..].iter().take_while(|byte| **byte == b'#').count();
                let start = at + 2 + hashes;
                let end = format!("\"{}", "#".repeat(hashes));
                let length = source[start..].find(&end).unwrap();
                found.push(source[start..start + length].to_owned());
                at = start + length + end.len();
            }
            b'"' => {
                let start = at + 1;
                at = start;
                while bytes[at] != b'"' {
                    at += if bytes[at] == b'\\' { 2 } else { 1 };
                }
                found.push(source[start..at].to_owned());
                at += 1;
            }
            _ => at += 1,
        }
    }
    found
}

fn is_raw(bytes: &[u8], at: usize) -> bool {
    let before = at.checked_sub(1).map_or(b' ', |before| bytes[before]);
    let quote = bytes[at + 1..].iter().find(|byte| **byte != b'#');
    !before.is_ascii_alphanumeric() && before != b'_' && quote == Some(&b'"')
}

fn is_sql(text: &str) -> bool {
    let is_part = |c: char| c.is_alphanumeric() || c == '_';
    WORDS.iter().any(|word| {
        text.match_indices(word).any(|(at, _)| {
            !text[..at].ends_with(is_part) && !text[at + word.len()..].starts_with(|c: char| is_part(c) || c == ':')
        })
    })
}

/// What `{...}` puts into a text.
fn put_in(text: &str) -> BTreeSet<String> {
    let text = text.replace("{{", "").replace("}}", "");
    let parts = text.split('{').skip(1).filter_map(|part| part.split_once('}'));
    parts.map(|(name, _)| name.split(':').next().unwrap().to_owned()).collect()
}

#[test]
fn nothing_is_put_into_sql_but_what_is_listed() {
    let mut found: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
    for (file, source) in sources() {
        for text in literals(&source).iter().filter(|text| is_sql(text)) {
            let names = put_in(text);
            if !names.is_empty() {
                found.entry(file.clone()).or_default().extend(names);
            }
        }
    }
    let listed: BTreeMap<String, BTreeSet<String>> = PUT_IN
        .iter()
        .map(|(file, names, _)| ((*file).to_owned(), names.iter().map(|name| (*name).to_owned()).collect()))
        .collect();
    assert_eq!(found, listed, "left: what is put in; right: what is listed");
}

#[test]
fn text_is_run_as_sql_in_the_listed_places_only() {
    let found: BTreeSet<String> = sources()
        .into_iter()
        .filter(|(_, source)| {
            let code: String = source.lines().filter(|line| !line.trim_start().starts_with("//")).collect();
            CALLS.iter().any(|call| code.contains(call))
        })
        .map(|(file, _)| file)
        .collect();
    let listed: BTreeSet<String> = RUN_AS_TEXT.iter().map(|(file, _)| (*file).to_owned()).collect();
    assert_eq!(found, listed, "left: where text is run; right: what is listed");
}

#[test]
fn what_would_let_a_value_in_is_found() {
    let source = r##"
        // "SELECT {comment}"
        let a = format!("SELECT id FROM users WHERE name = '{name}' AND {{}} = {}", value, '"');
        let b = r#"INSERT INTO t VALUES ("{raw}")"#;
        let c = format!("MAIL FROM:<{sender}>") + "no \" sql {here}" + &format!(" where {lower}");
    "##;
    let found: BTreeSet<String> =
        literals(source).iter().filter(|text| is_sql(text)).flat_map(|text| put_in(text)).collect();
    assert_eq!(found.iter().map(String::as_str).collect::<Vec<_>>(), ["", "name", "raw"]);
}

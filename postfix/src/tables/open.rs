//! Opening a table: from `type:name` to how it is asked.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use crate::expand::enclosed;
use crate::lines::is_blank;
use crate::list::split_list;

use super::patterns::Syntax;
#[cfg(feature = "databases")]
use super::sql;
use super::{Counts, Kind, Table, Tables, address, network, patterns, text, users};

/// How many times `proxy:` is taken off, and tables stand inside tables.
const MAX_PREFIXES: usize = 3;

/// `type` and `name` of `type:name`; `proxy:` in front is dropped: it says which process of Postfix asks.
pub(crate) fn split_name(name: &str) -> Option<(&str, &str)> {
    let mut rest = name;
    for _ in 0..MAX_PREFIXES {
        match rest.split_once(':')? {
            ("proxy", inner) => rest = inner,
            (kind, name) => return Some((kind, name)),
        }
    }
    None
}

/// Opens `name`. A table that cannot be opened is one that fails when it is asked.
pub(super) fn open(tables: &Tables, name: &str) -> Table {
    let (kind, fixed, files, spec) = match split_name(name) {
        Some((kind, rest)) => {
            let (opened, fixed) = open_type(tables, kind, rest);
            (opened, fixed, files_of(kind, rest), format!("{kind}:{rest}"))
        }
        None => {
            let why = format!("expected \"type:name\", found {name:?}");
            (Kind::Broken(why), true, Vec::new(), name.to_owned())
        }
    };
    Table {
        name: name.to_owned(),
        spec,
        fixed,
        kind,
        files,
        shared: Arc::clone(&tables.shared),
        counts: Counts::default(),
    }
}

fn open_type(tables: &Tables, kind: &str, name: &str) -> (Kind, bool) {
    let folded = |key: &str| tables.shared.folded(key);
    let opened = match kind {
        "static" => Ok(Kind::Static(braces_off(name).as_bytes().to_vec())),
        // A key in quotes has rules of its own.
        "inline" if name.contains('"') => Ok(Kind::Postmap),
        "inline" => text::inline(name, &folded).map(Kind::Map),
        "texthash" => read(name).and_then(|text| text::texthash(&text, &folded)).map(Kind::Map),
        "regexp" | "pcre" | "cidr" if name.starts_with('{') => Ok(Kind::Postmap),
        "regexp" => patterns_of(name, Syntax::Posix),
        "pcre" => patterns_of(name, Syntax::Pcre),
        "cidr" => read(name).map(|text| address::parse(&text).map_or(Kind::Postmap, Kind::Patterns)),
        "cdb" => Ok(Kind::Cdb(PathBuf::from(format!("{name}.cdb")))),
        "unix" => users::Database::parse(name).map(Kind::Users),
        "tcp" => network::Peer::parse_tcp(name).map(Kind::Tcp),
        "socketmap" => network::Peer::parse_socketmap(name).map(|(peer, name)| Kind::Socketmap(peer, name)),
        "unionmap" | "pipemap" => {
            return match members(tables, name) {
                // As Postfix has it: one table of patterns makes the whole one.
                Ok(members) => {
                    let fixed = members.iter().all(|table| table.is_fixed());
                    let kind = if kind == "unionmap" { Kind::Union(members) } else { Kind::Pipe(members) };
                    (kind, fixed)
                }
                Err(why) => (Kind::Broken(why), true),
            };
        }
        // Without a path its parameters stand in main.cf.
        "mysql" | "pgsql" | "sqlite" if !name.starts_with(['/', '.']) => Ok(Kind::Postmap),
        #[cfg(feature = "databases")]
        "mysql" | "pgsql" | "sqlite" => {
            read(name).and_then(|text| sql::open(tables, kind, name, &text)).map(|opened| match opened {
                Some(table) => Kind::Sql(Box::new(table)),
                None => Kind::Postmap,
            })
        }
        _ => Ok(Kind::Postmap),
    };
    let fixed = !matches!(kind, "regexp" | "pcre" | "cidr" | "tcp" | "socketmap" | "fail" | "randmap");
    (opened.unwrap_or_else(Kind::Broken), fixed)
}

/// The files that a table of this type is made of.
fn files_of(kind: &str, name: &str) -> Vec<PathBuf> {
    let files: &[&str] = match kind {
        "texthash" | "regexp" | "pcre" | "cidr" | "mysql" | "pgsql" | "sqlite" | "ldap" | "memcache" => &[""],
        "hash" | "btree" => &[".db"],
        "dbm" | "sdbm" => &[".pag", ".dir"],
        "lmdb" => &[".lmdb"],
        "cdb" => &[".cdb"],
        "unix" if name == "passwd.byname" => return vec![PathBuf::from("/etc/passwd")],
        "unix" if name == "group.byname" => return vec![PathBuf::from("/etc/group")],
        _ => return Vec::new(),
    };
    if !name.starts_with('/') {
        return Vec::new();
    }
    files.iter().map(|ending| PathBuf::from(format!("{name}{ending}"))).collect()
}

fn read(name: &str) -> Result<String, String> {
    match std::fs::read(Path::new(name)) {
        Ok(bytes) => Ok(crate::lines::text_of(&bytes)),
        Err(error) => Err(format!("open {name}: {error}")),
    }
}

fn patterns_of(name: &str, syntax: Syntax) -> Result<Kind, String> {
    read(name).map(|text| patterns::parse(&text, syntax).map_or(Kind::Postmap, Kind::Patterns))
}

/// The tables of `{type:name, ...}`.
fn members(tables: &Tables, name: &str) -> Result<Vec<Arc<Table>>, String> {
    let Some((inside, "")) = enclosed(name, b'{', b'}').filter(|_| name.starts_with('{')) else {
        return Err(format!("expected \"{{type:name...}}\", found {name:?}"));
    };
    if name.matches("map:{").count() > MAX_PREFIXES {
        return Err("tables stand inside tables too deeply".to_owned());
    }
    let members: Vec<_> = split_list(inside).into_iter().map(|member| tables.open(braces_off(member))).collect();
    if members.is_empty() { Err(format!("no table in {name:?}")) } else { Ok(members) }
}

/// The inside of `{ text }`, or the text itself.
fn braces_off(text: &str) -> &str {
    match enclosed(text, b'{', b'}') {
        Some((inside, "")) if text.starts_with('{') => inside.trim_matches(is_blank),
        _ => text,
    }
}

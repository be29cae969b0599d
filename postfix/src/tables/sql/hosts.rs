//! `hosts`, `user`, `password`, `dbname` and `dbpath`, as connection options.

use std::path::Path;

use sqlx::mysql::{MySqlConnectOptions, MySqlSslMode};
use sqlx::postgres::{PgConnectOptions, PgSslMode};
use sqlx::sqlite::SqliteConnectOptions;

use crate::list::split_list;

use super::{Backend, File};

/// Where and how one server is reached.
#[derive(Debug, Clone)]
pub(super) enum Options {
    MySql(MySqlConnectOptions),
    Postgres(PgConnectOptions),
    Sqlite(SqliteConnectOptions),
}

/// One entry of `hosts`.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Host {
    Unix(String),
    Inet(String, Option<u16>),
}

/// Where MySQL's client library looks for the server when `hosts` says `localhost`.
const MYSQL_SOCKETS: [&str; 4] =
    ["/run/mysqld/mysqld.sock", "/var/run/mysqld/mysqld.sock", "/var/lib/mysql/mysql.sock", "/tmp/mysql.sock"];

/// The servers in the order of `hosts`, each with the name that faults show. `Ok(None)`: `postmap` has to
/// be asked.
pub(super) fn options(backend: Backend, path: &str, file: &File) -> Result<Option<Vec<(String, Options)>>, String> {
    if backend == Backend::Sqlite {
        let database = file.get("dbpath");
        if database.is_empty() {
            return Err(format!("{path}: dbpath is missing"));
        }
        let options = SqliteConnectOptions::new().filename(database).read_only(true).create_if_missing(false);
        return Ok(Some(vec![(database.to_owned(), Options::Sqlite(options))]));
    }
    let hosts = match file.get("hosts") {
        "" => "localhost",
        hosts => hosts,
    };
    let mut servers = Vec::new();
    for entry in split_list(hosts) {
        if entry.contains("://") {
            return Ok(None);
        }
        let host = Host::parse(entry).ok_or_else(|| format!("{path}: hosts: malformed entry {entry:?}"))?;
        let options = match backend {
            Backend::MySql => Options::MySql(mysql(&host, file)),
            _ => Options::Postgres(postgres(&host, file)),
        };
        servers.push((entry.to_owned(), options));
    }
    if servers.is_empty() { Err(format!("{path}: hosts names no server")) } else { Ok(Some(servers)) }
}

impl Host {
    fn parse(entry: &str) -> Option<Self> {
        if let Some(path) = entry.strip_prefix("unix:") {
            return Some(Self::Unix(path.to_owned()));
        }
        if entry.starts_with('/') {
            return Some(Self::Unix(entry.to_owned()));
        }
        let entry = entry.strip_prefix("inet:").unwrap_or(entry);
        // `[v6]:port`, `[v6]`, `host:port`, `host`; a bare IPv6 address has more than one colon.
        if let Some(rest) = entry.strip_prefix('[') {
            let (host, port) = rest.split_once(']')?;
            return match port.strip_prefix(':') {
                Some(port) => Some(Self::Inet(host.to_owned(), Some(port.parse().ok()?))),
                None if port.is_empty() => Some(Self::Inet(host.to_owned(), None)),
                None => None,
            };
        }
        match entry.split_once(':') {
            Some((host, port)) if !port.contains(':') => Some(Self::Inet(host.to_owned(), Some(port.parse().ok()?))),
            _ if entry.is_empty() => None,
            _ => Some(Self::Inet(entry.to_owned(), None)),
        }
    }
}

fn mysql(host: &Host, file: &File) -> MySqlConnectOptions {
    // The session stays as the server has it: no mode and no time zone of sqlx's choice.
    let mut options = MySqlConnectOptions::new()
        .pipes_as_concat(false)
        .no_engine_substitution(false)
        .timezone(None)
        .ssl_mode(MySqlSslMode::Preferred);
    let local = MYSQL_SOCKETS.iter().find(|path| Path::new(path).exists());
    options = match (host, local) {
        (Host::Unix(path), _) => options.socket(path),
        (Host::Inet(name, _), Some(socket)) if name == "localhost" => options.socket(socket),
        (Host::Inet(name, port), _) => options.host(name).port(port.unwrap_or(3306)),
    };
    if !file.get("user").is_empty() {
        options = options.username(file.get("user"));
    }
    if !file.get("password").is_empty() {
        options = options.password(file.get("password"));
    }
    if file.get("dbname").is_empty() { options } else { options.database(file.get("dbname")) }
}

fn postgres(host: &Host, file: &File) -> PgConnectOptions {
    let mut options = PgConnectOptions::new_without_pgpass().application_name("valvula").ssl_mode(PgSslMode::Prefer);
    options = match host {
        Host::Unix(path) => options.socket(path).port(5432),
        Host::Inet(name, port) => options.host(name).port(port.unwrap_or(5432)),
    };
    if !file.get("user").is_empty() {
        options = options.username(file.get("user"));
    }
    if !file.get("password").is_empty() {
        options = options.password(file.get("password"));
    }
    if file.get("dbname").is_empty() { options } else { options.database(file.get("dbname")) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn entries_of_hosts() {
        let inet = |host: &str, port| Some(Host::Inet(host.to_owned(), port));
        for (entry, expected) in [
            ("unix:/run/x.sock", Some(Host::Unix("/run/x.sock".into()))),
            ("inet:db.example:3307", inet("db.example", Some(3307))),
            ("db.example", inet("db.example", None)),
            ("127.0.0.1:99", inet("127.0.0.1", Some(99))),
            ("[::1]:99", inet("::1", Some(99))),
            ("::1", inet("::1", None)),
            ("host:port", None),
            ("[::1", None),
        ] {
            assert_eq!(Host::parse(entry), expected, "{entry}");
        }
    }
}

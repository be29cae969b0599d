//! `[database] url`: read, checked, and shown without its password.

use std::fmt;
use std::path::{Path, PathBuf};
use std::str::FromStr;

use sea_orm::DatabaseBackend;
use sea_orm::sqlx::mysql::MySqlConnectOptions;
use sea_orm::sqlx::postgres::PgConnectOptions;

use crate::database::error::DatabaseError;

const FORMS: &str =
    "expected sqlite:PATH, mysql://USER:PASSWORD@HOST/DATABASE or postgres://USER:PASSWORD@HOST/DATABASE";

/// Where the database is. Neither `Display` nor `Debug` shows a password.
#[derive(Clone)]
pub struct DatabaseUrl(pub(super) Target);

#[derive(Clone)]
pub(super) enum Target {
    Sqlite(PathBuf),
    MySql(Box<MySqlConnectOptions>),
    Postgres(Box<PgConnectOptions>),
}

impl DatabaseUrl {
    /// The SQLite file at `path`.
    pub fn sqlite(path: impl Into<PathBuf>) -> Self {
        Self(Target::Sqlite(path.into()))
    }

    /// Which of the three it is; MariaDB is `MySql`.
    pub fn backend(&self) -> DatabaseBackend {
        match self.0 {
            Target::Sqlite(_) => DatabaseBackend::Sqlite,
            Target::MySql(_) => DatabaseBackend::MySql,
            Target::Postgres(_) => DatabaseBackend::Postgres,
        }
    }

    /// The file, when it is SQLite.
    pub fn file(&self) -> Option<&Path> {
        match &self.0 {
            Target::Sqlite(path) => Some(path),
            _ => None,
        }
    }

    /// Says clearly what is wrong with the directory of an SQLite file; SQLite itself says only that it
    /// can't open the file.
    pub(super) fn check_directory(&self) -> Result<(), DatabaseError> {
        let Target::Sqlite(path) = &self.0 else { return Ok(()) };
        let directory = match path.parent() {
            Some(parent) if !parent.as_os_str().is_empty() => parent,
            _ => Path::new("."),
        };
        let usable = std::fs::metadata(directory).and_then(|metadata| match metadata.is_dir() {
            false => Err(std::io::ErrorKind::NotADirectory.into()),
            // SQLite writes its journal beside the file: the directory itself must be writable.
            true => Ok(rustix::fs::access(directory, rustix::fs::Access::WRITE_OK | rustix::fs::Access::EXEC_OK)?),
        });
        usable.map_err(|source| DatabaseError::Directory { directory: directory.to_owned(), source })
    }
}

impl FromStr for DatabaseUrl {
    /// A sentence that says what is wrong, without the password.
    type Err = String;

    fn from_str(url: &str) -> Result<Self, String> {
        let (scheme, rest) = url.split_once(':').ok_or_else(|| format!("no database URL: {FORMS}"))?;
        match scheme {
            "sqlite" => sqlite(rest).map(|path| Self(Target::Sqlite(path))),
            "mysql" | "mariadb" => {
                let options: MySqlConnectOptions = server(rest)?.parse_as("mysql")?;
                match options.get_database() {
                    Some(_) => Ok(Self(Target::MySql(Box::new(options.pipes_as_concat(false))))),
                    None => Err(format!("the URL names no database: {FORMS}")),
                }
            }
            "postgres" | "postgresql" => {
                let options: PgConnectOptions = server(rest)?.parse_as("postgres")?;
                match options.get_database() {
                    Some(_) => Ok(Self(Target::Postgres(Box::new(options.application_name("valvulad"))))),
                    None => Err(format!("the URL names no database: {FORMS}")),
                }
            }
            // Not shown: what stands before the first colon may be anything, also a secret.
            _ => Err(format!("unknown kind of database: {FORMS}")),
        }
    }
}

/// What follows `sqlite:`: `PATH`, `//PATH`, with `%XX` for other bytes.
fn sqlite(rest: &str) -> Result<PathBuf, String> {
    let rest = rest.strip_prefix("//").unwrap_or(rest);
    let (path, parameters) = rest.split_once('?').unwrap_or((rest, ""));
    // What other programs' URLs have for "create it when absent", which is what happens anyway.
    if !matches!(parameters, "" | "mode=rwc") {
        return Err("an sqlite URL takes no parameters (a '?' in a path is written %3F)".to_owned());
    }
    match path {
        "" => Err("the sqlite URL names no file: expected for example sqlite:///var/lib/valvula/valvula.db".to_owned()),
        ":memory:" => {
            Err("rules and counters in memory would be lost with the process: expected the path of a file".to_owned())
        }
        _ => decode(path).map(PathBuf::from),
    }
}

fn decode(text: &str) -> Result<String, String> {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let [first, tail @ ..] = rest {
        rest = tail;
        if *first != b'%' {
            bytes.push(*first);
            continue;
        }
        let byte = tail.get(..2).and_then(|digits| std::str::from_utf8(digits).ok());
        let byte = byte.and_then(|digits| u8::from_str_radix(digits, 16).ok());
        bytes.push(byte.ok_or("a '%' in the path is written %25")?);
        rest = &tail[2..];
    }
    String::from_utf8(bytes).map_err(|_| "the path is not UTF-8".to_owned())
}

struct ServerUrl<'u>(&'u str);

fn server(rest: &str) -> Result<ServerUrl<'_>, String> {
    match rest.strip_prefix("//") {
        Some(rest) => Ok(ServerUrl(rest)),
        None => Err(format!("expected // after the kind of database: {FORMS}")),
    }
}

impl ServerUrl<'_> {
    fn parse_as<T: FromStr<Err = sea_orm::SqlxError>>(&self, scheme: &str) -> Result<T, String> {
        format!("{scheme}://{}", self.0).parse().map_err(|error| match error {
            // The parser's reason ("invalid port number") names no part of the URL.
            sea_orm::SqlxError::Configuration(reason) => {
                format!("{reason} (a special character in a user or password is written %XX, '@' is %40): {FORMS}")
            }
            other => other.to_string(),
        })
    }
}

impl fmt::Display for DatabaseUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.0 {
            Target::Sqlite(path) => write!(f, "sqlite:{}", path.display()),
            Target::MySql(options) => {
                write!(f, "mysql://{}@", options.get_username())?;
                match options.get_socket() {
                    Some(socket) => write!(f, "unix:{}", socket.display())?,
                    None => write!(f, "{}:{}", options.get_host(), options.get_port())?,
                }
                write!(f, "/{}", options.get_database().unwrap_or_default())
            }
            Target::Postgres(options) => {
                write!(f, "postgres://{}@", options.get_username())?;
                match options.get_socket() {
                    Some(socket) => write!(f, "unix:{}", socket.display())?,
                    None => write!(f, "{}:{}", options.get_host(), options.get_port())?,
                }
                write!(f, "/{}", options.get_database().unwrap_or_default())
            }
        }
    }
}

impl fmt::Debug for DatabaseUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "DatabaseUrl({self})")
    }
}

//! Plesk's own list of domains and users: an SQLite file that Plesk writes and we only read.
//!
//! Opened read-only for each question (answers are cached by who asks): a file that Plesk puts in the
//! place of the old one is seen at once, and none is held open.

use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use actors::local::Truth;
use actors::module::BoxFuture;
use actors::postfix_config::Source;
use libvalvula::{AddressKey, domain_key};
use sea_orm::sqlx::sqlite::{SqliteConnectOptions, SqliteConnection};
use sea_orm::sqlx::{self, ConnectOptions as _, Connection as _};
use slog::Logger;
use tokio::sync::Semaphore;

/// Questions at a time: each has a connection, and a connection a thread.
const AT_ONCE: usize = 4;
/// How long to wait while Plesk writes.
const BUSY: Duration = Duration::from_secs(2);

/// The source.
pub(super) struct Plesk {
    path: PathBuf,
    delimiters: Box<[u8]>,
    places: Semaphore,
    /// Whether the last question could not be asked: said once, not for each.
    away: AtomicBool,
    log: Logger,
}

impl Plesk {
    pub(super) fn new(path: PathBuf, delimiters: &[u8], log: &Logger) -> Self {
        Self {
            path,
            delimiters: delimiters.into(),
            places: Semaphore::new(AT_ONCE),
            away: AtomicBool::new(false),
            log: log.clone(),
        }
    }

    async fn ask(&self, domain: &[u8], user: Option<&AddressKey>) -> Truth {
        let _place = self.places.acquire().await;
        let answer = self.look_up(domain, user).await;
        let was_away = self.away.swap(answer.is_err(), Ordering::Relaxed);
        match answer {
            Ok(found) => {
                if was_away {
                    slog::info!(self.log, "plesk database can be read again"; "file" => %self.path.display());
                }
                if found { Truth::Yes } else { Truth::No }
            }
            Err(error) => {
                let why = format!("plesk database {}: {error}", self.path.display());
                if !was_away {
                    slog::warn!(self.log, "plesk database can't be read"; "file" => %self.path.display(), "error" => %error);
                }
                Truth::CouldNotAsk(why.into())
            }
        }
    }

    async fn look_up(&self, domain: &[u8], user: Option<&AddressKey>) -> Result<bool, sqlx::Error> {
        let options =
            SqliteConnectOptions::new().filename(&self.path).read_only(true).create_if_missing(false).busy_timeout(BUSY);
        let mut connection = options.disable_statement_logging().connect().await?;
        let found = self.look_up_in(&mut connection, domain, user).await;
        // What was read stands, whatever closing comes to.
        let _ = connection.close().await;
        found
    }

    async fn look_up_in(
        &self,
        connection: &mut SqliteConnection,
        domain: &[u8],
        user: Option<&AddressKey>,
    ) -> Result<bool, sqlx::Error> {
        for id in domains(connection, domain).await? {
            let Some(user) = user else { return Ok(true) };
            if has_user(connection, id, user).await? {
                return Ok(true);
            }
            let plain = user.without_extension(&self.delimiters);
            if plain != *user && has_user(connection, id, &plain).await? {
                return Ok(true);
            }
        }
        Ok(false)
    }
}

/// Ids of the domains of that name (in normal form) that are switched on.
///
/// SQLite compares without regard to case in ASCII only, and knows no A-labels: such names are compared here.
async fn domains(connection: &mut SqliteConnection, domain: &[u8]) -> Result<Vec<i64>, sqlx::Error> {
    let Ok(name) = std::str::from_utf8(domain) else { return Ok(Vec::new()) };
    if !name.contains("xn--") && name.is_ascii() {
        return sqlx::query_scalar("SELECT id FROM domains WHERE name = ? COLLATE NOCASE AND status = 0")
            .bind(name)
            .fetch_all(connection)
            .await;
    }
    let all: Vec<(i64, String)> =
        sqlx::query_as("SELECT id, name FROM domains WHERE status = 0").fetch_all(connection).await?;
    let same = |name: &str| *domain_key(name.as_bytes()) == *domain;
    Ok(all.into_iter().filter(|(_, name)| same(name)).map(|(id, _)| id).collect())
}

async fn has_user(connection: &mut SqliteConnection, domain: i64, user: &AddressKey) -> Result<bool, sqlx::Error> {
    let Ok(name) = std::str::from_utf8(user.local_part()) else { return Ok(false) };
    if name.is_ascii() {
        let sql = "SELECT EXISTS (SELECT 1 FROM users WHERE dom_id = ? AND name = ? COLLATE NOCASE)";
        return sqlx::query_scalar(sql).bind(domain).bind(name).fetch_one(connection).await;
    }
    let all: Vec<(String,)> =
        sqlx::query_as("SELECT name FROM users WHERE dom_id = ?").bind(domain).fetch_all(connection).await?;
    Ok(all.iter().any(|(other,)| AddressKey::new(other.as_bytes()).as_bytes() == user.local_part()))
}

impl Source for Plesk {
    fn name(&self) -> &str {
        "object-resolver"
    }

    fn place(&self) -> String {
        self.path.display().to_string()
    }

    fn domain(self: Arc<Self>, domain: Arc<[u8]>) -> BoxFuture<Truth> {
        Box::pin(async move { self.ask(&domain, None).await })
    }

    fn address(self: Arc<Self>, address: AddressKey) -> BoxFuture<Truth> {
        Box::pin(async move {
            // A bare name is nobody's here.
            if !address.has_domain() || address.local_part().is_empty() {
                return Truth::No;
            }
            self.ask(address.domain(), Some(&address)).await
        })
    }
}

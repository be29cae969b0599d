//! A server that does for each request what most policy daemons do: one transaction on the database.
//!
//! It is what strict counting on a database server is compared with, on a pool of as many connections as the load
//! has, all prepared. With `--work counters` it counts what mod-mquota counts: of the account and of its domain, by
//! minute, hour and day, each against a limit. `number`: one number of the account against a limit. `add`: that
//! number without any decision, by one statement that is committed by itself: the least that counting a request takes.

use std::str::FromStr;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use libvalvula::Endpoint;
use sqlx::mysql::{MySqlPoolOptions, MySqlRow};
use sqlx::postgres::{PgPoolOptions, PgRow};
use sqlx::{Executor as _, Row as _};
use structopt::StructOpt;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};

/// One transaction on the database for each request.
#[derive(StructOpt)]
struct Options {
    /// mysql://... or postgres://...
    #[structopt(long)]
    database: String,
    /// host:port
    #[structopt(long)]
    addr: Endpoint,
    /// counters, number or add
    #[structopt(long, default_value = "counters")]
    work: Work,
}

/// What is done for a request.
#[derive(Debug, Clone, Copy)]
enum Work {
    Counters,
    Number,
    Add,
}

impl FromStr for Work {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match text {
            "counters" => Ok(Self::Counters),
            "number" => Ok(Self::Number),
            "add" => Ok(Self::Add),
            other => Err(format!("{other:?} is neither counters, number nor add")),
        }
    }
}

/// Connections of the pool.
const CONNECTIONS: u32 = 64;

/// No counter gets there.
const LIMIT: i64 = 1_000_000_000_000;

const NUMBERS: &str = "CREATE TABLE IF NOT EXISTS counted (name VARCHAR(255) PRIMARY KEY, used BIGINT NOT NULL)";
const COUNTERS: &str = "CREATE TABLE IF NOT EXISTS counters (kind SMALLINT NOT NULL, name VARCHAR(255) NOT NULL, \
    minute_from BIGINT NOT NULL, minute_used BIGINT NOT NULL, hour_from BIGINT NOT NULL, hour_used BIGINT NOT NULL, \
    day_from BIGINT NOT NULL, day_used BIGINT NOT NULL, PRIMARY KEY (kind, name))";

/// What a counter has used of windows that began at `windows`.
fn is_full(counters: &[[i64; 6]], windows: [i64; 3]) -> bool {
    let used = |counter: &[i64; 6], window: usize| {
        if counter[2 * window] == windows[window] { counter[2 * window + 1] } else { 0 }
    };
    counters.iter().any(|counter| (0..3).any(|window| used(counter, window) >= LIMIT))
}

#[derive(Clone)]
enum Pool {
    MySql(sqlx::MySqlPool),
    Postgres(sqlx::PgPool),
}

impl Pool {
    async fn open(url: &str) -> anyhow::Result<Self> {
        const WAIT: Duration = Duration::from_secs(30);
        Ok(if url.starts_with("mysql:") {
            let options = MySqlPoolOptions::new().max_connections(CONNECTIONS).acquire_timeout(WAIT);
            // Otherwise a look at a counter that is not there locks those beside it.
            let options = options.after_connect(|connection, _| {
                Box::pin(async move {
                    connection.execute("SET SESSION TRANSACTION ISOLATION LEVEL READ COMMITTED").await?;
                    Ok(())
                })
            });
            let pool = options.connect(url).await?;
            sqlx::query(NUMBERS).execute(&pool).await?;
            sqlx::query(COUNTERS).execute(&pool).await?;
            Self::MySql(pool)
        } else {
            let pool = PgPoolOptions::new().max_connections(CONNECTIONS).acquire_timeout(WAIT).connect(url).await?;
            sqlx::query(NUMBERS).execute(&pool).await?;
            sqlx::query(COUNTERS).execute(&pool).await?;
            Self::Postgres(pool)
        })
    }

    /// Whether there was room.
    async fn count(&self, user: &str, work: Work) -> sqlx::Result<bool> {
        match (self, work) {
            (Self::MySql(pool), Work::Counters) => count_mysql(pool, user).await,
            (Self::Postgres(pool), Work::Counters) => count_postgres(pool, user).await,
            (Self::MySql(pool), _) => {
                let add = "INSERT INTO counted (name, used) VALUES (?, 1) ON DUPLICATE KEY UPDATE used = used + 1";
                let add = sqlx::query(add).bind(user);
                if matches!(work, Work::Add) {
                    add.execute(pool).await?;
                    return Ok(true);
                }
                let mut transaction = pool.begin().await?;
                let look = sqlx::query_scalar("SELECT used FROM counted WHERE name = ? FOR UPDATE").bind(user);
                let used: Option<i64> = look.fetch_optional(&mut *transaction).await?;
                if used.is_some_and(|used| used >= LIMIT) {
                    return Ok(false);
                }
                add.execute(&mut *transaction).await?;
                transaction.commit().await?;
                Ok(true)
            }
            (Self::Postgres(pool), _) => {
                let add = "INSERT INTO counted (name, used) VALUES ($1, 1) \
                           ON CONFLICT (name) DO UPDATE SET used = counted.used + 1";
                let add = sqlx::query(add).bind(user);
                if matches!(work, Work::Add) {
                    add.execute(pool).await?;
                    return Ok(true);
                }
                let mut transaction = pool.begin().await?;
                let look = sqlx::query_scalar("SELECT used FROM counted WHERE name = $1 FOR UPDATE").bind(user);
                let used: Option<i64> = look.fetch_optional(&mut *transaction).await?;
                if used.is_some_and(|used| used >= LIMIT) {
                    return Ok(false);
                }
                add.execute(&mut *transaction).await?;
                transaction.commit().await?;
                Ok(true)
            }
        }
    }
}

/// The domain of `user`, and when the minute, the hour and the day of now began.
fn place(user: &str) -> (&str, [i64; 3]) {
    let domain = user.rsplit('@').next().unwrap_or_default();
    let now = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |now| now.as_secs().cast_signed());
    (domain, [60, 3600, 86_400].map(|length| now - now % length))
}

async fn count_mysql(pool: &sqlx::MySqlPool, user: &str) -> sqlx::Result<bool> {
    let (domain, windows) = place(user);
    let mut transaction = pool.begin().await?;
    let look = "SELECT minute_from, minute_used, hour_from, hour_used, day_from, day_used FROM counters \
                WHERE (kind = 0 AND name = ?) OR (kind = 1 AND name = ?) ORDER BY kind FOR UPDATE";
    let rows = sqlx::query(look).bind(user).bind(domain).fetch_all(&mut *transaction).await?;
    if rows.len() < 2 {
        // Seen for the first time. One that holds the domain's row must not wait for the account's.
        transaction.rollback().await?;
        let make = "INSERT IGNORE INTO counters VALUES (?, ?, 0, 0, 0, 0, 0, 0)";
        for (kind, name) in [(0_i16, user), (1, domain)] {
            sqlx::query(make).bind(kind).bind(name).execute(pool).await?;
        }
        return Err(sqlx::Error::RowNotFound);
    }
    let counter = |row: &MySqlRow| std::array::from_fn(|column| row.get(column));
    if is_full(&rows.iter().map(counter).collect::<Vec<_>>(), windows) {
        return Ok(false);
    }
    // One after the other is assigned there, and sees what was assigned.
    let add = "INSERT INTO counters VALUES (0, ?, ?, 1, ?, 1, ?, 1), (1, ?, ?, 1, ?, 1, ?, 1) ON DUPLICATE KEY UPDATE \
               minute_used = IF(minute_from = VALUES(minute_from), minute_used, 0) + 1, minute_from = VALUES(minute_from), \
               hour_used = IF(hour_from = VALUES(hour_from), hour_used, 0) + 1, hour_from = VALUES(hour_from), \
               day_used = IF(day_from = VALUES(day_from), day_used, 0) + 1, day_from = VALUES(day_from)";
    let mut add = sqlx::query(add);
    for name in [user, domain] {
        add = windows.into_iter().fold(add.bind(name), |add, from| add.bind(from));
    }
    add.execute(&mut *transaction).await?;
    transaction.commit().await?;
    Ok(true)
}

async fn count_postgres(pool: &sqlx::PgPool, user: &str) -> sqlx::Result<bool> {
    let (domain, windows) = place(user);
    let mut transaction = pool.begin().await?;
    let look = "SELECT minute_from, minute_used, hour_from, hour_used, day_from, day_used FROM counters \
                WHERE (kind = 0 AND name = $1) OR (kind = 1 AND name = $2) ORDER BY kind FOR UPDATE";
    let rows = sqlx::query(look).bind(user).bind(domain).fetch_all(&mut *transaction).await?;
    if rows.len() < 2 {
        // Seen for the first time. One that holds the domain's row must not wait for the account's.
        transaction.rollback().await?;
        let make = "INSERT INTO counters VALUES ($1, $2, 0, 0, 0, 0, 0, 0) ON CONFLICT DO NOTHING";
        for (kind, name) in [(0_i16, user), (1, domain)] {
            sqlx::query(make).bind(kind).bind(name).execute(pool).await?;
        }
        return Err(sqlx::Error::RowNotFound);
    }
    let counter = |row: &PgRow| std::array::from_fn(|column| row.get(column));
    if is_full(&rows.iter().map(counter).collect::<Vec<_>>(), windows) {
        return Ok(false);
    }
    let add = "INSERT INTO counters VALUES (0, $1, $3, 1, $4, 1, $5, 1), (1, $2, $3, 1, $4, 1, $5, 1) \
               ON CONFLICT (kind, name) DO UPDATE SET \
               minute_used = CASE WHEN counters.minute_from = excluded.minute_from THEN counters.minute_used ELSE 0 END + 1, \
               minute_from = excluded.minute_from, \
               hour_used = CASE WHEN counters.hour_from = excluded.hour_from THEN counters.hour_used ELSE 0 END + 1, \
               hour_from = excluded.hour_from, \
               day_used = CASE WHEN counters.day_from = excluded.day_from THEN counters.day_used ELSE 0 END + 1, \
               day_from = excluded.day_from";
    let add = windows.into_iter().fold(sqlx::query(add).bind(user).bind(domain), |add, from| add.bind(from));
    add.execute(&mut *transaction).await?;
    transaction.commit().await?;
    Ok(true)
}

fn main() -> anyhow::Result<()> {
    let Options { database, addr, work } = Options::from_args();
    tokio::runtime::Builder::new_current_thread().enable_all().build()?.block_on(async {
        let pool = Pool::open(&database).await?;
        let listener = TcpListener::bind(addr.to_string()).await?;
        loop {
            let (stream, _) = listener.accept().await?;
            stream.set_nodelay(true)?;
            tokio::spawn(serve(stream, pool.clone(), work));
        }
    })
}

/// Answers until the client leaves, or transactions fail.
async fn serve(mut stream: TcpStream, pool: Pool, work: Work) -> anyhow::Result<()> {
    /// Who is counted for the first time is counted once more, when its rows are there.
    const ATTEMPTS: u32 = 10;
    let mut buffer = Vec::with_capacity(4096);
    loop {
        if stream.read_buf(&mut buffer).await? == 0 {
            return Ok(());
        }
        if !buffer.ends_with(b"\n\n") {
            continue;
        }
        let text = String::from_utf8_lossy(&buffer);
        let user = text.lines().find_map(|line| line.strip_prefix("sasl_username=")).unwrap_or_default();
        let mut counted = pool.count(user, work).await;
        for _ in 1..ATTEMPTS {
            if counted.is_ok() {
                break;
            }
            counted = pool.count(user, work).await;
        }
        let action = if counted? { "DUNNO" } else { "REJECT" };
        stream.write_all(format!("action={action}\n\n").as_bytes()).await?;
        buffer.clear();
    }
}

//! A server that does for each request what most policy daemons do: one transaction on the database.
//!
//! It is what strict counting on a database server is compared with: begin, look at the sender's counter and
//! hold it, add, commit; on a pool of as many connections as the load has, all prepared. With `--add-only` one
//! statement adds, committed by itself, which decides nothing: the least that counting a request takes.

use std::time::Duration;

use libvalvula::Endpoint;
use sqlx::Executor as _;
use sqlx::mysql::MySqlPoolOptions;
use sqlx::postgres::PgPoolOptions;
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
    /// One statement in place of a transaction that decides
    #[structopt(long)]
    add_only: bool,
}

/// Connections of the pool.
const CONNECTIONS: u32 = 64;

/// No counter gets there.
const LIMIT: i64 = 1_000_000_000_000;

#[derive(Clone)]
enum Pool {
    MySql(sqlx::MySqlPool),
    Postgres(sqlx::PgPool),
}

impl Pool {
    async fn open(url: &str) -> anyhow::Result<Self> {
        const WAIT: Duration = Duration::from_secs(30);
        const TABLE: &str = "CREATE TABLE IF NOT EXISTS counted (name VARCHAR(255) PRIMARY KEY, used BIGINT NOT NULL)";
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
            sqlx::query(TABLE).execute(&pool).await?;
            Self::MySql(pool)
        } else {
            let pool = PgPoolOptions::new().max_connections(CONNECTIONS).acquire_timeout(WAIT).connect(url).await?;
            sqlx::query(TABLE).execute(&pool).await?;
            Self::Postgres(pool)
        })
    }

    /// Whether there was room.
    async fn count(&self, name: &str, add_only: bool) -> sqlx::Result<bool> {
        match self {
            Self::MySql(pool) => {
                let add = "INSERT INTO counted (name, used) VALUES (?, 1) ON DUPLICATE KEY UPDATE used = used + 1";
                let add = sqlx::query(add).bind(name);
                if add_only {
                    add.execute(pool).await?;
                    return Ok(true);
                }
                let mut transaction = pool.begin().await?;
                let look = sqlx::query_scalar("SELECT used FROM counted WHERE name = ? FOR UPDATE").bind(name);
                let used: Option<i64> = look.fetch_optional(&mut *transaction).await?;
                if used.is_some_and(|used| used >= LIMIT) {
                    return Ok(false);
                }
                add.execute(&mut *transaction).await?;
                transaction.commit().await?;
            }
            Self::Postgres(pool) => {
                let add = "INSERT INTO counted (name, used) VALUES ($1, 1) \
                           ON CONFLICT (name) DO UPDATE SET used = counted.used + 1";
                let add = sqlx::query(add).bind(name);
                if add_only {
                    add.execute(pool).await?;
                    return Ok(true);
                }
                let mut transaction = pool.begin().await?;
                let look = sqlx::query_scalar("SELECT used FROM counted WHERE name = $1 FOR UPDATE").bind(name);
                let used: Option<i64> = look.fetch_optional(&mut *transaction).await?;
                if used.is_some_and(|used| used >= LIMIT) {
                    return Ok(false);
                }
                add.execute(&mut *transaction).await?;
                transaction.commit().await?;
            }
        }
        Ok(true)
    }
}

fn main() -> anyhow::Result<()> {
    let Options { database, addr, add_only } = Options::from_args();
    tokio::runtime::Builder::new_current_thread().enable_all().build()?.block_on(async {
        let pool = Pool::open(&database).await?;
        let listener = TcpListener::bind(addr.to_string()).await?;
        loop {
            let (stream, _) = listener.accept().await?;
            stream.set_nodelay(true)?;
            tokio::spawn(serve(stream, pool.clone(), add_only));
        }
    })
}

/// Answers until the client leaves, or a transaction fails.
async fn serve(mut stream: TcpStream, pool: Pool, add_only: bool) -> anyhow::Result<()> {
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
        let action = if pool.count(user, add_only).await? { "DUNNO" } else { "REJECT" };
        stream.write_all(format!("action={action}\n\n").as_bytes()).await?;
        buffer.clear();
    }
}

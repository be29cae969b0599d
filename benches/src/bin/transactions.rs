//! A server that does for each request what most policy daemons do: one transaction on the database.
//!
//! It is what strict counting on a database server is compared with. One statement adds to the sender's
//! counter, on a pool of as many connections as the load has, prepared, and committed by itself.

use std::time::Duration;

use libvalvula::Endpoint;
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
}

/// Connections of the pool.
const CONNECTIONS: u32 = 64;

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
            let pool = MySqlPoolOptions::new().max_connections(CONNECTIONS).acquire_timeout(WAIT).connect(url).await?;
            sqlx::query(TABLE).execute(&pool).await?;
            Self::MySql(pool)
        } else {
            let pool = PgPoolOptions::new().max_connections(CONNECTIONS).acquire_timeout(WAIT).connect(url).await?;
            sqlx::query(TABLE).execute(&pool).await?;
            Self::Postgres(pool)
        })
    }

    async fn count(&self, name: &str) -> sqlx::Result<()> {
        match self {
            Self::MySql(pool) => {
                let add = "INSERT INTO counted (name, used) VALUES (?, 1) ON DUPLICATE KEY UPDATE used = used + 1";
                sqlx::query(add).bind(name).execute(pool).await?;
            }
            Self::Postgres(pool) => {
                let add = "INSERT INTO counted (name, used) VALUES ($1, 1) \
                           ON CONFLICT (name) DO UPDATE SET used = counted.used + 1";
                sqlx::query(add).bind(name).execute(pool).await?;
            }
        }
        Ok(())
    }
}

fn main() -> anyhow::Result<()> {
    let Options { database, addr } = Options::from_args();
    tokio::runtime::Builder::new_current_thread().enable_all().build()?.block_on(async {
        let pool = Pool::open(&database).await?;
        let listener = TcpListener::bind(addr.to_string()).await?;
        loop {
            let (stream, _) = listener.accept().await?;
            stream.set_nodelay(true)?;
            tokio::spawn(serve(stream, pool.clone()));
        }
    })
}

/// Answers until the client leaves, or a transaction fails.
async fn serve(mut stream: TcpStream, pool: Pool) -> anyhow::Result<()> {
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
        pool.count(user).await?;
        stream.write_all(b"action=DUNNO\n\n").await?;
        buffer.clear();
    }
}

//! SQLite: one transaction writes at a time, so notes show in the order of their numbers.

use std::time::{Duration, Instant};

use sea_orm::{DatabaseConnection, DbErr};

use super::{MANY, PIECE, ask, ask_one};
use crate::watch::noted::Noted;

/// How long nothing but SQLite's own sign of changes is believed. It belongs to the connection, and a
/// connection may be replaced unseen.
const BELIEVE: Duration = Duration::from_secs(1);

pub(in crate::watch) struct Feed {
    last: i64,
    /// `PRAGMA data_version`: changes with each commit of another connection. A read of shared memory.
    version: Option<i64>,
    looked: Instant,
}

impl Feed {
    pub(super) async fn begin(pool: &DatabaseConnection) -> Result<Self, DbErr> {
        Ok(Self { last: last(pool).await?, version: None, looked: Instant::now() })
    }

    pub(super) async fn poll(&mut self, pool: &DatabaseConnection) -> Result<Noted, DbErr> {
        let version: i64 = ask_one(pool, "PRAGMA data_version", []).await?.try_get_by_index(0)?;
        if self.version == Some(version) && self.looked.elapsed() < BELIEVE {
            return Ok(Noted::default());
        }
        let mut noted = Noted::default();
        let from = self.last;
        loop {
            let sql = "SELECT id, tbl, row_id FROM valvula_change WHERE id > ? ORDER BY id LIMIT ?";
            let rows = ask(pool, sql, [self.last.into(), PIECE.into()]).await?;
            for row in &rows {
                self.last = row.try_get_by_index(0)?;
                noted.add(row.try_get_by_index(1)?, row.try_get_by_index(2)?);
            }
            if i64::try_from(rows.len()).is_ok_and(|rows| rows < PIECE) {
                break;
            }
            if self.last - from > MANY {
                return self.skip(pool).await;
            }
        }
        if self.last == from && last(pool).await? < from {
            // Numbers are never used twice: this is another database, or an older one.
            self.last = last(pool).await?;
            return Ok(Noted::lost("database was replaced"));
        }
        self.version = Some(version);
        self.looked = Instant::now();
        Ok(noted)
    }

    /// Takes all that is left as changes of whole tables.
    async fn skip(&mut self, pool: &DatabaseConnection) -> Result<Noted, DbErr> {
        let mut noted = Noted::default();
        // The table read in pieces before may be any: those are taken as changed too, by asking from 0.
        let sql = "SELECT tbl, MAX(id) FROM valvula_change GROUP BY tbl";
        for row in ask(pool, sql, []).await? {
            noted.whole(row.try_get_by_index(0)?);
            self.last = self.last.max(row.try_get_by_index(1)?);
        }
        Ok(noted)
    }
}

async fn last(pool: &DatabaseConnection) -> Result<i64, DbErr> {
    ask_one(pool, "SELECT COALESCE(MAX(id), 0) FROM valvula_change", []).await?.try_get_by_index(0)
}

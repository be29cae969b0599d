//! PostgreSQL: it can say which transactions a snapshot of it has seen, so that exactly those that were
//! committed between two questions are asked for, in whatever order they began.

use sea_orm::{DatabaseConnection, DbErr};

use super::{MANY, ask, ask_one};
use crate::watch::noted::Noted;

/// Committed between the snapshot $1 and now. A row restored from another server's backup may have a
/// transaction's number that is not reached here: it is none of ours.
const SINCE: &str = "FROM valvula_change WHERE xid >= pg_snapshot_xmin(CAST($1 AS pg_snapshot)) \
    AND NOT pg_visible_in_snapshot(xid, CAST($1 AS pg_snapshot)) AND xid < pg_snapshot_xmax(pg_current_snapshot())";

pub(in crate::watch) struct Feed {
    /// The snapshot of the last question, as text.
    snapshot: String,
}

impl Feed {
    pub(super) async fn begin(pool: &DatabaseConnection) -> Result<Self, DbErr> {
        // Together with the table: when it is absent, this fails and not each poll.
        let sql = "SELECT CAST(pg_current_snapshot() AS TEXT), (SELECT 1 FROM valvula_change LIMIT 1)";
        Ok(Self { snapshot: ask_one(pool, sql, []).await?.try_get_by_index(0)? })
    }

    pub(super) async fn poll(&mut self, pool: &DatabaseConnection) -> Result<Noted, DbErr> {
        // The snapshot is that of the statement itself: nothing can fall between the two.
        let sql = format!(
            "SELECT CAST(pg_current_snapshot() AS TEXT), noted.tbl, noted.row_id FROM (SELECT 1) AS one \
             LEFT JOIN (SELECT tbl, row_id {SINCE} LIMIT {}) AS noted ON true",
            MANY + 1
        );
        let rows = ask(pool, &sql, [self.snapshot.clone().into()]).await?;
        let mut noted = Noted::default();
        if i64::try_from(rows.len()).is_ok_and(|rows| rows > MANY) {
            // Later than the first answer: what is new since then will be noted once more.
            let sql = format!("SELECT DISTINCT tbl {SINCE}");
            for row in ask(pool, &sql, [self.snapshot.clone().into()]).await? {
                noted.whole(row.try_get_by_index(0)?);
            }
        } else {
            for row in &rows {
                // No table: the one row that brings the snapshot when nothing changed.
                if let Some(table) = row.try_get_by_index::<Option<String>>(1)? {
                    noted.add(table, row.try_get_by_index(2)?);
                }
            }
        }
        if let Some(row) = rows.first() {
            let snapshot: String = row.try_get_by_index(0)?;
            if reached(&snapshot) < reached(&self.snapshot) {
                self.snapshot = snapshot;
                return Ok(Noted::lost("database was replaced"));
            }
            self.snapshot = snapshot;
        }
        Ok(noted)
    }
}

/// The next transaction's number in a snapshot `xmin:xmax:...`: it only grows.
fn reached(snapshot: &str) -> u64 {
    snapshot.split(':').nth(1).and_then(|xmax| xmax.parse().ok()).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    #[test]
    fn the_number_reached_is_read_from_a_snapshot() {
        assert_eq!(super::reached("10:20:10,14,15"), 20);
        assert_eq!(super::reached("10:20:"), 20);
    }
}

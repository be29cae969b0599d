//! Checksums of a table, made by the database, 1024 ids to a block.
//!
//! They find what no trigger noted, and are all there is where no trigger can be made. A block that
//! differs is read again; the others are left alone, so that one changed row never costs a whole table.

use std::collections::{BTreeMap, BTreeSet};

use sea_orm::{ConnectionTrait as _, DatabaseBackend, DatabaseConnection, DbErr, Statement};

use crate::watch::follower::{Column, quote};

const BLOCK: i64 = 1024;

/// The checksums of one table as last seen.
pub(super) struct Blocks {
    backend: DatabaseBackend,
    sql: String,
    /// Number of rows and checksum of each block.
    known: Option<BTreeMap<i64, String>>,
    /// Blocks in which rows were read since: their checksums have changed with good reason.
    touched: BTreeSet<i64>,
}

impl Blocks {
    pub(super) fn new(backend: DatabaseBackend, table: &str, columns: &[Column]) -> Self {
        Self { backend, sql: sql(backend, table, columns), known: None, touched: BTreeSet::new() }
    }

    /// Whether the next comparison has nothing to compare with.
    pub(super) fn is_unknown(&self) -> bool {
        self.known.is_none()
    }

    /// Rows with these ids were read.
    pub(super) fn touch(&mut self, ids: &[i64]) {
        self.touched.extend(ids.iter().map(|id| id.div_euclid(BLOCK)));
    }

    /// Whether rows in the range of one block were read since the last comparison.
    pub(super) fn is_touched(&self, (from, _): (i64, i64)) -> bool {
        self.touched.contains(&from.div_euclid(BLOCK))
    }

    /// The whole table was read.
    pub(super) fn forget(&mut self) {
        self.known = None;
        self.touched.clear();
    }

    /// Asks for the checksums: the ranges of ids, both ends included, in which something changed.
    pub(super) async fn compare(&mut self, pool: &DatabaseConnection) -> Result<Vec<(i64, i64)>, DbErr> {
        let rows = pool.query_all_raw(Statement::from_string(self.backend, &self.sql)).await?;
        let mut now = BTreeMap::new();
        for row in rows {
            let (block, sum): (i64, String) = (row.try_get_by_index(0)?, row.try_get_by_index(1)?);
            now.insert(block, sum);
        }
        let touched = std::mem::take(&mut self.touched);
        let Some(known) = self.known.replace(now) else { return Ok(Vec::new()) };
        let now = self.known.as_ref().expect("set in the line above");
        let blocks: BTreeSet<i64> = known.keys().chain(now.keys()).copied().collect();
        let differing =
            blocks.into_iter().filter(|block| known.get(block) != now.get(block) && !touched.contains(block));
        Ok(differing.map(|block| (block * BLOCK, block * BLOCK + (BLOCK - 1))).collect())
    }
}

/// Block, and as text the number of rows in it with a checksum over all their columns.
fn sql(backend: DatabaseBackend, table: &str, columns: &[Column]) -> String {
    let names: Vec<_> = std::iter::once("id").chain(columns.iter().map(Column::name)).collect();
    let quoted: Vec<_> = names.iter().map(|name| quote(backend, name)).collect();
    let (id, table) = (quote(backend, "id"), quote(backend, table));
    // Integer division cuts towards zero, ours goes down: ids below zero are brought above it first.
    let shift = BLOCK << 42;
    let (block, sum) = match backend {
        DatabaseBackend::MySql => {
            let values: Vec<_> = quoted.iter().map(|name| format!("IFNULL({name}, 0x00)")).collect();
            let sum = format!("CAST(SUM(CRC32(CONCAT_WS(0x01, {}))) AS CHAR)", values.join(", "));
            (format!("CAST((CAST({id} AS SIGNED) + {shift}) DIV {BLOCK} - {} AS SIGNED)", shift / BLOCK), sum)
        }
        DatabaseBackend::Postgres => {
            let row = format!("CAST(ROW({}) AS TEXT)", quoted.join(", "));
            let sum = format!("CAST(SUM(CAST(hashtextextended({row}, 0) AS NUMERIC)) AS TEXT)");
            (format!("(CAST({id} AS BIGINT) + {shift}) / {BLOCK} - {}", shift / BLOCK), sum)
        }
        // SQLite has no hash of its own: lengths, first and last characters, weighted by the row, so
        // that values which change places show.
        _ => {
            let values: Vec<_> = (1..)
                .zip(&quoted[1..])
                .map(|(weight, name)| {
                    let text = format!("IFNULL(CAST({name} AS TEXT), '')");
                    format!(
                        "{weight} * (LENGTH({text}) * 131 + IFNULL(UNICODE({text}), 7) * 31 \
                     + IFNULL(UNICODE(SUBSTR({text}, -1)), 3) * 17 + ({name} IS NULL))"
                    )
                })
                .collect();
            let sum = format!("CAST(SUM(({id} % 8191 + 1) * (1 + {})) AS TEXT)", values.join(" + "));
            (format!("({id} + {shift}) / {BLOCK} - {}", shift / BLOCK), sum)
        }
    };
    let text = match backend {
        DatabaseBackend::MySql => format!("CONCAT(COUNT(*), ':', {sum})"),
        _ => format!("CAST(COUNT(*) AS TEXT) || ':' || {sum}"),
    };
    format!("SELECT {block} AS block, {text} AS checksum FROM {table} GROUP BY 1")
}

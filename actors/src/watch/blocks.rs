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
    /// Blocks in which rows were read since the last question: their checksums have changed with good reason.
    touched: BTreeSet<i64>,
    /// The same of the time before the last question.
    touched_before: BTreeSet<i64>,
    /// Counts how often everything known was forgotten.
    age: u64,
}

/// A question for the checksums, to be asked beside other work.
pub(super) struct Question {
    backend: DatabaseBackend,
    sql: String,
    age: u64,
}

/// What came of it.
#[derive(Debug)]
pub(super) struct Sums {
    blocks: BTreeMap<i64, String>,
    age: u64,
}

impl Question {
    pub(super) async fn ask(self, pool: &DatabaseConnection) -> Result<Sums, DbErr> {
        let rows = pool.query_all_raw(Statement::from_string(self.backend, &self.sql)).await?;
        let blocks = rows.iter().map(|row| Ok((row.try_get_by_index(0)?, row.try_get_by_index(1)?)));
        Ok(Sums { blocks: blocks.collect::<Result<_, DbErr>>()?, age: self.age })
    }
}

impl Blocks {
    pub(super) fn new(backend: DatabaseBackend, table: &str, columns: &[Column]) -> Self {
        let sql = sql(backend, table, columns, &[]);
        Self { backend, sql, known: None, touched: BTreeSet::new(), touched_before: BTreeSet::new(), age: 0 }
    }

    /// Looks at the table without the columns `absent` from now on. To be followed by [`Self::forget`].
    pub(super) fn without(&mut self, table: &str, columns: &[Column], absent: &[&'static str]) {
        self.sql = sql(self.backend, table, columns, absent);
    }

    /// Rows with these ids were read.
    pub(super) fn touch(&mut self, ids: &[i64]) {
        self.touched.extend(ids.iter().map(|id| id.div_euclid(BLOCK)));
    }

    /// Whether rows in the range of one block were read since the last question.
    pub(super) fn is_touched(&self, (from, _): (i64, i64)) -> bool {
        self.touched.contains(&from.div_euclid(BLOCK))
    }

    /// The whole table was read.
    pub(super) fn forget(&mut self) {
        self.known = None;
        self.touched.clear();
        self.touched_before.clear();
        self.age += 1;
    }

    /// The question for the checksums as they are now. Only one may be under way.
    pub(super) fn question(&mut self) -> Question {
        self.touched_before.append(&mut self.touched);
        Question { backend: self.backend, sql: self.sql.clone(), age: self.age }
    }

    /// Takes the answer: the ranges of ids, both ends included, in which something changed although no
    /// row in them was read. `None` when there is nothing to compare with.
    pub(super) fn compare(&mut self, sums: Sums) -> Option<Vec<(i64, i64)>> {
        if sums.age != self.age {
            // The whole table was read meanwhile: this is how it was before.
            return Some(Vec::new());
        }
        let touched = std::mem::take(&mut self.touched_before);
        let known = self.known.replace(sums.blocks)?;
        let now = self.known.as_ref().expect("set in the line above");
        let blocks: BTreeSet<i64> = known.keys().chain(now.keys()).copied().collect();
        let differing =
            blocks.into_iter().filter(|block| known.get(block) != now.get(block) && !touched.contains(block));
        Some(differing.map(|block| (block * BLOCK, block * BLOCK + (BLOCK - 1))).collect())
    }
}

/// Block, and as text the number of rows in it with a checksum over all their columns.
fn sql(backend: DatabaseBackend, table: &str, columns: &[Column], absent: &[&'static str]) -> String {
    let there = columns.iter().map(Column::name).filter(|name| !absent.contains(name));
    let names: Vec<_> = std::iter::once("id").chain(there).collect();
    let quoted: Vec<_> = names.iter().map(|name| quote(backend, name)).collect();
    let (id, table) = (quote(backend, "id"), quote(backend, table));
    // Division that goes down, as ours does, also for ids below zero: a plain one cuts towards zero.
    let bits = BLOCK.trailing_zeros();
    let (block, sum) = match backend {
        DatabaseBackend::MySql => {
            let values: Vec<_> = quoted.iter().map(|name| format!("IFNULL({name}, 0x00)")).collect();
            let sum = format!("CAST(SUM(CRC32(CONCAT_WS(0x01, {}))) AS CHAR)", values.join(", "));
            (format!("CAST(FLOOR(CAST({id} AS SIGNED) / {BLOCK}) AS SIGNED)"), sum)
        }
        DatabaseBackend::Postgres => {
            let row = format!("CAST(ROW({}) AS TEXT)", quoted.join(", "));
            let sum = format!("CAST(SUM(CAST(hashtextextended({row}, 0) AS NUMERIC)) AS TEXT)");
            (format!("CAST({id} AS BIGINT) >> {bits}"), sum)
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
            (format!("{id} >> {bits}"), sum)
        }
    };
    let text = match backend {
        DatabaseBackend::MySql => format!("CONCAT(COUNT(*), ':', {sum})"),
        _ => format!("CAST(COUNT(*) AS TEXT) || ':' || {sum}"),
    };
    format!("SELECT {block} AS block, {text} AS checksum FROM {table} GROUP BY 1")
}

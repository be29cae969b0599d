//! The questions for rows: all of them in pieces, or those with given ids.

use std::time::Duration;

use futures_util::{FutureExt as _, StreamExt as _};
use sea_orm::sqlx::{self, AssertSqlSafe};
use sea_orm::{ConnectionTrait as _, DatabaseBackend, DatabaseConnection, DbErr, QueryResult, Statement, Value};
use tokio::sync::mpsc;
use tokio::time::sleep;

use crate::database::failed;
use crate::watch::follower::{Column, quote};

/// Rows asked for at once: small enough that no statement lasts, big enough that questions cost nothing.
const PIECE: i64 = 10_000;
/// Ids in one question; every engine takes more parameters than that.
const IDS: usize = 500;
/// With more rows than that SQLite's thread is left to itself for a while.
const FEW: usize = 1000;
/// How long. It reads some thousand rows meanwhile, and the pool has room for four thousand.
const WHILE: Duration = Duration::from_millis(1);
/// As many ids in a row are asked for as a range.
const RUN: usize = 16;

/// What is asked of one table.
#[derive(Clone)]
pub(super) struct Query {
    pub(super) backend: DatabaseBackend,
    /// `SELECT ... FROM ...`, the id first.
    select: String,
    /// `SELECT id FROM ...`
    select_ids: String,
    /// `SELECT MIN(id), MAX(id) FROM ...`
    select_bounds: String,
    id: String,
}

impl Query {
    /// What is asked of `table`, where the columns `absent` are lacking.
    pub(super) fn new(backend: DatabaseBackend, table: &str, columns: &[Column], absent: &[&'static str]) -> Self {
        let mut expressions = vec![Column::integer("id").expression(backend)];
        expressions.extend(columns.iter().map(|column| match absent.contains(&column.name()) {
            true => column.absent(backend).to_owned(),
            false => column.expression(backend),
        }));
        let from = quote(backend, table);
        let select_ids = format!("SELECT {} FROM {from}", expressions[0]);
        let select = format!("SELECT {} FROM {from}", expressions.join(", "));
        let id = quote(backend, "id");
        let cast = if backend == DatabaseBackend::MySql { "SIGNED" } else { "BIGINT" };
        // Each by itself: asked for both at once, SQLite reads the whole table.
        let select_bounds = format!(
            "SELECT (SELECT CAST(MIN({id}) AS {cast}) FROM {from}), (SELECT CAST(MAX({id}) AS {cast}) FROM {from})"
        );
        Self { backend, select, select_ids, select_bounds, id }
    }

    /// The sign of the parameter number `number`.
    fn parameter(&self, number: usize) -> String {
        if self.backend == DatabaseBackend::Postgres { format!("${number}") } else { "?".to_owned() }
    }

    async fn ask<I: IntoIterator<Item = i64>>(
        &self,
        pool: &DatabaseConnection,
        select: &str,
        condition: &str,
        parameters: I,
    ) -> Result<Vec<QueryResult>, DbErr> {
        let sql = format!("{select} WHERE {condition}");
        let values = parameters.into_iter().map(Value::from);
        pool.query_all_raw(Statement::from_sql_and_values(self.backend, sql, values)).await
    }

    /// Sends all rows to `to`, piece by piece, by ascending id. Ends early when nobody takes them.
    ///
    /// Pieces are ranges of ids: asked for "the next so many rows", PostgreSQL may sort all that are left
    /// each time, when it does not know yet how many a new table has.
    pub(super) async fn all(&self, pool: &DatabaseConnection, to: mpsc::Sender<Vec<QueryResult>>) -> Result<(), DbErr> {
        let Some((mut from, last)) = self.bounds(pool).await? else { return Ok(()) };
        let condition = format!(
            "{id} BETWEEN {} AND {} ORDER BY {id} LIMIT {}",
            self.parameter(1),
            self.parameter(2),
            self.parameter(3),
            id = self.id
        );
        let mut width = PIECE;
        loop {
            let end = from.saturating_add(width - 1).min(last);
            let rows = self.piece(pool, &condition, [from, end, PIECE]).await?;
            let number = i64::try_from(rows.len()).unwrap_or(PIECE);
            let full = number == PIECE;
            let known = match rows.last() {
                Some(row) if full => row.try_get_by_index(0)?,
                _ => end,
            };
            if !rows.is_empty() && to.send(rows).await.is_err() || known >= last {
                return Ok(());
            }
            from = known + 1;
            // Few ids in the range have rows: further at once; more than fit: with care again.
            width = if full {
                PIECE
            } else if number < PIECE / 4 {
                width.saturating_mul(4)
            } else {
                width
            };
        }
    }

    /// Many rows. Those of SQLite come one by one from a thread of its own, and to be woken for each costs both threads
    /// more than the row: so of many, those that have come meanwhile are taken now and then.
    async fn piece(
        &self,
        pool: &DatabaseConnection,
        condition: &str,
        parameters: [i64; 3],
    ) -> Result<Vec<QueryResult>, DbErr> {
        if self.backend != DatabaseBackend::Sqlite {
            return self.ask(pool, &self.select, condition, parameters).await;
        }
        // As in `ask`: the text is this file's, the module's table and columns.
        let query = sqlx::query(AssertSqlSafe(format!("{} WHERE {condition}", self.select)));
        let query = parameters.into_iter().fold(query, |query, parameter| query.bind(parameter));
        let mut coming = query.fetch(pool.get_sqlite_connection_pool());
        let mut rows: Vec<QueryResult> = Vec::new();
        loop {
            let next = match rows.len() {
                ..FEW => coming.next().await,
                _ => match coming.next().now_or_never() {
                    Some(next) => next,
                    None => {
                        sleep(WHILE).await;
                        continue;
                    }
                },
            };
            match next {
                Some(row) => rows.push(row.map_err(failed)?.into()),
                None => return Ok(rows),
            }
        }
    }

    /// The first and the last id.
    async fn bounds(&self, pool: &DatabaseConnection) -> Result<Option<(i64, i64)>, DbErr> {
        let row = pool.query_one_raw(Statement::from_string(self.backend, &self.select_bounds)).await?;
        let Some(row) = row else { return Ok(None) };
        let (first, last): (Option<i64>, Option<i64>) = (row.try_get_by_index(0)?, row.try_get_by_index(1)?);
        Ok(first.zip(last))
    }

    /// The ids that are there from `from` to `to`, both included.
    pub(super) async fn ids_between(&self, pool: &DatabaseConnection, from: i64, to: i64) -> Result<Vec<i64>, DbErr> {
        let between = format!("{} BETWEEN {} AND {}", self.id, self.parameter(1), self.parameter(2));
        let rows = self.ask(pool, &self.select_ids, &between, [from, to]).await?;
        rows.iter().map(|row| row.try_get_by_index(0)).collect()
    }

    /// The rows with these ids (ascending, each once) that are there.
    pub(super) async fn with_ids(&self, pool: &DatabaseConnection, ids: &[i64]) -> Result<Vec<QueryResult>, DbErr> {
        let (runs, single) = split(ids);
        let mut rows = Vec::with_capacity(ids.len());
        let between = format!("{} BETWEEN {} AND {}", self.id, self.parameter(1), self.parameter(2));
        for (from, to) in runs {
            rows.extend(self.ask(pool, &self.select, &between, [from, to]).await?);
        }
        for ids in single.chunks(IDS) {
            // The last id again in the places left over: few statements to prepare, whatever the number.
            let places = ids.len().next_power_of_two().min(IDS);
            let signs: Vec<_> = (1..=places).map(|number| self.parameter(number)).collect();
            let filled = (0..places).map(|place| ids[place.min(ids.len() - 1)]);
            let condition = format!("{} IN ({})", self.id, signs.join(", "));
            rows.extend(self.ask(pool, &self.select, &condition, filled).await?);
        }
        Ok(rows)
    }
}

/// The optional ones among `columns` that the table lacks.
pub(super) async fn absent(
    pool: &DatabaseConnection,
    table: &str,
    columns: &[Column],
) -> Result<Vec<&'static str>, DbErr> {
    let mut absent: Vec<_> = columns.iter().filter(|column| column.is_optional()).map(Column::name).collect();
    if absent.is_empty() {
        return Ok(absent);
    }
    let backend = pool.get_database_backend();
    let sql = match backend {
        DatabaseBackend::Sqlite => "SELECT name FROM pragma_table_info(?)",
        DatabaseBackend::MySql => {
            "SELECT CAST(COLUMN_NAME AS CHAR) FROM information_schema.COLUMNS \
             WHERE TABLE_SCHEMA = DATABASE() AND TABLE_NAME = ?"
        }
        _ => {
            "SELECT CAST(attname AS TEXT) FROM pg_catalog.pg_attribute \
             WHERE attrelid = to_regclass(quote_ident($1)) AND attnum > 0 AND NOT attisdropped"
        }
    };
    let rows = pool.query_all_raw(Statement::from_sql_and_values(backend, sql, [table.into()])).await?;
    for row in rows {
        let there: String = row.try_get_by_index(0)?;
        absent.retain(|name| !name.eq_ignore_ascii_case(&there));
    }
    Ok(absent)
}

/// Runs of neighbouring ids as ranges (at most a piece each), and the others.
fn split(ids: &[i64]) -> (Vec<(i64, i64)>, Vec<i64>) {
    let (mut runs, mut single) = (Vec::new(), Vec::new());
    let limit = usize::try_from(PIECE).unwrap_or(usize::MAX);
    let mut rest = ids;
    while let Some(first) = rest.first() {
        let together = (0i64..).zip(rest).take(limit).take_while(|(n, id)| first.checked_add(*n) == Some(**id)).count();
        let (run, tail) = rest.split_at(together);
        match together < RUN {
            true => single.extend(run),
            false => runs.push((*first, run[together - 1])),
        }
        rest = tail;
    }
    (runs, single)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn neighbouring_ids_are_asked_for_as_ranges() {
        let ids: Vec<i64> = [1, 5, 7].into_iter().chain(100..25_000).chain([i64::MAX]).collect();
        let (runs, single) = split(&ids);
        assert_eq!(runs, [(100, 10_099), (10_100, 20_099), (20_100, 24_999)]);
        assert_eq!(single, [1, 5, 7, i64::MAX]);
    }

    #[test]
    fn a_name_can_not_leave_its_quotes() {
        let query = Query::new(DatabaseBackend::Postgres, "a\"b", &[Column::text("c")], &[]);
        assert!(query.select.ends_with("FROM \"a\"\"b\""), "{}", query.select);
    }
}

//! The statements of counting. Every value is a bound parameter; what is pasted are our own names.
//!
//! One statement writes a whole batch, so that it is atomic without a transaction around it, on all
//! databases. Each row adds to what is there (several daemons may share it) and starts a window that is
//! newer at zero. The writer's own row goes with each batch and counts them: it has room for one, `exceeded` says when
//! that is passed, and a CHECK refuses it, and the whole batch with it. So a batch that is sent again because the
//! answer to it was lost is not added twice. (Limits of accounts are not held here: see `journal`.)
//!
//! A server prepares a text once and knows it again. So the text does not change with each number of rows:
//! PostgreSQL gets its columns as arrays, the others get lengths from a short list.

use sea_orm::sea_query::ArrayType;
use sea_orm::{DatabaseBackend, DbErr, QueryResult, Statement, Value};

use super::counter::{FUTURE_SECONDS, UNLIMITED, WINDOWS};
use super::rows::{Batch, Row, stored_name};

/// The table. `migrations` makes it.
pub const TABLE: &str = "valvula_counter";
/// Kind of the writers' own rows.
const WRITER: u8 = 255;
/// How long a writer's own row is of use: longer than any batch is in doubt.
const WRITER_SECONDS: i64 = 86_400;

const NAMES: [&str; WINDOWS] = ["minute", "hour", "run"];
/// The columns of [`values`], in their order.
const COLUMNS: &str = "store, kind, name, minute_from, minute_used, minute_cap, hour_from, hour_used, hour_cap, \
                       run_from, run_used, run_cap, closes";
/// The same as places of a row, and `exceeded`.
const PLACES: &str = "(?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, 0)";
/// The same as PostgreSQL's arrays.
const UNNEST: &str = "UNNEST($1::bytea[], $2::smallint[], $3::bytea[], $4::bigint[], $5::bigint[], $6::bigint[], \
                      $7::bigint[], $8::bigint[], $9::bigint[], $10::bigint[], $11::bigint[], $12::bigint[], \
                      $13::bigint[])";

/// A counter as it is stored.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Stored {
    /// Kind.
    pub kind: u8,
    /// The stored name.
    pub name: Vec<u8>,
    /// By window: when it began, and what is used of it.
    pub windows: [(i64, i64); WINDOWS],
    /// When the last of them closes.
    pub closes: i64,
}

/// Writes statements for one database and one store.
#[derive(Debug, Clone)]
pub struct Sql {
    pub(super) backend: DatabaseBackend,
    pub(super) store: Vec<u8>,
    /// The name of the writer's own row.
    pub(super) writer: Vec<u8>,
    /// The end of each batch's statement, which is long and always the same.
    on_conflict: std::sync::Arc<str>,
    /// The same where no row closes later than is stored.
    on_conflict_no_longer: std::sync::Arc<str>,
}

impl Sql {
    /// Statements for the counters of `store`, written by `writer` (unlike any other in the world).
    pub fn new(backend: DatabaseBackend, store: &str, writer: &str) -> Self {
        let writer = format!("{store}\n{writer}").into_bytes();
        let store = store_name(store);
        // SQLite writes a row's place in the index of `closes` again although that is the same. Servers do not: one
        // text for them.
        let is_sqlite = backend == DatabaseBackend::Sqlite;
        let [on_conflict, on_conflict_no_longer] = [true, !is_sqlite].map(|closes| on_conflict(backend, closes).into());
        Self { backend, store, writer, on_conflict, on_conflict_no_longer }
    }

    /// Adds `batch`, or nothing of it. The writer's own row closes at `own_closes`, which is later than stored if it
    /// `is_longer`.
    pub fn add(&self, batch: &Batch, own_closes: i64, is_longer: bool) -> Statement {
        // Each batch is a window of its own that has room for one.
        let own = Row { is_longer, ..writer_row(&self.writer, batch.sequence, 1, own_closes) };
        let mut rows: Vec<_> = batch.rows.iter().map(|row| (self.store.as_slice(), row)).collect();
        rows.push((b"", &own));
        self.upsert(rows)
    }

    /// Adds `rows` and notes the last batches of `writers`, in the transaction that moves the journal's head.
    pub(super) fn fold(&self, rows: &[Row], writers: &[(Vec<u8>, i64)], own_closes: i64) -> Statement {
        let noted: Vec<_> =
            writers.iter().map(|(writer, sequence)| writer_row(writer, *sequence, 0, own_closes)).collect();
        let rows = rows.iter().map(|row| (self.store.as_slice(), row));
        self.upsert(rows.chain(noted.iter().map(|row| (&b""[..], row))).collect())
    }

    /// Adds `rows`, of a store each. There is at least one.
    fn upsert(&self, rows: Vec<(&[u8], &Row)>) -> Statement {
        let is_longer = rows.iter().any(|(_, row)| row.is_longer);
        let on_conflict = if is_longer { &self.on_conflict } else { &self.on_conflict_no_longer };
        let head = format!("INSERT INTO {TABLE} ({COLUMNS}, exceeded) ");
        if self.backend == DatabaseBackend::Postgres {
            let sql = format!("{head}SELECT *, 0 FROM {UNNEST}{on_conflict}");
            return Statement::from_sql_and_values(self.backend, sql, columns(&rows));
        }
        // Adding nothing to the last row fills the statement up to a usual length.
        let nothing = rows.last().map(|(store, row)| {
            let windows = row.windows.map(|(from, _)| (from, 0));
            (*store, Row { windows, caps: [UNLIMITED; WINDOWS], ..(*row).clone() })
        });
        let length = usual_length(rows.len());
        let filled = nothing.iter().cycle().take(length - rows.len()).map(|(store, row)| (*store, row));
        let mut sql = head + "VALUES ";
        sql.push_str(&vec![PLACES; length].join(", "));
        sql.push_str(on_conflict);
        let values = rows.iter().copied().chain(filled).flat_map(|(store, row)| values(store, row));
        Statement::from_sql_and_values(self.backend, sql, values)
    }

    /// The number of this writer's last batch that was written. `lock`: waits on a server for one that is
    /// on its way.
    pub fn last_written(&self, lock: bool) -> Statement {
        let mut sql = format!("SELECT run_from FROM {TABLE} WHERE store = ");
        let mut parameters = Parameters::new(self.backend, 3);
        parameters.push_bare(&mut sql, Vec::<u8>::new());
        sql.push_str(" AND kind = ");
        parameters.push_bare(&mut sql, i16::from(WRITER));
        sql.push_str(" AND name = ");
        parameters.push_bare(&mut sql, stored_name(&self.writer));
        if lock && self.backend != DatabaseBackend::Sqlite {
            sql.push_str(" FOR UPDATE");
        }
        Statement::from_sql_and_values(self.backend, sql, parameters.values)
    }

    /// The counters `keys` (kind, name in memory), locked until the transaction ends if so asked.
    pub fn read<'k>(&self, keys: impl Iterator<Item = (u8, &'k [u8])>, lock: bool) -> Statement {
        let mut keys: Vec<_> = keys.map(|(kind, name)| (kind, stored_name(name))).collect();
        keys.sort_unstable();
        let mut sql = self.select();
        let mut parameters = Parameters::new(self.backend, keys.len() + 4);
        parameters.push_bare(&mut sql, self.store.clone());
        sql.push_str(" AND (");
        for (position, of_kind) in keys.chunk_by(|a, b| a.0 == b.0).enumerate() {
            sql.push_str(if position == 0 { "(kind = " } else { " OR (kind = " });
            parameters.push_bare(&mut sql, i16::from(of_kind[0].0));
            sql.push_str(" AND name IN (");
            for (position, (_, name)) in of_kind.iter().enumerate() {
                sql.push_str(if position == 0 { "" } else { ", " });
                parameters.push_bare(&mut sql, name.clone());
            }
            sql.push_str("))");
        }
        sql.push_str(") ORDER BY kind, name");
        if lock && self.backend != DatabaseBackend::Sqlite {
            sql.push_str(" FOR UPDATE");
        }
        Statement::from_sql_and_values(self.backend, sql, parameters.values)
    }

    /// The next `limit` open counters after the key `after`.
    pub fn page(&self, after: Option<(u8, &[u8])>, now: i64, limit: u64) -> Statement {
        let mut sql = self.select();
        let mut parameters = Parameters::new(self.backend, 6);
        parameters.push_bare(&mut sql, self.store.clone());
        sql.push_str(" AND closes >= ");
        parameters.push_bare(&mut sql, now);
        if let Some((kind, name)) = after {
            sql.push_str(" AND (kind > ");
            parameters.push_bare(&mut sql, i16::from(kind));
            sql.push_str(" OR (kind = ");
            parameters.push_bare(&mut sql, i16::from(kind));
            sql.push_str(" AND name > ");
            parameters.push_bare(&mut sql, name.to_vec());
            sql.push_str("))");
        }
        sql.push_str(&format!(" ORDER BY kind, name LIMIT {limit}"));
        Statement::from_sql_and_values(self.backend, sql, parameters.values)
    }

    /// Removes some counters (of all stores) whose windows closed before `before`.
    pub fn remove_closed(&self, before: i64) -> Statement {
        const SOME: u32 = 1000;
        let mut sql = match self.backend {
            DatabaseBackend::MySql => format!("DELETE FROM {TABLE} WHERE closes < "),
            _ => format!(
                "DELETE FROM {TABLE} WHERE (store, kind, name) IN \
                 (SELECT store, kind, name FROM {TABLE} WHERE closes < "
            ),
        };
        let mut parameters = Parameters::new(self.backend, 2);
        parameters.push_bare(&mut sql, before);
        sql.push_str(&format!(" LIMIT {SOME}"));
        if self.backend != DatabaseBackend::MySql {
            // said again: another daemon may have charged it since it was selected
            sql.push_str(") AND closes < ");
            parameters.push_bare(&mut sql, before);
        }
        Statement::from_sql_and_values(self.backend, sql, parameters.values)
    }

    /// Sets the counters called `name`, of any kind, back to nothing used.
    pub fn reset(&self, name: &[u8]) -> Statement {
        let mut sql = format!("UPDATE {TABLE} SET minute_used = 0, hour_used = 0, run_used = 0 WHERE store = ");
        let mut parameters = Parameters::new(self.backend, 2);
        parameters.push_bare(&mut sql, self.store.clone());
        sql.push_str(" AND name = ");
        parameters.push_bare(&mut sql, stored_name(name));
        Statement::from_sql_and_values(self.backend, sql, parameters.values)
    }

    /// Sets back to nothing used the windows that begin after `now`: see [`super::counter::Tally::set_back`].
    pub fn set_back(&self, now: i64) -> Statement {
        let mut parameters = Parameters::new(self.backend, 16);
        let mut sql = format!("UPDATE {TABLE} SET ");
        let later = |sql: &mut String, parameters: &mut Parameters, name: &str| {
            sql.push_str(&format!("({name}_from > "));
            parameters.push_bare(sql, now);
            sql.push_str(&format!(" AND {name}_from <= "));
            parameters.push_bare(sql, now + FUTURE_SECONDS);
            sql.push(')');
        };
        for (position, name) in NAMES.into_iter().enumerate() {
            // MySQL assigns one after the other and sees what it assigned: `from` last.
            for (part, column) in ["used", "from"].into_iter().enumerate() {
                sql.push_str(if position + part == 0 { "" } else { ", " });
                sql.push_str(&format!("{name}_{column} = CASE WHEN "));
                later(&mut sql, &mut parameters, name);
                sql.push_str(&format!(" THEN 0 ELSE {name}_{column} END"));
            }
        }
        sql.push_str(" WHERE store = ");
        parameters.push_bare(&mut sql, self.store.clone());
        for (position, name) in NAMES.into_iter().enumerate() {
            sql.push_str(if position == 0 { " AND (" } else { " OR " });
            later(&mut sql, &mut parameters, name);
        }
        sql.push(')');
        Statement::from_sql_and_values(self.backend, sql, parameters.values)
    }

    fn select(&self) -> String {
        let columns: Vec<_> = NAMES.iter().map(|name| format!("{name}_from, {name}_used")).collect();
        format!("SELECT kind, name, {}, closes FROM {TABLE} WHERE store = ", columns.join(", "))
    }
}

/// The own row of `writer`: its last batch, and `room` taken of what that has.
fn writer_row(writer: &[u8], sequence: i64, room: i64, closes: i64) -> Row {
    let windows = [(0, 0), (0, 0), (sequence, room)];
    let row = Row::added(WRITER, writer.into(), windows, closes);
    // What stands there already may close earlier: within a day each writer says so itself.
    Row { caps: [UNLIMITED, UNLIMITED, 1], is_longer: false, ..row }
}

/// A row's values.
fn values(store: &[u8], row: &Row) -> [Value; 13] {
    let [minute, hour, run] = row.windows;
    let [minute_cap, hour_cap, run_cap] = row.caps;
    [
        store.to_vec().into(),
        i16::from(row.kind).into(),
        stored_name(&row.name).into(),
        minute.0.into(),
        minute.1.into(),
        minute_cap.into(),
        hour.0.into(),
        hour.1.into(),
        hour_cap.into(),
        run.0.into(),
        run.1.into(),
        run_cap.into(),
        row.closes.into(),
    ]
}

/// The values of all rows, an array for each column.
fn columns(rows: &[(&[u8], &Row)]) -> Vec<Value> {
    let mut columns: [Vec<Value>; 13] = std::array::from_fn(|_| Vec::with_capacity(rows.len()));
    for (store, row) in rows {
        for (column, value) in columns.iter_mut().zip(values(store, row)) {
            column.push(value);
        }
    }
    let kinds = [ArrayType::Bytes, ArrayType::SmallInt, ArrayType::Bytes].into_iter();
    let kinds = kinds.chain(std::iter::repeat(ArrayType::BigInt));
    columns.into_iter().zip(kinds).map(|(column, kind)| Value::Array(kind, Some(Box::new(column)))).collect()
}

/// The next greater number of rows that statements have: 36 numbers up to 2,048, so that a connection keeps them all.
fn usual_length(rows: usize) -> usize {
    rows.next_multiple_of(match rows {
        0..=1 => 1,
        2..=64 => 4,
        65..=256 => 16,
        _ => 256,
    })
}

/// When the own row of a writer that writes at `now` closes; the same for an hour.
pub(super) fn own_closes(now: i64) -> i64 {
    const HOUR: i64 = 3600;
    now - now.rem_euclid(HOUR) + HOUR + WRITER_SECONDS
}

/// What becomes of a row that is there already; with `closes`, of when it closes too.
fn on_conflict(backend: DatabaseBackend, closes: bool) -> String {
    let is_mysql = backend == DatabaseBackend::MySql;
    let greatest = if backend == DatabaseBackend::Sqlite { "MAX" } else { "GREATEST" };
    let new = |column: &str| if is_mysql { format!("VALUES({column})") } else { format!("excluded.{column}") };
    let old = |column: &str| format!("{TABLE}.{column}");
    let holds = |name: &str| {
        let (old, new) = (old(&format!("{name}_from")), new(&format!("{name}_from")));
        format!("{old} BETWEEN {new} AND {new} + {FUTURE_SECONDS}")
    };
    let sum = |name: &str| {
        let used = format!("{name}_used");
        format!("{greatest}(0, {greatest}(0, {}) + {})", old(&used), new(&used))
    };
    // What is hardly ever so comes early: the rest is not looked at then. Nothing is added to what stands in a window
    // that has closed: whatever that is, it must not be too much for the type. MySQL assigns one after the other and
    // sees what it assigned: `used` needs the old `from`.
    let exceeded: Vec<_> = NAMES
        .iter()
        .map(|name| {
            let (used, cap) = (format!("{name}_used"), new(&format!("{name}_cap")));
            let (old, new) = (old(&used), new(&used));
            format!("({new} > 0 AND {greatest}(0, {old}) > {cap} - {new} AND {})", holds(name))
        })
        .collect();
    let mut set = vec![format!("exceeded = CASE WHEN {} THEN 1 ELSE 0 END", exceeded.join(" OR "))];
    for name in NAMES {
        let (from, used) = (format!("{name}_from"), format!("{name}_used"));
        set.push(format!("{used} = CASE WHEN {} THEN {} ELSE {} END", holds(name), sum(name), new(&used)));
        set.push(format!("{from} = CASE WHEN {} THEN {} ELSE {} END", holds(name), old(&from), new(&from)));
    }
    if closes {
        set.push(format!("closes = {greatest}({}, {})", old("closes"), new("closes")));
    }
    let head = if is_mysql { " ON DUPLICATE KEY UPDATE " } else { " ON CONFLICT (store, kind, name) DO UPDATE SET " };
    format!("{head}{}", set.join(", "))
}

/// A store's name as it is stored: module names are short, a monster is cut by [`stored_name`].
fn store_name(store: &str) -> Vec<u8> {
    stored_name(store.as_bytes())
}

/// Reads a row of [`Sql::read`] or [`Sql::page`].
///
/// # Errors
/// When the table's columns are not as `migrations` makes them.
pub fn stored(row: &QueryResult) -> Result<Stored, DbErr> {
    let mut windows = [(0, 0); WINDOWS];
    for (window, index) in windows.iter_mut().zip((2..).step_by(2)) {
        *window = (row.try_get_by_index(index)?, row.try_get_by_index(index + 1)?);
    }
    let kind: i16 = row.try_get_by_index(0)?;
    Ok(Stored {
        kind: u8::try_from(kind).map_err(|_| DbErr::Custom(format!("{TABLE}: kind {kind} is not known")))?,
        name: row.try_get_by_index(1)?,
        windows,
        closes: row.try_get_by_index(8)?,
    })
}

/// Bound parameters, and their places in the statement.
pub(super) struct Parameters {
    backend: DatabaseBackend,
    pub(super) values: Vec<Value>,
}

impl Parameters {
    pub(super) fn new(backend: DatabaseBackend, capacity: usize) -> Self {
        Self { backend, values: Vec::with_capacity(capacity) }
    }

    /// A place for `value`.
    pub(super) fn push_bare(&mut self, sql: &mut String, value: impl Into<Value>) {
        self.values.push(value.into());
        match self.backend {
            DatabaseBackend::Postgres => {
                sql.push('$');
                sql.push_str(&self.values.len().to_string());
            }
            _ => sql.push('?'),
        }
    }
}

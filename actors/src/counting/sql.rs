//! The statements of counting. Every value is a bound parameter; what is pasted are our own names.
//!
//! One statement writes a whole batch, so that it is atomic without a transaction around it, on all
//! databases. Each row adds to what is there (several daemons may share it), starts a window that is
//! newer at zero, and sets `exceeded` when a limit would be passed, which a CHECK refuses: then nothing
//! of the batch was written. The writer's own row goes with each batch and counts them: a batch that is
//! sent again because the answer to it was lost is refused by the same CHECK.

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
    backend: DatabaseBackend,
    store: Vec<u8>,
    writer: Vec<u8>,
    /// The end of each batch's statement, which is long and always the same.
    on_conflict: std::sync::Arc<str>,
}

impl Sql {
    /// Statements for the counters of `store`, written by `writer` (unlike any other in the world).
    pub fn new(backend: DatabaseBackend, store: &str, writer: &str) -> Self {
        let writer = format!("{store}\n{writer}").into_bytes();
        Self { backend, store: store_name(store), writer, on_conflict: on_conflict(backend).into() }
    }

    /// Adds `batch`, or nothing of it.
    pub fn add(&self, batch: &Batch, now: i64) -> Statement {
        let count = batch.rows.len() + 1;
        let mut sql = format!("INSERT INTO {TABLE} (store, kind, name");
        for name in NAMES {
            sql.push_str(&format!(", {name}_from, {name}_used, {name}_cap"));
        }
        sql.push_str(", closes, exceeded) VALUES ");
        let mut parameters = Parameters::new(self.backend, count * 13);
        let mut add_row = |store: &[u8], row: &Row| {
            sql.push_str(if parameters.values.is_empty() { "(" } else { ", (" });
            parameters.push(&mut sql, store.to_vec());
            parameters.push(&mut sql, i16::from(row.kind));
            parameters.push(&mut sql, stored_name(&row.name));
            for ((from, change), cap) in row.windows.iter().zip(row.caps) {
                parameters.push(&mut sql, *from);
                parameters.push(&mut sql, *change);
                parameters.push(&mut sql, cap);
            }
            parameters.push(&mut sql, row.closes);
            sql.push_str("0)");
        };
        for row in &batch.rows {
            add_row(&self.store, row);
        }
        let own = Row {
            kind: WRITER,
            name: self.writer.as_slice().into(),
            // Each batch is a window of its own that has room for one.
            windows: [(0, 0), (0, 0), (batch.sequence, 1)],
            caps: [UNLIMITED, UNLIMITED, 1],
            closes: now + WRITER_SECONDS,
        };
        add_row(b"", &own);
        sql.push_str(&self.on_conflict);
        Statement::from_sql_and_values(self.backend, sql, parameters.values)
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

    fn select(&self) -> String {
        let columns: Vec<_> = NAMES.iter().map(|name| format!("{name}_from, {name}_used")).collect();
        format!("SELECT kind, name, {}, closes FROM {TABLE} WHERE store = ", columns.join(", "))
    }
}

/// What becomes of a row that is there already.
fn on_conflict(backend: DatabaseBackend) -> String {
    let is_mysql = backend == DatabaseBackend::MySql;
    let greatest = if backend == DatabaseBackend::Sqlite { "MAX" } else { "GREATEST" };
    let new = |column: &str| if is_mysql { format!("VALUES({column})") } else { format!("excluded.{column}") };
    let old = |column: &str| format!("{TABLE}.{column}");
    let holds = |name: &str| {
        let (old, new) = (old(&format!("{name}_from")), new(&format!("{name}_from")));
        format!("{old} >= {new} AND {old} <= {new} + {FUTURE_SECONDS}")
    };
    let sum = |name: &str| {
        let used = format!("{name}_used");
        format!("{greatest}(0, {greatest}(0, {}) + {})", old(&used), new(&used))
    };
    // MySQL assigns one after the other and sees what it assigned: `used` needs the old `from`.
    let exceeded: Vec<_> = NAMES
        .iter()
        .map(|name| {
            let (used, cap) = (new(&format!("{name}_used")), new(&format!("{name}_cap")));
            format!("({used} > 0 AND {} AND {} > {cap})", holds(name), sum(name))
        })
        .collect();
    let mut set = vec![format!("exceeded = CASE WHEN {} THEN 1 ELSE 0 END", exceeded.join(" OR "))];
    for name in NAMES {
        let (from, used, cap) = (format!("{name}_from"), format!("{name}_used"), format!("{name}_cap"));
        set.push(format!("{used} = CASE WHEN {} THEN {} ELSE {} END", holds(name), sum(name), new(&used)));
        set.push(format!("{from} = CASE WHEN {} THEN {} ELSE {} END", holds(name), old(&from), new(&from)));
        set.push(format!("{cap} = {}", new(&cap)));
    }
    set.push(format!("closes = {greatest}({}, {})", old("closes"), new("closes")));
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

    /// A place for `value`, and a comma.
    fn push(&mut self, sql: &mut String, value: impl Into<Value>) {
        self.push_bare(sql, value);
        sql.push_str(", ");
    }
}

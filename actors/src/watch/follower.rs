//! What a module writes to have a table followed: how a row is read, and what becomes of the rows.

use sea_orm::{DatabaseBackend, QueryResult};

/// A column that a follower reads. Every value is converted by the database to the kind asked for, so
/// that a table made by somebody else, with other types, reads the same.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Column {
    name: &'static str,
    kind: Kind,
    is_optional: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    Text,
    Integer,
}

impl Column {
    /// A column read with [`Row::text`].
    pub const fn text(name: &'static str) -> Self {
        Self { name, kind: Kind::Text, is_optional: false }
    }

    /// A column read with [`Row::integer`].
    pub const fn integer(name: &'static str) -> Self {
        Self { name, kind: Kind::Integer, is_optional: false }
    }

    /// The same, but a table that has no such column can be followed all the same: it reads as NULL then. Not
    /// for tables that are charged: their triggers name the columns.
    pub const fn optional(self) -> Self {
        Self { is_optional: true, ..self }
    }

    /// Whether a table may lack it.
    pub(super) fn is_optional(&self) -> bool {
        self.is_optional
    }

    /// What the database is asked for where the table lacks it.
    pub(super) fn absent(&self, backend: DatabaseBackend) -> &'static str {
        match (backend, self.kind) {
            (DatabaseBackend::Postgres, Kind::Text) => "CAST(NULL AS TEXT)",
            (DatabaseBackend::Postgres, Kind::Integer) => "CAST(NULL AS BIGINT)",
            _ => "NULL",
        }
    }

    /// Its name.
    pub fn name(&self) -> &'static str {
        self.name
    }

    /// What the database is asked for.
    pub(super) fn expression(&self, backend: DatabaseBackend) -> String {
        let name = quote(backend, self.name);
        match (backend, self.kind) {
            (DatabaseBackend::Sqlite | DatabaseBackend::Postgres, Kind::Text) => format!("CAST({name} AS TEXT)"),
            (_, Kind::Text) => format!("CAST({name} AS CHAR)"),
            // SQLite's CAST would make 0 of any text: the value itself shows that it is none.
            (DatabaseBackend::Sqlite, Kind::Integer) => name,
            (DatabaseBackend::Postgres, Kind::Integer) => format!("CAST({name} AS BIGINT)"),
            (_, Kind::Integer) => format!("CAST({name} AS SIGNED)"),
        }
    }
}

/// `name` as an identifier. Names come from modules, never from requests or rows.
pub(super) fn quote(backend: DatabaseBackend, name: &str) -> String {
    match backend {
        DatabaseBackend::MySql => format!("`{}`", name.replace('`', "``")),
        _ => format!("\"{}\"", name.replace('"', "\"\"")),
    }
}

/// One row on its way to be read.
pub struct Row<'r> {
    pub(super) id: i64,
    pub(super) columns: &'r [Column],
    /// `id`, then the columns in their order.
    pub(super) result: &'r QueryResult,
}

impl Row<'_> {
    /// The row's `id`.
    pub fn id(&self) -> i64 {
        self.id
    }

    /// The text in `column`; `None` for NULL.
    ///
    /// # Errors
    /// When it is not text that can be read (bytes that are not UTF-8).
    pub fn text(&self, column: &str) -> Result<Option<String>, BadRow> {
        self.value(column, "text in UTF-8")
    }

    /// The whole number in `column`; `None` for NULL.
    ///
    /// # Errors
    /// When it is not a whole number.
    pub fn integer(&self, column: &str) -> Result<Option<i64>, BadRow> {
        self.value(column, "a whole number")
    }

    fn value<T: sea_orm::TryGetable>(&self, column: &str, what: &str) -> Result<Option<T>, BadRow> {
        let position = self
            .columns
            .iter()
            .position(|known| known.name == column)
            .unwrap_or_else(|| panic!("the column {column} is not among the follower's columns"));
        self.result.try_get_by_index(position + 1).map_err(|_| BadRow::new(format!("column {column} is not {what}")))
    }
}

/// A row that can't be used: it is passed over, and reported once with its table and id.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct BadRow(String);

impl BadRow {
    /// Says what is wrong with it.
    pub fn new(why: impl Into<String>) -> Self {
        Self(why.into())
    }
}

/// What happened to one row.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Change<R> {
    /// The row is new, or has changed: this is how it is now.
    Is(i64, R),
    /// The row is gone (or has become one that can't be used). It may never have been there.
    Gone(i64),
}

impl<R> Change<R> {
    /// The row's `id`.
    pub fn id(&self) -> i64 {
        match self {
            Self::Is(id, _) | Self::Gone(id) => *id,
        }
    }
}

/// All rows of a table, by ascending `id`, as they come from the database.
pub type Rows<'r, R> = dyn Iterator<Item = (i64, R)> + 'r;

/// How a module follows one table.
///
/// Its methods are called one at a time, on a thread of the system where they may take their time; the
/// workers never wait for them. What they make is published by the follower itself, for example by
/// swapping an `ArcSwap` that its module reads.
pub trait Follower: Send + 'static {
    /// A row as the module keeps it.
    type Row: Send + 'static;
    /// What [`Follower::load`] makes of all rows.
    type Loaded: Send + 'static;

    /// The table. It has an integer primary key `id`.
    fn table(&self) -> &'static str;

    /// The columns to read, without `id`.
    fn columns(&self) -> &'static [Column];

    /// Whether rows are written all the time in columns that are not read here, as counters are: then only
    /// a change of the columns that are read is noted, and writing the others costs no note.
    fn is_charged(&self) -> bool {
        false
    }

    /// Makes of a row what the module keeps.
    ///
    /// # Errors
    /// When the row can't be used: it is passed over (it is as if it were not there) and logged once.
    fn read(&self, row: &Row<'_>) -> Result<Self::Row, BadRow>;

    /// Builds a whole new state of all rows, which come by ascending `id`.
    ///
    /// The iterator also ends when the database went away in the middle; then what was built is dropped
    /// and the state as it was goes on serving. So nothing may be published here.
    fn load(&self, rows: &mut Rows<'_, Self::Row>) -> Self::Loaded;

    /// Publishes what was loaded in place of what was there before.
    fn replace(&mut self, loaded: Self::Loaded);

    /// Applies changes to the state that is there: each id once, in no order. After a bulk change these
    /// may be many thousands.
    fn apply(&mut self, changes: Vec<Change<Self::Row>>);
}

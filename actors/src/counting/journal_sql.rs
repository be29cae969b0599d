//! The statements of the journal. What stands in which place is decided by the statement itself, so that of two
//! daemons one succeeds.

use std::ops::Range;

use sea_orm::{DatabaseBackend, DbErr, QueryResult, Statement, Value};

use super::entry::decode;
use super::journal::{Entry, SLOTS};
use super::rows::stored_name;
use super::sql::{Parameters, Sql};

/// The table. `migrations` makes it.
const JOURNAL: &str = "valvula_journal";
/// The place that holds up to which number entries are folded.
const HEAD: i64 = -1;
/// The columns of [`Sql::place`].
const COLUMNS: &str = "store, slot, number, writer, sequence, batch";

/// Who stands in a place of the journal.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Holder {
    pub(super) number: i64,
    writer: Vec<u8>,
    sequence: i64,
}

impl Sql {
    /// Puts entry `number` over the one that stood in its place a round before: one row is changed, or none.
    pub(super) fn append(&self, number: i64, sequence: i64, batch: Vec<u8>) -> Statement {
        let mut parameters = Parameters::new(self.backend, 7);
        let mut sql = format!("UPDATE {JOURNAL} SET number = ");
        parameters.push_bare(&mut sql, number);
        sql.push_str(", writer = ");
        parameters.push_bare(&mut sql, stored_name(&self.writer));
        sql.push_str(", sequence = ");
        parameters.push_bare(&mut sql, sequence);
        sql.push_str(", batch = ");
        parameters.push_bare(&mut sql, batch);
        self.push_place(&mut sql, &mut parameters, place_of(number));
        sql.push_str(" AND number = ");
        parameters.push_bare(&mut sql, number - SLOTS);
        Statement::from_sql_and_values(self.backend, sql, parameters.values)
    }

    /// The same where nothing stands.
    pub(super) fn append_first(&self, number: i64, sequence: i64, batch: Vec<u8>) -> Statement {
        self.place(place_of(number), number, sequence, batch)
    }

    /// Makes the places that are not there, as if entry `last` and those before it had stood
    /// there; `places` counts back from it.
    pub(super) fn make_places(&self, last: i64, places: Range<i64>) -> Statement {
        let mut sql = format!("INSERT INTO {JOURNAL} ({COLUMNS}) VALUES ");
        let mut parameters = Parameters::new(self.backend, 6 * places.clone().count());
        for (position, back) in places.enumerate() {
            let number = last - back;
            sql.push_str(if position == 0 { "(" } else { "), (" });
            for (position, value) in self.values(place_of(number), number, 0, Vec::new()).into_iter().enumerate() {
                sql.push_str(if position == 0 { "" } else { ", " });
                parameters.push_bare(&mut sql, value);
            }
        }
        sql.push(')');
        sql.push_str(match self.backend {
            DatabaseBackend::MySql => " ON DUPLICATE KEY UPDATE slot = VALUES(slot)",
            _ => " ON CONFLICT (store, slot) DO NOTHING",
        });
        Statement::from_sql_and_values(self.backend, sql, parameters.values)
    }

    /// What stands where entry `number` would; on a server nobody else can put anything there before the transaction
    /// ends.
    pub(super) fn lock(&self, number: i64) -> Statement {
        let mut sql = format!("SELECT number, writer, sequence, batch FROM {JOURNAL}");
        let mut parameters = Parameters::new(self.backend, 2);
        self.push_place(&mut sql, &mut parameters, place_of(number));
        if self.backend != DatabaseBackend::Sqlite {
            sql.push_str(" FOR UPDATE");
        }
        Statement::from_sql_and_values(self.backend, sql, parameters.values)
    }

    /// Makes the head, if there is none: entries up to `number` are folded.
    pub(super) fn make_head(&self, number: i64) -> Statement {
        self.place(HEAD, number, 0, Vec::new())
    }

    /// Up to which number entries are folded.
    pub(super) fn head(&self) -> Statement {
        let mut sql = format!("SELECT number FROM {JOURNAL}");
        let mut parameters = Parameters::new(self.backend, 2);
        self.push_place(&mut sql, &mut parameters, HEAD);
        Statement::from_sql_and_values(self.backend, sql, parameters.values)
    }

    /// Notes that entries are folded up to `to`, if they were up to `from`: one row is changed, or none.
    pub(super) fn move_head(&self, from: i64, to: i64) -> Statement {
        let mut sql = format!("UPDATE {JOURNAL} SET number = ");
        let mut parameters = Parameters::new(self.backend, 4);
        parameters.push_bare(&mut sql, to);
        self.push_place(&mut sql, &mut parameters, HEAD);
        sql.push_str(" AND number = ");
        parameters.push_bare(&mut sql, from);
        Statement::from_sql_and_values(self.backend, sql, parameters.values)
    }

    /// The greatest number of all entries; NULL: there are none.
    pub(super) fn last_entry(&self) -> Statement {
        let mut sql = format!("SELECT MAX(number) FROM {JOURNAL} WHERE store = ");
        let mut parameters = Parameters::new(self.backend, 2);
        parameters.push_bare(&mut sql, self.store.clone());
        sql.push_str(" AND slot <> ");
        parameters.push_bare(&mut sql, HEAD);
        Statement::from_sql_and_values(self.backend, sql, parameters.values)
    }

    /// Who stands where entry `number` would.
    pub(super) fn holder(&self, number: i64) -> Statement {
        let mut sql = format!("SELECT number, writer, sequence FROM {JOURNAL}");
        let mut parameters = Parameters::new(self.backend, 2);
        self.push_place(&mut sql, &mut parameters, place_of(number));
        Statement::from_sql_and_values(self.backend, sql, parameters.values)
    }

    /// Entry `number` and those behind it, of at most `most` places, not beyond the ring's end: those not older than
    /// `number`, in the order of places. How many places that are.
    pub(super) fn entries(&self, number: i64, most: i64) -> (Statement, i64) {
        let first = place_of(number);
        let count = most.min(SLOTS - first);
        let mut sql = format!("SELECT number, writer, sequence, batch FROM {JOURNAL} WHERE store = ");
        let mut parameters = Parameters::new(self.backend, 4);
        parameters.push_bare(&mut sql, self.store.clone());
        sql.push_str(" AND slot >= ");
        parameters.push_bare(&mut sql, first);
        sql.push_str(" AND slot < ");
        parameters.push_bare(&mut sql, first + count);
        sql.push_str(" AND number >= ");
        parameters.push_bare(&mut sql, number);
        sql.push_str(" ORDER BY slot");
        (Statement::from_sql_and_values(self.backend, sql, parameters.values), count)
    }

    /// Whether `holder` is this writer's batch `sequence`.
    pub(super) fn is_own(&self, holder: &Holder, sequence: i64) -> bool {
        holder.sequence == sequence && holder.writer == stored_name(&self.writer)
    }

    /// The values of [`COLUMNS`].
    fn values(&self, slot: i64, number: i64, sequence: i64, batch: Vec<u8>) -> [Value; 6] {
        let writer = stored_name(&self.writer);
        [self.store.clone().into(), slot.into(), number.into(), writer.into(), sequence.into(), batch.into()]
    }

    fn place(&self, slot: i64, number: i64, sequence: i64, batch: Vec<u8>) -> Statement {
        let values = self.values(slot, number, sequence, batch);
        let mut sql = format!("INSERT INTO {JOURNAL} ({COLUMNS}) VALUES (");
        let mut parameters = Parameters::new(self.backend, values.len());
        for (position, value) in values.into_iter().enumerate() {
            sql.push_str(if position == 0 { "" } else { ", " });
            parameters.push_bare(&mut sql, value);
        }
        sql.push(')');
        // There it is an error, which every server of that kind knows; IGNORE would swallow others too.
        if self.backend != DatabaseBackend::MySql {
            sql.push_str(" ON CONFLICT (store, slot) DO NOTHING");
        }
        Statement::from_sql_and_values(self.backend, sql, parameters.values)
    }

    fn push_place(&self, sql: &mut String, parameters: &mut Parameters, slot: i64) {
        sql.push_str(" WHERE store = ");
        parameters.push_bare(sql, self.store.clone());
        sql.push_str(" AND slot = ");
        parameters.push_bare(sql, slot);
    }
}

fn place_of(number: i64) -> i64 {
    number.rem_euclid(SLOTS)
}

/// Reads a row of [`Sql::holder`].
///
/// # Errors
/// When the table's columns are not as `migrations` makes them.
pub(super) fn holder(row: &QueryResult) -> Result<Holder, DbErr> {
    Ok(Holder {
        number: row.try_get_by_index(0)?,
        writer: row.try_get_by_index(1)?,
        sequence: row.try_get_by_index(2)?,
    })
}

/// Reads a row of [`Sql::entries`].
///
/// # Errors
/// When the table's columns are not as `migrations` makes them, or the entry can't be read.
pub(super) fn entry(row: &QueryResult) -> Result<Entry, DbErr> {
    let Holder { number, writer, sequence } = holder(row)?;
    let batch: Vec<u8> = row.try_get_by_index(3)?;
    Ok(Entry { number, writer, sequence, rows: decode(number, &batch)? })
}

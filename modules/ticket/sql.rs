//! The statements of tickets. Every value is a bound parameter.
//!
//! Columns are converted as they are read: a table made by somebody else may have other types.

use jiff::civil::Date;
use sea_orm::{DatabaseBackend, DbErr, QueryResult, Statement, Value};

use super::day;
use super::row::{Ticket, limit, valid_until};

/// What is added to a ticket's counters (negative: given back).
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Delta {
    /// To `total_used`, `current_day_usage`, `current_month_usage`.
    pub counts: [i64; 3],
}

impl Delta {
    /// Whether nothing is added.
    pub fn is_zero(&self) -> bool {
        self.counts == [0; 3]
    }

    /// Adds another.
    pub fn add(&mut self, other: [i64; 3]) {
        self.counts.iter_mut().zip(other).for_each(|(sum, count)| *sum += count);
    }
}

const COUNTERS: [&str; 3] = ["total_used", "current_day_usage", "current_month_usage"];

/// Writes statements for one kind of database.
#[derive(Debug, Clone, Copy)]
pub struct Sql(pub DatabaseBackend);

struct Writing {
    backend: DatabaseBackend,
    sql: String,
    values: Vec<Value>,
}

impl Writing {
    fn value(&mut self, value: impl Into<Value>) {
        self.values.push(value.into());
        match self.backend {
            DatabaseBackend::Postgres => self.sql.push_str(&format!("${}", self.values.len())),
            _ => self.sql.push('?'),
        }
    }

    fn done(self) -> Statement {
        Statement::from_sql_and_values(self.backend, self.sql, self.values)
    }
}

/// Statements of few lengths, so that the database keeps them prepared.
fn padded(count: usize) -> usize {
    count.next_power_of_two()
}

impl Sql {
    fn writing(self, sql: impl Into<String>) -> Writing {
        Writing { backend: self.0, sql: sql.into(), values: Vec::new() }
    }

    fn text(self, expression: &str) -> String {
        match self.0 {
            DatabaseBackend::MySql => format!("CAST({expression} AS CHAR)"),
            _ => format!("CAST({expression} AS TEXT)"),
        }
    }

    fn integer(self, expression: &str) -> String {
        match self.0 {
            DatabaseBackend::MySql => format!("CAST({expression} AS SIGNED)"),
            DatabaseBackend::Postgres => format!("CAST({expression} AS BIGINT)"),
            _ => format!("CAST({expression} AS INTEGER)"),
        }
    }

    fn lock(self, do_lock: bool) -> &'static str {
        if do_lock && self.0 != DatabaseBackend::Sqlite { " FOR UPDATE" } else { "" }
    }

    /// The tickets `ids`, locked until the transaction ends if so asked. Plans and ways out are read
    /// beside them and not locked: others may be writing them.
    pub fn tickets(self, ids: &[i64], do_lock: bool) -> Statement {
        let plan = |column: &str| {
            self.integer(&format!("(SELECT p.{column} FROM ticket_plan p WHERE p.id = t.ticket_plan_id)"))
        };
        let mut columns = vec![self.integer("t.id"), self.text("t.domain"), self.text("t.sasl_user")];
        columns.extend(COUNTERS.iter().map(|name| self.integer(&format!("t.{name}"))));
        columns.push(self.integer("t.valid_until"));
        columns.push(self.integer("t.block_ticket"));
        columns.extend(["total_limit", "day_limit", "month_limit"].map(plan));
        columns.push(self.text(
            "CASE WHEN t.has_outgoing_ip <> 0 THEN (SELECT o.transport FROM outgoing_ip o \
             WHERE o.id = t.outgoing_ip_id AND o.is_active <> 0) END",
        ));
        let mut writing = self.writing(format!("SELECT {} FROM domain_ticket t WHERE t.id IN (", columns.join(", ")));
        for position in 0..padded(ids.len()) {
            if position > 0 {
                writing.sql.push_str(", ");
            }
            writing.value(ids.get(position).or(ids.last()).copied().unwrap_or_default());
        }
        writing.sql.push_str(") ORDER BY t.id");
        writing.sql.push_str(self.lock(do_lock));
        writing.done()
    }

    /// Adds to the counters of tickets; NULL counters are 0, and none falls below.
    pub fn add(self, deltas: &[(i64, Delta)]) -> Statement {
        let mut rows = deltas.to_vec();
        rows.resize(padded(rows.len()), (-1, Delta::default()));
        let greatest = if self.0 == DatabaseBackend::Sqlite { "MAX" } else { "GREATEST" };
        let set = |prefix: &str| {
            let sets = COUNTERS.iter().zip(["total", "day", "month"]).map(|(name, delta)| {
                format!("{prefix}{name} = {greatest}(0, COALESCE(t.{name}, 0) + d.{delta}_delta)")
            });
            sets.collect::<Vec<_>>().join(", ")
        };
        let mut writing = match self.0 {
            DatabaseBackend::MySql => self.writing("UPDATE domain_ticket t JOIN ("),
            _ => self.writing("WITH d (ticket, total_delta, day_delta, month_delta) AS (VALUES "),
        };
        for (position, (id, delta)) in rows.iter().enumerate() {
            let names = ["ticket", "total_delta", "day_delta", "month_delta"];
            match (self.0, position) {
                (DatabaseBackend::MySql, 0) => writing.sql.push_str("SELECT "),
                (DatabaseBackend::MySql, _) => writing.sql.push_str(" UNION ALL SELECT "),
                (_, 0) => writing.sql.push('('),
                (_, _) => writing.sql.push_str(", ("),
            }
            for (column, value) in [*id].into_iter().chain(delta.counts).enumerate() {
                if column > 0 {
                    writing.sql.push_str(", ");
                }
                writing.value(value);
                if self.0 == DatabaseBackend::MySql && position == 0 {
                    writing.sql.push_str(&format!(" AS {}", names[column]));
                }
            }
            if self.0 != DatabaseBackend::MySql {
                writing.sql.push(')');
            }
        }
        writing.sql.push_str(&match self.0 {
            DatabaseBackend::MySql => format!(") d ON t.id = d.ticket SET {}", set("t.")),
            _ => format!(") UPDATE domain_ticket AS t SET {} FROM d WHERE t.id = d.ticket", set("")),
        });
        writing.done()
    }

    /// The day and month handled last.
    pub fn tracked(self) -> Statement {
        let (day, month) = (self.integer("day"), self.integer("month"));
        let lock = self.lock(true);
        self.writing(format!("SELECT {day}, {month} FROM time_tracking{lock}")).done()
    }

    /// Notes that `today` is handled, in the row there is or in a new one.
    pub fn track(self, today: Date, is_new: bool) -> Statement {
        let mut writing = self.writing(if is_new {
            "INSERT INTO time_tracking (day, month) VALUES ("
        } else {
            "UPDATE time_tracking SET day = "
        });
        writing.value(i32::from(today.day()));
        writing.sql.push_str(if is_new { ", " } else { ", month = " });
        writing.value(i32::from(today.month()));
        writing.sql.push_str(if is_new { ")" } else { "" });
        writing.done()
    }

    /// Closes the day: history rows for what was used, counters back to 0. The same for the month.
    pub fn close(self, change: day::Change) -> Vec<Statement> {
        let day = Some((change.day_end, "domain_ticket_history", "day_usage", "current_day_usage"));
        let month = change
            .month_end
            .map(|end| (end, "domain_month_ticket_history", "month_usage", "current_month_usage"));
        let mut statements = Vec::new();
        for (end, history, usage, counter) in [day, month].into_iter().flatten() {
            if self.0 != DatabaseBackend::Sqlite {
                // What is charged meanwhile waits, and belongs to the new day.
                let lock = format!("SELECT id FROM domain_ticket WHERE {counter} > 0 ORDER BY id FOR UPDATE");
                statements.push(self.writing(lock).done());
            }
            let mut writing = self.writing(format!("INSERT INTO {history} (domain_ticket_id, stamp, {usage}) SELECT id, "));
            writing.value(end);
            if self.0 == DatabaseBackend::Postgres {
                // A parameter in a list of columns has no type of its own.
                writing.sql.push_str("::bigint");
            }
            writing.sql.push_str(&format!(", {counter} FROM domain_ticket WHERE {counter} > 0"));
            statements.push(writing.done());
            statements.push(self.writing(format!("UPDATE domain_ticket SET {counter} = 0 WHERE {counter} <> 0")).done());
        }
        statements
    }
}

/// Reads a row of [`Sql::tickets`].
///
/// # Errors
/// When a column is not what it should be.
pub fn ticket(row: &QueryResult) -> Result<Ticket, DbErr> {
    let integer = |index: usize| row.try_get_by_index::<Option<i64>>(index);
    let text = |index: usize| row.try_get_by_index::<Option<String>>(index);
    Ok(Ticket {
        id: integer(0)?.unwrap_or_default(),
        domain: text(1)?.unwrap_or_default(),
        sasl_user: text(2)?.unwrap_or_default(),
        used: [integer(3)?, integer(4)?, integer(5)?].map(|used| used.unwrap_or(0).max(0)),
        valid_until: valid_until(integer(6)?),
        is_blocked: integer(7)?.is_some_and(|block| block != 0),
        limits: [limit(integer(8)?), limit(integer(9)?), limit(integer(10)?)],
        transport: text(11)?.filter(|transport| !transport.trim().is_empty()),
    })
}

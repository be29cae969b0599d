//! The rows of a module's table as an operator lists and changes them.
//!
//! What several modules share; it names none of them. Names of tables and columns are the modules' own
//! and never come from an order; every value is a bound parameter. What a row means is decided by the
//! code with which its module reads it, not here.

use actors::database::Database;
use actors::module::Unavailable;
use actors::operate::Refused;
use actors::watch::Followed;
use sea_orm::sea_query::{Alias, Condition, Expr, ExprTrait as _, Func, LikeExpr, Order, Query, SelectStatement};
use sea_orm::{ConnectionTrait as _, DatabaseBackend, DbErr, QueryResult, Value};

/// The longest name, address or rule that every database holds, in characters.
const LONGEST_NAME: usize = 1024;
/// Rows in one answer at most: it must fit into one line of the control socket.
pub const MOST_ROWS: u64 = 5000;

/// A table and the columns of it that operators see, without `id`.
#[derive(Debug, Clone, Copy)]
pub struct Sheet {
    /// The table.
    pub table: &'static str,
    /// Its columns.
    pub columns: &'static [&'static str],
}

/// A row, every column as text whatever its type, so that a table made by somebody else reads the same.
#[derive(Debug, Clone)]
pub struct Record {
    /// The row's `id`.
    pub id: i64,
    columns: &'static [&'static str],
    values: Vec<Option<String>>,
}

impl Record {
    /// The text in `column`; `None` for NULL.
    pub fn text(&self, column: &str) -> Option<&str> {
        let place = self.columns.iter().position(|known| *known == column)?;
        self.values.get(place)?.as_deref()
    }

    /// The same, owned, as the modules' own rows hold it.
    pub fn owned(&self, column: &str) -> Option<String> {
        self.text(column).map(str::to_owned)
    }

    /// The whole number in `column`; `None` for NULL and for what is none.
    pub fn number(&self, column: &str) -> Option<i64> {
        self.text(column)?.trim_ascii().parse().ok()
    }
}

impl Sheet {
    fn select(&self, backend: DatabaseBackend) -> SelectStatement {
        let (text, integer) = match backend {
            DatabaseBackend::MySql => ("CHAR", "SIGNED"),
            DatabaseBackend::Postgres => ("TEXT", "BIGINT"),
            _ => ("TEXT", "INTEGER"),
        };
        let mut select = Query::select();
        select.from(Alias::new(self.table)).expr(column("id").cast_as(Alias::new(integer)));
        for name in self.columns {
            select.expr(column(name).cast_as(Alias::new(text)));
        }
        select.order_by(Alias::new("id"), Order::Asc);
        select
    }

    fn read(&self, row: &QueryResult) -> Result<Record, DbErr> {
        let values = (1..=self.columns.len()).map(|place| row.try_get_by_index(place)).collect::<Result<_, _>>()?;
        Ok(Record { id: row.try_get_by_index(0)?, columns: self.columns, values })
    }

    /// The first `limit` rows behind `after` that fulfil `which`, by ascending `id`.
    ///
    /// # Errors
    /// When the database can't be asked.
    pub async fn rows(&self, on: &Database, which: Condition, after: i64, limit: u64) -> Result<Vec<Record>, Refused> {
        let mut select = self.select(on.backend());
        select.cond_where(which).and_where(column("id").gt(after)).limit(limit);
        let rows = on.run(move |pool| async move { pool.query_all(&select).await }).await?;
        Ok(rows.iter().map(|row| self.read(row)).collect::<Result<_, _>>()?)
    }

    /// The row with this `id`; `None` when there is none.
    ///
    /// # Errors
    /// When the database can't be asked.
    pub async fn row(&self, on: &Database, id: i64) -> Result<Option<Record>, Refused> {
        let only = Condition::all().add(column("id").eq(id));
        Ok(self.rows(on, only, i64::MIN, 1).await?.pop())
    }

    /// Adds a row and returns its `id`.
    ///
    /// # Errors
    /// When the database refuses it, or can't be asked.
    pub async fn insert(&self, on: &Database, values: Vec<(&'static str, Value)>) -> Result<i64, Refused> {
        let mut insert = Query::insert();
        insert.into_table(Alias::new(self.table)).columns(values.iter().map(|(name, _)| Alias::new(*name)));
        insert
            .values(values.into_iter().map(|(_, value)| Expr::value(value)))
            .expect("there are as many columns as values");
        let backend = on.backend();
        if backend != DatabaseBackend::MySql {
            insert.returning_col(Alias::new("id"));
        }
        let id = on.write(move |pool| async move {
            if backend == DatabaseBackend::MySql {
                let id = pool.execute(&insert).await?.last_insert_id();
                return i64::try_from(id).map_err(|_| DbErr::Custom(format!("the new row's id {id} is out of bounds")));
            }
            let row = pool.query_one(&insert).await?;
            let row = row.ok_or_else(|| DbErr::RecordNotInserted)?;
            // Its type is the column's own: integer here, bigint in a table made by somebody else.
            row.try_get_by_index::<i64>(0).or_else(|_| row.try_get_by_index::<i32>(0).map(i64::from))
        });
        Ok(id.await?)
    }

    /// Changes the row with this `id`; whether there is one.
    ///
    /// # Errors
    /// When the database refuses it, or can't be asked.
    pub async fn update(&self, on: &Database, id: i64, values: Vec<(&'static str, Value)>) -> Result<bool, Refused> {
        let mut update = Query::update();
        update.table(Alias::new(self.table)).and_where(column("id").eq(id));
        update.values(values.into_iter().map(|(name, value)| (Alias::new(name), Expr::value(value))));
        let done = on.write(move |pool| async move { pool.execute(&update).await }).await?;
        Ok(done.rows_affected() > 0)
    }

    /// Takes `count` from a counter of the row with this `id`, whatever else changes it meanwhile, unless
    /// less is left; whether it was done.
    ///
    /// # Errors
    /// When the database refuses it, or can't be asked.
    pub async fn take_from(&self, on: &Database, id: i64, counter: &'static str, count: i64) -> Result<bool, Refused> {
        let mut update = Query::update();
        update.table(Alias::new(self.table)).value(Alias::new(counter), column(counter).sub(count));
        update.and_where(column("id").eq(id)).and_where(column(counter).gte(count));
        let done = on.write(move |pool| async move { pool.execute(&update).await }).await?;
        Ok(done.rows_affected() > 0)
    }

    /// Removes the row with this `id`; whether there was one.
    ///
    /// # Errors
    /// When the database refuses it, or can't be asked.
    pub async fn delete(&self, on: &Database, id: i64) -> Result<bool, Refused> {
        let mut delete = Query::delete();
        delete.from_table(Alias::new(self.table)).and_where(column("id").eq(id));
        let done = on.write(move |pool| async move { pool.execute(&delete).await }).await?;
        Ok(done.rows_affected() > 0)
    }
}

/// A column of the table that is asked.
pub fn column(name: &'static str) -> Expr {
    Expr::col(Alias::new(name))
}

/// Rows in which one of `columns` holds `part`, in any case.
pub fn contains(columns: &[&'static str], part: &str) -> Condition {
    let mut pattern = String::from("%");
    for character in part.to_lowercase().chars() {
        if matches!(character, '%' | '_' | '!') {
            pattern.push('!');
        }
        pattern.push(character);
    }
    pattern.push('%');
    columns.iter().fold(Condition::any(), |any, name| {
        any.add(Expr::expr(Func::lower(column(name))).like(LikeExpr::new(&pattern).escape('!')))
    })
}

/// Rows in which `name` is one of `values`, in any case.
pub fn one_of(name: &'static str, values: &[String]) -> Condition {
    let mut spellings: Vec<String> = values.iter().map(|value| value.to_lowercase()).collect();
    // SQLite's LOWER knows ASCII only.
    spellings.extend(values.iter().map(|value| value.to_ascii_lowercase()));
    Condition::any().add(Expr::expr(Func::lower(column(name))).is_in(spellings))
}

/// Rows that are active, or those that are not.
pub fn active(yes: bool) -> Condition {
    let is_active = column("is_active").ne(0);
    match yes {
        true => Condition::all().add(is_active),
        false => Condition::any().add(column("is_active").is_null()).add(column("is_active").eq(0)),
    }
}

/// A name, address or rule as a column holds it.
///
/// # Errors
/// When it can't be meant: too long, or with a control character.
pub fn name(what: &str, text: &str) -> Result<String, Refused> {
    if text.chars().any(char::is_control) {
        return Err(Refused::Invalid(format!("{what} {text:?} holds a control character")));
    }
    let length = text.chars().count();
    if length > LONGEST_NAME {
        return Err(Refused::Invalid(format!("{what} has {length} characters, {LONGEST_NAME} fit")));
    }
    Ok(text.to_owned())
}

/// A note: prose, which may have lines.
///
/// # Errors
/// When it can't be held.
pub fn note(text: &str) -> Result<String, Refused> {
    const LONGEST_NOTE: usize = 10_000;
    if text.contains('\0') || text.len() > LONGEST_NOTE {
        return Err(Refused::Invalid(format!("a note has at most {LONGEST_NOTE} bytes, and no NUL")));
    }
    Ok(text.to_owned())
}

/// Returns when what was committed to the followed tables before the call is published.
///
/// # Errors
/// When the database can't be asked.
pub async fn refresh(followed: impl IntoIterator<Item = &Followed>) -> Result<(), Unavailable> {
    for table in followed {
        table.refresh_now().await.map_err(|error| Unavailable::new(format!("table {}: {error}", table.table())))?;
    }
    Ok(())
}

/// Rows in which `name` is NULL or the empty text.
pub fn column_is_empty(name: &'static str) -> Condition {
    Condition::any().add(column(name).is_null()).add(column(name).eq(""))
}

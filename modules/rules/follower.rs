//! The rows of a database table, kept in a [`RuleTable`] as the database has them.

use actors::module::{ModuleContext, StartError};
use actors::watch::{BadRow, Change as RowChange, Column, Followed, Follower, Row, Rows};
use serde_json::Value;
use slog::Logger;

use super::index::{Builder, Index, Rule};
use super::table::{Change, RuleTable};

/// Makes a rule of a row; `None` when it does not hold (not active).
pub type ReadRow<P> = fn(&Row<'_>) -> Result<Option<Rule<P>>, BadRow>;

/// How a followed table stands, as a fact for `-s` named after the table.
pub fn fact(followed: &Followed) -> (&'static str, Value) {
    let facts = followed.status().facts().into_iter().map(|(name, value)| (name.to_owned(), value));
    (followed.table(), Value::Object(facts.collect()))
}

impl<P: Clone + Send + Sync + 'static> RuleTable<P> {
    /// Loads the database's `table` into this one, `columns` of each row as `read` reads them, and keeps it so
    /// for as long as what is returned is held.
    ///
    /// # Errors
    /// When the table can't be loaded.
    pub async fn follow(
        &self,
        context: &ModuleContext,
        table: &'static str,
        columns: &'static [Column],
        read: ReadRow<P>,
    ) -> Result<Followed, StartError> {
        context.follow(RuleFollower { table, columns, read, rules: self.clone(), log: context.log.clone() }).await
    }
}

/// Keeps a table of rules as the database has it.
struct RuleFollower<P> {
    table: &'static str,
    columns: &'static [Column],
    read: ReadRow<P>,
    rules: RuleTable<P>,
    /// For what can't be held.
    log: Logger,
}

impl<P: Clone + Send + Sync + 'static> Follower for RuleFollower<P> {
    type Row = Option<Rule<P>>;
    type Loaded = Index<P>;

    fn table(&self) -> &'static str {
        self.table
    }

    fn columns(&self) -> &'static [Column] {
        self.columns
    }

    fn read(&self, row: &Row<'_>) -> Result<Self::Row, BadRow> {
        (self.read)(row)
    }

    fn load(&self, rows: &mut Rows<'_, Self::Row>) -> Index<P> {
        let mut builder = Builder::new();
        let mut left_out = 0_u64;
        for rule in rows.filter_map(|(_, rule)| rule) {
            left_out += u64::from(builder.add(&rule).is_err());
        }
        if left_out > 0 {
            slog::error!(self.log, "more rules than can be held"; "table" => self.table, "left out" => left_out);
        }
        builder.finish()
    }

    fn replace(&mut self, loaded: Index<P>) {
        self.rules.load(loaded);
    }

    fn apply(&mut self, changes: Vec<RowChange<Self::Row>>) {
        let changes = changes.into_iter().map(|change| match change {
            RowChange::Is(_, Some(rule)) => Change::Set(rule),
            RowChange::Is(id, None) | RowChange::Gone(id) => Change::Gone(id),
        });
        if let Err(error) = self.rules.apply(changes) {
            slog::error!(self.log, "changed rules can't be held"; "table" => self.table, "error" => %error);
        }
    }
}

//! What other daemons have written to the journal, brought into memory.
//!
//! Memory has all entries up to a number. [`Writer::follow`] adds those behind it. [`Writer::look`] also reads rows of
//! the counters' table, in a snapshot that says which entries are folded into them. [`Writer::open`] reads all.

use sea_orm::{ConnectionTrait, DbErr, Statement};

use super::book::Key;
use super::fault::{in_time, inserted};
use super::journal::{Entry, Journal, SLOTS};
use super::journal_sql::entry;
use super::sql::{Stored, stored};
use super::writer::{Writer, signed};

/// Keys of one question.
const KEYS: usize = 2000;
/// Places of the journal that are made at a time.
const PLACES: i64 = 1024;
/// Entries of the first question; there are seldom more.
const FEW: i64 = 16;

impl Writer {
    /// Adds to memory what other daemons have written behind the last entry that it has. Right also while a batch is
    /// on its way: nothing is taken from what memory holds.
    pub(super) async fn follow(&mut self) -> Result<(), DbErr> {
        let connection = self.database.connection();
        let entries = in_time(self.entries_behind(&connection, self.journal.position)).await;
        self.database.observe(&entries);
        match entries? {
            Some(entries) => {
                for entry in entries {
                    self.take_in(&entry);
                    self.journal.follow(entry);
                }
                Ok(())
            }
            None => self.open().await,
        }
    }

    /// What `statement` reads of the counters' table; memory is brought up to the same moment, so that with what is
    /// unfolded then these rows are all that was charged. No batch may be on its way.
    pub(super) async fn look(&mut self, statement: Option<Statement>) -> Result<Vec<Stored>, DbErr> {
        if !self.journal.is_open {
            let Some(statement) = statement else { return Ok(Vec::new()) };
            let rows = in_time(self.database.writer().query_all_raw(statement)).await?;
            return rows.iter().map(stored).collect();
        }
        // What becomes of it, memory knows then.
        let _ = self.finish_fold().await;
        if let Some(rows) = in_time(self.look_once(statement.clone())).await? {
            return Ok(rows);
        }
        // More was written than the journal holds, or somebody has emptied it.
        self.open().await?;
        let rows = in_time(self.look_once(statement)).await?;
        rows.ok_or_else(|| DbErr::Custom("valvula_journal changes too fast".to_owned()))
    }

    /// `None`: the journal does not go on where memory stands.
    async fn look_once(&mut self, statement: Option<Statement>) -> Result<Option<Vec<Stored>>, DbErr> {
        let snapshot = self.database.snapshot().await?;
        let Some(head) = number(&snapshot, self.sql.head()).await? else { return Ok(None) };
        let is_known = self.journal.knows(head);
        let position = self.journal.position;
        let after = if is_known { position } else { position.min(head) };
        let Some(entries) = self.entries_behind(&snapshot, after).await? else { return Ok(None) };
        let last = entries.last().map_or(after, |last| last.number);
        if last < position || last < head {
            return Ok(None);
        }
        let rows = match statement {
            Some(statement) => snapshot.query_all_raw(statement).await?,
            None => Vec::new(),
        };
        let rows = rows.iter().map(stored).collect::<Result<Vec<_>, _>>()?;
        snapshot.commit().await?;
        // From here on nothing is waited for: all of it is done, or nothing.
        entries.iter().filter(|entry| entry.number > position).for_each(|entry| self.take_in(entry));
        if is_known {
            entries.into_iter().for_each(|entry| self.journal.follow(entry));
        } else {
            self.journal.open(head, entries.into_iter().filter(|entry| entry.number > head).collect());
        }
        Ok(Some(rows))
    }

    /// Reads all: the journal, which is made if there is none, and all open counters. Nothing may be unwritten.
    pub(super) async fn open(&mut self) -> Result<(), DbErr> {
        let _ = self.finish_fold().await;
        let result = async {
            self.make_journal().await?;
            self.read_everything().await
        };
        let result = result.await;
        self.database.observe(&result);
        result
    }

    /// Makes the journal if there is none, or its head. Unless we know better, all entries are folded then.
    pub(super) async fn make_journal(&self) -> Result<(), DbErr> {
        let connection = self.database.writer();
        if in_time(number(&connection, self.sql.head())).await?.is_some() {
            return Ok(());
        }
        let folded = match self.journal.folded {
            folded if folded > 0 && !self.journal.is_unsure => folded,
            _ => in_time(number(&connection, self.sql.last_entry())).await?.unwrap_or(0),
        };
        // The head last: where that is, all is.
        for first in (0..SLOTS).step_by(usize::try_from(PLACES).unwrap_or(1)) {
            in_time(connection.execute_raw(self.sql.make_places(folded, first..first + PLACES))).await?;
        }
        // Another daemon may have been quicker.
        inserted(in_time(connection.execute_raw(self.sql.make_head(folded))).await).map(drop)
    }

    /// Begins to know the journal; whether there is one.
    pub(super) async fn begin_journal(&mut self) -> Result<bool, DbErr> {
        let snapshot = in_time(self.database.snapshot()).await?;
        let is_there = self.begin_journal_in(&snapshot).await?;
        snapshot.commit().await?;
        Ok(is_there)
    }

    async fn begin_journal_in(&mut self, snapshot: &impl ConnectionTrait) -> Result<bool, DbErr> {
        self.journal = Journal::default();
        let Some(head) = in_time(number(snapshot, self.sql.head())).await? else { return Ok(false) };
        let entries = in_time(self.entries_behind(snapshot, head)).await?;
        let missing = || DbErr::Custom(format!("valvula_journal: entry {} is missing", head + 1));
        self.journal.open(head, entries.ok_or_else(missing)?);
        Ok(true)
    }

    /// Reads the journal, if there is one, and all open counters, as of one moment.
    pub(super) async fn read_everything(&mut self) -> Result<(), DbErr> {
        let now = signed(self.shared.now());
        let snapshot = in_time(self.database.snapshot()).await?;
        let is_there = self.begin_journal_in(&snapshot).await?;
        // Not before all of it is there.
        self.journal.is_open = false;
        let keys: Vec<Key> = self.journal.keys().collect();
        for keys in keys.chunks(KEYS) {
            let statement = self.sql.read(keys.iter().map(|(kind, name)| (*kind, &**name)), false);
            let rows = in_time(snapshot.query_all_raw(statement)).await?;
            let rows = rows.iter().map(stored).collect::<Result<Vec<_>, _>>()?;
            self.take_over(keys.iter().cloned(), &rows);
        }
        let mut after = None;
        loop {
            let page = self.page(after.as_ref(), now);
            let rows = in_time(snapshot.query_all_raw(page)).await?;
            let rows = rows.iter().map(stored).collect::<Result<Vec<_>, _>>()?;
            match self.take_over_page(&rows) {
                Some(last) => after = Some(last),
                None => break,
            }
        }
        snapshot.commit().await?;
        self.journal.is_open = is_there;
        Ok(())
    }

    /// The entries behind `after`; `None`: one that stood there was written over.
    async fn entries_behind(&self, connection: &impl ConnectionTrait, after: i64) -> Result<Option<Vec<Entry>>, DbErr> {
        let mut entries = Vec::new();
        let mut most = FEW;
        loop {
            let next = after + 1 + i64::try_from(entries.len()).unwrap_or(i64::MAX);
            let (statement, places) = self.sql.entries(next, most);
            let rows = connection.query_all_raw(statement).await?;
            for (expected, row) in (next..).zip(&rows) {
                let entry = entry(row)?;
                if entry.number != expected {
                    return Ok(None);
                }
                entries.push(entry);
            }
            if i64::try_from(rows.len()).unwrap_or(i64::MAX) < places {
                return Ok(Some(entries));
            }
            most = (most * 4).min(SLOTS);
        }
    }

    pub(super) fn take_in(&self, entry: &Entry) {
        for row in &entry.rows {
            self.shared.shard_of_key(row.kind, &row.name).lock().follow(row);
        }
    }
}

async fn number(connection: &impl ConnectionTrait, statement: Statement) -> Result<Option<i64>, DbErr> {
    let row = connection.query_one_raw(statement).await?;
    row.map_or(Ok(None), |row| row.try_get_by_index(0))
}

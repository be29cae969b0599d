//! A batch on its way to the database, and what became of it when the answer is in doubt.

use std::time::Duration;

use sea_orm::{ConnectionTrait as _, DatabaseTransaction, DbErr, Statement};

use super::entry::encode;
use super::fault::{Fault, fault, in_time, inserted, is_patience};
use super::journal::SLOTS;
use super::journal_sql::{entry, holder};
use super::rows::Batch;
use super::sql::own_closes;
use super::writer::{Writer, signed};

/// How often a batch that met another writer is tried again.
const MEETINGS: u32 = 20;

/// What became of a batch.
pub(super) enum Written {
    Yes,
    /// It is not written, and can't be as it is: another daemon has written the entry of its number.
    Refused,
    /// Not known to be written; why.
    Unknown(String),
}

impl Writer {
    /// Writes one batch, and finds out whether it was written when that is in doubt.
    pub(super) async fn write(&mut self, batch: &Batch) -> Written {
        let mut meetings = 0;
        let mut is_second = false;
        loop {
            let error = match self.send(batch).await {
                Ok(true) => {
                    self.was_written(batch);
                    return Written::Yes;
                }
                Ok(false) => return self.find(batch).await,
                Err(error) => error,
            };
            match fault(&error) {
                Fault::Refused => return self.find(batch).await,
                Fault::Again if meetings < MEETINGS => {
                    meetings += 1;
                    tokio::time::sleep(Duration::from_millis(u64::from(meetings))).await;
                }
                // A connection that was idle while the server was started again fails once.
                Fault::Away if !is_second && self.away.is_none() && !is_patience(&error) => is_second = true,
                _ => return Written::Unknown(error.to_string()),
            }
        }
    }

    /// Asks the database to write `batch`; whether it did.
    async fn send(&mut self, batch: &Batch) -> Result<bool, DbErr> {
        let Some(number) = batch.number else {
            let closes = own_closes(signed(self.shared.now()));
            self.execute(self.sql.add(batch, closes, closes > self.own_closes)).await?;
            self.own_closes = self.own_closes.max(closes);
            return Ok(true);
        };
        let bytes = encode(&batch.rows)?;
        if self.put(self.sql.append(number, batch.sequence, bytes.clone())).await? > 0 {
            return Ok(true);
        }
        // Another daemon was quicker, or somebody has removed what stood there.
        Ok(self.put(self.sql.append_first(number, batch.sequence, bytes)).await? > 0)
    }

    /// Begins a transaction in which nobody else can write the next entry. What others have written is in memory then.
    pub(super) async fn take_turn(&mut self) -> Result<DatabaseTransaction, DbErr> {
        let result = self.lock_next().await;
        self.database.observe(&result);
        if let Some(turn) = result? {
            return Ok(turn);
        }
        self.open().await?;
        let turn = self.lock_next().await?;
        turn.ok_or_else(|| DbErr::Custom("valvula_journal changes too fast".to_owned()))
    }

    /// `None`: the journal does not go on where memory stands.
    async fn lock_next(&mut self) -> Result<Option<DatabaseTransaction>, DbErr> {
        let turn = in_time(self.database.begin_to_write()).await?;
        for _ in 0..SLOTS {
            let next = self.journal.position + 1;
            let row = in_time(turn.query_one_raw(self.sql.lock(next))).await?;
            // Where nothing stands, somebody has removed it: the first to put something there has it.
            let Some(row) = row else { return Ok(Some(turn)) };
            let number: i64 = row.try_get_by_index(0)?;
            if number < next {
                return Ok(Some(turn));
            }
            if number > next {
                return Ok(None);
            }
            let entry = entry(&row)?;
            self.take_in(&entry);
            self.journal.follow(entry);
        }
        Ok(None)
    }

    /// Writes `batch` in the transaction of [`Writer::take_turn`], and ends that.
    pub(super) async fn write_in(&mut self, turn: DatabaseTransaction, batch: &Batch) -> Written {
        match self.send_in(turn, batch).await {
            Ok(true) => {
                self.was_written(batch);
                Written::Yes
            }
            Ok(false) => Written::Refused,
            Err(error) => {
                self.database.observe::<()>(&Err(error.clone()));
                Written::Unknown(error.to_string())
            }
        }
    }

    async fn send_in(&self, turn: DatabaseTransaction, batch: &Batch) -> Result<bool, DbErr> {
        let Some(number) = batch.number else { return Ok(false) };
        let bytes = encode(&batch.rows)?;
        let execute = |statement| in_time(turn.execute_raw(statement));
        let is_written = execute(self.sql.append(number, batch.sequence, bytes.clone())).await?.rows_affected() > 0
            || inserted(execute(self.sql.append_first(number, batch.sequence, bytes)).await)?;
        if is_written {
            in_time(turn.commit()).await?;
        }
        Ok(is_written)
    }

    /// Executes a statement of the journal; how many rows it changed.
    async fn put(&mut self, statement: Statement) -> Result<u64, DbErr> {
        let result = in_time(self.held.execute(&self.database, statement)).await;
        self.database.observe(&result);
        result
    }

    fn was_written(&mut self, batch: &Batch) {
        if let Some(number) = batch.number {
            self.journal.appended(number, &self.sql.writer, batch.sequence, &batch.rows);
        }
        self.shared.facts.lock().batches += 1;
    }

    /// The database did not take `batch`: because it is written already?
    async fn find(&mut self, batch: &Batch) -> Written {
        match in_time(self.is_written(batch)).await {
            Ok(true) => {
                self.was_written(batch);
                Written::Yes
            }
            Ok(false) => Written::Refused,
            Err(error) => Written::Unknown(error.to_string()),
        }
    }

    async fn is_written(&mut self, batch: &Batch) -> Result<bool, DbErr> {
        if let Some(number) = batch.number {
            let holder = self.ask(self.sql.holder(number)).await?.map(|row| holder(&row)).transpose()?;
            let holder = holder.filter(|holder| holder.number >= number);
            let Some(holder) = holder else { return Ok(false) };
            if holder.number == number {
                return Ok(self.sql.is_own(&holder, batch.sequence));
            }
            // Others have gone round since: what stood there is folded, and memory has missed much.
            self.journal.is_open = false;
        }
        let last = self.ask(self.sql.last_written(false)).await?;
        let last: Option<i64> = last.map(|row| row.try_get_by_index(0)).transpose()?;
        Ok(last.is_some_and(|last| last >= batch.sequence))
    }

    async fn ask(&self, statement: Statement) -> Result<Option<sea_orm::QueryResult>, DbErr> {
        self.database.writer().query_one_raw(statement).await
    }
}

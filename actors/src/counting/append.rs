//! A batch on its way to the database, and what became of it when the answer is in doubt.

use std::time::Duration;

use sea_orm::{ConnectionTrait as _, DbErr, Statement};

use super::catch_up::in_time;
use super::entry::encode;
use super::fault::{Fault, fault, is_patience};
use super::journal::SLOTS;
use super::journal_sql::holder;
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
        // In the first round nothing stands in the places yet.
        if number > SLOTS && self.put(self.sql.append(number, batch.sequence, bytes.clone())).await? > 0 {
            return Ok(true);
        }
        // Somebody may also have removed what stood there.
        Ok(self.put(self.sql.append_first(number, batch.sequence, bytes)).await? > 0)
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

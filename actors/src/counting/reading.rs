//! Counters read from the database into memory: all that are open at the start, and again when an operator
//! wants to see what other daemons have charged too.

use sea_orm::{ConnectionTrait as _, DbErr};
use tokio::time::timeout;

use super::book::Key;
use super::fault::patience;
use super::sql::stored;
use super::writer::{PATIENCE, Writer, signed};

/// Counters read at a time.
const PAGE: u64 = 5000;

/// Requests wait behind an operator's question no longer than behind a write.
async fn in_time<T>(reading: impl Future<Output = Result<T, DbErr>>) -> Result<T, DbErr> {
    timeout(PATIENCE, reading).await.unwrap_or_else(|_| Err(patience()))
}

impl Writer {
    /// Reads the open counters into memory.
    pub(super) async fn read_back(&self, now: i64) -> Result<(), DbErr> {
        self.start_at(now).await?;
        let mut after = None;
        while let Some(last) = self.read_page(after, now).await? {
            after = Some(last);
        }
        Ok(())
    }

    /// Writes what is not written, then reads the counters `keys`, or all that are open. Requests that wait
    /// are answered between two pages.
    pub(super) async fn re_read(&mut self, keys: Option<Vec<Key>>) -> Result<(), String> {
        self.flush().await?;
        let result = match keys {
            Some(keys) => in_time(self.read_keys(keys)).await,
            None => self.read_all().await,
        };
        self.database.observe(&result);
        result.map_err(|error| error.to_string())
    }

    async fn read_keys(&self, keys: Vec<Key>) -> Result<(), DbErr> {
        if keys.is_empty() {
            return Ok(());
        }
        let statement = self.sql.read(keys.iter().map(|(kind, name)| (*kind, &**name)), false);
        let rows = self.database.connection().query_all_raw(statement).await?;
        let stored = rows.iter().map(stored).collect::<Result<Vec<_>, _>>()?;
        self.take_over(keys.into_iter(), &stored);
        Ok(())
    }

    async fn read_all(&mut self) -> Result<(), DbErr> {
        let now = signed(self.shared.now());
        let mut after = None;
        while let Some(last) = in_time(self.read_page(after, now)).await? {
            after = Some(last);
            self.answer_waiting().await;
        }
        Ok(())
    }

    /// Takes over the next counters behind the key `after`; the last of them, `None` when there was none.
    async fn read_page(&self, after: Option<(u8, Vec<u8>)>, now: i64) -> Result<Option<(u8, Vec<u8>)>, DbErr> {
        let page = self.sql.page(after.as_ref().map(|(kind, name)| (*kind, name.as_slice())), now, PAGE);
        let rows = self.database.connection().query_all_raw(page).await?;
        let stored = rows.iter().map(stored).collect::<Result<Vec<_>, _>>()?;
        self.take_over(stored.iter().map(|stored| (stored.kind, stored.name.as_slice().into())), &stored);
        Ok(stored.last().map(|last| (last.kind, last.name.clone())))
    }
}

//! Counters read from the database into memory: all that are open at the start, and again when an operator
//! wants to see what other daemons have charged too.

use sea_orm::{DbErr, Statement};

use super::book::Key;
use super::ledger::Durability;
use super::sql::Stored;
use super::writer::{Writer, signed};

/// Counters read at a time.
const PAGE: u64 = 5000;
/// How often what a daemon left in the journal is tried to be folded, while others do the same.
const ATTEMPTS: u32 = 3;

impl Writer {
    /// Reads the open counters into memory.
    pub(super) async fn read_back(&mut self, now: i64) -> Result<(), DbErr> {
        let is_strict = self.shared.settings.load().durability == Durability::Strict;
        if is_strict {
            self.make_journal().await?;
        }
        // What is done to the table has to be done to what a daemon left that was killed, too.
        for _ in 0..ATTEMPTS {
            if !self.begin_journal().await? || self.fold_all().await.is_ok() {
                break;
            }
        }
        self.start_at(now).await?;
        self.read_everything().await?;
        if !is_strict {
            self.close_journal();
        }
        Ok(())
    }

    /// Writes what is not written, then reads the counters `keys`, or all that are open. Requests that wait
    /// are answered between two pages.
    pub(super) async fn re_read(&mut self, keys: Option<Vec<Key>>) -> Result<(), String> {
        self.flush_all().await?;
        let result = match keys {
            Some(keys) => self.read_keys(keys).await,
            None => self.read_all().await,
        };
        self.database.observe(&result);
        result.map_err(|error| error.to_string())
    }

    /// Reads the counters `keys`.
    pub(super) async fn read_keys(&mut self, keys: Vec<Key>) -> Result<(), DbErr> {
        if keys.is_empty() {
            return Ok(());
        }
        let statement = self.sql.read(keys.iter().map(|(kind, name)| (*kind, &**name)), false);
        let stored = self.look(Some(statement)).await?;
        self.take_over(keys.into_iter(), &stored);
        Ok(())
    }

    async fn read_all(&mut self) -> Result<(), DbErr> {
        let now = signed(self.shared.now());
        let mut after = None;
        loop {
            let page = self.page(after.as_ref(), now);
            let stored = self.look(Some(page)).await?;
            match self.take_over_page(&stored) {
                Some(last) => after = Some(last),
                None => return Ok(()),
            }
            self.answer_batch().await;
        }
    }

    /// What reads the next counters behind the key `after`.
    pub(super) fn page(&self, after: Option<&(u8, Vec<u8>)>, now: i64) -> Statement {
        self.sql.page(after.map(|(kind, name)| (*kind, name.as_slice())), now, PAGE)
    }

    /// Takes over the counters `stored`; the last of them, `None` when there was none.
    pub(super) fn take_over_page(&self, stored: &[Stored]) -> Option<(u8, Vec<u8>)> {
        self.take_over(stored.iter().map(|stored| (stored.kind, stored.name.as_slice().into())), stored);
        stored.last().map(|last| (last.kind, last.name.clone()))
    }
}

//! The counters of the daemon: found again by name, so that they outlive the modules that use them.
//!
//! A reload replaces module instances; what they have counted, and what they know of messages on their
//! way, must not begin anew. So it stands here, and a module finds it by its own name.

use std::any::Any;
use std::collections::HashMap;
use std::sync::Arc;

use parking_lot::Mutex;
use sea_orm::{ConnectionTrait as _, DbErr};
use slog::Logger;

use super::ledger::{Ledger, Settings, seconds};
use super::receipt::writer_name;
use super::sql::Sql;
use super::writer::{CLOSED_SECONDS, Writer, signed};
use crate::clock::Clock;
use crate::database::Database;

/// All counters of the daemon. Cheap to clone.
#[derive(Clone)]
pub struct Counters(Arc<Inner>);

struct Inner {
    database: Database,
    clock: Clock,
    log: Logger,
    kept: Mutex<HashMap<String, Arc<dyn Any + Send + Sync>>>,
    ledgers: tokio::sync::Mutex<HashMap<String, Arc<Ledger>>>,
}

/// Why counters are not to be had.
#[derive(Debug, thiserror::Error)]
pub enum CountingError {
    /// They could not be read back.
    #[error("the counters of {name} can't be read: {source}")]
    Read {
        /// Whose.
        name: String,
        /// Why not.
        source: DbErr,
    },
}

impl Counters {
    /// Counters that are written to `database`. Does no input or output.
    pub fn open(database: Database, clock: Clock, log: Logger) -> Self {
        Self(Arc::new(Inner { database, clock, log, kept: Mutex::default(), ledgers: tokio::sync::Mutex::default() }))
    }

    /// What is kept under `name` for as long as the daemon runs: `make` makes it the first time. Of
    /// another type than `T`: made anew.
    pub fn keep<T: Send + Sync + 'static>(&self, name: &str, make: impl FnOnce() -> T) -> Arc<T> {
        let mut kept = self.0.kept.lock();
        if let Some(found) = kept.get(name).cloned().and_then(|found| found.downcast::<T>().ok()) {
            return found;
        }
        let made = Arc::new(make());
        kept.insert(name.to_owned(), made.clone());
        made
    }

    /// The counters called `name`, working by `settings` from now on. The first time they are read back
    /// from the database.
    ///
    /// # Errors
    /// When they can't be read.
    pub async fn ledger(&self, name: &str, settings: Settings) -> Result<Arc<Ledger>, CountingError> {
        // Held while they are read: who asks meanwhile gets the same ones.
        let mut ledgers = self.0.ledgers.lock().await;
        if let Some(ledger) = ledgers.get(name) {
            ledger.set(settings);
            return Ok(ledger.clone());
        }
        let database = &self.0.database;
        let sql = Sql::new(database.backend(), name, &writer_name());
        let (ledger, shared, orders) = Ledger::new(self.0.clock.clone(), settings);
        let mut writer =
            Writer::new(shared, database.clone(), sql, self.0.log.new(slog::o!("counters" => name.to_owned())));
        let (writer, result) = {
            let now = signed(seconds(self.0.clock.now()));
            let reading = database.handle().spawn(async move {
                let result = writer.read_back(now).await;
                (writer, result)
            });
            match reading.await {
                Ok(read) => read,
                Err(error) if error.is_panic() => std::panic::resume_unwind(error.into_panic()),
                Err(_) => {
                    let source = DbErr::Custom("the database is closed".to_owned());
                    return Err(CountingError::Read { name: name.to_owned(), source });
                }
            }
        };
        database.observe(&result);
        result.map_err(|source| CountingError::Read { name: name.to_owned(), source })?;
        database.handle().spawn(writer.run(orders));
        let ledger = Arc::new(ledger);
        ledgers.insert(name.to_owned(), ledger.clone());
        Ok(ledger)
    }

    /// The counters called `name`, if they are in use. `None` also while they are being read back.
    pub fn find(&self, name: &str) -> Option<Arc<Ledger>> {
        self.0.ledgers.try_lock().ok()?.get(name).cloned()
    }

    /// Removes counters whose windows closed more than a day ago from the database, some at a time, as the
    /// writers do by themselves. Returns how many.
    ///
    /// # Errors
    /// When the database did not do it.
    pub async fn remove_closed(&self) -> Result<u64, DbErr> {
        let database = &self.0.database;
        let now = signed(seconds(self.0.clock.now()));
        let statement = Sql::new(database.backend(), "", "").remove_closed(now - CLOSED_SECONDS);
        database.write(|pool| async move { pool.execute_raw(statement).await }).await.map(|done| done.rows_affected())
    }

    /// Writes all that is not written yet.
    ///
    /// # Errors
    /// Why it could not all be written; it is kept, and written when the database is back.
    pub async fn flush(&self) -> Result<(), String> {
        for ledger in self.all().await {
            ledger.flush().await?;
        }
        Ok(())
    }

    /// Reads all back, after another daemon has written what it counted.
    ///
    /// # Errors
    /// Why it could not all be read.
    pub async fn read_again(&self) -> Result<(), String> {
        for ledger in self.all().await {
            ledger.refresh(None).await?;
        }
        Ok(())
    }

    async fn all(&self) -> Vec<Arc<Ledger>> {
        self.0.ledgers.lock().await.values().cloned().collect()
    }

    /// Restarts the writers; nothing they hold is lost.
    pub async fn restart(&self) {
        for ledger in self.all().await {
            // Only one that has ended for good refuses: the daemon stops.
            let _ = ledger.restart().await;
        }
    }

    /// Writes all that is not written yet and ends. What could not be written is logged: it is lost.
    pub async fn close(&self) {
        let ledgers: Vec<_> = self.0.ledgers.lock().await.drain().collect();
        for (_, ledger) in ledgers {
            // The writer has logged what was lost.
            let _ = ledger.close().await;
        }
        // Whatever works for what is kept ends with it.
        self.0.kept.lock().clear();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_kept_outlives_who_uses_it() {
        let log = Logger::root(slog::Discard, slog::o!());
        // Never asked: no file is made.
        let url = crate::database::DatabaseUrl::sqlite("valvula.db");
        let database = Database::open(crate::database::Settings::new(url), log.clone()).unwrap();
        let counters = Counters::open(database, Clock::system(), log);
        let first = counters.keep("mquota", || 5_u32);
        assert!(Arc::ptr_eq(&first, &counters.keep("mquota", || 6)));
        assert_eq!(*counters.keep("mquota-bulk", || 7_u32), 7);
    }
}

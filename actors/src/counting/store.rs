//! The counters of the daemon: found again by name, so that they outlive the modules that use them.
//!
//! A reload replaces module instances; what they have counted, and what they know of messages on their
//! way, must not begin anew. So it stands here, and a module finds it by its own name.

use std::any::Any;
use std::collections::HashMap;
use std::sync::Arc;

use parking_lot::Mutex;
use slog::Logger;

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
}

impl Counters {
    /// Counters that are written to `database`. Does no input or output.
    pub fn open(database: Database, clock: Clock, log: Logger) -> Self {
        Self(Arc::new(Inner { database, clock, log, kept: Mutex::default() }))
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

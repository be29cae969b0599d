//! What the poller does from time to time: looks whether the triggers are still there, and removes
//! notes of changes that everybody has long read.

use std::time::{Duration, Instant};

use sea_orm::{ConnectionTrait as _, DatabaseBackend, DatabaseConnection, DbErr, Statement};
use slog::{info, warn};
use tokio::time::Instant as Deadline;

use crate::restart::jittered;
use crate::watch::follow::Event;
use crate::watch::poller::Poller;
use crate::watch::status::Source;
use crate::watch::triggers::{CHANGES, Ensured, ensure};

/// How often the triggers are looked at, and old notes removed.
pub(super) const UPKEEP: Duration = Duration::from_secs(if cfg!(test) { 1 } else { 60 });
/// How long notes are kept: a daemon that was away for longer loads its tables whole.
pub(super) const KEEP: Duration = Duration::from_secs(3600);
const PRUNED_AT_ONCE: i64 = 5_000;

impl Poller {
    /// Notes how changes of `table` are learnt, and says it when it is not as it should be.
    pub(super) fn take_source(&mut self, table: &'static str, ensured: &Ensured) -> Source {
        let source = if matches!(ensured, Ensured::Refused(_)) { Source::Checksums } else { Source::Triggers };
        let before = self.sources.insert(table, source);
        match ensured {
            Ensured::Refused(why) if before != Some(Source::Checksums) => {
                let needed = match self.backend {
                    DatabaseBackend::MySql => {
                        "privileges CREATE and TRIGGER (with binary logging also log_bin_trust_function_creators)"
                    }
                    DatabaseBackend::Postgres => "to own the table, and CREATE on its schema",
                    _ => "to write to the file",
                };
                warn!(self.log, "no trigger can note changes of the table, its checksums are compared instead; \
                    changes of big tables take longer to arrive"; "table" => table, "needs" => needed, "error" => why);
            }
            Ensured::Made if before == Some(Source::Checksums) => {
                info!(self.log, "triggers note changes of the table from now on"; "table" => table);
            }
            _ => {}
        }
        source
    }

    pub(super) async fn upkeep(&mut self) {
        self.upkeep_at = Deadline::now() + jittered(UPKEEP);
        self.subscribers.retain(|subscriber| !subscriber.events.is_closed());
        for noting in self.notings() {
            let (pool, table) = (self.pool.clone(), noting.table);
            // The database being away is noticed by the next poll.
            let Ok(ensured) = self.ask(async move { ensure(&pool, noting, false).await }).await else { return };
            let before = self.sources.get(table).copied();
            let source = self.take_source(table, &ensured);
            if ensured == Ensured::Made || before != Some(source) {
                if ensured == Ensured::Made && before == Some(Source::Triggers) {
                    warn!(self.log, "triggers of the table were gone and are made again"; "table" => table);
                }
                for subscriber in self.subscribers.iter().filter(|subscriber| subscriber.noting.table == table) {
                    let _ = subscriber.events.send(Event::Source(source));
                }
            }
        }
        self.prune();
    }

    /// Removes old notes, a few at a time, behind everybody's back.
    fn prune(&mut self) {
        if self.pruned.elapsed() < KEEP / 6 || self.feed.is_none() {
            return;
        }
        self.pruned = Instant::now();
        let Some(database) = self.database.upgrade() else { return };
        let (backend, log) = (self.backend, self.log.clone());
        tokio::spawn(async move {
            let result = database.write(move |pool| async move { prune(&pool, backend).await }).await;
            if let Err(error) = result {
                warn!(log, "old notes of changes can't be removed"; "table" => CHANGES, "error" => %error);
            }
        });
    }
}

async fn prune(pool: &DatabaseConnection, backend: DatabaseBackend) -> Result<(), DbErr> {
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap_or_default();
    let before = i64::try_from(now.saturating_sub(KEEP).as_secs()).unwrap_or(i64::MAX);
    // The last note stays, so that the numbers go on from it.
    let sql = match backend {
        DatabaseBackend::Sqlite => {
            "DELETE FROM valvula_change WHERE id IN (SELECT id FROM valvula_change WHERE stamp < ? \
             AND id < (SELECT MAX(id) FROM valvula_change) ORDER BY id LIMIT ?)"
        }
        DatabaseBackend::MySql => {
            "DELETE FROM valvula_change WHERE stamp < ? \
             AND id < (SELECT last FROM (SELECT MAX(id) AS last FROM valvula_change) AS most) ORDER BY id LIMIT ?"
        }
        _ => {
            "DELETE FROM valvula_change WHERE ctid = ANY(ARRAY(SELECT ctid FROM valvula_change WHERE stamp < $1 LIMIT $2))"
        }
    };
    loop {
        let statement = Statement::from_sql_and_values(backend, sql, [before.into(), PRUNED_AT_ONCE.into()]);
        let gone = pool.execute_raw(statement).await?.rows_affected();
        if i64::try_from(gone).is_ok_and(|gone| gone < PRUNED_AT_ONCE) {
            return Ok(());
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

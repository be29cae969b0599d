//! Folding: what the journal's entries come to is added to the counters' table, beside the answers.
//!
//! One transaction moves the head and adds: of two daemons that fold the same entries, one is refused. Whatever
//! becomes of it, nothing is lost: the entries stay until the head has passed them.

use sea_orm::{ConnectionTrait as _, DbErr};
use slog::{info, warn};
use tokio::task::{JoinError, JoinHandle};

use super::book::Key;
use super::fault::{in_time, inserted};
use super::journal::Fold;
use super::sql::{Sql, Stored, own_closes, stored};
use super::writer::{MAX_ROWS, Writer, signed};
use crate::database::Database;

/// How often a daemon tries that others are quicker than.
const ATTEMPTS: u32 = 10;

/// What was read of the rows that were added to; `None`: somebody else has folded.
type Folded = Result<Option<Vec<Stored>>, DbErr>;

/// A fold on its way.
pub(super) struct Folding {
    to: i64,
    keys: Vec<Key>,
    task: JoinHandle<Folded>,
}

/// Waits until the fold that is on its way is done; for ever when there is none.
pub(super) async fn done(folding: &mut Option<Folding>) -> Result<Folded, JoinError> {
    match folding {
        Some(folding) => (&mut folding.task).await,
        None => std::future::pending().await,
    }
}

impl Writer {
    /// Begins to fold all that is not folded, unless it is being done.
    pub(super) async fn start_fold(&mut self) -> Result<(), DbErr> {
        if self.folding.is_some() {
            return Ok(());
        }
        if self.journal.is_unsure {
            self.look(None).await?;
        }
        if self.journal.waiting() == 0 {
            return Ok(());
        }
        let fold = self.journal.take();
        let (to, keys) = (fold.to, fold.rows.iter().map(|row| (row.kind, row.name.clone())).collect());
        let (database, sql, now) = (self.database.clone(), self.sql.clone(), signed(self.shared.now()));
        let task = tokio::spawn(async move { write(&database, &sql, fold, now).await });
        self.folding = Some(Folding { to, keys, task });
        Ok(())
    }

    /// Waits until the fold that is on its way is done, if there is one. Whether all that was to be folded is.
    pub(super) async fn finish_fold(&mut self) -> Result<bool, DbErr> {
        if self.folding.is_none() {
            return Ok(!self.journal.is_unsure);
        }
        let result = done(&mut self.folding).await;
        self.was_folded(result)
    }

    /// The fold that was on its way is done; whether it was refused.
    pub(super) fn was_folded(&mut self, result: Result<Folded, JoinError>) -> Result<bool, DbErr> {
        let Some(Folding { to, keys, .. }) = self.folding.take() else { return Ok(true) };
        let result = match result {
            Ok(result) => result,
            Err(error) if error.is_panic() => std::panic::resume_unwind(error.into_panic()),
            Err(error) => Err(DbErr::Custom(error.to_string())),
        };
        self.database.observe(&result);
        let Ok(Some(rows)) = result else {
            self.journal.is_unsure = true;
            self.note_trouble(result.as_ref().err());
            return result.map(|_| false);
        };
        self.note_trouble(None);
        self.journal.was_folded(to);
        // A batch that was taken and is not known to be written would be missing.
        if self.kept.is_empty() {
            self.take_over(keys.into_iter(), &rows);
        }
        Ok(true)
    }

    /// Folds all that memory has.
    pub(super) async fn fold_all(&mut self) -> Result<(), DbErr> {
        for _ in 0..ATTEMPTS {
            // What became of an earlier one is no matter.
            let _ = self.finish_fold().await;
            self.start_fold().await?;
            if self.finish_fold().await? {
                return Ok(());
            }
        }
        Err(DbErr::Custom("other daemons take the journal of counters to their table, and were quicker".to_owned()))
    }

    /// Logs that folding fails, and that it does no more, once each.
    fn note_trouble(&mut self, error: Option<&DbErr>) {
        match (error.map(ToString::to_string), &self.fold_trouble) {
            (Some(error), trouble) if trouble.as_ref() != Some(&error) => {
                warn!(self.log, "counters can't be taken from the journal to their table, will try again";
                    "error" => &error);
                self.fold_trouble = Some(error);
            }
            (None, Some(_)) => {
                info!(self.log, "counters are taken from the journal to their table again");
                self.fold_trouble = None;
            }
            _ => {}
        }
    }
}

async fn write(database: &Database, sql: &Sql, fold: Fold, now: i64) -> Folded {
    // Each step has its time: how many there are depends on how much was charged.
    let transaction = in_time(database.begin_to_write()).await?;
    let execute = |statement| in_time(transaction.execute_raw(statement));
    let is_moved = execute(sql.move_head(fold.from, fold.to)).await?.rows_affected() > 0;
    // Somebody may have emptied the journal.
    if !is_moved && !inserted(execute(sql.make_head(fold.to)).await)? {
        in_time(transaction.rollback()).await?;
        return Ok(None);
    }
    execute(sql.fold(&[], &fold.writers, own_closes(now))).await?;
    let mut rows = Vec::with_capacity(fold.rows.len());
    for chunk in fold.rows.chunks(MAX_ROWS) {
        execute(sql.fold(chunk, &[], 0)).await?;
        // With what was charged or changed there by others.
        let keys = chunk.iter().map(|row| (row.kind, &*row.name));
        let found = in_time(transaction.query_all_raw(sql.read(keys, false))).await?;
        for row in &found {
            rows.push(stored(row)?);
        }
    }
    in_time(transaction.commit()).await?;
    Ok(Some(rows))
}

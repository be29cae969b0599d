//! Rows on their way from the database into a follower, and those that can't be used.

use std::collections::HashMap;

use sea_orm::{DbErr, QueryResult};
use slog::{Logger, warn};
use tokio::sync::mpsc;

use crate::watch::follower::{BadRow, Column, Follower, Row};
use crate::watch::ids::Ids;

/// Bad rows that are remembered, so as to report each once.
const BAD_ROWS: usize = 10_000;
/// Bad rows reported line by line in one go; of the others only the number.
const BAD_LINES: usize = 20;

/// Reads one row: its id, and what the follower makes of it.
pub(super) fn read<F: Follower>(
    follower: &F,
    columns: &[Column],
    result: &QueryResult,
) -> Result<(i64, Result<F::Row, BadRow>), DbErr> {
    let id = result.try_get_by_index(0)?;
    Ok((id, follower.read(&Row { id, columns, result })))
}

/// All rows of a table as they come, on the thread where the follower takes them.
pub(super) struct Loading<'f, F: Follower> {
    follower: &'f F,
    columns: &'static [Column],
    coming: mpsc::Receiver<Vec<QueryResult>>,
    piece: std::vec::IntoIter<QueryResult>,
    /// Ids of all rows so far, also of bad ones.
    pub(super) ids: Ids,
    pub(super) bad: BadRows,
    /// Why it ended before the last row.
    pub(super) error: Option<DbErr>,
}

impl<'f, F: Follower> Loading<'f, F> {
    pub(super) fn new(
        follower: &'f F,
        columns: &'static [Column],
        coming: mpsc::Receiver<Vec<QueryResult>>,
        bad: BadRows,
    ) -> Self {
        Self { follower, columns, coming, piece: Vec::new().into_iter(), ids: Ids::default(), bad, error: None }
    }
}

impl<F: Follower> Iterator for Loading<'_, F> {
    type Item = (i64, F::Row);

    fn next(&mut self) -> Option<Self::Item> {
        if self.error.is_some() {
            return None;
        }
        loop {
            let Some(result) = self.piece.next() else {
                self.piece = self.coming.blocking_recv()?.into_iter();
                continue;
            };
            match read(self.follower, self.columns, &result) {
                Ok((id, row)) => {
                    self.ids.insert(id);
                    match row {
                        Ok(row) => return Some((id, row)),
                        Err(why) => self.bad.add(id, why),
                    }
                }
                Err(error) => {
                    self.error = Some(error);
                    return None;
                }
            }
        }
    }
}

/// The rows of a table that can't be used: each is reported once for each reason.
pub(super) struct BadRows {
    log: Logger,
    /// Those that are bad now.
    now: HashMap<i64, BadRow>,
    /// Those that were bad before a load that is under way.
    before: HashMap<i64, BadRow>,
    lines: usize,
}

impl BadRows {
    pub(super) fn new(log: Logger) -> Self {
        Self { log, now: HashMap::new(), before: HashMap::new(), lines: 0 }
    }

    /// The same rows at the start of a load: what is still bad is not reported again.
    pub(super) fn again(&self) -> Self {
        Self { log: self.log.clone(), now: HashMap::new(), before: self.now.clone(), lines: 0 }
    }

    pub(super) fn len(&self) -> u64 {
        self.now.len() as u64
    }

    pub(super) fn add(&mut self, id: i64, why: BadRow) {
        if self.now.len() >= BAD_ROWS || self.now.get(&id) == Some(&why) {
            return;
        }
        if self.before.get(&id) != Some(&why) {
            self.lines += 1;
            if self.lines <= BAD_LINES {
                warn!(self.log, "row passed over"; "id" => id, "reason" => %why);
            }
        }
        self.now.insert(id, why);
    }

    /// The row is good, or gone.
    pub(super) fn remove(&mut self, id: i64) {
        self.now.remove(&id);
    }

    /// Ends a load or a batch of changes: says how many were not reported line by line.
    pub(super) fn summary(&mut self) {
        let unsaid = self.lines.saturating_sub(BAD_LINES);
        if unsaid > 0 {
            warn!(self.log, "more rows passed over"; "number" => unsaid);
        }
        self.lines = 0;
        self.before = HashMap::new();
    }
}

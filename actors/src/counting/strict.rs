//! Strict answers: after the commit, and exact when several daemons share the database.
//!
//! A batch is decided by what is in memory and becomes the next entry of the journal. If another daemon has written
//! that entry, its charges are added to memory and the same requests are decided again; if that happens twice, while
//! the place of the next entry is locked. A refusal is held against the counters' table, unless that was done a moment
//! ago: somebody may have given something back there.

use sea_orm::DbErr;
use tokio::time::Instant;

use super::append::Written;
use super::book::{Key, Ruling, Undo};
use super::ledger::Waiting;
use super::rows::Batch;
use super::writer::{CONFIRMED, Writer};
use crate::module::Unavailable;
use crate::reply::Replies;

/// How often requests are decided again because other daemons were quicker.
const ATTEMPTS: u32 = 20;

/// Requests and what was decided of each.
type Decided = Vec<(Waiting, Ruling, Undo)>;

impl Writer {
    /// Decides `waiting` and answers each request after its charge is committed.
    pub(super) async fn answer_after_commit(&mut self, mut waiting: Vec<Waiting>) {
        let counts = self.shared.settings.load().count_when_away;
        if !counts {
            // Who gave up waiting was answered without us, and its mail deferred.
            waiting.retain(|waiting| !waiting.answer.is_closed());
        }
        // What relaxed charges, or an absence of the database, have left to write.
        let is_behind = !self.kept.is_empty() || self.shared.dirty() > 0 || self.shared.times.went_back();
        if is_behind && self.flush().await.is_err() {
            return self.answer_in_memory(waiting);
        }
        if let Err(error) = self.make_ready().await {
            self.went(&error.to_string());
            return self.answer_in_memory(waiting);
        }
        let mut refusals = 0;
        for _ in 0..ATTEMPTS {
            // Who decides much takes longer than others, who would always be quicker: so from the second time on they
            // have to wait.
            let turn = match refusals {
                0 | 1 => None,
                _ => match self.take_turn().await {
                    Ok(turn) => Some(turn),
                    Err(error) => {
                        self.went(&error.to_string());
                        return self.answer_in_memory(waiting);
                    }
                },
            };
            let decided = self.decide(waiting);
            let doubtful = self.unconfirmed(&decided);
            if !doubtful.is_empty() {
                waiting = self.undo(decided);
                drop(turn);
                if let Err(error) = self.confirm(doubtful).await {
                    self.went(&error.to_string());
                    return self.answer_in_memory(waiting);
                }
                continue;
            }
            let rows = self.take_all_rows();
            if rows.is_empty() {
                return self.answer(decided);
            }
            let batch = self.next_batch(rows);
            let written = match turn {
                Some(turn) => self.write_in(turn, &batch).await,
                None => self.write(&batch).await,
            };
            match written {
                Written::Yes => return self.answer(decided),
                Written::Refused => waiting = self.undo(decided),
                Written::Unknown(error) => return self.keep(batch, decided, &error),
            }
            refusals += 1;
            if let Err(error) = self.follow().await {
                self.went(&error.to_string());
                return self.answer_in_memory(waiting);
            }
        }
        for waiting in waiting {
            waiting.answer.send(Err(Unavailable::new("other daemons keep the counters busy")));
        }
    }

    /// Opens the journal if it is not, and sees to it that there is room.
    async fn make_ready(&mut self) -> Result<(), DbErr> {
        if !self.journal.is_open {
            self.open().await?;
        }
        self.make_room().await
    }

    /// Reads the counters `keys` again: what is refused by them now is right.
    async fn confirm(&mut self, mut keys: Vec<Key>) -> Result<(), DbErr> {
        keys.sort_unstable();
        keys.dedup();
        let result = self.read_keys(keys.clone()).await;
        self.database.observe(&result);
        result?;
        let now = Instant::now();
        self.confirmed.extend(keys.into_iter().map(|key| (key, now)));
        Ok(())
    }

    fn decide(&self, waiting: Vec<Waiting>) -> Decided {
        let now = self.shared.now();
        waiting
            .into_iter()
            .map(|waiting| {
                let mut undo = Undo::default();
                let ruling = {
                    let draft = waiting.draft();
                    self.shared.shard(&draft).lock().decide(now, &draft, Some(&mut undo))
                };
                (waiting, ruling, undo)
            })
            .collect()
    }

    fn undo(&self, decided: Decided) -> Vec<Waiting> {
        let mut waiting: Vec<_> = decided
            .into_iter()
            .rev()
            .map(|(waiting, _, undo)| {
                self.shared.shard(&waiting.draft()).lock().undo(undo);
                waiting
            })
            .collect();
        waiting.reverse();
        waiting
    }

    fn answer(&mut self, decided: Decided) {
        let counts = self.shared.settings.load().count_when_away;
        let mut replies = Replies::default();
        for (waiting, ruling, undo) in decided {
            if waiting.answer.is_closed() && !counts {
                // answered without us meanwhile, and its mail deferred
                let draft = waiting.draft();
                self.shared.shard(&draft).lock().revoke(self.shared.now(), &draft, &undo);
                continue;
            }
            replies.add(waiting.answer, Ok(ruling));
        }
    }

    /// Nobody knows whether `batch` is written: it will be told again until that is known. Its requests
    /// can't be answered by it.
    fn keep(&mut self, batch: Batch, decided: Decided, error: &str) {
        self.kept.push_back(batch);
        self.went(error);
        let counts = self.shared.settings.load().count_when_away;
        for (waiting, ruling, undo) in decided {
            let answer = match ruling {
                Ruling::Over(_) => Ok(ruling),
                Ruling::Pass => {
                    if !counts {
                        let draft = waiting.draft();
                        self.shared.shard(&draft).lock().revoke(self.shared.now(), &draft, &undo);
                    }
                    Err(Unavailable::new(format!("the counters can't be written: {error}")))
                }
            };
            waiting.answer.send(answer);
        }
    }

    /// The counters of what was refused, unless they were read a moment ago. A request that passes needs no look: its
    /// entry is only written if nobody else has charged since.
    fn unconfirmed(&self, decided: &Decided) -> Vec<Key> {
        let mut doubtful = Vec::new();
        for (waiting, ruling, _) in decided {
            let draft = waiting.draft();
            if *ruling == Ruling::Pass || draft.force {
                continue;
            }
            let keys = draft.keys();
            let is_fresh = |key: &Key| self.confirmed.get(key).is_some_and(|at| at.elapsed() < CONFIRMED);
            if !keys.iter().all(is_fresh) {
                doubtful.extend(keys);
            }
        }
        doubtful
    }
}

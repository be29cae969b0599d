//! MySQL and MariaDB: numbers that are missing are waited for.
//!
//! A missing number belongs to a transaction that is not committed yet, or was rolled back, or to nobody
//! (a cluster's nodes count in steps). So all numbers above the first missing one are kept for ten
//! minutes, and each question first compares what is there with what is known. A transaction that lasts
//! longer than that is found by comparing checksums.

use std::collections::{HashMap, HashSet, VecDeque};
use std::time::{Duration, Instant};

use sea_orm::{DatabaseConnection, DbErr};

use super::{MANY, PIECE, ask, ask_one};
use crate::watch::ids::Ids;
use crate::watch::noted::Noted;

/// How long a missing number is waited for.
const WAIT: Duration = Duration::from_secs(600);
/// Numbers kept at most above the first missing one.
const WINDOW: u64 = 50_000;
/// Numbers below the first note that may still come, at the beginning.
const BELOW: i64 = 10_000;

pub(in crate::watch) struct Feed {
    /// Every number up to here is known, or given up.
    low: i64,
    /// Numbers above `low` that are known.
    known: Ids,
    /// What was known at which time, oldest first.
    marks: VecDeque<(Instant, i64)>,
    /// Number, sum and last of the notes above `low` when last asked.
    sign: Sign,
}

#[derive(Debug, Default, Clone, PartialEq, Eq)]
struct Sign {
    count: i64,
    sum: String,
    /// Of all notes, also those below `low`.
    last: i64,
}

impl Feed {
    pub(super) async fn begin(pool: &DatabaseConnection) -> Result<Self, DbErr> {
        let row = ask_one(
            pool,
            "SELECT CAST(COALESCE(MIN(id), 0) AS SIGNED), CAST(COALESCE(MAX(id), 0) AS SIGNED) FROM valvula_change",
            [],
        )
        .await?;
        let (first, last): (i64, i64) = (row.try_get_by_index(0)?, row.try_get_by_index(1)?);
        let mut feed = Self {
            low: (first - BELOW).max(last - i64::try_from(WINDOW).unwrap_or(i64::MAX)).max(0),
            known: Ids::default(),
            marks: VecDeque::new(),
            sign: Sign::default(),
        };
        // What is there now is known; what is missing among it may still come.
        let mut ignored = Noted::default();
        feed.read(pool, &mut ignored).await?;
        Ok(feed)
    }

    pub(super) async fn poll(&mut self, pool: &DatabaseConnection) -> Result<Noted, DbErr> {
        let sign = self.look(pool).await?;
        if sign.last < self.low {
            // Numbers only grow, and the last note is never removed: another database, or an older one.
            *self = Self::begin(pool).await?;
            return Ok(Noted::lost("database was replaced"));
        }
        let mut noted = Noted::default();
        if sign != self.sign {
            if sign.count - i64::try_from(self.known.len()).unwrap_or(i64::MAX) > MANY {
                return self.skip(pool).await;
            }
            self.sign = sign;
            self.read(pool, &mut noted).await?;
        }
        let gave_up = self.advance(Instant::now());
        if gave_up {
            noted.doubtful = true;
        }
        Ok(noted)
    }

    async fn look(&self, pool: &DatabaseConnection) -> Result<Sign, DbErr> {
        let sql = "SELECT COUNT(*), CAST(COALESCE(SUM(id), 0) AS CHAR), \
            CAST(COALESCE((SELECT MAX(id) FROM valvula_change), 0) AS SIGNED) FROM valvula_change WHERE id > ?";
        let row = ask_one(pool, sql, [self.low.into()]).await?;
        Ok(Sign { count: row.try_get_by_index(0)?, sum: row.try_get_by_index(1)?, last: row.try_get_by_index(2)? })
    }

    /// Reads the notes above `low` that are not known yet.
    async fn read(&mut self, pool: &DatabaseConnection, noted: &mut Noted) -> Result<(), DbErr> {
        // Nothing is missing below the last known: only what is above is new.
        let whole = self.known.len() == 0
            || self
                .known
                .last()
                .is_some_and(|last| u64::try_from(last - self.low).is_ok_and(|n| n == self.known.len()));
        let mut from = if whole { self.known.last().unwrap_or(self.low) } else { self.low };
        let mut removed: HashMap<String, HashSet<i64>> = HashMap::new();
        loop {
            let sql = "SELECT CAST(id AS SIGNED), CAST(tbl AS CHAR), CAST(row_id AS SIGNED), CAST(op AS CHAR) \
                FROM valvula_change WHERE id > ? ORDER BY id LIMIT ?";
            let rows = ask(pool, sql, [from.into(), PIECE.into()]).await?;
            for row in &rows {
                from = row.try_get_by_index(0)?;
                if !self.known.insert(from) {
                    continue;
                }
                let (table, id, op): (String, Option<i64>, String) =
                    (row.try_get_by_index(1)?, row.try_get_by_index(2)?, row.try_get_by_index(3)?);
                if let Some(id) = id {
                    let gone = removed.entry(table.clone()).or_default();
                    match op.as_str() {
                        "D" => drop(gone.insert(id)),
                        "I" if !gone.contains(&id) => noted.tables.entry(table.clone()).or_default().new.push(id),
                        _ => {}
                    }
                }
                noted.add(table, id);
            }
            if i64::try_from(rows.len()).is_ok_and(|rows| rows < PIECE) {
                return Ok(());
            }
        }
    }

    /// Takes all there is as changes of whole tables; numbers missing far back are given up.
    async fn skip(&mut self, pool: &DatabaseConnection) -> Result<Noted, DbErr> {
        let low = self.low;
        let fresh = Self::begin(pool).await?;
        let mut noted = Noted { doubtful: true, ..Noted::default() };
        // After the beginning was set anew: what comes between is read twice, never not at all.
        for row in ask(pool, "SELECT DISTINCT CAST(tbl AS CHAR) FROM valvula_change WHERE id > ?", [low.into()]).await?
        {
            noted.whole(row.try_get_by_index(0)?);
        }
        *self = fresh;
        Ok(noted)
    }

    /// Moves `low` up over what is known, and over what was waited for long enough. Whether missing
    /// numbers were given up for lack of room.
    fn advance(&mut self, now: Instant) -> bool {
        let before = self.low;
        if let Some(last) = self.known.last()
            && self.marks.back().is_none_or(|(at, _)| now.duration_since(*at) > WAIT / 60)
        {
            self.marks.push_back((now, last));
        }
        while let Some((at, mark)) = self.marks.front().copied()
            && now.duration_since(at) >= WAIT
        {
            self.low = self.low.max(mark);
            self.marks.pop_front();
        }
        let mut gave_up = false;
        if self.known.len() > WINDOW
            && let Some(last) = self.known.last()
        {
            let to = last - i64::try_from(WINDOW / 2).unwrap_or(i64::MAX);
            let missing = u64::try_from(to - self.low).is_ok_and(|n| n > self.known.count_up_to(to));
            gave_up = missing && to > self.low;
            self.low = self.low.max(to);
        }
        while self.known.contains(self.low + 1) {
            self.low += 1;
        }
        if self.low != before {
            self.known.remove_up_to(self.low);
            // The sign was for another range: ask once more, which costs little.
            self.sign = Sign::default();
        }
        gave_up
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn feed(known: impl IntoIterator<Item = i64>) -> Feed {
        let mut ids = Ids::default();
        for id in known {
            ids.insert(id);
        }
        Feed { low: 0, known: ids, marks: VecDeque::new(), sign: Sign::default() }
    }

    #[test]
    fn what_is_known_without_a_gap_is_not_kept() {
        let mut feed = feed(1..=10);
        assert!(!feed.advance(Instant::now()));
        assert_eq!((feed.low, feed.known.len()), (10, 0));
    }

    #[test]
    fn a_missing_number_is_waited_for_and_given_up_after_ten_minutes() {
        let start = Instant::now();
        let mut feed = feed([1, 2, 4, 5]);
        feed.advance(start);
        assert_eq!((feed.low, feed.known.len()), (2, 2));
        feed.advance(start + WAIT - Duration::from_secs(1));
        assert_eq!(feed.low, 2);
        feed.advance(start + WAIT);
        assert_eq!((feed.low, feed.known.len()), (5, 0));
    }

    #[test]
    fn numbers_in_steps_take_bounded_room() {
        let mut feed = feed((0..200_000).map(|n| n * 3));
        assert!(feed.advance(Instant::now()), "missing numbers were given up, and it is said");
        assert!(feed.known.len() <= WINDOW, "{}", feed.known.len());
    }
}

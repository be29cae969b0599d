//! Warnings that a busy server would otherwise write for each request: once a minute for each row.

use std::time::{Duration, Instant};

use foldhash::{HashMap, HashMapExt};
use parking_lot::Mutex;

/// How long a row keeps silent after its warning.
const SILENCE: Duration = Duration::from_secs(60);
/// Rows remembered. With more of them at fault within a minute, some warn again before their minute is over.
const ROWS: usize = 1_024;

/// When which row last warned.
pub struct Rarely(Mutex<HashMap<i64, Last>>);

struct Last {
    at: Instant,
    suppressed: u64,
}

impl Default for Rarely {
    fn default() -> Self {
        Self(Mutex::new(HashMap::new()))
    }
}

impl Rarely {
    /// Whether to warn of this row now, and how often it was passed in silence since the last time.
    pub fn warn(&self, row: i64, now: Instant) -> Option<u64> {
        let mut rows = self.0.lock();
        if let Some(last) = rows.get_mut(&row) {
            if now.saturating_duration_since(last.at) < SILENCE {
                last.suppressed += 1;
                return None;
            }
            last.at = now;
            return Some(std::mem::take(&mut last.suppressed));
        }
        if rows.len() >= ROWS {
            rows.clear();
        }
        rows.insert(row, Last { at: now, suppressed: 0 });
        Some(0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_row_warns_once_a_minute_and_says_how_often_it_kept_silent() {
        let rarely = Rarely::default();
        let start = Instant::now();
        assert_eq!(rarely.warn(7, start), Some(0));
        assert_eq!(rarely.warn(7, start + Duration::from_secs(59)), None);
        assert_eq!(rarely.warn(7, start + Duration::from_secs(59)), None);
        assert_eq!(rarely.warn(8, start), Some(0), "another row has a minute of its own");
        assert_eq!(rarely.warn(7, start + Duration::from_secs(60)), Some(2));
        assert_eq!(rarely.warn(7, start + Duration::from_secs(61)), None);
    }

    #[test]
    fn memory_for_it_is_bounded() {
        let rarely = Rarely::default();
        let now = Instant::now();
        for row in 0..10 * ROWS as i64 {
            rarely.warn(row, now);
        }
        assert!(rarely.0.lock().len() <= ROWS);
    }
}

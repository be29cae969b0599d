//! Until when a row holds: the column `expires`, which the original's tables have not.

use std::time::UNIX_EPOCH;

use actors::clock::Clock;

/// When a row ends, in unix time: from then on it is as if it were not there. Small, since every row
/// in memory has one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Until(u32);

impl Until {
    const NEVER: Self = Self(u32::MAX);

    /// Reads the column. NULL never ends, nor does 0 or less, which is what a panel's default may be; a time
    /// behind the year 2106 is as good as never.
    pub(super) fn of(column: Option<i64>) -> Self {
        match column {
            Some(time @ 1..) => u32::try_from(time).map_or(Self::NEVER, Self),
            _ => Self::NEVER,
        }
    }

    /// Whether the row has ended. The clock is asked only where a row can end.
    pub(super) fn is_over(self, clock: &Clock) -> bool {
        if self == Self::NEVER {
            return false;
        }
        let now = clock.now().duration_since(UNIX_EPOCH).unwrap_or_default().as_secs();
        now >= u64::from(self.0)
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn a_row_ends_at_its_second_and_not_before() {
        let clock = Clock::manual(UNIX_EPOCH + Duration::from_millis(999_999));
        assert!(!Until::of(Some(1000)).is_over(&clock));
        clock.advance(Duration::from_millis(1));
        assert!(Until::of(Some(1000)).is_over(&clock));
        for never in [None, Some(0), Some(-1), Some(i64::MIN), Some(i64::MAX), Some(u32::MAX.into())] {
            assert!(!Until::of(never).is_over(&Clock::manual(UNIX_EPOCH + Duration::from_secs(u64::MAX >> 20))), "{never:?}");
        }
    }
}

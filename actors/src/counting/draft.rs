//! A request that wants to be charged, and the counters that it draws on.

use smallvec::SmallVec;

use super::book::{Key, Limits};
use super::counter::{RUN, WINDOWS};
use super::event::Event;

/// A request that wants to be charged.
#[derive(Debug, Clone, Copy)]
pub struct Draft<'a> {
    /// Message, recipient and worth.
    pub event: Event,
    /// The account, in normal form.
    pub account: &'a [u8],
    /// Its domain, in normal form; empty: none, and nothing is charged to a domain.
    pub domain: &'a [u8],
    /// When the current minute, hour and run began.
    pub windows: [i64; WINDOWS],
    /// When the last of them closes.
    pub closes: i64,
    /// Which of the runs open at the same time this is: 0, unless periods overlap.
    pub slot: u8,
    /// The account's limits.
    pub account_limits: Limits,
    /// The domain's limits.
    pub domain_limits: Limits,
    /// Charge it also when it is over a limit: its mail will be accepted all the same.
    pub force: bool,
}

/// One line of a charge: a counter, and which of its windows are meant.
pub(super) struct Line<'a> {
    pub(super) kind: u8,
    pub(super) name: &'a [u8],
    pub(super) windows: std::ops::Range<usize>,
    pub(super) limits: &'a Limits,
}

impl<'a> Draft<'a> {
    /// The counters it draws on.
    pub fn keys(&self) -> SmallVec<[Key; 4]> {
        self.lines().into_iter().map(|line| (line.kind, line.name.into())).collect()
    }

    pub(super) fn lines(&'a self) -> SmallVec<[Line<'a>; 4]> {
        let mut lines = SmallVec::new();
        let sides = [(0, self.account, &self.account_limits), (1, self.domain, &self.domain_limits)];
        for (kind, name, limits) in sides {
            if kind == 1 && name.is_empty() {
                continue;
            }
            let main = if self.slot == 0 { 0..WINDOWS } else { 0..RUN };
            lines.push(Line { kind, name, windows: main, limits });
            if self.slot > 0 {
                lines.push(Line { kind: kind + 2 * self.slot, name, windows: RUN..WINDOWS, limits });
            }
        }
        lines
    }

    /// The same as decided at `now` (seconds since 1970). If the clock was set back since it was drafted, what it means
    /// has not begun, and must not open windows that would hold until the clock is there again.
    pub(super) fn begun_by(&self, now: u64) -> Self {
        let latest = i64::try_from(now).unwrap_or(i64::MAX);
        Self { windows: self.windows.map(|from| from.min(latest)), ..*self }
    }
}

//! One counter: what an account or a domain has used of its minute, its hour and its run of a period.
//!
//! Pure arithmetic. A window is known by the instant it begins. A charge for a newer window starts it
//! at zero; one for a window that has closed meanwhile goes to the newer one, so that nothing is lost
//! where two daemons' clocks differ. The database does the same by itself (see `sql`). A clock that is set back is
//! another matter: see `set_back`.

/// How many windows a counter has.
pub const WINDOWS: usize = 3;
/// The clock's minute.
pub const MINUTE: usize = 0;
/// The clock's hour.
pub const HOUR: usize = 1;
/// The run of the period.
pub const RUN: usize = 2;

/// No limit.
pub const UNLIMITED: i64 = i64::MAX;

/// A stored window that begins this much later than ours was written by a clock that was wrong, and is
/// not believed: otherwise one bad date would stop a counter for years. Less than this is another
/// daemon's clock ahead of ours, or a period whose start was moved.
pub const FUTURE_SECONDS: i64 = 2 * 86_400;

/// What is used of one window.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Tally {
    /// When the window began (seconds since 1970).
    pub from: i64,
    /// Used so far, with what is not written yet.
    pub used: i64,
    /// The part of `used` that no batch has taken yet.
    pub unwritten: i64,
}

impl Tally {
    /// Whether a charge for the window that begins at `from` belongs to the one that is held.
    fn holds(&self, from: i64) -> bool {
        self.from >= from && self.from <= from.saturating_add(FUTURE_SECONDS)
    }

    /// Used of the window that begins at `from`.
    pub fn used_in(&self, from: i64) -> i64 {
        if self.holds(from) { self.used.max(0) } else { 0 }
    }

    /// Adds `count` to the window that begins at `from`; returns the beginning of the window it went to.
    pub fn add(&mut self, from: i64, count: i64) -> i64 {
        if !self.holds(from) {
            *self = Self { from, used: 0, unwritten: 0 };
        }
        self.used = self.used.max(0).saturating_add(count);
        self.unwritten = self.unwritten.saturating_add(count);
        self.from
    }

    /// Adds what another daemon has written of the window that begins at `from`.
    pub fn follow(&mut self, from: i64, change: i64) {
        if !self.holds(from) {
            *self = Self { from, used: 0, unwritten: 0 };
        }
        self.used = self.used.max(0).saturating_add(change);
    }

    /// Gives back `count` that was charged to the window that began at `from`; if that one has closed
    /// there is nothing to give.
    pub fn give_back(&mut self, from: i64, count: i64) {
        if self.from == from {
            let count = count.min(self.used.max(0));
            self.used -= count;
            self.unwritten -= count;
        }
    }

    /// The clock was set back to `now`: a window that begins later has not begun. One that begins very much later
    /// stays: it is not believed as long as that clock holds, which may be the one that is wrong.
    pub fn set_back(&mut self, now: i64) {
        if self.from > now && self.from <= now.saturating_add(FUTURE_SECONDS) {
            *self = Self::default();
        }
    }

    /// Takes over what the database holds once all batches taken so far are in it: that, and what no
    /// batch has taken yet. `None`: nothing is stored.
    pub fn refresh(&mut self, stored: Option<(i64, i64)>) {
        let (from, used) = match stored {
            Some((from, used)) if from == self.from => (from, used),
            Some((from, used)) if from > self.from && (self.from == 0 || Self { from, ..*self }.holds(self.from)) => {
                // a newer window, opened by another daemon: what is unwritten will be added to it
                (from, used)
            }
            _ => (self.from, 0),
        };
        self.from = from;
        self.used = used.max(0).saturating_add(self.unwritten);
    }
}

/// What one account or domain has used.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Counter {
    /// By window: [`MINUTE`], [`HOUR`], [`RUN`].
    pub tallies: [Tally; WINDOWS],
    /// When the last of its windows closes: from then on it can be forgotten.
    pub closes: i64,
    /// The same as batches have taken it to the database, where it only moves on.
    pub stored_closes: i64,
    /// Whether it stands in the list of what is to be written.
    pub dirty: bool,
}

impl Counter {
    /// Whether nothing is to be written.
    pub fn is_written(&self) -> bool {
        self.tallies.iter().all(|tally| tally.unwritten == 0)
    }
}

/// What a window comes to (when it began, what is used of it) that `change` is added to; the database does the same.
pub fn added((stored_from, stored): (i64, i64), (from, change): (i64, i64)) -> (i64, i64) {
    let stored = Tally { from: stored_from, used: stored, unwritten: 0 };
    if stored.holds(from) { (stored_from, stored.used.max(0).saturating_add(change).max(0)) } else { (from, change) }
}

/// Two changes of one window, one after the other, as one.
pub fn together((first_from, first): (i64, i64), (from, change): (i64, i64)) -> (i64, i64) {
    let is_held = Tally { from: first_from, ..Tally::default() }.holds(from);
    if is_held { (first_from, first.saturating_add(change)) } else { (from, change) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_newer_window_starts_at_zero() {
        let mut tally = Tally::default();
        tally.add(60, 5);
        assert_eq!(tally.used_in(120), 0);
        tally.add(120, 1);
        assert_eq!((tally.from, tally.used, tally.unwritten), (120, 1, 1));
    }

    #[test]
    fn a_charge_of_a_slower_clock_goes_to_the_newer_window() {
        let mut tally = Tally::default();
        tally.add(120, 5);
        assert_eq!(tally.add(60, 2), 120);
        assert_eq!(tally.used_in(120), 7);
    }

    #[test]
    fn a_window_far_in_the_future_is_not_believed() {
        let mut tally = Tally::default();
        tally.add(FUTURE_SECONDS * 100, 5);
        assert_eq!(tally.used_in(60), 0);
        tally.add(60, 2);
        assert_eq!((tally.from, tally.used), (60, 2));
    }

    #[test]
    fn what_was_charged_to_a_closed_window_is_not_taken_from_the_next() {
        let mut tally = Tally::default();
        tally.add(60, 5);
        tally.add(120, 3);
        tally.give_back(60, 5);
        assert_eq!(tally.used_in(120), 3);
        tally.give_back(120, 2);
        assert_eq!(tally.used_in(120), 1);
    }

    #[test]
    fn a_re_read_keeps_what_is_not_written_yet() {
        let mut tally = Tally { from: 60, used: 9, unwritten: 2 };
        tally.refresh(Some((60, 20)));
        assert_eq!((tally.used, tally.unwritten), (22, 2));
        tally.refresh(Some((0, 1000)));
        assert_eq!(tally.used, 2, "a window that has closed counts nothing");
        tally.refresh(Some((120, 4)));
        assert_eq!((tally.from, tally.used, tally.unwritten), (120, 6, 2));
        tally.refresh(None);
        assert_eq!(tally.used, 2, "somebody removed the row");
    }
}

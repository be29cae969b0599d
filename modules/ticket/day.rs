//! Days and months by the clock of a zone: which was handled last, and when it ended. Pure.
//!
//! `time_tracking` knows a day of the month and a month, no year: what it says is taken for the latest
//! such day that is not in the future. (A daemon that was away for exactly a year finds nothing to do.)

use jiff::civil::Date;
use jiff::tz::TimeZone;
use jiff::{Timestamp, ToSpan as _};

/// A change of day that has to be handled.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Change {
    /// The last second (unix time) of the day that ended.
    pub day_end: i64,
    /// The last second of the month that ended, if that changed too.
    pub month_end: Option<i64>,
}

/// What is to be done about what was handled last.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Due {
    /// Nothing: it is today (or tomorrow, by another daemon's clock).
    Nothing,
    /// Nothing is known of before: only note the day.
    Note,
    /// The day has changed.
    Change(Change),
}

/// The day that `second` (unix time) is in.
pub fn day_of(zone: &TimeZone, second: i64) -> Date {
    zone.to_datetime(Timestamp::from_second(second).unwrap_or(Timestamp::UNIX_EPOCH)).date()
}

/// What is due on `today`, when `day` and `month` were handled last.
pub fn due(zone: &TimeZone, today: Date, day: Option<i64>, month: Option<i64>) -> Due {
    let last = day.zip(month).and_then(|(day, month)| Some((i8::try_from(day).ok()?, i8::try_from(month).ok()?)));
    let Some((day, month)) = last else { return Due::Note };
    let is = |date: Date| (date.day(), date.month()) == (day, month);
    if is(today) || today.tomorrow().is_ok_and(is) {
        return Due::Nothing;
    }
    // eight years reach back over any 29 February
    let latest = (0..=8).find_map(|years| {
        let date = Date::new(today.year().checked_sub(years)?, month, day).ok()?;
        (date <= today).then_some(date)
    });
    let Some(last) = latest else { return Due::Note };
    let Some(day_end) = last.tomorrow().ok().and_then(|next| before(zone, next)) else { return Due::Note };
    let month_end = if (last.year(), last.month()) == (today.year(), today.month()) {
        None
    } else {
        last.first_of_month().checked_add(1.month()).ok().and_then(|next| before(zone, next))
    };
    Due::Change(Change { day_end, month_end })
}

/// The last second before `date` begins.
fn before(zone: &TimeZone, date: Date) -> Option<i64> {
    date.to_zoned(zone.clone()).ok().map(|start| start.timestamp().as_second() - 1)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn madrid() -> TimeZone {
        TimeZone::get("Europe/Madrid").unwrap()
    }

    fn date(text: &str) -> Date {
        text.parse().unwrap()
    }

    fn second(text: &str) -> i64 {
        text.parse::<Timestamp>().unwrap().as_second()
    }

    #[test]
    fn a_history_row_is_stamped_inside_the_day_that_ended() {
        let Due::Change(change) = due(&madrid(), date("2026-11-23"), Some(22), Some(11)) else { panic!("changed") };
        assert_eq!(change, Change { day_end: second("2026-11-22T22:59:59Z"), month_end: None });
    }

    #[test]
    fn the_month_changes_with_the_day() {
        let Due::Change(change) = due(&madrid(), date("2026-12-01"), Some(30), Some(11)) else { panic!("changed") };
        assert_eq!(change.day_end, second("2026-11-30T22:59:59Z"));
        assert_eq!(change.month_end, Some(second("2026-11-30T22:59:59Z")));
    }

    #[test]
    fn a_daemon_that_was_down_for_long_stamps_the_day_it_last_saw() {
        let Due::Change(change) = due(&madrid(), date("2027-02-03"), Some(15), Some(10)) else { panic!("changed") };
        assert_eq!(change.day_end, second("2026-10-15T21:59:59Z"));
        assert_eq!(change.month_end, Some(second("2026-10-31T22:59:59Z")), "by winter time");
        let Due::Change(change) = due(&madrid(), date("2026-11-15"), Some(15), Some(10)) else { panic!("changed") };
        assert!(change.month_end.is_some(), "the same day of another month");
    }

    #[test]
    fn today_and_tomorrow_are_handled_already() {
        assert_eq!(due(&madrid(), date("2026-11-22"), Some(22), Some(11)), Due::Nothing);
        assert_eq!(due(&madrid(), date("2026-11-22"), Some(23), Some(11)), Due::Nothing, "a clock that is ahead");
        assert_eq!(due(&madrid(), date("2026-12-31"), Some(1), Some(1)), Due::Nothing);
    }

    #[test]
    fn what_is_no_day_is_only_noted() {
        for (day, month) in [(None, None), (Some(0), Some(0)), (Some(31), Some(2)), (Some(1), None), (Some(500), Some(1))] {
            assert_eq!(due(&madrid(), date("2026-11-22"), day, month), Due::Note, "{day:?} {month:?}");
        }
    }

    #[test]
    fn a_29_february_is_found() {
        let Due::Change(change) = due(&madrid(), date("2026-03-01"), Some(29), Some(2)) else { panic!("changed") };
        assert_eq!(change.day_end, second("2024-02-29T22:59:59Z"));
    }

    #[test]
    fn a_day_begins_at_midnight_by_the_clock() {
        assert_eq!(day_of(&madrid(), second("2026-11-22T22:59:59Z")), date("2026-11-22"));
        assert_eq!(day_of(&madrid(), second("2026-11-22T23:00:00Z")), date("2026-11-23"));
    }
}

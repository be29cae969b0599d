//! Periods of the day and the windows of a moment, in one time zone.
//!
//! Everything is reckoned in instants, so that days on which the clock changes need no rule of their own:
//! a period runs once a day, from the first instant at which the clock shows `from` (or jumps over it)
//! to the first at which it shows `to`. A clock that goes back shows some times twice; no period
//! starts a second time for that, and none has an end before its start.

use jiff::civil::{Date, DateTime, Time};
use jiff::tz::{AmbiguousOffset, TimeZone};
use jiff::{Span, Timestamp, ToSpan as _};

/// When, by the clock, a period is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Hours {
    /// Included.
    pub from: Time,
    /// Not included. Not after `from`: on the next day.
    pub to: Time,
}

/// A stretch of time: from the first second, to the first that is no longer in it (since 1970).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Stretch {
    /// Its first second.
    pub from: i64,
    /// The second after its last.
    pub until: i64,
}

impl Stretch {
    /// Whether `second` is in it.
    pub fn contains(&self, second: i64) -> bool {
        (self.from..self.until).contains(&second)
    }
}

/// Periods in the order of the configuration, and the zone whose clock they mean.
#[derive(Debug, Clone)]
pub struct Calendar {
    zone: TimeZone,
    periods: Vec<Hours>,
    slots: Vec<u8>,
}

/// The windows that are open at a moment.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Moment {
    /// The clock's minute.
    pub minute: Stretch,
    /// The clock's hour.
    pub hour: Stretch,
    /// The run of `period`, or the gap between two runs.
    pub run: Stretch,
    /// Which period covers the moment; `None`: a gap.
    pub period: Option<usize>,
    /// Tells apart the runs of periods that overlap.
    pub slot: u8,
    /// For how long all of this holds.
    pub holds: Stretch,
}

impl Calendar {
    /// The calendar of `periods` by the clock of `zone`.
    pub fn new(zone: TimeZone, periods: Vec<Hours>) -> Self {
        let slots = slots(&periods);
        Self { zone, periods, slots }
    }

    /// The windows open at `second` (since 1970).
    pub fn at(&self, second: i64) -> Moment {
        let now = timestamp(second);
        let minute = self.window(now, 60);
        let hour = self.window(now, 3600);
        let today = self.zone.to_datetime(now).date();
        let covering = (0..self.periods.len()).find_map(|index| Some((index, self.run(index, today, second)?)));
        let (period, run, slot) = match covering {
            Some((index, run)) => (Some(index), run, self.slots[index]),
            None => (None, self.gap(today, second), 0),
        };
        // Periods begin and end at whole minutes; a run that ends within one is of a zone with odd seconds.
        let holds = Stretch { from: minute.from.max(run.from), until: minute.until.min(run.until) };
        Moment { minute, hour, run, period, slot, holds }
    }

    /// The time of `second` by the clock, with the zone's short name, for people: `14:00 CET`, with the
    /// date when that is another day than `now`'s.
    pub fn show(&self, second: i64, now: i64) -> String {
        let shown = timestamp(second).to_zoned(self.zone.clone());
        let is_today = shown.date() == self.zone.to_datetime(timestamp(now)).date();
        shown.strftime(if is_today { "%H:%M %Z" } else { "%Y-%m-%d %H:%M %Z" }).to_string()
    }

    /// The stretch of `length` seconds by the clock (a minute, an hour) that holds `now`. Where the clock
    /// is set, it ends and the next begins.
    fn window(&self, now: Timestamp, length: i64) -> Stretch {
        let offset = i64::from(self.zone.to_offset(now).seconds());
        let second = now.as_second();
        let from = second - (second + offset).rem_euclid(length);
        let mut window = Stretch { from, until: from + length };
        // Most windows are in the middle of nothing: one look on either side says so.
        if i64::from(self.zone.to_offset(timestamp(window.from)).seconds()) != offset
            && let Some(set) = self.zone.preceding(timestamp(second + 1)).next()
        {
            window.from = window.from.max(set.timestamp().as_second());
        }
        if i64::from(self.zone.to_offset(timestamp(window.until - 1)).seconds()) != offset
            && let Some(set) = self.zone.following(now).next()
        {
            window.until = window.until.min(set.timestamp().as_second());
        }
        window
    }

    /// The run of a period that holds `second`, if one does.
    fn run(&self, index: usize, today: Date, second: i64) -> Option<Stretch> {
        days(today, 1).filter_map(|day| self.run_of(index, day)).find(|run| run.contains(second))
    }

    /// The run of a period that starts on `day`; on a day without the time of its start, when the clock
    /// jumps over it.
    fn run_of(&self, index: usize, day: Date) -> Option<Stretch> {
        let hours = &self.periods[index];
        let last = if hours.from < hours.to { day } else { day.checked_add(1.day()).ok()? };
        let (from, until) = (self.first(day.to_datetime(hours.from))?, self.first(last.to_datetime(hours.to))?);
        Some(Stretch { from, until })
    }

    /// The stretch around `second` that no period covers.
    fn gap(&self, today: Date, second: i64) -> Stretch {
        let runs = || {
            (0..self.periods.len())
                .flat_map(|index| days(today, 2).filter_map(move |day| self.run_of(index, day)))
                .filter(|run| run.from < run.until)
        };
        let from = runs().map(|run| run.until).filter(|until| *until <= second).max();
        let until = runs().map(|run| run.from).filter(|from| *from > second).min();
        let day = |date: Date| self.first(date.to_datetime(Time::midnight()));
        Stretch {
            from: from.or_else(|| day(today)).unwrap_or(second),
            until: until.or_else(|| day(today.tomorrow().ok()?)).unwrap_or(second + 86_400),
        }
    }

    /// The first second at which the clock shows `time` or, where it is set forward, is past it.
    fn first(&self, time: DateTime) -> Option<i64> {
        match self.zone.to_ambiguous_timestamp(time).offset() {
            AmbiguousOffset::Unambiguous { offset } | AmbiguousOffset::Fold { before: offset, .. } => {
                offset.to_timestamp(time).ok().map(Timestamp::as_second)
            }
            AmbiguousOffset::Gap { after, .. } => {
                // by the new offset this time would be before the clock was set
                let before = after.to_timestamp(time).ok()?;
                self.zone.following(before).next().map(|set| set.timestamp().as_second())
            }
        }
    }
}

/// `today` and `around` days before and after it.
fn days(today: Date, around: i64) -> impl Iterator<Item = Date> {
    (-around..=around).filter_map(move |days| today.checked_add(Span::new().days(days)).ok())
}

/// Gives periods that overlap different slots, and all others slot 0.
fn slots(periods: &[Hours]) -> Vec<u8> {
    let mut slots: Vec<u8> = Vec::with_capacity(periods.len());
    for (index, period) in periods.iter().enumerate() {
        let taken: Vec<u8> =
            (0..index).filter(|other| overlap(period, &periods[*other])).map(|other| slots[other]).collect();
        slots.push((0..=u8::MAX).find(|slot| !taken.contains(slot)).unwrap_or(u8::MAX));
    }
    slots
}

fn overlap(a: &Hours, b: &Hours) -> bool {
    covers(a, b.from) || covers(b, a.from)
}

fn covers(hours: &Hours, time: Time) -> bool {
    if hours.from < hours.to { hours.from <= time && time < hours.to } else { hours.from <= time || time < hours.to }
}

/// An instant; one that no calendar reaches stands at the end of all.
fn timestamp(second: i64) -> Timestamp {
    Timestamp::from_second(second).unwrap_or(if second < 0 { Timestamp::MIN } else { Timestamp::MAX })
}

#[cfg(test)]
#[path = "period_tests.rs"]
mod tests;

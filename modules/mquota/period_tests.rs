use super::*;
use proptest::prelude::*;

fn hours(from: &str, to: &str) -> Hours {
    Hours { from: from.parse().unwrap(), to: to.parse().unwrap() }
}

fn calendar(zone: &str, periods: &[(&str, &str)]) -> Calendar {
    let periods = periods.iter().map(|(from, to)| hours(from, to)).collect();
    Calendar::new(TimeZone::get(zone).unwrap(), periods)
}

fn utc(time: &str) -> i64 {
    time.parse::<Timestamp>().unwrap().as_second()
}

/// The stretch in UTC, as people read it.
fn shown(stretch: Stretch) -> String {
    let show = |second| timestamp(second).strftime("%dT%H:%M").to_string();
    format!("{} {}", show(stretch.from), show(stretch.until))
}

#[test]
fn from_is_included_and_to_is_not() {
    let calendar = calendar("Europe/Madrid", &[("09:00", "21:00")]);
    for (time, period) in [
        ("2026-01-15T07:59:59Z", None),
        ("2026-01-15T08:00:00Z", Some(0)),
        ("2026-01-15T19:59:59Z", Some(0)),
        ("2026-01-15T20:00:00Z", None),
    ] {
        assert_eq!(calendar.at(utc(time)).period, period, "{time}");
    }
}

#[test]
fn a_period_may_run_over_midnight() {
    let calendar = calendar("Europe/Madrid", &[("21:00", "09:00")]);
    for time in ["2026-01-15T20:00:00Z", "2026-01-15T23:30:00Z", "2026-01-16T07:59:59Z"] {
        let moment = calendar.at(utc(time));
        assert_eq!((moment.period, shown(moment.run).as_str()), (Some(0), "15T20:00 16T08:00"), "{time}");
    }
    assert_eq!(calendar.at(utc("2026-01-16T08:00:00Z")).period, None);
}

#[test]
fn from_equal_to_to_covers_the_whole_day() {
    let calendar = calendar("Europe/Madrid", &[("06:00", "06:00")]);
    for time in ["2026-01-15T05:00:00Z", "2026-01-15T12:00:00Z", "2026-01-16T04:59:59Z"] {
        let moment = calendar.at(utc(time));
        assert_eq!((moment.period, shown(moment.run).as_str()), (Some(0), "15T05:00 16T05:00"), "{time}");
    }
}

#[test]
fn the_first_in_the_list_that_covers_the_time_is_taken() {
    let calendar = calendar("UTC", &[("12:00", "14:00"), ("09:00", "21:00"), ("00:00", "00:00")]);
    for (time, period) in [("2026-01-15T13:00:00Z", 0), ("2026-01-15T15:00:00Z", 1), ("2026-01-15T22:00:00Z", 2)] {
        assert_eq!(calendar.at(utc(time)).period, Some(period), "{time}");
    }
}

#[test]
fn overlapping_periods_have_runs_of_their_own_and_others_share_one_place() {
    assert_eq!(slots(&[hours("09:00", "21:00"), hours("21:00", "09:00")]), [0, 0]);
    assert_eq!(slots(&[hours("12:00", "14:00"), hours("09:00", "21:00"), hours("14:00", "15:00")]), [0, 1, 0]);
    assert_eq!(slots(&[hours("00:00", "00:00"), hours("09:00", "21:00"), hours("10:00", "11:00")]), [0, 1, 2]);
    let calendar = calendar("UTC", &[("12:00", "14:00"), ("09:00", "21:00")]);
    let before = calendar.at(utc("2026-01-15T11:00:00Z"));
    let during = calendar.at(utc("2026-01-15T13:00:00Z"));
    let after = calendar.at(utc("2026-01-15T15:00:00Z"));
    assert_eq!((before.run, before.slot), (after.run, after.slot), "the run that was covered goes on");
    assert_ne!(before.slot, during.slot);
}

#[test]
fn a_time_that_no_period_covers_is_a_gap_up_to_the_next() {
    let calendar = calendar("UTC", &[("09:00", "12:00"), ("14:00", "18:00")]);
    for (time, gap) in [
        ("2026-01-15T13:00:00Z", "15T12:00 15T14:00"),
        ("2026-01-15T18:00:00Z", "15T18:00 16T09:00"),
        ("2026-01-16T08:59:59Z", "15T18:00 16T09:00"),
    ] {
        let moment = calendar.at(utc(time));
        assert_eq!((moment.period, shown(moment.run).as_str()), (None, gap), "{time}");
    }
    let none = Calendar::new(TimeZone::UTC, Vec::new()).at(utc("2026-01-15T13:00:00Z"));
    assert_eq!((none.period, shown(none.run).as_str()), (None, "15T00:00 16T00:00"));
}

#[test]
fn minute_and_hour_are_the_clocks_in_that_zone() {
    let moment = calendar("Asia/Kolkata", &[]).at(utc("2026-01-15T12:40:31Z"));
    assert_eq!(shown(moment.minute), "15T12:40 15T12:41");
    assert_eq!(shown(moment.hour), "15T12:30 15T13:30", "18:00 to 19:00 by the clock");
}

#[test]
fn the_clock_set_forward_loses_no_window_and_makes_none_negative() {
    // Madrid: 2026-03-29 02:00 -> 03:00, at 01:00 UTC. New York: 2026-03-08 02:00 -> 03:00, at 07:00 UTC.
    for (zone, day, set) in [("Europe/Madrid", "2026-03-29", 1), ("America/New_York", "2026-03-08", 7)] {
        let at = |hour: i64, rest: &str| utc(&format!("{day}T{hour:02}:{rest}Z"));
        let calendar = calendar(zone, &[("01:00", "02:30"), ("02:30", "02:45"), ("02:45", "01:00")]);
        let before = calendar.at(at(set - 1, "59:59"));
        assert_eq!((before.period, before.run.until, before.hour.until), (Some(0), at(set, "00:00"), at(set, "00:00")));
        let after = calendar.at(at(set, "00:00"));
        assert_eq!((after.period, after.run.from), (Some(2), at(set, "00:00")), "{zone}: 02:30 to 02:45 is not");
        assert_eq!((after.hour.from, after.hour.until), (at(set, "00:00"), at(set + 1, "00:00")));
        let next_day = calendar.at(at(set, "00:00") + 86_400 - 3600);
        assert_eq!(next_day.run.until - next_day.run.from, 90 * 60, "{zone}: the day after is as ever");
    }
}

#[test]
fn the_clock_set_back_doubles_no_window() {
    // Madrid: 2026-10-25 03:00 -> 02:00, at 01:00 UTC. New York: 2026-11-01 02:00 -> 01:00, at 06:00 UTC.
    for (zone, day, set, hour) in [("Europe/Madrid", "2026-10-25", 1, 2), ("America/New_York", "2026-11-01", 6, 1)] {
        let at = |hour: i64, rest: &str| utc(&format!("{day}T{hour:02}:{rest}Z"));
        let clock = |minutes: u32| format!("{hour:02}:{minutes:02}");
        let next = format!("{:02}:00", hour + 1);
        let calendar =
            calendar(zone, &[(&clock(0), &clock(30)), (&clock(30), next.as_str()), (next.as_str(), &clock(0))]);
        let first = calendar.at(at(set - 1, "10:00"));
        assert_eq!((first.period, first.run.until), (Some(0), at(set - 1, "30:00")));
        for time in [at(set - 1, "40:00"), at(set, "10:00"), at(set, "40:00")] {
            let moment = calendar.at(time);
            assert_eq!(moment.period, Some(1), "{zone}: shown twice, run once");
            assert_eq!((moment.run.from, moment.run.until), (at(set - 1, "30:00"), at(set + 1, "00:00")));
        }
        let (one, two) = (calendar.at(at(set - 1, "59:59")), calendar.at(at(set, "00:00")));
        assert_eq!((one.hour.from, one.hour.until), (at(set - 1, "00:00"), at(set, "00:00")));
        assert_eq!((two.hour.from, two.hour.until), (at(set, "00:00"), at(set + 1, "00:00")), "an hour of its own");
    }
}

#[test]
fn the_end_of_a_window_is_told_by_the_clock() {
    let calendar = calendar("Europe/Madrid", &[]);
    let now = utc("2026-01-15T12:59:00Z");
    assert_eq!(calendar.show(utc("2026-01-15T13:00:00Z"), now), "14:00 CET");
    assert_eq!(calendar.show(utc("2026-01-16T08:00:00Z"), now), "2026-01-16 09:00 CET");
    assert_eq!(calendar.show(utc("2026-07-15T13:00:00Z"), utc("2026-07-15T12:00:00Z")), "15:00 CEST");
}

fn clock_time() -> impl Strategy<Value = Time> {
    (0..24i8, prop_oneof![Just(0i8), Just(30), 0..60i8]).prop_map(|(hour, minute)| Time::constant(hour, minute, 0, 0))
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    /// Around the days on which the clock changes (and where it changes by half an hour, or at
    /// midnight): windows follow each other without a hole, each is as long as it can be, and a
    /// period starts once a day.
    #[test]
    fn windows_follow_each_other(
        (zone, around) in prop_oneof![
            Just(("Europe/Madrid", "2026-03-29T01:00:00Z")),
            Just(("Europe/Madrid", "2026-10-25T01:00:00Z")),
            Just(("America/New_York", "2026-03-08T07:00:00Z")),
            Just(("America/New_York", "2026-11-01T06:00:00Z")),
            Just(("Australia/Lord_Howe", "2026-04-04T15:00:00Z")),
            Just(("Australia/Lord_Howe", "2026-10-03T15:30:00Z")),
            Just(("America/Havana", "2026-11-01T05:00:00Z")),
        ],
        periods in proptest::collection::vec((clock_time(), clock_time()), 0..4),
    ) {
        let zone = TimeZone::get(zone).unwrap();
        let periods: Vec<_> = periods.into_iter().map(|(from, to)| Hours { from, to }).collect();
        let calendar = Calendar::new(zone.clone(), periods.clone());
        let middle = utc(around);
        let (start, end) = (middle - 2 * 86_400, middle + 2 * 86_400);
        let mut second = start;
        let mut last: Option<Moment> = None;
        let mut starts = std::collections::BTreeMap::<(usize, i64), i64>::new();
        while second < end {
            let moment = calendar.at(second);
            prop_assert!(moment.minute.contains(second) && moment.hour.contains(second) && moment.run.contains(second));
            prop_assert!(moment.holds.contains(second));
            prop_assert!(moment.hour.until - moment.hour.from <= 3600);
            prop_assert!(moment.run.until - moment.run.from <= 26 * 3600 || moment.period.is_none());
            prop_assert_eq!(calendar.at(moment.holds.until - 1), moment, "holds to its end");
            if let Some(last) = last {
                for (before, now) in [(last.minute, moment.minute), (last.hour, moment.hour)] {
                    prop_assert!(before == now || before.until == now.from, "{:?} then {:?}", before, now);
                }
                if last.period == moment.period && last.run != moment.run {
                    prop_assert!(last.run.until <= moment.run.from);
                }
            }
            if let Some(index) = moment.period {
                let day = zone.to_datetime(timestamp(moment.run.from)).date();
                let day = i64::from(day.day()) + 100 * i64::from(day.month());
                let first = *starts.entry((index, day)).or_insert(moment.run.from);
                prop_assert_eq!(first, moment.run.from, "period {} starts twice", index);
            }
            second = moment.holds.until;
            last = Some(moment);
        }
    }
}

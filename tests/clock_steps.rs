//! The clock of a running daemon goes an hour back and forth, and leaps over midnight: nobody is refused who has quota
//! left by the time it shows, and no change of day is lost or made twice.

#![allow(clippy::unwrap_used)] // a test may be blunt, its helpers too

mod counting;

use std::time::Duration;

use counting::Listeners;
use support::{Connection, Engine, Home, MovedClock, Request, TestDatabase, programs};

const USER: &str = "ann@example.com";
/// Sends nothing before midnight.
const LATE: &str = "bob@example.org";
const HOUR: i64 = 3600;
/// Messages that each window has room for.
const ROOM: usize = 12;

/// How far the clock is off when it shows `hour`:`minute` of today, UTC.
fn today_at(hour: i8, minute: i8) -> i64 {
    let now = jiff::Timestamp::now();
    let today = now.to_zoned(jiff::tz::TimeZone::UTC).date();
    let then = today.at(hour, minute, 0, 0).to_zoned(jiff::tz::TimeZone::UTC).unwrap();
    then.timestamp().as_second() - now.as_second()
}

fn period(name: &str, durability: &str, limit: &str) -> String {
    format!(
        "[module.{name}]\ntype = \"mquota\"\ntimezone = \"UTC\"\ndurability = \"{durability}\"\n\
         flush_interval = \"100ms\"\n[[module.{name}.period]]\nlabel = \"day\"\nfrom = \"00:00\"\nto = \"00:00\"\n\
         {limit} = {ROOM}\n"
    )
}

/// How many of `count` messages of `user` pass.
fn passed(listeners: &Listeners, way: &str, user: &str, count: usize) -> usize {
    let mut connection = Connection::open(listeners.address(way)).unwrap();
    let request = Request::rcpt(user, "r@away.example").sasl(user).set("instance", "");
    let answers = (0..count).map(|_| connection.ask(&request).unwrap());
    answers
        .inspect(|answer| assert!(answer == "DUNNO" || answer.starts_with("REJECT "), "{answer}"))
        .filter(|answer| answer == "DUNNO")
        .count()
}

fn an_hour_back_and_forth(engine: Engine) {
    const WAYS: [&str; 4] = ["hourly", "hourly-relaxed", "by-minute", "by-minute-relaxed"];
    let database = TestDatabase::new(engine);
    let listeners = Listeners::new(&WAYS);
    let sections = period("hourly", "strict", "hour")
        + &period("hourly-relaxed", "relaxed", "hour")
        + &period("by-minute", "strict", "minute")
        + &period("by-minute-relaxed", "relaxed", "minute");
    let home = Home::with(programs!(), &listeners.settings(&database, &sections));
    let clock = MovedClock::new(home.directory());
    let start = today_at(12, 10);
    clock.set(start);
    let daemon = home.start_with(&[], &clock.environment());
    // Each time an hour and a minute that were not before.
    for hours in [0, -1, 1, -2, 2, -3] {
        clock.set(start + hours * HOUR);
        for way in WAYS {
            assert_eq!(passed(&listeners, way, USER, ROOM), ROOM, "{engine:?} {way}, {hours} hours off");
            // The minute may end meanwhile, the hour does not.
            if way.starts_with("hourly") {
                assert_eq!(passed(&listeners, way, USER, 3), 0, "{engine:?} {way}, {hours} hours off: it is full");
            }
        }
        // What is written, and read again, says the same.
        let batches = || daemon.fact("hourly-relaxed", "batches written").as_u64().unwrap();
        support::wait_until("it is written", Duration::from_secs(30), || {
            batches() > 0 && daemon.fact("hourly-relaxed", "writes pending") == 0
        });
        assert_eq!(passed(&listeners, "hourly-relaxed", USER, 3), 0, "{engine:?}, {hours} hours off: it is full still");
    }
    assert_eq!(daemon.stop(), 0);
}

#[test]
fn an_hour_back_and_forth_on_sqlite() {
    an_hour_back_and_forth(Engine::Sqlite);
}

#[test]
fn an_hour_back_and_forth_on_mariadb() {
    an_hour_back_and_forth(Engine::MariaDb);
}

#[test]
fn an_hour_back_and_forth_on_postgresql() {
    an_hour_back_and_forth(Engine::Postgres);
}

fn leaps_over_midnight(engine: Engine) {
    const WAYS: [&str; 3] = ["ticket", "daily", "daily-relaxed"];
    let database = TestDatabase::new(engine);
    let listeners = Listeners::new(&WAYS);
    let sections = period("daily", "strict", "global")
        + &period("daily-relaxed", "relaxed", "global")
        + "[module.ticket]\ntimezone = \"UTC\"\n";
    let home = Home::with(programs!(), &listeners.settings(&database, &sections));
    let clock = MovedClock::new(home.directory());
    let start = today_at(23, 30);
    clock.set(start);
    assert_eq!(home.start_with(&[], &clock.environment()).stop(), 0);
    database.sql(&format!(
        "INSERT INTO ticket_plan (id, day_limit) VALUES (1, {ROOM}); \
         INSERT INTO domain_ticket (id, sasl_user, ticket_plan_id) VALUES (1, '{USER}', 1);"
    ));
    let daemon = home.start_with(&[], &clock.environment());
    // One row for each day that ended, with the use of that day, stamped in its last second.
    let midnight = jiff::Timestamp::now().as_second() + start + HOUR / 2;
    let ended = |days: i64| {
        let rows = database.sql("SELECT stamp, day_usage FROM domain_ticket_history ORDER BY stamp;");
        let rows: Vec<(i64, i64)> = rows
            .lines()
            .map(|line| {
                let mut columns = line.split(['|', '\t']).map(|column| column.parse().unwrap());
                (columns.next().unwrap(), columns.next().unwrap())
            })
            .collect();
        assert_eq!(rows.len() as i64, days, "{engine:?}: {rows:?}");
        for (day, (stamp, used)) in (0..).zip(rows) {
            assert!(
                (stamp - (midnight + day * 24 * HOUR)).abs() < HOUR / 4,
                "{engine:?}: {stamp}, midnight {midnight}"
            );
            assert_eq!(used, ROOM as i64, "{engine:?}");
        }
    };
    let full = |when: &str| {
        for way in WAYS {
            assert_eq!(passed(&listeners, way, USER, ROOM + 3), ROOM, "{engine:?} {way}, {when}");
        }
    };
    full("in the evening");
    ended(0);
    clock.set(start + HOUR);
    full("after midnight");
    ended(1);
    for way in ["daily", "daily-relaxed"] {
        assert_eq!(passed(&listeners, way, LATE, ROOM + 3), ROOM, "{engine:?} {way}");
    }
    clock.set(start);
    for way in ["daily", "daily-relaxed"] {
        assert_eq!(passed(&listeners, way, LATE, ROOM), ROOM, "{engine:?} {way}, who had not sent in the evening");
    }
    clock.set(start + HOUR);
    assert_eq!(passed(&listeners, "ticket", USER, 3), 0, "{engine:?}: the day has not begun anew");
    ended(1);
    clock.set(start + 25 * HOUR);
    full("a day later");
    ended(2);
    assert_eq!(daemon.stop(), 0);
    ended(2);
}

#[test]
fn a_leap_over_midnight_on_sqlite() {
    leaps_over_midnight(Engine::Sqlite);
}

#[test]
fn a_leap_over_midnight_on_mariadb() {
    leaps_over_midnight(Engine::MariaDb);
}

#[test]
fn a_leap_over_midnight_on_postgresql() {
    leaps_over_midnight(Engine::Postgres);
}

//! `[module.mquota]`: its keys, their defaults and bounds.

use actors::counting::counter::{HOUR, MINUTE, RUN, UNLIMITED, WINDOWS};
use actors::counting::{self, Durability, Limits};
use actors::settings::{Node, Section};
use jiff::civil::Time;
use jiff::tz::TimeZone;

use super::period::{Calendar, Hours};

/// Overlapping periods have counters of their own, which are told apart by a small number.
const MOST_PERIODS: usize = 100;

/// What holds when no period covers the time.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum NoMatch {
    /// The limits of the first period, counted from the end of the last run on.
    First,
    /// No limit.
    NoLimit,
    /// Nothing may be sent.
    Reject,
}

/// What is done with a request that is over a limit.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Action {
    /// Refuse it for good.
    Reject,
    /// Refuse it for now: the client tries again.
    Defer,
    /// Accept it and keep it in the hold queue.
    Hold,
    /// Accept it and write a line into Postfix's log.
    Warn,
}

impl Action {
    /// Whether the mail is accepted all the same, and so has to be counted.
    pub fn accepts(self) -> bool {
        matches!(self, Self::Hold | Self::Warn)
    }
}

/// The limits of a period.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Period {
    /// Its name, for the log.
    pub label: String,
    /// Limits of an account.
    pub account: Limits,
    /// Limits of a domain.
    pub domain: Limits,
}

/// The settings of a mquota.
#[derive(Debug, Clone)]
pub struct Settings {
    /// When which period is.
    pub calendar: Calendar,
    /// What holds in it.
    pub periods: Vec<Period>,
    /// What holds when none is.
    pub no_match: NoMatch,
    /// What is done with what is over.
    pub action: Action,
    /// How counters are kept.
    pub counting: counting::Settings,
}

impl Settings {
    /// Reads the section. With faults in it, what is returned is not to be used.
    pub fn read(section: &mut Section) -> Self {
        let zone = zone(section);
        let no_match = section.one_of(
            "if_no_match",
            NoMatch::First,
            &[("first", NoMatch::First), ("no-limit", NoMatch::NoLimit), ("reject", NoMatch::Reject)],
        );
        let action = section.one_of(
            "action",
            Action::Reject,
            &[("reject", Action::Reject), ("defer", Action::Defer), ("hold", Action::Hold), ("warn", Action::Warn)],
        );
        let counting = counting(section);
        let mut tables = section.tables("period");
        let (hours, periods): (Vec<_>, Vec<_>) = tables.iter_mut().map(period).unzip();
        tables.into_iter().for_each(Section::finish);
        match periods.len() {
            0 if no_match == NoMatch::First => section.fault(
                "period",
                "no period is given: expected at least one [[period]], or if_no_match = \"no-limit\"",
            ),
            count if count > MOST_PERIODS => {
                section.fault("period", format!("{count} periods: expected at most {MOST_PERIODS}"));
            }
            _ => {}
        }
        Self { calendar: Calendar::new(zone, hours), periods, no_match, action, counting }
    }
}

/// `timezone`, of this module or another: an IANA name, or the machine's zone.
pub(crate) fn zone(section: &mut Section) -> TimeZone {
    // A machine without a zone of its own is at UTC, as its C library has it.
    let machine = || TimeZone::try_system().unwrap_or(TimeZone::UTC);
    let Some(name) = section.value::<String>("timezone") else { return machine() };
    TimeZone::get(&name).unwrap_or_else(|error| {
        section.fault(
            "timezone",
            format!("{name:?} is not known ({error}): expected an IANA name such as \"Europe/Madrid\", from the machine's tzdata"),
        );
        TimeZone::UTC
    })
}

fn counting(section: &mut Section) -> counting::Settings {
    let mut counting = counting::Settings::default();
    counting.durability = section.one_of(
        "durability",
        counting.durability,
        &[("relaxed", Durability::Relaxed), ("strict", Durability::Strict)],
    );
    counting.flush_interval = section.duration("flush_interval", counting.flush_interval);
    let bounds = std::time::Duration::from_millis(10)..=std::time::Duration::from_secs(3600);
    if !bounds.contains(&counting.flush_interval) {
        section.fault("flush_interval", "expected between \"10ms\" and \"1h\"");
        counting.flush_interval = *bounds.start();
    }
    counting.count_when_away = accepts_on_failure(section);
    counting
}

/// Whether mail is accepted when the module can't say anything: the runtime has read and checked the
/// key; here it decides whether such mail has to be counted.
pub(crate) fn accepts_on_failure(section: &mut Section) -> bool {
    match section.node("on_failure") {
        Some(Node::Leaf { value, .. }) => value.as_str() == Some("dunno"),
        _ => true,
    }
}

fn period(section: &mut Section) -> (Hours, Period) {
    let hours = Hours { from: time(section, "from"), to: time(section, "to") };
    let mut limit = |key: &str| match section.number(key, -1, -1..=i64::from(u32::MAX)) {
        -1 => UNLIMITED,
        limit => limit,
    };
    let mut account = [UNLIMITED; WINDOWS];
    let mut domain = account;
    for (window, name) in [(MINUTE, "minute"), (HOUR, "hour"), (RUN, "global")] {
        account[window] = limit(name);
        domain[window] = limit(&format!("domain_{name}"));
    }
    let label = section.value::<String>("label");
    let label = label.unwrap_or_else(|| section.path().rsplit('.').next().unwrap_or_default().to_owned());
    (hours, Period { label, account, domain })
}

/// `HH:MM`; `24:00` is midnight.
fn time(section: &mut Section, key: &str) -> Time {
    let Some(text) = section.value::<String>(key) else {
        if !section.has(key) {
            section.fault(key, "expected a time of the day, for example \"09:00\"");
        }
        return Time::midnight();
    };
    parse_time(&text).unwrap_or_else(|| {
        section.fault(key, format!("{text:?} is no time of the day: expected for example \"09:00\""));
        Time::midnight()
    })
}

fn parse_time(text: &str) -> Option<Time> {
    let (hour, minute) = text.split_once(':')?;
    let number = |digits: &str| -> Option<i8> {
        let is_number = (1..=2).contains(&digits.len()) && digits.bytes().all(|byte| byte.is_ascii_digit());
        if is_number { digits.parse().ok() } else { None }
    };
    match (number(hour)?, number(minute)?) {
        (24, 0) => Some(Time::midnight()),
        (hour, minute) if minute >= 0 && text.ends_with(|c: char| c.is_ascii_digit()) => {
            Time::new(hour, minute, 0, 0).ok().filter(|_| text.len() >= 4)
        }
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_of_the_day_are_hours_and_minutes() {
        for (text, time) in [("09:00", (9, 0)), ("9:05", (9, 5)), ("23:59", (23, 59)), ("00:00", (0, 0))] {
            assert_eq!(parse_time(text), Some(Time::constant(time.0, time.1, 0, 0)), "{text}");
        }
        assert_eq!(parse_time("24:00"), Some(Time::midnight()));
        for text in ["", "9", "09:60", "25:00", "24:01", "-1:00", "09:00:00", "9h", "09.00", "+9:00", " 9:00", "9:5"] {
            assert_eq!(parse_time(text), None, "{text}");
        }
    }
}

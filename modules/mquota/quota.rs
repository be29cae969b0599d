//! One request held against its quotas: what is asked of the counters, and what is answered.

use actors::counting::counter::{HOUR, MINUTE, RUN, UNLIMITED, WINDOWS};
use actors::counting::event::{Event, Worth};
use actors::counting::instance::Due;
use actors::counting::{Draft, Limits, Over, Ruling};
use actors::module::Decision;
use libvalvula::{AddressKey, Printable, Text, Verdict};

use super::period::Moment;
use super::settings::{Action, NoMatch, Settings};

const NOTHING: Limits = [UNLIMITED, UNLIMITED, 0];
const NO_LIMITS: Limits = [UNLIMITED; WINDOWS];
const NAMES: [&str; WINDOWS] = ["minute", "hour", "global"];

/// A request and the quotas that hold for it.
pub struct Quota<'a> {
    /// What is asked of the counters.
    pub draft: Draft<'a>,
    settings: &'a Settings,
    /// The windows it is counted in.
    pub moment: Moment,
    /// When it was asked (seconds since 1970).
    pub now: i64,
    user: &'a AddressKey,
}

impl<'a> Quota<'a> {
    /// The quotas of `user` at `now`; `None` when the request is not counted at its stage.
    pub fn new(settings: &'a Settings, moment: Moment, now: i64, event: Event, user: &'a AddressKey) -> Option<Self> {
        if event.worth == Worth::Nothing {
            return None;
        }
        let (account_limits, domain_limits) = limits(settings, &moment);
        let draft = Draft {
            event,
            account: user.as_bytes(),
            domain: user.domain(),
            windows: [moment.minute.from, moment.hour.from, moment.run.from],
            closes: moment.minute.until.max(moment.hour.until).max(moment.run.until),
            slot: moment.slot,
            account_limits,
            domain_limits,
            force: settings.action.accepts() && !closed(settings, &moment),
        };
        Some(Self { draft, settings, moment, now, user })
    }

    /// The opinion that a ruling makes.
    pub fn decision(&self, ruling: Ruling) -> Option<Decision> {
        let Ruling::Over(over) = ruling else { return None };
        let text = Text::new(self.text(&over));
        let verdict = match self.settings.action {
            _ if closed(self.settings, &self.moment) => Verdict::reject(text),
            Action::Reject => Verdict::reject(text),
            Action::Defer => Verdict::defer(text),
            Action::Hold => Verdict::hold(text),
            Action::Warn => Verdict::warn(text),
        };
        Some(Decision::new(verdict, self.why(&over)))
    }

    /// What the sender is told: which limit, and when it opens again.
    fn text(&self, over: &Over) -> String {
        let stretch = [self.moment.minute, self.moment.hour, self.moment.run][over.window];
        let opens = self.settings.calendar.show(stretch.until, self.now);
        if closed(self.settings, &self.moment) {
            return format!("Sending is not possible at this time, try again after {opens}");
        }
        let who = Printable::bounded(if over.domain { self.user.domain() } else { self.user.as_bytes() }, 200);
        let per = match over.window {
            MINUTE => "per minute",
            HOUR => "per hour",
            _ => "in this period",
        };
        format!("Sending limit reached: {} messages {per} for {who}, try again after {opens}", over.limit)
    }

    /// What the log is told.
    fn why(&self, over: &Over) -> String {
        let (side, name) =
            if over.domain { ("domain", self.user.domain()) } else { ("account", self.user.as_bytes()) };
        format!(
            "{}, {} limit of {side} {}: used {} + {} > {}",
            self.period(),
            NAMES[over.window],
            Printable::bounded(name, 200),
            over.used,
            over.count,
            over.limit
        )
    }

    fn period(&self) -> String {
        match self.moment.period.and_then(|index| self.settings.periods.get(index)) {
            Some(period) => format!("period {}", period.label),
            None => "no period".to_owned(),
        }
    }

    /// For people: what holds, what is used, what would be charged.
    pub fn trace(&self, due: Due, used: &[[i64; WINDOWS]; 2]) -> Vec<String> {
        let show = |second| self.settings.calendar.show(second, self.now);
        let run = self.moment.run;
        let mut lines = vec![format!("{}: from {} to {}", self.period(), show(run.from), show(run.until))];
        let sides = [
            ("account", self.draft.account, &self.draft.account_limits, &used[0]),
            ("domain", self.draft.domain, &self.draft.domain_limits, &used[1]),
        ];
        for (side, name, limits, used) in sides.into_iter().filter(|(_, name, _, _)| !name.is_empty()) {
            for window in [MINUTE, HOUR, RUN] {
                let limit = match limits[window] {
                    UNLIMITED => "no limit".to_owned(),
                    limit => format!("limit {limit}"),
                };
                lines.push(format!("{side} {}: {} used {}, {limit}", Printable::new(name), NAMES[window], used[window]));
            }
        }
        lines.push(match due {
            Due::Nothing => "nothing to charge: this message was charged for it before".to_owned(),
            Due::Charge(count) => format!("to charge: {count}"),
            Due::GiveBack(count) => format!("to give back: {count}, of recipients refused later"),
        });
        lines
    }
}

/// The limits of an account and of a domain that hold at `moment`.
pub fn limits(settings: &Settings, moment: &Moment) -> (Limits, Limits) {
    let limits = |index: usize| settings.periods.get(index).map(|period| (period.account, period.domain));
    match (moment.period, settings.no_match) {
        (Some(index), _) => limits(index).unwrap_or((NO_LIMITS, NO_LIMITS)),
        (None, NoMatch::First) => limits(0).unwrap_or((NO_LIMITS, NO_LIMITS)),
        (None, NoMatch::NoLimit) => (NO_LIMITS, NO_LIMITS),
        (None, NoMatch::Reject) => (NOTHING, NO_LIMITS),
    }
}

/// No period covers the time, and then nothing may be sent.
fn closed(settings: &Settings, moment: &Moment) -> bool {
    moment.period.is_none() && settings.no_match == NoMatch::Reject
}

//! `valvulactl rule`: the black and white lists.

use serde_json::{Value, json};
use structopt::StructOpt;

use super::orders::{Plan, plan, who, with_more};
use super::table::{aligned, cell, time};

const TABLES: &[&str] = &["global", "domain", "account", "sasl"];

/// Orders about rules.
#[derive(Debug, StructOpt)]
pub enum Rule {
    /// Lists rules; all filters must hold
    List {
        /// Only these tables (can be repeated)
        #[structopt(long, value_name = "TABLE", possible_values = TABLES, number_of_values = 1)]
        table: Vec<String>,
        /// Only rules with this status
        #[structopt(long, value_name = "STATUS")]
        status: Option<String>,
        /// Only rules in which an address, name or note holds this
        #[structopt(long, value_name = "TEXT", allow_hyphen_values = true)]
        contains: Option<String>,
        /// Only rules that are active
        #[structopt(long, conflicts_with = "disabled")]
        active: bool,
        /// Only rules that are disabled
        #[structopt(long)]
        disabled: bool,
        /// At most so many
        #[structopt(long, value_name = "N")]
        limit: Option<u64>,
    },
    /// Adds a rule, which is obeyed at once
    Add(Add),
    /// Removes rules
    Remove(Named),
    /// Enables rules
    Enable(Named),
    /// Disables rules; they stay in the table
    Disable(Named),
    /// Says which rule would decide a mail, and why the others do not
    Test {
        /// Envelope sender; '' is that of a bounce
        #[structopt(value_name = "SENDER")]
        sender: String,
        /// Envelope recipient
        #[structopt(value_name = "RECIPIENT")]
        recipient: String,
        /// User who logged in; absent: nobody did
        #[structopt(long, value_name = "USER")]
        sasl: Option<String>,
        /// Address of the client
        #[structopt(long, value_name = "IP")]
        client: Option<std::net::IpAddr>,
    },
}

/// Where the rule goes.
#[derive(Debug, StructOpt)]
#[structopt(about = "Adds a rule, which is obeyed at once")]
pub enum Add {
    /// A rule for all mail
    Global {
        /// Address rule held against the sender: ann@example.com, example.com, *.example.com, ann@, top
        #[structopt(long, value_name = "RULE", default_value = "")]
        source: String,
        /// Address rule held against the recipient
        #[structopt(long, value_name = "RULE", default_value = "")]
        destination: String,
        /// The rule holds for these SASL users only (can be repeated)
        #[structopt(long, value_name = "USER", number_of_values = 1)]
        only_user: Vec<String>,
        /// The rule does not hold for these SASL users (can be repeated)
        #[structopt(long, value_name = "USER", number_of_values = 1)]
        skip_user: Vec<String>,
        /// A rule without --source and --destination is meant: it holds for every mail
        #[structopt(long)]
        everything: bool,
        /// What else there is to a rule
        #[structopt(flatten)]
        what: What,
    },
    /// A rule for the recipients of a domain delivered here
    Domain {
        /// The domain
        domain: String,
        /// Address rule held against the sender; absent: every sender
        #[structopt(long, value_name = "RULE", default_value = "")]
        source: String,
        /// What else there is to a rule
        #[structopt(flatten)]
        what: What,
    },
    /// A rule for a recipient delivered here
    Account {
        /// The address
        address: String,
        /// Address rule held against the sender; absent: every sender
        #[structopt(long, value_name = "RULE", default_value = "")]
        source: String,
        /// What else there is to a rule
        #[structopt(flatten)]
        what: What,
    },
    /// A SASL user who may not send
    Sasl {
        /// The user
        user: String,
        /// Prose: why
        #[structopt(long, value_name = "TEXT", default_value = "", allow_hyphen_values = true)]
        note: String,
        /// Adds it disabled
        #[structopt(long)]
        disabled: bool,
        /// When it ends: a day (its end), a time ("2027-12-31 18:00"), or how long it holds (90m, 12h, 30d)
        #[structopt(long, value_name = "WHEN", parse(try_from_str = end))]
        expires: Option<i64>,
    },
}

/// What all rules with a status have.
#[derive(Debug, StructOpt)]
pub struct What {
    /// ok, reject, discard or filter-discard
    #[structopt(long, value_name = "STATUS")]
    status: String,
    /// Prose: why
    #[structopt(long, value_name = "TEXT", default_value = "", allow_hyphen_values = true)]
    note: String,
    /// Adds it disabled
    #[structopt(long)]
    disabled: bool,
    /// When it ends: a day (its end), a time ("2027-12-31 18:00"), or how long it holds (90m, 12h, 30d)
    #[structopt(long, value_name = "WHEN", parse(try_from_str = end))]
    expires: Option<i64>,
}

/// Rules by their names.
#[derive(Debug, StructOpt)]
pub struct Named {
    /// global:17, domain:4, account:9, sasl:2
    #[structopt(value_name = "RULE", required = true)]
    rules: Vec<String>,
}

impl Rule {
    /// What is asked of the daemon.
    pub fn plan(&self) -> Plan {
        let (verb, arguments, show): (_, _, fn(&Value) -> String) = match self {
            Self::List { table, status, contains, active, disabled, limit } => {
                let active = (*active || *disabled).then_some(*active);
                let filter = json!({ "tables": table, "status": status, "contains": contains, "active": active, "limit": limit });
                ("list", filter, list)
            }
            Self::Add(add) => ("add", add.arguments(), added),
            Self::Remove(Named { rules }) => ("remove", json!({ "rules": rules }), removed),
            Self::Enable(Named { rules }) => ("enable", json!({ "rules": rules }), enabled),
            Self::Disable(Named { rules }) => ("disable", json!({ "rules": rules }), disabled),
            Self::Test { sender, recipient, sasl, client } => {
                let client = client.map(|client| client.to_string());
                ("test", json!({ "sender": sender, "recipient": recipient, "sasl": sasl, "client": client }), tested)
            }
        };
        plan("bwl", "rule", verb, arguments, show)
    }
}

impl Add {
    fn arguments(&self) -> Value {
        let (mut arguments, note, disabled, expires, status) = match self {
            Self::Global { source, destination, only_user, skip_user, everything, what } => (
                json!({
                    "table": "global",
                    "source": source,
                    "destination": destination,
                    "only_users": only_user,
                    "skip_users": skip_user,
                    "everything": everything,
                }),
                &what.note,
                what.disabled,
                what.expires,
                Some(&what.status),
            ),
            Self::Domain { domain: of, source, what } => (
                json!({ "table": "domain", "rules_for": of, "source": source }),
                &what.note,
                what.disabled,
                what.expires,
                Some(&what.status),
            ),
            Self::Account { address: of, source, what } => (
                json!({ "table": "account", "rules_for": of, "source": source }),
                &what.note,
                what.disabled,
                what.expires,
                Some(&what.status),
            ),
            Self::Sasl { user, note, disabled, expires } => {
                (json!({ "table": "sasl", "sasl_user": user }), note, *disabled, *expires, None)
            }
        };
        arguments["note"] = note.as_str().into();
        arguments["disabled"] = disabled.into();
        arguments["expires"] = expires.into();
        arguments["who"] = who().into();
        arguments["status"] = status.map(String::as_str).into();
        arguments
    }
}

/// When a rule ends, in unix time, by this machine's clock and zone.
fn end(text: &str) -> Result<i64, String> {
    let now = jiff::Zoned::now();
    let zoned = |at: jiff::civil::DateTime| at.to_zoned(now.time_zone().clone()).ok();
    let read = || {
        if let Ok(time) = text.parse::<jiff::Timestamp>() {
            return Some(time.as_second());
        }
        // Before a time of the day: that reads a day as its midnight.
        if let Ok(day) = jiff::civil::Date::strptime("%Y-%m-%d", text) {
            return Some(zoned(day.tomorrow().ok()?.at(0, 0, 0, 0))?.timestamp().as_second());
        }
        if let Ok(time) = text.parse::<jiff::civil::DateTime>() {
            return Some(zoned(time)?.timestamp().as_second());
        }
        let span: jiff::Span = text.parse().ok()?;
        Some(now.checked_add(span).ok()?.timestamp().as_second())
    };
    read().ok_or_else(|| {
        format!("{text:?}: expected a day like 2027-12-31, a time like \"2027-12-31 18:00\", or how long, like 90m, 12h, 30d")
    })
}

fn list(answer: &Value) -> String {
    let rules = answer["rules"].as_array().map(Vec::as_slice).unwrap_or_default();
    let rows: Vec<_> = rules.iter().map(row).collect();
    let headings = ["RULE", "STATE", "STATUS", "SENDER", "FOR", "USERS", "NOTE"];
    with_more(aligned(&headings, &rows, "no rules"), answer)
}

fn row(rule: &Value) -> Vec<String> {
    let end = |word: &str| format!("{word} {}", time(&rule["expires"]));
    let state = match (&rule["fault"], rule["active"] == true, &rule["expires"]) {
        (Value::String(fault), _, _) => format!("not usable: {fault}"),
        (_, false, _) => "disabled".to_owned(),
        (_, true, _) if rule["expired"] == true => end("expired"),
        (_, true, Value::Null) => "active".to_owned(),
        (_, true, _) => end("until"),
    };
    let named = |what: &str, key: &str| match cell(&rule[key]) {
        users if users.is_empty() => String::new(),
        users => format!("{what} {users}"),
    };
    let users =
        [named("only", "limit_rule_to_sasl_users"), named("not", "sasl_users_to_skip"), cell(&rule["sasl_user"])];
    let users: Vec<_> = users.into_iter().filter(|users| !users.is_empty()).collect();
    vec![
        cell(&rule["rule"]),
        state,
        cell(&rule["status"]),
        cell(&rule["source"]),
        cell(&rule["destination"]) + &cell(&rule["rules_for"]),
        users.join("; "),
        cell(&rule["description"]),
    ]
}

fn added(answer: &Value) -> String {
    format!("rule {} added", cell(&answer["rule"]))
}

fn removed(answer: &Value) -> String {
    let rules = answer["removed"].as_array().map(Vec::as_slice).unwrap_or_default();
    named(rules.iter().map(|rule| cell(&rule["rule"])), "removed")
}

fn enabled(answer: &Value) -> String {
    named(answer["enabled"].as_array().into_iter().flatten().map(cell), "enabled")
}

fn disabled(answer: &Value) -> String {
    named(answer["disabled"].as_array().into_iter().flatten().map(cell), "disabled")
}

fn named(rules: impl Iterator<Item = String>, what: &str) -> String {
    rules.map(|rule| format!("rule {rule} {what}\n")).collect()
}

fn tested(answer: &Value) -> String {
    let shown = |text: &str| libvalvula::Printable::new(text.as_bytes()).to_string();
    let mut text = match (&answer["could_not_ask"], &answer["why"]) {
        (Value::String(what), _) => format!("could not ask {}\n", shown(what)),
        (_, Value::String(why)) => format!("{}: {}\n", shown(&cell(&answer["answer"])), shown(why)),
        _ => "no rule decides\n".to_owned(),
    };
    for (heading, key) in [("looked at:", "trace"), ("rules that do not decide:", "others")] {
        let lines = answer[key].as_array().map(Vec::as_slice).unwrap_or_default();
        if !lines.is_empty() {
            text += &format!("\n{heading}\n");
        }
        for line in lines {
            text += &format!("    {}\n", shown(&cell(line)));
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_rule_ends_with_a_day_at_a_time_or_after_a_while() {
        let now = || jiff::Timestamp::now().as_second();
        let zone = jiff::tz::TimeZone::system();
        let at = |text: &str| text.parse::<jiff::civil::DateTime>().unwrap().to_zoned(zone.clone()).unwrap();
        assert_eq!(end("2027-12-31"), Ok(at("2028-01-01T00:00").timestamp().as_second()), "the day's end");
        assert_eq!(end("2027-12-31 18:00"), Ok(at("2027-12-31T18:00").timestamp().as_second()));
        assert_eq!(end("2027-12-31T18:00:30Z"), Ok(1_830_276_030));
        for (text, seconds) in [("90m", 5400), ("12h", 43_200), ("1h 30m", 5400)] {
            let before = now() + seconds;
            assert!((before..=before + 5).contains(&end(text).unwrap()), "{text}");
        }
        let month = end("30d").unwrap() - now();
        assert!((30 * 86_400 - 3700..=30 * 86_400 + 3700).contains(&month), "a day may have 23 or 25 hours");
        for text in ["", "soon", "2027-13-01", "12", "2027-12-31 25:00"] {
            assert!(end(text).unwrap_err().contains("expected a day"), "{text}");
        }
    }
}

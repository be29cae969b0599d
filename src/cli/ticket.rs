//! `valvulactl ticket`: prepaid sending plans, and who has them.

use serde_json::{Value, json};
use structopt::StructOpt;

use super::orders::{Plan as Asked, plan as ask, with_more};
use super::table::{aligned, cell, rows, time};

/// Orders about tickets.
#[derive(Debug, StructOpt)]
pub enum Ticket {
    /// Looks after the plans
    Plan(Plan),
    /// Shows tickets: their plan, and what is used
    Show {
        /// A SASL user, a domain, or a ticket's id; absent: all
        #[structopt(value_name = "USER|DOMAIN|ID")]
        name: Option<String>,
    },
    /// Gives a user, a domain or a ticket a plan
    Assign {
        /// The plan's name or id
        plan: String,
        /// A SASL user, who gets a new ticket
        #[structopt(long, value_name = "USER", required_unless_one = &["domain", "ticket"], conflicts_with_all = &["domain", "ticket"])]
        user: Option<String>,
        /// A domain of senders, which gets a new ticket
        #[structopt(long, value_name = "DOMAIN", conflicts_with = "ticket")]
        domain: Option<String>,
        /// A ticket, whose plan becomes this one
        #[structopt(long, value_name = "ID")]
        ticket: Option<i64>,
        /// Last day on which it holds, or never
        #[structopt(long, value_name = "YYYY-MM-DD", parse(try_from_str = last_second))]
        until: Option<i64>,
    },
    /// Refuses whatever a ticket holds for
    Block(Id),
    /// Lets it pass again
    Unblock(Id),
    /// Gives back messages: so many less are used in all
    Credit {
        /// The ticket
        #[structopt(value_name = "ID")]
        ticket: i64,
        /// How many
        #[structopt(value_name = "N")]
        count: i64,
    },
    /// Shows what was used in days and months that ended
    History(Id),
}

/// Orders about plans.
#[derive(Debug, StructOpt)]
#[structopt(about = "Looks after the plans")]
pub enum Plan {
    /// Lists the plans
    List,
    /// Adds a plan
    Add {
        /// Its name
        name: String,
        /// What it limits
        #[structopt(flatten)]
        limits: Limits,
    },
    /// Changes a plan; what is not given stays
    Change {
        /// Its name or id
        plan: String,
        /// A new name
        #[structopt(long, value_name = "NAME")]
        name: Option<String>,
        /// What it limits
        #[structopt(flatten)]
        limits: Limits,
    },
    /// Removes a plan that no ticket has
    Remove {
        /// Its name or id
        plan: String,
    },
}

/// What a plan limits.
#[derive(Debug, StructOpt)]
pub struct Limits {
    /// Messages in all; -1: no limit
    #[structopt(long, value_name = "N", allow_hyphen_values = true)]
    total: Option<i64>,
    /// Messages in a day; -1: no limit
    #[structopt(long, value_name = "N", allow_hyphen_values = true)]
    day: Option<i64>,
    /// Messages in a month; -1: no limit
    #[structopt(long, value_name = "N", allow_hyphen_values = true)]
    month: Option<i64>,
    /// Prose
    #[structopt(long, value_name = "TEXT", allow_hyphen_values = true)]
    note: Option<String>,
}

/// A ticket by its id.
#[derive(Debug, StructOpt)]
pub struct Id {
    /// As `show` shows it
    #[structopt(value_name = "ID")]
    ticket: i64,
}

/// The last second of a day by this machine's clock; -1 for `never`.
fn last_second(text: &str) -> Result<i64, String> {
    if text == "never" {
        return Ok(-1);
    }
    let no_day = |error: jiff::Error| format!("{error}: expected for example 2027-12-31, or never");
    let day: jiff::civil::Date = text.parse().map_err(no_day)?;
    let next = day.tomorrow().and_then(|next| next.to_zoned(jiff::tz::TimeZone::system())).map_err(no_day)?;
    Ok(next.timestamp().as_second() - 1)
}

impl Ticket {
    /// What is asked of the daemon.
    pub fn plan(&self) -> Asked {
        let (verb, arguments, show): (_, _, fn(&Value) -> String) = match self {
            Self::Plan(plan) => return plan.plan(),
            Self::Show { name } => ("show", json!({ "name": name }), tickets),
            Self::Assign { plan, user, domain, ticket, until } => {
                let to =
                    json!({ "plan": plan, "user": user, "domain": domain, "ticket": ticket, "valid_until": until });
                ("assign", to, one)
            }
            Self::Block(Id { ticket }) => ("block", json!({ "ticket": ticket }), one),
            Self::Unblock(Id { ticket }) => ("unblock", json!({ "ticket": ticket }), one),
            Self::Credit { ticket, count } => ("credit", json!({ "ticket": ticket, "count": count }), one),
            Self::History(Id { ticket }) => ("history", json!({ "ticket": ticket }), history),
        };
        ask("ticket", "ticket", verb, arguments, show)
    }
}

impl Plan {
    fn plan(&self) -> Asked {
        let with = |limits: &Limits, mut arguments: Value| {
            arguments["total"] = limits.total.into();
            arguments["day"] = limits.day.into();
            arguments["month"] = limits.month.into();
            arguments["note"] = limits.note.clone().into();
            arguments
        };
        let (verb, arguments, show): (_, _, fn(&Value) -> String) = match self {
            Self::List => ("list", json!({}), plans),
            Self::Add { name, limits } => ("add", with(limits, json!({ "name": name })), plan_added),
            Self::Change { plan, name, limits } => {
                ("change", with(limits, json!({ "plan": plan, "name": name })), plan_changed)
            }
            Self::Remove { plan } => {
                ("remove", json!({ "plan": plan }), |answer| plan_is(&answer["removed"], "removed"))
            }
        };
        ask("ticket", "ticket-plan", verb, arguments, show)
    }
}

fn plan_is(plan: &Value, what: &str) -> String {
    format!("plan {} ({}) {what}", cell(&plan["id"]), libvalvula::Printable::new(cell(&plan["name"]).as_bytes()))
}

fn plan_added(answer: &Value) -> String {
    plan_is(answer, "added")
}

fn plan_changed(answer: &Value) -> String {
    plan_is(answer, "changed")
}

fn plans(answer: &Value) -> String {
    let rows = rows(&answer["plans"], &["id", "name", "total", "day", "month", "description"]);
    with_more(aligned(&["ID", "NAME", "TOTAL", "DAY", "MONTH", "NOTE"], &rows, "no plans"), answer)
}

fn tickets(answer: &Value) -> String {
    let tickets = answer["tickets"].as_array().map(Vec::as_slice).unwrap_or_default();
    with_more(table(tickets), answer)
}

fn one(answer: &Value) -> String {
    table(std::slice::from_ref(answer))
}

fn table(tickets: &[Value]) -> String {
    let rows: Vec<_> = tickets
        .iter()
        .map(|ticket| {
            let used = |which: &str| match &ticket["plan"][which] {
                Value::Null => cell(&ticket["used"][which]),
                limit => format!("{}/{}", cell(&ticket["used"][which]), cell(limit)),
            };
            let plan = match (&ticket["plan"], &ticket["plan_id"]) {
                (Value::Null, Value::Null) => "none".to_owned(),
                (Value::Null, id) => format!("{id} (not there: no limit)"),
                (plan, _) => cell(&plan["name"]),
            };
            let names = [cell(&ticket["sasl_user"]), cell(&ticket["domain"])];
            let names: Vec<_> = names.into_iter().filter(|name| !name.is_empty()).collect();
            vec![
                cell(&ticket["id"]),
                names.join(" "),
                plan,
                if ticket["blocked"] == true { "blocked" } else { "" }.to_owned(),
                used("total"),
                used("day"),
                used("month"),
                time(&ticket["valid_until"]),
            ]
        })
        .collect();
    aligned(&["ID", "FOR", "PLAN", "STATE", "TOTAL", "DAY", "MONTH", "VALID UNTIL"], &rows, "no tickets")
}

fn history(answer: &Value) -> String {
    let mut table = Vec::new();
    for (key, what) in [("days", "day"), ("months", "month")] {
        for row in answer[key].as_array().into_iter().flatten() {
            table.push(vec![what.to_owned(), time(&row["stamp"]), cell(&row["used"])]);
        }
    }
    aligned(&["", "ENDED", "USED"], &table, "no day with use has ended yet")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_ticket_holds_until_the_end_of_its_last_day() {
        let of = |text: &str| last_second(text).unwrap();
        assert_eq!(of("never"), -1);
        let day = of("2027-01-02") - of("2027-01-01");
        assert_eq!((of("2027-01-01") + 1) % 60, 0);
        assert_eq!(day, 86_400);
        assert!(last_second("soon").is_err_and(|error| error.contains("2027-12-31")));
    }
}

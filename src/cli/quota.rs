//! `valvulactl quota`: what accounts and domains have used of their sending quotas.

use serde_json::{Value, json};
use structopt::StructOpt;

use super::orders::{Plan, plan};
use super::table::{aligned, cell, rows};

/// Orders about sending quotas.
#[derive(Debug, StructOpt)]
pub enum Quota {
    /// Shows what is used, the limit, and when a full one opens; by default of those nearest to a limit
    Show {
        /// A SASL user, or a domain (@example.com: only the domain)
        #[structopt(value_name = "USER|DOMAIN")]
        name: Option<String>,
        /// So many of those nearest to a limit
        #[structopt(long, value_name = "N", conflicts_with = "name")]
        top: Option<usize>,
        /// The module, when several count
        #[structopt(long, value_name = "NAME", default_value = "mquota")]
        module: String,
    },
    /// Lets a user or domain begin anew: nothing used
    Reset {
        /// A SASL user, or a domain (@example.com: only the domain)
        #[structopt(value_name = "USER|DOMAIN")]
        name: String,
        /// The module, when several count
        #[structopt(long, value_name = "NAME", default_value = "mquota")]
        module: String,
    },
}

impl Quota {
    /// What is asked of the daemon.
    pub fn plan(&self) -> Plan {
        match self {
            Self::Show { name, top, module } => {
                plan(module, "quota", "show", json!({ "name": name, "top": top }), show)
            }
            Self::Reset { name, module } => plan(module, "quota", "reset", json!({ "name": name }), reset),
        }
    }
}

fn show(answer: &Value) -> String {
    let mut table = rows(&answer["windows"], &["side", "name", "window", "used", "limit", "opens"]);
    for (row, window) in table.iter_mut().zip(answer["windows"].as_array().into_iter().flatten()) {
        if window["limit"].is_null() {
            row[4] = "no limit".to_owned();
        }
        if window["full"] != true {
            row[5] = String::new();
        }
    }
    let period = match &answer["period"] {
        Value::Null => "no period covers this time\n".to_owned(),
        label => format!("period: {}\n", libvalvula::Printable::new(cell(label).as_bytes())),
    };
    let period = match &answer["could_not_ask"] {
        Value::String(why) => {
            let why = libvalvula::Printable::new(why.as_bytes());
            format!("{period}as this daemon last knew, the database can't be asked: {why}\n")
        }
        _ => period,
    };
    period + &aligned(&["", "NAME", "PER", "USED", "LIMIT", "FULL UNTIL"], &table, "nothing is used")
}

fn reset(answer: &Value) -> String {
    format!("{}: nothing used from now on", libvalvula::Printable::new(cell(&answer["name"]).as_bytes()))
}

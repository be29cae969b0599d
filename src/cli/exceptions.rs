//! `valvulactl slm-exception` and `quota-exception`.

use serde_json::{Value, json};
use structopt::StructOpt;

use super::orders::{Plan, plan, with_more};
use super::table::{aligned, cell};

/// Who may send as somebody else.
#[derive(Debug, StructOpt)]
pub enum SlmException {
    /// Lists the exceptions
    List(Filter),
    /// Lets a SASL user send as somebody else
    Add {
        /// The SASL user
        user: String,
        /// The sender that the user may give; absent: any
        #[structopt(long, value_name = "ADDRESS")]
        sender: Option<String>,
        /// Prose: why
        #[structopt(long, value_name = "TEXT", allow_hyphen_values = true)]
        note: Option<String>,
    },
    /// Removes exceptions
    Remove(Named),
}

/// Who has no sending quota.
#[derive(Debug, StructOpt)]
pub enum QuotaException {
    /// Lists the exceptions
    List(Filter),
    /// Takes a SASL user, or all of a domain, out of the quotas
    Add {
        /// The SASL user or domain
        #[structopt(value_name = "USER|DOMAIN")]
        user: String,
        /// Prose: why
        #[structopt(long, value_name = "TEXT", allow_hyphen_values = true)]
        note: Option<String>,
    },
    /// Removes exceptions
    Remove(Named),
}

/// Which exceptions.
#[derive(Debug, StructOpt)]
pub struct Filter {
    /// Only those in which a name or note holds this
    #[structopt(long, value_name = "TEXT", allow_hyphen_values = true)]
    contains: Option<String>,
}

/// Exceptions by their ids.
#[derive(Debug, StructOpt)]
pub struct Named {
    /// As `list` shows them
    #[structopt(value_name = "ID", required = true)]
    ids: Vec<i64>,
}

impl SlmException {
    /// What is asked of the daemon.
    pub fn plan(&self) -> Plan {
        let (verb, arguments, show): (_, _, fn(&Value) -> String) = match self {
            Self::List(Filter { contains }) => ("list", json!({ "contains": contains }), list_slm),
            Self::Add { user, sender, note } => {
                ("add", json!({ "sasl_username": user, "mail_from": sender, "note": note }), added)
            }
            Self::Remove(Named { ids }) => ("remove", json!({ "ids": ids }), removed),
        };
        plan("slm", "slm-exception", verb, arguments, show)
    }
}

impl QuotaException {
    /// What is asked of the daemon.
    pub fn plan(&self) -> Plan {
        let (verb, arguments, show): (_, _, fn(&Value) -> String) = match self {
            Self::List(Filter { contains }) => ("list", json!({ "contains": contains }), list_quota),
            Self::Add { user, note } => ("add", json!({ "sasl_user": user, "note": note }), added),
            Self::Remove(Named { ids }) => ("remove", json!({ "ids": ids }), removed),
        };
        plan("mquota", "quota-exception", verb, arguments, show)
    }
}

fn list_slm(answer: &Value) -> String {
    list(answer, &["ID", "STATE", "SASL USER", "SENDER", "NOTE"], |exception| {
        let sender = match cell(&exception["mail_from"]) {
            any if any.trim().is_empty() => "(any)".to_owned(),
            sender => sender,
        };
        vec![cell(&exception["sasl_username"]), sender]
    })
}

fn list_quota(answer: &Value) -> String {
    list(answer, &["ID", "STATE", "USER OR DOMAIN", "NOTE"], |exception| vec![cell(&exception["sasl_user"])])
}

fn list(answer: &Value, headings: &[&str], middle: fn(&Value) -> Vec<String>) -> String {
    let exceptions = answer["exceptions"].as_array().map(Vec::as_slice).unwrap_or_default();
    let rows: Vec<_> = exceptions
        .iter()
        .map(|exception| {
            let state = match (&exception["fault"], exception["active"] == true) {
                (Value::String(fault), _) => format!("not usable: {fault}"),
                (_, true) => "active".to_owned(),
                (_, false) => "disabled".to_owned(),
            };
            let mut row = vec![cell(&exception["id"]), state];
            row.extend(middle(exception));
            row.push(cell(&exception["description"]));
            row
        })
        .collect();
    with_more(aligned(headings, &rows, "no exceptions"), answer)
}

fn added(answer: &Value) -> String {
    format!("exception {} added", cell(&answer["id"]))
}

fn removed(answer: &Value) -> String {
    let removed = answer["removed"].as_array().into_iter().flatten();
    removed.map(|exception| format!("exception {} removed\n", cell(&exception["id"]))).collect()
}

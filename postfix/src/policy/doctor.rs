//! Faults between Postfix's configuration and ours.

use std::fmt;
use std::path::PathBuf;
use std::time::Duration;

use serde::Serialize;

use crate::config::{Configuration, parse_time};
use crate::fault::Fault;
use crate::tables::Tables;

use super::restrictions::{Consultation, Exception, Section, consultations, exceptions, is_same_endpoint};

/// One of our listeners, as far as Postfix is concerned.
#[derive(Debug, Clone)]
pub struct Listener {
    /// Its name.
    pub name: String,
    /// `127.0.0.1:3579`, `[::1]:3579`, `unix:/path`.
    pub endpoint: String,
    /// The longest time of a whole chain.
    pub deadline: Duration,
    /// Connections at a time.
    pub max_connections: u64,
    /// Modules that need a recipient: black and white lists, for instance.
    pub need_recipient: Vec<String>,
    /// Modules that need a recipient or, once there are several, their number: quotas.
    pub need_count: Vec<String>,
}

/// What is wrong.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case", tag = "problem")]
pub enum Problem {
    /// Nobody asks this listener.
    NotAsked,
    /// A service of master.cf has a list of its own in the place of one that asks this listener.
    NotAskedByService {
        /// The service.
        service: String,
    },
    /// It stands after something that lets these mails pass: for them it is never asked.
    NeverAskedAfter {
        /// The restriction before it.
        restriction: String,
    },
    /// Two lists that run for each recipient ask it.
    AskedTwice {
        /// The other list.
        other: Section,
    },
    /// A module of it needs a recipient, which this list does not have; nor is it asked elsewhere.
    NoRecipientHere {
        /// The module.
        module: String,
    },
    /// Postfix waits less long than our chain may take.
    TimeoutBelowDeadline {
        /// Seconds that Postfix waits.
        timeout: u64,
        /// Seconds that the chain may take.
        deadline: u64,
    },
    /// While we are away, mail is deferred: `default_action` is not set.
    NoDefaultAction,
    /// Postfix may open more connections than we take at a time.
    TooManyProcesses {
        /// Postfix's limit; 0: none.
        limit: u64,
        /// Ours.
        max_connections: u64,
    },
    /// Each look-up in this table starts a process.
    AskedThroughPostmap {
        /// `type:name`.
        table: String,
    },
    /// A table's file that we may not read.
    UnreadableFile {
        /// The file.
        file: PathBuf,
        /// Why.
        why: String,
    },
    /// A table that cannot be opened.
    BrokenTable {
        /// `type:name`.
        table: String,
        /// Why.
        why: String,
    },
}

/// Something wrong, where, and (as text) what to do about it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Finding {
    /// Our listener; empty when no single one is meant.
    pub listener: String,
    /// The list, with its service, as `submission/inet smtpd_data_restrictions`; empty when none is meant.
    pub place: String,
    /// What is wrong.
    #[serde(flatten)]
    pub problem: Problem,
}

impl fmt::Display for Finding {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        for part in [&self.listener, &self.place] {
            if !part.is_empty() {
                write!(out, "{part}: ")?;
            }
        }
        match &self.problem {
            Problem::NotAsked => write!(out, "no restriction list asks this listener: `valvulactl postfix connect`"),
            Problem::NotAskedByService { service } => write!(
                out,
                "{service} of master.cf sets this list itself and does not ask the listener: add check_policy_service to its -o, if it should be asked"
            ),
            Problem::NeverAskedAfter { restriction } => {
                write!(out, "never asked for mail that {restriction} lets pass: put it first, if it should be")
            }
            Problem::AskedTwice { other } => {
                write!(out, "asked twice for each recipient, by {} too: disconnect one of them", other.parameter())
            }
            Problem::NoRecipientHere { module } => {
                write!(out, "{module} needs a recipient, which there is not: connect it to the recipient list")
            }
            Problem::TimeoutBelowDeadline { timeout, deadline } => write!(
                out,
                "Postfix waits {timeout} s, the chain may take {deadline} s: raise smtpd_policy_service_timeout or lower the deadline"
            ),
            Problem::NoDefaultAction => write!(
                out,
                "mail is deferred while valvula is away: set smtpd_policy_service_default_action = DUNNO if it should pass"
            ),
            Problem::TooManyProcesses { limit: 0, max_connections } => {
                write!(
                    out,
                    "Postfix's processes are not limited, max_connections is {max_connections}: limit one, or raise the other"
                )
            }
            Problem::TooManyProcesses { limit, max_connections } => write!(
                out,
                "Postfix may run {limit} processes that connect, max_connections is {max_connections}: raise it above"
            ),
            Problem::AskedThroughPostmap { table } => {
                write!(
                    out,
                    "{table} is asked through postmap, a process for each look-up: cdb: or a database is faster"
                )
            }
            Problem::UnreadableFile { file, why } => {
                write!(out, "{}: {why}: let the user valvula runs as read it", file.display())
            }
            Problem::BrokenTable { table, why } => write!(out, "{table} cannot be opened: {why}"),
        }
    }
}

/// Looks for all of them. `tables` are those of the resolver; what is found about files holds for the user
/// that this process runs as.
pub fn doctor(
    configuration: &Configuration,
    tables: Option<&Tables>,
    listeners: &[Listener],
) -> Result<Vec<Finding>, Vec<Fault>> {
    let one = |fault: Fault| vec![fault];
    let places = consultations(configuration)?;
    let main = configuration.main();
    let queue = main.get("queue_directory").map_err(one)?;
    let delayed = main.flag("smtpd_delay_reject").map_err(one)?;
    let timeout = main.time("smtpd_policy_service_timeout").map_err(one)?;
    let default_action = main.is_set("smtpd_policy_service_default_action");
    let limit = process_limit(configuration).map_err(one)?;
    let mut findings = Vec::new();
    for listener in listeners {
        let asked: Vec<_> =
            places.iter().filter(|place| is_same_endpoint(&place.endpoint, &listener.endpoint, &queue)).collect();
        let mut find =
            |place: String, problem| findings.push(Finding { listener: listener.name.clone(), place, problem });
        if asked.is_empty() {
            find(String::new(), Problem::NotAsked);
            continue;
        }
        for Exception { service, section } in exceptions(configuration, &places, &listener.endpoint, &queue) {
            find(format!("{service} {}", section.parameter()), Problem::NotAskedByService { service });
        }
        let sees_recipients = asked.iter().any(|place| place.section.runs_at_recipient(delayed));
        for (index, place) in asked.iter().enumerate() {
            let name = name_of(place);
            if let Some(restriction) = lets_pass(place) {
                find(name.clone(), Problem::NeverAskedAfter { restriction });
            }
            let earlier = asked[..index].iter().find(|other| {
                other.service == place.service
                    && other.section.runs_at_recipient(delayed)
                    && place.section.runs_at_recipient(delayed)
            });
            if let Some(other) = earlier {
                find(name.clone(), Problem::AskedTwice { other: other.section });
            }
            if !sees_recipients {
                let counted = matches!(place.section, Section::Data | Section::EndOfData);
                let uncounted = listener.need_count.iter().filter(|_| !counted);
                for module in listener.need_recipient.iter().chain(uncounted) {
                    find(name.clone(), Problem::NoRecipientHere { module: module.clone() });
                }
            }
            let waits = place.settings.get("timeout").and_then(|text| parse_time(text)).unwrap_or(timeout);
            if waits < listener.deadline {
                let (timeout, deadline) = (waits.as_secs(), listener.deadline.as_secs());
                find(name.clone(), Problem::TimeoutBelowDeadline { timeout, deadline });
            }
            if !default_action && !place.settings.contains_key("default_action") {
                find(name, Problem::NoDefaultAction);
            }
        }
        if limit == 0 || limit > listener.max_connections {
            find(String::new(), Problem::TooManyProcesses { limit, max_connections: listener.max_connections });
        }
    }
    findings.extend(tables.map(of_tables).unwrap_or_default());
    Ok(findings)
}

fn name_of(place: &Consultation) -> String {
    let parameter = place.section.parameter();
    place.service.as_ref().map_or_else(|| parameter.to_owned(), |service| format!("{service} {parameter}"))
}

/// The first restriction before it that lets mail pass.
fn lets_pass(place: &Consultation) -> Option<String> {
    let known = [
        "permit",
        "permit_mynetworks",
        "permit_sasl_authenticated",
        "permit_inet_interfaces",
        "permit_auth_destination",
    ];
    place.before.iter().find(|word| known.iter().any(|name| word.eq_ignore_ascii_case(name))).cloned()
}

/// The processes of all smtpd services together; 0: one of them has no limit.
fn process_limit(configuration: &Configuration) -> Result<u64, Fault> {
    let default = configuration.main().number("default_process_limit")?;
    let mut sum = 0;
    for service in configuration.master.smtpd() {
        match service.process_limit.map_or(default, u64::from) {
            0 => return Ok(0),
            limit => sum += limit,
        }
    }
    Ok(if configuration.master.smtpd().next().is_none() { default } else { sum })
}

fn of_tables(tables: &Tables) -> Vec<Finding> {
    let mut findings = Vec::new();
    let mut find = |problem| findings.push(Finding { listener: String::new(), place: String::new(), problem });
    for table in tables.all() {
        let name = table.name().to_owned();
        for file in table.files() {
            if let Err(error) = std::fs::File::open(file) {
                find(Problem::UnreadableFile { file: file.clone(), why: error.to_string() });
            }
        }
        match table.fault() {
            Some(why) => find(Problem::BrokenTable { table: name, why: why.to_owned() }),
            None if table.is_asked_through_postmap() => find(Problem::AskedThroughPostmap { table: name }),
            None => {}
        }
    }
    findings
}

#[cfg(test)]
#[path = "doctor_tests.rs"]
mod tests;

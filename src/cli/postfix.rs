//! `valvulactl postfix ...`: which restriction lists of Postfix ask which of our listeners, how that is changed,
//! and what is wrong between both configurations.
//!
//! Reads both by itself: no daemon is needed. Only `postconf -e` writes. What can't be read, or an edit that
//! is refused, changes nothing.

use std::path::{Path, PathBuf};

use libvalvula::Endpoint;
use postfix::policy::{Consultation, Listener, Section, consultations, doctor, exceptions, is_same_endpoint};
use postfix::{BuildDefaults, Configuration, Fault, ReadError, Resolver, State, find_program, machine_name};
use serde_json::{Value, json};
use structopt::StructOpt;

use super::connect::Connection;
use super::control::json as indented;
use super::exit::{Exit, Failure};
use super::local::{become_user, wait_for};
use super::ping::reachable;
use super::table::aligned;
use crate::config::PostfixSide;

/// Kinds of modules that have no opinion on a message of several recipients where Postfix names none of them.
const NEED_RECIPIENT: &[&str] = &["bwl"];
/// Kinds that count recipients: they need one, or their number.
const NEED_COUNT: &[&str] = &["mquota", "ticket"];
/// How a place is called that stands in main.cf.
const MAIN: &str = "main.cf";

/// What is looked at.
#[derive(Debug, Clone, StructOpt)]
pub struct Postfix {
    /// Postfix's configuration directory; absent: that of [postfix]
    #[structopt(long, global = true, value_name = "DIR", parse(from_os_str))]
    config_directory: Option<PathBuf>,

    #[structopt(subcommand)]
    tool: Tool,
}

#[derive(Debug, Clone, StructOpt)]
enum Tool {
    /// Lists the restriction lists, when each runs and what it holds
    Sections,
    /// Lists which restriction lists ask which of our listeners
    Listeners,
    /// Lets a restriction list of main.cf ask a listener
    Connect {
        /// client, helo, sender, relay, recipient, data, end-of-data or etrn
        #[structopt(value_name = "SECTION")]
        section: Section,
        /// The listener's name
        #[structopt(value_name = "LISTENER")]
        listener: String,
        /// Before or after what is in the list
        #[structopt(possible_values = &["first", "last"], value_name = "first|last")]
        place: String,
        /// Only shows the difference
        #[structopt(long)]
        dry_run: bool,
    },
    /// Takes a listener out of a restriction list of main.cf
    Disconnect {
        /// As for connect
        #[structopt(value_name = "SECTION")]
        section: Section,
        /// The listener's name
        #[structopt(value_name = "LISTENER")]
        listener: String,
        /// Only shows the difference
        #[structopt(long)]
        dry_run: bool,
    },
    /// Names faults between Postfix's configuration and ours: exit code 1 when there are any
    Doctor,
}

impl Postfix {
    /// What is printed, and the exit code.
    pub fn run(&self, mut side: PostfixSide, as_json: bool) -> Result<(String, Exit), Failure> {
        let detects = side.local.postfix.autodetect;
        if let Some(directory) = &self.config_directory {
            side.local.postfix.config_directory.clone_from(directory);
        }
        let (answer, text, exit) = match &self.tool {
            Tool::Sections => sections(&read(&side)?)?,
            Tool::Listeners => listeners(&read(&side)?, &side)?,
            Tool::Connect { section, listener, place, dry_run } => {
                let connection = Connection::new(*section, listener, &side)?;
                connection.connect(&read(&side)?, place, *dry_run)?
            }
            Tool::Disconnect { section, listener, dry_run } => {
                Connection::new(*section, listener, &side)?.disconnect(&read(&side)?, *dry_run)?
            }
            Tool::Doctor => examine(side, detects)?,
        };
        Ok((if as_json { indented(&answer) } else { text }, exit))
    }
}

/// What a command ends with: for programs, for people, and its exit code.
pub(super) type Done = (Value, String, Exit);

/// Postfix's configuration as it is now.
pub(super) fn read(side: &PostfixSide) -> Result<Configuration, Failure> {
    let settings = &side.local.postfix;
    let build = match find_program("postconf", None) {
        Some(postconf) => wait_for(BuildDefaults::ask(&postconf, settings.table_timeout))?,
        None => BuildDefaults::default(),
    };
    let hostname = settings.hostname.clone().unwrap_or_else(machine_name);
    Configuration::read(&settings.config_directory, &hostname, build).map_err(|error| match error {
        ReadError::Faulty(faults) => faulty(&faults),
        absent @ ReadError::Absent(_) => Failure::new(Exit::Config, absent),
    })
}

fn faulty(faults: &[Fault]) -> Failure {
    Failure { exit: Exit::Config, lines: faults.iter().map(ToString::to_string).collect() }
}

/// All places where a policy service is asked.
pub(super) fn places(configuration: &Configuration) -> Result<Vec<Consultation>, Failure> {
    consultations(configuration).map_err(|faults| faulty(&faults))
}

/// The value of a parameter of main.cf.
pub(super) fn parameter(configuration: &Configuration, name: &str) -> Result<String, Failure> {
    configuration.main().get(name).map_err(|fault| faulty(&[fault]))
}

/// Where Postfix finds this listener; the way [`is_same_endpoint`] compares.
pub(super) fn address(endpoint: &Endpoint) -> String {
    reachable(endpoint).to_string()
}

fn sections(configuration: &Configuration) -> Result<Done, Failure> {
    let fault = |fault| faulty(&[fault]);
    let delayed = configuration.main().flag("smtpd_delay_reject").map_err(fault)?;
    let (mut answer, mut rows) = (Vec::new(), Vec::new());
    let mut add = |service: &str, section: Section, when: &str, value: String| {
        let parameter = section.parameter();
        let value = value.split_ascii_whitespace().collect::<Vec<_>>().join(" ");
        answer.push(json!({
            "section": section, "parameter": parameter, "service": service, "runs": when, "value": value,
        }));
        rows.push([section.name(), service, when, parameter, &value].map(str::to_owned).to_vec());
    };
    for section in Section::ALL {
        let value = configuration.main().get(section.parameter()).map_err(fault)?;
        add(MAIN, section, section.when(delayed), value);
        for service in configuration.master.smtpd().filter(|service| service.get(section.parameter()).is_some()) {
            let view = configuration.service(service);
            let when = section.when(view.flag("smtpd_delay_reject").map_err(fault)?);
            add(&service.id().0, section, when, view.get(section.parameter()).map_err(fault)?);
        }
    }
    let text = aligned(&["SECTION", "OF", "RUNS", "PARAMETER", "VALUE"], &rows, "no sections");
    Ok((Value::Array(answer), text, Exit::Good))
}

fn listeners(configuration: &Configuration, side: &PostfixSide) -> Result<Done, Failure> {
    let places = places(configuration)?;
    let queue = parameter(configuration, "queue_directory")?;
    let (mut answer, mut rows) = (Vec::new(), Vec::new());
    for listener in &side.listeners {
        let ours = address(&listener.endpoint);
        let asked: Vec<_> = places.iter().filter(|place| is_same_endpoint(&place.endpoint, &ours, &queue)).collect();
        let row = |of: &str, list: &str, class: &str| [&*listener.name, &ours, of, list, class].map(str::to_owned);
        if asked.is_empty() {
            rows.push(row("-", "not asked", "").to_vec());
        }
        for place in &asked {
            let of = place.service.as_deref().unwrap_or(MAIN);
            rows.push(row(of, place.section.parameter(), place.class.as_deref().unwrap_or_default()).to_vec());
        }
        // Who would ask by main.cf, and does not.
        let not = exceptions(configuration, &places, &ours, &queue);
        for exception in &not {
            let list = format!("not by its own {}", exception.section.parameter());
            rows.push(row(&exception.service, &list, "").to_vec());
        }
        answer.push(json!({ "listener": &*listener.name, "address": ours, "asked": asked, "not_asked_by": not }));
    }
    let text = aligned(&["LISTENER", "ADDRESS", "ASKED BY", "LIST", "CLASS"], &rows, "no listeners");
    Ok((Value::Array(answer), text, Exit::Good))
}

/// With the daemon's own rights: what it can't read is a finding. Tables matter only where they are asked.
fn examine(side: PostfixSide, detects: bool) -> Result<Done, Failure> {
    become_user(side.user.as_ref())?;
    let settings = postfix::Settings { autodetect: true, required: true, ..side.local.postfix.clone() };
    let resolver = wait_for(Resolver::load(settings))?;
    let configuration = match (resolver.state(), resolver.configuration()) {
        (State::Faulty(faults), _) => return Err(faulty(faults)),
        (_, Some(configuration)) => configuration,
        (_, None) => return Err(Failure::new(Exit::Config, "Postfix's configuration was not read")),
    };
    let tables = resolver.tables().filter(|_| detects);
    let known = known_listeners(&side);
    let findings = doctor(configuration, tables, &known).map_err(|faults| faulty(&faults))?;
    let mut text: String = findings.iter().map(|finding| format!("{finding}\n")).collect();
    if findings.is_empty() {
        text = format!("nothing found in {}\n", shown(&configuration.directory));
    }
    let exit = if findings.is_empty() { Exit::Good } else { Exit::No };
    let answer = json!({ "directory": shown(&configuration.directory), "findings": findings });
    Ok((answer, text, exit))
}

fn shown(path: &Path) -> String {
    path.display().to_string()
}

fn known_listeners(side: &PostfixSide) -> Vec<Listener> {
    let of_kind = |names: &[std::sync::Arc<str>], kinds: &[&str]| -> Vec<String> {
        let kind = |name: &str| side.kinds.get(name).cloned().unwrap_or_else(|| name.to_owned());
        names.iter().filter(|name| kinds.contains(&&*kind(name))).map(ToString::to_string).collect()
    };
    let listener = |listener: &actors::runtime_settings::ListenerSettings| Listener {
        name: listener.name.to_string(),
        endpoint: address(&listener.endpoint),
        deadline: listener.deadline,
        max_connections: listener.max_connections as u64,
        need_recipient: of_kind(&listener.modules, NEED_RECIPIENT),
        need_count: of_kind(&listener.modules, NEED_COUNT),
    };
    side.listeners.iter().map(listener).collect()
}

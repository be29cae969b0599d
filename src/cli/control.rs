//! `valvulactl`: the operator's tool. It says over the control socket what its arguments say, and shows
//! what comes back: as tables for people, or as JSON (`--json`) for programs.

use std::path::PathBuf;
use std::time::Duration;

use actors::stats::report::{ListenerReport, Report};
use serde_json::Value;
use structopt::StructOpt;

use super::asked::Asked;
use super::exceptions::{QuotaException, SlmException};
use super::exit::{Exit, Failure};
use super::import::Import;
use super::lookup::Lookup;
use super::orders::Plan;
use super::postfix::Postfix;
use super::quota::Quota;
use super::rule::Rule;
use super::ticket::Ticket;
use super::{explained, local, request, status, table};
use crate::config;
use crate::control::protocol::{Code, Command, Refusal};
use crate::control::{Client, ClientError};

/// What is answered from memory.
pub(super) const SOON: Duration = Duration::from_secs(10);
/// A reload may wait for modules to load their rules.
const RELOAD: Duration = Duration::from_secs(120);
/// The new program loads everything before the old one leaves.
const UPGRADE: Duration = Duration::from_secs(360);
/// A chain has its own deadline; a database may be slow.
const PATIENT: Duration = Duration::from_secs(90);

/// Looks after a running valvulad.
#[derive(Debug, StructOpt)]
#[structopt(
    name = "valvulactl",
    version_short = "v",
    help_message = "Prints this help",
    version_message = "Prints the version"
)]
pub struct Flags {
    /// Configuration file, which says where the control socket is
    #[structopt(short, long, value_name = "FILE", parse(from_os_str))]
    pub config: Option<PathBuf>,

    /// The control socket
    #[structopt(long, value_name = "PATH", parse(from_os_str), conflicts_with = "config")]
    pub socket: Option<PathBuf>,

    /// Prints JSON
    #[structopt(long, global = true)]
    pub json: bool,

    /// What to do
    #[structopt(subcommand)]
    pub order: Order,
}

/// The commands.
// Without this the line above would stand in `--help` in place of the program's own.
#[derive(Debug, StructOpt)]
#[structopt(about = "Looks after a running valvulad")]
pub enum Order {
    /// Prints the statistics
    Stats,
    /// Lists the listeners
    Listeners,
    /// Restarts one supervisor; nothing else notices
    Restart {
        /// A listener, a module, or stats, postfix or store
        #[structopt(value_name = "PORT|MODULE|stats|postfix|store")]
        target: String,
    },
    /// Stops accepting connections on a listener; those that are open go on
    Suspend {
        /// Its name
        #[structopt(value_name = "PORT")]
        listener: String,
    },
    /// Accepts connections on a listener again
    Resume {
        /// Its name
        #[structopt(value_name = "PORT")]
        listener: String,
    },
    /// Reads the configuration again; on any fault the old one stays
    Reload,
    /// Puts the program that is installed now in the running one's place; no connection is refused or lost
    Upgrade,
    /// Says from which level on lines are logged, or changes it until the next reload
    LogLevel {
        /// critical, error, warning, info, debug or trace
        level: Option<String>,
    },
    /// Sends a request as Postfix would and prints the answer; what it costs is charged
    Request(Asked),
    /// Prints module by module how a listener comes to its answer; charges and changes nothing
    Explain(Asked),
    /// Looks after the black and white lists
    Rule(Rule),
    /// Looks after the exceptions of sender login mismatch
    SlmException(SlmException),
    /// Looks after the exceptions of the sending quotas
    QuotaException(QuotaException),
    /// Shows and resets sending quotas
    Quota(Quota),
    /// Looks after prepaid plans and tickets
    Ticket(Ticket),
    /// Says whether a domain or an address is local, and what decided: 0 yes, 1 no, 75 could not ask
    Lookup(Lookup),
    /// Looks into Postfix's restriction lists, and connects our listeners to them
    Postfix(Postfix),
    /// Makes a configuration of another program's
    Import(Import),
}

impl Order {
    /// What the daemon is asked; nothing for what is asked elsewhere.
    fn command(&self) -> Option<Command> {
        Some(match self {
            Self::Stats => Command::Stats,
            Self::Listeners => Command::Listeners,
            Self::Restart { target } => Command::Restart { target: target.clone() },
            Self::Suspend { listener } => Command::Suspend { listener: listener.clone() },
            Self::Resume { listener } => Command::Resume { listener: listener.clone() },
            Self::Reload => Command::Reload,
            Self::Upgrade => Command::Upgrade,
            Self::LogLevel { level } => Command::LogLevel { level: level.clone() },
            Self::Explain(asked) => Command::Explain { listener: asked.listener.clone(), request: asked.attributes() },
            Self::Rule(_) | Self::SlmException(_) | Self::QuotaException(_) | Self::Quota(_) | Self::Ticket(_) => {
                self.plan()?.command
            }
            Self::Request(_) | Self::Lookup(_) | Self::Postfix(_) | Self::Import(_) => return None,
        })
    }
}

impl Order {
    /// What concerns a module's tables.
    fn plan(&self) -> Option<Plan> {
        match self {
            Self::Rule(rule) => Some(rule.plan()),
            Self::SlmException(exception) => Some(exception.plan()),
            Self::QuotaException(exception) => Some(exception.plan()),
            Self::Quota(quota) => Some(quota.plan()),
            Self::Ticket(ticket) => Some(ticket.plan()),
            _ => None,
        }
    }

    fn patience(&self) -> Duration {
        match self {
            Self::Upgrade => UPGRADE,
            Self::Reload | Self::Restart { .. } => RELOAD,
            Self::Stats | Self::Listeners | Self::Suspend { .. } | Self::Resume { .. } | Self::LogLevel { .. } => SOON,
            _ => PATIENT,
        }
    }
}

/// Runs `valvulactl`: what it prints and how it ends, or how it fails.
pub fn run(flags: &Flags) -> Result<(String, Exit), Failure> {
    let socket = || match (&flags.socket, &flags.config) {
        (Some(socket), _) => Ok(socket.clone()),
        (None, path) => control_socket(path.as_ref()),
    };
    // What an answer is decides the exit code of these.
    match &flags.order {
        Order::Lookup(lookup) => return lookup.run(&local::side(flags.config.as_deref())?, flags.json),
        Order::Postfix(postfix) => return postfix.run(local::side(flags.config.as_deref())?, flags.json),
        _ => {}
    }
    let answer = match &flags.order {
        Order::Request(asked) => request::run(asked, socket)?,
        Order::Import(import) => import.run()?,
        order => {
            let command = order.command().expect("whatever is not asked elsewhere is asked of the daemon");
            ask(&socket()?, &command, order.patience())?
        }
    };
    let text = if flags.json { json(&answer) } else { shown(&flags.order, answer)? };
    Ok((text, Exit::Good))
}

/// Where the control socket is by the configuration at `path`, which is only required when it was named.
pub fn control_socket(path: Option<&PathBuf>) -> Result<PathBuf, Failure> {
    let named = path.is_some();
    let default = PathBuf::from(config::DEFAULT_PATH);
    config::control_socket(path.unwrap_or(&default), std::env::vars_os(), named)
        .map_err(|faults| Failure::config(&faults))
}

/// Asks the daemon behind `socket`.
pub fn ask(socket: &std::path::Path, command: &Command, timeout: Duration) -> Result<Value, Failure> {
    let mut client = Client::connect(socket, timeout).map_err(failure)?;
    client.ask(command).map_err(failure)
}

fn failure(error: ClientError) -> Failure {
    match error {
        ClientError::NoDaemon { .. } | ClientError::NoAnswer { .. } => Failure::new(Exit::Unavailable, error),
        ClientError::Refused(Refusal { message, code }) => {
            let exit = if code == Code::CouldNotAsk { Exit::CouldNotAsk } else { Exit::No };
            Failure { exit, lines: message.lines().map(str::to_owned).collect() }
        }
    }
}

/// The statistics that a daemon answered with, as text.
pub fn stats_text(answer: Value) -> Result<String, Failure> {
    Ok(status::text(&understood::<Report>(answer)?))
}

/// Indented JSON.
pub fn json(answer: &Value) -> String {
    format!("{answer:#}")
}

fn shown(order: &Order, answer: Value) -> Result<String, Failure> {
    if let Some(plan) = order.plan() {
        return Ok((plan.show)(&answer));
    }
    Ok(match order {
        Order::Stats => stats_text(answer)?,
        Order::Listeners => listeners(&understood::<Vec<ListenerReport>>(answer)?),
        Order::Request(_) => request::text(&answer),
        Order::Import(import) => import.text(&answer),
        Order::Explain(_) => explained::text(&understood(answer)?),
        Order::LogLevel { .. } => answer["level"].as_str().unwrap_or_default().to_owned(),
        _ => answer["done"].as_str().unwrap_or("done").to_owned(),
    })
}

pub(super) fn understood<T: serde::de::DeserializeOwned>(answer: Value) -> Result<T, Failure> {
    let other =
        |error| format!("the daemon's answer is not understood ({error}): is it of another version? --json shows it");
    serde_json::from_value(answer).map_err(|error| Failure::new(Exit::Unavailable, other(error)))
}

fn listeners(listeners: &[ListenerReport]) -> String {
    let rows: Vec<_> = listeners
        .iter()
        .map(|listener| {
            vec![
                listener.name.clone(),
                listener.state.clone(),
                listener.address.clone(),
                format!("{}/{}", listener.connections, listener.max_connections),
                listener.requests.count.to_string(),
                listener.modules.join(" "),
            ]
        })
        .collect();
    table::aligned(&["NAME", "STATE", "ADDRESS", "CONNECTIONS", "REQUESTS", "CHAIN"], &rows, "no listeners")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::exit::parsed;

    fn read(arguments: &[&str]) -> Result<Flags, Exit> {
        parsed(Flags::from_iter_safe([&["valvulactl"], arguments].concat()))
    }

    #[test]
    fn each_command_is_its_request() {
        for (arguments, command) in [
            (&["stats"][..], Command::Stats),
            (&["listeners", "--json"], Command::Listeners),
            (&["restart", "bwl"], Command::Restart { target: "bwl".into() }),
            (&["--socket", "/x", "suspend", "a"], Command::Suspend { listener: "a".into() }),
            (&["-c", "x", "resume", "a"], Command::Resume { listener: "a".into() }),
            (&["reload"], Command::Reload),
            (&["upgrade"], Command::Upgrade),
            (&["log-level"], Command::LogLevel { level: None }),
            (&["log-level", "debug"], Command::LogLevel { level: Some("debug".into()) }),
        ] {
            assert_eq!(read(arguments).unwrap().order.command(), Some(command));
        }
        assert!(read(&["listeners", "--json"]).unwrap().json);
    }

    #[test]
    fn wrong_use_is_64_and_help_is_0() {
        for wrong in [&[][..], &["explode"], &["restart"], &["stats", "x"], &["-c", "x", "--socket", "y", "stats"]] {
            assert_eq!(read(wrong).err(), Some(Exit::Usage), "{wrong:?}");
        }
        for good in [&["--help"][..], &["help"], &["restart", "--help"], &["--version"]] {
            assert_eq!(read(good).err(), Some(Exit::Good), "{good:?}");
        }
    }

    #[test]
    fn listeners_are_a_table() {
        let listener = ListenerReport {
            name: "submission".to_owned(),
            state: "listening".to_owned(),
            address: "127.0.0.1:3579".to_owned(),
            max_connections: 2000,
            modules: vec!["bwl".to_owned(), "slm".to_owned()],
            ..ListenerReport::default()
        };
        assert_eq!(
            listeners(&[listener]),
            "NAME        STATE      ADDRESS         CONNECTIONS  REQUESTS  CHAIN\n\
             submission  listening  127.0.0.1:3579  0/2000       0         bwl slm\n"
        );
    }

    #[test]
    fn no_daemon_is_69_with_the_sockets_name() {
        let socket = std::path::Path::new("/nowhere/c.sock");
        let failure = ask(socket, &Command::Stats, SOON).unwrap_err();
        assert_eq!(failure.exit, Exit::Unavailable);
        assert!(failure.lines.len() == 1 && failure.lines[0].contains("/nowhere/c.sock"), "{failure:?}");
    }
}

//! `[[listener]]`: an address, the chain of modules behind it, and its limits.

use std::collections::HashSet;
use std::time::Duration;

use actors::settings::Section;
use libvalvula::{Endpoint, Limits};
use nix::unistd::{Gid, Uid};

use super::module::plain_name;
use super::server;
use crate::registry::Registry;

/// Connections of one listener when nothing else is said.
const MAX_CONNECTIONS: i64 = 2000;
/// What a whole chain may take. Postfix waits 100 s for its answer.
const DEADLINE: Duration = Duration::from_secs(10);
/// What a client may take to finish a request that it has begun.
const REQUEST_TIMEOUT: Duration = Duration::from_secs(30);
/// When an idle connection is ended: above Postfix's own limits (300 s idle, 1000 s in all), since a
/// connection that we end first costs the next mail a second.
const IDLE_TIMEOUT: Duration = Duration::from_secs(1200);
/// Longest time Postfix waits for an answer (`smtpd_policy_service_timeout`).
const POSTFIX_WAITS: Duration = Duration::from_secs(100);
/// Names that `valvulactl restart` keeps for parts of the daemon.
pub(super) const RESERVED: [&str; 4] = ["stats", "postfix", "store", "control"];

/// One `[[listener]]`.
#[derive(Debug, Clone)]
pub struct Listener {
    /// Its name in statistics, logs and `valvulactl`.
    pub name: String,
    /// What it listens on.
    pub address: Endpoint,
    /// Names of the modules of its chain, in order, without `mod-`.
    pub modules: Vec<String>,
    /// Further connections wait in the kernel's backlog.
    pub max_connections: usize,
    /// What the whole chain may take for one request.
    pub deadline: Duration,
    /// What a client may take to finish a request that it has begun.
    pub request_timeout: Duration,
    /// When a connection without a request is ended.
    pub idle_timeout: Duration,
    /// Sizes of a request.
    pub limits: Limits,
    /// Mode and owner of a unix socket.
    pub socket: SocketOwner,
}

/// Mode and owner of a unix socket.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SocketOwner {
    /// Permission bits.
    pub mode: u32,
    /// Owner; absent: the user the daemon runs as.
    pub user: Option<Uid>,
    /// Group; absent: that of the daemon.
    pub group: Option<Gid>,
}

/// What a chain may name.
pub(super) struct Nameable<'a> {
    /// The kinds of modules there are.
    pub registry: &'a Registry,
    /// The names that have a section `[module.NAME]`.
    pub sections: HashSet<String>,
    /// False when a file could not be read, in which such a section may stand.
    pub whole: bool,
}

/// Reads all listeners; names and addresses must differ.
pub(super) fn read_all(sections: Vec<Section>, nameable: &Nameable<'_>) -> Vec<Listener> {
    let mut names = HashSet::new();
    let mut addresses = HashSet::new();
    let mut listeners = Vec::new();
    for mut section in sections {
        if let Some(listener) = read(&mut section, nameable) {
            if !names.insert(listener.name.clone()) {
                section.fault("name", format!("{:?} is the name of another listener too", listener.name));
            }
            let address = listener.address.to_string();
            // Port 0 is a new port each time.
            if !address.ends_with(":0") && !addresses.insert(address.clone()) {
                section.fault("address", format!("{address} is the address of another listener too"));
            }
            listeners.push(listener);
        }
        section.finish();
    }
    listeners
}

/// A listener without a good address is not returned, but all its keys are read.
fn read(section: &mut Section, nameable: &Nameable<'_>) -> Option<Listener> {
    let address = address(section);
    let name: Option<String> = section.value("name");
    if let Some(name) = &name {
        check_name(section, name);
    }
    let modules = modules(section, nameable);
    let max_connections = section.number("max_connections", MAX_CONNECTIONS, 1..=1_000_000).unsigned_abs() as usize;
    let deadline = span(section, "deadline", DEADLINE, POSTFIX_WAITS);
    let request_timeout = span(section, "request_timeout", REQUEST_TIMEOUT, Duration::from_secs(3600));
    let idle_timeout = span(section, "idle_timeout", IDLE_TIMEOUT, Duration::from_secs(86_400));
    let limits = limits(section);
    let socket = socket(section, address.as_ref());
    let address = address?;
    let name = name.unwrap_or_else(|| address.to_string());
    Some(Listener { name, address, modules, max_connections, deadline, request_timeout, idle_timeout, limits, socket })
}

fn address(section: &mut Section) -> Option<Endpoint> {
    if !section.has("address") {
        section.value::<String>("address");
        section.fault("address", "is missing: expected for example \"127.0.0.1:3579\" or \"unix:/path\"");
        return None;
    }
    let text: String = section.value("address")?;
    match text.parse() {
        Ok(address) => Some(address),
        Err(error) => {
            section.fault("address", error.to_string());
            None
        }
    }
}

fn check_name(section: &Section, name: &str) {
    if RESERVED.contains(&name) {
        section.fault("name", format!("{name:?} is kept for a part of the daemon: choose another name"));
    } else if name.is_empty() || name.chars().any(|c| c.is_whitespace() || c.is_control()) {
        section.fault("name", format!("{name:?} is no name: expected a word without blanks"));
    }
}

fn modules(section: &mut Section, nameable: &Nameable<'_>) -> Vec<String> {
    if !section.has("modules") {
        section.value::<Vec<String>>("modules");
        section.fault("modules", "is missing: expected a list of modules, for example [\"bwl\"]");
        return Vec::new();
    }
    let Some(names) = section.value::<Vec<String>>("modules") else { return Vec::new() };
    if names.is_empty() {
        section.fault("modules", "is empty: expected at least one module (\"test\" has no opinion on anything)");
    }
    let names: Vec<_> = names.iter().map(|name| plain_name(name).to_owned()).collect();
    let mut seen = HashSet::new();
    for name in &names {
        if !seen.insert(name) {
            let why = "it would be asked, and would charge, twice";
            section.fault("modules", format!("{name:?} stands twice in the chain: {why}"));
        } else if nameable.whole && !nameable.sections.contains(name) && nameable.registry.get(name).is_none() {
            section.fault("modules", format!("there is no module {name:?}; {}", nameable.registry.known()));
        }
    }
    names
}

fn span(section: &mut Section, key: &str, default: Duration, most: Duration) -> Duration {
    let span = section.duration(key, default);
    if span < Duration::from_millis(1) || span > most {
        section.fault(key, format!("{span:?} is out of bounds: expected 1ms to {}s", most.as_secs()));
        return default;
    }
    span
}

fn limits(section: &mut Section) -> Limits {
    let default = Limits::default();
    let mut read = |key, default: usize, least, most| {
        section.number(key, i64::try_from(default).unwrap_or(most), least..=most).unsigned_abs() as usize
    };
    let limits = Limits {
        line: read("max_line", default.line, 1024, 1024 * 1024),
        attributes: read("max_attributes", default.attributes, 40, 10_000),
        request: read("max_request", default.request, 1024, 16 * 1024 * 1024),
    };
    if limits.request < limits.line {
        section.fault("max_request", format!("{} is less than max_line ({})", limits.request, limits.line));
    }
    limits
}

fn socket(section: &mut Section, address: Option<&Endpoint>) -> SocketOwner {
    if let Some(Endpoint::Tcp(_)) = address {
        for key in ["mode", "user", "group"] {
            if section.node(key).is_some() {
                section.fault(key, "is only for a unix socket");
            }
        }
        return SocketOwner { mode: 0o660, user: None, group: None };
    }
    let mode = mode(section);
    let user = server::user(section, "user").map(|user| user.uid);
    let group = server::group(section, "group");
    SocketOwner { mode, user, group }
}

fn mode(section: &mut Section) -> u32 {
    let Some(text) = section.value::<String>("mode") else { return 0o660 };
    match u32::from_str_radix(&text, 8) {
        Ok(mode) if mode <= 0o777 => mode,
        _ => {
            section
                .fault("mode", format!("{text:?} is no mode: expected octal digits in quotes, for example \"0660\""));
            0o660
        }
    }
}

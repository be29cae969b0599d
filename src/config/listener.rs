//! `[[listener]]`: an address, the chain of modules behind it, and its limits.

use std::collections::HashSet;
use std::sync::Arc;
use std::time::Duration;

use actors::networks::Networks;
use actors::runtime_settings::{ListenerSettings, SocketFile};
use actors::settings::Section;
use libvalvula::{Endpoint, Limits};

use super::module::plain_name;
use super::server;
use crate::registry::Registry;

/// Longest time Postfix waits for an answer (`smtpd_policy_service_timeout`).
const POSTFIX_WAITS: Duration = Duration::from_secs(100);
/// Names that `valvulactl restart` keeps for parts of the daemon.
pub(super) const RESERVED: [&str; 4] = ["stats", "postfix", "store", "control"];

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
pub(super) fn read_all(sections: Vec<Section>, nameable: &Nameable<'_>) -> Vec<ListenerSettings> {
    let mut names = HashSet::new();
    let mut addresses = HashSet::new();
    let mut listeners = Vec::new();
    for mut section in sections {
        if let Some(listener) = read(&mut section, nameable) {
            if !names.insert(listener.name.clone()) {
                section.fault("name", format!("{:?} is the name of another listener too", listener.name));
            }
            let address = listener.endpoint.to_string();
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
fn read(section: &mut Section, nameable: &Nameable<'_>) -> Option<ListenerSettings> {
    let address = address(section);
    let name: Option<String> = section.value("name");
    if let Some(name) = &name {
        check_name(section, name);
    }
    let modules = modules(section, nameable);
    let allow = allow(section, address.as_ref());
    let most = i64::try_from(ListenerSettings::MAX_CONNECTIONS).unwrap_or(i64::MAX);
    let max_connections = section.number("max_connections", most, 1..=1_000_000).unsigned_abs() as usize;
    let deadline = span(section, "deadline", ListenerSettings::DEADLINE, POSTFIX_WAITS);
    let hour = Duration::from_secs(3600);
    let request_timeout = span(section, "request_timeout", ListenerSettings::REQUEST_TIMEOUT, hour);
    let idle_timeout = span(section, "idle_timeout", ListenerSettings::IDLE_TIMEOUT, 24 * hour);
    let limits = limits(section);
    let file = file(section, address.as_ref());
    let endpoint = address?;
    let name = name.unwrap_or_else(|| endpoint.to_string()).into();
    Some(ListenerSettings {
        name,
        endpoint,
        modules,
        allow,
        max_connections,
        deadline,
        request_timeout,
        idle_timeout,
        limits,
        file,
    })
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

/// Who may connect: this machine and private networks unless something else is said, which has to be said
/// where the address can be reached from elsewhere.
fn allow(section: &mut Section, address: Option<&Endpoint>) -> Networks {
    let written = section.has("allow");
    let allow = networks(section, "allow");
    match address {
        Some(Endpoint::Unix(_)) if written => {
            section.fault("allow", "is only for TCP: who may use a unix socket is decided by mode, user and group");
        }
        Some(Endpoint::Tcp(address)) if !written && !Networks::private().enclose(address.ip()) => section.fault(
            "address",
            format!("{address} can be reached from the internet: say in allow who may, allow = [\"192.0.2.0/24\"]"),
        ),
        _ => {}
    }
    allow.unwrap_or_else(Networks::private)
}

/// The list of networks at `key`, if it was written; each entry that is none is a fault.
pub(super) fn networks(section: &mut Section, key: &str) -> Option<Networks> {
    let texts: Vec<String> = section.value(key)?;
    if texts.is_empty() {
        section.fault(key, "is empty: nobody could connect");
    }
    match Networks::read(&texts) {
        Ok(networks) => Some(networks),
        Err(errors) => {
            errors.iter().for_each(|error| section.fault(key, error.to_string()));
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

fn modules(section: &mut Section, nameable: &Nameable<'_>) -> Vec<Arc<str>> {
    if !section.has("modules") {
        section.value::<Vec<String>>("modules");
        section.fault("modules", "is missing: expected a list of modules, for example [\"bwl\"]");
        return Vec::new();
    }
    let Some(names) = section.value::<Vec<String>>("modules") else { return Vec::new() };
    if names.is_empty() {
        section.fault("modules", "is empty: expected at least one module (\"test\" has no opinion on anything)");
    }
    let names: Vec<Arc<str>> = names.iter().map(|name| plain_name(name).into()).collect();
    let mut seen = HashSet::new();
    for name in &names {
        if !seen.insert(name) {
            let why = "it would be asked, and would charge, twice";
            section.fault("modules", format!("{name:?} stands twice in the chain: {why}"));
        } else if nameable.whole && !nameable.sections.contains(&**name) && nameable.registry.get(name).is_none() {
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

fn file(section: &mut Section, address: Option<&Endpoint>) -> SocketFile {
    if let Some(Endpoint::Tcp(_)) = address {
        for key in ["mode", "user", "group"] {
            if section.node(key).is_some() {
                section.fault(key, "is only for a unix socket");
            }
        }
        return SocketFile::default();
    }
    let mode = mode(section);
    let uid = server::user(section, "user").map(|user| user.uid.as_raw());
    let gid = server::group(section, "group").map(|group| group.as_raw());
    SocketFile { mode, uid, gid }
}

fn mode(section: &mut Section) -> u32 {
    let default = SocketFile::default().mode;
    let Some(text) = section.value::<String>("mode") else { return default };
    match u32::from_str_radix(&text, 8) {
        Ok(mode) if mode <= 0o777 => mode,
        _ => {
            section
                .fault("mode", format!("{text:?} is no mode: expected octal digits in quotes, for example \"0660\""));
            default
        }
    }
}

//! `[module.NAME]`: the keys that all modules have in common, and the module's own settings.

use std::collections::HashSet;
use std::time::Duration;

use actors::module::Configured;
use actors::settings::Section;

use super::listener::{Listener, RESERVED};
use crate::registry::Registry;

/// How long a module may take for one request.
const DEADLINE: Duration = Duration::from_secs(5);
/// Requests in the hands of one module on one worker. An actor polls all of them at every wake.
const MAX_IN_FLIGHT: i64 = 64;

/// What the chain answers for a module that did not.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum OnFailure {
    /// Goes on with the next module: mail flows, and the log says that it flowed unchecked.
    Dunno,
    /// Answers `DEFER`.
    Defer,
    /// Ends the connection without an answer: Postfix applies its own default.
    Disconnect,
}

/// One module of the configuration.
pub struct ModuleSettings {
    /// Its name in chains, without `mod-`.
    pub name: String,
    /// Its type; the same as the name unless `type` says otherwise.
    pub kind: String,
    /// Whether a chain names it.
    pub used: bool,
    /// What the chain answers for it when it does not.
    pub on_failure: OnFailure,
    /// How long it may take for one request.
    pub deadline: Duration,
    /// Requests in its hands at a time, on one worker.
    pub max_in_flight: usize,
    /// Decides, but only for the log and the statistics.
    pub observe: bool,
    /// Its own settings, ready to be started.
    pub configured: Box<dyn Configured>,
}

/// The name of a module: `mod-bwl` and `bwl` are the same.
pub fn plain_name(name: &str) -> &str {
    name.strip_prefix("mod-").unwrap_or(name)
}

/// Reads every module that has a section or stands in a chain. A name in a chain that means nothing was
/// reported with its listener.
pub(super) fn read_all(mut all: Section, listeners: &[Listener], registry: &Registry) -> Vec<ModuleSettings> {
    let chained: Vec<&str> = listeners.iter().flat_map(|listener| &listener.modules).map(String::as_str).collect();
    let mut modules = Vec::new();
    let mut known = HashSet::new();
    let written: Vec<_> = all.remaining().map(str::to_owned).collect();
    for key in written {
        let section = all.table(&key);
        let name = plain_name(&key);
        if !known.insert(name.to_owned()) {
            all.fault(&key, format!("[module.{name}] and [module.mod-{name}] are the same module: keep one"));
            continue;
        }
        modules.extend(read(name, chained.contains(&name), section, registry));
    }
    for name in chained {
        if registry.get(name).is_some() && known.insert(name.to_owned()) {
            modules.extend(read(name, true, all.table(name), registry));
        }
    }
    modules
}

fn read(name: &str, used: bool, mut section: Section, registry: &Registry) -> Option<ModuleSettings> {
    if RESERVED.contains(&name) {
        section.fault("", format!("{name:?} is kept for a part of the daemon: choose another name"));
    }
    let kind = section.value::<String>("type");
    let kind = plain_name(kind.as_deref().unwrap_or(name)).to_owned();
    let words = [("dunno", OnFailure::Dunno), ("defer", OnFailure::Defer), ("disconnect", OnFailure::Disconnect)];
    let on_failure = section.one_of("on_failure", OnFailure::Dunno, &words);
    let deadline = section.duration("deadline", DEADLINE);
    if deadline < Duration::from_millis(1) || deadline > Duration::from_secs(100) {
        section.fault("deadline", format!("{deadline:?} is out of bounds: expected 1ms to 100s"));
    }
    let max_in_flight = section.number("max_in_flight", MAX_IN_FLIGHT, 1..=100_000).unsigned_abs() as usize;
    let observe = section.or("observe", false);
    let Some(module) = registry.get(&kind) else {
        let key = if section.has("type") { "type" } else { "" };
        section.fault(key, format!("there is no module {kind:?}; {}", registry.known()));
        return None;
    };
    let configured = module.configure(&mut section);
    section.finish();
    Some(ModuleSettings { name: name.to_owned(), kind, used, on_failure, deadline, max_in_flight, observe, configured })
}

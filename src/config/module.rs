//! `[module.NAME]`: the keys that all modules have in common, and the module's own settings.

use std::collections::HashSet;
use std::time::Duration;

use actors::module::Configured;
use actors::runtime_settings::{ListenerSettings, ModuleSettings, OnFailure};
use actors::settings::Section;

use super::listener::RESERVED;
use crate::registry::Registry;

/// One module of the configuration, ready to be started.
pub struct ModulePlan {
    /// What all modules have in common.
    pub settings: ModuleSettings,
    /// Whether a chain names it.
    pub used: bool,
    /// Its own settings.
    pub configured: Box<dyn Configured>,
}

/// The name of a module: `mod-bwl` and `bwl` are the same.
pub fn plain_name(name: &str) -> &str {
    name.strip_prefix("mod-").unwrap_or(name)
}

/// Reads every module that has a section or stands in a chain. A name in a chain that means nothing was
/// reported with its listener.
pub(super) fn read_all(mut all: Section, listeners: &[ListenerSettings], registry: &Registry) -> Vec<ModulePlan> {
    let chained: Vec<&str> = listeners.iter().flat_map(|listener| &listener.modules).map(|name| &**name).collect();
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

fn read(name: &str, used: bool, mut section: Section, registry: &Registry) -> Option<ModulePlan> {
    if RESERVED.contains(&name) {
        section.fault("", format!("{name:?} is kept for a part of the daemon: choose another name"));
    }
    let kind = section.value::<String>("type");
    let kind = plain_name(kind.as_deref().unwrap_or(name)).to_owned();
    let settings = common(name, &kind, &mut section);
    let Some(module) = registry.get(&kind) else {
        let key = if section.has("type") { "type" } else { "" };
        section.fault(key, format!("there is no module {kind:?}; {}", registry.known()));
        return None;
    };
    let configured = module.configure(&mut section);
    section.finish();
    Some(ModulePlan { settings, used, configured })
}

fn common(name: &str, kind: &str, section: &mut Section) -> ModuleSettings {
    let words = [OnFailure::Dunno, OnFailure::Defer, OnFailure::Disconnect].map(|word| (word.name(), word));
    let on_failure = section.one_of("on_failure", OnFailure::default(), &words);
    let deadline = section.duration("deadline", ModuleSettings::DEADLINE);
    if deadline < Duration::from_millis(1) || deadline > Duration::from_secs(100) {
        section.fault("deadline", format!("{deadline:?} is out of bounds: expected 1ms to 100s"));
    }
    let most = i64::try_from(ModuleSettings::MAX_IN_FLIGHT).unwrap_or(i64::MAX);
    let max_in_flight = section.number("max_in_flight", most, 1..=1_000_000).unsigned_abs() as usize;
    let observe = section.or("observe", false);
    ModuleSettings { name: name.into(), kind: kind.into(), on_failure, deadline, max_in_flight, observe }
}

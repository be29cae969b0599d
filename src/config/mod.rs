//! The configuration: read from files and environment, merged, checked whole.
//!
//! [`load`] gives either settings that hold no fault or every fault there is, each with file, line and key.
//! Nothing here opens a socket or a database, so a configuration can be checked anywhere.

mod environment;
mod listener;
mod logging;
mod merge;
mod metrics;
mod module;
mod parts;
mod secrets;
mod server;
mod sources;
mod toml_layer;

use std::collections::{HashMap, HashSet};
use std::ffi::OsString;
use std::path::{Path, PathBuf};

use actors::database;
use actors::runtime_settings::ListenerSettings;
use actors::settings::{Fault, Faults, Node, Section};

pub use logging::{Format, LEVELS, Log, Target};
pub use metrics::Metrics;
pub use module::ModulePlan;
pub use parts::Local;
pub use server::{Identity, Server};

use crate::registry::Registry;

/// Where the configuration is when nothing else is said.
pub const DEFAULT_PATH: &str = "/etc/valvula/valvula.toml";

/// A whole configuration without a fault.
pub struct Settings {
    /// `[server]`.
    pub server: Server,
    /// `[log]`.
    pub log: Log,
    /// `[metrics]`.
    pub metrics: Metrics,
    /// `[database]`.
    pub database: database::Settings,
    /// `[postfix]`.
    pub local: Local,
    /// Each `[[listener]]`, in the order of the files.
    pub listeners: Vec<ListenerSettings>,
    /// Each module that a chain names or a section sets up, by name.
    pub modules: Vec<ModulePlan>,
    /// What works and should not be so, a line each.
    pub warnings: Vec<String>,
}

/// Reads the configuration at `main` with `environment` over it.
pub fn load(
    main: &Path,
    environment: impl IntoIterator<Item = (OsString, OsString)>,
    registry: &Registry,
) -> Result<Settings, Vec<Fault>> {
    let faults = Faults::default();
    let tree = sources::read(main, environment, &faults);
    let readable = faults.is_empty();
    let settings = read(tree, registry, &faults, readable);
    let mut found = faults.take();
    if found.is_empty() {
        return Ok(settings);
    }
    let mut seen = std::collections::BTreeSet::new();
    found.retain(|fault| seen.insert(fault.clone()));
    Err(found)
}

/// Where the control socket is by the configuration at `main`. Faults elsewhere in it do not matter: a
/// running daemon can be asked, and told to reload, while its files are being mended. A file that can't be
/// read is a fault only when it was `named` by the user.
pub fn control_socket(
    main: &Path,
    environment: impl IntoIterator<Item = (OsString, OsString)>,
    named: bool,
) -> Result<PathBuf, Vec<Fault>> {
    if named && let Err(error) = std::fs::File::open(main) {
        let message = format!("can't be read: {error}");
        return Err(vec![Fault { origin: main.display().to_string(), key: String::new(), message }]);
    }
    let tree = sources::read(main, environment, &Faults::default());
    let faults = Faults::default();
    let mut root = Section::new("", tree, Faults::default());
    let section = match root.node("server") {
        Some(node) => Section::new("server", node, faults.clone()),
        None => Section::empty("server", "", faults.clone()),
    };
    let socket = server::control_socket(section);
    let faults = faults.take();
    if faults.is_empty() { Ok(socket) } else { Err(faults) }
}

/// What the tools that look into Postfix's configuration need of ours.
pub struct PostfixSide {
    /// Whom the daemon runs as.
    pub user: Option<Identity>,
    /// `[postfix]`.
    pub local: Local,
    /// Each `[[listener]]`.
    pub listeners: Vec<ListenerSettings>,
    /// The kind of each module that has a `type` of its own, by name.
    pub kinds: HashMap<String, String>,
    /// The modules that answer local questions too.
    pub sources: Vec<ModulePlan>,
}

/// The sections that concern Postfix of the configuration at `main`. A daemon may have more modules than are
/// in `registry`: that one is unknown here is no fault.
pub fn postfix_side(
    main: &Path,
    environment: impl IntoIterator<Item = (OsString, OsString)>,
    registry: &Registry,
) -> Result<PostfixSide, Vec<Fault>> {
    let faults = Faults::default();
    let tree = sources::read(main, environment, &faults);
    let mut root = Section::new("", tree, faults.clone());
    let server = Server::read(root.table("server"));
    let database = parts::database(root.table("database"), &server);
    let local = Local::read(root.table("postfix"), &database);
    let nothing = Registry::default();
    let nameable = listener::Nameable { registry: &nothing, sections: HashSet::new(), whole: false };
    let listeners = listener::read_all(root.tables("listener"), &nameable);
    let sources = root.node("module").map_or_else(Vec::new, |node| sources_of(node, registry, &faults));
    let mut modules = root.table("module");
    let written: Vec<_> = modules.remaining().map(str::to_owned).collect();
    let kinds = written.iter().filter_map(|name| {
        let kind = modules.table(name).value::<String>("type")?;
        Some((module::plain_name(name).to_owned(), module::plain_name(&kind).to_owned()))
    });
    let kinds = kinds.collect();
    let faults = faults.take();
    if faults.is_empty() {
        Ok(PostfixSide { user: server.user, local, listeners, kinds, sources })
    } else {
        Err(faults)
    }
}

/// The modules of these sections that answer local questions too. Faults of others are not asked for here.
fn sources_of(modules: Node, registry: &Registry, faults: &Faults) -> Vec<ModulePlan> {
    let theirs = Faults::default();
    let log = slog::Logger::root(slog::Discard, slog::o!());
    let mut plans = module::read_all(Section::new("module", modules, theirs.clone()), &[], registry);
    plans.retain(|plan| plan.configured.source(&log).is_some());
    let concerns = |fault: &Fault| {
        let name = fault.key.strip_prefix("module.").unwrap_or_default().split('.').next().unwrap_or_default();
        plans.iter().any(|plan| *plan.settings.name == *module::plain_name(name))
    };
    theirs.take().into_iter().filter(concerns).for_each(|fault| faults.push(fault));
    plans
}

/// `whole` is false when a file could not be read: what is missing may then stand in that file.
fn read(tree: Node, registry: &Registry, faults: &Faults, whole: bool) -> Settings {
    let warnings = secrets::exposed(&tree);
    let mut root = Section::new("", tree, faults.clone());
    let server = Server::read(root.table("server"));
    let log = Log::read(root.table("log"));
    let metrics = Metrics::read(root.table("metrics"));
    let database = parts::database(root.table("database"), &server);
    let local = Local::read(root.table("postfix"), &database);
    let all_modules = root.table("module");
    let sections = all_modules.remaining().map(|name| module::plain_name(name).to_owned()).collect();
    let nameable = listener::Nameable { registry, sections, whole };
    let listeners = listener::read_all(root.tables("listener"), &nameable);
    if !root.has("listener") && whole {
        root.fault("listener", "no listener is configured: expected at least one [[listener]]");
    }
    let modules = module::read_all(all_modules, &listeners, registry);
    root.finish();
    Settings { server, log, metrics, database, local, listeners, modules, warnings }
}

#[cfg(test)]
mod tests;

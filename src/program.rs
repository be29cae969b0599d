//! `valvulad` from its command line to its exit code, and the builder that makes such a program.

use std::path::Path;
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use actors::module::ModuleType;
use slog::{Level, warn};
use structopt::StructOpt as _;

use crate::boot;
use crate::cli::exit::{self, Exit, Failure};
use crate::cli::flags::{Flags, Mode};
use crate::cli::local::{become_user, wait_for};
use crate::cli::{control, database, local, ping};
use crate::config::{self, Settings};
use crate::control::protocol::Command;
use crate::log::{Logging, Setting};
use crate::registry::Registry;
use crate::upgrade::{Inherited, Predecessor};
use crate::{detach, limits};

/// What `-s` waits for its answer.
const STATUS: Duration = Duration::from_secs(10);

/// A daemon made of modules.
///
/// ```no_run
/// # use actors::module::{BoxFuture, Configured, Decide, Module, ModuleContext, ModuleType, Query, StartError};
/// # use actors::settings::Section;
/// # use std::sync::Arc;
/// struct Nothing;
///
/// impl ModuleType for Nothing {
///     fn name(&self) -> &'static str {
///         "nothing"
///     }
///     fn configure(&self, _: &mut Section) -> Box<dyn Configured> {
///         Box::new(Nothing)
///     }
/// }
///
/// impl Configured for Nothing {
///     fn start(self: Box<Self>, _: ModuleContext) -> BoxFuture<Result<Arc<dyn Module>, StartError>> {
///         Box::pin(async { Ok(Arc::new(*self) as Arc<dyn Module>) })
///     }
/// }
///
/// impl Module for Nothing {
///     fn decide(self: Arc<Self>, _: Arc<Query>) -> Decide {
///         Decide::DUNNO
///     }
/// }
///
/// fn main() -> std::process::ExitCode {
///     valvulad::Builder::new().module(Nothing).run()
/// }
/// ```
pub struct Builder {
    registry: Registry,
}

impl Default for Builder {
    fn default() -> Self {
        Self::new()
    }
}

impl Builder {
    /// A daemon with the modules of this project.
    pub fn new() -> Self {
        Self { registry: Registry::of_this_project() }
    }

    /// Adds a module; one of this project's with the same name is replaced.
    #[must_use]
    pub fn module(mut self, module: impl ModuleType) -> Self {
        self.registry.add(module);
        self
    }

    /// Reads the command line and does what it says, as the daemon until it is told to end.
    pub fn run(self) -> ExitCode {
        let flags = match exit::parsed(Flags::from_iter_safe(std::env::args_os())) {
            Ok(flags) => flags,
            Err(exit) => return exit.into(),
        };
        // Before anything starts a thread.
        let inherited = match flags.mode() {
            Mode::Serve if !flags.detach || detach::is_child() => Inherited::take(),
            _ => Ok(Inherited::default()),
        };
        let mut predecessor = None;
        let outcome = inherited.and_then(|inherited| {
            predecessor.clone_from(&inherited.predecessor);
            self.obey(flags, inherited, &predecessor)
        });
        match outcome {
            Ok(exit) => exit.into(),
            Err(failure) => {
                if let Some(predecessor) = predecessor {
                    predecessor.failed(&failure);
                }
                failure.say("valvulad");
                failure.exit.into()
            }
        }
    }

    fn obey(self, flags: Flags, inherited: Inherited, predecessor: &Option<Arc<Predecessor>>) -> Result<Exit, Failure> {
        match flags.mode() {
            Mode::Status => return show_status(&flags),
            Mode::Serve if flags.detach && !detach::is_child() => return detach(),
            _ => {}
        }
        if flags.detach {
            detach::leave_session().map_err(|error| Failure::new(Exit::Software, format!("--detach: {error}")))?;
        }
        let settings = self.load(&flags.config)?;
        match flags.mode() {
            Mode::Serve => self.serve(&flags, settings, inherited, predecessor),
            Mode::CheckConfig => {
                exit::warn("valvulad", &settings.warnings);
                exit::print(&format!("{}: the configuration is good", flags.config.display()));
                Ok(Exit::Good)
            }
            Mode::Ping => {
                let mut listeners = settings.listeners;
                ping::resolve_ports(&mut listeners, &settings.server.control_socket);
                let pinged = wait_for(ping::ping(&listeners))?;
                exit::print(&pinged.line());
                Ok(if pinged.silent.is_empty() { Exit::Good } else { Exit::No })
            }
            Mode::CheckDatabase => {
                become_user(settings.server.user.as_ref())?;
                exit::print(&wait_for(database::check(settings.database))??);
                Ok(Exit::Good)
            }
            Mode::IsLocal(name) => {
                become_user(settings.server.user.as_ref())?;
                let found = wait_for(local::look_up(&name, &settings.local, None, &settings.modules))?;
                exit::print(&found.text());
                Ok(found.exit())
            }
            Mode::Status => unreachable!("answered above: it needs no whole configuration"),
        }
    }

    fn serve(
        self,
        flags: &Flags,
        settings: Settings,
        inherited: Inherited,
        predecessor: &Option<Arc<Predecessor>>,
    ) -> Result<Exit, Failure> {
        let setting = Setting {
            on_stderr: flags.debug.then_some(Level::Debug),
            at_least: flags.verbose.then_some(Level::Trace),
            detached: flags.detach,
            owner: settings.server.user.clone(),
            queries: flags.debug_queries,
        };
        let logging = Logging::start(&settings.log, setting)
            .map_err(|error| Failure::new(Exit::Config, format!("log.target: {error:#}")))?;
        limits::apply(logging.logger(), settings.listeners.iter().map(|listener| listener.max_connections).sum());
        let log = logging.logger().clone();
        let detached = flags.detach;
        let ready = move || {
            if detached && let Err(error) = detach::ready() {
                warn!(log, "standard error is still the terminal's"; "error" => %error);
            }
        };
        let source = boot::Source { path: flags.config.clone(), registry: self.registry };
        let ended = boot::run(source, settings, inherited, &logging, ready);
        logging.flush();
        match ended {
            Ok(()) => Ok(Exit::Good),
            // It is in the log, and the log was standard error.
            Err(failure) if logging.is_on_stderr() => {
                if let Some(predecessor) = predecessor {
                    predecessor.failed(&failure);
                }
                Ok(failure.exit)
            }
            Err(failure) => Err(failure),
        }
    }

    fn load(&self, path: &Path) -> Result<Settings, Failure> {
        config::load(path, std::env::vars_os(), &self.registry).map_err(|faults| Failure::config(&faults))
    }
}

fn show_status(flags: &Flags) -> Result<Exit, Failure> {
    let named = (flags.config != Path::new(config::DEFAULT_PATH)).then_some(&flags.config);
    let answer = control::ask(&control::control_socket(named)?, &Command::Stats, STATUS)?;
    exit::print(&if flags.json { control::json(&answer) } else { control::stats_text(answer)? });
    Ok(Exit::Good)
}

fn detach() -> Result<Exit, Failure> {
    match detach::start_child() {
        Ok(None) => Ok(Exit::Good),
        // The child has said why.
        Ok(Some(code)) => Err(Failure { exit: Exit::from_code(code), lines: Vec::new() }),
        Err(error) => Err(Failure::new(Exit::Software, format!("--detach: {error}"))),
    }
}

//! Boot: the daemon put together, from its settings to its end.
//!
//! Start order: signals taken; control socket and ports bound, not yet listening; privileges dropped;
//! database connected and migrated; modules ready with their first snapshot; ports listen; the service
//! manager told. No request is answered before its modules are ready. Stop is the reverse. Everything
//! that can go wrong before the ports listen ends the start with an exit code and one clear line each.

mod control;
mod operate;
mod parts;
mod service;

use std::os::unix::fs::DirBuilderExt as _;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use actors::Bound;
use slog::{Logger, crit, error, info, o};

use crate::cli::exit::{Exit, Failure};
use crate::config::{self, Server, Settings};
use crate::control::ControlSocket;
use crate::health::MetricsSocket;
use crate::log::Logging;
use crate::privileges;
use crate::registry::Registry;
use crate::signals::{Order, Signals};
use crate::systemd::{self, Manager};
use crate::upgrade::{Inherited, Leaving};
use service::Service;

/// How often it is looked whether every port still can accept.
const LOOK_AFTER: Duration = Duration::from_secs(1);

/// What modules, counters and the database may take to write what is unwritten, after the grace.
const WRITE: Duration = Duration::from_secs(30);

/// Where the configuration comes from, for the start and for each reload.
#[derive(Clone)]
pub struct Source {
    /// The main file.
    pub path: PathBuf,
    /// The modules there are.
    pub registry: Registry,
}

impl Source {
    /// Reads it: settings without a fault, or every fault.
    pub fn read(&self) -> Result<Settings, Vec<actors::settings::Fault>> {
        config::load(&self.path, std::env::vars_os(), &self.registry)
    }
}

/// Runs the daemon with `settings` until it is told to stop. `ready` is called once when requests are answered.
///
/// # Errors
/// Why it could not start: an exit code and a line for each reason, which are in the log too.
pub fn run(
    source: Source,
    settings: Settings,
    inherited: Inherited,
    logging: &Logging,
    ready: impl FnOnce(),
) -> Result<(), Failure> {
    let log = logging.logger().clone();
    panics_to(&log);
    let outcome = actix_rt::System::new().block_on(serve(source, settings, inherited, logging, ready));
    if let Err(failure) = &outcome {
        for line in &failure.lines {
            crit!(log, "{}", line);
        }
    }
    outcome
}

async fn serve(
    source: Source,
    settings: Settings,
    mut inherited: Inherited,
    logging: &Logging,
    ready: impl FnOnce(),
) -> Result<(), Failure> {
    let log = logging.logger().clone();
    let mut signals = Signals::take().map_err(|error| Failure::new(Exit::Software, format!("signals: {error}")))?;
    let server = settings.server.clone();
    let manager = Manager::new(log.clone());
    let predecessor = inherited.predecessor.clone();
    let control = bind_control(&server, &mut inherited)?;
    let bound = bind(&settings, &mut inherited)?;
    let metrics = bind_metrics(&settings, &mut inherited)?;
    let leaving = leaving(&settings, &control, metrics.as_ref(), &manager)?;
    make_state_dir(&server)?;
    if let Some(user) = &server.user {
        privileges::drop_to(user).map_err(|error| Failure::new(Exit::Software, error))?;
    }

    let start = Service::start(source, settings, bound, logging.clone(), (leaving, predecessor.clone()));
    tokio::pin!(start);
    let service = loop {
        tokio::select! {
            started = &mut start => break started?,
            order = signals.next() => if order == Order::Stop {
                info!(log, "stopped while starting");
                return Ok(());
            },
        }
    };
    let service = Arc::new(service);
    let orders = control::start(service.clone(), &log);
    let listening = actix_rt::spawn(control.serve(Arc::new(orders.clone()), log.new(o!("part" => "control"))));
    let metrics = metrics.map(|socket| {
        let log = log.new(o!("part" => "metrics"));
        let shown = Arc::new(service::Shown(service.clone()));
        actix_rt::spawn(async move {
            if let Err(error) = socket.serve(shown, log.clone()).await {
                error!(log, "metrics are not shown"; "error" => %error);
            }
        })
    });
    let watchdog = feed_watchdog(manager.clone(), service.clone(), log.clone());
    if let Some(predecessor) = predecessor {
        let gone = |error| Failure::new(Exit::Unavailable, format!("the daemon whose place this one takes: {error}"));
        predecessor.serving(service.runtime().clone(), log.clone()).map_err(gone)?;
        service.leaving().control.claim();
    }
    inherited.close_rest(&log);
    manager.ready();
    ready();
    info!(log, "answering requests"; "version" => env!("CARGO_PKG_VERSION"), "pid" => std::process::id());

    let outcome = obey(&mut signals, &service, &manager, &orders, &log).await;

    let left = matches!(outcome, Ok(Ended::Left));
    if !left {
        manager.stopping();
    }
    listening.abort();
    watchdog.abort();
    if let Some(metrics) = metrics {
        metrics.abort();
    }
    info!(log, "stopping"; "grace_s" => server.grace.as_secs());
    let stop = tokio::time::timeout(server.grace + WRITE, service.stop(server.grace));
    tokio::pin!(stop);
    loop {
        tokio::select! {
            unanswered = &mut stop => match unanswered {
                Ok(0) => break,
                Ok(left) => {
                    error!(log, "requests were still in hand when the grace was over"; "requests" => left);
                    break;
                }
                Err(_) => {
                    let why = "modules or database did not finish in time: what was unwritten may be lost";
                    return outcome.and(Err(Failure::new(Exit::Software, why)));
                }
            },
            order = signals.next() => if order == Order::Stop {
                error!(log, "second signal, ending at once");
                return Err(Failure::new(Exit::Software, "ended at once by a second signal"));
            },
        }
    }
    if let Some(count) = service.leaving().handed_over() {
        info!(log, "connections handed over"; "connections" => count);
    }
    info!(log, "stopped");
    outcome.map(|_| ())
}

/// Why the daemon ends.
enum Ended {
    /// A signal said so.
    Told,
    /// Another one has its place.
    Left,
}

/// Waits for signals and carries them out, until one says stop or a port is lost for good.
async fn obey(
    signals: &mut Signals,
    service: &Arc<Service>,
    manager: &Manager,
    orders: &control::Orders,
    log: &Logger,
) -> Result<Ended, Failure> {
    let mut look = tokio::time::interval(LOOK_AFTER);
    loop {
        tokio::select! {
            order = signals.next() => match order {
                Order::Stop => return Ok(Ended::Told),
                // In a task: a module may load for long, and the next signal may be the end.
                Order::Reload => {
                    let (service, manager) = (service.clone(), manager.clone());
                    actix_rt::spawn(async move {
                        manager.reloading();
                        // What is wrong is in the log; the old configuration stays.
                        let _ = service.reload().await;
                        manager.ready();
                    });
                }
                Order::Dump => orders.dump(),
            },
            () = service.leaving().left() => return Ok(Ended::Left),
            _ = look.tick() => if let Some(port) = service.runtime().a_port_is_down() {
                error!(log, "a listener can't accept connections any more"; "listener" => &*port);
                return Err(Failure::new(Exit::Unavailable, format!("listener {port} can't accept connections any more")));
            },
        }
    }
}

/// Binds every listener that has no socket yet; all that can't be bound are named.
fn bind(settings: &Settings, inherited: &mut Inherited) -> Result<Vec<Bound>, Failure> {
    let (mut bound, mut lines) = (Vec::new(), Vec::new());
    for listener in &settings.listeners {
        match inherited.listener(listener) {
            Ok(socket) => bound.push(socket),
            Err(error) => lines.push(error.to_string()),
        }
    }
    if lines.is_empty() { Ok(bound) } else { Err(Failure { exit: Exit::Unavailable, lines }) }
}

/// The control socket, of the daemon whose place this one takes or bound now.
fn bind_control(server: &Server, inherited: &mut Inherited) -> Result<ControlSocket, Failure> {
    let (path, user, group) = (&server.control_socket, server.user.as_ref(), server.control_group);
    let socket = match inherited.control(path) {
        Some(control) => ControlSocket::adopt(path, user, group, (control.socket, control.lock)),
        None => ControlSocket::bind(path, user, group),
    };
    socket.map_err(|error| Failure::new(Exit::Unavailable, error))
}

/// What an upgrade will need.
fn leaving(
    settings: &Settings,
    control: &ControlSocket,
    metrics: Option<&MetricsSocket>,
    manager: &Manager,
) -> Result<Leaving, Failure> {
    let parts = || -> std::io::Result<Leaving> {
        let metrics = match (settings.metrics.address, metrics) {
            (Some(address), Some(socket)) => Some((address, socket.duplicate()?)),
            _ => None,
        };
        Ok(Leaving::new(control.handle()?, metrics, manager.clone()))
    };
    parts().map_err(|error| Failure::new(Exit::Software, format!("descriptors: {error}")))
}

/// Listens where `[metrics]` says. Who connects before the daemon answers requests waits.
fn bind_metrics(settings: &Settings, inherited: &mut Inherited) -> Result<Option<MetricsSocket>, Failure> {
    let Some(address) = settings.metrics.address else { return Ok(None) };
    match inherited.metrics(address) {
        Ok(socket) => Ok(Some(MetricsSocket::new(socket, settings.metrics.allow.clone()))),
        Err(error) => Err(Failure::new(Exit::Unavailable, format!("metrics: cannot bind {address}: {error}"))),
    }
}

/// The state directory is made where it is missing, for the user the daemon will run as.
fn make_state_dir(server: &Server) -> Result<(), Failure> {
    let path = &server.state_dir;
    let failed = |error: std::io::Error| {
        let what = format!("the state directory {} can't be made: {error}", path.display());
        Failure::new(Exit::Unavailable, what)
    };
    if path.is_dir() {
        return Ok(());
    }
    std::fs::DirBuilder::new().recursive(true).mode(0o750).create(path).map_err(failed)?;
    match &server.user {
        Some(user) if nix::unistd::geteuid().is_root() => {
            std::os::unix::fs::chown(path, Some(user.uid.as_raw()), Some(user.gid.as_raw())).map_err(failed)
        }
        _ => Ok(()),
    }
}

/// Tells the service manager that we are alive, as often as it wants to know, while every listener answers
/// itself: one that is suspended or full does not, and is not mended by a restart.
fn feed_watchdog(manager: Manager, service: Arc<Service>, log: Logger) -> actix_rt::task::JoinHandle<()> {
    actix_rt::spawn(async move {
        let Some(limit) = systemd::watchdog() else { return };
        // Three times within its patience: one sign of life may come late.
        let mut tick = tokio::time::interval(limit / 3);
        loop {
            tick.tick().await;
            let checked = service.health().check().await;
            if checked.is_alive() {
                manager.alive();
            } else {
                let faults = checked.faults().join("; ");
                error!(log, "no sign of life for the service manager"; "why" => faults);
            }
        }
    })
}

/// A panic is a line in the log, with where it happened; who contains it says what follows from it.
fn panics_to(log: &Logger) {
    let log = log.clone();
    std::panic::set_hook(Box::new(move |panic| {
        let place = panic.location().map(ToString::to_string).unwrap_or_default();
        let what = panic.payload_as_str().unwrap_or("no text");
        error!(log, "panic"; "what" => what, "place" => place);
    }));
}

//! The runtime: everything together. Starts the actors, serves, reloads by swap, takes an operator's
//! orders, reports, stops.
//!
//! It runs on the thread of the actix system it was started in (the system arbiter), where the ports,
//! Stats and the Postfix-config actor live; the workers are arbiters of their own.

use std::collections::HashSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use actix::Addr;
use parking_lot::Mutex;
use slog::{Logger, info, o, warn};
use tokio::time::{Instant, sleep, timeout};

use crate::bind::{BindError, Bound};
use crate::budget::Budget;
use crate::mail::{ask, post};
use crate::module::{Decide, Module, Query};
use crate::port::{End, Port, Renamed, SharedState};
use crate::probe::Probes;
use crate::runtime_settings::{ListenerSettings, ModuleSettings};
use crate::seat::Seats;
use crate::stats::{Snapshot, Stats, Totals};
use crate::supervise::{Health, supervise};
use crate::worker::{EndSessions, Flush, Install, Loaded, PortId, Replica, Worker};

mod checking;
mod explaining;
mod handing_over;
mod orders;
mod reporting;

pub use handing_over::{Connected, SharedSocket};

/// How often it is looked whether the last request in hand is answered, while stopping.
const POLL: Duration = Duration::from_millis(10);

/// A module that is ready, and how it is to be run.
#[derive(Clone)]
pub struct ReadyModule {
    /// What is common to all modules.
    pub settings: ModuleSettings,
    /// The module.
    pub module: Arc<dyn Module>,
}

impl ReadyModule {
    /// A module made of one function, with the defaults. For programs that embed the runtime.
    pub fn from_fn(name: &str, decide: impl Fn(Arc<Query>) -> Decide + Send + Sync + 'static) -> Self {
        struct Function<F>(F);
        impl<F: Fn(Arc<Query>) -> Decide + Send + Sync + 'static> Module for Function<F> {
            fn decide(self: Arc<Self>, query: Arc<Query>) -> Decide {
                (self.0)(query)
            }
        }
        Self { settings: ModuleSettings::new(name), module: Arc::new(Function(decide)) }
    }
}

/// An order that names nothing.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum OrderError {
    /// There is no such thing; these there are.
    #[error("no {kind} is called {name:?}; there are: {known}")]
    Unknown {
        /// `listener`, `listener or module`.
        kind: &'static str,
        /// What was asked for.
        name: String,
        /// What there is.
        known: String,
    },
    /// None was named, and there are several.
    #[error("name a listener; there are: {known}")]
    Several {
        /// Their names.
        known: String,
    },
}

/// What was restarted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Restarted {
    /// A listener.
    Port,
    /// A module, on all workers.
    Module,
    /// The Stats actor.
    Stats,
}

struct PortEntry {
    id: PortId,
    settings: Arc<ListenerSettings>,
    address: Addr<Port>,
    health: Arc<Health>,
    seats: Arc<Seats>,
    state: Arc<SharedState>,
    bound: libvalvula::Endpoint,
}

#[derive(Default)]
struct Inside {
    ports: Vec<PortEntry>,
    modules: Vec<Loaded>,
    replicas: Vec<Replica>,
    /// Restarts of modules before the last reload, whose actors are gone.
    old_restarts: std::collections::HashMap<Arc<str>, u64>,
}

struct WorkerHandle {
    arbiter: actix_rt::Arbiter,
    address: Addr<Worker>,
}

/// The running actors. Cheap to clone.
#[derive(Clone)]
pub struct Runtime(Arc<Shared>);

struct Shared {
    log: Logger,
    workers: Vec<WorkerHandle>,
    stats: Addr<Stats>,
    stats_health: Arc<Health>,
    inside: Mutex<Inside>,
    next_port: AtomicUsize,
    next_worker: AtomicUsize,
    started: Instant,
    version: String,
    probes: Arc<Probes>,
    budget: Arc<Budget>,
}

impl Runtime {
    /// Default of [`Self::set_request_memory`].
    pub const REQUEST_MEMORY: usize = 64 * 1024 * 1024;

    /// Bounds what requests on their way, not answered yet, take of memory in all, in bytes. What a
    /// connection has sent of a request up to 4 KiB is not counted. Past it connections that send more end.
    pub fn set_request_memory(&self, most: usize) {
        self.0.budget.resize(most);
    }

    /// Starts the workers and the Stats actor. `workers` of 0 is one per core. Must be called within an
    /// actix system.
    ///
    /// # Errors
    /// A worker's thread could not be started.
    pub async fn start(workers: usize, version: &str, log: &Logger) -> std::io::Result<Self> {
        let count = match workers {
            0 => std::thread::available_parallelism().map_or(1, usize::from),
            more => more,
        };
        let (stats, stats_health) = supervise("stats", log, |_| Stats::default());
        let budget = Budget::new(Self::REQUEST_MEMORY);
        let mut handles = Vec::with_capacity(count);
        for number in 0..count {
            let arbiter = actix_rt::Arbiter::new();
            let (send, receive) = tokio::sync::oneshot::channel();
            let (worker_log, to, budget) = (log.new(o!()), stats.clone(), budget.clone());
            arbiter.spawn_fn(move || {
                let name = format!("worker {number}");
                let (address, _) = supervise(&name, &worker_log, |_| Worker::new(worker_log.clone(), to, budget));
                let _ = send.send(address);
            });
            let address = receive.await.map_err(|_| std::io::Error::other(format!("worker {number} did not start")))?;
            handles.push(WorkerHandle { arbiter, address });
        }
        Ok(Self(Arc::new(Shared {
            log: log.clone(),
            workers: handles,
            stats,
            stats_health,
            inside: Mutex::default(),
            next_port: AtomicUsize::new(0),
            next_worker: AtomicUsize::new(0),
            started: Instant::now(),
            version: version.to_owned(),
            probes: Arc::default(),
            budget,
        })))
    }

    /// Serves `listeners`, each with its bound socket or the one it has already, with `modules`; what was
    /// served before and is not in `listeners` ends after the requests in hand.
    ///
    /// The first call starts the daemon's service, each further one is a reload: connections whose
    /// listener stays go on, their next request is decided by the new modules. `bound` holds the sockets
    /// of the listeners that are new. The modules that are no longer used are stopped once nobody asks
    /// them any more.
    ///
    /// # Errors
    /// A new listener's socket cannot be listened on. Nothing has changed then.
    pub async fn serve(
        &self,
        listeners: Vec<ListenerSettings>,
        modules: Vec<ReadyModule>,
        bound: Vec<Bound>,
    ) -> Result<(), BindError> {
        let mut listening = Vec::with_capacity(bound.len());
        for socket in bound {
            listening.push(socket.listen()?);
        }
        let modules: Vec<_> = modules
            .into_iter()
            .map(|ReadyModule { settings, module }| Loaded { settings: Arc::new(settings), module })
            .collect();
        let listeners: Vec<Arc<ListenerSettings>> = listeners.into_iter().map(Arc::new).collect();
        let ids: Vec<PortId> = listeners.iter().map(|settings| self.id_of(settings)).collect();
        let replicas = self.install(&modules, ids.iter().copied().zip(listeners.iter().cloned()).collect()).await;

        // Everything below happens without a wait: an operator's order meets the old state or the new.
        let mut inside = self.0.inside.lock();
        let mut old_ports = std::mem::take(&mut inside.ports);
        for (id, settings) in ids.into_iter().zip(listeners) {
            let old = old_ports.iter().position(|port| port.id == id).map(|place| old_ports.swap_remove(place));
            let entry = match old {
                Some(old) => {
                    old.seats.resize(settings.max_connections);
                    old.seats.set_allow(settings.allow.clone());
                    if old.settings.name != settings.name {
                        info!(self.0.log, "listener renamed"; "from" => &*old.settings.name, "to" => &*settings.name);
                        post(&old.address, Renamed(self.log_of(&settings)));
                    }
                    Some(PortEntry { settings: settings.clone(), ..old })
                }
                None => {
                    let place = listening.iter().position(|socket| socket.name() == &*settings.name);
                    place.map(|place| self.open_port(id, settings.clone(), listening.swap_remove(place)))
                }
            };
            match entry {
                Some(entry) => inside.ports.push(entry),
                None => warn!(self.0.log, "listener has no socket"; "listener" => &*settings.name),
            }
        }
        for port in old_ports {
            info!(self.0.log, "listener ends"; "listener" => &*port.settings.name);
            post(&port.address, End);
            self.end_sessions(Some(port.id), false);
        }
        for old in std::mem::replace(&mut inside.replicas, replicas) {
            *inside.old_restarts.entry(old.module.clone()).or_default() += old.health.restarts();
        }
        let retired = std::mem::replace(&mut inside.modules, modules);
        drop(inside);
        for module in retired {
            actix_rt::spawn(stop_when_unused(module.module));
        }
        Ok(())
    }

    fn id_of(&self, settings: &ListenerSettings) -> PortId {
        let inside = self.0.inside.lock();
        // The same address: the same listener, whatever it is called now. Its connections stay.
        inside
            .ports
            .iter()
            .find(|port| port.serves(settings))
            .map_or_else(|| PortId(self.0.next_port.fetch_add(1, Ordering::Relaxed)), |port| port.id)
    }

    /// Whether a listener of this address is served already, so that it needs no new socket.
    pub fn is_served(&self, settings: &ListenerSettings) -> bool {
        let inside = self.0.inside.lock();
        inside.ports.iter().any(|port| port.serves(settings))
    }

    async fn install(&self, modules: &[Loaded], ports: Vec<(PortId, Arc<ListenerSettings>)>) -> Vec<Replica> {
        let mut replicas = Vec::new();
        for worker in &self.0.workers {
            let install = Install { modules: modules.to_vec(), ports: ports.clone() };
            replicas.extend(ask(&worker.address, install).await.unwrap_or_default());
        }
        replicas
    }

    fn open_port(&self, id: PortId, settings: Arc<ListenerSettings>, socket: crate::bind::Listening) -> PortEntry {
        let seats = Seats::new(settings.max_connections, settings.allow.clone());
        let state = Arc::new(SharedState::new(socket.is_suspended()));
        let workers: Vec<_> = self.0.workers.iter().map(|worker| worker.address.clone()).collect();
        let log = self.log_of(&settings);
        let bound = socket.endpoint().clone();
        info!(log, "listening"; "address" => %bound);
        let shared = (seats.clone(), state.clone(), self.0.probes.clone());
        let (address, health) = supervise(&format!("port {}", settings.name), &self.0.log, |health| {
            Port::new(id, socket, shared, workers, health, log)
        });
        PortEntry { id, settings, address, health, seats, state, bound }
    }

    fn log_of(&self, settings: &ListenerSettings) -> Logger {
        self.0.log.new(o!("listener" => settings.name.to_string()))
    }

    fn end_sessions(&self, port: Option<PortId>, at_once: bool) {
        for worker in &self.0.workers {
            post(&worker.address, EndSessions { port, at_once });
        }
    }

    /// What each listener is bound to, by name.
    pub fn listening_on(&self) -> Vec<(Arc<str>, libvalvula::Endpoint)> {
        let inside = self.0.inside.lock();
        inside.ports.iter().map(|port| (port.settings.name.clone(), port.bound.clone())).collect()
    }

    /// The modules in service, by name.
    pub fn modules(&self) -> Vec<(Arc<ModuleSettings>, Arc<dyn Module>)> {
        let inside = self.0.inside.lock();
        inside.modules.iter().map(|loaded| (loaded.settings.clone(), loaded.module.clone())).collect()
    }

    async fn totals(&self) -> Totals {
        for worker in &self.0.workers {
            // It posts them itself: nothing is lost when nobody waits for this any more.
            let _ = ask(&worker.address, Flush).await;
        }
        ask(&self.0.stats, Snapshot).await.unwrap_or_default()
    }

    /// Stops: ports stop accepting, sessions finish the request in hand (for at most `grace`), modules
    /// write what they have not written, workers end.
    ///
    /// Returns how many requests were still in hand when the grace was over; 0 is a clean stop.
    pub async fn stop(&self, grace: Duration) -> usize {
        let (ports, modules) = {
            let mut inside = self.0.inside.lock();
            inside.replicas.clear();
            (std::mem::take(&mut inside.ports), std::mem::take(&mut inside.modules))
        };
        for port in &ports {
            post(&port.address, End);
        }
        self.end_sessions(None, false);
        let open = || ports.iter().map(|port| port.seats.open()).sum::<usize>();
        let _ = timeout(grace, async {
            while open() > 0 {
                sleep(POLL).await;
                // A connection may have been on its way from the acceptor to a worker.
                self.end_sessions(None, false);
            }
        })
        .await;
        let left = ports.iter().map(|port| port.seats.pending()).sum();
        self.end_sessions(None, true);
        let mut stopped = HashSet::new();
        for Loaded { settings, module } in modules {
            if stopped.insert(settings.name.clone()) {
                module.stop().await;
            }
        }
        for worker in &self.0.workers {
            worker.arbiter.stop();
        }
        left
    }
}

impl PortEntry {
    /// Whether it is the listener of `settings`: that of the same address. Port 0 is another port each
    /// time, so that there the name says which.
    fn serves(&self, settings: &ListenerSettings) -> bool {
        self.is_at(&settings.name, &settings.endpoint)
    }

    fn is_at(&self, name: &str, endpoint: &libvalvula::Endpoint) -> bool {
        let port_0 = matches!(endpoint, libvalvula::Endpoint::Tcp(address) if address.port() == 0);
        self.settings.endpoint == *endpoint && (!port_0 || *self.settings.name == *name)
    }

    /// A listener goes by its name and by its address, as written and as bound.
    fn is(&self, name: &str) -> bool {
        *self.settings.name == *name || self.settings.endpoint.to_string() == name || self.bound.to_string() == name
    }
}

/// Stops a module that a reload replaced, once the last request that asks it is answered.
async fn stop_when_unused(module: Arc<dyn Module>) {
    // The workers' actors hold it until the chains that lead to them are gone.
    let _ = timeout(Duration::from_secs(60), async {
        while Arc::strong_count(&module) > 1 {
            sleep(Duration::from_millis(50)).await;
        }
    })
    .await;
    module.stop().await;
}

fn now() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs())
}

#[cfg(test)]
#[path = "runtime/tests.rs"]
mod tests;

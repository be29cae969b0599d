//! The worker: one per thread. It holds the module actors' replicas and the sessions of its thread.
//!
//! Nothing of a request leaves this thread but the requests' statistics, as one batch each tick, and
//! what a module itself sends for.

use std::cell::{Cell, Ref, RefCell};
use std::collections::HashMap;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use actix::{Actor, ActorContext, Addr, AsyncContext, Context, Handler, Message, MessageResult, Supervised};
use slog::{Logger, error, o};
use tokio::sync::mpsc::UnboundedSender;
use tokio::time::Instant;

use crate::budget::Budget;
use crate::chain::{Chain, Ending, Link};
use crate::gate::Gate;
use crate::log_limit::LogLimit;
use crate::mail::post;
use crate::module::Module;
use crate::module_actor::{ModuleActor, Replace, Route};
use crate::outbox::Outbox;
use crate::port::Respond;
use crate::runtime::Connected;
use crate::runtime_settings::{ListenerSettings, ModuleSettings};
use crate::seat::Seat;
use crate::session::{Close, Doing, Drain, Park, Record, Session};
use crate::socket::{Accepted, Socket};
use crate::stats::{Batch, Ledger, Owner, Slot, Stats};
use crate::supervise::{Health, Restart};
use crate::turns::{Lane, Turns};

/// How often sessions are looked at for their time limits, and statistics sent.
const TICK: Duration = Duration::from_millis(100);

/// A port's number, the same on all workers and through reloads.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) struct PortId(pub(crate) usize);

/// A module that is ready to run.
#[derive(Clone)]
pub(crate) struct Loaded {
    pub(crate) settings: Arc<ModuleSettings>,
    pub(crate) module: Arc<dyn Module>,
}

/// The modules and listeners from now on.
#[derive(Message, Clone)]
#[rtype(result = "Vec<Replica>")]
pub(crate) struct Install {
    pub(crate) modules: Vec<Loaded>,
    pub(crate) ports: Vec<(PortId, Arc<ListenerSettings>)>,
}

/// One module's replica on this worker, as the report and orders see it.
#[derive(Clone)]
pub(crate) struct Replica {
    pub(crate) module: Arc<str>,
    pub(crate) gate: Arc<Gate>,
    pub(crate) health: Arc<Health>,
    pub(crate) address: Addr<ModuleActor>,
}

impl Replica {
    /// Restarts it, with another module behind it if one is given.
    pub(crate) fn restart(&self, with: Option<Arc<dyn Module>>) {
        match with {
            Some(module) => post(&self.address, Replace(module)),
            None => post(&self.address, Restart),
        }
    }
}

/// A connection for this worker.
#[derive(Message)]
#[rtype(result = "()")]
pub(crate) struct Open {
    pub(crate) port: PortId,
    pub(crate) socket: Accepted,
    pub(crate) seat: Seat,
}

/// End the connections of a port (of all ports): after the request in hand, or at once.
#[derive(Message, Clone, Copy)]
#[rtype(result = "()")]
pub(crate) struct EndSessions {
    pub(crate) port: Option<PortId>,
    pub(crate) at_once: bool,
}

/// Send each connection there as soon as it is between two requests; none: keep them.
#[derive(Message)]
#[rtype(result = "()")]
pub(crate) struct ParkSessions(pub(crate) Option<UnboundedSender<Connected>>);

/// Send what is written in the ledger to the Stats actor now. Whoever asks may have gone before it is done.
#[derive(Message)]
#[rtype(result = "()")]
pub(crate) struct Flush;

/// One port as the sessions of a worker see it. Its settings and chain are swapped by a reload.
pub(crate) struct PortOnWorker {
    settings: RefCell<Arc<ListenerSettings>>,
    chain: RefCell<Rc<Chain>>,
    slot: Cell<Slot>,
    ledger: Rc<RefCell<Ledger>>,
    pub(crate) malformed: LogLimit,
    /// For connections that are past a time limit: hundreds may be at once.
    pub(crate) late: LogLimit,
    pub(crate) budget: Arc<Budget>,
    pub(crate) lane: Rc<Lane>,
    pub(crate) outbox: Rc<Outbox>,
    log: RefCell<Logger>,
}

impl PortOnWorker {
    pub(crate) fn settings(&self) -> Arc<ListenerSettings> {
        self.settings.borrow().clone()
    }

    /// Not to be held over a wait.
    pub(crate) fn log(&self) -> Ref<'_, Logger> {
        self.log.borrow()
    }

    pub(crate) fn chain(&self) -> Rc<Chain> {
        self.chain.borrow().clone()
    }

    /// Writes down a request that was handled.
    pub(crate) fn handled(&self, took: Duration, ending: &Ending) {
        let mut ledger = self.ledger.borrow_mut();
        let page = ledger.page(self.slot.get());
        page.timed(took);
        match ending {
            Ending::Answer { verdict, .. } => page.answered(verdict.action_name()),
            Ending::Disconnect { .. } => page.disconnected(),
        }
    }

    /// Writes down a connection ended for a fault of the client.
    pub(crate) fn ended(&self, kind: &'static str) {
        self.ledger.borrow_mut().page(self.slot.get()).ended(kind);
    }
}

type Sessions = Rc<RefCell<HashMap<u64, Known>>>;

/// A session as its worker knows it.
struct Known {
    address: Addr<Session>,
    record: Rc<Record>,
    port: PortId,
}

/// Takes a session off the worker's list when its conversation ends, however it ends.
struct Leave {
    sessions: Sessions,
    id: u64,
}

impl Drop for Leave {
    fn drop(&mut self) {
        self.sessions.borrow_mut().remove(&self.id);
    }
}

/// The actor.
pub(crate) struct Worker {
    log: Logger,
    stats: Addr<Stats>,
    ledger: Rc<RefCell<Ledger>>,
    ports: HashMap<PortId, Rc<PortOnWorker>>,
    sessions: Sessions,
    next_session: u64,
    budget: Arc<Budget>,
    turns: Rc<Turns>,
    outbox: Rc<Outbox>,
}

impl Worker {
    pub(crate) fn new(log: Logger, stats: Addr<Stats>, budget: Arc<Budget>) -> Self {
        let (ledger, sessions, turns, outbox) = Default::default();
        Self { log, stats, ledger, ports: HashMap::new(), sessions, next_session: 0, budget, turns, outbox }
    }

    fn flush(&self) {
        let batch = self.ledger.borrow_mut().take();
        if !batch.is_empty() {
            post(&self.stats, Batch(batch));
        }
    }

    /// Ends sessions that are past a time limit.
    fn sweep(&self) {
        let now = Instant::now();
        for known in self.sessions.borrow().values() {
            let Some(port) = self.ports.get(&known.port) else { continue };
            let settings = port.settings.borrow();
            let (limit, kind) = match known.record.doing.get() {
                Doing::Idle => (settings.idle_timeout, "idle_timeout"),
                Doing::Reading => (settings.request_timeout, "request_timeout"),
                Doing::Writing => (settings.request_timeout, "answer_timeout"),
                // Bounded by the chain's deadline.
                Doing::Deciding => continue,
            };
            if now.duration_since(known.record.since.get()) >= limit {
                post(&known.address, Close { kind: Some(kind) });
            }
        }
    }
}

impl Actor for Worker {
    type Context = Context<Self>;

    fn started(&mut self, context: &mut Self::Context) {
        context.run_interval(TICK, |worker, _| {
            worker.flush();
            worker.sweep();
            worker.turns.look();
        });
    }
}

impl Supervised for Worker {}

impl Handler<Restart> for Worker {
    type Result = ();

    fn handle(&mut self, _: Restart, context: &mut Self::Context) {
        context.stop();
    }
}

impl Handler<Flush> for Worker {
    type Result = ();

    fn handle(&mut self, _: Flush, _: &mut Self::Context) {
        self.flush();
    }
}

impl Handler<Respond> for Worker {
    type Result = ();

    fn handle(&mut self, _: Respond, _: &mut Self::Context) {}
}

impl Handler<Install> for Worker {
    type Result = MessageResult<Install>;

    fn handle(&mut self, Install { modules, ports }: Install, _: &mut Self::Context) -> Self::Result {
        let mut replicas = Vec::with_capacity(modules.len());
        let mut routes = HashMap::with_capacity(modules.len());
        for Loaded { settings, module } in modules {
            let name = settings.name.clone();
            let route = Route::start(&name, module, settings.max_in_flight, &self.log);
            replicas.push(Replica {
                module: name.clone(),
                gate: route.gate.clone(),
                health: route.health.clone(),
                address: route.address.clone(),
            });
            let slot = self.ledger.borrow_mut().slot(&Owner::Module(name.clone()));
            routes.insert(name, (settings, route, slot, Rc::new(LogLimit::default())));
        }
        let gone = |id: &PortId| !ports.iter().any(|(stays, _)| stays == id);
        let in_use = |id: &PortId| self.sessions.borrow().values().any(|known| known.port == *id);
        self.ports.retain(|id, _| !gone(id) || in_use(id));
        for (id, settings) in ports {
            let links =
                settings.modules.iter().filter_map(|name| routes.get(name)).map(|(settings, route, slot, failures)| {
                    Link { settings: settings.clone(), route: route.clone(), slot: *slot, failures: failures.clone() }
                });
            let log = self.log.new(o!("listener" => settings.name.to_string()));
            let chain = Rc::new(Chain {
                links: links.collect(),
                deadline: settings.deadline,
                ledger: self.ledger.clone(),
                log: log.clone(),
                nobody: Arc::from(""),
            });
            // By its name: a listener that was renamed begins a page of its own.
            let slot = self.ledger.borrow_mut().slot(&Owner::Listener(settings.name.clone()));
            match self.ports.get(&id) {
                Some(port) => {
                    port.slot.set(slot);
                    let _ = port.log.replace(log);
                    port.settings.replace(settings);
                    port.chain.replace(chain);
                }
                None => {
                    let port = PortOnWorker {
                        settings: RefCell::new(settings),
                        chain: RefCell::new(chain),
                        slot: Cell::new(slot),
                        ledger: self.ledger.clone(),
                        malformed: LogLimit::default(),
                        late: LogLimit::default(),
                        budget: self.budget.clone(),
                        lane: self.turns.lane(),
                        outbox: self.outbox.clone(),
                        log: RefCell::new(log),
                    };
                    self.ports.insert(id, Rc::new(port));
                }
            }
        }
        MessageResult(replicas)
    }
}

impl Handler<Open> for Worker {
    type Result = ();

    fn handle(&mut self, Open { port: id, socket, seat }: Open, _: &mut Self::Context) {
        let Some(port) = self.ports.get(&id).cloned() else { return };
        let socket = match Socket::adopt(socket) {
            Ok(socket) => socket,
            Err(failure) => {
                error!(port.log(), "a connection could not be taken over"; "error" => %failure);
                return;
            }
        };
        let session = self.next_session;
        self.next_session += 1;
        let record = Record::new();
        let leave = Leave { sessions: self.sessions.clone(), id: session };
        let address = Session::new(socket, seat, port, record.clone(), leave).start();
        self.sessions.borrow_mut().insert(session, Known { address, record, port: id });
    }
}

impl Handler<EndSessions> for Worker {
    type Result = ();

    fn handle(&mut self, EndSessions { port, at_once }: EndSessions, _: &mut Self::Context) {
        for known in self.sessions.borrow().values() {
            if port.is_some_and(|port| port != known.port) {
                continue;
            }
            if at_once {
                post(&known.address, Close { kind: None });
            } else {
                post(&known.address, Drain);
            }
        }
    }
}

impl Handler<ParkSessions> for Worker {
    type Result = ();

    fn handle(&mut self, ParkSessions(to): ParkSessions, _: &mut Self::Context) {
        for known in self.sessions.borrow().values() {
            post(&known.address, Park(to.clone()));
        }
    }
}

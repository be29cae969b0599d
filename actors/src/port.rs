//! The Port actor: the supervisor of one listener.
//!
//! It owns the listening socket, accepts, and hands each connection to the next worker in turn. At
//! `max_connections` it stops accepting, so that further connections wait in the kernel's backlog. It
//! takes orders: suspend, resume, restart, end. A client outside the networks its listener allows is closed
//! at once. The listening socket outlives restarts of this actor:
//! connections that come meanwhile wait in the kernel and lose nothing.

use std::io;
use std::net::SocketAddr;
use std::os::fd::OwnedFd;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU8, Ordering};
use std::time::Duration;

use actix::{Actor, ActorContext, Addr, AsyncContext, Context, Handler, Message, SpawnHandle, Supervised, WrapFuture};
use slog::{Logger, error, info, warn};
use tokio::time::{Instant, sleep};

use crate::bind::{Acceptor, Listening};
use crate::log_limit::LogLimit;
use crate::mail::post;
use crate::probe::Probes;
use crate::seat::Seats;
use crate::socket::Accepted;
use crate::supervise::Restart;
use crate::worker::{EndSessions, Open, PortId, Worker};

/// How long to wait when there is no file descriptor for the next connection.
const OUT_OF_DESCRIPTORS: Duration = Duration::from_millis(100);

/// What a port is doing.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum PortState {
    /// It accepts connections.
    Listening,
    /// It does not; open connections go on, new ones wait in the kernel.
    Suspended,
}

impl PortState {
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Listening => "listening",
            Self::Suspended => "suspended",
        }
    }
}

/// The state, shared with the report.
#[derive(Debug, Default)]
pub(crate) struct SharedState {
    state: AtomicU8,
    /// It stands still for an upgrade.
    paused: AtomicBool,
}

impl SharedState {
    pub(crate) fn new(suspended: bool) -> Self {
        Self { state: AtomicU8::new(u8::from(suspended)), paused: AtomicBool::new(false) }
    }

    fn set(&self, state: PortState) {
        self.state.store(state as u8, Ordering::Relaxed);
    }

    pub(crate) fn get(&self) -> PortState {
        if self.state.load(Ordering::Relaxed) == 0 { PortState::Listening } else { PortState::Suspended }
    }

    pub(crate) fn is_paused(&self) -> bool {
        self.paused.load(Ordering::Relaxed)
    }
}

/// Stop accepting.
#[derive(Message)]
#[rtype(result = "()")]
pub(crate) struct Suspend;

/// Accept again.
#[derive(Message)]
#[rtype(result = "()")]
pub(crate) struct Resume;

/// Stop accepting for good and let go of the listening socket.
#[derive(Message)]
#[rtype(result = "()")]
pub(crate) struct End;

/// Stop accepting for a while, whatever operators say.
#[derive(Message)]
#[rtype(result = "()")]
pub(crate) struct Pause;

/// The end of [`Pause`].
#[derive(Message)]
#[rtype(result = "()")]
pub(crate) struct Unpause;

/// A second handle of the socket, and whether the file of a unix socket is removed at its end.
#[derive(Message)]
#[rtype(result = "io::Result<(OwnedFd, bool)>")]
pub(crate) struct Duplicate;

/// The file of a unix socket is somebody else's now.
#[derive(Message)]
#[rtype(result = "()")]
pub(crate) struct Disown;

/// Say something: an actor that hangs can't.
#[derive(Message)]
#[rtype(result = "()")]
pub(crate) struct Respond;

/// Its listener has another name now.
#[derive(Message)]
#[rtype(result = "()")]
pub(crate) struct Renamed(pub(crate) Logger);

/// The actor.
pub(crate) struct Port {
    id: PortId,
    listening: Listening,
    seats: Arc<Seats>,
    state: Arc<SharedState>,
    workers: Vec<Addr<Worker>>,
    probes: Arc<Probes>,
    accepting: Option<SpawnHandle>,
    health: Arc<crate::supervise::Health>,
    log: Logger,
}

impl Port {
    pub(crate) fn new(
        id: PortId,
        listening: Listening,
        (seats, state, probes): (Arc<Seats>, Arc<SharedState>, Arc<Probes>),
        workers: Vec<Addr<Worker>>,
        health: Arc<crate::supervise::Health>,
        log: Logger,
    ) -> Self {
        Self { id, listening, seats, state, workers, probes, accepting: None, health, log }
    }

    fn accept(&mut self, context: &mut Context<Self>) {
        if self.accepting.is_some() || self.state.is_paused() || self.state.get() == PortState::Suspended {
            return;
        }
        match self.listening.acceptor() {
            Ok(acceptor) => {
                let handing = Handing {
                    id: self.id,
                    acceptor,
                    seats: self.seats.clone(),
                    workers: self.workers.clone(),
                    probes: self.probes.clone(),
                    log: self.log.clone(),
                };
                self.accepting = Some(context.spawn(handing.run().into_actor(self)));
            }
            // Counted by the supervisor; past its intensity the runtime ends the process.
            Err(failure) => panic!("cannot accept on {}: {failure}", self.listening.endpoint()),
        }
    }
}

impl Actor for Port {
    type Context = Context<Self>;

    fn started(&mut self, context: &mut Self::Context) {
        self.accepting = None;
        if self.health.is_down() {
            error!(self.log, "listener cannot accept connections"; "address" => %self.listening.endpoint());
            return;
        }
        self.accept(context);
    }
}

impl Supervised for Port {}

impl Handler<Suspend> for Port {
    type Result = ();

    fn handle(&mut self, _: Suspend, context: &mut Self::Context) {
        self.state.set(PortState::Suspended);
        if let Some(accepting) = self.accepting.take() {
            context.cancel_future(accepting);
        }
        info!(self.log, "listener suspended"; "address" => %self.listening.endpoint());
    }
}

impl Handler<Resume> for Port {
    type Result = ();

    fn handle(&mut self, _: Resume, context: &mut Self::Context) {
        self.state.set(PortState::Listening);
        self.accept(context);
        info!(self.log, "listener resumed"; "address" => %self.listening.endpoint());
    }
}

impl Handler<Restart> for Port {
    type Result = ();

    /// Its sessions end after the request in hand, and it accepts anew.
    fn handle(&mut self, _: Restart, context: &mut Self::Context) {
        for worker in &self.workers {
            post(worker, EndSessions { port: Some(self.id), at_once: false });
        }
        context.stop();
    }
}

impl Handler<End> for Port {
    type Result = ();

    fn handle(&mut self, _: End, context: &mut Self::Context) {
        self.health.retire();
        context.stop();
    }
}

impl Handler<Pause> for Port {
    type Result = ();

    fn handle(&mut self, _: Pause, context: &mut Self::Context) {
        self.state.paused.store(true, Ordering::Relaxed);
        if let Some(accepting) = self.accepting.take() {
            context.cancel_future(accepting);
        }
    }
}

impl Handler<Unpause> for Port {
    type Result = ();

    fn handle(&mut self, _: Unpause, context: &mut Self::Context) {
        self.state.paused.store(false, Ordering::Relaxed);
        self.accept(context);
    }
}

impl Handler<Duplicate> for Port {
    type Result = io::Result<(OwnedFd, bool)>;

    fn handle(&mut self, _: Duplicate, _: &mut Self::Context) -> Self::Result {
        self.listening.duplicate()
    }
}

impl Handler<Disown> for Port {
    type Result = ();

    fn handle(&mut self, _: Disown, _: &mut Self::Context) {
        self.listening.disown();
    }
}

impl Handler<Respond> for Port {
    type Result = ();

    fn handle(&mut self, _: Respond, _: &mut Self::Context) {}
}

impl Handler<Renamed> for Port {
    type Result = ();

    fn handle(&mut self, Renamed(log): Renamed, context: &mut Self::Context) {
        self.log = log;
        // The acceptor writes under the new name too.
        if let Some(accepting) = self.accepting.take() {
            context.cancel_future(accepting);
            self.accept(context);
        }
    }
}

/// The acceptor: takes connections and hands them out, round-robin, so that they spread exactly.
struct Handing {
    id: PortId,
    acceptor: Acceptor,
    seats: Arc<Seats>,
    workers: Vec<Addr<Worker>>,
    probes: Arc<Probes>,
    log: Logger,
}

impl Handing {
    async fn run(self) {
        let complaints = LogLimit::new(1, Duration::from_secs(10));
        let strangers = LogLimit::new(1, Duration::from_secs(10));
        for worker in self.workers.iter().cycle() {
            // The place first: a connection that may not be open is not accepted.
            let seat = self.seats.take().await;
            let (socket, of_a_client) = loop {
                match self.accept().await {
                    Ok((socket, peer)) => match self.admits(peer) {
                        Some(of_a_client) => break (socket, of_a_client),
                        None => self.turn_away(peer, &strangers),
                    },
                    Err(failure) if is_the_clients(&failure) => {}
                    Err(failure) => {
                        if let Some(passed_over) = complaints.allow(Instant::now()) {
                            warn!(self.log, "cannot accept a connection, trying again";
                                "error" => %failure, "not_logged_before" => passed_over);
                        }
                        sleep(OUT_OF_DESCRIPTORS).await;
                    }
                }
            };
            post(worker, Open { port: self.id, socket, seat: seat.seated(of_a_client) });
        }
    }

    /// Whether who comes from `peer` may connect; if so, whether that is a client and not we ourselves.
    fn admits(&self, peer: Peer) -> Option<bool> {
        match peer {
            Peer::Unix { ourselves } => Some(!ourselves),
            Peer::Tcp(address) if self.probes.contain(address) => Some(false),
            Peer::Tcp(address) => self.seats.allow().contain(address.ip()).then_some(true),
        }
    }

    fn turn_away(&self, peer: Peer, strangers: &LogLimit) {
        self.seats.turn_away();
        if let (Peer::Tcp(address), Some(passed_over)) = (peer, strangers.allow(Instant::now())) {
            warn!(self.log, "client is not allowed, connection closed"; "peer" => %address,
                "allow" => %self.seats.allow(), "not_logged_before" => passed_over);
        }
    }

    async fn accept(&self) -> io::Result<(Accepted, Peer)> {
        match &self.acceptor {
            Acceptor::Tcp(listener) => {
                let (stream, peer) = listener.accept().await?;
                // An answer is one small write; it must not wait for an acknowledgement.
                stream.set_nodelay(true)?;
                Ok((Accepted::Tcp(stream.into_std()?), Peer::Tcp(peer)))
            }
            Acceptor::Unix(listener) => {
                let (stream, _) = listener.accept().await?;
                let pid = stream.peer_cred().ok().and_then(|peer| peer.pid());
                let ourselves = pid.is_some_and(|pid| pid.unsigned_abs() == std::process::id());
                Ok((Accepted::Unix(stream.into_std()?), Peer::Unix { ourselves }))
            }
        }
    }
}

/// Who connected.
#[derive(Clone, Copy)]
enum Peer {
    Tcp(SocketAddr),
    /// Who may is decided by the socket's file.
    Unix {
        ourselves: bool,
    },
}

/// A connection that its client gave up before it was accepted: not a fault of ours.
fn is_the_clients(failure: &io::Error) -> bool {
    matches!(
        failure.kind(),
        io::ErrorKind::ConnectionAborted
            | io::ErrorKind::ConnectionReset
            | io::ErrorKind::Interrupted
            | io::ErrorKind::InvalidInput
    )
}

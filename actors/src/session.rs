//! The session actor: one connection, from its acceptance to its end. Never restarted.
//!
//! Its conversation reads a request, routes it through the listener's chain, writes the answer, and only
//! then looks for the next request: one is in flight, and a client that pipelines is slowed by TCP. Bytes
//! that come together are decided in order. A half-close after a full request still gets its answer,
//! since the end of the stream is only seen when all before it is answered.
//!
//! Anything malformed ends this connection without an answer, as Postfix itself does with trouble: it
//! reconnects once, then uses `smtpd_policy_service_default_action`.

use std::cell::{Cell, RefCell};
use std::rc::Rc;
use std::sync::Arc;

use actix::{Actor, ActorContext, ActorFutureExt, AsyncContext, Context, Handler, Message, WrapFuture};
use bytes::BytesMut;
use libvalvula::{Frame, PolicyCodec};
use slog::{debug, error, info, warn};
use tokio::sync::mpsc::UnboundedSender;
use tokio::time::Instant;
use tokio_util::codec::{Decoder, Encoder};

use crate::budget::Share;
use crate::chain::Ending;
use crate::module::Query;
use crate::outbox::Outgoing;
use crate::runtime::Connected;
use crate::seat::Seat;
use crate::socket::Socket;
use crate::worker::PortOnWorker;

/// What a session is doing.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Doing {
    /// Between requests, nothing received.
    Idle,
    /// A request has begun and is not complete.
    Reading,
    /// A request is decided.
    Deciding,
    /// An answer waits to be taken by the client.
    Writing,
}

/// What the worker's sweeper sees of a session.
#[derive(Debug)]
pub(crate) struct Record {
    pub(crate) doing: Cell<Doing>,
    pub(crate) since: Cell<Instant>,
    closing: Cell<bool>,
    park: RefCell<Option<UnboundedSender<Connected>>>,
}

impl Record {
    pub(crate) fn new() -> Rc<Self> {
        Rc::new(Self {
            doing: Cell::new(Doing::Idle),
            since: Cell::new(Instant::now()),
            closing: Cell::new(false),
            park: RefCell::default(),
        })
    }

    fn now(&self, doing: Doing, since: Instant) {
        self.doing.set(doing);
        self.since.set(since);
    }

    /// The answer is written.
    pub(crate) fn wrote(&self, now: Instant) {
        if self.doing.get() == Doing::Writing {
            self.now(Doing::Idle, now);
        }
    }
}

/// Close this connection as soon as no request is in hand.
#[derive(Message)]
#[rtype(result = "()")]
pub(crate) struct Drain;

/// Hand this connection over there as soon as it is between two requests; none: keep it.
#[derive(Message)]
#[rtype(result = "()")]
pub(crate) struct Park(pub(crate) Option<UnboundedSender<Connected>>);

/// Close this connection now.
#[derive(Message)]
#[rtype(result = "()")]
pub(crate) struct Close {
    /// For statistics and the log; none when the daemon itself ends.
    pub(crate) kind: Option<&'static str>,
}

/// The actor.
pub(crate) struct Session {
    record: Rc<Record>,
    port: Rc<PortOnWorker>,
    conversation: Option<Conversation>,
    socket: Rc<Socket>,
    out: Rc<Outgoing>,
    peer: String,
}

impl Session {
    pub(crate) fn new(
        socket: Socket,
        seat: Seat,
        port: Rc<PortOnWorker>,
        record: Rc<Record>,
        left: impl Drop + 'static,
    ) -> Self {
        let peer = socket.peer();
        let (share, socket) = (Share::of(&port.budget), Rc::new(socket));
        let out = Outgoing::new(socket.clone(), record.clone(), seat.seats().clone());
        let conversation = Conversation {
            socket: socket.clone(),
            out: out.clone(),
            seat,
            share,
            port: port.clone(),
            record: record.clone(),
            _left: Box::new(Left(left)),
        };
        Self { record, port, conversation: Some(conversation), socket, out, peer }
    }
}

struct Left<T>(#[allow(dead_code, reason = "held for its Drop")] T);
trait Held {}
impl<T> Held for Left<T> {}

impl Actor for Session {
    type Context = Context<Self>;

    fn started(&mut self, context: &mut Self::Context) {
        if let Some(conversation) = self.conversation.take() {
            let conversation = async move { conversation.run().await }.into_actor(self);
            context.spawn(conversation.map(|end, session, context| {
                session.log_end(&end);
                context.stop();
            }));
        }
    }
}

impl Session {
    fn log_end(&self, end: &End) {
        let log = self.port.log();
        match end {
            End::Parked => debug!(log, "connection handed over"; "peer" => &self.peer),
            End::Closed => debug!(log, "connection closed"; "peer" => &self.peer),
            // What a peer does is no fault of ours.
            End::Lost(error) => debug!(log, "connection lost"; "peer" => &self.peer, "error" => %error),
            End::NoRoom => {
                self.port.ended("memory");
                if let Some(passed_over) = self.port.malformed.allow(Instant::now()) {
                    warn!(log, "no memory left for large requests, connection ended"; "peer" => &self.peer,
                        "not_logged_before" => passed_over);
                }
            }
            End::Malformed(fault) => {
                self.port.ended("malformed");
                if let Some(passed_over) = self.port.malformed.allow(Instant::now()) {
                    warn!(log, "malformed request, connection ended"; "peer" => &self.peer, "fault" => fault,
                        "not_logged_before" => passed_over);
                }
            }
        }
    }
}

impl Handler<Drain> for Session {
    type Result = ();

    fn handle(&mut self, _: Drain, context: &mut Self::Context) {
        match self.record.doing.get() {
            Doing::Idle | Doing::Reading => context.stop(),
            Doing::Deciding => self.record.closing.set(true),
            Doing::Writing => {
                // It may be told more than once.
                if !self.record.closing.replace(true) {
                    self.once_written(context, |_, context| context.stop());
                }
            }
        }
    }
}

impl Handler<Park> for Session {
    type Result = ();

    fn handle(&mut self, Park(to): Park, context: &mut Self::Context) {
        let is_told = self.record.park.replace(to).is_some();
        match self.record.doing.get() {
            Doing::Idle => self.park(context),
            Doing::Writing if !is_told => self.once_written(context, Self::park),
            Doing::Deciding | Doing::Reading | Doing::Writing => {}
        }
    }
}

impl Session {
    fn park(&mut self, context: &mut Context<Self>) {
        if self.record.doing.get() == Doing::Idle && self.record.is_parked(&self.socket, &self.port) {
            self.log_end(&End::Parked);
            context.stop();
        }
    }

    /// Does `then` when the answer that waits to be written is.
    fn once_written(
        &mut self,
        context: &mut Context<Self>,
        then: impl FnOnce(&mut Self, &mut Context<Self>) + 'static,
    ) {
        let out = self.out.clone();
        let written = async move { out.is_written().await }.into_actor(self);
        context.spawn(written.map(|(), session, context| then(session, context)));
    }
}

impl Record {
    fn is_leaving(&self) -> bool {
        self.closing.get() || self.park.borrow().is_some()
    }

    /// Hands the connection over, if it is to be: nothing of a request may have been read from it. It stays
    /// where it can't be handed over.
    fn is_parked(&self, socket: &Socket, port: &PortOnWorker) -> bool {
        let Some(to) = self.park.take() else { return false };
        let settings = port.settings();
        match socket.duplicate() {
            Ok(socket) => {
                let (listener, endpoint) = (settings.name.clone(), settings.endpoint.clone());
                to.send(Connected { listener, endpoint, socket }).is_ok()
            }
            Err(error) => {
                warn!(port.log(), "a connection could not be handed over"; "error" => %error);
                false
            }
        }
    }
}

impl Handler<Close> for Session {
    type Result = ();

    fn handle(&mut self, Close { kind }: Close, context: &mut Self::Context) {
        if let Some(kind) = kind {
            self.port.ended(kind);
            if let Some(passed_over) = self.port.late.allow(Instant::now()) {
                warn!(self.port.log(), "connection ended"; "peer" => &self.peer, "why" => kind,
                    "not_logged_before" => passed_over);
            }
        }
        context.stop();
    }
}

/// Why a conversation ended by itself.
enum End {
    /// By the client between requests, by `checkserver`, by `on_failure`, or because the session drains.
    Closed,
    /// Another daemon goes on with it.
    Parked,
    /// The socket failed.
    Lost(std::io::Error),
    /// Requests on their way hold all the memory they may.
    NoRoom,
    /// The client sent what is no request.
    Malformed(String),
}

/// The dialogue on one connection.
struct Conversation {
    socket: Rc<Socket>,
    out: Rc<Outgoing>,
    seat: Seat,
    /// Of the memory for requests.
    share: Share,
    port: Rc<PortOnWorker>,
    record: Rc<Record>,
    _left: Box<dyn Held>,
}

impl Conversation {
    async fn run(self) -> End {
        let mut codec = PolicyCodec::new(self.port.settings().limits);
        let mut inbox = BytesMut::new();
        loop {
            match codec.decode(&mut inbox) {
                Ok(Some(Frame::Request(request))) => {
                    if let Some(end) = self.answer(request, &mut codec).await {
                        return end;
                    }
                    if !inbox.is_empty() {
                        if let Err(error) = self.out.written().await {
                            return End::Lost(error);
                        }
                        self.port.lane.turn().await;
                    }
                    continue;
                }
                Ok(Some(Frame::CheckServer)) => {
                    self.record.now(Doing::Writing, Instant::now());
                    return match self.socket.write(libvalvula::CHECK_SERVER_ANSWER).await {
                        Ok(()) => End::Closed,
                        Err(error) => End::Lost(error),
                    };
                }
                Ok(None) => {}
                Err(fault) => return End::Malformed(fault.to_string()),
            }
            if self.record.is_leaving()
                && let Err(error) = self.out.written().await
            {
                return End::Lost(error);
            }
            if inbox.is_empty() && self.record.is_parked(&self.socket, &self.port) {
                return End::Parked;
            }
            if self.record.closing.get() {
                return End::Closed;
            }
            if inbox.is_empty() {
                // An idle connection holds no memory for a request.
                inbox = BytesMut::new();
                self.share.hold(0);
            } else {
                if !self.share.hold(inbox.capacity()) {
                    return End::NoRoom;
                }
                if self.record.doing.get() != Doing::Reading {
                    self.record.now(Doing::Reading, Instant::now());
                }
            }
            if let Err(error) = self.out.written_and_readable().await {
                return End::Lost(error);
            }
            self.port.lane.turn().await;
            match self.socket.read(&mut inbox).await {
                Ok(0) => {
                    return match codec.decode_eof(&mut inbox) {
                        Ok(_) => End::Closed,
                        Err(fault) => End::Malformed(fault.to_string()),
                    };
                }
                Ok(_) => {}
                Err(error) => return End::Lost(error),
            }
        }
    }

    /// Decides one request and puts its answer into the outbox; an end if the connection ends with it.
    async fn answer(&self, request: libvalvula::Request, codec: &mut PolicyCodec) -> Option<End> {
        let received = Instant::now();
        self.record.now(Doing::Deciding, received);
        let in_hand = self.seat.request();
        let query = Arc::new(Query { request, listener: self.port.settings().name.clone() });
        let chain = self.port.chain();
        let ending = chain.run(&query, received).await;
        let took = received.elapsed();
        self.port.handled(took, &ending);
        self.log_ending(&query, &ending, took);
        let Ending::Answer { verdict, .. } = ending else { return Some(End::Closed) };
        self.record.now(Doing::Writing, received + took);
        if let Err(error) = self.out.send(&self.port.outbox, in_hand, |answer| codec.encode(verdict, answer)) {
            error!(self.port.log(), "an answer could not be encoded"; "error" => %error);
            return Some(End::Closed);
        }
        None
    }

    /// One line a verdict: what was asked, what was answered, who decided and why.
    fn log_ending(&self, query: &Query, ending: &Ending, took: std::time::Duration) {
        let micros = u64::try_from(took.as_micros()).unwrap_or(u64::MAX);
        match ending {
            Ending::Answer { verdict, by, why } => info!(self.port.log(), "verdict"; Asked(query),
                "action" => %verdict, "module" => &**by, "why" => &**why, "micros" => micros),
            Ending::Disconnect { by, why } => warn!(self.port.log(), "no verdict, connection ended"; Asked(query),
                "module" => &**by, "why" => why, "micros" => micros),
        }
    }
}

/// The fields of a request that its log line shows, from the last to the first, as slog hands values over.
/// Bytes that are no plain text are escaped.
struct Asked<'a>(&'a Query);

impl slog::KV for Asked<'_> {
    fn serialize(&self, _: &slog::Record<'_>, to: &mut dyn slog::Serializer) -> slog::Result {
        let Self(query) = self;
        let mut put = |key: &'static str, value: &[u8]| -> slog::Result {
            let value = libvalvula::Printable::new(value);
            match value.as_plain() {
                Some(plain) => to.emit_str(key, plain),
                None => to.emit_arguments(key, &format_args!("{value}")),
            }
        };
        put("sasl_user", query.sasl_username())?;
        put("client", query.get(libvalvula::Attribute::ClientAddress).unwrap_or_default())?;
        put("recipient", query.recipient())?;
        put("sender", query.sender())?;
        put("stage", query.get(libvalvula::Attribute::ProtocolState).unwrap_or_default())?;
        put("queue_id", query.queue_id())?;
        put("instance", query.instance())
    }
}

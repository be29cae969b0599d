//! Sockets that are listened on already when the daemon starts: systemd's (sd_listen_fds(3)), or those of
//! the daemon whose place it takes.
//!
//! A listener of the configuration gets the one of its address; what nobody claims is closed. To be taken
//! before any thread is started: the variables that tell of systemd's sockets are removed.

use std::env;
use std::io;
use std::net::{SocketAddr, TcpListener};
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use actors::runtime_settings::ListenerSettings;
use actors::{BindError, Bound, Connected, Runtime};
use libvalvula::Endpoint;
use listenfd::ListenFd;
use slog::{Logger, info, warn};

use super::MARK;
use super::channel::{Channel, Message};
use crate::cli::exit::{Exit, Failure};

/// How long the old daemon may take to let go once this one is ready: its grace, and what it has to write.
const PATIENCE: Duration = Duration::from_secs(120);

/// What there is before anything is bound.
#[derive(Default)]
pub struct Inherited {
    listeners: Vec<Listener>,
    metrics: Option<(SocketAddr, OwnedFd)>,
    control: Option<(PathBuf, OwnedFd, OwnedFd)>,
    /// The daemon whose place this one takes.
    pub predecessor: Option<Arc<Predecessor>>,
}

struct Listener {
    /// Empty: not known, any will do.
    name: String,
    address: Endpoint,
    socket: OwnedFd,
    own_file: bool,
    suspended: bool,
}

/// A control socket and its lock.
pub(crate) struct Control {
    pub(crate) socket: OwnedFd,
    pub(crate) lock: OwnedFd,
}

impl Inherited {
    /// Takes what there is.
    ///
    /// # Errors
    /// What was passed is not usable.
    pub fn take() -> Result<Self, Failure> {
        let unusable = |what: &str, error: io::Error| Failure::new(Exit::Unavailable, format!("{what}: {error}"));
        if env::var_os(MARK).is_some() {
            return Self::from_predecessor().map_err(|error| unusable("sockets of the running daemon", error));
        }
        Self::from_systemd(&mut ListenFd::from_env()).map_err(|error| unusable("sockets of systemd", error))
    }

    fn from_systemd(passed: &mut ListenFd) -> io::Result<Self> {
        let mut inherited = Self::default();
        for number in 0..passed.len() {
            let tcp = |passed: &mut ListenFd| -> io::Result<Option<(Endpoint, OwnedFd)>> {
                let Some(socket) = passed.take_tcp_listener(number)? else { return Ok(None) };
                Ok(Some((Endpoint::Tcp(socket.local_addr()?), socket.into())))
            };
            let unix = |passed: &mut ListenFd| -> io::Result<Option<(Endpoint, OwnedFd)>> {
                let Some(socket) = passed.take_unix_listener(number)? else { return Ok(None) };
                let address = socket.local_addr()?;
                let path = address.as_pathname().ok_or_else(|| io::Error::other("a unix socket without a path"))?;
                Ok(Some((Endpoint::Unix(path.to_owned()), socket.into())))
            };
            let found = tcp(passed).or_else(|_| unix(passed))?;
            let Some((address, socket)) = found else { continue };
            let listener = Listener { name: String::new(), address, socket, own_file: false, suspended: false };
            inherited.listeners.push(listener);
        }
        Ok(inherited)
    }

    fn from_predecessor() -> io::Result<Self> {
        let channel = Channel::from_stdin()?;
        channel.set_patience(PATIENCE)?;
        let mut inherited = Self::default();
        loop {
            let gone = || io::Error::from(io::ErrorKind::UnexpectedEof);
            let (message, mut sockets) = channel.receive()?.ok_or_else(gone)?;
            let mut socket = || if sockets.is_empty() { Err(gone()) } else { Ok(sockets.remove(0)) };
            match message {
                Message::Listener { name, address, suspended, own_file } => {
                    let address = address.parse().map_err(io::Error::other)?;
                    let socket = socket()?;
                    inherited.listeners.push(Listener { name, address, socket, own_file, suspended });
                }
                Message::Metrics { address } => {
                    inherited.metrics = Some((address.parse().map_err(io::Error::other)?, socket()?));
                }
                Message::Control { path } => inherited.control = Some((path.into(), socket()?, socket()?)),
                Message::Begin => break,
                other => return Err(io::Error::other(format!("unexpected: {other:?}"))),
            }
        }
        inherited.predecessor = Some(Arc::new(Predecessor { channel }));
        Ok(inherited)
    }

    /// The socket of `settings`: inherited, or bound now.
    ///
    /// # Errors
    /// It can't be had.
    pub fn listener(&mut self, settings: &ListenerSettings) -> Result<Bound, BindError> {
        let port_0 = matches!(settings.endpoint, Endpoint::Tcp(address) if address.port() == 0);
        let place = self.listeners.iter().position(|listener| {
            listener.address == settings.endpoint && (!port_0 || *listener.name == *settings.name)
        });
        match place {
            Some(place) => {
                let listener = self.listeners.swap_remove(place);
                Bound::adopt(settings, listener.socket, listener.own_file, listener.suspended)
            }
            None => Bound::new(settings),
        }
    }

    /// The socket of `[metrics]`: inherited, or bound now.
    pub(crate) fn metrics(&mut self, address: SocketAddr) -> io::Result<TcpListener> {
        if let Some((_, socket)) = self.metrics.take_if(|(inherited, _)| *inherited == address) {
            return Ok(socket.into());
        }
        let endpoint = Endpoint::Tcp(address);
        match self.listeners.iter().position(|listener| listener.address == endpoint) {
            Some(place) => Ok(self.listeners.swap_remove(place).socket.into()),
            None => TcpListener::bind(address),
        }
    }

    /// The control socket at `path`, if it is inherited.
    pub(crate) fn control(&mut self, path: &Path) -> Option<Control> {
        let (_, socket, lock) = self.control.take_if(|(inherited, ..)| inherited == path)?;
        Some(Control { socket, lock })
    }

    /// Closes what nobody has claimed, and says so.
    pub fn close_rest(self, log: &Logger) {
        for listener in self.listeners {
            if self.predecessor.is_some() {
                info!(log, "listener ends"; "listener" => &listener.name);
            } else {
                warn!(log, "systemd listens for us where no listener is configured"; "address" => %listener.address);
            }
            if let (Endpoint::Unix(path), true) = (&listener.address, listener.own_file) {
                // It may be gone.
                let _ = std::fs::remove_file(path);
            }
        }
        if let Some((path, ..)) = self.control {
            let _ = std::fs::remove_file(path);
        }
    }
}

/// The daemon whose place this one takes.
pub struct Predecessor {
    channel: Channel,
}

impl Predecessor {
    /// Says that everything is loaded, and waits until the other one has stopped to accept and has written
    /// what it counted.
    pub(crate) async fn wait_to_begin(self: &Arc<Self>) -> Result<(), Failure> {
        let this = self.clone();
        let waited = tokio::task::spawn_blocking(move || {
            this.channel.send(&Message::Ready, &[])?;
            match this.channel.receive()? {
                Some((Message::Go, _)) => Ok(()),
                Some((other, _)) => Err(io::Error::other(format!("unexpected: {other:?}"))),
                None => Err(io::Error::from(io::ErrorKind::UnexpectedEof)),
            }
        });
        let outcome = waited.await.unwrap_or_else(|error| Err(io::Error::other(error)));
        let why = |error| format!("the daemon whose place this one was to take did not let go: {error}");
        outcome.map_err(|error| Failure::new(Exit::Unavailable, why(error)))
    }

    /// Says that requests are answered, and takes over the connections that come.
    pub(crate) fn serving(self: Arc<Self>, runtime: Runtime, log: Logger) -> io::Result<()> {
        self.channel.send(&Message::Serving, &[])?;
        let (to, mut taken) = tokio::sync::mpsc::unbounded_channel();
        std::thread::Builder::new().name("take over".to_owned()).spawn(move || {
            while let Ok(Some((Message::Connection { name, address }, mut sockets))) = self.channel.receive() {
                let (Some(socket), Ok(endpoint)) = (sockets.pop(), address.parse()) else { continue };
                if to.send(Connected { listener: name.into(), endpoint, socket }).is_err() {
                    return;
                }
            }
        })?;
        actix_rt::spawn(async move {
            let (mut count, mut closed) = (0_u64, 0_u64);
            while let Some(connection) = taken.recv().await {
                // A listener that the configuration has no more: its clients are closed with it.
                *(if runtime.adopt(connection) { &mut count } else { &mut closed }) += 1;
            }
            info!(log, "connections taken over"; "connections" => count, "closed" => closed);
        });
        Ok(())
    }

    /// Says why this one can't take the other's place.
    pub(crate) fn failed(&self, failure: &Failure) {
        // If it is gone, nobody wants to know.
        let _ = self.channel.send(&Message::Failed { lines: failure.lines.clone() }, &[]);
    }
}

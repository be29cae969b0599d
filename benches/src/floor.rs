//! The least that a policy server can do: find the empty line, answer a constant. Nothing is parsed.
//!
//! Every ratio is over it. `tokio` with as many threads as the server under test has workers is the 1.00 of
//! the tables; `epoll` shows what the runtime itself costs.

use std::collections::HashMap;
use std::fs;
use std::io;
use std::net::TcpListener;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::net::UnixListener;
use std::str::FromStr;
use std::sync::Arc;
use std::thread;

use anyhow::{Context, bail};
use libvalvula::Endpoint;
use rustix::event::epoll::{self, EventData, EventFlags};
use rustix::net::{RecvFlags, SendFlags, SocketFlags};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::runtime;

/// How the floor is built.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Mode {
    /// One epoll loop a thread.
    Epoll,
    /// One tokio runtime a thread, each with its own listening socket.
    Tokio,
    /// One tokio runtime with several threads.
    TokioMultiThread,
}

impl FromStr for Mode {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match text {
            "epoll" => Ok(Self::Epoll),
            "tokio" => Ok(Self::Tokio),
            "tokio-mt" => Ok(Self::TokioMultiThread),
            _ => Err(format!("{text}: expected epoll, tokio or tokio-mt")),
        }
    }
}

/// Serves until it is killed. `bound` is called with the address once connections are accepted there.
pub fn serve(
    endpoint: &Endpoint,
    mode: Mode,
    threads: usize,
    reply: &str,
    bound: impl FnOnce(&Endpoint),
) -> anyhow::Result<()> {
    let threads = threads.max(1);
    let sockets = if mode == Mode::TokioMultiThread { 1 } else { threads };
    let (endpoint, listeners) = listen(endpoint, sockets).with_context(|| format!("can't listen on {endpoint}"))?;
    bound(&endpoint);
    let reply: Arc<[u8]> = reply.as_bytes().into();
    if mode == Mode::TokioMultiThread {
        let runtime = runtime::Builder::new_multi_thread().worker_threads(threads).enable_all().build()?;
        let listener = listeners.into_iter().next().context("one socket was bound")?;
        return runtime.block_on(async move { accept(listener, reply, |serving| drop(tokio::spawn(serving))).await });
    }
    let servers: Vec<_> = listeners
        .into_iter()
        .map(|listener| {
            let reply = Arc::clone(&reply);
            thread::spawn(move || match mode {
                Mode::Epoll => epoll_loop(&listener.into_fd(), &reply).map_err(anyhow::Error::from),
                _ => {
                    let runtime = runtime::Builder::new_current_thread().enable_all().build()?;
                    tokio::task::LocalSet::new()
                        .block_on(&runtime, accept(listener, reply, |serving| drop(tokio::task::spawn_local(serving))))
                }
            })
        })
        .collect();
    for server in servers {
        match server.join() {
            Ok(served) => served?,
            Err(_) => bail!("a thread of the floor has panicked"),
        }
    }
    Ok(())
}

enum Listener {
    Tcp(TcpListener),
    Unix(UnixListener),
}

impl Listener {
    fn into_fd(self) -> OwnedFd {
        match self {
            Self::Tcp(listener) => listener.into(),
            Self::Unix(listener) => listener.into(),
        }
    }
}

/// `count` sockets on one address, among which the kernel spreads connections.
fn listen(endpoint: &Endpoint, count: usize) -> io::Result<(Endpoint, Vec<Listener>)> {
    let mut address = match endpoint {
        Endpoint::Tcp(address) => *address,
        Endpoint::Unix(path) => {
            match fs::remove_file(path) {
                Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
                _ => {}
            }
            let listener = UnixListener::bind(path)?;
            listener.set_nonblocking(true)?;
            let mut listeners = Vec::new();
            for _ in 1..count {
                listeners.push(Listener::Unix(listener.try_clone()?));
            }
            listeners.push(Listener::Unix(listener));
            return Ok((endpoint.clone(), listeners));
        }
    };
    let mut listeners = Vec::new();
    for _ in 0..count {
        let socket = socket2::Socket::new(socket2::Domain::for_address(address), socket2::Type::STREAM, None)?;
        socket.set_reuse_address(true)?;
        socket.set_reuse_port(true)?;
        socket.bind(&address.into())?;
        socket.listen(4096)?;
        socket.set_nonblocking(true)?;
        let listener: TcpListener = socket.into();
        // Port 0: all of them on the port that the first was given.
        address = listener.local_addr()?;
        listeners.push(Listener::Tcp(listener));
    }
    Ok((Endpoint::Tcp(address), listeners))
}

async fn accept(
    listener: Listener,
    reply: Arc<[u8]>,
    spawn: impl Fn(std::pin::Pin<Box<dyn Future<Output = ()> + Send>>),
) -> anyhow::Result<()> {
    match listener {
        Listener::Tcp(listener) => {
            let listener = tokio::net::TcpListener::from_std(listener)?;
            loop {
                let (stream, _) = listener.accept().await?;
                stream.set_nodelay(true)?;
                spawn(Box::pin(answer(stream, Arc::clone(&reply))));
            }
        }
        Listener::Unix(listener) => {
            let listener = tokio::net::UnixListener::from_std(listener)?;
            loop {
                let (stream, _) = listener.accept().await?;
                spawn(Box::pin(answer(stream, Arc::clone(&reply))));
            }
        }
    }
}

async fn answer(mut stream: impl AsyncRead + AsyncWrite + Unpin, reply: Arc<[u8]>) {
    let mut buffer = vec![0; 2048];
    let mut have = 0;
    loop {
        if have == buffer.len() {
            buffer.resize(2 * have, 0);
        }
        match stream.read(&mut buffer[have..]).await {
            Ok(0) | Err(_) => return,
            Ok(read) => have += read,
        }
        if buffer[..have].ends_with(b"\n\n") {
            have = 0;
            if stream.write_all(&reply).await.is_err() {
                return;
            }
        }
    }
}

const LISTENER: u64 = 0;

fn epoll_loop(listener: &OwnedFd, reply: &[u8]) -> io::Result<()> {
    let epoll = epoll::create(epoll::CreateFlags::CLOEXEC)?;
    epoll::add(&epoll, listener, EventData::new_u64(LISTENER), EventFlags::IN)?;
    let mut connections: HashMap<u64, OwnedFd> = HashMap::new();
    let mut partial: HashMap<u64, Vec<u8>> = HashMap::new();
    let mut last = LISTENER;
    let mut events = Vec::with_capacity(1024);
    let mut buffer = [0; 16 * 1024];
    loop {
        match epoll::wait(&epoll, rustix::buffer::spare_capacity(&mut events), None) {
            Err(rustix::io::Errno::INTR) => continue,
            waited => waited?,
        };
        for event in events.drain(..) {
            let id = event.data.u64();
            if id == LISTENER {
                while let Ok(socket) = rustix::net::accept_with(listener, SocketFlags::NONBLOCK | SocketFlags::CLOEXEC)
                {
                    // Fails on a unix socket, which needs it not.
                    let _ = rustix::net::sockopt::set_tcp_nodelay(&socket, true);
                    last += 1;
                    epoll::add(&epoll, &socket, EventData::new_u64(last), EventFlags::IN)?;
                    connections.insert(last, socket);
                }
                continue;
            }
            let Some(socket) = connections.get(&id) else { continue };
            let read = match rustix::net::recv(socket.as_fd(), &mut buffer, RecvFlags::empty()) {
                Err(rustix::io::Errno::AGAIN) => continue,
                Ok((read, _)) if read > 0 => read,
                _ => {
                    partial.remove(&id);
                    connections.remove(&id);
                    continue;
                }
            };
            if !buffer[..read].ends_with(b"\n\n") {
                let request = partial.entry(id).or_default();
                request.extend_from_slice(&buffer[..read]);
                if !request.ends_with(b"\n\n") {
                    continue;
                }
                partial.remove(&id);
            }
            // A client that is gone is noticed by the next read.
            let _ = rustix::net::send(socket.as_fd(), reply, SendFlags::NOSIGNAL);
        }
    }
}

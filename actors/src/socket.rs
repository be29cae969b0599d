//! One connection's socket, TCP or unix, and its way from the acceptor to a worker.

use std::future::poll_fn;
use std::io;
use std::os::fd::{AsFd as _, OwnedFd};
use std::task::{Context, Poll};

use bytes::BytesMut;
use tokio::net::{TcpStream, UnixStream};

/// How much is read at a time: Postfix's 30 attributes are some 1,000 bytes.
const READ: usize = 2048;

/// A connection between two threads: taken off the acceptor's reactor, not yet on the worker's.
#[derive(Debug)]
pub(crate) enum Accepted {
    Tcp(std::net::TcpStream),
    Unix(std::os::unix::net::UnixStream),
}

/// A connection on a worker's reactor.
#[derive(Debug)]
pub(crate) enum Socket {
    Tcp(TcpStream),
    Unix(UnixStream),
}

impl Socket {
    /// Registers `accepted` with the current thread's reactor.
    pub(crate) fn adopt(accepted: Accepted) -> io::Result<Self> {
        Ok(match accepted {
            Accepted::Tcp(stream) => Self::Tcp(TcpStream::from_std(stream)?),
            Accepted::Unix(stream) => Self::Unix(UnixStream::from_std(stream)?),
        })
    }

    /// Waits until there is something to read, or the end of the stream.
    pub(crate) fn poll_readable(&self, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self {
            Self::Tcp(stream) => stream.poll_read_ready(context),
            Self::Unix(stream) => stream.poll_read_ready(context),
        }
    }

    /// Reads what there is, 0 at the end of the stream. To be called once it is readable: memory is taken
    /// at once, and an idle connection is to hold none.
    pub(crate) async fn read(&self, into: &mut BytesMut) -> io::Result<usize> {
        loop {
            if into.capacity() - into.len() < READ / 4 {
                into.reserve(READ);
            }
            let read = match self {
                Self::Tcp(stream) => stream.try_read_buf(into),
                Self::Unix(stream) => stream.try_read_buf(into),
            };
            match read {
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                    if into.is_empty() {
                        *into = BytesMut::new();
                    }
                    poll_fn(|context| self.poll_readable(context)).await?;
                }
                other => return other,
            }
        }
    }

    /// Writes what the socket takes at once.
    pub(crate) fn try_write(&self, bytes: &[u8]) -> io::Result<usize> {
        match self {
            Self::Tcp(stream) => stream.try_write(bytes),
            Self::Unix(stream) => stream.try_write(bytes),
        }
    }

    /// Writes all of `bytes`.
    pub(crate) async fn write(&self, mut bytes: &[u8]) -> io::Result<()> {
        while !bytes.is_empty() {
            match self.try_write(bytes) {
                Ok(0) => return Err(io::ErrorKind::WriteZero.into()),
                Ok(count) => bytes = &bytes[count..],
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => match self {
                    Self::Tcp(stream) => stream.writable().await?,
                    Self::Unix(stream) => stream.writable().await?,
                },
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }

    /// A second handle: the connection lives until both are closed.
    pub(crate) fn duplicate(&self) -> io::Result<OwnedFd> {
        match self {
            Self::Tcp(stream) => stream.as_fd().try_clone_to_owned(),
            Self::Unix(stream) => stream.as_fd().try_clone_to_owned(),
        }
    }

    /// Who is at the other end, for the log.
    pub(crate) fn peer(&self) -> String {
        match self {
            Self::Tcp(stream) => stream.peer_addr().map_or_else(|_| "unknown".to_owned(), |peer| peer.to_string()),
            Self::Unix(stream) => match stream.peer_cred() {
                Ok(peer) => format!("unix:uid={}", peer.uid()),
                Err(_) => "unix".to_owned(),
            },
        }
    }
}

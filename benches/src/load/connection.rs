//! One connection of the load generator: a socket that never blocks, and the request on it.

use std::io;
use std::net::TcpStream;
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixStream;

use libvalvula::Endpoint;
use rustix::net::SendFlags;

use super::generator::Message;

/// Answers are shorter than this by far.
const LONGEST: usize = 64 * 1024;

/// What came of reading.
pub(super) enum Received {
    /// Nothing yet, or a part.
    Nothing,
    /// An answer, its empty line included; it is in the buffer.
    Answer,
    /// The server hung up, or talks without end.
    End,
}

pub(super) struct Connection {
    pub socket: Option<OwnedFd>,
    pub endpoint: usize,
    /// An answer is due.
    pub is_busy: bool,
    /// From when its latency counts, in nanoseconds of the worker's clock.
    pub since: u64,
    pub message: Message,
    /// Requests since it was opened.
    pub uses: u64,
    pub request: Vec<u8>,
    sent: usize,
    /// The beginning of an answer that did not come whole.
    partial: Vec<u8>,
    pub waits_to_write: bool,
}

impl Connection {
    pub fn new(socket: Option<OwnedFd>, endpoint: usize) -> Self {
        Self {
            socket,
            endpoint,
            is_busy: false,
            since: 0,
            message: Message::default(),
            uses: 0,
            request: Vec::with_capacity(1024),
            sent: 0,
            partial: Vec::new(),
            waits_to_write: false,
        }
    }

    pub fn connect(endpoint: &Endpoint) -> io::Result<OwnedFd> {
        match endpoint {
            Endpoint::Tcp(address) => {
                let stream = TcpStream::connect(address)?;
                stream.set_nodelay(true)?;
                stream.set_nonblocking(true)?;
                Ok(stream.into())
            }
            Endpoint::Unix(path) => {
                let stream = UnixStream::connect(path)?;
                stream.set_nonblocking(true)?;
                Ok(stream.into())
            }
        }
    }

    /// A new socket in place of one that ended.
    pub fn reopened(&mut self, socket: Option<OwnedFd>) {
        self.socket = socket;
        self.is_busy = false;
        self.waits_to_write = false;
        self.uses = 0;
        self.partial.clear();
    }

    /// `request` is to be sent from its beginning.
    pub fn begin(&mut self, since: u64) {
        self.sent = 0;
        self.since = since;
        self.is_busy = true;
        self.uses += 1;
    }

    /// Sends what can be sent; `Ok(true)` when that is all.
    pub fn send(&mut self, fragment: usize) -> rustix::io::Result<bool> {
        let Some(socket) = &self.socket else { return Err(rustix::io::Errno::NOTCONN) };
        while self.sent < self.request.len() {
            let rest = &self.request[self.sent..];
            let piece = if fragment > 0 { &rest[..fragment.min(rest.len())] } else { rest };
            match rustix::net::send(socket, piece, SendFlags::NOSIGNAL) {
                Ok(sent) => self.sent += sent,
                Err(rustix::io::Errno::AGAIN) => return Ok(false),
                Err(error) => return Err(error),
            }
        }
        Ok(true)
    }

    /// Reads what has come into `buffer`; `answer` then is where the answer is.
    pub fn receive(&mut self, buffer: &mut [u8], answer: &mut Vec<u8>) -> Received {
        let Some(socket) = &self.socket else { return Received::Nothing };
        let read = match rustix::net::recv(socket, &mut *buffer, rustix::net::RecvFlags::empty()) {
            Err(rustix::io::Errno::AGAIN) => return Received::Nothing,
            Ok((read, _)) if read > 0 => read,
            _ => return Received::End,
        };
        self.partial.extend_from_slice(&buffer[..read]);
        if self.partial.ends_with(b"\n\n") {
            answer.clear();
            // Swapped, not copied: both keep their allocation.
            std::mem::swap(answer, &mut self.partial);
            Received::Answer
        } else if self.partial.len() > LONGEST {
            Received::End
        } else {
            Received::Nothing
        }
    }
}

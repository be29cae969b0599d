//! Clients that do harm, all on one thread: each comes back about a second after it was ended.

use std::io::{ErrorKind, Read as _, Write as _};
use std::net::{SocketAddr, TcpStream};
use std::time::{Duration, Instant};

use support::{Random, Request};

/// How long one stays away, on average: after they came all at once, they come when they like.
const AWAY: Duration = Duration::from_secs(1);
/// What a greedy one wants to send.
const GIGABYTE: u64 = 1 << 30;

/// What one does.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// Sends half a request and waits.
    Half,
    /// Sends a byte a second.
    Slow,
    /// Sends bytes that mean nothing.
    Garbage,
    /// Sends a gigabyte without a newline.
    Greedy,
    /// Connects and leaves.
    Leaver,
}

/// How many there are of each.
pub const CROWD: [(Kind, usize); 5] =
    [(Kind::Half, 200), (Kind::Slow, 200), (Kind::Garbage, 50), (Kind::Greedy, 50), (Kind::Leaver, 100)];

fn away(random: &mut Random) -> Duration {
    AWAY / 2 + random.within(AWAY)
}

/// One of them.
pub struct Attacker {
    pub kind: Kind,
    stream: Option<TcpStream>,
    next: Instant,
    /// Bytes sent on this connection.
    sent: u64,
    /// The most that the daemon's side took of one connection.
    pub most: u64,
    /// Times it was ended by the daemon.
    pub ended: u64,
}

/// All of them.
pub fn all(now: Instant) -> Vec<Attacker> {
    let of = |(kind, count): (Kind, usize)| {
        (0..count).map(move |_| Attacker { kind, stream: None, next: now, sent: 0, most: 0, ended: 0 })
    };
    CROWD.into_iter().flat_map(of).collect()
}

impl Attacker {
    /// Does what is to be done now; none of it waits.
    pub fn step(&mut self, address: SocketAddr, random: &mut Random) {
        let now = Instant::now();
        if self.stream.is_none() {
            if now < self.next {
                return;
            }
            self.next = now + away(random);
            // Past a full backlog: next time.
            let Ok(stream) = TcpStream::connect_timeout(&address, AWAY) else { return };
            if self.kind == Kind::Leaver {
                return;
            }
            stream.set_nonblocking(true).unwrap();
            (self.stream, self.sent) = (Some(stream), 0);
            self.next = now;
        }
        let is_ended = match self.kind {
            Kind::Half if self.sent == 0 => {
                let request = Request::rcpt("a@away.example", "ann@example.com").bytes();
                self.send(&request[..request.len() / 2])
            }
            Kind::Slow if now >= self.next => {
                self.next = now + Duration::from_secs(1);
                self.send(b"r")
            }
            Kind::Garbage if self.sent == 0 => {
                let bytes: Vec<u8> = (0..512).flat_map(|_| random.number().to_le_bytes()).collect();
                self.send(&bytes)
            }
            Kind::Greedy => self.send(&[b'x'; 64 * 1024]),
            _ => false,
        };
        if is_ended || self.is_hung_up() {
            self.ended += 1;
            self.stream = None;
            self.next = now + away(random);
        }
    }

    /// Leaves, and comes back when it is next asked.
    pub fn leave(&mut self) {
        self.stream = None;
        self.next = Instant::now();
    }

    /// Whether the other side is gone.
    fn send(&mut self, bytes: &[u8]) -> bool {
        let Some(stream) = &mut self.stream else { return false };
        match stream.write(bytes) {
            Ok(length) => {
                self.sent += length as u64;
                self.most = self.most.max(self.sent);
                assert!(self.sent < GIGABYTE, "a gigabyte was taken");
                false
            }
            Err(error) => error.kind() != ErrorKind::WouldBlock,
        }
    }

    fn is_hung_up(&mut self) -> bool {
        let Some(stream) = &mut self.stream else { return false };
        match stream.read(&mut [0; 64]) {
            Ok(0) => true,
            Ok(_) => panic!("{:?} was answered", self.kind),
            Err(error) => error.kind() != ErrorKind::WouldBlock,
        }
    }
}

//! Self-checks: does a listener answer, asked through its own socket as a client would?
//!
//! Asked by the watchdog and by `/healthz`. A listener that is suspended or full does not answer new
//! clients and yet nothing is wrong with it, so that is told apart from silence. The daemon's own
//! connections are known by their source address (or, on a unix socket, by the process): they are let in
//! whatever networks a listener allows, and are not counted as a client's.

use std::collections::HashSet;
use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::time::Duration;

use libvalvula::{CHECK_SERVER_ANSWER, Endpoint};
use parking_lot::Mutex;
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};
use tokio::net::{TcpSocket, UnixStream};
use tokio::time::timeout;

/// What came of asking a listener.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Answer {
    /// It answered.
    Yes,
    /// An operator has suspended it; its actor answers.
    Suspended,
    /// It has `max_connections` connections; its actor answers.
    Full,
    /// It stands still while another daemon takes its place; its actor answers.
    Paused,
    /// It did not answer in time, but accepted others meanwhile: it has more clients than it can serve.
    Busy,
    /// Its address is not the machine's at present: on one that moves between machines, the other one has it.
    Elsewhere,
    /// It should have answered and did not.
    No(String),
}

impl Answer {
    /// A word or a line for it.
    pub fn text(&self) -> &str {
        match self {
            Self::Yes => "answers",
            Self::Suspended => "suspended",
            Self::Full => "full",
            Self::Paused => "handing over",
            Self::Busy => "busy: it accepts clients, but none of ours in time",
            Self::Elsewhere => "its address is not this machine's at present",
            Self::No(why) => why,
        }
    }
}

/// The addresses the daemon asks from at this moment.
#[derive(Debug, Default)]
pub(crate) struct Probes(Mutex<HashSet<SocketAddr>>);

impl Probes {
    /// Whether a connection from `peer` is the daemon's own.
    pub(crate) fn contain(&self, peer: SocketAddr) -> bool {
        self.0.lock().contains(&peer)
    }

    /// Asks the listener at `endpoint`, which is to answer within `limit`.
    pub(crate) async fn ask(&self, endpoint: &Endpoint, limit: Duration) -> Answer {
        let asked = async {
            match endpoint {
                Endpoint::Tcp(address) => self.ask_tcp(reachable(*address)).await,
                Endpoint::Unix(path) => converse(UnixStream::connect(path).await?).await,
            }
        };
        match timeout(limit, asked).await {
            Ok(Ok(())) => Answer::Yes,
            // What is asked on TCP is a local address; it may have been taken away.
            Ok(Err(error)) if error.kind() == io::ErrorKind::AddrNotAvailable => Answer::Elsewhere,
            Ok(Err(error)) => Answer::No(error.to_string()),
            Err(_) => Answer::No(format!("no answer within {limit:?}")),
        }
    }

    async fn ask_tcp(&self, address: SocketAddr) -> io::Result<()> {
        let socket = if address.is_ipv4() { TcpSocket::new_v4()? } else { TcpSocket::new_v6()? };
        // From the address that is asked: it is the machine's own, whatever it is.
        socket.bind(SocketAddr::new(address.ip(), 0))?;
        // Known before it is connected: the port may accept at once.
        let known = Known::new(self, socket.local_addr()?);
        let outcome = converse(socket.connect(address).await?).await;
        drop(known);
        outcome
    }
}

/// A listener on every address is asked on loopback.
fn reachable(mut address: SocketAddr) -> SocketAddr {
    if address.ip().is_unspecified() {
        address.set_ip(match address.ip() {
            IpAddr::V4(_) => Ipv4Addr::LOCALHOST.into(),
            IpAddr::V6(_) => Ipv6Addr::LOCALHOST.into(),
        });
    }
    address
}

/// A source address for as long as it is asked from.
struct Known<'a> {
    probes: &'a Probes,
    address: SocketAddr,
}

impl<'a> Known<'a> {
    fn new(probes: &'a Probes, address: SocketAddr) -> Self {
        probes.0.lock().insert(address);
        Self { probes, address }
    }
}

impl Drop for Known<'_> {
    fn drop(&mut self) {
        self.probes.0.lock().remove(&self.address);
    }
}

async fn converse(mut stream: impl AsyncRead + AsyncWrite + Unpin) -> io::Result<()> {
    stream.write_all(b"checkserver\n").await?;
    let mut answer = [0; 64];
    let mut length = 0;
    while length < CHECK_SERVER_ANSWER.len() {
        match stream.read(&mut answer[length..]).await? {
            0 => return Err(io::Error::other("closed the connection without an answer")),
            more => length += more,
        }
    }
    if answer.starts_with(CHECK_SERVER_ANSWER) { Ok(()) } else { Err(io::Error::other("answered something else")) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use tokio::net::TcpListener;

    const SOON: Duration = Duration::from_millis(200);

    #[tokio::test]
    async fn who_asks_is_known_while_it_asks_and_silence_is_no_answer() {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
        let endpoint = Endpoint::Tcp(listener.local_addr().expect("bound"));
        let probes = Probes::default();
        let serve = async {
            let (mut stream, peer) = listener.accept().await.expect("a connection");
            assert!(probes.contain(peer));
            let mut line = [0; 12];
            stream.read_exact(&mut line).await.expect("the question");
            stream.write_all(CHECK_SERVER_ANSWER).await.expect("taken");
            peer
        };
        let (answer, peer) = tokio::join!(probes.ask(&endpoint, Duration::from_secs(5)), serve);
        assert_eq!(answer, Answer::Yes);
        assert!(!probes.contain(peer), "forgotten");
        // The kernel takes the connection, nobody speaks.
        assert!(matches!(probes.ask(&endpoint, SOON).await, Answer::No(why) if why.contains("no answer")));
        drop(listener);
        assert!(matches!(probes.ask(&endpoint, SOON).await, Answer::No(why) if why.contains("refused")));
        assert!(probes.0.lock().is_empty());
    }

    #[tokio::test]
    async fn an_address_that_is_another_machines_now_is_told_from_silence() {
        // For documentation (RFC 5737): no machine has it.
        let elsewhere = Endpoint::Tcp("192.0.2.1:25".parse().expect("an address"));
        assert_eq!(Probes::default().ask(&elsewhere, SOON).await, Answer::Elsewhere);
    }

    #[tokio::test]
    async fn another_answer_is_no_answer() {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
        let endpoint = Endpoint::Tcp(listener.local_addr().expect("bound"));
        let serve = async {
            let (mut stream, _) = listener.accept().await.expect("a connection");
            stream.write_all(b"220 mail.example.com ESMTP Postfix").await.expect("taken");
        };
        let probes = Probes::default();
        let (answer, ()) = tokio::join!(probes.ask(&endpoint, Duration::from_secs(5)), serve);
        assert_eq!(answer, Answer::No("answered something else".to_owned()));
    }
}

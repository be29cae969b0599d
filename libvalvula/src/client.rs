//! Asks a policy server, as Postfix would.
//!
//! For health checks, tools, tests and benches. Every wait has an end; after an error the connection is of
//! no more use, because an answer that comes late would be taken for that of the next request.

use std::io;
use std::time::Duration;

use bytes::{Buf, Bytes, BytesMut};
use memchr::memmem;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::{TcpStream, UnixStream};

use crate::codec::CHECK_SERVER_ANSWER;
use crate::endpoint::Endpoint;
use crate::printable::{Excerpt, Printable};
use crate::request::Request;
use crate::verdict::{Verdict, VerdictError};

/// Longer answers are none.
const LONGEST_ANSWER: usize = 16 * 1024;

/// What a policy server answered: the value of `action=`, byte for byte.
#[derive(Clone, PartialEq, Eq, Hash)]
pub struct Answer(Bytes);

impl Answer {
    /// The bytes behind `action=`.
    pub fn as_bytes(&self) -> &[u8] {
        &self.0
    }

    /// The answer read by the rules for verdicts: an error when Postfix would not understand it.
    pub fn verdict(&self) -> Result<Verdict, VerdictError> {
        Verdict::parse(&String::from_utf8_lossy(&self.0))
    }
}

impl std::fmt::Display for Answer {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        Printable::new(&self.0).fmt(out)
    }
}

impl std::fmt::Debug for Answer {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(out, "Answer({self})")
    }
}

impl PartialEq<str> for Answer {
    fn eq(&self, other: &str) -> bool {
        self.0 == other.as_bytes()
    }
}

impl PartialEq<&str> for Answer {
    fn eq(&self, other: &&str) -> bool {
        self == *other
    }
}

/// Why a server could not be asked.
#[derive(Debug, thiserror::Error)]
pub enum ClientError {
    /// Nobody listens there, or it can't be reached.
    #[error("can't connect to {endpoint}: {source}")]
    Connect {
        /// Who was asked.
        endpoint: Endpoint,
        /// What the system said.
        source: io::Error,
    },
    /// No connection or no answer in time.
    #[error("{endpoint}: {what} within {after:?}")]
    TimedOut {
        /// Who was asked.
        endpoint: Endpoint,
        /// What did not come.
        what: &'static str,
        /// How long it was waited for.
        after: Duration,
    },
    /// The server hung up before its answer was complete. A policy server does so when the request is
    /// malformed, or when a check is configured to disconnect.
    #[error("{endpoint}: closed the connection without an answer, after {got}")]
    Closed {
        /// Who was asked.
        endpoint: Endpoint,
        /// What of an answer had come.
        got: Excerpt,
    },
    /// The connection failed.
    #[error("{endpoint}: {source}")]
    Io {
        /// Who was asked.
        endpoint: Endpoint,
        /// What the system said.
        source: io::Error,
    },
    /// Something else than `action=...` and an empty line.
    #[error("{endpoint}: answered {got}, expected {expected}")]
    NoAnswer {
        /// Who was asked.
        endpoint: Endpoint,
        /// What came.
        got: Excerpt,
        /// What should have come.
        expected: &'static str,
    },
}

trait Stream: AsyncRead + AsyncWrite + Send + Sync + Unpin {}
impl<S: AsyncRead + AsyncWrite + Send + Sync + Unpin> Stream for S {}

/// A connection to a policy server.
pub struct Client {
    endpoint: Endpoint,
    stream: Box<dyn Stream>,
    received: BytesMut,
    timeout: Duration,
}

impl Client {
    /// Connects. `timeout` holds for this and for each answer.
    pub async fn connect(endpoint: &Endpoint, timeout: Duration) -> Result<Self, ClientError> {
        let connecting = async {
            Ok::<Box<dyn Stream>, io::Error>(match endpoint {
                Endpoint::Tcp(address) => {
                    let stream = TcpStream::connect(address).await?;
                    stream.set_nodelay(true)?;
                    Box::new(stream)
                }
                Endpoint::Unix(path) => Box::new(UnixStream::connect(path).await?),
            })
        };
        let endpoint = endpoint.clone();
        match tokio::time::timeout(timeout, connecting).await {
            Ok(Ok(stream)) => Ok(Self { endpoint, stream, received: BytesMut::new(), timeout }),
            Ok(Err(source)) => Err(ClientError::Connect { endpoint, source }),
            Err(_) => Err(ClientError::TimedOut { endpoint, what: "no connection", after: timeout }),
        }
    }

    /// Sends `request` and waits for its answer.
    pub async fn ask(&mut self, request: &Request) -> Result<Answer, ClientError> {
        self.send(request.raw()).await?;
        self.answer().await
    }

    /// Sends bytes as they are: several requests at once, a part of one, or none at all.
    pub async fn send(&mut self, bytes: &[u8]) -> Result<(), ClientError> {
        match tokio::time::timeout(self.timeout, self.stream.write_all(bytes)).await {
            Ok(Ok(())) => Ok(()),
            Ok(Err(source)) => Err(ClientError::Io { endpoint: self.endpoint.clone(), source }),
            Err(_) => Err(self.timed_out("could not send")),
        }
    }

    /// Says that nothing more will be sent; answers still come.
    pub async fn finish(&mut self) -> Result<(), ClientError> {
        let finished = self.stream.shutdown().await;
        finished.map_err(|source| ClientError::Io { endpoint: self.endpoint.clone(), source })
    }

    /// The next answer.
    pub async fn answer(&mut self) -> Result<Answer, ClientError> {
        match tokio::time::timeout(self.timeout, self.next_answer()).await {
            Ok(answer) => answer,
            Err(_) => Err(self.timed_out("no answer")),
        }
    }

    /// Waits until the server hangs up; an error when it sends anything before.
    pub async fn closed(&mut self) -> Result<(), ClientError> {
        match tokio::time::timeout(self.timeout, self.until_closed()).await {
            Ok(Ok(())) if self.received.is_empty() => Ok(()),
            Ok(Ok(())) => Err(self.no_answer("nothing more")),
            Ok(Err(error)) => Err(error),
            Err(_) => Err(self.timed_out("did not close the connection")),
        }
    }

    /// Asks whether the server at `endpoint` is alive: sends `checkserver` and expects its answer.
    pub async fn check_server(endpoint: &Endpoint, timeout: Duration) -> Result<(), ClientError> {
        let checking = async {
            let mut client = Self::connect(endpoint, timeout).await?;
            client.send(b"checkserver\n").await?;
            client.until_closed().await?;
            if client.received.trim_ascii() == CHECK_SERVER_ANSWER {
                Ok(())
            } else {
                Err(client.no_answer("\"I'm running right\""))
            }
        };
        match tokio::time::timeout(timeout, checking).await {
            Ok(checked) => checked,
            Err(_) => Err(ClientError::TimedOut { endpoint: endpoint.clone(), what: "no answer", after: timeout }),
        }
    }

    async fn next_answer(&mut self) -> Result<Answer, ClientError> {
        loop {
            if let Some(end) = memmem::find(&self.received, b"\n\n") {
                let mut block = self.received.split_to(end + 2).freeze();
                if !block.starts_with(b"action=") || block[..end].contains(&b'\n') {
                    self.received = BytesMut::from(&block[..]);
                    return Err(self.no_answer("action=... and an empty line"));
                }
                block.advance(b"action=".len());
                block.truncate(end - b"action=".len());
                return Ok(Answer(block));
            }
            if self.received.len() > LONGEST_ANSWER {
                return Err(self.no_answer("action=... and an empty line"));
            }
            if self.read().await? == 0 {
                return Err(ClientError::Closed { endpoint: self.endpoint.clone(), got: Excerpt::of(&self.received) });
            }
        }
    }

    async fn until_closed(&mut self) -> Result<(), ClientError> {
        while self.received.len() <= LONGEST_ANSWER {
            if self.read().await? == 0 {
                return Ok(());
            }
        }
        Err(self.no_answer("the end of the connection"))
    }

    async fn read(&mut self) -> Result<usize, ClientError> {
        let read = self.stream.read_buf(&mut self.received).await;
        read.map_err(|source| ClientError::Io { endpoint: self.endpoint.clone(), source })
    }

    fn timed_out(&self, what: &'static str) -> ClientError {
        ClientError::TimedOut { endpoint: self.endpoint.clone(), what, after: self.timeout }
    }

    fn no_answer(&self, expected: &'static str) -> ClientError {
        ClientError::NoAnswer { endpoint: self.endpoint.clone(), got: Excerpt::of(&self.received), expected }
    }
}

impl std::fmt::Debug for Client {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        out.debug_struct("Client").field("endpoint", &self.endpoint).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests;

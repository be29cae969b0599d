//! The policy protocol, as Postfix's side speaks it: written from its documentation, byte by byte.

use std::fmt;
use std::io::{self, Read, Write};
use std::net::{Shutdown, SocketAddr, TcpStream};
use std::os::unix::net::UnixStream;
use std::path::PathBuf;
use std::time::Duration;

/// Where a listener listens.
#[derive(Debug, Clone)]
pub enum Address {
    /// TCP.
    Tcp(SocketAddr),
    /// A unix socket.
    Unix(PathBuf),
}

impl Address {
    /// As Postfix's `check_policy_service` names it.
    pub fn for_postfix(&self) -> String {
        match self {
            Self::Tcp(SocketAddr::V4(address)) => format!("inet:{address}"),
            Self::Tcp(SocketAddr::V6(address)) => format!("inet:[{}]:{}", address.ip(), address.port()),
            Self::Unix(path) => format!("unix:{}", path.display()),
        }
    }
}

/// As our configuration names it.
impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Tcp(address) => write!(f, "{address}"),
            Self::Unix(path) => write!(f, "unix:{}", path.display()),
        }
    }
}

impl From<SocketAddr> for Address {
    fn from(address: SocketAddr) -> Self {
        Self::Tcp(address)
    }
}

/// A request: what Postfix 3.7 sends at RCPT for an unencrypted, unauthenticated client.
#[derive(Debug, Clone)]
pub struct Request(Vec<(String, Vec<u8>)>);

impl Request {
    /// One at RCPT.
    pub fn rcpt(sender: &str, recipient: &str) -> Self {
        let attributes = [
            ("request", "smtpd_access_policy"),
            ("protocol_state", "RCPT"),
            ("protocol_name", "ESMTP"),
            ("client_address", "192.0.2.9"),
            ("client_name", "unknown"),
            ("client_port", "40000"),
            ("reverse_client_name", "unknown"),
            ("server_address", "127.0.0.1"),
            ("server_port", "25"),
            ("helo_name", "client.example"),
            ("sender", sender),
            ("recipient", recipient),
            ("recipient_count", "0"),
            ("queue_id", ""),
            ("instance", "123.456.789.0"),
            ("size", "0"),
            ("etrn_domain", ""),
            ("stress", ""),
            ("sasl_method", ""),
            ("sasl_username", ""),
            ("sasl_sender", ""),
            ("ccert_subject", ""),
            ("ccert_issuer", ""),
            ("ccert_fingerprint", ""),
            ("ccert_pubkey_fingerprint", ""),
            ("encryption_protocol", ""),
            ("encryption_cipher", ""),
            ("encryption_keysize", "0"),
            ("policy_context", ""),
        ];
        Self(attributes.iter().map(|(name, value)| ((*name).to_owned(), value.as_bytes().to_vec())).collect())
    }

    /// The same of an authenticated client.
    pub fn sasl(self, user: &str) -> Self {
        self.set("sasl_method", "PLAIN").set("sasl_username", user)
    }

    /// With another value of one attribute.
    pub fn set(mut self, name: &str, value: impl AsRef<[u8]>) -> Self {
        let value = value.as_ref().to_vec();
        match self.0.iter_mut().find(|(known, _)| known == name) {
            Some((_, old)) => *old = value,
            None => self.0.push((name.to_owned(), value)),
        }
        self
    }

    /// On the wire.
    pub fn bytes(&self) -> Vec<u8> {
        let mut bytes = Vec::new();
        for (name, value) in &self.0 {
            bytes.extend_from_slice(name.as_bytes());
            bytes.push(b'=');
            bytes.extend_from_slice(value);
            bytes.push(b'\n');
        }
        bytes.push(b'\n');
        bytes
    }
}

enum Stream {
    Tcp(TcpStream),
    Unix(UnixStream),
}

/// A connection to a listener.
pub struct Connection {
    stream: Stream,
    read: Vec<u8>,
}

impl Connection {
    /// Connects; reads and writes then fail after twenty seconds.
    pub fn open(address: &Address) -> io::Result<Self> {
        let stream = match address {
            Address::Tcp(address) => Stream::Tcp(TcpStream::connect_timeout(address, Duration::from_secs(20))?),
            Address::Unix(path) => Stream::Unix(UnixStream::connect(path)?),
        };
        let mut connection = Self { stream, read: Vec::new() };
        connection.set_timeout(Duration::from_secs(20))?;
        if let Stream::Tcp(stream) = &connection.stream {
            stream.set_nodelay(true)?;
        }
        Ok(connection)
    }

    /// A second handle of the same connection, to send by while this one reads.
    pub fn second(&self) -> io::Result<Self> {
        let stream = match &self.stream {
            Stream::Tcp(stream) => Stream::Tcp(stream.try_clone()?),
            Stream::Unix(stream) => Stream::Unix(stream.try_clone()?),
        };
        Ok(Self { stream, read: Vec::new() })
    }

    /// Sets how long reads and writes wait.
    pub fn set_timeout(&mut self, timeout: Duration) -> io::Result<()> {
        match &self.stream {
            Stream::Tcp(stream) => {
                stream.set_read_timeout(Some(timeout))?;
                stream.set_write_timeout(Some(timeout))
            }
            Stream::Unix(stream) => {
                stream.set_read_timeout(Some(timeout))?;
                stream.set_write_timeout(Some(timeout))
            }
        }
    }

    /// Sends bytes.
    pub fn send(&mut self, bytes: &[u8]) -> io::Result<()> {
        match &mut self.stream {
            Stream::Tcp(stream) => stream.write_all(bytes),
            Stream::Unix(stream) => stream.write_all(bytes),
        }
    }

    /// Ends our side; the other may still answer.
    pub fn half_close(&self) -> io::Result<()> {
        match &self.stream {
            Stream::Tcp(stream) => stream.shutdown(Shutdown::Write),
            Stream::Unix(stream) => stream.shutdown(Shutdown::Write),
        }
    }

    /// The next answer, without `action=`; `None` when the connection was ended before it began.
    ///
    /// # Errors
    /// Nothing came in time, the connection was reset, it ended inside an answer, or what came is no
    /// answer: `InvalidData` with the bytes.
    pub fn answer(&mut self) -> io::Result<Option<String>> {
        loop {
            if let Some(end) = self.read.windows(2).position(|pair| pair == b"\n\n") {
                let answer: Vec<u8> = self.read.drain(..end + 2).collect();
                return match answer[..end].strip_prefix(b"action=") {
                    Some(action) if !action.contains(&b'\n') && !action.contains(&b'\r') => {
                        Ok(Some(String::from_utf8(action.to_vec()).map_err(invalid)?))
                    }
                    _ => Err(invalid(format!("no answer: {:?}", String::from_utf8_lossy(&answer)))),
                };
            }
            if self.fill()? == 0 {
                if self.read.is_empty() {
                    return Ok(None);
                }
                return Err(invalid(format!("ended inside {:?}", String::from_utf8_lossy(&self.read))));
            }
        }
    }

    /// Sends a request and gives its answer; an ended connection is an error.
    pub fn ask(&mut self, request: &Request) -> io::Result<String> {
        self.send(&request.bytes())?;
        self.answer()?.ok_or_else(|| io::Error::from(io::ErrorKind::UnexpectedEof))
    }

    /// All that comes until the other side ends the connection.
    pub fn rest(&mut self) -> io::Result<Vec<u8>> {
        while self.fill()? > 0 {}
        Ok(std::mem::take(&mut self.read))
    }

    /// Whether the other side ended the connection without a further byte; it may have reset it.
    ///
    /// # Panics
    /// When bytes came, or nothing happened in time.
    #[track_caller]
    pub fn assert_ended(&mut self) {
        match self.rest() {
            Ok(bytes) => assert!(bytes.is_empty(), "bytes came: {:?}", String::from_utf8_lossy(&bytes)),
            Err(error) => assert_eq!(error.kind(), io::ErrorKind::ConnectionReset, "{error}"),
        }
    }

    fn fill(&mut self) -> io::Result<usize> {
        let mut bytes = [0; 4096];
        let length = match &mut self.stream {
            Stream::Tcp(stream) => stream.read(&mut bytes)?,
            Stream::Unix(stream) => stream.read(&mut bytes)?,
        };
        self.read.extend_from_slice(&bytes[..length]);
        Ok(length)
    }
}

fn invalid(error: impl Into<Box<dyn std::error::Error + Send + Sync>>) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, error)
}

//! Table servers: `tcp:host:port` (tcp_table(5)) and `socketmap:` (socketmap_table(5)).
//!
//! A connection for each look-up: these answers are cached by who asks us. A reply that does not follow
//! the protocol is an error.

use tokio::io::{AsyncBufReadExt, AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, BufReader};
use tokio::net::{TcpStream, UnixStream};

use super::TableError;

/// Where a table server listens.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Peer {
    Inet(String),
    Unix(String),
}

trait Stream: AsyncRead + AsyncWrite + Unpin + Send {}
impl<T: AsyncRead + AsyncWrite + Unpin + Send> Stream for T {}

/// The most that a reply may be long, as in Postfix.
const MAX_REPLY: u64 = 100_000;

impl Peer {
    /// `host:port`.
    pub fn parse_tcp(name: &str) -> Result<Self, String> {
        match name.rsplit_once(':') {
            Some((host, port)) if !host.is_empty() && !port.is_empty() => Ok(Self::Inet(name.to_owned())),
            _ => Err(format!("expected \"tcp:host:port\", found \"tcp:{name}\"")),
        }
    }

    /// `inet:host:port:name` or `unix:path:name`.
    pub fn parse_socketmap(text: &str) -> Result<(Self, String), String> {
        let bad = || {
            format!(
                "expected \"socketmap:inet:host:port:name\" or \"socketmap:unix:path:name\", found \"socketmap:{text}\""
            )
        };
        let (address, name) = text.rsplit_once(':').ok_or_else(bad)?;
        let peer = match address.split_once(':').ok_or_else(bad)? {
            ("inet", address) if address.contains(':') => Self::Inet(address.to_owned()),
            ("unix", path) if path.starts_with('/') => Self::Unix(path.to_owned()),
            _ => return Err(bad()),
        };
        if name.is_empty() { Err(bad()) } else { Ok((peer, name.to_owned())) }
    }

    async fn connect(&self) -> Result<Box<dyn Stream>, TableError> {
        let failed = |error: std::io::Error| TableError(format!("connect: {error}"));
        Ok(match self {
            Self::Inet(address) => Box::new(TcpStream::connect(address.as_str()).await.map_err(failed)?),
            Self::Unix(path) => Box::new(UnixStream::connect(path).await.map_err(failed)?),
        })
    }
}

/// `get KEY` answered by `200 VALUE`, `500` (nothing) or `400` (error), percent-coded.
pub(super) async fn ask_tcp(peer: &Peer, key: &[u8]) -> Result<Option<Vec<u8>>, TableError> {
    let mut stream = peer.connect().await?;
    let request = [b"get ", percent_coded(key).as_bytes(), b"\n"].concat();
    stream.write_all(&request).await.map_err(TableError::new)?;
    let mut line = Vec::new();
    BufReader::new(stream).take(MAX_REPLY).read_until(b'\n', &mut line).await.map_err(TableError::new)?;
    let bad = || TableError(format!("malformed reply {:?}", String::from_utf8_lossy(&line)));
    let reply = line.strip_suffix(b"\n").ok_or_else(bad)?;
    let reply = reply.strip_suffix(b"\r").unwrap_or(reply);
    let (code, text) = reply.split_at_checked(3).ok_or_else(bad)?;
    let text = text.strip_prefix(b" ").ok_or_else(bad)?;
    match code {
        b"200" => percent_decoded(text).map(Some).ok_or_else(bad),
        b"500" => Ok(None),
        b"400" => Err(TableError(String::from_utf8_lossy(text).into_owned())),
        _ => Err(bad()),
    }
}

fn percent_coded(text: &[u8]) -> String {
    let mut coded = String::with_capacity(text.len());
    for byte in text {
        match byte {
            b'%' | 0..=0x20 | 0x7f..=0xff => coded.push_str(&format!("%{byte:02x}")),
            _ => coded.push(char::from(*byte)),
        }
    }
    coded
}

fn percent_decoded(text: &[u8]) -> Option<Vec<u8>> {
    let mut decoded = Vec::with_capacity(text.len());
    let mut rest = text;
    while let [first, after @ ..] = rest {
        if *first == b'%' {
            let digits = std::str::from_utf8(after.get(..2)?).ok()?;
            decoded.push(u8::from_str_radix(digits, 16).ok()?);
            rest = &after[2..];
        } else {
            decoded.push(*first);
            rest = after;
        }
    }
    Some(decoded)
}

/// The netstring `name key`, answered by the netstring `OK value`, `NOTFOUND `, `TEMP why`, `TIMEOUT why`
/// or `PERM why`.
pub(super) async fn ask_socketmap(peer: &Peer, name: &str, key: &[u8]) -> Result<Option<Vec<u8>>, TableError> {
    let mut stream = peer.connect().await?;
    let payload = [name.as_bytes(), b" ", key].concat();
    let request = [format!("{}:", payload.len()).as_bytes(), &payload, b","].concat();
    stream.write_all(&request).await.map_err(TableError::new)?;
    let reply = read_netstring(BufReader::new(stream)).await?;
    let end = reply.iter().position(|byte| *byte == b' ').unwrap_or(reply.len());
    let (status, text) = (&reply[..end], reply.get(end + 1..).unwrap_or_default());
    match status {
        b"OK" => Ok(Some(text.to_vec())),
        b"NOTFOUND" => Ok(None),
        b"TEMP" | b"TIMEOUT" | b"PERM" => Err(TableError(String::from_utf8_lossy(&reply).into_owned())),
        _ => Err(TableError(format!("malformed reply {:?}", String::from_utf8_lossy(&reply)))),
    }
}

async fn read_netstring(mut stream: impl AsyncBufReadExt + Unpin) -> Result<Vec<u8>, TableError> {
    let bad = || TableError("malformed reply: no netstring".to_owned());
    let mut length = Vec::new();
    (&mut stream).take(8).read_until(b':', &mut length).await.map_err(TableError::new)?;
    let digits = length.strip_suffix(b":").and_then(|digits| std::str::from_utf8(digits).ok()).ok_or_else(bad)?;
    let length: usize = digits.parse().map_err(|_| bad())?;
    if length as u64 > MAX_REPLY {
        return Err(TableError(format!("reply of {length} bytes is too long")));
    }
    let mut payload = vec![0; length + 1];
    stream.read_exact(&mut payload).await.map_err(TableError::new)?;
    if payload.pop() == Some(b',') { Ok(payload) } else { Err(bad()) }
}

#[cfg(test)]
#[path = "network_tests.rs"]
mod tests;

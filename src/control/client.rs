//! Asks the daemon behind a control socket.
//!
//! Plain blocking reads and writes: the tools that use it do nothing else meanwhile.

use std::io::{self, BufRead, BufReader, Read, Write};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::time::Duration;

use serde_json::Value;

use super::protocol::{Command, MAX_LINE, Refusal, decode_reply, encode_command};

/// A connection to a running daemon.
pub struct Client {
    path: PathBuf,
    stream: BufReader<UnixStream>,
}

/// Why the daemon could not be asked, or what it said against it.
#[derive(Debug, thiserror::Error)]
pub enum ClientError {
    /// No daemon answers there.
    #[error("no daemon answers at {}: {source}", path.display())]
    NoDaemon {
        /// The socket.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// The connection failed after the daemon had been reached.
    #[error("the daemon at {} was reached but gave no answer: {source}", path.display())]
    NoAnswer {
        /// The socket.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// The daemon refused.
    #[error(transparent)]
    Refused(#[from] Refusal),
}

impl Client {
    /// Connects. No answer is waited for longer than `timeout`.
    pub fn connect(path: &Path, timeout: Duration) -> Result<Self, ClientError> {
        let connect = || {
            let stream = UnixStream::connect(path)?;
            stream.set_read_timeout(Some(timeout))?;
            stream.set_write_timeout(Some(timeout))?;
            Ok(stream)
        };
        match connect() {
            Ok(stream) => Ok(Self { path: path.to_owned(), stream: BufReader::new(stream) }),
            Err(source) => Err(ClientError::NoDaemon { path: path.to_owned(), source }),
        }
    }

    /// Asks for `command` and waits for what comes of it.
    pub fn ask(&mut self, command: &Command) -> Result<Value, ClientError> {
        let line = self.exchange(&encode_command(command));
        let line = line.map_err(|source| ClientError::NoAnswer { path: self.path.clone(), source })?;
        Ok(decode_reply(&line)?)
    }

    fn exchange(&mut self, line: &str) -> io::Result<Vec<u8>> {
        self.stream.get_mut().write_all(format!("{line}\n").as_bytes())?;
        let mut answer = Vec::new();
        self.stream.by_ref().take(MAX_LINE as u64).read_until(b'\n', &mut answer)?;
        match answer.pop() {
            Some(b'\n') => Ok(answer),
            Some(_) => Err(io::Error::new(io::ErrorKind::InvalidData, "the answer is too long or was cut off")),
            None => Err(io::Error::new(io::ErrorKind::UnexpectedEof, "it closed the connection")),
        }
    }
}

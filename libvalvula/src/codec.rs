//! Requests and verdicts on a byte stream.
//!
//! A request takes over the bytes that hold it; nothing is copied. Whatever is wrong with a stream ends
//! it: after an error the connection must be closed without an answer, which makes Postfix ask again
//! once and then fall back to its own default.

use std::io;

use bytes::{Buf, BytesMut};
use tokio_util::codec::{Decoder, Encoder};

use crate::limits::Limits;
use crate::malformed::Malformed;
use crate::request::Request;
use crate::request::scan::{Found, Scan};
use crate::verdict::Verdict;

/// The answer to `checkserver`, after which the connection is closed. Monitors compare it whole, so it has
/// no line end.
pub const CHECK_SERVER_ANSWER: &[u8] = b"I'm running right";

/// Room made for the next request: one of Postfix's usually has 600 to 900 bytes, so one read gets it.
const ROOM: usize = 1024;

/// A larger buffer is given back when a connection falls idle.
const KEPT: usize = 4 * ROOM;

/// What a client sent.
#[derive(Debug, Clone, PartialEq, Eq)]
// Boxing the request would cost an allocation for each, to save space in a value that is moved on at once.
#[allow(clippy::large_enum_variant)]
pub enum Frame {
    /// A policy request.
    Request(Request),
    /// The line `checkserver`, to be answered with [`CHECK_SERVER_ANSWER`].
    CheckServer,
}

/// Why a stream can't go on.
#[derive(Debug, thiserror::Error)]
pub enum ProtocolError {
    /// A request that can't be decided.
    #[error(transparent)]
    Malformed(#[from] Malformed),
    /// The stream ended inside a request.
    #[error("end of stream inside a request, after {bytes} bytes and {lines} complete lines")]
    Truncated {
        /// Bytes of the request that had come.
        bytes: usize,
        /// Complete lines of it.
        lines: usize,
    },
    /// The connection failed.
    #[error("connection: {0}")]
    Io(#[from] io::Error),
}

/// Decodes requests, encodes verdicts. One for each connection.
#[derive(Debug)]
pub struct PolicyCodec {
    limits: Limits,
    /// The request that has come in part, so that what was scanned is not scanned again. Usually a
    /// request comes whole, and an idle connection holds nothing.
    partial: Option<Box<Scan>>,
}

impl PolicyCodec {
    /// A codec that holds requests to `limits`.
    pub fn new(limits: Limits) -> Self {
        Self { limits, partial: None }
    }

    /// Whether a request has begun that is not complete: what the time-out for a started request needs
    /// to know.
    pub fn is_inside_request(&self) -> bool {
        self.partial.is_some()
    }

    fn go_on(&self, scan: &mut Scan, source: &mut BytesMut) -> Result<Option<Frame>, ProtocolError> {
        match scan.advance(source, &self.limits)? {
            None => Ok(None),
            Some(Found::Request { end }) => {
                let request = Request::from_scan(source.split_to(end).freeze(), scan)?;
                Ok(Some(Frame::Request(request)))
            }
            Some(Found::CheckServer { end }) => {
                source.advance(end);
                Ok(Some(Frame::CheckServer))
            }
        }
    }
}

impl Decoder for PolicyCodec {
    type Item = Frame;
    type Error = ProtocolError;

    fn decode(&mut self, source: &mut BytesMut) -> Result<Option<Frame>, ProtocolError> {
        if source.is_empty() {
            make_room(source);
            return Ok(None);
        }
        if let Some(mut scan) = self.partial.take() {
            let frame = self.go_on(&mut scan, source)?;
            if frame.is_none() {
                self.partial = Some(scan);
            }
            return Ok(frame);
        }
        let mut scan = Scan::new();
        let frame = self.go_on(&mut scan, source)?;
        if frame.is_none() {
            self.partial = Some(Box::new(scan));
        }
        Ok(frame)
    }

    fn decode_eof(&mut self, source: &mut BytesMut) -> Result<Option<Frame>, ProtocolError> {
        let frame = self.decode(source)?;
        if frame.is_none() && !source.is_empty() {
            let lines = self.partial.as_ref().map_or(0, |scan| scan.lines());
            return Err(ProtocolError::Truncated { bytes: source.len(), lines });
        }
        Ok(frame)
    }
}

/// Makes an empty buffer fit for the next request. By then the last one is answered and dropped, so its
/// bytes are used again and nothing is allocated.
fn make_room(source: &mut BytesMut) {
    source.reserve(ROOM);
    if source.capacity() > KEPT {
        *source = BytesMut::with_capacity(ROOM);
    }
}

impl Encoder<Verdict> for PolicyCodec {
    type Error = ProtocolError;

    fn encode(&mut self, verdict: Verdict, answer: &mut BytesMut) -> Result<(), ProtocolError> {
        verdict.encode(answer);
        Ok(())
    }
}

impl Encoder<&Verdict> for PolicyCodec {
    type Error = ProtocolError;

    fn encode(&mut self, verdict: &Verdict, answer: &mut BytesMut) -> Result<(), ProtocolError> {
        verdict.encode(answer);
        Ok(())
    }
}

#[cfg(test)]
mod tests;

//! Requests made by hand, for tests, the client and tools.

use bytes::{BufMut, Bytes, BytesMut};
use memchr::memchr;

use super::Request;
use crate::attribute::Attribute;
use crate::limits::Limits;
use crate::malformed::Malformed;
use crate::printable::Excerpt;

/// Builds a [`Request`] as Postfix would send it: `request=smtpd_access_policy`, then what was set, in the
/// order in which it was set.
#[derive(Debug, Clone, Default)]
pub struct RequestBuilder {
    lines: Vec<(Attribute, Vec<u8>)>,
}

impl RequestBuilder {
    /// Sets an attribute; one that was set before keeps its place and gets the new value.
    pub fn set(mut self, attribute: Attribute, value: impl AsRef<[u8]>) -> Self {
        let value = value.as_ref().to_vec();
        match self.lines.iter_mut().find(|(known, _)| *known == attribute) {
            Some((_, old)) => *old = value,
            None => self.lines.push((attribute, value)),
        }
        self
    }

    /// The SMTP stage: `RCPT`, `DATA`, ...
    pub fn protocol_state(self, value: impl AsRef<[u8]>) -> Self {
        self.set(Attribute::ProtocolState, value)
    }

    /// The envelope sender.
    pub fn sender(self, value: impl AsRef<[u8]>) -> Self {
        self.set(Attribute::Sender, value)
    }

    /// The envelope recipient.
    pub fn recipient(self, value: impl AsRef<[u8]>) -> Self {
        self.set(Attribute::Recipient, value)
    }

    /// How many recipients were accepted.
    pub fn recipient_count(self, value: u32) -> Self {
        self.set(Attribute::RecipientCount, value.to_string())
    }

    /// The message's size in bytes.
    pub fn size(self, value: u64) -> Self {
        self.set(Attribute::Size, value.to_string())
    }

    /// The user who logged in.
    pub fn sasl_username(self, value: impl AsRef<[u8]>) -> Self {
        self.set(Attribute::SaslUsername, value)
    }

    /// What all requests of a message have in common.
    pub fn instance(self, value: impl AsRef<[u8]>) -> Self {
        self.set(Attribute::Instance, value)
    }

    /// The queue id.
    pub fn queue_id(self, value: impl AsRef<[u8]>) -> Self {
        self.set(Attribute::QueueId, value)
    }

    /// The client's IP address.
    pub fn client_address(self, value: impl AsRef<[u8]>) -> Self {
        self.set(Attribute::ClientAddress, value)
    }

    /// The request, checked by the same rules as a received one, without limits of size other than
    /// [`Limits::MAX_REQUEST`]. A value that holds a newline is refused: it would be a line of its own.
    pub fn build(self) -> Result<Request, Malformed> {
        let mut block = BytesMut::with_capacity(256);
        if !self.lines.iter().any(|(attribute, _)| *attribute == Attribute::Request) {
            block.put_slice(b"request=smtpd_access_policy\n");
        }
        for (attribute, value) in &self.lines {
            // A carriage return at the end would be taken for a part of the line end.
            if memchr(b'\n', value).is_some() || value.ends_with(b"\r") {
                return Err(Malformed::Newline { attribute: *attribute, found: Excerpt::of(value) });
            }
            block.put_slice(attribute.prefix());
            block.put_slice(value);
            block.put_u8(b'\n');
        }
        block.put_u8(b'\n');
        Request::parse(Bytes::from(block), &Limits { line: usize::MAX, attributes: usize::MAX, request: usize::MAX })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_built_request_reads_as_a_received_one() {
        let request =
            Request::builder().protocol_state("RCPT").sender("a=b@x").recipient("first").recipient("second").build();
        let request = request.expect("well formed");
        assert_eq!(
            request.raw(),
            &b"request=smtpd_access_policy\nprotocol_state=RCPT\nsender=a=b@x\nrecipient=second\n\n"[..]
        );
        assert_eq!(request.sender(), b"a=b@x");
    }

    #[test]
    fn a_value_cannot_smuggle_in_a_line() {
        for value in ["a@x\nsasl_username=root", "a@x\r"] {
            let error = Request::builder().sender(value).build().expect_err("refused");
            assert!(matches!(error, Malformed::Newline { attribute: Attribute::Sender, .. }), "{error}");
        }
        assert!(matches!(Request::builder().sender("a\0").build(), Err(Malformed::Nul { line: 2, .. })));
    }
}

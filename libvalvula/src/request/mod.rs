//! A policy request: one buffer, and where in it the attributes lie.
//!
//! Nothing is copied out of what was received. A request that reads as one has `request` right and
//! its numbers numeric; everything else is Postfix's business, and an attribute that was not sent reads
//! as empty.

mod builder;
pub(crate) mod scan;
mod stage;
#[cfg(test)]
mod tests;
mod xtext;

use std::borrow::Cow;
use std::fmt;
use std::net::IpAddr;
use std::sync::OnceLock;

use bytes::{BufMut, Bytes, BytesMut};

pub use self::builder::RequestBuilder;
use self::scan::{Found, Scan, Spans};
pub use self::stage::Stage;
pub use self::xtext::xtext_decode;
use crate::address::AddressKey;
use crate::attribute::Attribute;
use crate::limits::Limits;
use crate::malformed::Malformed;
use crate::printable::{Excerpt, Printable};

/// The only kind of request that is served.
const POLICY: &[u8] = b"smtpd_access_policy";

/// What Postfix asks.
#[derive(Clone)]
pub struct Request {
    raw: Bytes,
    spans: Spans,
    stage: Stage,
    recipient_count: u32,
    size: u64,
    sender_key: OnceLock<AddressKey>,
    recipient_key: OnceLock<AddressKey>,
    sasl_key: OnceLock<AddressKey>,
}

impl Request {
    /// Reads exactly one request, with or without its final empty line.
    ///
    /// Off a stream, use [`PolicyCodec`](crate::PolicyCodec) instead.
    pub fn parse(block: Bytes, limits: &Limits) -> Result<Self, Malformed> {
        let mut scan = Scan::new();
        let (raw, found) = match scan.advance(&block, limits)? {
            Some(found) => (block, found),
            None => {
                let mut whole = BytesMut::with_capacity(block.len() + 2);
                whole.put_slice(&block);
                if !block.is_empty() && !block.ends_with(b"\n") {
                    whole.put_u8(b'\n');
                }
                whole.put_u8(b'\n');
                let found = scan.advance(&whole, limits)?.expect("an empty line ends every request");
                (whole.freeze(), found)
            }
        };
        match found {
            Found::CheckServer { .. } => {
                let text = Excerpt::of(raw.trim_ascii_end());
                Err(Malformed::NoEquals { line: 1, text })
            }
            Found::Request { end } if end < raw.len() => Err(Malformed::Trailing { bytes: raw.len() - end }),
            Found::Request { .. } => Self::from_scan(raw, &scan),
        }
    }

    /// A request made by hand.
    pub fn builder() -> RequestBuilder {
        RequestBuilder::default()
    }

    /// Takes over `raw`, in which `scan` found a whole request.
    pub(crate) fn from_scan(raw: Bytes, scan: &Scan) -> Result<Self, Malformed> {
        let spans = scan.spans();
        let value = |attribute| spans.value(attribute, &raw);
        match value(Attribute::Request) {
            Some(POLICY) => {}
            Some(other) => return Err(Malformed::OtherRequest { found: Excerpt::of(other) }),
            None => return Err(Malformed::NoRequest),
        }
        let number = |attribute, max| match value(attribute) {
            None => Ok(0),
            Some(digits) => decimal(digits).filter(|number| *number <= max).ok_or_else(|| Malformed::NotANumber {
                attribute,
                found: Excerpt::of(digits),
                max,
            }),
        };
        let recipient_count = number(Attribute::RecipientCount, u32::MAX.into())?;
        let size = number(Attribute::Size, u64::MAX)?;
        let stage = Stage::from_name(value(Attribute::ProtocolState).unwrap_or_default());
        let spans = spans.clone();
        Ok(Self {
            raw,
            spans,
            stage,
            recipient_count: u32::try_from(recipient_count).expect("checked against u32::MAX"),
            size,
            sender_key: OnceLock::new(),
            recipient_key: OnceLock::new(),
            sasl_key: OnceLock::new(),
        })
    }

    /// The request as it goes over the wire, its empty line included.
    pub fn raw(&self) -> &[u8] {
        &self.raw
    }

    /// The attribute's bytes as sent; `None` when it was not sent.
    pub fn get(&self, attribute: Attribute) -> Option<&[u8]> {
        self.spans.value(attribute, &self.raw)
    }

    /// The attribute's bytes as sent; empty when it was not sent.
    pub fn value(&self, attribute: Attribute) -> &[u8] {
        self.get(attribute).unwrap_or_default()
    }

    /// SMTP command under which Postfix asks.
    pub fn stage(&self) -> Stage {
        self.stage
    }

    /// Accepted recipients; 0 before DATA and when not sent.
    pub fn recipient_count(&self) -> u32 {
        self.recipient_count
    }

    /// Size in bytes that the client declared, the real one at END-OF-MESSAGE; 0 when not sent.
    pub fn size(&self) -> u64 {
        self.size
    }

    /// Whether the client logged in: `sasl_username` is not empty.
    pub fn is_authenticated(&self) -> bool {
        !self.sasl_username().is_empty()
    }

    /// The sender in normal form, computed once.
    pub fn sender_key(&self) -> &AddressKey {
        self.sender_key.get_or_init(|| AddressKey::new(self.sender()))
    }

    /// The recipient in normal form, computed once.
    pub fn recipient_key(&self) -> &AddressKey {
        self.recipient_key.get_or_init(|| AddressKey::new(self.recipient()))
    }

    /// The SASL user in normal form, computed once; empty without a login.
    pub fn sasl_key(&self) -> &AddressKey {
        self.sasl_key.get_or_init(|| AddressKey::new(self.sasl_username()))
    }

    /// Envelope sender; empty for a bounce.
    pub fn sender(&self) -> &[u8] {
        self.value(Attribute::Sender)
    }

    /// Envelope recipient; empty at DATA and END-OF-MESSAGE when there are several.
    pub fn recipient(&self) -> &[u8] {
        self.value(Attribute::Recipient)
    }

    /// User who logged in.
    pub fn sasl_username(&self) -> &[u8] {
        self.value(Attribute::SaslUsername)
    }

    /// SASL mechanism, spelt as the client did.
    pub fn sasl_method(&self) -> &[u8] {
        self.value(Attribute::SaslMethod)
    }

    /// `AUTH=` of the MAIL command, decoded from xtext.
    pub fn sasl_sender(&self) -> Cow<'_, [u8]> {
        xtext_decode(self.value(Attribute::SaslSender))
    }

    /// What all requests of a message have in common; empty before MAIL is accepted, and at VRFY and ETRN.
    pub fn instance(&self) -> &[u8] {
        self.value(Attribute::Instance)
    }

    /// Queue id; empty until a recipient is accepted.
    pub fn queue_id(&self) -> &[u8] {
        self.value(Attribute::QueueId)
    }

    /// `ESMTP` or `SMTP`.
    pub fn protocol_name(&self) -> &[u8] {
        self.value(Attribute::ProtocolName)
    }

    /// What the client said in HELO or EHLO.
    pub fn helo_name(&self) -> &[u8] {
        self.value(Attribute::HeloName)
    }

    /// The client's address; `None` when it is `unknown`, not sent or no IP address.
    ///
    /// An IPv4 address written as IPv6 (`::ffff:192.0.2.1`) comes as IPv4, so that networks match it.
    pub fn client_address(&self) -> Option<IpAddr> {
        address(self.value(Attribute::ClientAddress))
    }

    /// Verified host name of the client, or `unknown`.
    pub fn client_name(&self) -> &[u8] {
        self.value(Attribute::ClientName)
    }

    /// Unverified host name of the client, or `unknown`.
    pub fn reverse_client_name(&self) -> &[u8] {
        self.value(Attribute::ReverseClientName)
    }

    /// The client's TCP port; `None` when it is `unknown` or not sent.
    pub fn client_port(&self) -> Option<u16> {
        self.port(Attribute::ClientPort)
    }

    /// The address that the client connected to, see [`Request::client_address`].
    pub fn server_address(&self) -> Option<IpAddr> {
        address(self.value(Attribute::ServerAddress))
    }

    /// The TCP port that the client connected to.
    pub fn server_port(&self) -> Option<u16> {
        self.port(Attribute::ServerPort)
    }

    /// Domain of an ETRN command.
    pub fn etrn_domain(&self) -> &[u8] {
        self.value(Attribute::EtrnDomain)
    }

    /// Whether the smtpd runs under stress.
    pub fn is_stressed(&self) -> bool {
        !self.value(Attribute::Stress).is_empty()
    }

    /// Common name of a verified client certificate, decoded from xtext.
    pub fn ccert_subject(&self) -> Cow<'_, [u8]> {
        xtext_decode(self.value(Attribute::CcertSubject))
    }

    /// Issuer's common name of a verified client certificate, decoded from xtext.
    pub fn ccert_issuer(&self) -> Cow<'_, [u8]> {
        xtext_decode(self.value(Attribute::CcertIssuer))
    }

    /// Fingerprint of the client certificate.
    pub fn ccert_fingerprint(&self) -> &[u8] {
        self.value(Attribute::CcertFingerprint)
    }

    /// Fingerprint of the client certificate's public key.
    pub fn ccert_pubkey_fingerprint(&self) -> &[u8] {
        self.value(Attribute::CcertPubkeyFingerprint)
    }

    /// TLS protocol, for example `TLSv1.3`; empty without TLS.
    pub fn encryption_protocol(&self) -> &[u8] {
        self.value(Attribute::EncryptionProtocol)
    }

    /// TLS cipher; empty without TLS.
    pub fn encryption_cipher(&self) -> &[u8] {
        self.value(Attribute::EncryptionCipher)
    }

    /// Bits of the TLS cipher; `None` when not sent, 0 without TLS.
    pub fn encryption_keysize(&self) -> Option<u32> {
        decimal(self.value(Attribute::EncryptionKeysize)).and_then(|bits| u32::try_from(bits).ok())
    }

    /// `policy_context` of the `check_policy_service`.
    pub fn policy_context(&self) -> &[u8] {
        self.value(Attribute::PolicyContext)
    }

    /// `compatibility_level` of the Postfix.
    pub fn compatibility_level(&self) -> &[u8] {
        self.value(Attribute::CompatibilityLevel)
    }

    /// `mail_version` of the Postfix.
    pub fn mail_version(&self) -> &[u8] {
        self.value(Attribute::MailVersion)
    }

    /// Server name that the client asked for in the TLS handshake.
    pub fn tls_sni(&self) -> &[u8] {
        self.value(Attribute::TlsSni)
    }

    fn port(&self, attribute: Attribute) -> Option<u16> {
        decimal(self.value(attribute)).and_then(|port| u16::try_from(port).ok())
    }
}

/// Two requests are equal when the same bytes were sent.
impl PartialEq for Request {
    fn eq(&self, other: &Self) -> bool {
        self.raw == other.raw
    }
}

impl Eq for Request {}

impl fmt::Debug for Request {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        let sent = Attribute::ALL.into_iter().filter_map(|attribute| Some((attribute, self.get(attribute)?)));
        out.debug_map()
            .entries(sent.map(|(name, value)| (name, format!("{}", Printable::bounded(value, 256)))))
            .finish()
    }
}

/// Digits only, no sign and no blank: what Postfix writes.
fn decimal(digits: &[u8]) -> Option<u64> {
    if digits.is_empty() {
        return None;
    }
    digits.iter().try_fold(0_u64, |number, digit| {
        digit.is_ascii_digit().then(|| number.checked_mul(10)?.checked_add(u64::from(digit - b'0'))).flatten()
    })
}

fn address(text: &[u8]) -> Option<IpAddr> {
    // A link-local address may carry its interface: fe80::1%eth0.
    let text = text.split(|byte| *byte == b'%').next().unwrap_or_default();
    std::str::from_utf8(text).ok()?.parse::<IpAddr>().ok().map(|address| address.to_canonical())
}

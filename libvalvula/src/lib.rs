//! The Postfix policy protocol: request, verdict, codec, address rules and a client.
//!
//! Everything here is plain data and pure functions, apart from [`Client`]: no actor, no database, no
//! configuration file. The daemon's runtime stands on it, and so can any other program that wants to
//! speak the protocol of Postfix's `check_policy_service`.
//!
//! - [`Request`]: what Postfix asks, its [`Attribute`]s typed, its raw bytes kept.
//! - [`Verdict`]: what Postfix is told; one that Postfix would misread can't be made.
//! - [`PolicyCodec`]: both of them on a byte stream, with [`Limits`].
//! - [`AddressKey`], [`domain_key`], [`AddressRule`]: how addresses are compared and matched.
//! - [`Endpoint`], [`Client`]: where a policy server is, and how it is asked.
//!
//! ```
//! use bytes::BytesMut;
//! use libvalvula::{AddressRule, Frame, Limits, PolicyCodec, Stage, Text, Verdict};
//! use tokio_util::codec::{Decoder, Encoder};
//!
//! let mut received = BytesMut::from(
//!     "request=smtpd_access_policy\nprotocol_state=RCPT\nsender=Ann@b\u{fc}cher.example\n\n",
//! );
//! let mut codec = PolicyCodec::new(Limits::default());
//! let Some(Frame::Request(request)) = codec.decode(&mut received)? else { panic!("a request was sent") };
//! assert_eq!(request.stage(), Stage::Rcpt);
//!
//! let rule = AddressRule::parse("xn--bcher-kva.example");
//! let verdict = if rule.matches(request.sender_key()) {
//!     Verdict::reject(Text::new("not from there"))
//! } else {
//!     Verdict::DUNNO
//! };
//!
//! let mut answer = BytesMut::new();
//! codec.encode(verdict, &mut answer)?;
//! assert_eq!(&answer[..], b"action=REJECT not from there\n\n");
//! # Ok::<(), libvalvula::ProtocolError>(())
//! ```

mod address;
mod attribute;
mod client;
mod codec;
mod endpoint;
mod limits;
mod malformed;
mod printable;
mod request;
mod verdict;

pub use address::{AddressKey, AddressRule, Candidates, RuleForm, domain_key};
pub use attribute::Attribute;
pub use client::{Answer, Client, ClientError};
pub use codec::{CHECK_SERVER_ANSWER, Frame, PolicyCodec, ProtocolError};
pub use endpoint::{Endpoint, EndpointError};
pub use limits::Limits;
pub use malformed::Malformed;
pub use printable::{Excerpt, Printable};
pub use request::{Request, RequestBuilder, Stage, xtext_decode};
pub use verdict::{Code, Text, Verdict, VerdictError};

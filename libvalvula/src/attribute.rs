//! The attributes of a policy request, as Postfix's SMTPD_POLICY_README names them.
//!
//! Attributes that are not listed here are ignored, as the protocol demands; a later Postfix may send
//! more.

use std::fmt;

macro_rules! attributes {
    ($($(#[$doc:meta])* $variant:ident = $name:literal,)*) => {
        /// An attribute of a policy request, in the order in which Postfix sends them.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
        #[repr(u8)]
        pub enum Attribute {
            $($(#[$doc])* $variant,)*
        }

        /// The names as patterns; `match` takes no expression.
        #[allow(non_upper_case_globals)]
        mod bytes {
            $(pub(super) const $variant: &[u8] = $name.as_bytes();)*
        }

        impl Attribute {
            /// Every attribute, in the order in which Postfix sends them.
            pub const ALL: [Self; [$($name),*].len()] = [$(Self::$variant),*];

            /// Its name on the wire.
            pub const fn name(self) -> &'static str {
                match self { $(Self::$variant => $name,)* }
            }

            /// The attribute of that name. Names are compared exactly: Postfix writes them in lower case.
            pub fn from_name(name: &[u8]) -> Option<Self> {
                // The compiler turns this into a tree over length and bytes.
                match name {
                    $(bytes::$variant => Some(Self::$variant),)*
                    _ => None,
                }
            }

            /// `name=`, as a line begins.
            pub(crate) const fn prefix(self) -> &'static [u8] {
                match self { $(Self::$variant => concat!($name, "=").as_bytes(),)* }
            }

            /// Whether `line` begins with [`Self::prefix`]. Spelt out, so that each comparison is one of
            /// a known length: a few instructions in place of a call.
            #[inline]
            pub(crate) fn begins(self, line: &[u8]) -> bool {
                match self { $(Self::$variant => line.starts_with(concat!($name, "=").as_bytes()),)* }
            }
        }
    };
}

attributes! {
    /// Kind of the request, always `smtpd_access_policy`.
    Request = "request",
    /// SMTP command under which the request is made, see [`Stage`](crate::Stage).
    ProtocolState = "protocol_state",
    /// `ESMTP` or `SMTP`.
    ProtocolName = "protocol_name",
    /// IP address of the client, or `unknown`.
    ClientAddress = "client_address",
    /// Verified host name of the client, or `unknown`.
    ClientName = "client_name",
    /// TCP port of the client, or `unknown` (Postfix 3.0).
    ClientPort = "client_port",
    /// Unverified host name of the client, or `unknown`.
    ReverseClientName = "reverse_client_name",
    /// IP address of the server side of the connection (Postfix 3.2).
    ServerAddress = "server_address",
    /// TCP port of the server side of the connection (Postfix 3.2).
    ServerPort = "server_port",
    /// What the client said in HELO or EHLO.
    HeloName = "helo_name",
    /// Envelope sender, without quotes; empty for a bounce.
    Sender = "sender",
    /// Envelope recipient; empty at DATA and END-OF-MESSAGE when there are several.
    Recipient = "recipient",
    /// Accepted recipients; 0 before DATA.
    RecipientCount = "recipient_count",
    /// Queue id; empty until a recipient is accepted.
    QueueId = "queue_id",
    /// Same for all requests of one message; empty before MAIL is accepted.
    Instance = "instance",
    /// Size in bytes that the client declared; the real one at END-OF-MESSAGE.
    Size = "size",
    /// Domain of an ETRN command.
    EtrnDomain = "etrn_domain",
    /// `yes` when the smtpd runs under stress, else empty (Postfix 2.5).
    Stress = "stress",
    /// SASL mechanism, spelt as the client did.
    SaslMethod = "sasl_method",
    /// User who logged in; empty without a login.
    SaslUsername = "sasl_username",
    /// `AUTH=` of the MAIL command, as xtext.
    SaslSender = "sasl_sender",
    /// Common name of a verified client certificate, as xtext.
    CcertSubject = "ccert_subject",
    /// Issuer's common name of a verified client certificate, as xtext.
    CcertIssuer = "ccert_issuer",
    /// Fingerprint of the client certificate.
    CcertFingerprint = "ccert_fingerprint",
    /// Fingerprint of the client certificate's public key (Postfix 2.9).
    CcertPubkeyFingerprint = "ccert_pubkey_fingerprint",
    /// TLS protocol, for example `TLSv1.3`; empty without TLS.
    EncryptionProtocol = "encryption_protocol",
    /// TLS cipher; empty without TLS.
    EncryptionCipher = "encryption_cipher",
    /// Bits of the TLS cipher; 0 without TLS.
    EncryptionKeysize = "encryption_keysize",
    /// `policy_context` of the `check_policy_service` (Postfix 3.1).
    PolicyContext = "policy_context",
    /// `compatibility_level` of the Postfix (Postfix 3.8).
    CompatibilityLevel = "compatibility_level",
    /// `mail_version` of the Postfix (Postfix 3.8).
    MailVersion = "mail_version",
    /// Server name that the client asked for in the TLS handshake (Postfix 3.12).
    TlsSni = "tls_sni",
}

impl Attribute {
    /// How many there are.
    pub(crate) const COUNT: usize = Self::ALL.len();
}

impl fmt::Display for Attribute {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str(self.name())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_name_finds_its_attribute_and_no_other_does() {
        for (index, attribute) in Attribute::ALL.into_iter().enumerate() {
            let name = attribute.name();
            assert_eq!(attribute as usize, index);
            assert_eq!(Attribute::from_name(name.as_bytes()), Some(attribute));
            assert_eq!(attribute.prefix(), format!("{name}=").as_bytes());
            assert!(
                attribute.begins(format!("{name}=x").as_bytes()) && !attribute.begins(format!("{name}x=").as_bytes())
            );
            for wrong in [&name[1..], &name[..name.len() - 1], &format!("{name}x"), &name.to_uppercase()] {
                assert_eq!(Attribute::from_name(wrong.as_bytes()), None, "{wrong}");
            }
        }
    }

    #[test]
    fn names_are_distinct() {
        let mut names = Attribute::ALL.map(Attribute::name);
        names.sort_unstable();
        assert!(names.windows(2).all(|pair| pair[0] != pair[1]));
    }
}

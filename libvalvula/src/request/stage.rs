//! The SMTP command under which Postfix asks.

/// The request's `protocol_state`.
///
/// With Postfix's default `smtpd_delay_reject = yes`, client, helo and sender restrictions are asked at
/// [`Stage::Rcpt`] too.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Stage {
    /// At the connection, before any command.
    Connect,
    /// At EHLO.
    Ehlo,
    /// At HELO.
    Helo,
    /// At MAIL FROM.
    Mail,
    /// At RCPT TO, once for each recipient.
    Rcpt,
    /// At DATA (or BDAT), once for each message.
    Data,
    /// After the message's content, once for each message.
    EndOfMessage,
    /// At VRFY.
    Vrfy,
    /// At ETRN.
    Etrn,
    /// Not said, or a state that no Postfix up to 3.12 knows.
    Unknown,
}

impl Stage {
    /// The stage that Postfix writes so.
    pub fn from_name(name: &[u8]) -> Self {
        match name {
            b"RCPT" => Self::Rcpt,
            b"DATA" => Self::Data,
            b"END-OF-MESSAGE" => Self::EndOfMessage,
            b"MAIL" => Self::Mail,
            b"CONNECT" => Self::Connect,
            b"EHLO" => Self::Ehlo,
            b"HELO" => Self::Helo,
            b"VRFY" => Self::Vrfy,
            b"ETRN" => Self::Etrn,
            _ => Self::Unknown,
        }
    }

    /// As Postfix writes it; `unknown` for [`Stage::Unknown`].
    pub const fn name(self) -> &'static str {
        match self {
            Self::Connect => "CONNECT",
            Self::Ehlo => "EHLO",
            Self::Helo => "HELO",
            Self::Mail => "MAIL",
            Self::Rcpt => "RCPT",
            Self::Data => "DATA",
            Self::EndOfMessage => "END-OF-MESSAGE",
            Self::Vrfy => "VRFY",
            Self::Etrn => "ETRN",
            Self::Unknown => "unknown",
        }
    }

    /// Whether the request is about a whole message, and `recipient_count` is the number of its accepted
    /// recipients: at DATA and END-OF-MESSAGE.
    pub const fn is_message(self) -> bool {
        matches!(self, Self::Data | Self::EndOfMessage)
    }
}

impl std::fmt::Display for Stage {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        out.write_str(self.name())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_go_there_and_back() {
        use Stage::{Connect, Data, Ehlo, EndOfMessage, Etrn, Helo, Mail, Rcpt, Unknown, Vrfy};
        for stage in [Connect, Ehlo, Helo, Mail, Rcpt, Data, EndOfMessage, Vrfy, Etrn, Unknown] {
            assert_eq!(Stage::from_name(stage.name().as_bytes()), stage);
        }
        for other in [&b""[..], b"rcpt", b"RCPT ", b"BDAT"] {
            assert_eq!(Stage::from_name(other), Unknown);
        }
    }

    #[test]
    fn only_data_and_end_of_message_are_about_a_whole_message() {
        assert!(Stage::Data.is_message() && Stage::EndOfMessage.is_message());
        assert!(!Stage::Rcpt.is_message() && !Stage::Unknown.is_message());
    }
}

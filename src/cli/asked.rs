//! A request as the command line gives it, with what Postfix would send besides.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::time::{SystemTime, UNIX_EPOCH};

use libvalvula::{Attribute, Malformed, Request, Stage};
use structopt::StructOpt;

const STAGES: &[&str] = &["CONNECT", "EHLO", "HELO", "MAIL", "RCPT", "DATA", "END-OF-MESSAGE", "VRFY", "ETRN"];

/// What is asked.
#[derive(Debug, Clone, StructOpt)]
pub struct Asked {
    /// Envelope sender; '' is that of a bounce
    #[structopt(long, value_name = "ADDRESS", allow_hyphen_values = true)]
    pub sender: String,

    /// Envelope recipient; Postfix sends none at DATA and END-OF-MESSAGE when there are several
    #[structopt(long, value_name = "ADDRESS", allow_hyphen_values = true, default_value = "")]
    pub recipient: String,

    /// User who logged in; absent: nobody did
    #[structopt(long, value_name = "USER", allow_hyphen_values = true)]
    pub sasl: Option<String>,

    /// Address of the client
    #[structopt(long, value_name = "IP", default_value = "127.0.0.1")]
    pub client: IpAddr,

    /// SMTP command under which Postfix asks
    #[structopt(long, value_name = "STAGE", default_value = "RCPT", possible_values = STAGES, case_insensitive = true)]
    pub stage: String,

    /// What all requests of a message have in common; absent: a new message
    #[structopt(long, value_name = "ID", allow_hyphen_values = true)]
    pub instance: Option<String>,

    /// Accepted recipients; by default 0 before DATA, 1 from there on
    #[structopt(long, value_name = "N")]
    pub count: Option<u32>,

    /// Size of the message in bytes
    #[structopt(long, value_name = "BYTES", default_value = "0")]
    pub size: u64,

    /// The listener, when there are several: its name or its address
    #[structopt(long, value_name = "NAME")]
    pub listener: Option<String>,
}

impl Asked {
    /// The attributes, by Postfix's names.
    pub fn attributes(&self) -> BTreeMap<String, String> {
        let stage = self.stage.to_ascii_uppercase();
        let count = self.count.unwrap_or_else(|| u32::from(Stage::from_name(stage.as_bytes()).is_message()));
        let mut attributes = BTreeMap::new();
        let mut set = |attribute: Attribute, value: String| attributes.insert(attribute.name().to_owned(), value);
        set(Attribute::Request, "smtpd_access_policy".to_owned());
        set(Attribute::ProtocolState, stage);
        set(Attribute::ProtocolName, "ESMTP".to_owned());
        set(Attribute::ClientAddress, self.client.to_string());
        set(Attribute::ClientName, "unknown".to_owned());
        set(Attribute::ReverseClientName, "unknown".to_owned());
        set(Attribute::HeloName, "valvulactl".to_owned());
        set(Attribute::Sender, self.sender.clone());
        set(Attribute::Recipient, self.recipient.clone());
        set(Attribute::RecipientCount, count.to_string());
        set(Attribute::QueueId, String::new());
        set(Attribute::Instance, self.instance.clone().unwrap_or_else(new_instance));
        set(Attribute::Size, self.size.to_string());
        set(Attribute::SaslMethod, if self.sasl.is_some() { "plain" } else { "" }.to_owned());
        set(Attribute::SaslUsername, self.sasl.clone().unwrap_or_default());
        set(Attribute::SaslSender, String::new());
        attributes
    }

    /// The request.
    ///
    /// # Errors
    /// When a value can't be sent.
    pub fn request(&self) -> Result<Request, Malformed> {
        let attributes = self.attributes();
        let known = Attribute::ALL.into_iter().filter_map(|name| Some((name, attributes.get(name.name())?)));
        known.fold(Request::builder(), |builder, (name, value)| builder.set(name, value)).build()
    }
}

/// Like no other: as Postfix makes it, of process and time.
fn new_instance() -> String {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    format!("{:x}.{:x}.{:x}.0", std::process::id(), now.as_secs(), now.subsec_nanos())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn asked(arguments: &[&str]) -> Asked {
        Asked::from_iter_safe([&["request", "--sender", "a@x"], arguments].concat()).unwrap()
    }

    #[test]
    fn it_is_what_postfix_would_send() {
        let request = asked(&["--recipient", "b@y", "--sasl", "ann"]).request().unwrap();
        assert_eq!(
            (request.sender(), request.recipient(), request.sasl_username()),
            (&b"a@x"[..], &b"b@y"[..], &b"ann"[..])
        );
        assert_eq!((request.stage(), request.recipient_count()), (Stage::Rcpt, 0));
        assert!(request.is_authenticated() && !request.instance().is_empty());
        assert!(request.raw().starts_with(b"request=smtpd_access_policy\nprotocol_state=RCPT\n"));
    }

    #[test]
    fn a_message_has_a_recipient_from_data_on() {
        assert_eq!(asked(&["--stage", "data"]).request().unwrap().recipient_count(), 1);
        assert_eq!(asked(&["--stage", "END-OF-MESSAGE", "--count", "7"]).request().unwrap().recipient_count(), 7);
        assert!(!asked(&[]).request().unwrap().is_authenticated());
    }

    #[test]
    fn each_new_message_is_another_and_a_named_one_the_same() {
        assert_ne!(asked(&[]).attributes()["instance"], asked(&[]).attributes()["instance"]);
        assert_eq!(asked(&["--instance", "x.1"]).attributes()["instance"], "x.1");
    }

    #[test]
    fn a_value_with_a_newline_is_no_request() {
        assert!(asked(&["--recipient", "b\nsasl_username=root"]).request().is_err());
    }
}

//! The restriction lists of smtpd(8), and the policy services in them.

use std::collections::BTreeMap;
use std::fmt;
use std::str::FromStr;

use serde::Serialize;

use crate::config::{Configuration, View};
use crate::expand::enclosed;
use crate::fault::Fault;
use crate::list::split_list;
use crate::maincf::split_assignment;

/// A restriction list.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Section {
    /// `smtpd_client_restrictions`
    Client,
    /// `smtpd_helo_restrictions`
    Helo,
    /// `smtpd_sender_restrictions`
    Sender,
    /// `smtpd_relay_restrictions`
    Relay,
    /// `smtpd_recipient_restrictions`
    Recipient,
    /// `smtpd_data_restrictions`
    Data,
    /// `smtpd_end_of_data_restrictions`
    EndOfData,
    /// `smtpd_etrn_restrictions`
    Etrn,
}

impl Section {
    /// All of them, in the order in which they run.
    pub const ALL: [Self; 8] =
        [Self::Client, Self::Helo, Self::Sender, Self::Relay, Self::Recipient, Self::Data, Self::EndOfData, Self::Etrn];

    /// Its name, as commands take it.
    pub fn name(self) -> &'static str {
        match self {
            Self::Client => "client",
            Self::Helo => "helo",
            Self::Sender => "sender",
            Self::Relay => "relay",
            Self::Recipient => "recipient",
            Self::Data => "data",
            Self::EndOfData => "end-of-data",
            Self::Etrn => "etrn",
        }
    }

    /// Postfix's parameter.
    pub fn parameter(self) -> &'static str {
        match self {
            Self::Client => "smtpd_client_restrictions",
            Self::Helo => "smtpd_helo_restrictions",
            Self::Sender => "smtpd_sender_restrictions",
            Self::Relay => "smtpd_relay_restrictions",
            Self::Recipient => "smtpd_recipient_restrictions",
            Self::Data => "smtpd_data_restrictions",
            Self::EndOfData => "smtpd_end_of_data_restrictions",
            Self::Etrn => "smtpd_etrn_restrictions",
        }
    }

    /// When it runs. `delayed` is `smtpd_delay_reject`.
    pub fn when(self, delayed: bool) -> &'static str {
        match (self, delayed) {
            (Self::Client | Self::Helo | Self::Sender, true) => "at each RCPT TO (smtpd_delay_reject = yes)",
            (Self::Client, false) => "when a client connects",
            (Self::Helo, false) => "at HELO and EHLO",
            (Self::Sender, false) => "at MAIL FROM",
            (Self::Relay | Self::Recipient, _) => "at each RCPT TO",
            (Self::Data, _) => "at DATA, once a message",
            (Self::EndOfData, _) => "at the end of the message, once",
            (Self::Etrn, _) => "at ETRN",
        }
    }

    /// Whether it runs for each recipient.
    pub fn runs_at_recipient(self, delayed: bool) -> bool {
        match self {
            Self::Client | Self::Helo | Self::Sender => delayed,
            Self::Relay | Self::Recipient => true,
            Self::Data | Self::EndOfData | Self::Etrn => false,
        }
    }
}

impl fmt::Display for Section {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str(self.name())
    }
}

impl FromStr for Section {
    type Err = String;

    /// Its name, or Postfix's parameter.
    fn from_str(text: &str) -> Result<Self, String> {
        let found = Self::ALL.into_iter().find(|section| [section.name(), section.parameter()].contains(&text));
        found.ok_or_else(|| {
            let names = Self::ALL.map(Self::name).join(", ");
            format!("there is no section {text:?}: expected one of {names}")
        })
    }
}

/// A place where a policy service is asked.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Consultation {
    /// The service of master.cf (`submission/inet`) whose list it is; `None`: main.cf, for all services that
    /// do not set the list themselves.
    pub service: Option<String>,
    /// The list.
    pub section: Section,
    /// The restriction class it stands in, if it does not stand in the list itself.
    pub class: Option<String>,
    /// The endpoint as written: `inet:127.0.0.1:3579`, `unix:private/policy`.
    pub endpoint: String,
    /// Its own settings (`{ inet:..., timeout=10s }`).
    pub settings: BTreeMap<String, String>,
    /// The restrictions before it, in their order.
    pub before: Vec<String>,
}

/// How deeply restriction classes may stand in each other.
const MAX_DEPTH: usize = 10;
/// How many classes are looked into for one list. Classes that name each other several times would be
/// looked into without end.
const MAX_CLASSES: usize = 1000;

/// All places where a policy service is asked: of main.cf, and of each smtpd service that sets a list itself.
pub fn consultations(configuration: &Configuration) -> Result<Vec<Consultation>, Vec<Fault>> {
    let (mut found, mut faults) = (Vec::new(), Vec::new());
    let mut read = |view: View<'_>, service: Option<String>, section: Section| match of_list(
        view,
        section.parameter(),
        section,
        service,
        None,
        0,
        &mut 0,
    ) {
        Ok(more) => found.extend(more),
        Err(fault) => faults.push(fault),
    };
    for section in Section::ALL {
        read(configuration.main(), None, section);
    }
    for service in configuration.master.smtpd() {
        for section in Section::ALL.into_iter().filter(|section| service.get(section.parameter()).is_some()) {
            read(configuration.service(service), Some(service.id().0), section);
        }
    }
    if faults.is_empty() { Ok(found) } else { Err(faults) }
}

/// A service of master.cf that does not ask an endpoint where main.cf does: it sets that list itself.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Exception {
    /// The service: `submission/inet`.
    pub service: String,
    /// The list that it sets.
    pub section: Section,
}

/// The smtpd services that ask `endpoint` in none of their lists, because a list of their own stands in the
/// place of one of main.cf that does. `places` are all consultations.
pub fn exceptions(
    configuration: &Configuration,
    places: &[Consultation],
    endpoint: &str,
    queue_directory: &str,
) -> Vec<Exception> {
    let asked: Vec<_> =
        places.iter().filter(|place| is_same_endpoint(&place.endpoint, endpoint, queue_directory)).collect();
    let mut found: Vec<Exception> = Vec::new();
    for service in configuration.master.smtpd() {
        let name = service.id().0;
        let own = |section: Section| service.get(section.parameter()).is_some();
        let asks = asked.iter().any(|place| match &place.service {
            Some(asking) => *asking == name,
            None => !own(place.section),
        });
        let replaced = asked.iter().find(|place| place.service.is_none() && own(place.section));
        if let Some(place) = replaced.filter(|_| !asks) {
            found.push(Exception { service: name, section: place.section });
        }
    }
    found
}

fn of_list(
    view: View<'_>,
    parameter: &str,
    section: Section,
    service: Option<String>,
    class: Option<&str>,
    depth: usize,
    seen: &mut usize,
) -> Result<Vec<Consultation>, Fault> {
    let value = view.get(parameter)?;
    let classes = view.get("smtpd_restriction_classes")?;
    let classes = split_list(&classes);
    let mut found = Vec::new();
    let mut before: Vec<String> = Vec::new();
    let words = split_list(&value);
    let mut at = 0;
    while let Some(word) = words.get(at) {
        at += 1;
        if word.eq_ignore_ascii_case("check_policy_service")
            && let Some(argument) = words.get(at)
        {
            at += 1;
            let (endpoint, settings) = endpoint_of(argument);
            let (service, class) = (service.clone(), class.map(str::to_owned));
            found.push(Consultation { service, section, class, endpoint, settings, before: before.clone() });
            before.push(format!("check_policy_service {argument}"));
            continue;
        }
        if depth < MAX_DEPTH && classes.contains(word) {
            *seen += 1;
            if *seen > MAX_CLASSES {
                let what = format!("more than {MAX_CLASSES} restriction classes stand in each other");
                return Err(view.fault(parameter, what));
            }
            for mut inner in of_list(view, word, section, service.clone(), Some(word), depth + 1, seen)? {
                inner.before.splice(0..0, before.iter().cloned());
                found.push(inner);
            }
        }
        before.push((*word).to_owned());
    }
    Ok(found)
}

/// `inet:host:port`, or `{ inet:host:port, name=value, { name = value } }` with its settings.
pub(super) fn endpoint_of(argument: &str) -> (String, BTreeMap<String, String>) {
    let Some((inside, "")) = enclosed(argument, b'{', b'}').filter(|_| argument.starts_with('{')) else {
        return (argument.to_owned(), BTreeMap::new());
    };
    let words = split_list(inside);
    let mut settings = BTreeMap::new();
    for word in words.iter().skip(1) {
        let text = match enclosed(word, b'{', b'}') {
            Some((inside, "")) if word.starts_with('{') => inside,
            _ => word,
        };
        if let Ok((name, value)) = split_assignment(text) {
            settings.insert(name.to_owned(), value.to_owned());
        }
    }
    (words.first().copied().unwrap_or_default().to_owned(), settings)
}

/// Does Postfix's `endpoint` lead to the listener `ours` (`127.0.0.1:3579`, `[::1]:3579`, `unix:/path`)?
/// `queue_directory` is where Postfix looks for `unix:` names without a leading slash, and where a service in
/// a chroot looks for all of them.
pub fn is_same_endpoint(endpoint: &str, ours: &str, queue_directory: &str) -> bool {
    match (endpoint.strip_prefix("unix:"), ours.strip_prefix("unix:")) {
        (Some(theirs), Some(ours)) => {
            let below =
                |name: &str| format!("{}/{}", queue_directory.trim_end_matches('/'), name.trim_start_matches('/'));
            theirs == ours || below(theirs) == ours
        }
        (None, None) => inet(endpoint).is_some_and(|theirs| inet(ours) == Some(theirs)),
        _ => false,
    }
}

fn inet(text: &str) -> Option<(String, u16)> {
    let text = text.strip_prefix("inet:").unwrap_or(text);
    let (host, port) = text.rsplit_once(':').unwrap_or(("localhost", text));
    let host = host.trim_start_matches('[').trim_end_matches(']');
    let host = if host.eq_ignore_ascii_case("localhost") || host.is_empty() { "127.0.0.1" } else { host };
    Some((host.to_owned(), port.parse().ok()?))
}

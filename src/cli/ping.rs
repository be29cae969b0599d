//! `-p`: does every listener of the configuration answer?
//!
//! Asks as monitors do (`checkserver`), which the connection's own session answers: neither a module nor
//! the database has a part in it. Only a listener on port 0 needs the running daemon's control socket: it
//! knows which port that has become. What comes of it is one line, for monitors.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::path::Path;
use std::time::Duration;

use actors::runtime_settings::ListenerSettings;
use actors::stats::report::ListenerReport;
use libvalvula::{Client, Endpoint};

use super::control::{ask, understood};
use crate::control::protocol::Command;

/// All are asked at once, so that the answer is there within 3 s whatever hangs.
const TIMEOUT: Duration = Duration::from_millis(2200);
/// For the daemon to say which port a port of 0 has become.
const PORTS: Duration = Duration::from_millis(500);

/// What came of asking every listener.
#[derive(Debug, PartialEq, Eq)]
pub struct Pinged {
    /// How many listeners there are.
    pub all: usize,
    /// What is wrong with each that does not answer.
    pub silent: Vec<String>,
}

impl Pinged {
    /// One line, whatever it holds.
    pub fn line(&self) -> String {
        let answer = self.all - self.silent.len();
        let faults: String = self.silent.iter().map(|silent| format!("; {silent}")).collect();
        format!("{answer} of {} listeners answer{faults}", self.all).replace('\n', " ")
    }
}

/// Puts the ports in place that the daemon behind `control` got for ports of 0, where it can be asked;
/// otherwise such a listener is reported, by [`ping`], as one that can't be asked.
pub fn resolve_ports(listeners: &mut [ListenerSettings], control: &Path) {
    if !listeners.iter().any(|listener| is_port_0(&listener.endpoint)) {
        return;
    }
    let running: Vec<ListenerReport> =
        ask(control, &Command::Listeners, PORTS).and_then(understood).unwrap_or_default();
    for listener in listeners.iter_mut().filter(|listener| is_port_0(&listener.endpoint)) {
        let found = running.iter().find(|found| found.name == *listener.name);
        if let Some(address) = found.and_then(|found| found.address.parse().ok()) {
            listener.endpoint = address;
        }
    }
}

fn is_port_0(endpoint: &Endpoint) -> bool {
    matches!(endpoint, Endpoint::Tcp(address) if address.port() == 0)
}

/// Asks every listener, all at once.
pub async fn ping(listeners: &[ListenerSettings]) -> Pinged {
    let asked: Vec<_> = listeners
        .iter()
        .map(|listener| {
            let (name, address) = (listener.name.clone(), reachable(&listener.endpoint));
            tokio::spawn(async move {
                if is_port_0(&address) {
                    let why = "which port it has is known to a running daemon only, and none answers";
                    return Err(format!("listener {name}: {why}"));
                }
                Client::check_server(&address, TIMEOUT).await.map_err(|error| format!("listener {name}: {error}"))
            })
        })
        .collect();
    let mut silent = Vec::new();
    for answer in asked {
        match answer.await {
            Ok(Ok(())) => {}
            Ok(Err(line)) => silent.push(line),
            Err(error) => silent.push(format!("could not ask: {error}")),
        }
    }
    Pinged { all: listeners.len(), silent }
}

/// A listener on every address is asked on loopback.
pub(super) fn reachable(endpoint: &Endpoint) -> Endpoint {
    match endpoint {
        Endpoint::Tcp(address) if address.ip().is_unspecified() => {
            let mut address = *address;
            address.set_ip(match address.ip() {
                IpAddr::V4(_) => Ipv4Addr::LOCALHOST.into(),
                IpAddr::V6(_) => Ipv6Addr::LOCALHOST.into(),
            });
            Endpoint::Tcp(address)
        }
        other => other.clone(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_listener_on_every_address_is_asked_on_loopback() {
        for (listens, asked) in [
            ("0.0.0.0:25", "127.0.0.1:25"),
            ("[::]:25", "[::1]:25"),
            ("192.0.2.1:25", "192.0.2.1:25"),
            ("unix:/x", "unix:/x"),
        ] {
            assert_eq!(reachable(&listens.parse().unwrap()).to_string(), asked);
        }
    }
}

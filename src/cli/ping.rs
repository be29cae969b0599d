//! `-p`: does every listener of the configuration answer?
//!
//! Asks as monitors do (`checkserver`), which the connection's own session answers: neither a module nor
//! the database has a part in it.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::time::Duration;

use actors::runtime_settings::ListenerSettings;
use libvalvula::{Client, Endpoint};

/// All are asked at once, so that the answer is there within 3 s whatever hangs.
const TIMEOUT: Duration = Duration::from_millis(2500);

/// A line for each listener that does not answer.
pub async fn ping(listeners: &[ListenerSettings]) -> Vec<String> {
    let asked: Vec<_> = listeners
        .iter()
        .map(|listener| {
            let (name, address) = (listener.name.clone(), reachable(&listener.endpoint));
            tokio::spawn(async move {
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
    silent
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

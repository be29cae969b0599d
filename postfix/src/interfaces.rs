//! Which addresses are this machine's: `inet_interfaces`, `proxy_interfaces`, `inet_protocols`.
//!
//! Mail for `user@[192.0.2.1]` is local when the address is one of them. Asked only for such domains: the
//! names in the two parameters are resolved then, not when the configuration is read.

use std::net::IpAddr;
use std::time::Duration;

use crate::list::split_list;

/// The two parameters, expanded.
#[derive(Debug, Clone)]
pub(crate) struct Interfaces {
    pub inet: String,
    pub proxy: String,
    pub protocols: String,
}

/// The address that `[address]` or `[IPv6:address]` says; `None` if it says none.
pub(crate) fn literal(domain: &[u8]) -> Option<IpAddr> {
    let text = std::str::from_utf8(domain).ok()?.strip_prefix('[')?.strip_suffix(']')?;
    let text = match text.get(..5) {
        Some(prefix) if prefix.eq_ignore_ascii_case("ipv6:") => &text[5..],
        _ => text,
    };
    text.parse().ok()
}

impl Interfaces {
    /// Is `address` one of ours, and by which entry of which parameter? `Err`: an entry could not be
    /// resolved.
    pub async fn has(
        &self,
        address: IpAddr,
        timeout: Duration,
    ) -> Result<Option<(&'static str, String)>, (&'static str, String, String)> {
        let enabled = match address {
            IpAddr::V4(_) => ["all", "ipv4"],
            IpAddr::V6(_) => ["all", "ipv6"],
        };
        if !split_list(&self.protocols).iter().any(|word| enabled.iter().any(|name| word.eq_ignore_ascii_case(name))) {
            return Ok(None);
        }
        let mut failure = None;
        for (parameter, value) in [("inet_interfaces", &self.inet), ("proxy_interfaces", &self.proxy)] {
            for entry in split_list(value) {
                match entry_has(entry, address, timeout).await {
                    Ok(true) => return Ok(Some((parameter, entry.to_owned()))),
                    Ok(false) => {}
                    Err(why) => failure = Some((parameter, entry.to_owned(), why)),
                }
            }
        }
        match failure {
            Some(failure) => Err(failure),
            None => Ok(None),
        }
    }
}

async fn entry_has(entry: &str, address: IpAddr, timeout: Duration) -> Result<bool, String> {
    if entry.eq_ignore_ascii_case("all") {
        return Ok(machine_addresses()?.contains(&address));
    }
    if entry.eq_ignore_ascii_case("loopback-only") {
        return Ok(address.is_loopback() && machine_addresses()?.contains(&address));
    }
    let host = entry.trim_start_matches('[').trim_end_matches(']');
    if let Ok(known) = host.parse::<IpAddr>() {
        return Ok(known == address);
    }
    match tokio::time::timeout(timeout, tokio::net::lookup_host((host, 0))).await {
        Ok(Ok(mut found)) => Ok(found.any(|socket| socket.ip() == address)),
        Ok(Err(error)) => Err(error.to_string()),
        Err(_) => Err("its address was not found in time".to_owned()),
    }
}

/// The addresses of this machine's interfaces.
fn machine_addresses() -> Result<Vec<IpAddr>, String> {
    let interfaces = nix::ifaddrs::getifaddrs().map_err(|error| format!("interface addresses: {error}"))?;
    let address = |storage: nix::sys::socket::SockaddrStorage| {
        let v4 = storage.as_sockaddr_in().map(|v4| IpAddr::V4(v4.ip()));
        v4.or_else(|| storage.as_sockaddr_in6().map(|v6| IpAddr::V6(v6.ip())))
    };
    Ok(interfaces.filter_map(|interface| interface.address).filter_map(address).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn literals() {
        assert_eq!(literal(b"[192.0.2.1]"), Some("192.0.2.1".parse().unwrap()));
        assert_eq!(literal(b"[ipv6:2001:db8::1]"), Some("2001:db8::1".parse().unwrap()));
        for text in [&b"192.0.2.1"[..], b"[192.0.2]", b"[example.com]", b"[]", b"[", b"[\xff]"] {
            assert_eq!(literal(text), None);
        }
    }

    #[tokio::test]
    async fn own_addresses_are_those_of_the_parameters() {
        let interfaces = |inet: &str, proxy: &str, protocols: &str| Interfaces {
            inet: inet.into(),
            proxy: proxy.into(),
            protocols: protocols.into(),
        };
        let loopback: IpAddr = "127.0.0.1".parse().unwrap();
        let other: IpAddr = "192.0.2.99".parse().unwrap();
        let second = Duration::from_secs(1);
        for (set, address, expected) in [
            (interfaces("all", "", "all"), loopback, Some("inet_interfaces")),
            (interfaces("loopback-only", "", "ipv4, ipv6"), loopback, Some("inet_interfaces")),
            (interfaces("all", "", "all"), other, None),
            (interfaces("loopback-only", "192.0.2.99", "all"), other, Some("proxy_interfaces")),
            (interfaces("loopback-only", "192.0.2.99", "ipv6"), other, None),
            (interfaces("192.0.2.99", "", "all"), loopback, None),
        ] {
            let found = set.has(address, second).await.unwrap().map(|(parameter, _)| parameter);
            assert_eq!(found, expected, "{set:?}");
        }
    }
}

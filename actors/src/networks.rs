//! Networks: who may connect to a listener, and which addresses are nobody else's business.
//!
//! Stands beside the ports, which ask for each connection, and the configuration, which asks whether a
//! listener could be reached from anywhere. An address that is none of the lists is refused.

use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::str::FromStr;

use ipnet::{IpNet, Ipv4Net, Ipv6Net};

/// A list of networks.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Networks(Vec<IpNet>);

/// Why a text is no network.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum NetworkError {
    /// Neither an address nor a network.
    #[error("{0:?} is no network: expected for example \"10.0.0.0/8\", \"192.0.2.7\" or \"2001:db8::/32\"")]
    Malformed(String),
    /// Bits behind the prefix are set: it is not clear what is meant.
    #[error("{0:?} has bits behind its prefix: expected \"{1}\", or an address without a prefix")]
    HostBits(String, IpNet),
}

const fn v4(a: u8, b: u8, prefix: u8) -> IpNet {
    IpNet::V4(Ipv4Net::new_assert(Ipv4Addr::new(a, b, 0, 0), prefix))
}

const fn v6(first: u16, prefix: u8) -> IpNet {
    IpNet::V6(Ipv6Net::new_assert(Ipv6Addr::new(first, 0, 0, 0, 0, 0, 0, 0), prefix))
}

/// This machine itself.
const LOOPBACK: [IpNet; 2] =
    [v4(127, 0, 8), IpNet::V6(Ipv6Net::new_assert(Ipv6Addr::new(0, 0, 0, 0, 0, 0, 0, 1), 128))];

/// What no router of the internet forwards: RFC 1918, RFC 3927, RFC 4193, RFC 4291 section 2.5.6.
const PRIVATE: [IpNet; 6] =
    [v4(10, 0, 8), v4(172, 16, 12), v4(192, 168, 16), v4(169, 254, 16), v6(0xfc00, 7), v6(0xfe80, 10)];

impl Networks {
    /// This machine only.
    pub fn loopback() -> Self {
        Self(LOOPBACK.to_vec())
    }

    /// This machine and private networks: who may connect when nothing else is said.
    pub fn private() -> Self {
        Self(LOOPBACK.into_iter().chain(PRIVATE).collect())
    }

    /// The networks of `texts`: addresses, or networks with a prefix.
    ///
    /// # Errors
    /// Each text that is none.
    pub fn read<T: AsRef<str>>(texts: &[T]) -> Result<Self, Vec<NetworkError>> {
        let (mut networks, mut errors) = (Vec::new(), Vec::new());
        for text in texts {
            match network(text.as_ref()) {
                Ok(network) => networks.push(network),
                Err(error) => errors.push(error),
            }
        }
        if errors.is_empty() { Ok(Self(networks)) } else { Err(errors) }
    }

    /// Whether `address` is in one of them. An IPv4 address within IPv6 is the IPv4 address.
    pub fn contain(&self, address: IpAddr) -> bool {
        let address = address.to_canonical();
        self.0.iter().any(|network| network.contains(&address))
    }

    /// Whether a socket bound to `address` can be reached from nowhere else. "Every address" is reached
    /// through each that the machine has, whichever these are tomorrow.
    pub fn enclose(&self, address: IpAddr) -> bool {
        !address.to_canonical().is_unspecified() && self.contain(address)
    }
}

impl fmt::Display for Networks {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        let networks: Vec<_> = self.0.iter().map(ToString::to_string).collect();
        out.write_str(&networks.join(", "))
    }
}

fn network(text: &str) -> Result<IpNet, NetworkError> {
    let malformed = || NetworkError::Malformed(text.to_owned());
    let network = match IpNet::from_str(text) {
        Ok(network) => network,
        Err(_) => IpNet::from(text.parse::<IpAddr>().map_err(|_| malformed())?),
    };
    // ::ffff:10.0.0.0/104 is 10.0.0.0/8: addresses are compared in that form.
    let network = match network {
        IpNet::V6(v6) => match (v6.addr().to_ipv4_mapped(), v6.prefix_len().checked_sub(96)) {
            (Some(v4), Some(prefix)) => IpNet::V4(Ipv4Net::new(v4, prefix).map_err(|_| malformed())?),
            _ => network,
        },
        IpNet::V4(_) => network,
    };
    if network.addr() == network.network() {
        Ok(network)
    } else {
        Err(NetworkError::HostBits(text.to_owned(), network.trunc()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ip(text: &str) -> IpAddr {
        text.parse().expect(text)
    }

    #[test]
    fn loopback_and_private_networks_are_let_in_and_nobody_else() {
        let networks = Networks::private();
        for inside in [
            "127.0.0.1",
            "127.255.255.254",
            "::1",
            "10.1.2.3",
            "172.16.0.1",
            "172.31.255.255",
            "192.168.9.9",
            "169.254.1.1",
            "fd00::1",
            "fe80::1",
            "::ffff:10.0.0.1",
        ] {
            assert!(networks.contain(ip(inside)), "{inside}");
        }
        for outside in [
            "0.0.0.0",
            "8.8.8.8",
            "172.15.255.255",
            "172.32.0.0",
            "192.169.0.1",
            "11.0.0.1",
            "100.64.0.1",
            "::",
            "2001:db8::1",
            "::2",
            "fec0::1",
            "::ffff:8.8.8.8",
        ] {
            assert!(!networks.contain(ip(outside)), "{outside}");
        }
        assert!(Networks::loopback().contain(ip("127.9.9.9")) && !Networks::loopback().contain(ip("10.0.0.1")));
    }

    #[test]
    fn every_address_is_enclosed_by_no_list() {
        let all = Networks::read(&["0.0.0.0/0", "::/0"]).expect("networks");
        for every in ["0.0.0.0", "::"] {
            assert!(!Networks::private().enclose(ip(every)) && !all.enclose(ip(every)), "{every}");
            assert!(all.contain(ip(every)));
        }
        assert!(Networks::private().enclose(ip("192.168.0.1")) && !Networks::private().enclose(ip("192.0.2.1")));
    }

    #[test]
    fn networks_are_read_and_what_is_none_is_named() {
        let networks = Networks::read(&["192.0.2.7", "2001:db8::/32", "::ffff:198.51.100.0/120"]).expect("networks");
        assert_eq!(networks.to_string(), "192.0.2.7/32, 2001:db8::/32, 198.51.100.0/24");
        assert!(networks.contain(ip("198.51.100.9")) && !networks.contain(ip("192.0.2.8")));
        let errors = Networks::read(&["10.0.0.0/8", "10.0.0.1/8", "example.com", "10.0.0.0/33", ""]).expect_err("bad");
        let shown: Vec<_> = errors.iter().map(ToString::to_string).collect();
        assert_eq!(shown.len(), 4, "{shown:?}");
        assert!(shown[0].contains("\"10.0.0.1/8\"") && shown[0].contains("10.0.0.0/8"), "{shown:?}");
        assert!(shown[1].contains("\"example.com\"") && shown[2].contains("\"10.0.0.0/33\""), "{shown:?}");
    }
}

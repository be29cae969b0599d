//! A list of networks in one column.

use std::net::IpAddr;

use ipnet::{IpNet, Ipv4Net};

/// The networks of a row.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Networks(Box<[IpNet]>);

impl Networks {
    /// Reads a list split at `,` or blanks; a single address is a network of one. Gives the first entry that
    /// is neither.
    pub(super) fn parse(list: &str) -> Result<Self, String> {
        let entries = list.split(|c: char| c == ',' || c.is_ascii_whitespace()).filter(|entry| !entry.is_empty());
        entries.map(|entry| network(entry).ok_or_else(|| entry.to_owned())).collect::<Result<_, _>>().map(Self)
    }

    /// Whether one of them contains `address`.
    pub(super) fn contains(&self, address: IpAddr) -> bool {
        let address = address.to_canonical();
        self.0.iter().any(|network| network.contains(&address))
    }
}

/// IPv4 written as IPv6 (`::ffff:192.0.2.0/120`) becomes IPv4, as clients' addresses do.
fn network(entry: &str) -> Option<IpNet> {
    let network = match entry.parse() {
        Ok(network) => network,
        Err(_) => IpNet::from(entry.parse::<IpAddr>().ok()?),
    };
    Some(match network {
        IpNet::V6(v6) => match (v6.addr().to_ipv4_mapped(), v6.prefix_len().checked_sub(96)) {
            (Some(v4), Some(prefix)) => IpNet::V4(Ipv4Net::new(v4, prefix).ok()?),
            _ => network,
        },
        IpNet::V4(_) => network,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_list_is_split_at_comma_or_blanks_and_an_address_is_a_network_of_one() {
        let networks = Networks::parse("192.0.2.0/24, 198.51.100.7\t2001:db8::/32\n2001:db9::1,::ffff:203.0.113.0/120").unwrap();
        let inside = ["192.0.2.0", "192.0.2.255", "198.51.100.7", "2001:db8:ffff::1", "2001:db9::1", "203.0.113.9", "::ffff:192.0.2.9"];
        let outside = ["192.0.3.0", "198.51.100.8", "2001:db7::1", "2001:db9::2", "203.0.114.1", "::1", "0.0.0.0"];
        for (addresses, expected) in [(inside, true), (outside, false)] {
            for address in addresses {
                assert_eq!(networks.contains(address.parse().unwrap()), expected, "{address}");
            }
        }
    }

    #[test]
    fn a_network_written_with_host_bits_is_that_network() {
        assert!(Networks::parse("10.1.2.3/8").unwrap().contains("10.200.0.1".parse().unwrap()));
    }

    #[test]
    fn an_empty_list_contains_nothing_and_a_wrong_entry_is_named() {
        for empty in ["", " , "] {
            assert!(!Networks::parse(empty).unwrap().contains("192.0.2.1".parse().unwrap()));
        }
        for wrong in ["10.0.0.300", "10.0.0.0/33", "example.com", "10.0.0.0/", "10"] {
            assert_eq!(Networks::parse(&format!("192.0.2.1, {wrong}")), Err(wrong.to_owned()));
        }
    }
}

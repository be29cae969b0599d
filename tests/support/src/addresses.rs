//! Loopback addresses that are free now and stay so until the daemon binds them.
//!
//! The kernel takes the ports of outgoing connections from 32768 up: these are below. IPv4 addresses
//! are the process's own within 127.0.0.0/8, so that two runs at once never meet.

use std::collections::HashSet;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, TcpListener};
use std::sync::Mutex;
use std::time::{SystemTime, UNIX_EPOCH};

/// A free address within 127.0.0.0/8.
pub fn loopback() -> SocketAddr {
    let id = std::process::id();
    let part = |divisor: u32| u8::try_from(id / divisor % 250).expect("below 250") + 1;
    free(Ipv4Addr::new(127, part(1), part(250), part(62_500)).into())
}

/// A free port of `::1`.
pub fn loopback6() -> SocketAddr {
    free(Ipv6Addr::LOCALHOST.into())
}

fn free(ip: IpAddr) -> SocketAddr {
    static GIVEN: Mutex<Option<HashSet<SocketAddr>>> = Mutex::new(None);
    let mut given = GIVEN.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
    let given = given.get_or_insert_default();
    let start = SystemTime::now().duration_since(UNIX_EPOCH).expect("after 1970").subsec_nanos();
    for step in 0..10_000 {
        let port = u16::try_from(10_000 + (start / 1000 + step * 7919) % 10_000).expect("below 20000");
        let address = SocketAddr::new(ip, port);
        if !given.contains(&address) && TcpListener::bind(address).is_ok() {
            given.insert(address);
            return address;
        }
    }
    panic!("no free port on {ip}");
}

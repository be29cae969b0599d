//! `[metrics]`: where health and metrics are shown, and to whom.

use std::net::SocketAddr;

use actors::networks::Networks;
use actors::settings::Section;

use super::listener;

/// `[metrics]`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Metrics {
    /// Where; absent: nowhere.
    pub address: Option<SocketAddr>,
    /// To whom.
    pub allow: Networks,
}

impl Metrics {
    pub(super) fn read(mut section: Section) -> Self {
        let address = address(&mut section);
        let allow = listener::networks(&mut section, "allow");
        if let (Some(address), None) = (address, &allow)
            && !Networks::loopback().enclose(address.ip())
        {
            section.fault(
                "address",
                format!("{address} can be reached from elsewhere: say in allow who may, or listen on 127.0.0.1"),
            );
        }
        section.finish();
        Self { address, allow: allow.unwrap_or_else(Networks::loopback) }
    }
}

fn address(section: &mut Section) -> Option<SocketAddr> {
    let text: String = section.value("address")?;
    match text.parse() {
        Ok(address) => Some(address),
        Err(_) => {
            section
                .fault("address", format!("{text:?} is no address and port: expected for example \"127.0.0.1:9579\""));
            None
        }
    }
}

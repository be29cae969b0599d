//! `cidr:` tables: networks, asked for addresses.

use std::net::IpAddr;

use ipnet::IpNet;

use crate::lines::{is_blank, logical_lines};

use super::patterns::{Builder, Line, Matcher, Part, Rules, Then};

/// Parses a file; `None` when there is something in it that we cannot be sure of.
pub(super) fn parse(text: &str) -> Option<Rules> {
    let mut builder = Builder::default();
    for line in logical_lines(text) {
        match Line::of(&line.text) {
            Line::EndIf => builder.end_if()?,
            Line::If(text) => {
                let (network, negated, rest) = pattern(text)?;
                if !rest.is_empty() {
                    return None;
                }
                builder.rule(Matcher::Network(network), negated, Then::ElseSkipTo(0));
            }
            Line::Rule(text) => {
                let (network, negated, rest) = pattern(text)?;
                if rest.is_empty() {
                    return None;
                }
                builder.rule(Matcher::Network(network), negated, Then::Result(vec![Part::Text(rest.to_owned())]));
            }
        }
    }
    builder.finish()
}

/// `[!]address[/length] rest`. Postfix refuses a network whose host part is not zero: so do we, by not
/// being sure.
fn pattern(text: &str) -> Option<(IpNet, bool, &str)> {
    let body = text.trim_start_matches(|c| c == '!' || is_blank(c));
    let negated = text[..text.len() - body.len()].matches('!').count() % 2 == 1;
    let end = body.find(is_blank).unwrap_or(body.len());
    let network = match body[..end].parse::<IpAddr>() {
        Ok(address) => IpNet::from(address),
        Err(_) => body[..end].parse::<IpNet>().ok().filter(|network| network.trunc() == *network)?,
    };
    Some((network, negated, body[end..].trim_matches(is_blank)))
}

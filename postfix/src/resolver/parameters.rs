//! The parameters that decide what is local, expanded and parsed.

use std::path::Path;

use libvalvula::domain_key;

use crate::config::View;
use crate::fault::Fault;
use crate::interfaces::Interfaces;
use crate::lines::text_of;
use crate::list::{MatchList, Reading, Subdomains, split_list};
use crate::maps::Maps;
use crate::tables::Tables;

/// The parameters, in the order in which Postfix consults them.
#[derive(Debug)]
pub(super) struct Parameters {
    pub myhostname: Vec<u8>,
    pub myorigin: Vec<u8>,
    pub mydestination: MatchList,
    pub interfaces: Interfaces,
    pub virtual_alias_domains: MatchList,
    pub virtual_mailbox_domains: MatchList,
    /// Empty unless they are counted.
    pub relay_domains: MatchList,
    pub recipient_canonical_maps: Maps,
    pub canonical_maps: Maps,
    pub virtual_alias_maps: Maps,
    pub local_recipient_maps: Maps,
    pub virtual_mailbox_maps: Maps,
    pub relay_recipient_maps: Maps,
    pub sender_login_maps: Maps,
    pub recipient_delimiter: Vec<u8>,
    pub owner_request_special: bool,
    pub double_bounce_sender: Vec<u8>,
    pub allow_percent_hack: bool,
    pub swap_bangpath: bool,
    pub allow_untrusted_routing: bool,
}

impl Parameters {
    /// Reads them all; every fault is reported.
    pub fn read(view: View<'_>, tables: &Tables, count_relay: bool) -> Result<(Self, Reading), Vec<Fault>> {
        let mut reader = Reader { view, tables, reading: Reading::default(), faults: Vec::new() };
        let parameters = Self {
            myhostname: domain_key(reader.get("myhostname").as_bytes()).into_owned(),
            myorigin: reader.origin(),
            mydestination: reader.list("mydestination"),
            interfaces: Interfaces {
                inet: reader.get("inet_interfaces"),
                proxy: reader.get("proxy_interfaces"),
                protocols: reader.get("inet_protocols"),
            },
            virtual_alias_domains: reader.list("virtual_alias_domains"),
            virtual_mailbox_domains: reader.list("virtual_mailbox_domains"),
            relay_domains: match count_relay {
                true => reader.relay_domains(),
                false => MatchList::parse("relay_domains", "", Subdomains::None, tables, &mut Reading::default()),
            },
            recipient_canonical_maps: reader.maps("recipient_canonical_maps"),
            canonical_maps: reader.maps("canonical_maps"),
            virtual_alias_maps: reader.maps("virtual_alias_maps"),
            local_recipient_maps: reader.maps("local_recipient_maps"),
            virtual_mailbox_maps: reader.maps("virtual_mailbox_maps"),
            relay_recipient_maps: reader.maps("relay_recipient_maps"),
            sender_login_maps: reader.maps("smtpd_sender_login_maps"),
            recipient_delimiter: reader.get("recipient_delimiter").into_bytes(),
            owner_request_special: reader.flag("owner_request_special"),
            double_bounce_sender: reader.get("double_bounce_sender").to_ascii_lowercase().into_bytes(),
            allow_percent_hack: reader.flag("allow_percent_hack"),
            swap_bangpath: reader.flag("swap_bangpath"),
            allow_untrusted_routing: reader.flag("allow_untrusted_routing"),
        };
        if reader.faults.is_empty() { Ok((parameters, reader.reading)) } else { Err(reader.faults) }
    }
}

struct Reader<'a> {
    view: View<'a>,
    tables: &'a Tables,
    reading: Reading,
    faults: Vec<Fault>,
}

impl Reader<'_> {
    fn get(&mut self, name: &str) -> String {
        self.view.get(name).unwrap_or_else(|fault| {
            self.faults.push(fault);
            String::new()
        })
    }

    fn flag(&mut self, name: &str) -> bool {
        self.view.flag(name).unwrap_or_else(|fault| {
            self.faults.push(fault);
            false
        })
    }

    fn list(&mut self, name: &str) -> MatchList {
        let value = self.get(name);
        MatchList::parse(name, &value, Subdomains::None, self.tables, &mut self.reading)
    }

    fn maps(&mut self, name: &str) -> Maps {
        let value = self.get(name);
        Maps::parse(name, &value, self.tables)
    }

    fn relay_domains(&mut self) -> MatchList {
        let value = self.get("relay_domains");
        let parents = self.get("parent_domain_matches_subdomains");
        let listed = split_list(&parents).iter().any(|word| word.eq_ignore_ascii_case("relay_domains"));
        let subdomains = if listed { Subdomains::Parent } else { Subdomains::DotParent };
        MatchList::parse("relay_domains", &value, subdomains, self.tables, &mut self.reading)
    }

    /// `myorigin`. Debian's Postfix reads its first line from a file if it is a path.
    fn origin(&mut self) -> Vec<u8> {
        let value = self.get("myorigin");
        if !value.starts_with('/') {
            return domain_key(value.as_bytes()).into_owned();
        }
        let file = Path::new(&value);
        self.reading.files.insert(file.to_owned());
        match std::fs::read(file) {
            Ok(bytes) => {
                let text = text_of(&bytes);
                let line = text.lines().next().unwrap_or_default().trim();
                domain_key(line.as_bytes()).into_owned()
            }
            Err(error) => {
                let fault = self.view.fault("myorigin", format!("{value}: {error}"));
                self.faults.push(fault);
                Vec::new()
            }
        }
    }
}

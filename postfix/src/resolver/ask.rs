//! The questions.

use libvalvula::AddressKey;

use crate::answer::{Answer, AnyOf, Evidence, Outcome, Verdict};
use crate::list::split_list;
use crate::maps::{Maps, Wanted};

use super::classes::{Class, spellings};
use super::{Postfix, Resolver};

/// Who may use a sender address (`smtpd_sender_login_maps`).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Owners {
    /// The logins; `None`: could not ask. Empty when the address has no owner.
    pub logins: Option<Vec<AddressKey>>,
    /// What decided.
    pub evidence: Evidence,
}

impl Resolver {
    /// Is `domain` local? In any spelling; the empty domain is not.
    pub async fn is_local_domain(&self, domain: &[u8]) -> Answer {
        let domain = libvalvula::domain_key(domain);
        let mut evidence = Evidence::default();
        let verdict = self.local_domain(&domain, &mut evidence).await;
        Answer { verdict, evidence }
    }

    async fn local_domain(&self, domain: &[u8], evidence: &mut Evidence) -> Verdict {
        if domain.is_empty() {
            return Verdict::No;
        }
        let mut any = AnyOf::new();
        any.add(self.own.domain(domain, evidence));
        if any.verdict() != Verdict::Yes {
            any.add(match &self.postfix {
                Some(postfix) => self.classes(postfix, &spellings(domain), evidence).await.verdict(),
                None => self.without_postfix(domain, evidence),
            });
        }
        any.verdict()
    }

    /// Is `address` one that exists here: its domain is local, and a map of its domain's class has it? An
    /// address without domain is one of `$myorigin`; the empty address is not local.
    pub async fn is_local_address(&self, address: &AddressKey) -> Answer {
        let mut evidence = Evidence::default();
        let verdict = self.local_address(address, &mut evidence).await;
        Answer { verdict, evidence }
    }

    async fn local_address(&self, address: &AddressKey, evidence: &mut Evidence) -> Verdict {
        if address.is_empty() {
            return Verdict::No;
        }
        let Some(postfix) = &self.postfix else {
            let mut any = AnyOf::new();
            let (local, domain) = (address.local_part(), address.domain());
            any.add(self.own.address(local, domain, b"", evidence));
            if any.verdict() != Verdict::Yes {
                any.add(self.own_domain_address(domain, evidence));
                any.add(self.without_postfix(address.as_bytes(), evidence));
            }
            return any.verdict();
        };
        let (local, domain) = self.routed(postfix, address, evidence).await;
        let mut any = AnyOf::new();
        any.add(self.own.address(&local, &domain, &postfix.parameters.recipient_delimiter, evidence));
        if any.verdict() == Verdict::Yes {
            return Verdict::Yes;
        }
        let names = spellings(&domain);
        let classes = self.classes(postfix, &names, evidence).await;
        if classes.possible.is_empty() {
            any.add(self.own_domain_address(&domain, evidence));
            return any.verdict();
        }
        any.add(self.known(postfix, &local, &names, &classes.possible, classes.certain, evidence).await);
        any.verdict()
    }

    /// A domain of `local_domains` that no class of Postfix has: where we list no address at all, all of
    /// its addresses count, as with an empty `local_recipient_maps`.
    fn own_domain_address(&self, domain: &[u8], evidence: &mut Evidence) -> Verdict {
        if self.lists_addresses() { Verdict::No } else { self.own.domain(domain, evidence) }
    }

    /// Does a map of one of the classes have the address?
    async fn known(
        &self,
        postfix: &Postfix,
        local: &[u8],
        names: &[Vec<u8>],
        classes: &[Class],
        certain: bool,
        evidence: &mut Evidence,
    ) -> Verdict {
        let parameters = &postfix.parameters;
        let wanted = Wanted {
            local,
            domains: names,
            bare_names: self.bare_names(postfix, names, classes, certain),
            delimiters: &parameters.recipient_delimiter,
            owner_request_special: parameters.owner_request_special,
        };
        let mut everywhere = AnyOf::new();
        for maps in [&parameters.recipient_canonical_maps, &parameters.canonical_maps, &parameters.virtual_alias_maps] {
            everywhere.add(maps.has(&wanted, evidence).await);
            if everywhere.verdict() == Verdict::Yes {
                // An address in them is known whichever class its domain is of; that the domain is of one
                // at all must be sure.
                return if certain { Verdict::Yes } else { Verdict::CouldNotAsk };
            }
        }
        let mut verdicts = Vec::new();
        for class in classes {
            let mut any = everywhere;
            any.add(match class {
                Class::Local => self.known_user(postfix, &wanted, evidence).await,
                Class::VirtualAlias => Verdict::No,
                Class::VirtualMailbox => {
                    listed(&parameters.virtual_mailbox_maps, "virtual_mailbox_maps", &wanted, evidence).await
                }
                Class::Relay => {
                    listed(&parameters.relay_recipient_maps, "relay_recipient_maps", &wanted, evidence).await
                }
            });
            verdicts.push(any.verdict());
        }
        if !certain {
            // It may also be of no class, and then it is not local.
            verdicts.push(Verdict::No);
        }
        match verdicts.first() {
            Some(first) if verdicts.iter().all(|verdict| verdict == first) => *first,
            _ => Verdict::CouldNotAsk,
        }
    }

    async fn known_user(&self, postfix: &Postfix, wanted: &Wanted<'_>, evidence: &mut Evidence) -> Verdict {
        let parameters = &postfix.parameters;
        let absorbed: [&[u8]; 3] = [b"postmaster", b"mailer-daemon", &parameters.double_bounce_sender];
        if absorbed.contains(&wanted.local) {
            evidence.push("mydestination", "always accepted", wanted.local, Outcome::Has);
            return Verdict::Yes;
        }
        listed(&parameters.local_recipient_maps, "local_recipient_maps", wanted, evidence).await
    }

    /// Whether the users of a domain are asked for by their bare names: `$myorigin` and `mydestination`.
    fn bare_names(&self, postfix: &Postfix, names: &[Vec<u8>], classes: &[Class], certain: bool) -> Verdict {
        if names[0] == postfix.parameters.myorigin {
            return Verdict::Yes;
        }
        match classes {
            [Class::Local] if certain => Verdict::Yes,
            // $myhostname comes after lists that may have the domain.
            _ if classes.contains(&Class::Local) => Verdict::CouldNotAsk,
            _ => Verdict::No,
        }
    }

    /// Is mail for `recipient` delivered here: is its domain local? An address without domain is one of
    /// `$myorigin`. A recipient that Postfix would send on (`user%elsewhere@here`, with
    /// `allow_percent_hack`) is judged by where it goes; one with a route in another local domain is none,
    /// unless `allow_untrusted_routing` is on, as for `reject_unauth_destination`.
    pub async fn is_local_delivery(&self, recipient: &AddressKey) -> Answer {
        let mut evidence = Evidence::default();
        let (local, domain) = match &self.postfix {
            _ if recipient.is_empty() => (Vec::new(), Vec::new()),
            Some(postfix) => self.routed(postfix, recipient, &mut evidence).await,
            None => (recipient.local_part().to_vec(), recipient.domain().to_vec()),
        };
        let mut verdict = self.local_domain(&domain, &mut evidence).await;
        if let Some(postfix) = &self.postfix
            && verdict != Verdict::No
            && !postfix.parameters.allow_untrusted_routing
            && postfix.next_hop(&local).is_some()
        {
            evidence.push("allow_untrusted_routing = no", "", &local, Outcome::Excludes);
            verdict = Verdict::No;
        }
        Answer { verdict, evidence }
    }

    /// The address that Postfix makes of `address`: with `$myorigin` where there is no domain, and with
    /// the route in the local part followed where the domain is this machine's.
    async fn routed(&self, postfix: &Postfix, address: &AddressKey, evidence: &mut Evidence) -> (Vec<u8>, Vec<u8>) {
        let parameters = &postfix.parameters;
        let complete = |address: &[u8]| match address.iter().rposition(|byte| *byte == b'@') {
            Some(at) => (address[..at].to_vec(), libvalvula::domain_key(&address[at + 1..]).into_owned()),
            None => (address.to_vec(), parameters.myorigin.clone()),
        };
        let written = address.as_bytes();
        let (mut local, mut domain) = match postfix.next_hop(written) {
            Some(next) if !address.has_domain() => complete(&next),
            _ => complete(written),
        };
        for _ in 0..MAX_ROUTE {
            let Some(next) = postfix.next_hop(&local) else { break };
            let mut trial = Evidence::default();
            match self.in_mydestination(postfix, &spellings(&domain), &mut trial).await {
                Verdict::Yes => {
                    evidence.steps.append(&mut trial.steps);
                    (local, domain) = complete(&next);
                }
                Verdict::No | Verdict::CouldNotAsk => break,
            }
        }
        (local, domain)
    }

    /// The logins that own `sender`, by `smtpd_sender_login_maps`.
    pub async fn login_owners(&self, sender: &AddressKey) -> Owners {
        let mut evidence = Evidence::default();
        let Some(postfix) = &self.postfix else {
            let known = self.without_postfix(sender.as_bytes(), &mut evidence) == Verdict::No;
            return Owners { logins: known.then(Vec::new), evidence };
        };
        let parameters = &postfix.parameters;
        if sender.is_empty() || parameters.sender_login_maps.is_empty() {
            return Owners { logins: Some(Vec::new()), evidence };
        }
        let (local, domain) = self.routed(postfix, sender, &mut evidence).await;
        let names = spellings(&domain);
        let bare_names = match self.in_mydestination(postfix, &names, &mut Evidence::default()).await {
            _ if domain == parameters.myorigin => Verdict::Yes,
            verdict => verdict,
        };
        let wanted = Wanted {
            local: &local,
            domains: &names,
            bare_names,
            delimiters: &parameters.recipient_delimiter,
            owner_request_special: parameters.owner_request_special,
        };
        let logins = match parameters.sender_login_maps.find(&wanted, &mut evidence).await {
            Ok(Some(value)) => {
                let value = String::from_utf8_lossy(&value).into_owned();
                Some(split_list(&value).into_iter().map(|login| AddressKey::new(login.as_bytes())).collect())
            }
            Ok(None) => Some(Vec::new()),
            Err(()) => None,
        };
        Owners { logins, evidence }
    }
}

impl Postfix {
    /// Where the route in a local part leads, with the forms that are switched on.
    fn next_hop(&self, local: &[u8]) -> Option<Vec<u8>> {
        next_hop(local, self.parameters.swap_bangpath, self.parameters.allow_percent_hack)
    }
}

/// How many hops of a route are followed.
const MAX_ROUTE: usize = 10;

/// Where the route in a local part leads: `user%domain` and `domain!user` mean `user@domain`.
fn next_hop(local: &[u8], bangs: bool, percents: bool) -> Option<Vec<u8>> {
    if local.contains(&b'@') {
        return Some(local.to_vec());
    }
    if bangs && let Some(at) = local.iter().position(|byte| *byte == b'!') {
        return Some([&local[at + 1..], b"@", &local[..at]].concat());
    }
    let at = local.iter().rposition(|byte| *byte == b'%').filter(|_| percents)?;
    Some([&local[..at], b"@", &local[at + 1..]].concat())
}

/// Does a map of recipients have the address? An empty one has them all.
async fn listed(maps: &Maps, parameter: &str, wanted: &Wanted<'_>, evidence: &mut Evidence) -> Verdict {
    if maps.is_empty() {
        evidence.push(parameter, "empty: every recipient", wanted.local, Outcome::Has);
        return Verdict::Yes;
    }
    maps.has(wanted, evidence).await
}

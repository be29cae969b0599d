//! The class of a domain, as Postfix's address resolver finds it.
//!
//! The classes are tried in Postfix's order: `mydestination` (with the machine's own addresses),
//! `virtual_alias_domains`, `virtual_mailbox_domains`; then `$myhostname` and `$myorigin`, which count as
//! local although no list has them; then `relay_domains`, where they count. The first that has the domain
//! is its class.

use crate::answer::{Evidence, Outcome, Verdict};
use crate::interfaces::literal;

use super::{Postfix, Resolver};

/// The class of a domain: which maps know its addresses.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Class {
    Local,
    VirtualAlias,
    VirtualMailbox,
    Relay,
}

/// The classes that a domain may belong to. More than one only when one before could not be asked.
#[derive(Debug, Default)]
pub(super) struct Classes {
    pub possible: Vec<Class>,
    /// Whether it belongs to one of them for sure.
    pub certain: bool,
}

impl Classes {
    /// Notes what a class's list says; true when the search ends.
    fn add(&mut self, class: Class, verdict: Verdict) -> bool {
        if verdict != Verdict::No {
            self.possible.push(class);
        }
        self.certain = verdict == Verdict::Yes;
        self.certain
    }

    pub fn verdict(&self) -> Verdict {
        match (self.certain, self.possible.is_empty()) {
            (true, _) => Verdict::Yes,
            (false, true) => Verdict::No,
            (false, false) => Verdict::CouldNotAsk,
        }
    }
}

/// The spellings under which a domain is looked for: its normal form (A-labels), and with Unicode labels
/// if that differs. One trailing dot is passed over, as Postfix does.
pub fn spellings(domain: &[u8]) -> Vec<Vec<u8>> {
    let domain = match domain.strip_suffix(b".") {
        Some(stripped) if !stripped.is_empty() && !stripped.ends_with(b".") => stripped,
        _ => domain,
    };
    let mut names = vec![domain.to_vec()];
    if let Ok(text) = std::str::from_utf8(domain)
        && text.contains("xn--")
        && let (unicode, Ok(())) = idna::domain_to_unicode(text)
        && unicode != text
    {
        names.push(unicode.into_bytes());
    }
    names
}

impl Resolver {
    /// The classes of the domain that `names` spell.
    pub(super) async fn classes(&self, postfix: &Postfix, names: &[Vec<u8>], evidence: &mut Evidence) -> Classes {
        let parameters = &postfix.parameters;
        let mut classes = Classes::default();
        if classes.add(Class::Local, self.in_mydestination(postfix, names, evidence).await) {
            return classes;
        }
        for (class, list) in [
            (Class::VirtualAlias, &parameters.virtual_alias_domains),
            (Class::VirtualMailbox, &parameters.virtual_mailbox_domains),
        ] {
            if classes.add(class, list.matches(names, evidence).await) {
                return classes;
            }
        }
        for (parameter, value) in [("myhostname", &parameters.myhostname), ("myorigin", &parameters.myorigin)] {
            if !value.is_empty() && names[0] == *value {
                evidence.push(parameter, "", value, Outcome::Has);
                classes.add(Class::Local, Verdict::Yes);
                return classes;
            }
        }
        if !parameters.relay_domains.is_empty() {
            classes.add(Class::Relay, parameters.relay_domains.matches(names, evidence).await);
        }
        classes
    }

    /// Is it a domain whose mail Postfix delivers to this machine's users?
    pub(super) async fn in_mydestination(
        &self,
        postfix: &Postfix,
        names: &[Vec<u8>],
        evidence: &mut Evidence,
    ) -> Verdict {
        let parameters = &postfix.parameters;
        let listed = parameters.mydestination.matches(names, evidence).await;
        let Some(address) = literal(&names[0]) else { return listed };
        if listed == Verdict::Yes {
            return listed;
        }
        match parameters.interfaces.has(address, self.settings.table_timeout).await {
            Ok(Some((parameter, entry))) => {
                evidence.push(parameter, entry, &names[0], Outcome::Has);
                Verdict::Yes
            }
            Ok(None) => listed,
            Err((parameter, entry, why)) => {
                evidence.push(parameter, entry, &names[0], Outcome::Failed(why));
                Verdict::CouldNotAsk
            }
        }
    }
}

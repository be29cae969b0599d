//! What is local, against Postfix's rules written down as plainly as they can be, for configurations and addresses
//! made at random. What a table that can't be asked would say is tried both ways: a yes or a no must come out the same
//! both ways, and where no table failed there is always one of them.

#![allow(clippy::unwrap_used, reason = "a test ends where it is wrong")]

use std::collections::BTreeSet;
use std::sync::OnceLock;

use libvalvula::AddressKey;
use postfix::{Resolver, Settings, State, Verdict};
use proptest::collection::{btree_set, vec};
use proptest::prelude::*;

const DOMAINS: [&str; 5] = ["a.example", "b.example", "sub.a.example", "mx.example", "origin.example"];
const LOCALS: [&str; 7] = ["u", "v", "u+x", "v-x", "u+x-y", "+u", "V"];

/// One entry of a list of domains, or one table of a list of maps.
#[derive(Debug, Clone)]
enum Entry {
    Name { negated: bool, name: &'static str },
    Table(BTreeSet<String>),
    Broken,
}

type Entries = Vec<Entry>;

/// main.cf, as far as it matters here.
#[derive(Debug, Clone)]
struct Main {
    mydestination: Entries,
    virtual_alias_domains: Entries,
    virtual_mailbox_domains: Entries,
    local_recipient_maps: Entries,
    virtual_alias_maps: Entries,
    virtual_mailbox_maps: Entries,
    delimiter: &'static str,
}

fn domains() -> impl Strategy<Value = Entries> {
    let domain = || prop::sample::select(DOMAINS.to_vec());
    vec(
        prop_oneof![
            6 => (prop::bool::weighted(0.2), domain()).prop_map(|(negated, name)| Entry::Name { negated, name }),
            2 => btree_set(domain().prop_map(str::to_owned), 1..3).prop_map(Entry::Table),
            1 => Just(Entry::Broken),
        ],
        0..4,
    )
}

fn maps() -> impl Strategy<Value = Entries> {
    let domain = || prop::sample::select(DOMAINS.to_vec());
    let local = || prop::sample::select(LOCALS.map(str::to_lowercase).to_vec());
    let key = prop_oneof![
        3 => (local(), domain()).prop_map(|(local, domain)| format!("{local}@{domain}")),
        2 => local(),
        1 => domain().prop_map(|domain| format!("@{domain}")),
    ];
    vec(prop_oneof![4 => btree_set(key, 1..4).prop_map(Entry::Table), 1 => Just(Entry::Broken)], 0..3)
}

fn main_cf() -> impl Strategy<Value = Main> {
    let delimiter = prop::sample::select(vec!["", "+", "-", "+-"]);
    let all = (domains(), domains(), domains(), maps(), maps(), maps(), delimiter).prop_map(
        |(mydestination, aliases, mailboxes, local, alias, mailbox, delimiter)| Main {
            mydestination,
            virtual_alias_domains: aliases,
            virtual_mailbox_domains: mailboxes,
            local_recipient_maps: local,
            virtual_alias_maps: alias,
            virtual_mailbox_maps: mailbox,
            delimiter,
        },
    );
    // Each is tried both ways.
    all.prop_filter("few tables fail", |main| main.broken() <= 5)
}

impl Main {
    fn parameters(&self) -> [(&'static str, &Entries); 6] {
        [
            ("mydestination", &self.mydestination),
            ("virtual_alias_domains", &self.virtual_alias_domains),
            ("virtual_mailbox_domains", &self.virtual_mailbox_domains),
            ("local_recipient_maps", &self.local_recipient_maps),
            ("virtual_alias_maps", &self.virtual_alias_maps),
            ("virtual_mailbox_maps", &self.virtual_mailbox_maps),
        ]
    }

    fn text(&self) -> String {
        let mut text = "compatibility_level = 3.6\nmyhostname = mx.example\nmyorigin = origin.example\n".to_owned();
        text += &format!("alias_maps =\nrecipient_delimiter = {}\n", self.delimiter);
        let mut broken = 0;
        for (name, entries) in self.parameters() {
            let words = entries.iter().map(|entry| match entry {
                Entry::Name { negated, name } => format!("{}{name}", if *negated { "!" } else { "" }),
                Entry::Table(keys) => {
                    let keys: Vec<_> = keys.iter().map(|key| format!("{{ {key} = x }}")).collect();
                    format!("inline:{{ {} }}", keys.join(", "))
                }
                Entry::Broken => {
                    // Each another one: what they would say has nothing to do with each other.
                    broken += 1;
                    format!("texthash:/nonexistent/{broken}")
                }
            });
            text += &format!("{name} = {}\n", words.collect::<Vec<_>>().join(", "));
        }
        text
    }

    fn broken(&self) -> usize {
        self.parameters()
            .iter()
            .flat_map(|(_, entries)| *entries)
            .filter(|entry| matches!(entry, Entry::Broken))
            .count()
    }
}

/// Postfix's rules, where the broken tables say what `broken` says, in the order of [`Main::parameters`].
struct Model<'a> {
    main: &'a Main,
    broken: Vec<bool>,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Class {
    Local,
    Alias,
    Mailbox,
}

impl Model<'_> {
    /// What the broken tables of this parameter say.
    fn broken_of(&self, parameter: &Entries) -> Vec<bool> {
        let mut said = self.broken.iter().copied();
        for (_, entries) in self.main.parameters() {
            let count = entries.iter().filter(|entry| matches!(entry, Entry::Broken)).count();
            let theirs: Vec<bool> = said.by_ref().take(count).collect();
            if std::ptr::eq(entries, parameter) {
                return theirs;
            }
        }
        unreachable!("it is one of them")
    }

    fn in_list(&self, list: &Entries, domain: &str) -> bool {
        let mut broken = self.broken_of(list).into_iter();
        for entry in list {
            match entry {
                Entry::Name { negated, name } if *name == domain => return !negated,
                Entry::Table(keys) if keys.contains(domain) => return true,
                Entry::Broken if broken.next() == Some(true) => return true,
                _ => {}
            }
        }
        false
    }

    fn class(&self, domain: &str) -> Option<Class> {
        if self.in_list(&self.main.mydestination, domain) {
            Some(Class::Local)
        } else if self.in_list(&self.main.virtual_alias_domains, domain) {
            Some(Class::Alias)
        } else if self.in_list(&self.main.virtual_mailbox_domains, domain) {
            Some(Class::Mailbox)
        } else {
            ["mx.example", "origin.example"].contains(&domain).then_some(Class::Local)
        }
    }

    fn in_maps(&self, maps: &Entries, keys: &BTreeSet<String>) -> bool {
        let tables = maps.iter().any(|entry| matches!(entry, Entry::Table(have) if !have.is_disjoint(keys)));
        tables || self.broken_of(maps).contains(&true)
    }

    fn has_address(&self, local: &str, domain: &str) -> bool {
        let Some(class) = self.class(domain) else { return false };
        let local = local.to_lowercase();
        let mut locals = vec![local.as_str()];
        if let Some(at) = local.find(|c| self.main.delimiter.contains(c)).filter(|at| *at > 0) {
            locals.push(&local[..at]);
        }
        let mut keys: BTreeSet<String> = locals.iter().map(|local| format!("{local}@{domain}")).collect();
        keys.insert(format!("@{domain}"));
        if class == Class::Local || domain == "origin.example" {
            keys.extend(locals.iter().map(|local| (*local).to_owned()));
        }
        let in_maps = |maps: &Entries| maps.is_empty() || self.in_maps(maps, &keys);
        self.in_maps(&self.main.virtual_alias_maps, &keys)
            || match class {
                Class::Local => in_maps(&self.main.local_recipient_maps),
                Class::Alias => false,
                Class::Mailbox => in_maps(&self.main.virtual_mailbox_maps),
            }
    }
}

fn runtime() -> &'static tokio::runtime::Runtime {
    static RUNTIME: OnceLock<tokio::runtime::Runtime> = OnceLock::new();
    RUNTIME.get_or_init(|| tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap())
}

/// Every answer that may be right: one for each that the broken tables could have given.
fn possible(main: &Main, question: impl Fn(&Model<'_>) -> bool) -> BTreeSet<bool> {
    let count = main.broken();
    (0..1_u32 << count)
        .map(|bits| question(&Model { main, broken: (0..count).map(|number| bits >> number & 1 == 1).collect() }))
        .collect()
}

fn check(said: Verdict, possible: &BTreeSet<bool>, broken: usize, what: &str) -> Result<(), TestCaseError> {
    match said {
        Verdict::Yes => prop_assert!(!possible.contains(&false), "yes, and it may not be: {what}"),
        Verdict::No => prop_assert!(!possible.contains(&true), "no, and it may be: {what}"),
        Verdict::CouldNotAsk => prop_assert!(broken > 0, "nothing failed: {what}"),
    }
    Ok(())
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 300, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn what_is_local_is_what_postfixs_rules_make_of_it(main in main_cf()) {
        let directory = tempfile::tempdir().unwrap();
        std::fs::write(directory.path().join("main.cf"), main.text()).unwrap();
        std::fs::write(directory.path().join("master.cf"), "").unwrap();
        let settings = Settings { config_directory: directory.path().to_owned(), ..Settings::default() };
        let resolver = runtime().block_on(Resolver::load(settings));
        prop_assert_eq!(resolver.state(), &State::Read, "{}", main.text());
        for domain in DOMAINS.into_iter().chain(["elsewhere.example"]) {
            let answer = runtime().block_on(resolver.is_local_domain(domain.as_bytes()));
            let may = possible(&main, |model| model.class(domain).is_some());
            check(answer.verdict, &may, main.broken(), &format!("{domain}\n{}{}", main.text(), answer.evidence))?;
            // A list is certain of what it can be certain of.
            prop_assert_eq!(answer.verdict == Verdict::CouldNotAsk, may.len() == 2, "{}\n{}", domain, main.text());
            for local in LOCALS {
                let address = format!("{local}@{domain}");
                let answer = runtime().block_on(resolver.is_local_address(&AddressKey::new(address.as_bytes())));
                let may = possible(&main, |model| model.has_address(local, domain));
                check(answer.verdict, &may, main.broken(), &format!("{address}\n{}{}", main.text(), answer.evidence))?;
            }
        }
    }
}

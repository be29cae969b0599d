//! The listeners under load: what is asked on each, and which answers are right whatever breaks.

use support::{Engine, Random, Request, TestDatabase};

use crate::counting;

/// How many messages the `capped` ways let pass.
pub const CAP: u64 = 150;

/// A listener, its chain, and how its requests are counted.
pub struct Way {
    pub name: &'static str,
    pub modules: &'static [&'static str],
    pub charged: Charged,
    /// Words that an answer may begin with besides `DUNNO`.
    pub also: &'static [&'static str],
}

/// Where what passes is counted.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Charged {
    Nowhere,
    /// In the counters of the module that is called as the way is.
    Counter,
    /// On the ticket with this id.
    Ticket(u32),
}

const fn way(
    name: &'static str,
    modules: &'static [&'static str],
    charged: Charged,
    also: &'static [&'static str],
) -> Way {
    Way { name, modules, charged, also }
}

/// A module that counts has the default `on_failure = "dunno"` (what passes unchecked is counted later), or
/// `"defer"` (and then it is not counted).
pub const WAYS: [Way; 11] = [
    way("rules", &["bwl", "test"], Charged::Nowhere, &[]),
    way("test", &["test"], Charged::Nowhere, &[]),
    way("faulty", &["panic", "test"], Charged::Nowhere, &["DEFER"]),
    way("relaxed", &["relaxed"], Charged::Counter, &[]),
    way("strict", &["strict"], Charged::Counter, &[]),
    way("strict-defers", &["strict-defers"], Charged::Counter, &["DEFER"]),
    way("capped-relaxed", &["capped-relaxed"], Charged::Counter, &["REJECT"]),
    way("capped-strict", &["capped-strict"], Charged::Counter, &["REJECT", "DEFER"]),
    way("ticket", &["ticket"], Charged::Ticket(1), &[]),
    way("ticket-defers", &["ticket-defers"], Charged::Ticket(2), &["DEFER"]),
    way("capped-ticket", &["capped-ticket"], Charged::Ticket(3), &["REJECT", "DEFER"]),
];

/// When the runs of the quotas begin: twelve hours ago, so that a clock that is an hour off is still in the same.
pub fn runs_from() -> String {
    let noon = jiff::Timestamp::now() - jiff::SignedDuration::from_hours(12);
    noon.to_zoned(jiff::tz::TimeZone::UTC).strftime("%H:%M").to_string()
}

/// The sections of the modules, whose quotas have runs from `at`.
pub fn sections(at: &str) -> String {
    let mut text = "[module.panic]\non_failure = \"defer\"\n".to_owned();
    for way in &WAYS {
        let name = way.name;
        let defers = if way.also.contains(&"DEFER") { "on_failure = \"defer\"\n" } else { "" };
        match way.charged {
            Charged::Nowhere => {}
            Charged::Ticket(_) => {
                text += &format!("[module.{name}]\ntype = \"ticket\"\ntimezone = \"UTC\"\n{defers}");
            }
            Charged::Counter => {
                let durability = if name.contains("relaxed") { "relaxed" } else { "strict" };
                let limit = if way.is_capped() { CAP } else { 1_000_000_000 };
                text += &format!(
                    "[module.{name}]\ntype = \"mquota\"\ntimezone = \"UTC\"\ndurability = \"{durability}\"\n{defers}\
                     [[module.{name}.period]]\nlabel = \"day\"\nfrom = \"{at}\"\nto = \"{at}\"\nglobal = {limit}\n"
                );
            }
        }
    }
    text
}

/// The rows that the ways need.
pub fn rows() -> String {
    let mut sql = format!(
        "INSERT INTO bwl_global (is_active, source, status) VALUES (1, 'bad@away.example', 'reject'), \
         (1, 'drop@away.example', 'discard'), (1, 'void@away.example', 'filter-discard'); \
         INSERT INTO ticket_plan (id, total_limit) VALUES (1, 1000000000), (2, {CAP});"
    );
    for way in &WAYS {
        if let Charged::Ticket(id) = way.charged {
            let plan = if way.is_capped() { 2 } else { 1 };
            let user = way.user();
            sql +=
                &format!("INSERT INTO domain_ticket (id, sasl_user, ticket_plan_id) VALUES ({id}, '{user}', {plan});");
        }
    }
    sql
}

impl Way {
    pub fn is_capped(&self) -> bool {
        self.name.starts_with("capped")
    }

    pub fn user(&self) -> String {
        format!("{0}@{0}.example.com", self.name)
    }

    /// A request, and what its answer must begin with: the text of one of these.
    pub fn question(&self, random: &mut Random) -> (Request, Vec<&'static str>) {
        let ordinary = [("good@away.example", "ann@example.com", "DUNNO")];
        let cases: &[(&str, &str, &'static str)] = match self.name {
            "rules" => &[
                ("good@away.example", "ann@example.com", "DUNNO"),
                ("bad@away.example", "ann@example.com", "REJECT "),
                ("drop@away.example", "ann@example.com", "DISCARD"),
                ("void@away.example", "ann@example.com", "FILTER discard:"),
            ],
            "faulty" => &[
                ("good@away.example", "ann@example.com", "DUNNO"),
                ("good@away.example", "reject@example.com", "REJECT Refused as the recipient asked"),
                ("good@away.example", "sleep-30ms@example.com", "DUNNO"),
            ],
            _ => &ordinary,
        };
        let (sender, recipient, right) = random.choose(cases);
        let mut request = Request::rcpt(sender, recipient).set("instance", "");
        if self.charged != Charged::Nowhere {
            request = request.sasl(&self.user());
        }
        (request, [&[*right], self.also].concat())
    }

    /// What `database` says was charged.
    pub fn counted(&self, database: &TestDatabase) -> Option<u64> {
        match self.charged {
            Charged::Nowhere => None,
            Charged::Counter => Some(counting::stored(database, self.name, &self.user())),
            Charged::Ticket(id) => Some(counting::ticket(database, id)),
        }
    }
}

/// Whether an engine is a server that can be stopped.
pub fn is_server(engine: Engine) -> bool {
    engine != Engine::Sqlite
}

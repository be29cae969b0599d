//! A ticket as it stands in the database, and what it says of a request. Pure.

use libvalvula::{AddressKey, domain_key};

/// Which column of a ticket names a request.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Wanted {
    /// The SASL user, in normal form; empty: not authenticated.
    pub user: Vec<u8>,
    /// The sender's domain, in normal form; empty: it has none.
    pub domain: Vec<u8>,
}

/// A row of `domain_ticket` with its plan and its way out. NULL counters are 0, and so is what is NULL
/// of yes and no.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Ticket {
    /// `id`.
    pub id: i64,
    /// `domain`: a name or a list.
    pub domain: String,
    /// `sasl_user`: a name or a list.
    pub sasl_user: String,
    /// `total_used`, `current_day_usage`, `current_month_usage`.
    pub used: [i64; 3],
    /// `valid_until`; `None`: no end.
    pub valid_until: Option<i64>,
    /// `block_ticket` is not 0.
    pub is_blocked: bool,
    /// The plan's `total_limit`, `day_limit`, `month_limit`; `None`: no limit.
    pub limits: [Option<i64>; 3],
    /// The active way out that the ticket has.
    pub transport: Option<String>,
}

/// Why a ticket refuses a request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Refusal {
    /// It was valid until then.
    Expired(i64),
    /// It is blocked.
    Blocked,
    /// A limit has no room: which (0 total, 1 day, 2 month), the limit, what is used, what was asked.
    Full {
        /// Which limit: 0 total, 1 day, 2 month.
        which: usize,
        /// The limit.
        limit: i64,
        /// Used of it.
        used: i64,
        /// What the request wanted to add.
        count: u32,
    },
}

/// A limit of a plan: absent, 0 or less is none.
pub fn limit(column: Option<i64>) -> Option<i64> {
    column.filter(|limit| *limit > 0)
}

/// `valid_until`: absent or -1 is no end.
pub fn valid_until(column: Option<i64>) -> Option<i64> {
    column.filter(|until| *until != -1)
}

/// The names in a list split at `,`, blanks around them left out.
pub fn names(list: &str) -> impl Iterator<Item = &str> {
    list.split(',').map(str::trim).filter(|name| !name.is_empty())
}

/// The normal form of a SASL user's name.
pub fn user_key(name: &str) -> Vec<u8> {
    AddressKey::new(name.as_bytes()).as_bytes().to_vec()
}

/// The normal form of a domain's name; an `@` before it does not matter.
pub fn domain_name_key(name: &str) -> Vec<u8> {
    domain_key(name.strip_prefix('@').unwrap_or(name).as_bytes()).into_owned()
}

impl Ticket {
    /// How well the row names the request: lower is better; `None`: it does not.
    ///
    /// The SASL user before the sender's domain, a row that is exactly the name before one that lists it.
    fn rank(&self, wanted: &Wanted) -> Option<(u8, i64)> {
        let by = |list: &str, key: fn(&str) -> Vec<u8>, name: &[u8]| {
            let is_named = !name.is_empty() && names(list).any(|listed| key(listed) == name);
            is_named.then(|| u8::from(names(list).count() > 1))
        };
        let rank = by(&self.sasl_user, user_key, &wanted.user)
            .or_else(|| by(&self.domain, domain_name_key, &wanted.domain).map(|rank| rank + 2))?;
        Some((rank, self.id))
    }

    /// The ticket that holds for `wanted`.
    pub fn holding<'t>(tickets: impl Iterator<Item = &'t mut Self>, wanted: &Wanted) -> Option<&'t mut Self> {
        tickets.filter_map(|ticket| Some((ticket.rank(wanted)?, ticket))).min_by_key(|(rank, _)| *rank).map(|(_, ticket)| ticket)
    }

    /// What it says, at `now` (unix time), of a request that adds `count`.
    pub fn refusal(&self, now: i64, count: u32) -> Option<Refusal> {
        if let Some(until) = self.valid_until.filter(|until| *until < now) {
            return Some(Refusal::Expired(until));
        }
        if self.is_blocked {
            return Some(Refusal::Blocked);
        }
        (0..3).find_map(|which| {
            let limit = self.limits[which]?;
            let used = self.used[which];
            let is_full = count > 0 && used.saturating_add(i64::from(count)) > limit;
            is_full.then_some(Refusal::Full { which, limit, used, count })
        })
    }
}

#[cfg(test)]
#[path = "row_tests.rs"]
mod tests;

//! `mquota_exception`: the users and domains that are not counted, held in memory.

use std::sync::Arc;

use actors::watch::{BadRow, Change, Column, Follower, Row, Rows};
use arc_swap::ArcSwap;
use foldhash::{HashMap, HashSet};
use libvalvula::{AddressKey, domain_key};

use crate::columns::is_active;

/// The names of the active rows, as requests read them. Cheap to clone.
#[derive(Clone, Default)]
pub struct Exceptions(Arc<ArcSwap<HashSet<Box<[u8]>>>>);

impl Exceptions {
    /// The row's name that covers `user`: the user itself or its domain.
    pub fn covering<'a>(&self, user: &'a AddressKey) -> Option<&'a [u8]> {
        let names = self.0.load();
        if names.is_empty() {
            return None;
        }
        [user.as_bytes(), user.domain()].into_iter().find(|name| !name.is_empty() && names.contains(*name))
    }

    /// How many there are.
    pub fn len(&self) -> usize {
        self.0.load().len()
    }

    /// What keeps them as the table is.
    pub fn follower(&self) -> ExceptionsFollower {
        ExceptionsFollower { published: self.clone(), rows: HashMap::default() }
    }
}

/// Follows `mquota_exception`.
pub struct ExceptionsFollower {
    published: Exceptions,
    rows: HashMap<i64, Vec<Box<[u8]>>>,
}

impl ExceptionsFollower {
    fn publish(&self) {
        self.published.0.store(Arc::new(self.rows.values().flatten().cloned().collect()));
    }
}

impl Follower for ExceptionsFollower {
    /// The names it gives: none when it is not active.
    type Row = Vec<Box<[u8]>>;
    type Loaded = HashMap<i64, Self::Row>;

    fn table(&self) -> &'static str {
        "mquota_exception"
    }

    fn columns(&self) -> &'static [Column] {
        const COLUMNS: &[Column] = &[Column::integer("is_active"), Column::text("sasl_user")];
        COLUMNS
    }

    fn read(&self, row: &Row<'_>) -> Result<Self::Row, BadRow> {
        if !is_active(row.integer("is_active")?) {
            return Ok(Vec::new());
        }
        Ok(names(row.text("sasl_user")?.unwrap_or_default().trim()))
    }

    fn load(&self, rows: &mut Rows<'_, Self::Row>) -> Self::Loaded {
        rows.filter(|(_, names)| !names.is_empty()).collect()
    }

    fn replace(&mut self, loaded: Self::Loaded) {
        self.rows = loaded;
        self.publish();
    }

    fn apply(&mut self, changes: Vec<Change<Self::Row>>) {
        for change in changes {
            match change {
                Change::Is(id, names) if !names.is_empty() => self.rows.insert(id, names),
                Change::Is(id, _) | Change::Gone(id) => self.rows.remove(&id),
            };
        }
        self.publish();
    }
}

/// What a row's text names: with an `@` inside, a user; without, a user or a domain.
pub(super) fn names(text: &str) -> Vec<Box<[u8]>> {
    let bare = text.strip_prefix('@').unwrap_or(text);
    if bare.is_empty() {
        return Vec::new();
    }
    let domain: Box<[u8]> = domain_key(bare.as_bytes()).into();
    if bare.len() < text.len() {
        return vec![domain];
    }
    let user: Box<[u8]> = AddressKey::new(text.as_bytes()).as_bytes().into();
    if text.contains('@') || user == domain { vec![user] } else { vec![user, domain] }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_row_names_a_user_or_a_domain() {
        let named = |text: &str| {
            names(text).iter().map(|name| String::from_utf8_lossy(name).into_owned()).collect::<Vec<_>>()
        };
        assert_eq!(named("Ann@Example.COM"), ["ann@example.com"]);
        assert_eq!(named("Example.COM"), ["example.com"]);
        assert_eq!(named("@example.com"), ["example.com"]);
        assert_eq!(named("bücher.example"), ["bücher.example", "xn--bcher-kva.example"]);
        assert_eq!(named("ann"), ["ann"]);
        assert!(named("").is_empty() && named("@").is_empty());
    }
}

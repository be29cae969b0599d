//! Which users and domains have a ticket, held in memory: whoever has none is answered without a query.
//!
//! Only names are held. What a ticket says is read in the transaction that charges it, names included,
//! so that a name that is no longer there is not charged.

use std::sync::Arc;

use actors::watch::{BadRow, Change, Column, Follower, Row, Rows};
use foldhash::HashMap;
use parking_lot::RwLock;
use smallvec::SmallVec;

use super::row::{Wanted, domain_name_key, names, user_key};

/// Tickets of one name that are looked at: there is one, or a few by mistake.
const MOST: usize = 64;

type Ids = SmallVec<[i64; 1]>;

/// Names and the tickets that bear them.
#[derive(Default)]
pub struct Index {
    users: HashMap<Box<[u8]>, Ids>,
    domains: HashMap<Box<[u8]>, Ids>,
    rows: HashMap<i64, Named>,
}

/// The names of one row.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Named {
    users: Vec<Box<[u8]>>,
    domains: Vec<Box<[u8]>>,
}

impl Named {
    fn new(sasl_user: &str, domain: &str) -> Self {
        Self {
            users: names(sasl_user).map(|name| user_key(name).into()).collect(),
            domains: names(domain).map(|name| domain_name_key(name).into()).collect(),
        }
    }
}

impl Index {
    fn insert(&mut self, id: i64, named: Named) {
        self.remove(id);
        for (index, names) in [(&mut self.users, &named.users), (&mut self.domains, &named.domains)] {
            for name in names {
                let ids = index.entry(name.clone()).or_default();
                if !ids.contains(&id) {
                    ids.push(id);
                }
            }
        }
        self.rows.insert(id, named);
    }

    fn remove(&mut self, id: i64) {
        let Some(named) = self.rows.remove(&id) else { return };
        for (index, names) in [(&mut self.users, named.users), (&mut self.domains, named.domains)] {
            for name in names {
                if let Some(ids) = index.get_mut(&name) {
                    ids.retain(|other| *other != id);
                    if ids.is_empty() {
                        index.remove(&name);
                    }
                }
            }
        }
    }
}

/// The index, as requests read it. Cheap to clone. Changes are short: a row's names.
#[derive(Clone, Default)]
pub struct Names(Arc<RwLock<Index>>);

impl Names {
    /// The tickets that may hold for `user` (as SASL user) or `domain` (the sender's), none twice.
    pub fn candidates(&self, user: &[u8], domain: &[u8]) -> SmallVec<[i64; 2]> {
        let index = self.0.read();
        let mut ids = SmallVec::new();
        for found in [index.users.get(user), index.domains.get(domain)].into_iter().flatten() {
            for id in found.iter().take(MOST) {
                if !ids.contains(id) {
                    ids.push(*id);
                }
            }
        }
        ids
    }

    /// How many users and domains have a ticket.
    pub fn len(&self) -> (usize, usize) {
        let index = self.0.read();
        (index.users.len(), index.domains.len())
    }

    /// What keeps the index as the table is.
    pub fn follower(&self) -> NamesFollower {
        NamesFollower(self.clone())
    }
}

/// Follows the names in `domain_ticket`.
pub struct NamesFollower(Names);

impl Follower for NamesFollower {
    type Row = Named;
    type Loaded = Index;

    fn table(&self) -> &'static str {
        "domain_ticket"
    }

    fn columns(&self) -> &'static [Column] {
        const COLUMNS: &[Column] = &[Column::text("sasl_user"), Column::text("domain")];
        COLUMNS
    }

    /// Each request that is charged writes its ticket's counters.
    fn is_charged(&self) -> bool {
        true
    }

    fn read(&self, row: &Row<'_>) -> Result<Named, BadRow> {
        let text = |column| row.text(column).map(Option::unwrap_or_default);
        Ok(Named::new(&text("sasl_user")?, &text("domain")?))
    }

    fn load(&self, rows: &mut Rows<'_, Named>) -> Index {
        let mut index = Index::default();
        rows.for_each(|(id, named)| index.insert(id, named));
        index
    }

    fn replace(&mut self, loaded: Index) {
        // The old one is dropped after the lock is released.
        let _old = std::mem::replace(&mut *self.0.0.write(), loaded);
    }

    fn apply(&mut self, changes: Vec<Change<Named>>) {
        for change in changes {
            let mut index = self.0.0.write();
            match change {
                Change::Is(id, named) if index.rows.get(&id) == Some(&named) => {}
                Change::Is(id, named) => index.insert(id, named),
                Change::Gone(id) => index.remove(id),
            }
        }
    }
}

impl Wanted {
    /// Whom a request is to be charged to.
    pub fn of(request: &libvalvula::Request) -> Self {
        Self { user: request.sasl_key().as_bytes().to_vec(), domain: request.sender_key().domain().to_vec() }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_found_until_their_row_is_gone() {
        let names = Names::default();
        let mut follower = names.follower();
        follower.apply(vec![
            Change::Is(1, Named::new("ann@x.com, ben@x.com", "")),
            Change::Is(2, Named::new("ann@x.com", "x.com")),
        ]);
        assert_eq!(names.candidates(b"ann@x.com", b"x.com").as_slice(), [1, 2]);
        assert_eq!(names.candidates(b"carl@x.com", b"x.com").as_slice(), [2]);
        assert!(names.candidates(b"", b"").is_empty());
        follower.apply(vec![Change::Is(1, Named::new("ben@x.com", "")), Change::Gone(2), Change::Gone(7)]);
        assert!(names.candidates(b"ann@x.com", b"x.com").is_empty());
        assert_eq!(names.candidates(b"ben@x.com", b"").as_slice(), [1]);
        follower.apply(vec![Change::Gone(1)]);
        assert_eq!(names.len(), (0, 0));
    }
}

//! The immutable index: from (source, destination, SASL user) to the rows that hold for them.
//!
//! Each row stands once in `rows`, by ascending id, and once in `postings` for each SASL user it is limited to
//! (once, if it is not limited). Postings of one (source, destination, user) lie together by ascending
//! id; `groups` finds where they begin. A look-up turns sender, recipient and SASL user into the few atoms
//! that exist among the rules, then probes their combinations: its cost follows the number of labels of
//! a domain, never the number of rules.

use std::hash::BuildHasher;

use foldhash::fast::RandomState;
use hashbrown::HashTable;
use libvalvula::{AddressKey, AddressRule, Printable, RuleForm};
use smallvec::{SmallVec, smallvec};

use super::atoms::{Atom, Atoms, Form};

/// One row, as its module read it.
#[derive(Debug, Clone)]
pub struct Rule<P> {
    /// The row's id: rows are tried in its order.
    pub id: i64,
    /// Held against the sender.
    pub source: AddressRule,
    /// Held against the recipient.
    pub destination: AddressRule,
    /// The SASL users the row is limited to; `None`: it holds for everybody, authenticated or not.
    pub users: Option<Vec<AddressKey>>,
    /// What the module wants to know of the row when it matches.
    pub payload: P,
}

struct Row<P> {
    id: i64,
    payload: P,
}

#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
struct Key {
    source: Atom,
    destination: Atom,
    user: Atom,
}

#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
struct Posting {
    key: Key,
    row: u32,
}

/// What the rules of one column are like, so that only what can exist is looked for.
#[derive(Default)]
struct Column {
    /// Set of forms.
    forms: u8,
    /// Set of the lengths of the domains in `*.domain` rules; the last bit: that long or longer.
    lengths: [u128; 2],
}

impl Column {
    fn add(&mut self, form: RuleForm, text: &[u8]) {
        self.forms |= bit(form);
        let (word, bit) = length_bit(text);
        self.lengths[word] |= bit;
    }

    fn may_have(&self, form: RuleForm, text: &[u8]) -> bool {
        if self.forms & bit(form) == 0 {
            return false;
        }
        let (word, bit) = length_bit(text);
        form != RuleForm::Subdomains || self.lengths[word] & bit != 0
    }
}

fn length_bit(text: &[u8]) -> (usize, u128) {
    let length = text.len().min(255);
    (length / 128, 1 << (length % 128))
}

const fn bit(form: RuleForm) -> u8 {
    1 << form as u8
}

/// The rows and the ways to them. Never changed once made.
pub struct Index<P> {
    atoms: Atoms,
    rows: Vec<Row<P>>,
    postings: Vec<Posting>,
    groups: HashTable<u32>,
    hasher: RandomState,
    sources: Column,
    destinations: Column,
    /// Bit `destination form` of `pairs[source form]`: some row has that pair of forms.
    pairs: [u8; 7],
    users: bool,
}

/// Atoms of one address: rarely more than four exist.
type Found = SmallVec<[(RuleForm, Atom); 6]>;

impl<P> Index<P> {
    /// An index without rows.
    pub(super) fn empty() -> Self {
        Builder::new().finish()
    }

    /// How many rows it has.
    pub(super) fn len(&self) -> usize {
        self.rows.len()
    }

    /// Bytes held, without what the payloads point to.
    pub(super) fn bytes(&self) -> usize {
        self.atoms.bytes()
            + self.rows.capacity() * size_of::<Row<P>>()
            + self.postings.capacity() * size_of::<Posting>()
            + self.groups.allocation_size()
    }

    /// The place in `rows` of the row with this id.
    pub(super) fn position(&self, id: i64) -> Option<u32> {
        let place = self.rows.binary_search_by_key(&id, |row| row.id).ok()?;
        Some(u32::try_from(place).expect("the builder refuses a row whose place does not fit"))
    }

    /// The row's id and payload.
    pub(super) fn row(&self, place: u32) -> (i64, &P) {
        let row = &self.rows[place as usize];
        (row.id, &row.payload)
    }

    /// The row a posting leads to.
    pub(super) fn row_of(&self, posting: u32) -> u32 {
        self.postings[posting as usize].row
    }

    /// The posting after this one, if it has the same key.
    pub(super) fn next(&self, posting: u32) -> Option<u32> {
        let next = self.postings.get(posting as usize + 1)?;
        (next.key == self.postings[posting as usize].key).then_some(posting + 1)
    }

    /// Source and destination of a posting, as an administrator writes them.
    pub(super) fn rules_of(&self, posting: u32) -> (String, String) {
        let key = self.postings[posting as usize].key;
        (self.written(key.source), self.written(key.destination))
    }

    /// Calls `specific` or `general` with the first posting of each group that matches.
    pub(super) fn seek(
        &self,
        sender: &AddressKey,
        recipient: &AddressKey,
        user: Option<&AddressKey>,
        mut specific: impl FnMut(u32),
        mut general: impl FnMut(u32),
    ) {
        if self.postings.is_empty() {
            return;
        }
        let sources = self.resolve(&self.sources, sender);
        if sources.is_empty() {
            return;
        }
        let destinations = self.resolve(&self.destinations, recipient);
        let named = if self.users { user.and_then(|user| self.atoms.find(Form::User, user.as_bytes())) } else { None };
        for &(source_form, source) in &sources {
            for &(destination_form, destination) in &destinations {
                if self.pairs[source_form as usize] & bit(destination_form) == 0 {
                    continue;
                }
                let both = source != Atom::EVERYTHING && destination != Atom::EVERYTHING;
                for user in [Some(Atom::EVERYTHING), named].into_iter().flatten() {
                    if let Some(first) = self.group(Key { source, destination, user }) {
                        if both { specific(first) } else { general(first) }
                    }
                }
            }
        }
    }

    /// The postings of every row whose source and destination match, whatever SASL users they name.
    pub(super) fn whatever_user(&self, sender: &AddressKey, recipient: &AddressKey) -> Vec<u32> {
        let sources = self.resolve(&self.sources, sender);
        let destinations = self.resolve(&self.destinations, recipient);
        let pairs = sources.iter().flat_map(|&(_, s)| destinations.iter().map(move |&(_, d)| (s, d)));
        let of_pair = |pair: (Atom, Atom)| {
            let first = self.postings.partition_point(|posting| (posting.key.source, posting.key.destination) < pair);
            let same = self.postings[first..].iter().take_while(move |p| (p.key.source, p.key.destination) == pair);
            (first..).zip(same).map(|(place, _)| u32::try_from(place).expect("postings are numbered in 32 bits"))
        };
        pairs.flat_map(of_pair).collect()
    }

    /// The rules of a column that match `address`, among those that exist.
    fn resolve(&self, column: &Column, address: &AddressKey) -> Found {
        AddressRule::candidates(address)
            .filter(|&(form, text)| column.may_have(form, text))
            .filter_map(|(form, text)| Some((form, self.atoms.find(Form::Rule(form), text)?)))
            .collect()
    }

    fn group(&self, key: Key) -> Option<u32> {
        let hash = hash_of(&self.hasher, key);
        self.groups.find(hash, |&first| self.postings[first as usize].key == key).copied()
    }

    fn written(&self, atom: Atom) -> String {
        let (form, text) = self.atoms.get(atom);
        let text = Printable::new(text);
        match form {
            Form::Rule(RuleForm::Everything) => "(any)".to_owned(),
            Form::Rule(RuleForm::Subdomains) => format!("*.{text}"),
            Form::Rule(RuleForm::LocalPart) => format!("{text}@"),
            Form::Rule(_) | Form::User => text.to_string(),
        }
    }
}

fn hash_of(hasher: &RandomState, key: Key) -> u64 {
    hasher.hash_one((key.source.0, key.destination.0, key.user.0))
}

/// Makes an index out of rows, in whatever order they come.
pub struct Builder<P> {
    atoms: Atoms,
    rows: Vec<Row<P>>,
    postings: Vec<Posting>,
}

impl<P> Default for Builder<P> {
    fn default() -> Self {
        Self::new()
    }
}

impl<P> Builder<P> {
    /// No rows yet.
    pub fn new() -> Self {
        Self { atoms: Atoms::new(), rows: Vec::new(), postings: Vec::new() }
    }

    /// Adds a row. A row that matches nothing is left out. Ids are the caller's to keep distinct.
    ///
    /// # Errors
    /// When the index can hold no more (2^32 - 1 rows, or 4 GiB of texts); the row is left out.
    pub fn add(&mut self, rule: &Rule<P>) -> Result<(), TooMuch>
    where
        P: Clone,
    {
        if [&rule.source, &rule.destination].contains(&&AddressRule::Nothing) {
            return Ok(());
        }
        let postings = self.postings_of(rule).ok_or(TooMuch)?;
        self.postings.extend(postings);
        self.rows.push(Row { id: rule.id, payload: rule.payload.clone() });
        Ok(())
    }

    /// The postings of the row that is added next; `None` if it does not fit.
    fn postings_of(&mut self, rule: &Rule<P>) -> Option<SmallVec<[Posting; 1]>> {
        let row = u32::try_from(self.rows.len()).ok().filter(|&place| place < UNKNOWN)?;
        let users = rule.users.as_deref();
        u32::try_from(self.postings.len() + users.map_or(1, <[_]>::len)).ok()?;
        let source = self.atoms.intern(Form::Rule(rule.source.form()), rule.source.text())?;
        let destination = self.atoms.intern(Form::Rule(rule.destination.form()), rule.destination.text())?;
        let posting = |user| Posting { key: Key { source, destination, user }, row };
        match users {
            None => Some(smallvec![posting(Atom::EVERYTHING)]),
            Some(users) => {
                users.iter().map(|user| Some(posting(self.atoms.intern(Form::User, user.as_bytes())?))).collect()
            }
        }
    }

    /// Adds those rows of `index` that `keep` (by place) keeps.
    ///
    /// # Errors
    /// As [`Builder::add`].
    pub(super) fn copy(&mut self, index: &Index<P>, keep: impl Fn(u32) -> bool) -> Result<(), TooMuch>
    where
        P: Clone,
    {
        let mut atoms = vec![UNKNOWN; index.atoms.len()];
        let mut translate = |into: &mut Atoms, atom: Atom| {
            let known = &mut atoms[atom.0 as usize];
            if *known == UNKNOWN {
                let (form, text) = index.atoms.get(atom);
                *known = into.intern(form, text).ok_or(TooMuch)?.0;
            }
            Ok::<_, TooMuch>(Atom(*known))
        };
        let mut places = vec![UNKNOWN; index.rows.len()];
        self.rows.reserve(index.rows.len());
        for (place, row) in index.rows.iter().enumerate() {
            if keep(u32::try_from(place).map_err(|_| TooMuch)?) {
                places[place] = u32::try_from(self.rows.len()).ok().filter(|&n| n < UNKNOWN).ok_or(TooMuch)?;
                self.rows.push(Row { id: row.id, payload: row.payload.clone() });
            }
        }
        self.postings.reserve(index.postings.len());
        for posting in &index.postings {
            let row = places[posting.row as usize];
            if row != UNKNOWN {
                let Key { source, destination, user } = posting.key;
                let key = Key {
                    source: translate(&mut self.atoms, source)?,
                    destination: translate(&mut self.atoms, destination)?,
                    user: translate(&mut self.atoms, user)?,
                };
                self.postings.push(Posting { key, row });
            }
        }
        Ok(())
    }

    /// The index of what was added.
    pub fn finish(self) -> Index<P> {
        let Self { mut atoms, mut rows, mut postings } = self;
        sort_rows(&mut rows, &mut postings);
        // Within one key places ascend as ids do. One row may name a user twice.
        postings.sort_unstable();
        postings.dedup();
        atoms.shrink();
        rows.shrink_to_fit();
        postings.shrink_to_fit();

        let mut index = Index {
            atoms,
            rows,
            postings,
            groups: HashTable::new(),
            hasher: RandomState::default(),
            sources: Column::default(),
            destinations: Column::default(),
            pairs: [0; 7],
            users: false,
        };
        let first_of_group = |n: usize| n == 0 || index.postings[n].key != index.postings[n - 1].key;
        let firsts: Vec<u32> = (0..index.postings.len())
            .filter(|&n| first_of_group(n))
            .map(|n| u32::try_from(n).expect("postings_of refuses what does not fit 32 bits"))
            .collect();
        index.groups.reserve(firsts.len(), |_| unreachable!("an empty table moves no element"));
        for &first in &firsts {
            let key = index.postings[first as usize].key;
            index.groups.insert_unique(hash_of(&index.hasher, key), first, |&other| {
                hash_of(&index.hasher, index.postings[other as usize].key)
            });
            let (Form::Rule(source), source_text) = index.atoms.get(key.source) else { continue };
            let (Form::Rule(destination), destination_text) = index.atoms.get(key.destination) else { continue };
            index.sources.add(source, source_text);
            index.destinations.add(destination, destination_text);
            index.pairs[source as usize] |= bit(destination);
            index.users |= key.user != Atom::EVERYTHING;
        }
        index
    }
}

/// No place: stands for what has none yet.
const UNKNOWN: u32 = u32::MAX;

/// The rows are more than an index holds.
#[derive(Debug, Clone, Copy, thiserror::Error)]
#[error("more rows or texts than can be held (2^32 - 1 rows, 4 GiB of texts)")]
pub struct TooMuch;

/// Puts the rows into the order of their ids, if they did not come so.
fn sort_rows<P>(rows: &mut [Row<P>], postings: &mut [Posting]) {
    if rows.is_sorted_by_key(|row| row.id) {
        return;
    }
    let mut order: Vec<u32> = (0..).take(rows.len()).collect();
    order.sort_by_key(|&place| rows[place as usize].id);
    let mut places = vec![0_u32; rows.len()];
    for (new, &old) in (0..).zip(&order) {
        places[old as usize] = new;
    }
    for posting in postings {
        posting.row = places[posting.row as usize];
    }
    rows.sort_by_key(|row| row.id);
}

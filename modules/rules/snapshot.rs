//! What readers see: a big index, over it a middle one with what changed since the big one was made, and on
//! top a small one with the last changes.
//!
//! Immutable. A reader that took one goes on with it whatever changes meanwhile.

use std::sync::Arc;

use foldhash::HashSet;
use libvalvula::AddressKey;
use smallvec::SmallVec;

use super::index::Index;

/// What rows are looked for with.
#[derive(Debug, Clone, Copy)]
pub struct Seek<'a> {
    /// Held against the source.
    pub sender: &'a AddressKey,
    /// Held against the destination.
    pub recipient: &'a AddressKey,
    /// The SASL user, if authenticated.
    pub user: Option<&'a AddressKey>,
}

/// An index, and the rows of lower layers that it takes the place of.
pub(super) struct Layer<P> {
    pub(super) index: Arc<Index<P>>,
    /// Ids of rows that have changed or are gone since the layers below were made.
    hides: Arc<HashSet<i64>>,
    /// How many rows that are really there below `hides` hides.
    hidden: usize,
}

impl<P> Layer<P> {
    /// The layer under all others.
    pub(super) fn base(index: Arc<Index<P>>) -> Self {
        Self { index, hides: Arc::default(), hidden: 0 }
    }

    /// A layer over `below` without any change.
    pub(super) fn empty() -> Self {
        Self::base(Arc::new(Index::empty()))
    }

    /// A layer over `below` that hides rows of it.
    pub(super) fn over(below: &[&Self], index: Index<P>, hides: HashSet<i64>) -> Self {
        let hidden = hides.iter().filter(|id| is_in(below, **id)).count();
        Self { index: Arc::new(index), hides: Arc::new(hides), hidden }
    }
}

/// Whether a row is there in `layers`.
pub(super) fn is_in<P>(layers: &[&Layer<P>], id: i64) -> bool {
    layers
        .split_last()
        .is_some_and(|(top, below)| top.index.position(id).is_some() || (!top.hides.contains(&id) && is_in(below, id)))
}

impl<P> Clone for Layer<P> {
    fn clone(&self) -> Self {
        Self { index: Arc::clone(&self.index), hides: Arc::clone(&self.hides), hidden: self.hidden }
    }
}

/// The rows as they were at one moment.
pub struct Snapshot<P> {
    /// The big one first; each hides rows of those before it.
    pub(super) layers: [Layer<P>; 3],
    rows: usize,
}

/// A row that matches.
pub struct Hit<'a, P> {
    /// The row's id.
    pub id: i64,
    /// What the module keeps of it.
    pub payload: &'a P,
    index: &'a Index<P>,
    posting: u32,
}

impl<P> Hit<'_, P> {
    /// The row's source in normal form, as an administrator writes it; `(any)` for the empty rule.
    pub fn source(&self) -> String {
        self.index.rules_of(self.posting).0
    }

    /// The row's destination, likewise.
    pub fn destination(&self) -> String {
        self.index.rules_of(self.posting).1
    }
}

/// Layer, and a posting of its index.
type Cursor = (u8, u32);
type Cursors = SmallVec<[Cursor; 4]>;

/// The rows that match, one by one: specific ones (source and destination filled) before general ones,
/// inside each group by ascending id.
pub struct Matches<'a, P> {
    snapshot: &'a Snapshot<P>,
    specific: Cursors,
    general: Cursors,
}

impl<P> Snapshot<P> {
    pub(super) fn new(layers: [Layer<P>; 3]) -> Self {
        let held: usize = layers.iter().map(|layer| layer.index.len()).sum();
        let rows = held - layers.iter().map(|layer| layer.hidden).sum::<usize>();
        Self { layers, rows }
    }

    /// How many rows it has.
    pub fn len(&self) -> usize {
        self.rows
    }

    /// Whether it has no row.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Bytes held, without what the payloads point to.
    pub fn bytes(&self) -> usize {
        self.layers.iter().map(|layer| layer.index.bytes() + layer.hides.capacity() * 9).sum()
    }

    /// The rows that match, in the order in which they are tried.
    pub fn matches(&self, seek: Seek<'_>) -> Matches<'_, P> {
        let mut found = Matches { snapshot: self, specific: Cursors::new(), general: Cursors::new() };
        let Matches { specific, general, .. } = &mut found;
        for (layer, index) in self.indexes() {
            index.seek(
                seek.sender,
                seek.recipient,
                seek.user,
                |posting| specific.push((layer, posting)),
                |posting| general.push((layer, posting)),
            );
        }
        found
    }

    /// The rows whose source and destination match, but which are limited to SASL users that the request's
    /// is not one of; by ascending id. For people who ask why a row does not hold: costs more than
    /// [`Snapshot::matches`] when many rows have one source and destination.
    pub fn limited_to_others(&self, seek: Seek<'_>) -> Vec<Hit<'_, P>> {
        let held: HashSet<i64> = self.matches(seek).map(|hit| hit.id).collect();
        let mut found = Vec::new();
        for (layer, index) in self.indexes() {
            for posting in index.whatever_user(seek.sender, seek.recipient) {
                let (id, payload) = index.row(index.row_of(posting));
                if !self.is_hidden(layer, id) && !held.contains(&id) {
                    found.push(Hit { id, payload, index, posting });
                }
            }
        }
        found.sort_by_key(|hit| hit.id);
        found.dedup_by_key(|hit| hit.id);
        found
    }

    fn indexes(&self) -> impl Iterator<Item = (u8, &Index<P>)> {
        (0..).zip(self.layers.iter().map(|layer| &*layer.index))
    }

    fn is_hidden(&self, layer: u8, id: i64) -> bool {
        self.layers[usize::from(layer) + 1..].iter().any(|above| above.hides.contains(&id))
    }

    fn index(&self, layer: u8) -> &Index<P> {
        &self.layers[usize::from(layer)].index
    }

    fn id(&self, (layer, posting): Cursor) -> i64 {
        let index = self.index(layer);
        index.row(index.row_of(posting)).0
    }

    /// `cursor`, or the next of its group that is not hidden.
    fn alive(&self, mut cursor: Cursor) -> Option<Cursor> {
        while self.is_hidden(cursor.0, self.id(cursor)) {
            cursor.1 = self.index(cursor.0).next(cursor.1)?;
        }
        Some(cursor)
    }

    /// Takes the lowest id off `cursors`.
    fn take(&self, cursors: &mut Cursors) -> Option<Cursor> {
        cursors.retain(|cursor| match self.alive(*cursor) {
            Some(alive) => {
                *cursor = alive;
                true
            }
            None => false,
        });
        let (n, &lowest) = cursors.iter().enumerate().min_by_key(|(_, cursor)| self.id(**cursor))?;
        match self.index(lowest.0).next(lowest.1) {
            Some(next) => cursors[n].1 = next,
            None => drop(cursors.remove(n)),
        }
        Some(lowest)
    }
}

impl<'a, P> Iterator for Matches<'a, P> {
    type Item = Hit<'a, P>;

    fn next(&mut self) -> Option<Hit<'a, P>> {
        let (layer, posting) =
            self.snapshot.take(&mut self.specific).or_else(|| self.snapshot.take(&mut self.general))?;
        let index = self.snapshot.index(layer);
        let (id, payload) = index.row(index.row_of(posting));
        Some(Hit { id, payload, index, posting })
    }
}

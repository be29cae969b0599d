//! What readers see: a big index, and over it a small one with what changed since the big one was made.
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

/// The rows as they were at one moment.
pub struct Snapshot<P> {
    pub(super) base: Arc<Index<P>>,
    pub(super) overlay: Index<P>,
    /// Places of those rows of the base that were changed or removed since.
    pub(super) gone: HashSet<u32>,
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

#[derive(Clone, Copy)]
enum Layer {
    Base,
    Overlay,
}

type Cursors = SmallVec<[(Layer, u32); 4]>;

/// The rows that match, one by one: specific ones (source and destination filled) before general ones,
/// inside each group by ascending id.
pub struct Matches<'a, P> {
    snapshot: &'a Snapshot<P>,
    specific: Cursors,
    general: Cursors,
}

impl<P> Snapshot<P> {
    pub(super) fn new(base: Arc<Index<P>>) -> Self {
        Self { base, overlay: Index::empty(), gone: HashSet::default() }
    }

    /// How many rows it has.
    pub fn len(&self) -> usize {
        self.base.len() - self.gone.len() + self.overlay.len()
    }

    /// Whether it has no row.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Bytes held, without what the payloads point to.
    pub fn bytes(&self) -> usize {
        self.base.bytes() + self.overlay.bytes() + self.gone.capacity() * 8
    }

    /// The rows that match, in the order in which they are tried.
    pub fn matches(&self, seek: Seek<'_>) -> Matches<'_, P> {
        let mut found = Matches { snapshot: self, specific: Cursors::new(), general: Cursors::new() };
        let Matches { specific, general, .. } = &mut found;
        for (layer, index) in [(Layer::Base, &*self.base), (Layer::Overlay, &self.overlay)] {
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
        for (layer, index) in [(Layer::Base, &*self.base), (Layer::Overlay, &self.overlay)] {
            for posting in index.whatever_user(seek.sender, seek.recipient) {
                let place = index.row_of(posting);
                let (id, payload) = index.row(place);
                let gone = matches!(layer, Layer::Base) && self.gone.contains(&place);
                if !gone && !held.contains(&id) {
                    found.push(Hit { id, payload, index, posting });
                }
            }
        }
        found.sort_by_key(|hit| hit.id);
        found.dedup_by_key(|hit| hit.id);
        found
    }

    fn layer(&self, layer: Layer) -> &Index<P> {
        match layer {
            Layer::Base => &self.base,
            Layer::Overlay => &self.overlay,
        }
    }

    /// `cursor`, or the next of its group that is still there.
    fn alive(&self, (layer, posting): (Layer, u32)) -> Option<(Layer, u32)> {
        let index = self.layer(layer);
        let mut posting = posting;
        while matches!(layer, Layer::Base) && self.gone.contains(&index.row_of(posting)) {
            posting = index.next(posting)?;
        }
        Some((layer, posting))
    }

    /// Takes the lowest id off `cursors`.
    fn take(&self, cursors: &mut Cursors) -> Option<(Layer, u32)> {
        cursors.retain(|cursor| match self.alive(*cursor) {
            Some(alive) => {
                *cursor = alive;
                true
            }
            None => false,
        });
        let id = |&(layer, posting): &(Layer, u32)| {
            let index = self.layer(layer);
            index.row(index.row_of(posting)).0
        };
        let (n, &lowest) = cursors.iter().enumerate().min_by_key(|(_, cursor)| id(cursor))?;
        match self.layer(lowest.0).next(lowest.1) {
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
        let index = self.snapshot.layer(layer);
        let (id, payload) = index.row(index.row_of(posting));
        Some(Hit { id, payload, index, posting })
    }
}

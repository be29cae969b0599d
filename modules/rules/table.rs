//! Who changes the rows of a table: one changed row costs a rebuild of the few that changed last, never of all.
//!
//! Changes are indexed anew on top of what is there. When they are more than a few they move into the middle
//! layer, which is made anew then; when that has grown past a part of the big index, a thread of its own
//! makes a new big index of both, while readers and further changes go on.

use std::collections::BTreeMap;
use std::sync::Arc;

use arc_swap::{ArcSwap, Guard};
use foldhash::HashSet;
use parking_lot::Mutex;

use super::index::{Builder, Index, Rule, TooMuch};
use super::snapshot::{Layer, Snapshot};

/// What became of a row.
#[derive(Debug, Clone)]
pub enum Change<P> {
    /// It is new, or no longer what it was.
    Set(Rule<P>),
    /// It is gone, or holds no longer (inactive, faulty).
    Gone(i64),
}

/// The rows of one table. Cheap to clone: all clones are one table.
pub struct RuleTable<P>(Arc<Shared<P>>);

struct Shared<P> {
    current: ArcSwap<Snapshot<P>>,
    writer: Mutex<Writer<P>>,
}

struct Writer<P> {
    /// The last changes, and those before them since the base was made.
    top: Changes<P>,
    middle: Changes<P>,
    /// Number of the last change.
    serial: u64,
    /// Number of the last load of everything: a merge begun before it is thrown away.
    load: u64,
    merging: bool,
}

/// By id: when it was learnt, and the row as it is now, `None` for gone.
type Changes<P> = BTreeMap<i64, (u64, Option<Arc<Rule<P>>>)>;

/// A merge under way.
pub(super) struct Merge<P> {
    base: Arc<Index<P>>,
    changes: Changes<P>,
    serial: u64,
    load: u64,
}

/// More changes than this move into the middle layer. Few in tests, which else would seldom get there.
const TOP: usize = if cfg!(test) { 2 } else { 256 };
/// Fewer changes than this are never merged into the base.
const MERGE_FLOOR: usize = 2_048;
/// Merged when the changes are this part of the base.
const MERGE_PART: usize = 64;

impl<P> Clone for RuleTable<P> {
    fn clone(&self) -> Self {
        Self(Arc::clone(&self.0))
    }
}

impl<P: Clone + Send + Sync + 'static> Default for RuleTable<P> {
    fn default() -> Self {
        Self::new()
    }
}

impl<P: Clone + Send + Sync + 'static> RuleTable<P> {
    /// A table without rows.
    pub fn new() -> Self {
        let writer = Writer { top: Changes::new(), middle: Changes::new(), serial: 0, load: 0, merging: false };
        let current = Snapshot::new([Layer::empty(), Layer::empty(), Layer::empty()]);
        Self(Arc::new(Shared { current: ArcSwap::from_pointee(current), writer: Mutex::new(writer) }))
    }

    /// The rows as they are now. Costs no lock; to be held no longer than one look.
    pub fn now(&self) -> Guard<Arc<Snapshot<P>>> {
        self.0.current.load()
    }

    /// Replaces all rows.
    pub fn load(&self, rows: Index<P>) {
        let mut writer = self.0.writer.lock();
        writer.top.clear();
        writer.middle.clear();
        writer.load += 1;
        self.publish([Layer::base(Arc::new(rows)), Layer::empty(), Layer::empty()]);
    }

    /// Takes over what became of some rows.
    ///
    /// # Errors
    /// When the rows changed lately do not fit into an index. They are not seen then until the next change.
    pub fn apply(&self, changes: impl IntoIterator<Item = Change<P>>) -> Result<(), TooMuch> {
        let mut writer = self.0.writer.lock();
        let [base, mut middle, _] = self.now().layers.clone();
        for change in changes {
            writer.serial += 1;
            let serial = writer.serial;
            match change {
                Change::Set(rule) => drop(writer.top.insert(rule.id, (serial, Some(Arc::new(rule))))),
                Change::Gone(id) => drop(writer.top.insert(id, (serial, None))),
            }
        }
        if writer.top.len() > TOP {
            let mut top = std::mem::take(&mut writer.top);
            writer.middle.append(&mut top);
            middle = layer(&[&base], &writer.middle)?;
        }
        let top = layer(&[&base, &middle], &writer.top)?;
        self.publish([base, middle, top]);
        if writer.middle.len() > MERGE_FLOOR.max(self.now().layers[0].index.len() / MERGE_PART) {
            self.merge_behind(&mut writer);
        }
        Ok(())
    }

    fn publish(&self, layers: [Layer<P>; 3]) {
        self.0.current.store(Arc::new(Snapshot::new(layers)));
    }

    /// Begins a merge on a thread of its own, unless one is under way.
    fn merge_behind(&self, writer: &mut Writer<P>) {
        let Some(merge) = self.begin(writer) else { return };
        let table = self.clone();
        let spawned = std::thread::Builder::new().name("rules-merge".to_owned()).spawn(move || {
            let _ended = Ended(&table);
            table.finish(merge.serial, merge.load, merge.run());
        });
        if spawned.is_err() {
            // No thread to be had now: the next change tries again.
            writer.merging = false;
        }
    }

    /// What the middle layer holds is merged; the top stays where it is.
    fn begin(&self, writer: &mut Writer<P>) -> Option<Merge<P>> {
        if std::mem::replace(&mut writer.merging, true) {
            return None;
        }
        let base = Arc::clone(&self.now().layers[0].index);
        Some(Merge { base, changes: writer.middle.clone(), serial: writer.serial, load: writer.load })
    }

    #[cfg(test)]
    pub(super) fn begin_merge(&self) -> Option<Merge<P>> {
        let mut writer = self.0.writer.lock();
        let mut top = std::mem::take(&mut writer.top);
        writer.middle.append(&mut top);
        let base = self.now().layers[0].clone();
        let middle = layer(&[&base], &writer.middle).ok()?;
        self.publish([base, middle, Layer::empty()]);
        self.begin(&mut writer)
    }

    #[cfg(test)]
    pub(super) fn end_merge(&self, merge: Merge<P>) {
        let _ended = Ended(self);
        self.finish(merge.serial, merge.load, merge.run());
    }

    /// Puts a merged base in place, under what changed meanwhile.
    fn finish(&self, serial: u64, load: u64, merged: Result<Index<P>, TooMuch>) {
        // What can't be merged goes on as it is.
        let Ok(merged) = merged else { return };
        let mut writer = self.0.writer.lock();
        if writer.load != load {
            return;
        }
        let mut later = writer.middle.clone();
        later.retain(|_, (learnt, _)| *learnt > serial);
        let base = Layer::base(Arc::new(merged));
        let Ok(middle) = layer(&[&base], &later) else { return };
        let Ok(top) = layer(&[&base, &middle], &writer.top) else { return };
        writer.middle = later;
        self.publish([base, middle, top]);
    }
}

/// Marks the end of a merge also when it panicked, so that the next one can begin.
struct Ended<'a, P: Clone + Send + Sync + 'static>(&'a RuleTable<P>);

impl<P: Clone + Send + Sync + 'static> Drop for Ended<'_, P> {
    fn drop(&mut self) {
        self.0.0.writer.lock().merging = false;
    }
}

impl<P: Clone> Merge<P> {
    fn run(&self) -> Result<Index<P>, TooMuch> {
        let mut builder = Builder::new();
        let changed: HashSet<u32> = self.changes.keys().filter_map(|&id| self.base.position(id)).collect();
        builder.copy(&self.base, |place| !changed.contains(&place))?;
        add_set(&mut builder, &self.changes)?;
        Ok(builder.finish())
    }
}

fn layer<P: Clone>(below: &[&Layer<P>], changes: &Changes<P>) -> Result<Layer<P>, TooMuch> {
    let mut builder = Builder::new();
    add_set(&mut builder, changes)?;
    Ok(Layer::over(below, builder.finish(), changes.keys().copied().collect()))
}

fn add_set<P: Clone>(builder: &mut Builder<P>, changes: &Changes<P>) -> Result<(), TooMuch> {
    changes.values().filter_map(|(_, rule)| rule.as_deref()).try_for_each(|rule| builder.add(rule))
}

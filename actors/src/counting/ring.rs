//! Things in the order in which they came, each with a key: found by it, and taken from the front.
//!
//! Thousands of messages are remembered and forgotten again each second, and most of them are never asked for: so a
//! thing is written where the last one was, taken from where the one before was taken, and of the index only a few
//! bytes are touched for each.

use std::collections::VecDeque;

use hashbrown::HashTable;
use hashbrown::hash_table::Entry;

/// Fewer places than this are not worth tidying up.
const FEW: usize = 64;

/// The ring. A key is a hash already, under a seed that nobody outside knows.
#[derive(Debug)]
pub(super) struct Ring<T> {
    /// From the first to the last; `None`: removed from between others.
    slots: VecDeque<(u128, Option<T>)>,
    /// Number of the first slot. Those behind it count up, and begin again at 0 after the greatest number.
    first: u32,
    /// The numbers of the slots that hold something, by the hash of their keys.
    index: HashTable<u32>,
}

impl<T> Default for Ring<T> {
    fn default() -> Self {
        Self { slots: VecDeque::new(), first: 0, index: HashTable::new() }
    }
}

impl<T> Ring<T> {
    /// How many there are.
    pub(super) fn len(&self) -> usize {
        self.index.len()
    }

    /// Places that are held, with and without something in them.
    #[cfg(test)]
    pub(super) fn places(&self) -> usize {
        self.slots.len()
    }

    pub(super) fn get(&self, key: u128) -> Option<&T> {
        let number = self.index.find(hash(key), |number| self.key_of(*number) == Some(key))?;
        self.slots.get(self.place(*number))?.1.as_ref()
    }

    pub(super) fn get_mut(&mut self, key: u128) -> Option<&mut T> {
        let number = *self.index.find(hash(key), |number| self.key_of(*number) == Some(key))?;
        let place = self.place(number);
        self.slots.get_mut(place)?.1.as_mut()
    }

    /// What stands under `key`; if there is nothing, what `make` makes comes there, behind all others.
    pub(super) fn get_or_push(&mut self, key: u128, make: impl FnOnce() -> T) -> &mut T {
        let (slots, first) = (&mut self.slots, self.first);
        let key_of = |number: &u32| slots.get(place(first, *number)).map(|slot| slot.0);
        let hasher = |number: &u32| key_of(number).map_or(0, hash);
        let place = match self.index.entry(hash(key), |number| key_of(number) == Some(key), hasher) {
            Entry::Occupied(known) => place(first, *known.get()),
            Entry::Vacant(vacant) => {
                let place = slots.len();
                vacant.insert(number(first, place));
                slots.push_back((key, None));
                place
            }
        };
        self.slots[place].1.get_or_insert_with(make)
    }

    /// Puts `value` under `key`: in the place of what stands there, or behind all others.
    pub(super) fn put(&mut self, key: u128, value: T) {
        match self.get_mut(key) {
            Some(known) => *known = value,
            None => {
                self.get_or_push(key, || value);
            }
        }
    }

    /// The first one.
    pub(super) fn front(&self) -> Option<&T> {
        // There is something in the first place, if there is one: see `trim`.
        self.slots.front()?.1.as_ref()
    }

    /// Takes the first one out.
    pub(super) fn pop_front(&mut self) -> Option<(u128, T)> {
        let (key, value) = self.slots.pop_front()?;
        let number = self.first;
        self.first = self.first.wrapping_add(1);
        if let Ok(known) = self.index.find_entry(hash(key), |other| *other == number) {
            known.remove();
        }
        self.trim();
        Some((key, value?))
    }

    /// Takes what stands under `key` out.
    pub(super) fn remove(&mut self, key: u128) -> Option<T> {
        let (slots, first) = (&self.slots, self.first);
        let is_key = |number: &u32| slots.get(place(first, *number)).is_some_and(|slot| slot.0 == key);
        let known = self.index.find_entry(hash(key), is_key).ok()?;
        let (number, _) = known.remove();
        let value = self.slots.get_mut(place(first, number))?.1.take();
        self.trim();
        if self.slots.len() > FEW + 2 * self.len() {
            self.tidy();
        }
        value
    }

    /// Gives memory back that is not needed any more.
    pub(super) fn shrink(&mut self) {
        if self.slots.capacity() > FEW && self.slots.capacity() / 8 > self.slots.len() {
            self.tidy();
            self.slots.shrink_to_fit();
            let (slots, first) = (&self.slots, self.first);
            self.index.shrink_to_fit(|number| slots.get(place(first, *number)).map_or(0, |slot| hash(slot.0)));
        }
    }

    /// Drops empty places at both ends.
    fn trim(&mut self) {
        while self.slots.front().is_some_and(|slot| slot.1.is_none()) {
            self.slots.pop_front();
            self.first = self.first.wrapping_add(1);
        }
        while self.slots.back().is_some_and(|slot| slot.1.is_none()) {
            self.slots.pop_back();
        }
    }

    /// Drops empty places from between others.
    fn tidy(&mut self) {
        self.slots.retain(|slot| slot.1.is_some());
        self.index.clear();
        let (slots, first) = (&self.slots, self.first);
        let hasher = |number: &u32| slots.get(place(first, *number)).map_or(0, |slot| hash(slot.0));
        for (place, (key, _)) in slots.iter().enumerate() {
            self.index.insert_unique(hash(*key), number(first, place), hasher);
        }
    }

    fn key_of(&self, number: u32) -> Option<u128> {
        self.slots.get(self.place(number)).map(|slot| slot.0)
    }

    fn place(&self, number: u32) -> usize {
        place(self.first, number)
    }
}

/// Where slot `number` is, when the first one's number is `first`.
fn place(first: u32, number: u32) -> usize {
    number.wrapping_sub(first) as usize
}

/// The number of the slot at `place`. There are never as many as there are numbers.
fn number(first: u32, place: usize) -> u32 {
    first.wrapping_add(u32::try_from(place).unwrap_or(u32::MAX))
}

fn hash(key: u128) -> u64 {
    (key >> 64) as u64
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use proptest::prelude::*;

    use super::*;

    #[derive(Debug, Clone, Copy)]
    enum Step {
        Push(u128),
        Put(u128),
        Remove(u128),
        Pop,
        Shrink,
    }

    fn key(small: u128) -> u128 {
        // Some of them share a hash.
        (small / 2) << 64 | small
    }

    fn step() -> impl Strategy<Value = Step> {
        let key = || (0_u128..300).prop_map(key);
        prop_oneof![
            6 => key().prop_map(Step::Push),
            2 => key().prop_map(Step::Put),
            3 => key().prop_map(Step::Remove),
            2 => Just(Step::Pop),
            1 => Just(Step::Shrink),
        ]
    }

    proptest! {
        /// It is a map, and a queue: also where numbers begin again, and with any of them removed from between.
        #[test]
        fn it_holds_what_a_map_and_a_queue_hold(
            steps in prop::collection::vec(step(), 0..600),
            first in prop_oneof![Just(0), u32::MAX - 100..=u32::MAX],
        ) {
            let mut ring = Ring { first, ..Ring::default() };
            let (mut map, mut queue) = (BTreeMap::new(), VecDeque::new());
            for (turn, step) in steps.into_iter().enumerate() {
                match step {
                    Step::Push(key) => {
                        let expected = *map.entry(key).or_insert_with(|| {
                            queue.push_back(key);
                            turn
                        });
                        prop_assert_eq!(*ring.get_or_push(key, || turn), expected);
                    }
                    Step::Put(key) => {
                        if map.insert(key, turn).is_none() {
                            queue.push_back(key);
                        }
                        ring.put(key, turn);
                    }
                    Step::Remove(key) => {
                        queue.retain(|other| *other != key);
                        prop_assert_eq!(ring.remove(key), map.remove(&key));
                    }
                    Step::Pop => {
                        let key = queue.pop_front();
                        prop_assert_eq!(ring.pop_front(), key.and_then(|key| Some((key, map.remove(&key)?))));
                    }
                    Step::Shrink => ring.shrink(),
                }
                prop_assert_eq!(ring.len(), map.len());
                prop_assert_eq!(ring.front(), queue.front().and_then(|key| map.get(key)));
                prop_assert!(ring.places() <= FEW + 2 * map.len());
                let some = key(turn as u128 % 300);
                prop_assert_eq!(ring.get(some), map.get(&some));
                prop_assert_eq!(ring.get_mut(some), map.get_mut(&some));
            }
            for key in (0..300).map(key) {
                prop_assert_eq!(ring.get(key), map.get(&key));
            }
        }
    }
}

//! The ids of a table's rows in little memory: 512 to a block of bits.

use std::collections::BTreeMap;

const BITS: i64 = 512;
const WORDS: usize = 8;

/// A set of row ids.
#[derive(Debug, Default, Clone, PartialEq, Eq)]
pub(super) struct Ids {
    blocks: BTreeMap<i64, [u64; WORDS]>,
    len: u64,
}

impl Ids {
    /// Adds `id`; whether it was new.
    pub(super) fn insert(&mut self, id: i64) -> bool {
        let (block, word, bit) = place(id);
        let words = self.blocks.entry(block).or_default();
        let new = words[word] & bit == 0;
        words[word] |= bit;
        self.len += u64::from(new);
        new
    }

    /// Removes `id`; whether it was there.
    pub(super) fn remove(&mut self, id: i64) -> bool {
        let (block, word, bit) = place(id);
        let Some(words) = self.blocks.get_mut(&block) else { return false };
        let there = words[word] & bit != 0;
        words[word] &= !bit;
        self.len -= u64::from(there);
        if *words == [0; WORDS] {
            self.blocks.remove(&block);
        }
        there
    }

    pub(super) fn contains(&self, id: i64) -> bool {
        let (block, word, bit) = place(id);
        self.blocks.get(&block).is_some_and(|words| words[word] & bit != 0)
    }

    pub(super) fn len(&self) -> u64 {
        self.len
    }

    pub(super) fn first(&self) -> Option<i64> {
        let (block, words) = self.blocks.first_key_value()?;
        let (index, word) = (0..).zip(words).find(|(_, word)| **word != 0)?;
        Some(block * BITS + index * 64 + i64::from(word.trailing_zeros()))
    }

    pub(super) fn last(&self) -> Option<i64> {
        let (block, words) = self.blocks.last_key_value()?;
        let (index, word) = (0..).zip(words).filter(|(_, word)| **word != 0).last()?;
        Some(block * BITS + index * 64 + 63 - i64::from(word.leading_zeros()))
    }

    /// How many are `to` or less.
    pub(super) fn count_up_to(&self, to: i64) -> u64 {
        self.range(i64::MIN, to).map(|_| 1).sum()
    }

    /// Removes all that are `to` or less.
    pub(super) fn remove_up_to(&mut self, to: i64) {
        // The block that `to` is in may be needed in part.
        let kept = self.blocks.split_off(&to.div_euclid(BITS));
        let dropped = std::mem::replace(&mut self.blocks, kept);
        self.len -= dropped.values().flatten().map(|word| u64::from(word.count_ones())).sum::<u64>();
        let rest: Vec<i64> = self.range(i64::MIN, to).collect();
        for id in rest {
            self.remove(id);
        }
    }

    /// The ids from `from` to `to`, both included, ascending.
    pub(super) fn range(&self, from: i64, to: i64) -> impl Iterator<Item = i64> + '_ {
        let blocks = self.blocks.range(from.div_euclid(BITS)..=to.div_euclid(BITS));
        blocks
            .flat_map(|(block, words)| (0..BITS).filter(|bit| is_set(words, *bit)).map(move |bit| block * BITS + bit))
            .filter(move |id| (from..=to).contains(id))
    }
}

fn is_set(words: &[u64; WORDS], bit: i64) -> bool {
    usize::try_from(bit).is_ok_and(|bit| words[bit / 64] & (1 << (bit % 64)) != 0)
}

/// Block, word in it, bit in that.
fn place(id: i64) -> (i64, usize, u64) {
    let bit = usize::try_from(id.rem_euclid(BITS)).expect("the remainder by 512 is within 0..512");
    (id.div_euclid(BITS), bit / 64, 1 << (bit % 64))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::collections::BTreeSet;

    proptest! {
        #[test]
        fn it_is_a_set(steps in proptest::collection::vec((any::<bool>(), -2000i64..2000), 0..300)) {
            let (mut ids, mut model) = (Ids::default(), BTreeSet::new());
            for (add, id) in steps {
                if add {
                    prop_assert_eq!(ids.insert(id), model.insert(id));
                } else {
                    prop_assert_eq!(ids.remove(id), model.remove(&id));
                }
                prop_assert_eq!(ids.contains(id), add);
                prop_assert_eq!(ids.len(), model.len() as u64);
                prop_assert_eq!(ids.first(), model.first().copied());
                prop_assert_eq!(ids.last(), model.last().copied());
                prop_assert!(ids.range(-700, 900).eq(model.range(-700..=900).copied()));
                prop_assert_eq!(ids.count_up_to(100), model.range(..=100).count() as u64);
            }
            ids.remove_up_to(300);
            prop_assert!(ids.range(i64::MIN, i64::MAX).eq(model.range(301..).copied()));
            prop_assert_eq!(ids.len(), model.range(301..).count() as u64);
        }
    }

    #[test]
    fn the_ends_of_the_numbers_are_ids_like_others() {
        let mut ids = Ids::default();
        for id in [i64::MIN, i64::MAX, 0] {
            assert!(ids.insert(id));
        }
        assert_eq!((ids.first(), ids.last(), ids.len()), (Some(i64::MIN), Some(i64::MAX), 3));
        assert!(ids.range(i64::MIN, i64::MAX).eq([i64::MIN, 0, i64::MAX]));
    }
}

//! A set of interrupt vectors that knows its highest: IRR, ISR and TMR (SDM 11.8.4).

use base::Vector;

/// The first vector that an interrupt may have; those below are exceptions' alone (SDM 11.5.2).
pub(super) const FIRST_LEGAL_VECTOR: u8 = 16;

/// A set of vectors from 16 up. Invariant: `highest` is the highest member, or 0 when there is none.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct VectorSet {
    words: [u64; 4],
    highest: u8,
}

impl VectorSet {
    /// The set of the bits in `words`, or `None` when one is below 16.
    pub(super) fn from_words(words: [u64; 4]) -> Option<Self> {
        let [low, ..] = words;
        if low & ((1 << FIRST_LEGAL_VECTOR) - 1) != 0 {
            return None;
        }
        let mut set = Self { words, highest: 0 };
        set.highest = set.find_highest();
        Some(set)
    }

    /// The members of both.
    pub(super) fn union(&self, other: &Self) -> Self {
        let mut words = self.words;
        words.iter_mut().zip(other.words).for_each(|(word, more)| *word |= more);
        Self { words, highest: self.highest.max(other.highest) }
    }

    /// The members as 256 bits.
    pub(super) const fn words(&self) -> [u64; 4] {
        self.words
    }

    /// The 32-bit register `index` of the eight that show the set.
    pub(super) fn register(&self, index: u32) -> u32 {
        let word = self.words.get(index as usize / 2).copied().unwrap_or_default();
        (word >> (32 * (index % 2))) as u32
    }

    /// The highest member.
    #[inline]
    pub(super) const fn highest(&self) -> Option<Vector> {
        match self.highest {
            0 => None,
            vector => Some(Vector(vector)),
        }
    }

    /// Whether `vector` is a member.
    #[inline]
    pub(super) fn contains(&self, Vector(vector): Vector) -> bool {
        self.words.get(usize::from(vector >> 6)).is_some_and(|word| word >> (vector & 63) & 1 != 0)
    }

    /// Adds `vector`, which is at least 16.
    #[inline]
    pub(super) fn insert(&mut self, Vector(vector): Vector) {
        if let Some(word) = self.words.get_mut(usize::from(vector >> 6)) {
            *word |= 1 << (vector & 63);
            self.highest = self.highest.max(vector);
        }
    }

    /// Removes `vector`.
    #[inline]
    pub(super) fn remove(&mut self, Vector(vector): Vector) {
        if let Some(word) = self.words.get_mut(usize::from(vector >> 6)) {
            *word &= !(1 << (vector & 63));
        }
        if vector == self.highest {
            self.highest = self.find_highest();
        }
    }

    fn find_highest(&self) -> u8 {
        let [w0, w1, w2, w3] = self.words;
        for (word, first) in [(w3, 192), (w2, 128), (w1, 64), (w0, 0)] {
            if word != 0 {
                return first + (63 - word.leading_zeros()) as u8;
            }
        }
        0
    }
}

#[cfg(test)]
mod tests {
    extern crate std;
    use super::*;
    use proptest::prelude::*;
    use std::{collections::BTreeSet, vec::Vec};

    #[test]
    fn a_set_with_an_exception_vector_is_no_set() {
        assert_eq!(VectorSet::from_words([1 << 15, 0, 0, 0]), None);
        assert_eq!(VectorSet::from_words([1 << 16, 0, 0, 0]).unwrap().highest(), Some(Vector(16)));
    }

    proptest! {
        #[test]
        fn it_behaves_as_a_sorted_set(steps: Vec<(bool, u8)>) {
            let (mut set, mut model) = (VectorSet::default(), BTreeSet::new());
            for (insert, vector) in steps.into_iter().filter(|(_, v)| *v >= FIRST_LEGAL_VECTOR) {
                if insert {
                    set.insert(Vector(vector));
                    model.insert(vector);
                } else {
                    set.remove(Vector(vector));
                    model.remove(&vector);
                }
                prop_assert_eq!(set.highest(), model.last().copied().map(Vector));
                prop_assert_eq!(set.contains(Vector(vector)), model.contains(&vector));
                prop_assert_eq!(VectorSet::from_words(set.words()), Some(set));
                let bit = set.register(u32::from(vector / 32)) >> (vector % 32) & 1;
                prop_assert_eq!(bit == 1, model.contains(&vector));
            }
        }
    }
}

//! Where in a list what has a hash is.
//!
//! Open addressing with linear probing, at most half full; what goes leaves no mark, since those behind it move up. So a look-up, and
//! what is added behind it, touch one cache line mostly, which can be asked for ahead.

use crate::prefetch;
use alloc::vec;
use alloc::vec::Vec;

/// A place in a list, by hash.
#[derive(Debug, Default)]
pub(crate) struct Index {
    /// High half of the hash, and one more than the place; 0 where a slot is free. As many as a power of 2, or none.
    slots: Vec<u64>,
}

const HASH: u64 = !0 << 32;

#[inline]
fn slot(hash: u64, place: usize) -> u64 {
    hash & HASH | (place as u64 + 1)
}

impl Index {
    /// Bytes of a place, about: it is a quarter to a half full.
    pub(crate) const PLACE: usize = 3 * size_of::<u64>();

    /// The places of these hashes, with room for `places`, which are as many.
    pub(crate) fn new(places: usize, of: impl Iterator<Item = (u64, usize)>) -> Index {
        let mut index = Index { slots: vec![0; 2 * places.next_power_of_two()] };
        of.for_each(|(hash, place)| index.insert(hash, place));
        index
    }

    /// Whether it is half full at most with so many places.
    pub(crate) fn has_room(&self, places: usize) -> bool {
        2 * places <= self.slots.len()
    }

    /// Bytes of it.
    pub(crate) fn heap(&self) -> usize {
        self.slots.capacity() * size_of::<u64>()
    }

    /// The slot where what has this hash, or is in this slot, would best be.
    #[inline]
    fn home(&self, hash: u64) -> usize {
        (hash >> 32) as usize & self.slots.len().wrapping_sub(1)
    }

    #[inline]
    fn behind(&self, at: usize) -> usize {
        (at + 1) & (self.slots.len() - 1)
    }

    /// Asks memory for where a hash is looked for.
    #[inline]
    pub(crate) fn warm(&self, hash: u64) {
        prefetch::line(self.slots.as_ptr().wrapping_add(self.home(hash)));
    }

    /// The place of that hash that `is` the one.
    #[inline]
    pub(crate) fn find(&self, hash: u64, is: impl Fn(usize) -> bool) -> Option<usize> {
        let mut at = self.home(hash);
        loop {
            let found = self.slots.get(at).copied().filter(|found| *found != 0)?;
            let place = (found & !HASH) as usize - 1;
            if found & HASH == hash & HASH && is(place) {
                return Some(place);
            }
            at = self.behind(at);
        }
    }

    /// Adds a place that is not there; there is room.
    #[inline]
    pub(crate) fn insert(&mut self, hash: u64, place: usize) {
        let mut at = self.home(hash);
        while self.slots[at] != 0 {
            at = self.behind(at);
        }
        self.slots[at] = slot(hash, place);
    }

    /// Removes a place that is there; those behind it move up as far as they may.
    #[inline]
    pub(crate) fn remove(&mut self, hash: u64, place: usize) {
        let mut free = self.home(hash);
        while self.slots[free] != slot(hash, place) {
            assert_ne!(self.slots[free], 0, "place {place} is not in the index");
            free = self.behind(free);
        }
        let mut at = free;
        loop {
            at = self.behind(at);
            let moved = self.slots[at];
            if moved == 0 {
                break;
            }
            let distance = |from: usize| at.wrapping_sub(from) & (self.slots.len() - 1);
            if distance(self.home(moved)) >= distance(free) {
                self.slots[free] = moved;
                free = at;
            }
        }
        self.slots[free] = 0;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::collection::vec;
    use proptest::prelude::*;

    proptest! {
        /// Hashes of few homes, at both ends of the slots, so that runs are long and go around.
        #[test]
        fn it_knows_what_is_there_and_nothing_else(steps in vec((0..6_u64, 0..64_usize), 1..300)) {
            let hash = |home: u64, place: usize| (home.wrapping_sub(3) << 32) ^ (place as u64 % 3) << 62;
            let mut index = Index::new(64, core::iter::empty());
            let mut known: Vec<Option<u64>> = vec![None; 64];
            for (home, place) in steps {
                match known[place].take() {
                    Some(hash) => index.remove(hash, place),
                    None => {
                        known[place] = Some(hash(home, place));
                        index.insert(hash(home, place), place);
                    }
                }
                for (place, is_there) in known.iter().enumerate() {
                    for home in 0..6 {
                        let hash = hash(home, place);
                        prop_assert_eq!(index.find(hash, |at| at == place).is_some(), *is_there == Some(hash));
                    }
                }
            }
        }
    }
}

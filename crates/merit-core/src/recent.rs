//! The last inputs of a partition by id, so that one that comes again is known.

use crate::index::Index;
use crate::{Datum, List, Row, Shape, datum, prefetch};
use alloc::vec::Vec;
use core::marker::PhantomData;
use sha2::{Digest as _, Sha256};

/// Places in one row; a ring has a multiple of them.
pub const CHUNK: usize = 4_096;

/// How many inputs before a place is taken memory is asked for what that touches: its partition has others in between, and the
/// partitions of a core push each other out of its cache.
const AHEAD: usize = 4;

/// The name of the store that a ring is kept in.
pub trait StoreName {
    /// As in `topology.toml`.
    const NAME: &'static str;
}

datum! {
    /// An input that came under an id of its sender.
    Known {
        /// First 16 bytes of SHA-256 of the id and what it is good for.
        id: [u8; 16],
        /// XXH3-64 of what was sent.
        content: [u8; 8],
        /// Offset of the input in its partition.
        offset: u64,
    }
}

/// The last inputs by id: a ring in the order in which they came, and an index into it.
#[derive(Debug)]
pub struct Recent<S> {
    ring: Vec<Known>,
    capacity: usize,
    /// Inputs that ever entered; the next one goes to this place modulo the capacity.
    entered: u64,
    index: Index,
    /// Rows that changed, by chunk.
    dirty: Vec<bool>,
    store: PhantomData<S>,
}

impl<S> Default for Recent<S> {
    fn default() -> Self {
        Recent { ring: Vec::new(), capacity: CHUNK, entered: 0, index: Index::default(), dirty: Vec::new(), store: PhantomData }
    }
}

/// What a ring keeps of an id.
pub fn id_digest(id: &str) -> [u8; 16] {
    let hash: [u8; 32] = Sha256::digest(id).into();
    let mut digest = [0; 16];
    digest.copy_from_slice(&hash[..16]);
    digest
}

fn hash_of(id: &[u8; 16]) -> u64 {
    id.iter().take(8).fold(0, |value, byte| value << 8 | u64::from(*byte))
}

impl<S> Recent<S> {
    /// Asks memory for where that id is looked for.
    #[inline]
    pub fn warm(&self, id: &[u8; 16]) {
        self.index.warm(hash_of(id));
    }

    /// The input of that id and its place in the ring, while it is remembered.
    #[inline]
    pub fn find(&self, id: &[u8; 16]) -> Option<(usize, &Known)> {
        let at = self.index.find(hash_of(id), |at| self.ring[at].id == *id)?;
        Some((at, &self.ring[at]))
    }

    /// Remembers an input whose id is not in the ring; the oldest gives way. Returns its place.
    #[inline]
    pub fn insert(&mut self, known: Known) -> usize {
        let at = (self.entered % self.capacity as u64) as usize;
        self.entered += 1;
        if at < self.ring.len() {
            self.index.remove(hash_of(&self.ring[at].id), at);
            self.ring[at] = known;
            if let Some(soon) = self.ring.get(at + AHEAD) {
                self.index.warm(hash_of(&soon.id));
                prefetch::line(self.ring.as_ptr().wrapping_add(at + 2 * AHEAD));
            }
        } else {
            self.ring.push(known);
        }
        match self.index.has_room(self.ring.len()) {
            true => self.index.insert(hash_of(&known.id), at),
            false => self.rebuild(),
        }
        self.mark(at);
        at
    }

    fn rebuild(&mut self) {
        let of = self.ring.iter().enumerate().map(|(at, known)| (hash_of(&known.id), at));
        self.index = Index::new(self.ring.len(), of);
    }

    /// Keeps the newest `capacity` inputs from here on; their places are others then.
    pub fn resize(&mut self, capacity: usize) {
        if capacity == self.capacity {
            return;
        }
        let kept = self.ring.len().min(capacity) as u64;
        let newest: Vec<Known> = (self.entered - kept..self.entered).map(|at| self.ring[(at % self.capacity as u64) as usize]).collect();
        let chunks = self.dirty.len();
        *self = Recent { capacity, ..Recent::default() };
        self.dirty = alloc::vec![true; chunks];
        newest.into_iter().for_each(|known| {
            self.insert(known);
        });
    }

    fn mark(&mut self, at: usize) {
        let chunk = at / CHUNK;
        if self.dirty.len() <= chunk {
            self.dirty.resize(chunk + 1, false);
        }
        self.dirty[chunk] = true;
    }
}

datum! {
    /// Row 0 of the ring.
    RingRow {
        /// Inputs that ever entered.
        entered: u64,
        /// Places in the ring.
        capacity: u64,
    }
}

/// Row 0 tells where the ring stands; row 1 + n holds places n * 4,096 and on.
impl<S: StoreName> Row for Recent<S> {
    const STORE: &'static str = S::NAME;
    type Shared = ();

    fn shape(part: u32) -> &'static Shape {
        if part == 0 { RingRow::SHAPE } else { List::<Known>::SHAPE }
    }

    fn save(&mut self, scratch: &mut Vec<u8>, put: &mut dyn FnMut(u32, &[u8])) {
        scratch.clear();
        RingRow { entered: self.entered, capacity: self.capacity as u64 }.put(scratch);
        put(0, scratch);
        for (chunk, dirty) in self.dirty.iter_mut().enumerate().filter(|(_, dirty)| **dirty) {
            *dirty = false;
            scratch.clear();
            let end = self.ring.len().min((chunk + 1) * CHUNK);
            // The row of places that a smaller ring does not have goes.
            if let Some(places) = self.ring.get(chunk * CHUNK..end).filter(|places| !places.is_empty()) {
                List::Slice(places).put(scratch);
            }
            put(chunk as u32 + 1, scratch);
        }
    }

    fn load(&mut self, part: u32, bytes: &[u8]) -> Option<()> {
        if part == 0 {
            let row = RingRow::decode(bytes)?;
            (self.entered, self.capacity) = (row.entered, usize::try_from(row.capacity).ok()?);
        } else {
            let mut places = (part as usize - 1) * CHUNK..;
            datum::each_item(bytes, |known: Known| {
                let place = places.next()?;
                self.ring.resize(self.ring.len().max(place + 1), known);
                self.ring[place] = known;
                Some(())
            })?;
        }
        Some(())
    }

    fn loaded(&mut self, _: &mut ()) {
        self.dirty = alloc::vec![false; self.ring.len().div_ceil(CHUNK)];
        self.rebuild();
    }

    fn heap(&self) -> usize {
        self.ring.capacity() * size_of::<Known>() + self.index.heap()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::table::{RowMap, Single, Store};
    use proptest::prelude::*;
    use std::collections::VecDeque;
    use std::sync::Arc;

    #[derive(Debug)]
    struct Name;

    impl StoreName for Name {
        const NAME: &'static str = "recent";
    }

    fn known(number: u64) -> Known {
        let mut id = [7; 16];
        // Both halves: the index hashes the first one alone, which three share here, and is spread as a digest is.
        id[..8].copy_from_slice(&(number / 3).wrapping_mul(0x9e37_79b9_7f4a_7c15).to_be_bytes());
        id[8..].copy_from_slice(&number.to_be_bytes());
        Known { id, content: number.to_be_bytes(), offset: number }
    }

    /// What happens to a ring.
    #[derive(Clone, Debug)]
    enum Step {
        Insert(u64),
        Resize(usize),
        /// A checkpoint, after which a fresh ring goes on from the rows.
        Restart,
    }

    fn steps() -> impl Strategy<Value = Vec<Step>> {
        let counts = prop_oneof![Just(1), Just(CHUNK as u64 - 1), Just(CHUNK as u64), 0..3 * CHUNK as u64];
        let sizes = (1_usize..4).prop_map(|chunks| Step::Resize(chunks * CHUNK));
        prop::collection::vec(prop_oneof![2 => counts.prop_map(Step::Insert), 1 => sizes, 1 => Just(Step::Restart)], 1..12)
    }

    /// Compares a ring with the newest inputs in their order.
    fn check(ring: &Recent<Name>, newest: &VecDeque<u64>, next: u64) {
        for number in newest {
            let (place, found) = ring.find(&known(*number).id).unwrap_or_else(|| panic!("{number} of {newest:?} is forgotten"));
            assert_eq!((ring.ring[place], *found), (known(*number), known(*number)));
        }
        let oldest = newest.front().copied().unwrap_or(next);
        for number in (oldest.saturating_sub(CHUNK as u64)..oldest).chain([next]) {
            assert_eq!(ring.find(&known(number).id), None, "{number} is remembered beside {newest:?}");
        }
        assert_eq!(ring.ring.len(), newest.len());
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(128))]

        #[test]
        fn the_newest_are_known_and_the_oldest_gives_way_through_every_checkpoint_and_size(steps in steps()) {
            let (mut ring, mut rows) = (Single::<Recent<Name>>::default(), RowMap::default());
            let (mut newest, mut capacity, mut next) = (VecDeque::new(), 3 * CHUNK, 0);
            ring.write().resize(capacity);
            for step in steps {
                match step {
                    Step::Insert(count) => {
                        for number in next..next + count {
                            ring.write().insert(known(number));
                            newest.push_back(number);
                        }
                        next += count;
                    }
                    Step::Resize(size) => {
                        ring.write().resize(size);
                        capacity = size;
                    }
                    Step::Restart => {
                        rows.checkpoint(&mut ring);
                        ring = Single::default();
                        Store::restore(&mut ring, Arc::new(rows.clone())).expect("readable");
                    }
                }
                newest.drain(..newest.len().saturating_sub(capacity));
                check(ring.read(), &newest, next);
            }
        }
    }

    #[test]
    fn a_ring_that_became_smaller_twice_is_restored_as_it_was() {
        let (mut ring, mut rows) = (Single::<Recent<Name>>::default(), RowMap::default());
        let all = 3 * CHUNK as u64;
        ring.write().resize(3 * CHUNK);
        for number in 0..all {
            ring.write().insert(known(number));
        }
        for chunks in [3, 2, 1] {
            ring.write().resize(chunks * CHUNK);
            rows.checkpoint(&mut ring);
            ring = Single::default();
            Store::restore(&mut ring, Arc::new(rows.clone())).expect("readable");
            check(ring.read(), &(all - (chunks * CHUNK) as u64..all).collect(), all);
        }
    }

    /// A checkpoint of a ring that took one input writes the row of its place and where the ring stands.
    #[test]
    fn a_checkpoint_writes_the_rows_that_changed() {
        let mut ring = Single::<Recent<Name>>::default();
        ring.write().resize(3 * CHUNK);
        for number in 0..3 * CHUNK as u64 {
            ring.write().insert(known(number));
        }
        let written = |ring: &mut Single<Recent<Name>>| {
            let mut parts = Vec::new();
            ring.checkpoint(&mut |_, part, _| parts.push(part));
            parts
        };
        assert_eq!(written(&mut ring), [0, 1, 2, 3]);
        ring.write().insert(known(u64::MAX));
        assert_eq!(written(&mut ring), [0, 1], "it took the place of the oldest");
    }
}

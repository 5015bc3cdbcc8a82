//! What the processor remembers, and its rows.

use alloc::collections::VecDeque;
use alloc::vec::Vec;
use merit_core::{Datum, Digest, List, Row, Shape, datum};

/// Leaves of a chain that are told from a fork when they come again: more than one transaction carries.
pub(crate) const REMEMBERED: usize = 256;

/// The end of one chain.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct ChainState {
    /// Sequence of the next leaf.
    pub(crate) next: u64,
    /// Whether a leaf ever broke the chain.
    pub(crate) tainted: bool,
    /// Event hashes of the last leaves, newest last, without a gap: that of sequence `next - 1` stands at the end.
    pub(crate) recent: VecDeque<Digest>,
}

impl ChainState {
    /// Hash of the last leaf, where there is one.
    pub(crate) fn last(&self) -> Option<&Digest> {
        self.recent.back()
    }

    /// Hash of an earlier leaf, where it is still remembered.
    pub(crate) fn earlier(&self, sequence: u64) -> Option<&Digest> {
        let age = usize::try_from(self.next.checked_sub(sequence)?).ok()?;
        self.recent.get(self.recent.len().checked_sub(age)?)
    }

    /// Goes on behind a leaf.
    pub(crate) fn advance(&mut self, sequence: u64, hash: Digest) {
        if sequence != self.next {
            self.recent.clear();
        } else if self.recent.len() == REMEMBERED {
            self.recent.pop_front();
        }
        self.recent.push_back(hash);
        self.next = sequence + 1;
    }
}

datum! {
    /// Row of a chain.
    ChainRow<'a> {
        next: u64,
        tainted: bool,
        recent: List<'a, [u8; 32]>,
    }
}

impl Row for ChainState {
    const STORE: &'static str = "audit-heads";
    type Shared = ();

    fn shape(_: u32) -> &'static Shape {
        ChainRow::SHAPE
    }

    fn save(&mut self, scratch: &mut Vec<u8>, put: &mut dyn FnMut(u32, &[u8])) {
        scratch.clear();
        ChainRow { next: self.next, tainted: self.tainted, recent: List::Slice(self.recent.make_contiguous()) }.put(scratch);
        put(0, scratch);
    }

    fn load(&mut self, _: u32, bytes: &[u8]) -> Option<()> {
        let row = ChainRow::decode(bytes)?;
        *self = ChainState { next: row.next, tainted: row.tainted, recent: row.recent.iter().collect() };
        Some(())
    }
}

/// What concerns all chains.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct LogState {
    /// Leaves sealed since the heads were last written.
    pub(crate) since_heads: u64,
    /// Ids of the emitter keys that were ever in force, sorted.
    pub(crate) keys: Vec<u32>,
}

impl LogState {
    /// Accepts a key from now on.
    pub(crate) fn add_key(&mut self, key_id: u32) {
        if let Err(at) = self.keys.binary_search(&key_id) {
            self.keys.insert(at, key_id);
        }
    }
}

datum! {
    /// Row of the log.
    LogRow<'a> {
        since_heads: u64,
        keys: List<'a, u32>,
    }
}

impl Row for LogState {
    const STORE: &'static str = "audit-log";
    type Shared = ();

    fn shape(_: u32) -> &'static Shape {
        LogRow::SHAPE
    }

    fn save(&mut self, scratch: &mut Vec<u8>, put: &mut dyn FnMut(u32, &[u8])) {
        scratch.clear();
        LogRow { since_heads: self.since_heads, keys: List::Slice(&self.keys) }.put(scratch);
        put(0, scratch);
    }

    fn load(&mut self, _: u32, bytes: &[u8]) -> Option<()> {
        let row = LogRow::decode(bytes)?;
        *self = LogState { since_heads: row.since_heads, keys: row.keys.iter().collect() };
        Some(())
    }
}

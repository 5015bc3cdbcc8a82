//! Windows with reports enough, until the watermark passes them.

use alloc::boxed::Box;
use alloc::collections::BTreeMap;
use alloc::vec::Vec;
use merit_core::{Datum, List, Row, Shape, datum};

/// Names that share a row: a checkpoint writes the last row of a window again, not all of its names.
const CHUNK: usize = 1_024;

#[derive(Clone, Debug)]
struct Chunk {
    part: u32,
    names: Vec<Box<str>>,
    dirty: bool,
}

/// The entities whose window of a number is to be judged when it closes.
#[derive(Clone, Debug, Default)]
pub(crate) struct ArmedWindows {
    profile: [u8; 8],
    windows: BTreeMap<i64, Vec<Chunk>>,
    /// Chunks that there ever were; the next one's row is one more.
    chunks: u32,
    /// Rows of windows that were judged.
    spent: Vec<u32>,
}

impl ArmedWindows {
    /// Forgets what was armed under another profile.
    pub(crate) fn begin(&mut self, profile: [u8; 8]) {
        if self.profile != profile {
            self.profile = profile;
            while let Some((number, _)) = self.windows.first_key_value() {
                self.take(*number);
            }
        }
    }

    /// Notes that an entity's window is to be judged.
    pub(crate) fn arm(&mut self, number: i64, name: &str) {
        let chunks = self.windows.entry(number).or_default();
        if chunks.last().is_none_or(|chunk| chunk.names.len() == CHUNK) {
            self.chunks += 1;
            chunks.push(Chunk { part: self.chunks, names: Vec::new(), dirty: false });
        }
        if let Some(chunk) = chunks.last_mut() {
            chunk.names.push(name.into());
            chunk.dirty = true;
        }
    }

    /// The number of the oldest window.
    pub(crate) fn first(&self) -> Option<i64> {
        self.windows.first_key_value().map(|(number, _)| *number)
    }

    /// Takes a window out: its entities in order.
    pub(crate) fn take(&mut self, number: i64) -> Vec<Box<str>> {
        let chunks = self.windows.remove(&number).unwrap_or_default();
        self.spent.extend(chunks.iter().map(|chunk| chunk.part));
        let mut names: Vec<Box<str>> = chunks.into_iter().flat_map(|chunk| chunk.names).collect();
        names.sort_unstable();
        names
    }
}

datum! {
    /// Row 0.
    ArmedRow {
        /// Short digest of the profile that windows were armed under.
        profile: [u8; 8],
        /// Chunks that there ever were.
        chunks: u32,
    }
}

datum! {
    /// Any other row: some of a window's entities, in the order in which they were armed.
    ChunkRow<'a> {
        /// Event time divided by the window's length.
        number: i64,
        /// Their ids.
        names: List<'a, &'a str>,
    }
}

impl Row for ArmedWindows {
    const STORE: &'static str = "armed-windows";
    type Shared = ();

    fn shape(part: u32) -> &'static Shape {
        if part == 0 { ArmedRow::SHAPE } else { ChunkRow::SHAPE }
    }

    fn save(&mut self, scratch: &mut Vec<u8>, put: &mut dyn FnMut(u32, &[u8])) {
        scratch.clear();
        ArmedRow { profile: self.profile, chunks: self.chunks }.put(scratch);
        put(0, scratch);
        self.spent.drain(..).for_each(|part| put(part, &[]));
        for (number, chunks) in &mut self.windows {
            for chunk in chunks.iter_mut().filter(|chunk| chunk.dirty) {
                chunk.dirty = false;
                let names: Vec<&str> = chunk.names.iter().map(|name| &**name).collect();
                scratch.clear();
                ChunkRow { number: *number, names: List::Slice(&names) }.put(scratch);
                put(chunk.part, scratch);
            }
        }
    }

    fn load(&mut self, part: u32, bytes: &[u8]) -> Option<()> {
        if part == 0 {
            let row = ArmedRow::decode(bytes)?;
            (self.profile, self.chunks) = (row.profile, row.chunks);
            return Some(());
        }
        let row = ChunkRow::decode(bytes)?;
        let names = row.names.iter().map(Into::into).collect();
        self.windows.entry(row.number).or_default().push(Chunk { part, names, dirty: false });
        Some(())
    }

    fn heap(&self) -> usize {
        self.windows.values().flatten().flat_map(|chunk| &chunk.names).map(|name| name.len() + size_of::<Box<str>>()).sum()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use merit_core::table::{RowMap, Single, Store};
    use std::sync::Arc;

    #[test]
    fn windows_come_back_with_their_entities_and_go_with_their_rows() {
        let mut armed = Single::<ArmedWindows>::default();
        let name = |at: usize| std::format!("agent-{at:05}");
        (0..3_000).for_each(|at| armed.write().arm(5 + at as i64 % 2, &name(at)));
        let mut rows = RowMap::default();
        rows.checkpoint(&mut armed);
        assert_eq!(rows.0.len(), 5, "row 0 and two chunks a window");
        armed.write().arm(6, "last");
        let mut written = 0;
        armed.checkpoint(&mut |key, part, bytes| {
            written += 1;
            rows.put("armed-windows", key, part, bytes);
        });
        assert_eq!(written, 2, "row 0 and the last chunk");

        let mut restored = Single::<ArmedWindows>::default();
        restored.restore(Arc::new(rows.clone())).expect("readable");
        assert_eq!(restored.read().first(), Some(5));
        let names = restored.write().take(5);
        assert_eq!(names, armed.write().take(5));
        assert!(names.len() == 1_500 && names.is_sorted());
        restored.write().begin([1; 8]);
        assert_eq!(restored.read().first(), None, "another profile");
        rows.checkpoint(&mut restored);
        assert_eq!(rows.0.len(), 1);
    }
}

//! A partition of the log, record by record.

use super::{Store, failed};
use crate::RuntimeError;
use crate::frame::{self, Frame};
use crate::layout::Partition;
use merit_core::Datum;
use rocksdb::DB;

/// Reads a partition record by record.
pub struct Cursor<'s> {
    batches: rocksdb::DBIteratorWithThreadMode<'s, DB>,
    prefix: Vec<u8>,
    name: String,
    partition: u32,
    start: u64,
    /// Whether offsets may be missing, as those of Kafka's markers are.
    has_gaps: bool,
    from: u64,
    next: u64,
    body: Vec<u8>,
    at: usize,
    left: u32,
    done: bool,
}

impl<'s> Cursor<'s> {
    /// Reads from an offset on; `batches` begin with that of the offset.
    pub(super) fn new(
        batches: rocksdb::DBIteratorWithThreadMode<'s, DB>,
        prefix: Vec<u8>,
        partition: &Partition,
        store: &Store,
        from: u64,
    ) -> Cursor<'s> {
        let (start, has_gaps) = (store.start(partition), store.mirrored().is_some());
        let (name, partition) = (partition.name.clone(), partition.partition);
        Cursor { batches, prefix, name, partition, start, has_gaps, from, next: from, body: Vec::new(), at: 0, left: 0, done: false }
    }

    /// The next record and its offset.
    #[expect(clippy::should_implement_trait, reason = "an iterator cannot lend its items")]
    pub fn next(&mut self) -> Result<Option<(u64, Frame<'_>)>, RuntimeError> {
        loop {
            if self.left == 0 && !self.load()? {
                return Ok(None);
            }
            let offset = self.next;
            let mut rest = &self.body[self.at..];
            let length = match Frame::get(&mut rest) {
                Some(_) => self.body.len() - self.at - rest.len(),
                None => return Err(self.corrupt(offset, "the record is not in its canonical form")),
            };
            let start = self.at;
            (self.at, self.left, self.next) = (start + length, self.left - 1, offset + 1);
            if offset >= self.from {
                let mut bytes = &self.body[start..start + length];
                return Ok(Frame::get(&mut bytes).map(|frame| (offset, frame)));
            }
        }
    }

    /// Passes what is before an offset.
    pub fn pass(&mut self, offset: u64) {
        self.from = self.from.max(offset);
    }

    /// The offset of the next record.
    pub fn position(&self) -> u64 {
        self.next.max(self.from)
    }

    /// Whether the record given last ended its batch.
    pub fn is_at_batch_end(&self) -> bool {
        self.left == 0
    }

    fn load(&mut self) -> Result<bool, RuntimeError> {
        if self.done {
            return Ok(false);
        }
        if self.from < self.start {
            let (topic, partition) = (self.name.clone(), self.partition);
            return Err(RuntimeError::Pruned { topic, partition, offset: self.from, start: self.start });
        }
        let Some(row) = self.batches.next() else {
            self.done = true;
            return Ok(false);
        };
        let (key, value) = row.map_err(failed("read"))?;
        let base = key.strip_prefix(self.prefix.as_slice()).and_then(|rest| rest.try_into().ok()).map(u64::from_be_bytes);
        let Some(base) = base else {
            self.done = true;
            return Ok(false);
        };
        if base > self.next && base > self.from && !self.has_gaps {
            return Err(self.corrupt(self.next, "the batch that holds it is missing"));
        }
        match frame::unpack(&value) {
            Some((count, body)) => (self.body, self.at, self.left, self.next) = (body, 0, count, base),
            None => return Err(self.corrupt(base, "the batch is torn or of an unknown version")),
        }
        Ok(true)
    }

    fn corrupt(&self, offset: u64, cause: &str) -> RuntimeError {
        RuntimeError::Corrupt { topic: self.name.clone(), partition: self.partition, offset, cause: cause.into() }
    }
}

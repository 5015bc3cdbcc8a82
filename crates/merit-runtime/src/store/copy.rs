//! A directory's rows from first to last: to copy them, and to tell whether two directories hold the same.

use super::{BASE, COMMITS, FAMILIES, Store, failed, families, options, total_order};
use crate::RuntimeError;
use rocksdb::{DB, Direction, IteratorMode, WriteBatch, WriteOptions};
use sha2::{Digest, Sha256};
use std::path::Path;

/// Bytes that a copy gathers before it writes them.
const GATHERED: usize = 4 << 20;

/// Everything that a directory holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Content {
    /// Rows of log, state and meta.
    pub rows: u64,
    /// Bytes of their keys and values.
    pub bytes: u64,
    /// SHA-256 over the rows in order: number of the family (1 byte), then key and value, each behind its length (u64, big-endian).
    pub digest: [u8; 32],
}

impl Store {
    /// Reads everything.
    pub fn content(&self) -> Result<Content, RuntimeError> {
        self.each_row(|_, _, _| Ok(()))
    }

    /// Writes every row into a directory that has none yet, and waits for the disk.
    pub fn copy_to(&self, path: &Path, progress: impl FnMut(u64)) -> Result<Content, RuntimeError> {
        let mut copy = Filling::new(path, progress)?;
        let content = self.each_row(|family, key, value| copy.put(family, key, value))?;
        copy.finish()?;
        Ok(content)
    }

    /// Gives every row that is not computed from the others: log and meta, and state at the base.
    pub(crate) fn each_kept_row(
        &self,
        mut each: impl FnMut(&'static str, &[u8], &[u8]) -> Result<(), RuntimeError>,
    ) -> Result<(), RuntimeError> {
        for (family, under) in [("meta", &b""[..]), ("log", b""), ("state", BASE)] {
            let rows = self.db.iterator_cf_opt(self.family(family), total_order(), IteratorMode::From(under, Direction::Forward));
            for row in rows {
                let (key, value) = row.map_err(failed("read"))?;
                if !key.starts_with(under) {
                    break;
                }
                // Commits are counted by the directory that makes them.
                if *key != *COMMITS.as_bytes() {
                    each(family, &key, &value)?;
                }
            }
        }
        Ok(())
    }

    fn each_row(&self, mut each: impl FnMut(&'static str, &[u8], &[u8]) -> Result<(), RuntimeError>) -> Result<Content, RuntimeError> {
        let mut digest = Sha256::new();
        let (mut rows, mut bytes) = (0, 0);
        for (number, family) in FAMILIES.into_iter().enumerate() {
            for row in self.db.iterator_cf_opt(self.family(family), total_order(), IteratorMode::Start) {
                let (key, value) = row.map_err(failed("read"))?;
                digest.update([number as u8]);
                for part in [&key, &value] {
                    digest.update((part.len() as u64).to_be_bytes());
                    digest.update(part);
                    bytes += part.len() as u64;
                }
                rows += 1;
                each(family, &key, &value)?;
            }
        }
        Ok(Content { rows, bytes, digest: digest.finalize().into() })
    }
}

/// A directory that is filled with rows. One that is cut short is thrown away, so it needs no write-ahead log.
pub(crate) struct Filling<P> {
    db: DB,
    write: WriteOptions,
    batch: WriteBatch,
    written: u64,
    progress: P,
}

impl<P: FnMut(u64)> Filling<P> {
    /// One that has no rows; `progress` is told the bytes that were written.
    pub(crate) fn new(path: &Path, progress: P) -> Result<Filling<P>, RuntimeError> {
        let db = DB::open_cf_descriptors(&options(), path, families()).map_err(failed("copy"))?;
        let mut write = WriteOptions::default();
        write.disable_wal(true);
        Ok(Filling { db, write, batch: WriteBatch::default(), written: 0, progress })
    }

    /// Puts a row into a family.
    pub(crate) fn put(&mut self, family: &str, key: &[u8], value: &[u8]) -> Result<(), RuntimeError> {
        self.batch.put_cf(family_of(&self.db, family), key, value);
        if self.batch.size_in_bytes() >= GATHERED {
            self.written += self.batch.size_in_bytes() as u64;
            self.db.write_opt(std::mem::take(&mut self.batch), &self.write).map_err(failed("copy"))?;
            (self.progress)(self.written);
        }
        Ok(())
    }

    /// Waits for the disk.
    pub(crate) fn finish(self) -> Result<(), RuntimeError> {
        self.db.write_opt(self.batch, &self.write).map_err(failed("copy"))?;
        FAMILIES.iter().try_for_each(|family| self.db.flush_cf(family_of(&self.db, family))).map_err(failed("copy"))
    }
}

fn family_of<'d>(db: &'d DB, name: &str) -> &'d rocksdb::ColumnFamily {
    db.cf_handle(name).expect("every column family is created with the directory")
}

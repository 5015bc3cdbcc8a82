//! A directory's rows from first to last: to copy them, and to tell whether two directories hold the same.

use super::{FAMILIES, Store, failed, families, options, total_order};
use crate::RuntimeError;
use rocksdb::{DB, IteratorMode, WriteBatch, WriteOptions};
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
    pub fn copy_to(&self, path: &Path, mut progress: impl FnMut(u64)) -> Result<Content, RuntimeError> {
        let copy = DB::open_cf_descriptors(&options(), path, families()).map_err(failed("copy"))?;
        // A copy that is cut short is thrown away, so it needs no write-ahead log.
        let mut write = WriteOptions::default();
        write.disable_wal(true);
        let mut batch = WriteBatch::default();
        let mut written = 0;
        let content = self.each_row(|family, key, value| {
            batch.put_cf(family_of(&copy, family), key, value);
            if batch.size_in_bytes() >= GATHERED {
                written += batch.size_in_bytes() as u64;
                copy.write_opt(std::mem::take(&mut batch), &write).map_err(failed("copy"))?;
                progress(written);
            }
            Ok(())
        })?;
        copy.write_opt(batch, &write).map_err(failed("copy"))?;
        FAMILIES.iter().try_for_each(|family| copy.flush_cf(family_of(&copy, family))).map_err(failed("copy"))?;
        Ok(content)
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

fn family_of<'d>(db: &'d DB, name: &str) -> &'d rocksdb::ColumnFamily {
    db.cf_handle(name).expect("every column family is created with the directory")
}

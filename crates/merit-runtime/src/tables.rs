//! Rows that are folded from a log and read by key or in order: a RocksDB of its own, without a log of its own.
//!
//! What is lost in a crash is folded again: rows and the positions that they stand for are in one column family and written
//! together, so a start finds them as they were together at some earlier commit.

use crate::RuntimeError;
use crate::store::failed;
use rocksdb::{DB, IteratorMode, Options, PrefixRange, ReadOptions, WriteBatch, WriteOptions};
use std::collections::BTreeMap;
use std::ops::ControlFlow;
use std::path::Path;

/// Which way rows are read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Direction {
    /// In the order of their keys.
    Forward,
    /// In its reverse.
    Reverse,
}

/// Rows by key.
pub struct Tables {
    db: DB,
    write: WriteOptions,
}

/// Rows that change together; none deletes.
pub type Changes = BTreeMap<Vec<u8>, Option<Vec<u8>>>;

impl Tables {
    /// Opens the tables of a directory, made where there are none. One whose files are damaged is refused.
    pub fn open(path: &Path) -> Result<Tables, RuntimeError> {
        let mut options = Options::default();
        options.create_if_missing(true);
        options.set_write_buffer_size(32 << 20);
        // One thread writes: rows that come in order are put in without looking for their places from the top.
        options.set_allow_concurrent_memtable_write(false);
        options.set_max_background_jobs(1);
        options.set_keep_log_file_num(2);
        options.set_compression_type(rocksdb::DBCompressionType::Lz4);
        let mut write = WriteOptions::default();
        write.disable_wal(true);
        Ok(Tables { db: DB::open(&options, path).map_err(failed("open the tables of"))?, write })
    }

    /// A row.
    pub fn get(&self, key: &[u8]) -> Result<Option<Vec<u8>>, RuntimeError> {
        self.db.get(key).map_err(failed("read the tables of"))
    }

    /// Rows whose keys begin with a prefix, from a key on where one is given, until `each` breaks off: it is given what is behind
    /// the prefix, and the row.
    pub fn under(
        &self,
        prefix: &[u8],
        from: Option<&[u8]>,
        direction: Direction,
        mut each: impl FnMut(&[u8], &[u8]) -> ControlFlow<()>,
    ) -> Result<(), RuntimeError> {
        let mode = match (direction, from) {
            (Direction::Forward, None) => IteratorMode::Start,
            (Direction::Forward, Some(from)) => IteratorMode::From(from, rocksdb::Direction::Forward),
            (Direction::Reverse, None) => IteratorMode::End,
            (Direction::Reverse, Some(from)) => IteratorMode::From(from, rocksdb::Direction::Reverse),
        };
        let mut options = ReadOptions::default();
        options.set_iterate_range(PrefixRange(prefix));
        for row in self.db.iterator_opt(mode, options) {
            let (key, value) = row.map_err(failed("read the tables of"))?;
            if each(&key[prefix.len()..], &value).is_break() {
                break;
            }
        }
        Ok(())
    }

    /// Writes rows, all or nothing.
    pub fn write(&self, changes: &Changes) -> Result<(), RuntimeError> {
        let mut batch = WriteBatch::default();
        for (key, value) in changes {
            match value {
                Some(value) => batch.put(key, value),
                None => batch.delete(key),
            }
        }
        self.db.write_opt(batch, &self.write).map_err(failed("write the tables of"))
    }

    /// Brings everything to the disk.
    pub fn flush(&self) -> Result<(), RuntimeError> {
        self.db.flush().map_err(failed("write the tables of"))
    }
}

//! Rows that are folded from a log and read by key or in order: a RocksDB of its own, without a log of its own.
//!
//! What is lost in a crash is folded again: rows and the positions that they stand for are in one column family and written
//! together, so a start finds them as they were together at some earlier commit.

use crate::RuntimeError;
use crate::store::failed;
use foldhash::HashMap;
use merit_core::Datum;
use rocksdb::{DB, IteratorMode, Options, PrefixRange, ReadOptions, WriteBatch, WriteOptions};
use std::ops::ControlFlow;
use std::path::Path;
use std::sync::{Mutex, MutexGuard, PoisonError};

/// Which way rows are read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Direction {
    /// In the order of their keys.
    Forward,
    /// In its reverse.
    Reverse,
}

/// What becomes of a row.
#[derive(Debug)]
enum Change {
    /// It comes to be; the database has none of that key.
    New(Vec<u8>),
    /// It is this from now on.
    Set(Vec<u8>),
    /// It goes.
    Gone,
}

impl Change {
    fn row(&self) -> Option<&[u8]> {
        match self {
            Change::New(row) | Change::Set(row) => Some(row),
            Change::Gone => None,
        }
    }
}

/// Bytes of a row that is kept, beside those of its key and itself, about.
const BESIDE: usize = 96;

/// Changes that are kept back before they are written, so that a row that changes often is written once: so many may have to be folded
/// again after a crash, beside what the database had in memory.
const KEPT_CHANGES: usize = 200_000;

/// Bytes of them.
const KEPT_BYTES: usize = 16 << 20;

/// Changes that are read as if they were written.
#[derive(Debug, Default)]
struct Kept {
    changes: HashMap<Vec<u8>, Change>,
    bytes: usize,
    /// How many were made of them.
    count: usize,
}

impl Kept {
    /// The row of a key as it will be; none where it stays as it is.
    fn row(&self, key: &[u8]) -> Option<Option<Vec<u8>>> {
        self.changes.get(key).map(|change| change.row().map(<[u8]>::to_vec))
    }

    /// Sets a row; `is_new` where the caller knows that there is none.
    fn set(&mut self, key: &[u8], row: &[u8], is_new: bool) {
        self.count += 1;
        match self.changes.get_mut(key) {
            Some(Change::New(kept) | Change::Set(kept)) => {
                self.bytes = self.bytes + row.len() - kept.len();
                kept.clear();
                kept.extend_from_slice(row);
            }
            Some(change @ Change::Gone) => {
                self.bytes += row.len();
                *change = Change::Set(row.into());
            }
            None => {
                self.bytes += BESIDE + key.len() + row.len();
                self.changes.insert(key.into(), if is_new { Change::New(row.into()) } else { Change::Set(row.into()) });
            }
        }
    }

    /// Forgets all, and keeps its room.
    fn clear(&mut self) {
        self.changes.clear();
        (self.bytes, self.count) = (0, 0);
    }

    fn remove(&mut self, key: &[u8]) {
        self.count += 1;
        match self.changes.get_mut(key) {
            Some(Change::New(row)) => {
                self.bytes -= BESIDE + key.len() + row.len();
                self.changes.remove(key);
            }
            Some(change) => {
                self.bytes -= change.row().map_or(0, <[u8]>::len);
                *change = Change::Gone;
            }
            None => {
                self.bytes += BESIDE + key.len();
                self.changes.insert(key.into(), Change::Gone);
            }
        }
    }
}

/// The first 16 bytes of a key, which sort as it does and mostly tell it from others.
fn head(key: &[u8]) -> u128 {
    let mut head = [0; 16];
    let length = key.len().min(head.len());
    head[..length].copy_from_slice(&key[..length]);
    u128::from_be_bytes(head)
}

/// Rows that change together; readers wait meanwhile.
pub struct Changes<'t> {
    db: &'t DB,
    kept: MutexGuard<'t, Kept>,
    scratch: Vec<u8>,
}

impl Changes<'_> {
    /// A row, as it will be.
    pub fn get(&self, key: &[u8]) -> Result<Option<Vec<u8>>, RuntimeError> {
        self.kept.row(key).map_or_else(|| read(self.db, key), Ok)
    }

    /// Sets a row.
    pub fn put<'a>(&mut self, key: &[u8], row: &impl Datum<'a>) {
        self.scratch.clear();
        row.put(&mut self.scratch);
        self.kept.set(key, &self.scratch, false);
    }

    /// Sets a row that is encoded.
    pub fn put_encoded(&mut self, key: &[u8], row: &[u8]) {
        self.kept.set(key, row, false);
    }

    /// Sets a row that says all by its key.
    pub fn mark(&mut self, key: &[u8]) {
        self.kept.set(key, &[], false);
    }

    /// The same where none of that key is: one that goes again before it was written costs nothing more.
    pub fn mark_new(&mut self, key: &[u8]) {
        self.kept.set(key, &[], true);
    }

    /// Removes a row.
    pub fn remove(&mut self, key: &[u8]) {
        self.kept.remove(key);
    }
}

fn read(db: &DB, key: &[u8]) -> Result<Option<Vec<u8>>, RuntimeError> {
    db.get(key).map_err(failed("read the tables of"))
}

/// Rows by key.
pub struct Tables {
    db: DB,
    write: WriteOptions,
    kept: Mutex<Kept>,
}

impl Tables {
    /// Opens the tables of a directory, made where there are none. One whose files are damaged is refused.
    pub fn open(path: &Path) -> Result<Tables, RuntimeError> {
        let mut options = Options::default();
        options.create_if_missing(true);
        options.set_write_buffer_size(16 << 20);
        // One thread at a time writes: rows that come in order are put in without looking for their places from the top.
        options.set_allow_concurrent_memtable_write(false);
        options.set_max_background_jobs(1);
        options.set_keep_log_file_num(2);
        options.set_compression_type(rocksdb::DBCompressionType::Lz4);
        let mut write = WriteOptions::default();
        write.disable_wal(true);
        Ok(Tables { db: DB::open(&options, path).map_err(failed("open the tables of"))?, write, kept: Mutex::default() })
    }

    /// A row.
    pub fn get(&self, key: &[u8]) -> Result<Option<Vec<u8>>, RuntimeError> {
        // Nobody waits for the disk of another.
        let kept = self.kept().row(key);
        kept.map_or_else(|| read(&self.db, key), Ok)
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
        // Both in order would have to be merged: what is kept is written first.
        self.store(&mut self.kept())?;
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

    /// Changes rows, all of them or, where that fails, none: nothing of what was kept is left then. They are read from here on, and
    /// come to the disk with others.
    pub fn change(&self, work: impl FnOnce(&mut Changes<'_>) -> Result<(), RuntimeError>) -> Result<(), RuntimeError> {
        let mut changes = Changes { db: &self.db, kept: self.kept(), scratch: Vec::new() };
        let changed = work(&mut changes);
        let mut kept = changes.kept;
        match changed {
            Ok(()) if kept.count < KEPT_CHANGES && kept.bytes < KEPT_BYTES => Ok(()),
            Ok(()) => self.store(&mut kept),
            Err(error) => {
                kept.clear();
                Err(error)
            }
        }
    }

    /// Brings everything to the disk.
    pub fn flush(&self) -> Result<(), RuntimeError> {
        self.store(&mut self.kept())?;
        self.db.flush().map_err(failed("write the tables of"))
    }

    fn kept(&self) -> MutexGuard<'_, Kept> {
        self.kept.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Writes what is kept to the database; where that fails, it is kept on: what comes next rests on it.
    fn store(&self, kept: &mut Kept) -> Result<(), RuntimeError> {
        if kept.changes.is_empty() {
            return Ok(());
        }
        let mut rows: Vec<(u128, &Vec<u8>, &Change)> = kept.changes.iter().map(|(key, change)| (head(key), key, change)).collect();
        rows.sort_unstable_by_key(|(head, key, _)| (*head, *key));
        let mut batch = WriteBatch::with_capacity_bytes(kept.bytes);
        for (_, key, change) in rows {
            match change.row() {
                Some(row) => batch.put(key, row),
                None => batch.delete(key),
            }
        }
        self.db.write_opt(batch, &self.write).map_err(failed("write the tables of"))?;
        kept.clear();
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sim::chance::Chance;
    use std::collections::BTreeMap;

    #[test]
    fn rows_are_read_as_they_were_set_whether_or_not_they_are_written() {
        let folder = tempfile::tempdir().expect("a folder");
        let mut tables = Tables::open(folder.path()).expect("new tables");
        let (mut chance, mut model) = (Chance::new(1), BTreeMap::new());
        for round in 0..2_000_u64 {
            let changed = tables.change(|changes| {
                for _ in 0..chance.below(8) {
                    let key = vec![chance.below(12) as u8];
                    match (chance.below(3), model.contains_key(&key)) {
                        (0, _) => {
                            model.remove(&key);
                            changes.remove(&key);
                            continue;
                        }
                        (1, false) => changes.kept.set(&key, &round.to_be_bytes(), true),
                        _ => changes.put_encoded(&key, &round.to_be_bytes()),
                    }
                    model.insert(key, round);
                }
                Ok(())
            });
            changed.expect("taken");
            let key = vec![chance.below(12) as u8];
            let found = tables.get(&key).expect("readable");
            assert_eq!(found, model.get(&key).map(|row| row.to_be_bytes().to_vec()), "round {round}");
            if chance.below(10) == 0 {
                let mut rows = BTreeMap::new();
                let each = |key: &[u8], row: &[u8]| {
                    rows.insert(key.to_vec(), u64::from_be_bytes(row.try_into().expect("eight bytes")));
                    ControlFlow::Continue(())
                };
                tables.under(&[], None, Direction::Forward, each).expect("readable");
                assert_eq!(rows, model, "round {round}");
            }
            if chance.below(100) == 0 {
                tables.flush().expect("written");
                drop(tables);
                tables = Tables::open(folder.path()).expect("the same tables");
            }
        }
    }

    #[test]
    fn what_is_kept_is_bounded_and_what_goes_unwritten_leaves_nothing() {
        let folder = tempfile::tempdir().expect("a folder");
        let tables = Tables::open(folder.path()).expect("new tables");
        for number in 0..KEPT_CHANGES / 3 {
            let changed = tables.change(|changes| {
                changes.kept.set(&number.to_be_bytes(), &[7], true);
                changes.put_encoded(&[0], &number.to_be_bytes());
                changes.remove(&number.to_be_bytes());
                Ok(())
            });
            changed.expect("taken");
            assert_eq!(tables.kept().changes.len(), 1);
        }
        assert_eq!((tables.kept().bytes, tables.db.get([0]).expect("readable")), (BESIDE + 1 + 8, None));
        tables
            .change(|changes| {
                (0..3).try_for_each(|_| {
                    changes.put_encoded(&[0], &[1]);
                    Ok(())
                })
            })
            .expect("taken");
        assert_eq!((tables.kept().bytes, tables.db.get([0]).expect("readable")), (0, Some(vec![1])));
        let row = vec![0; KEPT_BYTES];
        tables
            .change(|changes| {
                changes.put_encoded(&[1], &row);
                Ok(())
            })
            .expect("taken");
        assert_eq!((tables.kept().bytes, tables.db.get([1]).expect("readable")), (0, Some(row)));
    }

    #[test]
    fn of_a_change_that_fails_nothing_is_left() {
        let folder = tempfile::tempdir().expect("a folder");
        let tables = Tables::open(folder.path()).expect("new tables");
        let failed = tables.change(|changes| {
            changes.put_encoded(&[0], &[1]);
            Err(RuntimeError::Store { attempt: "fail", cause: String::new() })
        });
        assert!(failed.is_err() && tables.get(&[0]).expect("readable").is_none());
    }

    #[test]
    fn what_the_database_does_not_take_is_kept_for_the_next_time() {
        let folder = tempfile::tempdir().expect("a folder");
        let mut tables = Tables::open(folder.path()).expect("new tables");
        let put = |tables: &Tables, key| {
            let changed = tables.change(|changes| {
                changes.put_encoded(&[key], &[key]);
                Ok(())
            });
            changed.expect("taken");
        };
        let rows = |tables: &Tables| {
            let mut rows = Vec::new();
            let each = |key: &[u8], _: &[u8]| {
                rows.push(key[0]);
                ControlFlow::Continue(())
            };
            tables.under(&[], None, Direction::Forward, each).map(|()| rows)
        };
        put(&tables, 1);
        // RocksDB refuses a write that is to be synced and has no log.
        tables.write.set_sync(true);
        assert!(rows(&tables).is_err());
        put(&tables, 2);
        tables.write.set_sync(false);
        assert_eq!(rows(&tables).expect("written"), [1, 2]);
    }
}

//! State rows: their keys, and how they are read.

use super::{Store, failed, total_order};
use crate::RuntimeError;
use merit_core::table::TakeRow;
use merit_core::{Fault, Rows};
use rocksdb::ReadOptions;
use std::sync::{Arc, PoisonError};

/// Bytes of a row's part, at the end of its key.
pub(super) const PART: usize = 4;

impl Store {
    /// Whether there are no more state rows than that, about.
    pub fn state_is_small(&self, rows: u64) -> Result<bool, RuntimeError> {
        let estimate = self.db.property_int_value_cf(self.family("state"), "rocksdb.estimate-num-keys").map_err(failed("read"))?;
        Ok(estimate.unwrap_or(u64::MAX) <= rows)
    }

    /// Gives every state row of a store: key, part and row. `prefix` is that of [`state_prefix`].
    pub fn state(&self, prefix: &[u8], each: impl FnMut(&str, u32, &[u8]) -> Result<(), RuntimeError>) -> Result<(), RuntimeError> {
        self.parsed_rows(prefix, prefix, total_order(), each)
    }

    /// Gives every state row whose key begins with `under`, by the rest of its key.
    pub fn state_rows(&self, under: &[u8], mut each: impl FnMut(&[u8], &[u8])) -> Result<(), RuntimeError> {
        self.rows(under, under, total_order(), |rest, row| {
            each(rest, row);
            Ok(())
        })
    }

    /// One state row, by its whole key.
    pub fn state_row(&self, key: &[u8]) -> Result<Option<Vec<u8>>, RuntimeError> {
        self.db.get_cf(self.family("state"), key).map_err(failed("read"))
    }

    fn parsed_rows(
        &self,
        prefix: &[u8],
        from: &[u8],
        how: ReadOptions,
        mut each: impl FnMut(&str, u32, &[u8]) -> Result<(), RuntimeError>,
    ) -> Result<(), RuntimeError> {
        self.rows(prefix, from, how, |rest, row| match key_and_part(rest) {
            Some((key, part)) => each(key, part, row),
            None => Err(RuntimeError::Store { attempt: "read", cause: format!("state key {rest:?} is not one") }),
        })
    }

    /// Gives the rows under a prefix from a key on, by what stands behind the prefix.
    fn rows(
        &self,
        prefix: &[u8],
        from: &[u8],
        how: ReadOptions,
        mut each: impl FnMut(&[u8], &[u8]) -> Result<(), RuntimeError>,
    ) -> Result<(), RuntimeError> {
        let mut rows = self.db.raw_iterator_cf_opt(self.family("state"), how);
        rows.seek(from);
        while let Some((key, value)) = rows.item() {
            let Some(rest) = key.strip_prefix(prefix) else { break };
            each(rest, value)?;
            rows.next();
        }
        rows.status().map_err(failed("read"))
    }
}

/// Before the keys of state rows as they were at the base, where a replay of a pruned log starts; no sub-topology has an empty name.
pub const BASE: &[u8] = b"\0base";

/// The key of all rows of a store of a task.
pub fn state_prefix(sub_topology: &str, partition: u32, store: &str) -> Vec<u8> {
    let mut key = Vec::with_capacity(sub_topology.len() + store.len() + 6);
    key.extend_from_slice(sub_topology.as_bytes());
    key.push(0);
    key.extend_from_slice(&partition.to_be_bytes());
    key.extend_from_slice(store.as_bytes());
    key.push(0);
    key
}

/// The key of one row.
pub fn state_key(prefix: &[u8], key: &str, part: u32) -> Vec<u8> {
    let length = u16::try_from(key.len()).expect("names have 256 bytes at most");
    let mut row = Vec::with_capacity(prefix.len() + key.len() + 6);
    row.extend_from_slice(prefix);
    row.extend_from_slice(&length.to_be_bytes());
    row.extend_from_slice(key.as_bytes());
    row.extend_from_slice(&part.to_be_bytes());
    row
}

/// The state rows of one task.
pub struct TaskRows {
    /// Where they are.
    pub store: Arc<Store>,
    /// What their keys begin with: nothing, or [`BASE`].
    pub under: &'static [u8],
    /// The task's sub-topology.
    pub sub_topology: String,
    /// Its partition.
    pub partition: u32,
}

impl Rows for TaskRows {
    fn first_of_key(&self, store: &str, key: &str, take: TakeRow<'_>) -> Result<(), Fault> {
        let row = self.store.state_row(&state_key(&self.prefix(store), key, 0)).map_err(|error| self.unread(error))?;
        row.map_or(Ok(()), |row| take(key, 0, &row))
    }

    fn of_key(&self, store: &str, key: &str, take: TakeRow<'_>) -> Result<(), Fault> {
        let prefix = self.prefix(store);
        let mut of_key = ReadOptions::default();
        of_key.set_prefix_same_as_start(true);
        self.scan(&prefix, &state_key(&prefix, key, 0), of_key, &mut |name, part, row| match name == key {
            true => take(name, part, row),
            false => Ok(()),
        })
    }

    fn of_store(&self, store: &str, take: TakeRow<'_>) -> Result<(), Fault> {
        let prefix = self.prefix(store);
        self.scan(&prefix, &prefix, total_order(), take)
    }
}

impl TaskRows {
    fn prefix(&self, store: &str) -> Vec<u8> {
        [self.under, &state_prefix(&self.sub_topology, self.partition, store)].concat()
    }

    fn scan(&self, prefix: &[u8], from: &[u8], how: ReadOptions, take: TakeRow<'_>) -> Result<(), Fault> {
        let mut refused = None;
        let read = self.store.parsed_rows(prefix, from, how, |key, part, row| {
            take(key, part, row).map_err(|fault| {
                let cause = fault.to_string();
                refused = Some(fault);
                RuntimeError::Store { attempt: "read", cause }
            })
        });
        read.map_err(|error| refused.unwrap_or_else(|| self.unread(error)))
    }

    /// Keeps why a row could not be read for whoever stops.
    fn unread(&self, error: RuntimeError) -> Fault {
        let fault = Fault(error.to_string());
        *self.store.unread.lock().unwrap_or_else(PoisonError::into_inner) = Some(error);
        fault
    }
}

/// The key and the part of a row, from what stands behind the prefix of its store.
pub fn key_and_part(rest: &[u8]) -> Option<(&str, u32)> {
    let (name, part) = rest.split_last_chunk::<PART>()?;
    let name = std::str::from_utf8(name.get(2..)?).ok()?;
    Some((name, u32::from_be_bytes(*part)))
}

//! The data directory: one RocksDB with three column families.
//!
//! | family | key | value |
//! |---|---|---|
//! | `log` | topic, 0, partition (u32), base offset (u64) | a batch ([`crate::frame`]) |
//! | `state` | sub-topology, 0, partition (u32), store, 0, length of the key (u16), key, part (u32) | a row, written at checkpoints |
//! | `state` | 0, 0, a word | where the checkpoint stands |
//! | `meta` | a word | where log and sources stand |
//!
//! Integers are big-endian, so that keys sort as they should.
//!
//! A commit is one synced batch. A checkpoint comes behind its commit, as one table of sorted rows that the store takes in whole or
//! not at all: it passes by the write-ahead log, which is what a start reads again, and by the memory of tables to come.

mod acknowledged;
mod copy;
mod cursor;
mod mirrored;
mod state;
mod view;

pub use copy::Content;
pub(crate) use copy::Filling;
pub use cursor::Cursor;
pub use mirrored::Mirrored;
pub use state::{BASE, TaskRows, key_and_part, state_key, state_prefix};
pub use view::owner;

use crate::frame;
use crate::layout::Partition;
use crate::pruned::Pruned;
use crate::{Failpoint, RuntimeError, backup};
use acknowledged::Acknowledged;
use rocksdb::{
    BlockBasedOptions, ColumnFamilyDescriptor, DB, DBCompactionStyle, DBCompressionType, Direction, IngestExternalFileOptions,
    IteratorMode, Options, ReadOptions, SliceTransform, SstFileWriter, UniversalCompactOptions, WriteBatch, WriteOptions,
};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, OnceLock, PoisonError};

/// What the row `format` says.
pub(crate) const FORMAT: &str = "1";
const FAMILIES: [&str; 3] = ["log", "state", "meta"];

/// How commits reach the disk.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Sync {
    /// A commit is on disk when it returns.
    Disk,
    /// The operating system writes when it likes: for backtests and shadows.
    System,
}

/// An open data directory.
pub struct Store {
    db: DB,
    path: PathBuf,
    write: WriteOptions,
    /// Commits so far.
    commits: AtomicU64,
    /// Where commits are synced.
    acknowledged: Option<Acknowledged>,
    pruned: Pruned,
    /// Whose copy the log is; empty where it is nobody's.
    mirrored: OnceLock<Mirrored>,
    /// Why a task could not read its rows: a processor only knows that it stopped.
    unread: Mutex<Option<RuntimeError>>,
}

/// Rows of state by key, each key once; an empty row deletes.
pub type Rows = Vec<(Vec<u8>, Vec<u8>)>;

/// The row of the meta family that belongs to the checkpoint, and stands with its state.
const OF_CHECKPOINT: &str = "checkpoint";

/// The table of a checkpoint before the store takes it in.
const CHECKPOINT_FILE: &str = "checkpoint.sst";

/// The row of the log and the meta family that counts commits: what is lost of either is missed.
const COMMITS: &str = "\0commits";

/// What one commit writes, all or nothing.
#[derive(Default)]
pub struct Commit {
    /// Batches: partition number, base offset, records, plain body.
    pub batches: Vec<(usize, u64, u32, Vec<u8>)>,
    /// State rows; an empty value deletes.
    pub state: Rows,
    /// Meta rows.
    pub meta: Vec<(String, Vec<u8>)>,
    /// Answers to the commands in it, which are not written but told once it is done.
    pub answers: Vec<Vec<u8>>,
    /// A checkpoint behind it: state rows, and the position that they stand for.
    pub checkpoint: Option<(Rows, Vec<u8>)>,
    /// Batches to remove: partition number, and the offsets from and before which.
    pub pruned: Vec<(usize, u64, u64)>,
}

pub(crate) fn failed(attempt: &'static str) -> impl Fn(rocksdb::Error) -> RuntimeError {
    move |error| match (is_damage(&error), error.into_string()) {
        (true, cause) => RuntimeError::Damaged { cause },
        (false, cause) => RuntimeError::Store { attempt, cause },
    }
}

/// Whether files of the store do not hold what they should, or are not there.
fn is_damage(error: &rocksdb::Error) -> bool {
    let gone = error.kind() == rocksdb::ErrorKind::IOError && error.as_ref().contains("No such file");
    error.kind() == rocksdb::ErrorKind::Corruption || gone
}

fn options() -> Options {
    let mut options = Options::default();
    options.create_if_missing(true);
    options.create_missing_column_families(true);
    options.set_max_background_jobs(2);
    options.set_keep_log_file_num(2);
    // What a start reads again.
    options.set_max_total_wal_size(96 << 20);
    options.set_db_write_buffer_size(192 << 20);
    // By default RocksDB drops, in silence, whatever lies behind a damaged place of its write-ahead log.
    options.set_wal_recovery_mode(rocksdb::DBRecoveryMode::TolerateCorruptedTailRecords);
    options
}

/// Reads every row in the order of its key, whatever its prefix.
fn total_order() -> ReadOptions {
    let mut options = ReadOptions::default();
    options.set_total_order_seek(true);
    options
}

fn families() -> Vec<ColumnFamilyDescriptor> {
    // Batches arrive compressed, in order and once: universal compaction rewrites them least.
    let mut log = Options::default();
    log.set_compaction_style(DBCompactionStyle::Universal);
    // Wide merges, and none for space, of which the log's own wastes nothing: a batch is rewritten once more when the log is 64 times
    // as long, and not before it has 4 GB.
    let mut wide = UniversalCompactOptions::default();
    wide.set_min_merge_width(64);
    wide.set_max_size_amplification_percent(i32::MAX);
    log.set_universal_compaction_options(&wide);
    log.set_level_zero_file_num_compaction_trigger(64);
    log.set_level_zero_slowdown_writes_trigger(256);
    log.set_level_zero_stop_writes_trigger(512);
    log.set_write_buffer_size(64 << 20);
    log.set_compression_type(DBCompressionType::None);
    let state = state_options();
    let of = |name: &str| match name {
        "log" => log.clone(),
        "state" => state.clone(),
        _ => Options::default(),
    };
    FAMILIES.iter().map(|name| ColumnFamilyDescriptor::new(*name, of(name))).collect()
}

fn state_options() -> Options {
    let mut state = Options::default();
    // A tenth less for sums of few agents, a third less for names and sums of many.
    state.set_compression_type(DBCompressionType::Lz4);
    // A checkpoint writes many rows over again, in a table of its own: those of like size are merged once some are there. By levels
    // each merge would rewrite every row of a large state.
    state.set_compaction_style(DBCompactionStyle::Universal);
    state.set_level_zero_file_num_compaction_trigger(16);
    state.set_level_zero_slowdown_writes_trigger(64);
    state.set_level_zero_stop_writes_trigger(128);
    // A merge that was due would take disk and cores from a start, which reads state: see `begin_merges`.
    state.set_disable_auto_compactions(true);
    // The rows of a key are one prefix, so that a key without rows costs a look at filters.
    state.set_prefix_extractor(SliceTransform::create("key", |row| &row[..row.len() - state::PART], Some(|row| row.len() > state::PART)));
    let mut table = BlockBasedOptions::default();
    table.set_bloom_filter(10.0, false);
    table.set_whole_key_filtering(false);
    table.set_optimize_filters_for_memory(true);
    state.set_block_based_table_factory(&table);
    state
}

impl Store {
    /// Whether a directory holds a store.
    pub fn exists(path: &Path) -> bool {
        path.join("CURRENT").exists() || acknowledged::exists(path)
    }

    /// Opens a directory to write, and makes it where there is none.
    pub fn open(path: &Path, sync: Sync) -> Result<Store, RuntimeError> {
        if path.join(backup::MANIFEST).exists() {
            return Err(RuntimeError::IsBackup { path: path.into() });
        }
        std::fs::create_dir_all(path).map_err(|error| RuntimeError::Open { path: path.into(), cause: error.to_string() })?;
        let acknowledged = acknowledged::read(path)?;
        let db = DB::open_cf_descriptors(&options(), path, families()).map_err(|error| refused(path, error))?;
        let mut store = Store::new(db, path, sync).check_whole(acknowledged)?;
        if sync == Sync::Disk {
            let file = Acknowledged::open(path).map_err(|error| RuntimeError::Open { path: path.into(), cause: error.to_string() })?;
            store.acknowledged = Some(file);
        }
        Failpoint::StoreOpened.pass();
        if store.meta("format")?.is_none() {
            store.commit(&mut Commit { meta: vec![("format".into(), FORMAT.into())], ..Commit::default() }, &[])?;
        }
        store.check_format()
    }

    /// Opens a directory to read what is in it now, beside its writer if it has one; nothing changes under the reader.
    pub fn open_to_read(path: &Path) -> Result<Store, RuntimeError> {
        if !Store::exists(path) {
            return Err(RuntimeError::Missing { path: path.into() });
        }
        let acknowledged = acknowledged::read(path)?;
        Store::new(view::open(path)?, path, Sync::System).check_whole(acknowledged)?.check_format()
    }

    fn new(db: DB, path: &Path, sync: Sync) -> Store {
        let mut write = WriteOptions::default();
        write.set_sync(sync == Sync::Disk);
        let commits = AtomicU64::new(0);
        Store {
            db,
            path: path.into(),
            write,
            commits,
            acknowledged: None,
            pruned: Pruned::default(),
            mirrored: OnceLock::new(),
            unread: Mutex::default(),
        }
    }

    /// Refuses a store that ends before what was acknowledged when it was opened.
    fn check_whole(self, acknowledged: u64) -> Result<Store, RuntimeError> {
        let counted = |family| -> Result<u64, RuntimeError> {
            let row = self.db.get_cf(self.family(family), COMMITS).map_err(failed("read"))?;
            Ok(row.and_then(|row| row.try_into().ok()).map_or(0, u64::from_be_bytes))
        };
        let found = counted("log")?.min(counted("meta")?);
        self.commits.store(found, Ordering::Relaxed);
        match found < acknowledged {
            true => Err(RuntimeError::CutShort { path: self.path.clone(), found, acknowledged }),
            false => Ok(self),
        }
    }

    fn check_format(self) -> Result<Store, RuntimeError> {
        match self.meta("format")? {
            Some(found) if found == FORMAT.as_bytes() => self.with_pruned()?.with_mirrored(),
            Some(found) => {
                Err(RuntimeError::Format { path: self.path.clone(), found: String::from_utf8_lossy(&found).into_owned(), wanted: FORMAT })
            }
            None => Err(RuntimeError::Missing { path: self.path.clone() }),
        }
    }

    fn with_pruned(mut self) -> Result<Store, RuntimeError> {
        if let Some(bytes) = self.meta("pruned")? {
            let unreadable = || RuntimeError::Store { attempt: "read", cause: "the row of what was pruned is not one".into() };
            self.pruned = Pruned::decode(&bytes).ok_or_else(unreadable)?;
        }
        Ok(self)
    }

    /// Why a task stopped: what it could not read, where that is the reason.
    pub(crate) fn cause(&self, stopped: RuntimeError) -> RuntimeError {
        self.unread.lock().unwrap_or_else(PoisonError::into_inner).take().unwrap_or(stopped)
    }

    /// What was pruned when the directory was opened.
    pub fn pruned(&self) -> &Pruned {
        &self.pruned
    }

    /// The first offset that is left of a partition.
    pub fn start(&self, partition: &Partition) -> u64 {
        self.pruned.partitions.get(&(partition.name.clone(), partition.partition)).copied().unwrap_or(0)
    }

    fn family(&self, name: &'static str) -> &rocksdb::ColumnFamily {
        self.db.cf_handle(name).expect("every column family is created with the directory")
    }

    /// Writes a commit and waits for the disk as [`Sync`] says.
    pub fn commit(&self, commit: &mut Commit, partitions: &[Partition]) -> Result<(), RuntimeError> {
        let mut batch = WriteBatch::default();
        for (partition, base, count, body) in &commit.batches {
            batch.put_cf(self.family("log"), log_key(&partitions[*partition], *base), frame::pack(*count, body));
        }
        for (key, row) in &commit.state {
            match row.is_empty() {
                true => batch.delete_cf(self.family("state"), key),
                false => batch.put_cf(self.family("state"), key, row),
            }
        }
        for (key, row) in &commit.meta {
            let (family, key) = self.place(key);
            batch.put_cf(family, key, row);
        }
        let number = self.commits.fetch_add(1, Ordering::Relaxed) + 1;
        for family in ["log", "meta"] {
            batch.put_cf(self.family(family), COMMITS, number.to_be_bytes());
        }
        for (partition, from, to) in &commit.pruned {
            let partition = &partitions[*partition];
            batch.delete_range_cf(self.family("log"), log_key(partition, *from), log_key(partition, *to));
        }
        Failpoint::CommitPacked.pass();
        self.db.write_opt(batch, &self.write).map_err(failed("commit to"))?;
        Failpoint::CommitSynced.pass();
        self.acknowledge(number)
    }

    fn acknowledge(&self, commits: u64) -> Result<(), RuntimeError> {
        let told = self.acknowledged.as_ref().map_or(Ok(()), |file| file.write(commits));
        told.map_err(|error| RuntimeError::Store { attempt: "acknowledge a commit of", cause: error.to_string() })
    }

    /// Writes a checkpoint, all or nothing, and waits for the disk; the commit that it belongs to is there.
    pub fn checkpoint(&self, mut rows: Rows, position: Vec<u8>) -> Result<(), RuntimeError> {
        Failpoint::CheckpointDue.pass();
        rows.push((self.place(OF_CHECKPOINT).1, position));
        rows.sort_unstable();
        self.lay(rows.iter().map(|(key, row)| (key.as_slice(), row.as_slice())))?;
        Failpoint::CheckpointWritten.pass();
        self.acknowledge(self.commits.load(Ordering::Relaxed))
    }

    /// Lays state rows, in the order of their keys and each key once, over those that are there, all or nothing, and waits for the disk.
    /// They are a table of their own, which the store takes in as it is; one task at a time may do so.
    pub(crate) fn lay<'r>(&self, mut rows: impl Iterator<Item = (&'r [u8], &'r [u8])>) -> Result<(), RuntimeError> {
        let path = self.path.join(CHECKPOINT_FILE);
        // What a crash left may be a second name of a table that the store has: it loses its name, not its bytes.
        let _ = std::fs::remove_file(&path);
        let mut options = state_options();
        // A merge compresses: much of what is laid is soon laid over again.
        options.set_compression_type(DBCompressionType::None);
        let mut table = SstFileWriter::create(&options);
        let written = table.open(&path).and_then(|()| {
            rows.try_for_each(|(key, row)| if row.is_empty() { table.delete(key) } else { table.put(key, row) })?;
            table.finish()
        });
        written.map_err(failed("write a checkpoint of"))?;
        Failpoint::CheckpointBuilt.pass();
        let mut how = IngestExternalFileOptions::default();
        how.set_move_files(true);
        let taken = self.db.ingest_external_file_cf_opts(self.family("state"), &how, vec![path]);
        taken.map_err(failed("write a checkpoint of"))
    }

    /// Merges tables of state from here on, where they have grown many; called once a start has read what it needs.
    pub(crate) fn begin_merges(&self) -> Result<(), RuntimeError> {
        self.db.set_options_cf(self.family("state"), &[("disable_auto_compactions", "false")]).map_err(failed("begin merges of"))
    }

    /// Where a row of the meta family is.
    fn place(&self, key: &str) -> (&rocksdb::ColumnFamily, Vec<u8>) {
        match key == OF_CHECKPOINT {
            true => (self.family("state"), [&[0, 0], key.as_bytes()].concat()),
            false => (self.family("meta"), key.into()),
        }
    }

    /// A row of the meta family.
    pub fn meta(&self, key: &str) -> Result<Option<Vec<u8>>, RuntimeError> {
        let (family, key) = self.place(key);
        self.db.get_cf(family, key).map_err(failed("read"))
    }

    /// Rows of the meta family whose key starts with a prefix.
    pub fn meta_under(&self, prefix: &str) -> Result<Vec<(String, Vec<u8>)>, RuntimeError> {
        let rows = self.db.iterator_cf(self.family("meta"), IteratorMode::From(prefix.as_bytes(), Direction::Forward));
        let rows = rows.take_while(|row| row.as_ref().is_ok_and(|(key, _)| key.starts_with(prefix.as_bytes())));
        rows.map(|row| row.map(|(key, value)| (String::from_utf8_lossy(&key).into_owned(), value.into())).map_err(failed("read"))).collect()
    }

    /// The records of a partition, from the first that is left.
    pub fn records<'s>(&'s self, partition: &Partition) -> Cursor<'s> {
        self.read(partition, self.start(partition))
    }

    /// Gives the place of removed batches back to the disk.
    pub fn reclaim(&self) {
        self.db.compact_range_cf(self.family("log"), None::<&[u8]>, None::<&[u8]>);
    }

    /// The records of a partition from an offset on; refused where that was pruned.
    pub fn read<'s>(&'s self, partition: &Partition, from: u64) -> Cursor<'s> {
        let prefix = log_prefix(partition);
        // The batch that holds `from` starts there or before.
        let at = log_key(partition, from);
        let mut before = self.db.iterator_cf(self.family("log"), IteratorMode::From(&at, Direction::Reverse));
        let start = match before.next() {
            Some(Ok((key, _))) if key.starts_with(&prefix) => key.into_vec(),
            _ => prefix.clone(),
        };
        let batches = self.db.iterator_cf(self.family("log"), IteratorMode::From(&start, Direction::Forward));
        Cursor::new(batches, prefix, partition, self, from)
    }

    /// The offset behind the last record of a partition.
    pub fn end(&self, partition: &Partition) -> Result<u64, RuntimeError> {
        let prefix = log_prefix(partition);
        let at = log_key(partition, u64::MAX);
        let last = self.db.iterator_cf(self.family("log"), IteratorMode::From(&at, Direction::Reverse)).next();
        let Some((key, value)) = last.transpose().map_err(failed("read"))? else { return Ok(self.start(partition)) };
        let base = key.strip_prefix(prefix.as_slice()).and_then(|rest| rest.try_into().ok()).map(u64::from_be_bytes);
        let count = frame::unpack(&value).map(|(count, _)| u64::from(count));
        Ok(base.zip(count).map_or(self.start(partition), |(base, count)| base + count))
    }

    /// Bytes of the files that the store has written: log, state and write-ahead log.
    pub fn disk_bytes(&self) -> u64 {
        let files = std::fs::read_dir(&self.path).into_iter().flatten().flatten();
        files.filter_map(|file| file.metadata().ok()).map(|metadata| metadata.len()).sum()
    }

    /// Where it is.
    pub fn path(&self) -> &Path {
        &self.path
    }
}

fn refused(path: &Path, error: rocksdb::Error) -> RuntimeError {
    let (is_damage, cause) = (is_damage(&error), error.into_string());
    let path = PathBuf::from(path);
    if view::is_unfinished(&cause) {
        return RuntimeError::Missing { path };
    }
    if is_damage {
        return RuntimeError::Damaged { cause: with_file(&path, cause) };
    }
    match cause.contains("While lock file") || cause.contains("lock hold by current process") {
        true => RuntimeError::InUse { owner: owner(&path), path },
        false => RuntimeError::Open { path, cause },
    }
}

/// Adds the file where RocksDB does not name it: so it is with the write-ahead log.
fn with_file(path: &Path, cause: String) -> String {
    if cause.contains(&*path.to_string_lossy()) || cause.contains("CURRENT") {
        return cause;
    }
    let files = std::fs::read_dir(path).into_iter().flatten().flatten().map(|file| file.path());
    let logs: Vec<String> =
        files.filter(|file| file.extension().is_some_and(|end| end == "log")).map(|file| file.display().to_string()).collect();
    format!("{cause} in {}", logs.join(" or "))
}

fn log_prefix(partition: &Partition) -> Vec<u8> {
    let mut key = Vec::with_capacity(partition.name.len() + 13);
    key.extend_from_slice(partition.name.as_bytes());
    key.push(0);
    key.extend_from_slice(&partition.partition.to_be_bytes());
    key
}

/// The key of a batch.
pub(crate) fn log_key(partition: &Partition, base: u64) -> Vec<u8> {
    let mut key = log_prefix(partition);
    key.extend_from_slice(&base.to_be_bytes());
    key
}

/// Topic, partition and base offset of the key of a batch; none where it is no such key.
pub(crate) fn batch_of_key(key: &[u8]) -> Option<(&str, u32, u64)> {
    let (rest, base) = key.split_last_chunk()?;
    let (rest, partition) = rest.split_last_chunk()?;
    let topic = std::str::from_utf8(rest.strip_suffix(&[0])?).ok()?;
    Some((topic, u32::from_be_bytes(*partition), u64::from_be_bytes(*base)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::{Duration, Instant};

    #[test]
    fn tables_of_state_are_merged_once_a_start_is_over() {
        let folder = tempfile::tempdir().expect("a folder");
        let store = Store::open(folder.path(), Sync::System).expect("a new directory");
        let tables = || store.db.live_files().expect("its files").iter().filter(|file| file.column_family_name == "state").count();
        let row = |number: u64| state_key(&state_prefix("evaluate", 0, "windows"), &number.to_string(), 0);
        for number in 0..40 {
            store.checkpoint(vec![(row(number), vec![7; 100])], number.to_be_bytes().into()).expect("a table");
        }
        assert_eq!(tables(), 40);
        store.begin_merges().expect("they begin");
        let begun = Instant::now();
        while tables() > 16 {
            assert!(begun.elapsed() < Duration::from_secs(60), "{} tables are left", tables());
            std::thread::sleep(Duration::from_millis(10));
        }
        for number in 0..40 {
            assert_eq!(store.state_row(&row(number)).expect("it is read"), Some(vec![7; 100]), "row {number}");
        }
    }
}

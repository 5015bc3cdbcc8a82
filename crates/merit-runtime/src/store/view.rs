//! What a reader sees: every commit up to one moment, whether or not a process writes the directory meanwhile.
//!
//! Beside a writer it is RocksDB's secondary, which can follow what the writer does to its files. A secondary shows less, in
//! silence, where a file is missing; a directory at rest is therefore opened strictly, and the files of the other kind were
//! checked by their writer. Neither takes a lock nor writes a file.

use super::{FAMILIES, families, options, refused};
use crate::RuntimeError;
use rocksdb::{DB, InfoLogger, LogLevel, Options};
use std::ffi::OsString;
use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::time::Duration;

/// How often a view is taken again since the writer let files go meanwhile. One is mostly enough: a writer does so when it
/// flushes or compacts, and to follow it takes milliseconds.
const ATTEMPTS: u32 = 200;
const PAUSE: Duration = Duration::from_millis(10);

/// The process that has a directory open to write, as the kernel knows it, so never one that is gone; none where nobody has,
/// or where the kernel does not tell.
///
/// The lock file is not opened for that: closing it would let go of a lock that this process holds itself.
pub fn owner(path: &Path) -> Option<u32> {
    let lock = std::fs::metadata(path.join("LOCK")).ok()?;
    let (device, inode) = (lock.dev(), lock.ino());
    let major = (device >> 8 & 0xfff) | (device >> 32 & !0xfff);
    let minor = (device & 0xff) | (device >> 12 & !0xff);
    let wanted = format!("{major:02x}:{minor:02x}:{inode}");
    // A line is as `1: POSIX  ADVISORY  WRITE 4711 fe:00:10166282 0 EOF`.
    std::fs::read_to_string("/proc/locks").ok()?.lines().find_map(|line| match line.split_whitespace().collect::<Vec<_>>()[..] {
        [_, "POSIX", _, "WRITE", process, file, ..] if file == wanted => process.parse().ok(),
        _ => None,
    })
}

/// The view of a directory as it is now.
pub(super) fn open(path: &Path) -> Result<DB, RuntimeError> {
    let mut beside = None;
    let mut refusal = RuntimeError::Store { attempt: "read", cause: "its writer changes files faster than they can be opened".into() };
    for _ in 0..ATTEMPTS {
        let before = Files::of(path).ok();
        let opened = match beside.take() {
            Some(view) => DB::try_catch_up_with_primary(&view).map(|()| (view, true)),
            None if owner(path).is_some() => open_beside(path).map(|view| (view, true)),
            None => open_alone(path).map(|view| (view, false)),
        };
        let steady = before.is_some() && before == Files::of(path).ok();
        match opened {
            Ok((view, _)) if steady => return Ok(view),
            Ok((view, follows)) => beside = follows.then_some(view),
            Err(error) if steady => return Err(refused(path, error)),
            Err(error) => refusal = refused(path, error),
        }
        std::thread::sleep(PAUSE);
    }
    Err(refusal)
}

fn open_beside(path: &Path) -> Result<DB, rocksdb::Error> {
    // The second path is for a log file of the reader's own, which it does not have.
    DB::open_cf_descriptors_as_secondary(&reading(), path, path, families())
}

fn open_alone(path: &Path) -> Result<DB, rocksdb::Error> {
    DB::open_cf_descriptors_read_only(&reading(), path, families(), false)
}

fn reading() -> Options {
    let mut options = options();
    options.create_if_missing(false);
    options.create_missing_column_families(false);
    // All tables are held open, so that what the writer deletes can still be read.
    options.set_max_open_files(-1);
    options.set_info_logger(InfoLogger::new_callback_logger(LogLevel::Fatal, |_, _| ()));
    options
}

/// What changes before a writer lets go of any file: its list of tables, and its write-ahead logs.
/// A view that was taken while these stood still lacks nothing.
#[derive(PartialEq, Eq)]
struct Files {
    list: String,
    length: u64,
    logs: Vec<OsString>,
}

impl Files {
    fn of(path: &Path) -> std::io::Result<Files> {
        let list = std::fs::read_to_string(path.join("CURRENT"))?;
        let length = std::fs::metadata(path.join(list.trim_end()))?.len();
        let names = std::fs::read_dir(path)?.map(|file| file.map(|file| file.file_name())).collect::<Result<Vec<_>, _>>()?;
        let mut logs: Vec<OsString> = names.into_iter().filter(|name| name.as_encoded_bytes().ends_with(b".log")).collect();
        logs.sort_unstable();
        Ok(Files { list, length, logs })
    }
}

/// Whether a directory has not been given its column families yet: its writer is making it, or died while it did.
pub(super) fn is_unfinished(cause: &str) -> bool {
    FAMILIES.iter().any(|name| cause.ends_with(&format!("Column family not found: {name}")))
}

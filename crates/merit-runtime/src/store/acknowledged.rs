//! How far the store was acknowledged, in a file beside it.
//!
//! RocksDB takes the end of its write-ahead log and of its manifest for the end of what was written: of files that were cut, or of
//! a log that was removed, it misses nothing. So after every synced commit the file `ACKNOWLEDGED` is told where they ended. It is
//! not synced itself: what a crash takes from it only makes it say less.

use crate::RuntimeError;
use merit_core::{Datum, datum};
use std::fs::{File, OpenOptions};
use std::io;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use xxhash_rust::xxh3::xxh3_64;

datum! {
    /// What was on disk when the last commit was acknowledged.
    Ends<'a> {
        /// Commits of the store.
        commits: u64,
        /// Name of its manifest.
        manifest: &'a str,
        /// Bytes of its manifest.
        manifest_bytes: u64,
    }
}

/// Bytes of the file: the encoding, zeros, and XXH3-64 of both.
const LENGTH: usize = 72;

/// Tells the file.
pub(super) struct Acknowledged {
    file: File,
    manifest: String,
    manifest_file: File,
}

fn place(directory: &Path) -> PathBuf {
    directory.join("ACKNOWLEDGED")
}

/// Name of the manifest of a store.
fn manifest(directory: &Path) -> io::Result<String> {
    Ok(std::fs::read_to_string(directory.join("CURRENT"))?.trim_end().to_owned())
}

/// Whether a commit was ever acknowledged there.
pub(super) fn exists(directory: &Path) -> bool {
    place(directory).exists()
}

/// The number of commits that were acknowledged, 0 where nothing whole says it; refused where the manifest is shorter than it was.
pub(super) fn read(directory: &Path) -> Result<u64, RuntimeError> {
    let bytes = std::fs::read(place(directory)).unwrap_or_default();
    let told = bytes.split_last_chunk::<8>().filter(|(ends, check)| **check == xxh3_64(ends).to_be_bytes());
    let Some(ends) = told.and_then(|(mut ends, _)| Ends::get(&mut ends)) else { return Ok(0) };
    let Ok(manifest) = manifest(directory) else {
        return Err(RuntimeError::Damaged { cause: format!("{} cannot be read", directory.join("CURRENT").display()) });
    };
    let path = directory.join(ends.manifest);
    let found = std::fs::metadata(&path).map_or(0, |file| file.len());
    if manifest == ends.manifest && found < ends.manifest_bytes {
        let cause = format!("{} has {found} bytes, and {} of it were on disk", path.display(), ends.manifest_bytes);
        return Err(RuntimeError::Damaged { cause });
    }
    Ok(ends.commits)
}

impl Acknowledged {
    /// Opens the file of an open store.
    pub(super) fn open(directory: &Path) -> io::Result<Acknowledged> {
        let manifest = manifest(directory)?;
        let manifest_file = File::open(directory.join(&manifest))?;
        let file = OpenOptions::new().write(true).create(true).truncate(false).open(place(directory))?;
        Ok(Acknowledged { file, manifest, manifest_file })
    }

    /// Says that so many commits are on disk.
    pub(super) fn write(&self, commits: u64) -> io::Result<()> {
        let manifest_bytes = self.manifest_file.metadata()?.len();
        let mut bytes = Vec::new();
        Ends { commits, manifest: &self.manifest, manifest_bytes }.put(&mut bytes);
        bytes.resize(LENGTH - 8, 0);
        let check = xxh3_64(&bytes);
        bytes.extend_from_slice(&check.to_be_bytes());
        self.file.write_all_at(&bytes, 0)
    }
}

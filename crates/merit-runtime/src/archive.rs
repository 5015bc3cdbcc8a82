//! A log as a file.
//!
//! It holds what a data directory does that is not computed from the rest: rows of log and meta, and of state at the base
//! ([`crate::store`] has their form). Batches of a partition come in the order of their offsets.
//!
//! | part | bytes |
//! |---|---|
//! | beginning | `merit log 1` and a line end |
//! | a row | 1 meta, 2 log, 3 state (1 byte), length of the key, key, length of the value, value |
//! | end | 0 (1 byte), number of rows (u64), SHA-256 of everything before it |
//!
//! Lengths are u32; integers are big-endian. A file has its name once it is whole: until then it is written under that name with
//! `.partial` behind it.

use crate::RuntimeError;
use crate::backup::into_new;
use crate::layout::{Layout, Partition};
use crate::store::{FORMAT, Filling, Mirrored, Store, log_key};
use crate::{embedded::Batches, frame, kafka::mirror::MetaRows};
use sha2::{Digest, Sha256};
use std::ffi::OsString;
use std::fs::File;
use std::io::{BufReader, BufWriter, Read, Write};
use std::path::{Path, PathBuf};

const BEGINNING: &[u8] = b"merit log 1\n";

/// Families by their number in the file, from 1.
const FAMILIES: [&str; 3] = ["meta", "log", "state"];

/// The longest key and the longest value, in bytes: far more than any row has.
const LONGEST: [u32; 2] = [1 << 20, 1 << 28];

/// A row: its family, key and value.
pub(crate) type Row<'r> = (&'static str, &'r [u8], &'r [u8]);

/// A file that is written.
pub(crate) struct Writer {
    path: PathBuf,
    file: BufWriter<File>,
    digest: Sha256,
    rows: u64,
}

fn failed(path: &Path) -> impl Fn(std::io::Error) -> RuntimeError {
    move |error| RuntimeError::LogFile { path: path.into(), cause: error.to_string() }
}

/// Writes a file that is not there yet, as `fill` says; nothing is left of one that failed.
pub(crate) fn write<T>(path: &Path, fill: impl FnOnce(&mut Writer) -> Result<T, RuntimeError>) -> Result<T, RuntimeError> {
    if path.exists() {
        return Err(RuntimeError::LogFileExists { path: path.into() });
    }
    let mut partial = OsString::from(path);
    partial.push(".partial");
    let partial = PathBuf::from(partial);
    let written = Writer::new(&partial).and_then(|mut writer| {
        let filled = fill(&mut writer)?;
        writer.finish()?;
        std::fs::rename(&partial, path).map_err(failed(path))?;
        Ok(filled)
    });
    if written.is_err() {
        // The failure that led here is the one to be told.
        let _ = std::fs::remove_file(&partial);
    }
    written
}

impl Writer {
    fn new(path: &Path) -> Result<Writer, RuntimeError> {
        let file = File::create(path).map_err(failed(path))?;
        let mut writer = Writer { path: path.into(), file: BufWriter::with_capacity(1 << 20, file), digest: Sha256::new(), rows: 0 };
        writer.put(BEGINNING)?;
        Ok(writer)
    }

    fn put(&mut self, bytes: &[u8]) -> Result<(), RuntimeError> {
        self.digest.update(bytes);
        self.file.write_all(bytes).map_err(failed(&self.path))
    }

    /// Adds a row.
    pub(crate) fn row(&mut self, (family, key, value): Row<'_>) -> Result<(), RuntimeError> {
        let number = FAMILIES.iter().position(|name| *name == family).map_or(0, |at| at as u8 + 1);
        self.put(&[number])?;
        for part in [key, value] {
            self.put(&(part.len() as u32).to_be_bytes())?;
            self.put(part)?;
        }
        self.rows += 1;
        Ok(())
    }

    /// Adds batches.
    pub(crate) fn batches(&mut self, batches: &Batches, partitions: &[Partition]) -> Result<(), RuntimeError> {
        batches
            .iter()
            .try_for_each(|(at, base, count, body)| self.row(("log", &log_key(&partitions[*at], *base), &frame::pack(*count, body))))
    }

    /// Adds what makes it the copy of a log on Kafka that ends as these rows say.
    pub(crate) fn mirrored(&mut self, of: &Mirrored, layout: &Layout, ends: MetaRows) -> Result<(), RuntimeError> {
        let rows = of.rows(layout).into_iter().chain(ends).chain([("format".into(), FORMAT.into())]);
        rows.into_iter().try_for_each(|(key, value)| self.row(("meta", key.as_bytes(), &value)))
    }

    fn finish(mut self) -> Result<(), RuntimeError> {
        let rows = self.rows;
        self.put(&[0])?;
        self.put(&rows.to_be_bytes())?;
        let digest = self.digest.clone().finalize();
        self.file.write_all(&digest).map_err(failed(&self.path))?;
        let file = self.file.into_inner().map_err(|error| failed(&self.path)(error.into_error()))?;
        file.sync_all().map_err(failed(&self.path))
    }
}

/// A file that is read.
struct Reading {
    path: PathBuf,
    file: BufReader<File>,
    digest: Sha256,
}

impl Reading {
    fn take(&mut self, into: &mut [u8]) -> Result<(), RuntimeError> {
        self.file.read_exact(into).map_err(|error| match error.kind() {
            std::io::ErrorKind::UnexpectedEof => self.damaged("it ends before its end"),
            _ => failed(&self.path)(error),
        })?;
        self.digest.update(&*into);
        Ok(())
    }

    fn damaged(&self, cause: &str) -> RuntimeError {
        RuntimeError::LogFileDamaged { path: self.path.clone(), cause: cause.into() }
    }

    fn part(&mut self, longest: u32, into: &mut Vec<u8>) -> Result<(), RuntimeError> {
        let mut length = [0; 4];
        self.take(&mut length)?;
        let length = u32::from_be_bytes(length);
        if length > longest {
            return Err(self.damaged("a row is longer than any"));
        }
        into.clear();
        // What is not there is not made room for.
        let read = (&mut self.file).take(length.into()).read_to_end(into).map_err(failed(&self.path))?;
        self.digest.update(&*into);
        if read < length as usize { Err(self.damaged("it ends before its end")) } else { Ok(()) }
    }

    fn end(mut self, rows: u64) -> Result<(), RuntimeError> {
        let (mut told, mut digest) = ([0; 8], [0; 32]);
        self.take(&mut told)?;
        let expected: [u8; 32] = self.digest.clone().finalize().into();
        self.take(&mut digest)?;
        let left = self.file.read(&mut [0]).map_err(failed(&self.path))?;
        match (u64::from_be_bytes(told) == rows, digest == expected, left) {
            (true, true, 0) => Ok(()),
            (_, true, 0) => Err(self.damaged("it has another number of rows than it says")),
            (_, true, _) => Err(self.damaged("it goes on behind its end")),
            (_, false, _) => Err(self.damaged("it does not hold what was written: its digest is another")),
        }
    }
}

/// Gives every row of a file in order, and then whether it is whole.
pub(crate) fn read(path: &Path, mut each: impl FnMut(Row<'_>) -> Result<(), RuntimeError>) -> Result<(), RuntimeError> {
    let file = File::open(path).map_err(failed(path))?;
    let mut reading = Reading { path: path.into(), file: BufReader::with_capacity(1 << 20, file), digest: Sha256::new() };
    let mut beginning = [0; BEGINNING.len()];
    reading.take(&mut beginning)?;
    if beginning != BEGINNING {
        return Err(reading.damaged("it does not begin as a log file of this version does"));
    }
    let (mut rows, mut key, mut value) = (0, Vec::new(), Vec::new());
    loop {
        let mut family = [0];
        reading.take(&mut family)?;
        let family = match family[0].checked_sub(1) {
            None => return reading.end(rows),
            Some(at) => FAMILIES.get(usize::from(at)).copied(),
        };
        let Some(family) = family else { return Err(reading.damaged("a row is of no family")) };
        reading.part(LONGEST[0], &mut key)?;
        reading.part(LONGEST[1], &mut value)?;
        each((family, &key, &value))?;
        rows += 1;
    }
}

/// Writes what a view shows into a file; `progress` is told how many rows were written. Gives their number.
pub fn export(store: &Store, path: &Path, mut progress: impl FnMut(u64)) -> Result<u64, RuntimeError> {
    write(path, |writer| {
        store.each_kept_row(|family, key, value| {
            progress(writer.rows);
            writer.row((family, key, value))
        })?;
        Ok(writer.rows)
    })
}

/// Makes a directory of a file that has this layout; `progress` is told the bytes that were written.
pub fn import(from: &Path, to: &Path, layout: &Layout, progress: impl FnMut(u64)) -> Result<(), RuntimeError> {
    into_new(to, |part| {
        let mut filling = Filling::new(part, progress)?;
        read(from, |(family, key, value)| filling.put(family, key, value))?;
        filling.finish()?;
        layout.check(&Store::open_to_read(part)?)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_is_read_as_it_was_written_and_with_any_byte_changed_cut_or_added_it_is_refused() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("log");
        let rows = [("meta", &b"ends"[..], &b"here"[..]), ("log", b"topic\0", b""), ("log", b"", &[7; 300]), ("state", b"\0base", b"x")];
        write(&path, |writer| rows.iter().try_for_each(|row| writer.row(*row))).expect("written");
        let found = |path: &Path| {
            let mut found = Vec::new();
            let whole = read(path, |(family, key, value)| {
                found.push((family, key.to_vec(), value.to_vec()));
                Ok(())
            });
            whole.map(|()| found)
        };
        let expected: Vec<_> = rows.iter().map(|(family, key, value)| (*family, key.to_vec(), value.to_vec())).collect();
        assert_eq!(found(&path).expect("whole"), expected);
        assert!(matches!(write(&path, |_| Ok(())), Err(RuntimeError::LogFileExists { .. })));

        let whole = std::fs::read(&path).expect("a file");
        let other = folder.path().join("other");
        let refused = |bytes: &[u8], what: &str| {
            std::fs::write(&other, bytes).expect("written");
            assert!(matches!(found(&other), Err(RuntimeError::LogFileDamaged { .. })), "{what}");
        };
        for at in 0..whole.len() {
            refused(&whole[..at], &format!("cut at {at}"));
            let mut changed = whole.clone();
            changed[at] ^= 1;
            refused(&changed, &format!("changed at {at}"));
        }
        refused(&[&whole[..], b"x"].concat(), "longer");
        let failed: Result<(), RuntimeError> = write(&folder.path().join("none"), |writer| {
            writer.row(rows[0])?;
            Err(RuntimeError::KeyDiffers)
        });
        assert!(failed.is_err());
        let mut left: Vec<_> = std::fs::read_dir(folder.path()).expect("a folder").flatten().map(|file| file.file_name()).collect();
        left.sort();
        assert_eq!(left, ["log", "other"], "nothing is left of a file that failed");
    }
}

//! Backups: everything that a directory holds at one moment, with a manifest by which damage is found.
//!
//! A backup is a data directory that can be read like any other, and beside it `backup.json`. It has its name once it is whole:
//! until then it is written under that name with `.partial` behind it.

use crate::layout::Layout;
use crate::store::{Content, Store};
use crate::{LOGIC_VERSION, RuntimeError, key};
use merit_core::id::Hex;
use serde_json::{Value, json};
use std::fs::File;
use std::io::Write;
use std::path::{Path, PathBuf};

/// The file that makes a directory a backup.
pub const MANIFEST: &str = "backup.json";
const KEY: &str = "audit.key";
const FORMAT: u64 = 1;

/// Copies what a view shows into a new directory, reads it back, and puts the manifest beside it, and the key where one is given.
pub fn backup(from: &Store, to: &Path, key: Option<&Path>, progress: impl FnMut(u64)) -> Result<Content, RuntimeError> {
    into_new(to, |part| {
        let content = from.copy_to(part, progress)?;
        if Store::open_to_read(part)?.content()? != content {
            return Err(copying("what was written reads otherwise"));
        }
        if let Some(key) = key {
            copy_key(key, part)?;
        }
        write_manifest(part, &content).map_err(copying)?;
        Ok(content)
    })
}

/// Brings a backup that has this layout back into a new directory; tells what it holds, and whether a key too.
pub fn restore(from: &Path, to: &Path, layout: &Layout, progress: impl FnMut(u64)) -> Result<(Content, bool), RuntimeError> {
    let damaged = |cause: String| RuntimeError::BackupDamaged { path: from.into(), cause };
    let manifest = read_manifest(from)?;
    into_new(to, |part| {
        let store = Store::open_to_read(from).map_err(|error| damaged(error.to_string()))?;
        layout.check(&store)?;
        let content = store.copy_to(part, progress).map_err(|error| match error {
            RuntimeError::Damaged { cause } | RuntimeError::Store { attempt: "read", cause } => damaged(cause),
            error => error,
        })?;
        if manifest != as_json(&content) {
            return Err(damaged(format!("it holds {}, and its manifest says {manifest}", as_json(&content))));
        }
        let key = from.join(KEY);
        let has_key = key.exists();
        if has_key {
            copy_key(&key, part)?;
        }
        Ok((content, has_key))
    })
}

fn as_json(content: &Content) -> Value {
    json!({ "rows": content.rows, "bytes": content.bytes, "digest": Hex(&content.digest).to_string() })
}

fn write_manifest(path: &Path, content: &Content) -> std::io::Result<()> {
    let mut file = File::create_new(path.join(MANIFEST))?;
    let manifest = json!({ "format": FORMAT, "logicVersion": LOGIC_VERSION, "content": as_json(content) });
    writeln!(file, "{manifest:#}")?;
    file.sync_all()
}

/// What a backup must hold.
fn read_manifest(path: &Path) -> Result<Value, RuntimeError> {
    let text = std::fs::read_to_string(path.join(MANIFEST)).map_err(|_| RuntimeError::BackupMissing { path: path.into() })?;
    let manifest: Option<Value> = serde_json::from_str(&text).ok();
    let content = manifest.filter(|manifest| manifest["format"] == FORMAT).map(|mut manifest| manifest["content"].take());
    content.ok_or_else(|| RuntimeError::BackupDamaged { path: path.into(), cause: format!("{MANIFEST} cannot be read") })
}

/// A key that can be used, with its permissions.
fn copy_key(from: &Path, to: &Path) -> Result<(), RuntimeError> {
    key::read(from)?;
    let to = to.join(KEY);
    std::fs::copy(from, &to).and_then(|_| File::open(&to)?.sync_all()).map_err(copying)
}

/// Fills a directory under another name, and gives it its own when all of it is on disk. Nothing is left of one that failed.
pub(crate) fn into_new<T>(path: &Path, fill: impl FnOnce(&Path) -> Result<T, RuntimeError>) -> Result<T, RuntimeError> {
    let not_empty = |path: &Path| RuntimeError::NotEmpty { path: path.into() };
    if std::fs::read_dir(path).map_or_else(|_| path.exists(), |mut files| files.next().is_some()) {
        return Err(not_empty(path));
    }
    let path = std::path::absolute(path).map_err(copying)?;
    let (Some(parent), Some(name)) = (path.parent(), path.file_name()) else { return Err(not_empty(&path)) };
    let mut partial = name.to_owned();
    partial.push(".partial");
    let part: PathBuf = parent.join(partial);
    std::fs::create_dir_all(parent).map_err(copying)?;
    std::fs::create_dir(&part).map_err(|error| match error.kind() {
        std::io::ErrorKind::AlreadyExists => not_empty(&part),
        _ => copying(error),
    })?;
    let sync = |path: &Path| File::open(path).and_then(|directory| directory.sync_all());
    let filled = fill(&part).and_then(|filled| {
        sync(&part).and_then(|()| std::fs::rename(&part, &path)).and_then(|()| sync(parent)).map_err(copying)?;
        Ok(filled)
    });
    if filled.is_err() {
        // The failure that led here is the one to be told.
        let _ = std::fs::remove_dir_all(&part);
    }
    filled
}

fn copying(cause: impl ToString) -> RuntimeError {
    RuntimeError::Store { attempt: "copy", cause: cause.to_string() }
}

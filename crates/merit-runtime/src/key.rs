//! The emitter key as a file.

use crate::{Failpoint, RuntimeError};
use merit_core::id::Hex;
use std::fs::OpenOptions;
use std::io::{ErrorKind, Read, Write};
use std::os::unix::fs::{OpenOptionsExt, PermissionsExt};
use std::path::Path;

/// Reads the key of a file, or makes one there that only its owner can read.
pub fn read_or_create(path: &Path) -> Result<[u8; 32], RuntimeError> {
    match read(path) {
        Err(RuntimeError::KeyMissing { .. }) => create(path),
        other => other,
    }
}

/// Reads the key of a file: 64 hexadecimal digits, readable by its owner alone.
pub fn read(path: &Path) -> Result<[u8; 32], RuntimeError> {
    let failed = |cause: String| RuntimeError::Key { path: path.into(), cause };
    let metadata = std::fs::metadata(path).map_err(|error| match error.kind() {
        ErrorKind::NotFound => RuntimeError::KeyMissing { path: path.into() },
        _ => failed(error.to_string()),
    })?;
    if metadata.permissions().mode() & 0o077 != 0 {
        return Err(failed("others than its owner may read or write it".into()));
    }
    let text = std::fs::read_to_string(path).map_err(|error| failed(error.to_string()))?;
    let digits = text.trim_end().as_bytes();
    let mut key = [0; 32];
    if digits.len() != 64 {
        return Err(failed("it does not hold 64 hexadecimal digits".into()));
    }
    for (byte, pair) in key.iter_mut().zip(digits.chunks(2)) {
        let digit = |at: usize| char::from(pair[at]).to_digit(16).ok_or_else(|| failed("it does not hold hexadecimal digits".into()));
        *byte = (digit(0)? * 16 + digit(1)?) as u8;
    }
    Ok(key)
}

fn create(path: &Path) -> Result<[u8; 32], RuntimeError> {
    let failed = |error: std::io::Error| RuntimeError::Key { path: path.into(), cause: error.to_string() };
    let mut key = [0; 32];
    std::fs::File::open("/dev/urandom").and_then(|mut random| random.read_exact(&mut key)).map_err(failed)?;
    if let Some(parent) = path.parent() {
        std::fs::create_dir_all(parent).map_err(failed)?;
    }
    // Written whole under another name first: a kill in between leaves no half key behind.
    let part = path.with_extension(format!("{}.part", std::process::id()));
    let mut file = OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(&part).map_err(failed)?;
    writeln!(file, "{}", Hex(&key)).and_then(|()| file.sync_all()).map_err(failed)?;
    Failpoint::KeyWritten.pass();
    let linked = std::fs::hard_link(&part, path);
    Failpoint::KeyLinked.pass();
    std::fs::remove_file(&part).map_err(failed)?;
    match linked {
        Err(error) if error.kind() == ErrorKind::AlreadyExists => read(path),
        linked => linked.map(|()| key).map_err(failed),
    }
}

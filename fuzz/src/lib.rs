//! Fuzz targets: everything that reads bytes which Merit did not write, or which a disk may have changed since.
//!
//! A target takes any bytes, panics where a promise of the code under it is broken, and tells whether the bytes were well formed.
//! `scripts/fuzz.sh` searches for inputs by coverage; `corpus/` keeps those that reach most, `crashes/` those that once broke a
//! promise, and `tests/corpus.rs` replays both in every build.
//! Read in this order: [`sources`], [`records`], [`audit`].
#![warn(missing_docs)]

pub mod audit;
pub mod records;
pub mod sources;

pub use audit::{audit_log, leaf};
pub use records::{avro, batch};
pub use sources::{csv, json, mapping, pools, topology};

/// Reads any bytes; whether they were well formed.
pub type Target = fn(&[u8]) -> bool;

/// Every target by its name, which is that of its folders too.
pub const TARGETS: &[(&str, Target)] = &[
    ("json", json),
    ("csv", csv),
    ("mapping", mapping),
    ("pools", pools),
    ("topology", topology),
    ("avro", avro),
    ("batch", batch),
    ("leaf", leaf),
    ("audit_log", audit_log),
];

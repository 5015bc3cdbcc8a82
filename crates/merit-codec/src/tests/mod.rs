//! What the library promises, held against the files in `schemas/` and against another Avro implementation.

mod compatibility;
mod files;
mod json;
mod oracle;
mod sample;
mod vectors;

use merit_core::Kind;
use serde_json::Value;
use std::path::PathBuf;
use std::sync::Once;

/// A path inside `schemas/`. With UPDATE_EXPECT=1 the files are brought up to date before the first is looked at.
fn path(name: &str) -> PathBuf {
    static UPDATED: Once = Once::new();
    if std::env::var_os("UPDATE_EXPECT").is_some() {
        UPDATED.call_once(update);
    }
    schemas(name)
}

fn schemas(name: &str) -> PathBuf {
    PathBuf::from(concat!(env!("CARGO_MANIFEST_DIR"), "/../../schemas")).join(name)
}

fn read(name: &str) -> String {
    std::fs::read_to_string(path(name)).unwrap_or_else(|error| panic!("schemas/{name}: {error}; UPDATE_EXPECT=1 writes it"))
}

fn read_value(name: &str) -> Value {
    serde_json::from_str(&read(name)).unwrap_or_else(|error| panic!("schemas/{name}: {error}"))
}

/// Every schema file as (record, version, file name); the current one has no version.
fn files() -> Vec<(String, Option<u32>, String)> {
    let names = std::fs::read_dir(path("")).expect("schemas/").map(|entry| entry.expect("entry").file_name());
    let mut files: Vec<_> = names.filter_map(|name| split(name.to_str()?)).collect();
    files.sort();
    files
}

/// `Tick.avsc` or `Tick.v1.avsc`.
fn split(name: &str) -> Option<(String, Option<u32>, String)> {
    let stem = name.strip_suffix(".avsc")?;
    let (record, version) = match stem.split_once(".v") {
        Some((record, version)) => (record, Some(version.parse().unwrap_or_else(|_| panic!("schemas/{name}: not a version")))),
        None => (stem, None),
    };
    Some((record.to_owned(), version, name.to_owned()))
}

/// Rewrites the current schemas and makes vectors where there are none. Kept versions and vectors that are there are promises.
fn update() {
    std::fs::create_dir_all(schemas("vectors")).expect("schemas/ can be written");
    for kind in Kind::ALL {
        std::fs::write(schemas(&format!("{}.avsc", kind.name())), files::generated(*kind)).expect("schemas/ can be written");
        let vectors = schemas(&format!("vectors/{}.json", kind.name()));
        if !vectors.exists() {
            std::fs::write(vectors, vectors::generated(*kind)).expect("schemas/vectors/ can be written");
        }
    }
}

fn avro(kind: Kind) -> apache_avro::Schema {
    apache_avro::Schema::parse(&crate::schema(kind)).unwrap_or_else(|error| panic!("{}: {error}", kind.name()))
}

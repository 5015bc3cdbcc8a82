//! Every kept input goes through its target again, whole and damaged. With UPDATE_EXPECT=1 the seeds that code can make are written first.

use merit_core::Kind;
use merit_fuzz::audit::GENUINE;
use merit_fuzz::{TARGETS, Target};
use serde_json::Value;
use std::collections::{BTreeMap, BTreeSet};
use std::panic::catch_unwind;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};
use std::{env, fs};

/// What the corpus may take of a clone.
const MOST_BYTES: usize = 2 << 20;

/// How many places of an input are damaged, at most.
const PLACES: usize = 16;

/// What one input may take, on a machine that does much else.
const HANG: Duration = Duration::from_secs(5);

fn package(path: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join(path)
}

/// The files of a folder's folders, by folder: those of a target.
fn inputs(folder: &str) -> BTreeMap<String, Vec<(PathBuf, Vec<u8>)>> {
    let entries = |path: &Path| -> Vec<PathBuf> {
        let entries = fs::read_dir(path).into_iter().flatten();
        entries.map(|entry| entry.expect("an entry").path()).collect()
    };
    let named = |path: PathBuf| {
        let name = path.file_name().and_then(|name| name.to_str()).expect("a name").to_owned();
        (name, entries(&path).into_iter().map(|file| (file.clone(), fs::read(&file).expect("a file"))).collect())
    };
    entries(&package(folder)).into_iter().filter(|path| path.is_dir()).map(named).collect()
}

/// How many of the inputs are well formed.
fn replay(target: Target, inputs: &[(PathBuf, Vec<u8>)]) -> usize {
    let keeps = |path: &Path, bytes: &[u8]| {
        let start = Instant::now();
        let well_formed =
            catch_unwind(|| target(bytes)).unwrap_or_else(|_| panic!("{}: a promise is broken by {bytes:02x?}", path.display()));
        assert!(start.elapsed() < HANG, "{} took {:?}", path.display(), start.elapsed());
        well_formed
    };
    let replayed = inputs.iter().filter(|(path, bytes)| {
        for bytes in damaged(bytes) {
            keeps(path, &bytes);
        }
        keeps(path, bytes)
    });
    replayed.count()
}

/// An input damaged at some places: a bit flipped, a byte lost, a byte written as a longer varint of the same value.
fn damaged(bytes: &[u8]) -> impl Iterator<Item = Vec<u8>> {
    let at = (0..bytes.len()).step_by(bytes.len() / PLACES + 1);
    at.flat_map(|at| {
        let (before, byte, after) = (&bytes[..at], bytes[at], &bytes[at + 1..]);
        let with = |middle: &[u8]| [before, middle, after].concat();
        [with(&[byte ^ 1 << (at % 8)]), with(&[]), with(&[byte | 0x80, 0])]
    })
}

#[test]
fn every_kept_input_keeps_every_promise() {
    if env::var_os("UPDATE_EXPECT").is_some() {
        write_seeds();
    }
    let (mut corpus, mut crashes) = (inputs("corpus"), inputs("crashes"));
    let bytes: usize = corpus.values().flatten().map(|(_, bytes)| bytes.len()).sum();
    assert!(bytes <= MOST_BYTES, "{bytes} bytes; scripts/fuzz.sh minimises them");
    for (name, target) in TARGETS {
        let kept = corpus.remove(*name).unwrap_or_default();
        let well_formed = replay(*target, &kept);
        // A target that refuses everything, or takes everything, looks at nothing.
        assert!(0 < well_formed && well_formed < kept.len(), "corpus/{name}: {well_formed} of {} are well formed", kept.len());
        replay(*target, &crashes.remove(*name).unwrap_or_default());
    }
    assert!(corpus.is_empty() && crashes.is_empty(), "no target for {:?}", corpus.keys().chain(crashes.keys()).collect::<Vec<_>>());
}

#[test]
fn every_record_type_is_in_the_corpus() {
    let kept = inputs("corpus").remove("avro").unwrap_or_default();
    let well_formed = kept.iter().filter(|(_, bytes)| merit_fuzz::avro(bytes));
    let kinds: BTreeSet<Kind> = well_formed.filter_map(|(_, bytes)| Kind::from_number(bytes[0])).collect();
    let missing: Vec<Kind> = Kind::ALL.iter().copied().filter(|kind| !kinds.contains(kind)).collect();
    assert!(missing.is_empty(), "no {missing:?} in corpus/avro; UPDATE_EXPECT=1 adds what schemas/vectors has of them");
}

fn write_seeds() {
    let write = |target: &str, name: &str, bytes: &[u8]| {
        let folder = package("corpus").join(target);
        fs::create_dir_all(&folder).expect("a folder");
        fs::write(folder.join(name), bytes).expect("a file");
    };
    for kind in Kind::ALL {
        for (at, vector) in vectors(*kind).into_iter().enumerate() {
            write("avro", &format!("{}-{at}", kind.name()), &[&[*kind as u8], &vector[..]].concat());
        }
    }
    let mut log = Vec::new();
    for (at, (leaf, payload)) in GENUINE.rows.iter().enumerate() {
        write("leaf", &format!("genuine-{at}"), leaf);
        for part in [leaf, payload] {
            log.extend((part.len() as u16).to_be_bytes());
            log.extend(part);
        }
    }
    write("audit_log", "genuine", &log);
}

/// The encodings in `schemas/vectors`.
fn vectors(kind: Kind) -> Vec<Vec<u8>> {
    let text = fs::read_to_string(package("../schemas/vectors").join(format!("{}.json", kind.name()))).expect("a vector file");
    let vectors: Vec<Value> = serde_json::from_str(&text).expect("a list");
    let byte = |hex: &str, at: usize| u8::from_str_radix(&hex[at..at + 2], 16).expect("hex");
    let bytes = |hex: &str| (0..hex.len()).step_by(2).map(|at| byte(hex, at)).collect();
    vectors.iter().map(|vector| bytes(vector["hex"].as_str().expect("hex"))).collect()
}

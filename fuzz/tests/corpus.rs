//! Every kept input goes through its target again, whole and damaged, and so do the seeds; UPDATE_EXPECT=1 puts these among the kept.

use merit_core::Kind;
use merit_fuzz::audit::GENUINE;
use merit_fuzz::{TARGETS, Target};
use serde_json::Value;
use std::collections::BTreeMap;
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
        seeds().into_iter().for_each(|(target, name, bytes)| write(&package("corpus").join(target), &name, &bytes));
    }
    let (mut corpus, mut crashes) = (inputs("corpus"), inputs("crashes"));
    let bytes: usize = corpus.values().flatten().map(|(_, bytes)| bytes.len()).sum();
    assert!(bytes <= MOST_BYTES, "{bytes} bytes; scripts/fuzz.sh minimises them");
    for (target, name, bytes) in seeds() {
        corpus.entry(target.into()).or_default().push((name.into(), bytes));
    }
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
fn every_seed_is_well_formed() {
    for (name, target) in TARGETS {
        let refused = seeds().into_iter().find(|(of, _, bytes)| of == name && !target(bytes));
        assert_eq!(refused.map(|(_, seed, _)| seed), None, "{name}");
    }
}

fn write(folder: &Path, name: &str, bytes: &[u8]) {
    fs::create_dir_all(folder).expect("a folder");
    fs::write(folder.join(name), bytes).expect("a file");
}

/// Well formed inputs that the repository has anyway: target, name, bytes.
fn seeds() -> Vec<(&'static str, String, Vec<u8>)> {
    let file = |target, path: &str| (target, path.replace('/', "-"), fs::read(package("..").join(path)).expect("a file"));
    let mut seeds = vec![
        file("topology", "topology.toml"),
        file("topology", "examples/topology.toml"),
        file("pools", "examples/pools.toml"),
        file("mapping", "examples/genai_requests.toml"),
    ];
    for kind in Kind::ALL {
        let record = |(at, vector): (usize, Vec<u8>)| ("avro", format!("{}-{at}", kind.name()), [&[*kind as u8], &vector[..]].concat());
        seeds.extend(vectors(*kind).into_iter().enumerate().map(record));
    }
    let mut log = Vec::new();
    for (at, (leaf, payload)) in GENUINE.rows.iter().enumerate() {
        seeds.push(("leaf", format!("genuine-{at}"), leaf.clone()));
        for part in [leaf, payload] {
            log.extend((part.len() as u16).to_be_bytes());
            log.extend(part);
        }
    }
    seeds.push(("audit_log", "genuine".into(), log));
    seeds
}

/// The encodings in `schemas/vectors`.
fn vectors(kind: Kind) -> Vec<Vec<u8>> {
    let text = fs::read_to_string(package("../schemas/vectors").join(format!("{}.json", kind.name()))).expect("a vector file");
    let vectors: Vec<Value> = serde_json::from_str(&text).expect("a list");
    let byte = |hex: &str, at: usize| u8::from_str_radix(&hex[at..at + 2], 16).expect("hex");
    let bytes = |hex: &str| (0..hex.len()).step_by(2).map(|at| byte(hex, at)).collect();
    vectors.iter().map(|vector| bytes(vector["hex"].as_str().expect("hex"))).collect()
}

//! Files of a data directory that are gone, cut or changed: a start or a reader gives all that was acknowledged, or refuses by name.

use merit_tests::directory::{Directory, Profile};
use merit_tests::dump::{Dump, assert_equal};
use merit_tests::process::{Call, Done};
use merit_tests::{text_of_trace, trace_mapping, write};
use std::path::Path;

/// The start of the trace, with the key in the data directory itself.
fn import(directory: &Directory, source: &str) -> Call {
    let rows = directory.file("rows.csv");
    write(&rows, text_of_trace().split_inclusive('\n').take(1_001).collect::<String>());
    let import = directory.call(["import"]).with([rows]).with(["--mapping"]).with([trace_mapping()]).with(["--source", source]);
    import.with(["--commit-rows", "100", "--checkpoint-inputs", "1000"])
}

/// All in the write-ahead log.
fn in_one_log() -> Directory {
    let directory = Directory::new(Profile::Example);
    import(&directory, "first").ok();
    directory
}

/// In tables, and what came last in the write-ahead log of a process that died.
fn in_tables_and_log() -> Directory {
    let directory = in_one_log();
    assert_eq!(import(&directory, "second").env("MERIT_FAILPOINT", "commit.acknowledged:6").run().code, None);
    directory
}

/// A way of breaking a file.
type Damage = (&'static str, fn(Vec<u8>) -> Option<Vec<u8>>);

fn flipped(mut bytes: Vec<u8>, at: usize) -> Option<Vec<u8>> {
    *bytes.get_mut(at)? ^= 0x10;
    Some(bytes)
}

const DAMAGES: [Damage; 8] = [
    ("removed", |_| None),
    ("empty", |_| Some(Vec::new())),
    ("cut in half", |bytes| Some(bytes[..bytes.len() / 2].into())),
    ("cut by a byte", |bytes| Some(bytes[..bytes.len().saturating_sub(1)].into())),
    ("changed at the start", |bytes| flipped(bytes, 0)),
    ("changed in the middle", |bytes| {
        let middle = bytes.len() / 2;
        flipped(bytes, middle)
    }),
    ("changed at the end", |bytes| {
        let end = bytes.len().saturating_sub(3);
        flipped(bytes, end)
    }),
    ("followed by a torn write", |bytes| Some([bytes.as_slice(), &[7; 5]].concat())),
];

/// Files that a store can do without.
const SPARE: [&str; 4] = ["LOCK", "LOG", "IDENTITY", "OPTIONS"];

/// Refusals of a file that is not what it was.
const REFUSALS: [&str; 6] = ["store_damaged", "store_cut_short", "audit_fault", "log_corrupt", "audit_key", "audit_key_missing"];

/// Whether a call did what it was asked to; else it must have refused, with the file or the directory and a hint.
fn worked(what: &str, directory: &Directory, done: &Done) -> bool {
    if done.code == Some(0) {
        return true;
    }
    let failure = done.failure();
    let (code, error) = (failure["code"].as_str().unwrap_or_default(), failure["error"].as_str().unwrap_or_default());
    assert!(REFUSALS.contains(&code), "{what}: {failure}");
    assert!(error.contains(&*directory.data().to_string_lossy()) || error.contains("CURRENT"), "{what}: no file in {failure}");
    assert!(failure["hint"].as_str().is_some_and(|hint| !hint.is_empty()), "{what}: {failure}");
    false
}

/// Damages one file of a copy; whether a start noticed.
fn check(whole: &Directory, before: &Dump, behind: &Dump, file: &Path, (how, damage): Damage) -> bool {
    let name = file.file_name().expect("a file").to_string_lossy();
    let what = format!("{name} {how}");
    let copy = whole.copy();
    let place = copy.data().join(&*name);
    match damage(std::fs::read(&place).expect("a file")) {
        Some(bytes) => write(&place, bytes),
        None => std::fs::remove_file(&place).expect("a file"),
    }
    let shown = copy.call(["log", "cat", "eval.scores"]).run();
    if worked(&what, &copy, &shown) {
        let scores = before.iter().filter(|entry| entry.topic == "eval.scores").count();
        assert_eq!(shown.lines().len(), scores, "{what}: records are missing");
    }
    if worked(&what, &copy, &copy.call(["audit", "verify"]).run()) {
        assert_equal(&what, before, &copy.dump());
    }
    let started = worked(&what, &copy, &import(&copy, "second").run());
    // A table with a damaged block that no start needs is found by those who read it.
    if started && worked(&what, &copy, &copy.call(["audit", "verify"]).run()) {
        assert_equal(&what, behind, &copy.dump());
    }
    started
}

/// Damages every file in every way; gives the names of files with which a start went on though they were damaged.
fn check_all(whole: &Directory) -> Vec<String> {
    let before = whole.dump();
    let undisturbed = whole.copy();
    import(&undisturbed, "second").ok();
    let behind = undisturbed.dump();
    let mut went_on = Vec::new();
    for file in std::fs::read_dir(whole.data()).expect("a data directory").flatten() {
        let name = file.file_name();
        let ways = if SPARE.iter().any(|spare| name.to_string_lossy().starts_with(spare)) { &DAMAGES[..1] } else { &DAMAGES[..] };
        for damage in ways.iter().copied() {
            if check(whole, &before, &behind, &file.path(), damage) {
                went_on.push(format!("{} {}", name.to_string_lossy(), damage.0));
            }
        }
    }
    went_on
}

/// Damages that leave all in place.
fn assert_harmless(went_on: &[String]) {
    for what in went_on {
        let name = SPARE.iter().chain(&["ACKNOWLEDGED"]).any(|name| what.starts_with(name));
        let block = what.contains(".sst changed");
        let nothing = what.contains("torn write") || what.starts_with("audit.key cut by a byte");
        assert!(name || block || nothing, "a start did not notice {what}");
    }
    assert!(went_on.iter().any(|what| what.contains(".log followed by a torn write")), "a torn tail is no damage: {went_on:?}");
}

#[test]
fn a_log_with_a_damaged_file_gives_all_or_refuses() {
    assert_harmless(&check_all(&in_one_log()));
}

#[test]
fn tables_with_a_damaged_file_give_all_or_refuse() {
    assert_harmless(&check_all(&in_tables_and_log()));
}

/// Wherever a disk fills up, at a commit or at a checkpoint, what follows when there is room is what would have come.
#[test]
fn a_disk_that_fills_up_stops_an_import_that_goes_on_when_there_is_room() {
    let import = |directory: &Directory| directory.import_trace().with(["--commit-rows", "500", "--checkpoint-inputs", "3000"]);
    let undisturbed = Directory::new(Profile::Example);
    import(&undisturbed).ok();
    for blocks in ["800", "2000", "6000"] {
        let directory = Directory::new(Profile::Example);
        let done = import(&directory).limited(&format!("-f {blocks}")).run();
        done.refused(1, "store_failed");
        let taken = directory.inputs();
        let done = import(&directory).ok().json();
        assert!(taken == 0 || done["rowsBefore"].as_u64() > Some(0), "{done}");
        assert_equal(blocks, &undisturbed.dump(), &directory.dump());
    }
}

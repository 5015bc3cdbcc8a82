//! A backup is what a log was at one moment, or it is refused.

use crate::beside::{feed, reports, start, wait_for};
use merit_runtime::store::{Commit, Store, Sync};
use merit_tests::directory::{Directory, Profile, example, with_pools};
use merit_tests::dump::assert_equal;
use merit_tests::random::Random;
use merit_tests::reports::lines;
use merit_tests::{repository, write};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

/// A backup of a directory, beside it.
fn backup(directory: &Directory) -> PathBuf {
    let path = directory.file("backup");
    let made = directory.call(["backup"]).with([&path]).ok().json();
    assert_eq!((&made["directory"], &made["key"]), (&path.display().to_string().into(), &false.into()));
    path
}

/// A directory that was brought back from a backup.
fn restored(from: &Path, profile: Profile) -> Directory {
    let directory = Directory::new(profile);
    directory.call(["restore"]).with([from]).ok();
    directory
}

fn file_names(path: &Path) -> Vec<String> {
    let names = std::fs::read_dir(path).expect("a directory").map(|file| file.expect("a file").file_name());
    let mut names: Vec<String> = names.map(|name| name.to_string_lossy().into_owned()).collect();
    names.sort();
    names
}

#[test]
fn a_backup_beside_an_import_is_restored_and_goes_on_to_the_same_end() {
    let reports = reports();
    let undisturbed = with_pools(Profile::Example);
    let input = undisturbed.file("input.jsonl");
    write(&input, lines(&reports));
    undisturbed.import([&input]).ok();
    let expected = undisturbed.dump();

    let directory = with_pools(Profile::Example);
    let (running, mut stdin) = start(&directory);
    feed(&mut stdin, &reports[..3_010]);
    let at_backup = wait_for(&directory, 3_000);
    let backup = backup(&directory);
    feed(&mut stdin, &reports[3_010..]);
    drop(stdin);
    assert_eq!(running.end().code, Some(0));
    assert_equal("the log that was backed up", &expected, &directory.dump());

    let restored = restored(&backup, Profile::Example);
    assert_equal("restored", &at_backup, &restored.dump());
    let summary = restored.import([&input]).ok().json();
    assert_eq!((summary["rowsBefore"].as_u64(), summary["rows"].as_u64()), (Some(3_000), Some(reports.len() as u64 - 3_000)));
    assert!(summary["refolded"].as_u64().is_some_and(|inputs| inputs > 0), "the uncheckpointed end came with it");
    assert_equal("restored, and gone on", &expected, &restored.dump());
}

#[test]
fn a_backup_can_be_read_but_not_written_and_is_restored_as_it_was() {
    let directory = example();
    let backup = backup(&directory);
    let data_dir = |command: &[&str]| {
        merit_tests::process::merit(command).with(["--json", "--data-dir"]).with([&backup]).with(["--topology"]).with([&directory.topology])
    };
    data_dir(&["audit", "verify"]).ok();
    data_dir(&["pools", "apply", "tests/scenarios/pools.toml"]).run().refused(1, "pools_read");
    data_dir(&["pools", "apply"])
        .with([repository("tests/scenarios/pools.toml")])
        .with(["--audit-key"])
        .with([directory.key()])
        .run()
        .refused(1, "directory_is_backup");
    assert_equal("restored", &directory.dump(), &restored(&backup, Profile::Example).dump());
}

#[test]
fn the_key_is_copied_on_demand_alone() {
    let directory = Directory::new(Profile::Default);
    let data = directory.data();
    let merit = |words: &[&str]| merit_tests::process::merit(words).with(["--json", "--data-dir"]);
    merit(&["import", "-"]).with([&data]).ok();
    let (without, with) = (directory.file("without"), directory.file("with"));
    merit(&["backup"]).with([&data, &without]).ok();
    merit(&["backup", "--with-key"]).with([&data, &with]).ok();
    assert!(!without.join("audit.key").exists());
    let (one, two) = (directory.file("one"), directory.file("two"));
    assert_eq!(merit(&["restore"]).with([&one, &without]).ok().json()["key"], false);
    assert_eq!(merit(&["restore"]).with([&two, &with]).ok().json()["key"], true);
    merit(&["import", "-"]).with([&two]).ok();
    let mode = std::fs::metadata(two.join("audit.key")).expect("it was copied").permissions().mode();
    assert_eq!(mode & 0o777, 0o600);
    merit(&["import", "-"]).with([&one]).run().refused(1, "audit_key_missing");
    assert!(!one.join("audit.key").exists(), "another key was made for a log that has one");
    merit(&["import", "-"]).with([&one]).with(["--audit-key"]).with([data.join("audit.key")]).ok();
    std::fs::remove_file(data.join("audit.key")).expect("it was made");
    merit(&["backup", "--with-key"]).with([&data, &directory.file("none")]).run().refused(1, "audit_key_missing");
    assert!(!directory.file("none").exists() && !directory.file("none.partial").exists());
}

/// Everything but what RocksDB notes down for people.
#[test]
fn a_backup_with_any_file_damaged_cut_or_gone_is_refused_and_nothing_is_left() {
    let directory = example();
    let backup = backup(&directory);
    let target = Directory::new(Profile::Example);
    let refuse = |code: &str, what: &str| {
        let done = target.call(["restore"]).with([&backup]).run();
        assert_eq!(done.failure()["code"], code, "{what}: {done:?}");
        done.refused(if code == "backup_missing" { 1 } else { 3 }, code);
        assert!(!target.data().exists() && !target.file("data.partial").exists(), "{what}");
    };
    let names = file_names(&backup);
    let content = names
        .iter()
        .filter(|name| name.ends_with(".sst") || ["CURRENT", "backup.json"].contains(&name.as_str()) || name.starts_with("MANIFEST"));
    let mut damaged = 0;
    for name in content {
        let path = backup.join(name);
        let whole = std::fs::read(&path).expect("a file");
        let mut flipped = whole.clone();
        flipped[whole.len() / 2] ^= 4;
        for (what, bytes) in [("a bit", flipped), ("the half", whole[..whole.len() / 2].to_vec())] {
            write(&path, &bytes);
            refuse("backup_damaged", &format!("{what} of {name}"));
        }
        std::fs::remove_file(&path).expect("a file");
        refuse(if name == "backup.json" { "backup_missing" } else { "backup_damaged" }, name);
        write(&path, &whole);
        damaged += 1;
    }
    assert!(damaged >= 6, "tables of three families, and three more: {names:?}");
    target.call(["restore"]).with([&backup]).ok();
    assert_equal("mended", &directory.dump(), &target.dump());
}

/// RocksDB finds it whole.
#[test]
fn a_backup_that_holds_another_row_is_refused() {
    let directory = Directory::new(Profile::Default);
    directory.import(["-"]).ok();
    let backup = backup(&directory);
    let (manifest, aside) = (backup.join("backup.json"), directory.file("aside"));
    std::fs::rename(&manifest, &aside).expect("a backup has one");
    let store = Store::open(&backup, Sync::Disk).unwrap_or_else(|error| panic!("{error}"));
    let mut commit = Commit { meta: vec![("source/other".into(), b"row".into())], ..Commit::default() };
    store.commit(&mut commit, &[]).unwrap_or_else(|error| panic!("{error}"));
    drop(store);
    std::fs::rename(&aside, &manifest).expect("it is there");
    let target = Directory::new(Profile::Default);
    target.call(["restore"]).with([&backup]).run().refused(3, "backup_damaged");
    assert!(!target.data().exists());
}

#[test]
fn what_is_there_is_never_written_over() {
    let directory = Directory::new(Profile::Default);
    directory.import(["-"]).ok();
    let backup = backup(&directory);
    directory.call(["backup"]).with([&backup]).run().refused(1, "directory_not_empty");
    directory.call(["restore"]).with([&backup]).run().refused(1, "directory_not_empty");
    write(&directory.file("file"), "text");
    directory.call(["backup"]).with([directory.file("file")]).run().refused(1, "directory_not_empty");
    directory.call(["backup"]).with([directory.file("file").join("below")]).run().refused(1, "store_failed");
    let nowhere = Directory::new(Profile::Default);
    nowhere.call(["backup"]).with([nowhere.file("backup")]).run().refused(1, "directory_missing");
    nowhere.call(["restore"]).with([directory.data()]).run().refused(1, "backup_missing");
    std::fs::create_dir(nowhere.data()).expect("a new folder");
    nowhere.call(["restore"]).with([&backup]).ok();
    assert_equal("into an empty folder", &directory.dump(), &nowhere.dump());
}

#[test]
fn a_backup_of_another_structure_is_refused() {
    let directory = Directory::new(Profile::Default);
    directory.import(["-"]).ok();
    let backup = backup(&directory);
    let mut other = Directory::new(Profile::Default);
    other.topology = other.file("other.toml");
    write(&other.topology, merit_tests::text(&directory.topology).replace("partitions = 4", "partitions = 8"));
    other.call(["restore"]).with([&backup]).run().refused(1, "topology_differs");
    assert!(!other.data().exists());
}

#[test]
fn a_backup_that_was_killed_is_whole_or_none() {
    let directory = example();
    let mut random = Random::new(4);
    let (mut whole, mut none) = (0, 0);
    for number in 0..20 {
        let path = directory.file(&format!("backup-{number}"));
        let mut running = directory.call(["backup"]).with([&path]).start();
        match running.ended_within(Duration::from_micros(random.below(60_000) + 1)) {
            Some(out) => assert_eq!(running.finish(out).code, Some(0)),
            None => assert!(running.kill() || path.exists()),
        }
        match path.exists() {
            true => {
                assert_equal("after a kill", &directory.dump(), &restored(&path, Profile::Example).dump());
                whole += 1;
            }
            false => {
                directory.call(["restore"]).with([path.with_extension("partial")]).run().refused(1, "backup_missing");
                none += 1;
            }
        }
    }
    assert!(none > 3, "{none} of {} backups were cut short, which proves little", whole + none);
}

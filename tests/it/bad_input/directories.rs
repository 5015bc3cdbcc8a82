//! Data directories that cannot be used.

use super::{failed, good, import, total};
use merit_runtime::store::{Commit, Store, Sync};
use merit_tests::directory::{Directory, Profile};
use merit_tests::process::{Call, Done};
use merit_tests::{text, write};
use std::fs::{Permissions, create_dir, remove_file, set_permissions};
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::Path;

/// What to do to a directory that holds a log, and the code of an import into it.
type Damage = (&'static str, fn(&Directory), &'static str);

fn key(directory: &Directory, text: &[u8]) {
    write(&directory.key(), text);
}

fn mode(path: &Path, mode: u32) {
    set_permissions(path, Permissions::from_mode(mode)).expect("our own file");
}

const DAMAGE: [Damage; 14] = [
    ("another format", |directory| format(directory, "99"), "directory_format"),
    ("no format", |directory| format(directory, ""), "directory_format"),
    ("CURRENT empty", |directory| write(&directory.data().join("CURRENT"), ""), "store_damaged"),
    ("CURRENT to nowhere", |directory| write(&directory.data().join("CURRENT"), "MANIFEST-999999\n"), "store_damaged"),
    ("CURRENT lost", |directory| remove_file(directory.data().join("CURRENT")).expect("it is there"), "store_damaged"),
    ("no permission to write", |directory| mode(&directory.data(), 0o500), "directory_open"),
    ("no permission at all", |directory| mode(&directory.data(), 0), "directory_open"),
    ("key lost", |directory| remove_file(directory.key()).expect("it is there"), "audit_key_differs"),
    ("key of others", |directory| key(directory, &[b'0'; 64]), "audit_key_differs"),
    ("key empty", |directory| key(directory, b""), "audit_key"),
    ("key of letters", |directory| key(directory, &[b'x'; 64]), "audit_key"),
    ("key of bytes", |directory| key(directory, &[0xff; 64]), "audit_key"),
    ("key for all to read", |directory| mode(&directory.key(), 0o644), "audit_key"),
    ("partitions changed", |directory| partitions(directory), "topology_differs"),
];

fn format(directory: &Directory, format: &str) {
    let store = Store::open(&directory.data(), Sync::System).unwrap_or_else(|error| panic!("{error}"));
    let mut commit = Commit { meta: vec![("format".into(), format.into())], ..Commit::default() };
    store.commit(&mut commit, &[]).unwrap_or_else(|error| panic!("{error}"));
}

fn partitions(directory: &Directory) {
    write(&directory.file("topology.toml"), text(&directory.topology).replacen("partitions = 4", "partitions = 5", 1));
}

fn call(directory: &Directory) -> Call {
    let own = directory.file("topology.toml");
    let topology = if own.exists() { own } else { directory.topology.clone() };
    let arguments = ["--audit-key".into(), directory.key(), "--topology".into(), topology, "-".into()];
    import(&directory.data(), arguments).input(good(1)).unprivileged()
}

#[test]
fn every_directory_that_cannot_be_used_is_refused_by_name() {
    for (what, damage, code) in DAMAGE {
        let directory = Directory::new(Profile::Default);
        directory.import(["-"]).input(good(0)).ok();
        damage(&directory);
        failed(what, &call(&directory).run(), code);
        mode(&directory.data(), 0o700);
    }
}

#[test]
fn what_is_no_directory_is_refused_by_name() {
    let directory = Directory::new(Profile::Default);
    write(&directory.file("file"), "text");
    create_dir(directory.file("other")).expect("a new folder");
    write(&directory.file("other").join("CURRENT"), "not of Merit\n");
    symlink("loop", directory.file("loop")).expect("a new link");
    let import = |path: &Path| -> Done { import(path, ["--audit-key".into(), directory.key(), "-".into()]).input(good(0)).run() };
    failed("a directory of something else", &import(&directory.file("other")), "store_damaged");
    for (what, path) in [
        ("a file", directory.file("file")),
        ("below a file", directory.file("file").join("x")),
        ("a link to itself", directory.file("loop")),
        ("a name too long", directory.file(&"x".repeat(300))),
        ("where nothing can be made", "/proc/merit".into()),
        ("a device", "/dev/null".into()),
    ] {
        failed(what, &import(&path), "directory_open");
    }
    assert_eq!(text(&directory.file("file")), "text");
}

#[test]
fn a_directory_in_use_is_refused_and_then_goes_on() {
    let directory = Directory::new(Profile::Default);
    directory.import(["-"]).input(good(0)).ok();
    let store = Store::open(&directory.data(), Sync::System).unwrap_or_else(|error| panic!("{error}"));
    failed("an import", &directory.import(["-"]).input(good(1)).run(), "directory_in_use");
    write(&directory.file("pools.toml"), "[[pools]]\nname = \"a\"\ncapacity = 1\n");
    failed("pools", &directory.call(["pools", "apply"]).with([directory.file("pools.toml")]).run(), "directory_in_use");
    drop(store);
    assert_eq!(total(&directory.import(["-"]).input(good(1)).ok().json(), "accepted"), 2);
}

/// A file that may not grow is what a full disk looks like to the store.
#[test]
fn a_full_disk_is_named_and_nothing_is_lost_when_there_is_room_again() {
    let directory = Directory::new(Profile::Default);
    let rows: String = (0..20_000).map(|second| good(second) + "\n").collect();
    write(&directory.file("input.jsonl"), rows);
    let import = || directory.import([directory.file("input.jsonl")]).with(["--commit-rows", "100"]);
    directory.import(["-"]).with(["--source", "before"]).input(good(0)).ok();
    failed("no room at all", &import().limited("-f 0").run(), "directory_open");
    failed("room for some", &import().limited("-f 400").run(), "store_failed");
    let summary = import().ok().json();
    let kept = summary["rowsBefore"].as_u64().expect("a number");
    assert!(kept > 0, "what was acknowledged before the disk was full: {summary}");
    assert_eq!((summary["rows"].as_u64(), total(&summary, "accepted")), (Some(20_000 - kept), 20_001));
    assert_eq!(directory.replay().code, Some(0));
    directory.call(["audit", "verify"]).ok();
}

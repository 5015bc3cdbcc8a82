//! Readers and other writers beside the process that writes a directory.

use merit_core::Kind;
use merit_runtime::RuntimeError;
use merit_runtime::store::Store;
use merit_tests::directory::{Directory, Profile, with_pools};
use merit_tests::dump::{Entry, assert_equal, dump_store, of_topic, topology};
use merit_tests::process::Running;
use merit_tests::reports::{Report, lines, taken};
use merit_tests::write;
use std::collections::BTreeSet;
use std::io::Write;
use std::path::Path;
use std::process::ChildStdin;
use std::time::{Duration, Instant, SystemTime};

/// Outside records of a commit.
const COMMIT: usize = 20;

/// The reports of the trace as JSON lines, to be fed bit by bit.
pub(crate) fn reports() -> Vec<Report> {
    taken(&merit_tests::directory::example().dump())
}

/// An import that takes what the test feeds it.
pub(crate) fn start(directory: &Directory) -> (Running, ChildStdin) {
    directory.import(["-"]).with(["--commit-rows", &COMMIT.to_string(), "--checkpoint-inputs", "777"]).fed()
}

pub(crate) fn feed(stdin: &mut ChildStdin, reports: &[Report]) {
    stdin.write_all(lines(reports).as_bytes()).expect("the import reads");
    stdin.flush().expect("the import reads");
}

fn view(directory: &Directory) -> Store {
    Store::open_to_read(&directory.data()).unwrap_or_else(|error| panic!("{error}"))
}

/// Every record that a reader sees; none where there is no directory yet.
fn seen(directory: &Directory) -> Vec<Entry> {
    match Store::open_to_read(&directory.data()) {
        Ok(store) => dump_store(&store, &topology(&directory.topology)),
        Err(RuntimeError::Missing { .. }) => Vec::new(),
        Err(error) => panic!("{error}"),
    }
}

fn of_kind(dump: &[Entry], kind: Kind) -> usize {
    dump.iter().filter(|entry| entry.kind == kind).count()
}

/// Waits until so many reports were committed; each view on the way must hold whole commits.
pub(crate) fn wait_for(directory: &Directory, reports: usize) -> Vec<Entry> {
    let started = Instant::now();
    loop {
        let dump = seen(directory);
        let found = of_kind(&dump, Kind::EvalReport);
        assert_eq!(found % COMMIT, 0, "half a commit is seen");
        assert_eq!(of_topic(&dump, "eval.scores").count(), found, "a report is seen, and not what became of it");
        if found >= reports {
            assert_eq!(found, reports);
            return dump;
        }
        assert!(started.elapsed() < merit_tests::process::HANG, "{found} of {reports} reports were committed");
        std::thread::sleep(Duration::from_millis(5));
    }
}

/// Every file of a directory with its size and time, but for the one that RocksDB notes down in what it does when it likes.
fn files(path: &Path) -> Vec<(String, u64, SystemTime)> {
    let mut files: Vec<_> = std::fs::read_dir(path)
        .expect("a directory")
        .map(|file| {
            let file = file.expect("a file");
            let metadata = file.metadata().expect("a file");
            (file.file_name().to_string_lossy().into_owned(), metadata.len(), metadata.modified().expect("Linux has it"))
        })
        .collect();
    files.retain(|(name, ..)| name != "LOG");
    files.sort();
    files
}

const READERS: [&[&str]; 6] = [
    &["log", "cat", "eval.scores"],
    &["state", "scan", "tiers"],
    &["rejected", "list"],
    &["explain", "M0001"],
    &["audit", "verify"],
    &["replay", "--assert-equal"],
];

/// Every reader succeeds and changes no file.
fn read_all(directory: &Directory) {
    let before = files(&directory.data());
    for reader in READERS {
        directory.call(reader).ok();
    }
    assert_eq!(files(&directory.data()), before, "a reader changed the directory");
}

#[test]
fn readers_see_whole_commits_beside_a_slow_import_and_disturb_nothing() {
    let reports = reports();
    let directory = with_pools(Profile::Example);
    let (running, mut stdin) = start(&directory);
    let mut views = Vec::new();
    for to in [1_010, 2_010, 4_010] {
        let from = views.len().checked_sub(1).map_or(0, |last: usize| [1_010, 2_010][last]);
        feed(&mut stdin, &reports[from..to]);
        // What is left waits for the commit after.
        views.push(wait_for(&directory, to - 10));
        // A checkpoint or a merge of the writer would change files, too.
        let paused = running.pause();
        read_all(&directory);
        drop(paused);
    }
    feed(&mut stdin, &reports[4_010..]);
    drop(stdin);
    assert_eq!(running.end().code, Some(0));
    read_all(&directory);
    let whole = seen(&directory);
    for view in views {
        let topics: BTreeSet<(&str, u32)> = whole.iter().map(|entry| (entry.topic.as_str(), entry.partition)).collect();
        for (topic, partition) in topics {
            let of =
                |dump: &'_ [Entry]| -> Vec<Entry> { of_topic(dump, topic).filter(|entry| entry.partition == partition).cloned().collect() };
            let (part, all) = (of(&view), of(&whole));
            assert!(all.starts_with(&part), "{topic}/{partition} did not only grow");
        }
    }
    let undisturbed = with_pools(Profile::Example);
    let input = undisturbed.file("input.jsonl");
    write(&input, lines(&reports));
    undisturbed.import([&input]).ok();
    assert_equal("with readers beside it", &undisturbed.dump(), &whole);
}

/// Tables and write-ahead logs.
fn parts(directory: &Directory) -> BTreeSet<String> {
    files(&directory.data()).into_iter().map(|(name, ..)| name).filter(|name| name.ends_with(".sst") || name.ends_with(".log")).collect()
}

#[test]
fn a_view_stays_as_it_was_while_the_files_beneath_it_go() {
    let reports = reports();
    let mut chunks = reports.chunks(200);
    let directory = with_pools(Profile::Example);
    let import = |reports: &[Report]| directory.import(["-"]).input(lines(reports)).ok();
    import(chunks.next().expect("many"));
    import(chunks.next().expect("many"));
    let at_rest = view(&directory);
    let (running, mut stdin) = start(&directory);
    feed(&mut stdin, &chunks.next().expect("many")[..50]);
    wait_for(&directory, 440);
    let beside = view(&directory);
    let topology = topology(&directory.topology);
    let expected = [dump_store(&at_rest, &topology), dump_store(&beside, &topology)];
    assert_ne!(expected[0].len(), expected[1].len());
    let before = parts(&directory);
    drop(stdin);
    assert_eq!(running.end().code, Some(0));
    // Each start flushes, and RocksDB merges what was flushed: 64 tables of the log at once.
    chunks.flat_map(|reports| reports.chunks(50)).take(80).for_each(|reports| drop(import(reports)));
    assert!(before.is_disjoint(&parts(&directory)), "the files of the views are all gone: {before:?} {:?}", parts(&directory));
    assert_equal("a view of a directory at rest", &expected[0], &dump_store(&at_rest, &topology));
    assert_equal("a view beside a writer", &expected[1], &dump_store(&beside, &topology));
}

/// A directory is there from its first commit on; before that, there is none.
#[test]
fn a_reader_in_a_loop_never_fails_while_directories_are_made_and_written() {
    let reports = reports();
    let input = lines(&reports[..400]);
    let (mut missing, mut views) = (0, 0);
    // How many views fit beside an import is the machine's affair, so imports go on until there were enough, within reason.
    for number in 0..100 {
        if number >= 10 && missing > 0 && views > 100 {
            break;
        }
        let directory = Directory::new(Profile::Default);
        let topology = topology(&directory.topology);
        for round in 0..3 {
            let name = format!("round-{round}");
            let import = directory.import(["-"]).with(["--source", &name, "--commit-rows", "20"]);
            let mut running = import.input(input.clone()).start();
            let mut seen = 0;
            let out = loop {
                match Store::open_to_read(&directory.data()) {
                    Ok(store) => {
                        let dump = dump_store(&store, &topology);
                        assert!(dump.len() >= seen, "{} records, and {seen} before", dump.len());
                        (seen, views) = (dump.len(), views + 1);
                    }
                    Err(RuntimeError::Missing { .. }) if round == 0 && seen == 0 => missing += 1,
                    Err(error) => panic!("after {views} views: {error}"),
                }
                if let Some(out) = running.ended_within(Duration::ZERO) {
                    break out;
                }
            };
            assert_eq!(running.finish(out).code, Some(0));
        }
    }
    assert!(missing > 0 && views > 100, "{views} views and {missing} directories that were not there yet prove little");
}

/// A secondary of RocksDB shows less where a file is missing, and says nothing.
#[test]
fn a_missing_file_of_a_directory_at_rest_is_never_read_over() {
    let directory = merit_tests::directory::example();
    directory.import(["-"]).ok();
    let tables: Vec<_> = parts(&directory).into_iter().filter(|name| name.ends_with(".sst")).collect();
    assert!(tables.len() >= 3, "{tables:?}");
    for table in tables {
        let (place, aside) = (directory.data().join(&table), directory.file("aside"));
        std::fs::rename(&place, &aside).expect("it is there");
        let read = directory.call(["log", "cat", "eval.scores"]).run();
        read.refused(3, "store_damaged");
        assert!(read.failure()["error"].to_string().contains(&table), "{read:?}");
        std::fs::rename(&aside, &place).expect("it is there");
    }
    read_all(&directory);
}

#[test]
fn a_second_writer_is_refused_at_once_with_the_process_of_the_first() {
    let directory = Directory::new(Profile::Default);
    let (running, mut stdin) = start(&directory);
    feed(&mut stdin, &reports()[..50]);
    wait_for(&directory, 40);
    let pools = directory.file("pools.toml");
    write(&pools, "[[pools]]\nname = \"a\"\ncapacity = 1\n");
    // Its standard input stays open and empty: to wait for a row would be to wait for ever.
    let (second, _held) = directory.import(["-"]).fed();
    for refused in [second.end(), directory.call(["pools", "apply"]).with([&pools]).run()] {
        refused.refused(1, "directory_in_use");
        assert_eq!(refused.failure()["detail"], format!("process {} has it open to write", running.id()));
    }
    assert!(!directory.data().join("audit.key").exists(), "a writer that was refused left a key behind");
    assert!(running.kill());
    // The kernel knows that nobody has it, whatever was left behind.
    directory.import(["-"]).ok();
}

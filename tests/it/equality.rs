//! The same input gives the same log, whatever a commit holds and whenever a checkpoint is made.

use merit_tests::directory::{Directory, Profile, example, with_pools};
use merit_tests::dump::{Dump, assert_equal, of_topic};
use merit_tests::{repository, write};

/// The trace with some commit size and checkpoint cadence.
fn check(flags: &[&str]) -> Directory {
    let directory = with_pools(Profile::Example);
    directory.import_trace().with(flags).ok();
    assert_equal(&flags.join(" "), &example().dump(), &directory.dump());
    directory
}

#[test]
fn the_real_trace_leads_to_every_kind_of_topic() {
    let dump = example().dump();
    for topic in
        ["eval.reports", "eval.rejected", "eval.scores", "eval.promotions", "alloc.decisions", "alloc.applied", "audit.intake", "audit"]
    {
        assert!(of_topic(&dump, topic).next().is_some(), "{topic} is empty: it would be equal to anything");
    }
}

#[test]
fn seven_rows_a_commit_change_no_record() {
    check(&["--commit-rows", "7"]);
}

#[test]
fn a_thousand_rows_a_commit_change_no_record() {
    check(&["--commit-rows", "1000"]);
}

#[test]
fn all_rows_in_one_commit_change_no_record() {
    check(&["--commit-rows", "1000000"]);
}

#[test]
fn a_checkpoint_at_every_commit_changes_no_record_and_its_tables_are_merged() {
    let directory = check(&["--commit-rows", "100", "--checkpoint-inputs", "1"]);
    let names = std::fs::read_dir(directory.data()).expect("a directory").map(|file| file.expect("a file").file_name());
    let tables = names.filter(|name| name.to_string_lossy().ends_with(".sst")).count();
    // 178 commits, each with a table of its own.
    assert!(tables < 150, "{tables} tables are left");
}

#[test]
fn another_checkpoint_cadence_changes_no_record() {
    check(&["--checkpoint-inputs", "777"]);
}

/// Every commit waits for the disk, so one row a commit gets the start of the trace alone.
#[test]
fn one_row_a_commit_changes_no_record() {
    let imported = |flags: &[&str]| -> Dump {
        let directory = with_pools(Profile::Default);
        let start = directory.file("start.csv");
        let text: String = merit_tests::text_of_trace().split_inclusive('\n').take(2_001).collect();
        write(&start, text);
        let mapping = merit_tests::trace_mapping();
        directory.import([&start]).with(["--mapping"]).with([&mapping]).with(flags).ok();
        directory.dump()
    };
    let one = imported(&["--commit-rows", "1", "--checkpoint-inputs", "100"]);
    assert_equal("one row a commit", &imported(&[]), &one);
}

/// 30,000 agents, three reports each, and room for a third of them.
#[test]
fn state_that_is_left_on_disk_changes_no_record() {
    let topology = std::fs::read_to_string(repository("topology.toml")).expect("ours");
    let imported = |state: &str, flags: &[&str]| -> (Dump, u64) {
        let folder = Directory::new(Profile::Default);
        let file = folder.file("topology.toml");
        write(&file, topology.replace("state = \"2GiB\"", &format!("state = \"{state}\"")));
        let directory = Directory::with_topology(file);
        let reports = directory.file("reports.jsonl");
        let report = |at: u64| {
            let (agent, minute, score) = (at * 7_919 % 30_000, at / 2_000, 70 + at % 30);
            format!(
                "{{\"agentId\":\"agent-{agent}\",\"metrics\":{{\"quality\":0.{score}}},\"source\":\"test\",\"timestamp\":\"2026-01-05T{:02}:{:02}:00Z\"}}\n",
                minute / 60,
                minute % 60
            )
        };
        write(&reports, (0..90_000).map(report).collect::<String>());
        let done = directory.import([&reports]).with(flags).ok();
        assert_eq!(done.json()["rows"].as_u64(), Some(90_000));
        (directory.dump(), done.json()["evicted"].as_u64().expect("a number"))
    };
    let (all, none) = imported("2GiB", &[]);
    let (few, evicted) = imported("16MiB", &["--checkpoint-inputs", "5000"]);
    assert_eq!(none, 0);
    assert!(evicted > 30_000, "{evicted}");
    assert_equal("state in 16 MiB", &all, &few);
}

#[test]
fn importing_a_file_again_appends_nothing() {
    let directory = example();
    let before = directory.dump();
    let done = directory.import_trace().ok();
    assert_eq!((done.json()["rows"].as_u64(), done.json()["rowsBefore"].as_u64()), (Some(0), Some(17_764)));
    assert_equal("a second import", &before, &directory.dump());
}

#[test]
fn the_directory_of_another_key_is_refused_and_unchanged() {
    let directory = Directory::new(Profile::Default);
    directory.import_trace().ok();
    let before = directory.dump();
    let other = directory.file("other-key");
    directory
        .call(["import"])
        .with([merit_tests::trace()])
        .with(["--mapping"])
        .with([merit_tests::trace_mapping()])
        .with(["--audit-key"])
        .with([&other])
        .run()
        .refused(1, "audit_key_differs");
    assert_equal("after the refusal", &before, &directory.dump());
}

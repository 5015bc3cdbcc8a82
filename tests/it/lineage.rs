//! A log that differs from what is computed again goes on as a new lineage, and every proof says so.

use crate::retention::{keeping, prune};
use merit_core::record::ScoreUpdated;
use merit_core::{Datum, Fixed, Kind};
use merit_runtime::Failpoint;
use merit_tests::directory::{Directory, Profile, example, with_pools};
use merit_tests::dump::{Dump, Entry, assert_equal, of_topic};
use merit_tests::process::{Call, merit};
use serde_json::Value;
use std::collections::BTreeSet;

const REASON: &str = "a disk wrote one score wrong; ticket 4711";

/// An import that dies with an end that no checkpoint covers.
fn die(directory: &Directory, commit: u64) {
    let import = directory.import_trace().with(["--commit-rows", "400", "--checkpoint-inputs", "7000"]);
    let done = import.env("MERIT_FAILPOINT", format!("commit.acknowledged:{commit}")).run();
    assert_eq!(done.code, None, "{done:?}");
}

/// Another directory in which the last score, which no seal covers, was changed.
fn differing(directory: &Directory) -> (Directory, Entry) {
    let mut place = None;
    let changed = directory.changed_under_its_state(|dump| {
        let entry = dump.iter_mut().rev().find(|entry| entry.topic == "eval.scores").expect("scores");
        let score = ScoreUpdated::decode(&entry.payload).expect("canonical");
        let mut payload = Vec::new();
        ScoreUpdated { observation: Fixed(score.observation.0 ^ 1), ..score }.put(&mut payload);
        entry.payload = payload;
        place = Some(entry.clone());
    });
    (changed, place.expect("a score"))
}

fn apply(directory: &Directory, partition: &str) -> Call {
    let apply = directory.call(["topology", "apply"]).with(["--audit-key"]).with([directory.key()]);
    apply.with(["--new-lineage", partition, "--reason", REASON])
}

fn named(entry: &Entry) -> String {
    format!("{}/{}", entry.topic, entry.partition)
}

/// A directory that no start takes, and the record that differs.
fn stopped() -> (Directory, Entry) {
    let directory = with_pools(Profile::Example);
    die(&directory, 22);
    differing(&directory)
}

/// What every proof says of a log that went on so often.
fn assert_proved(directory: &Directory, times: usize) -> Dump {
    let dump = directory.dump();
    let verified = directory.call(["audit", "verify"]).ok().json();
    let lineages = verified["lineages"].as_array().expect("a list");
    assert_eq!((lineages.len(), &lineages[0]["reason"]), (times + 1, &Value::Null), "{verified}");
    let replayed = directory.replay();
    assert_eq!(replayed.code, Some(0), "{replayed:?}");
    let replayed = replayed.json();
    let gaps = replayed["newLineages"].as_array().expect("a list");
    assert_eq!(gaps.len(), times);
    for told in lineages[1..].iter().chain(gaps) {
        assert_eq!(told["reason"], REASON, "{told}");
    }
    let uncompared: u64 = gaps.iter().filter_map(|gap| gap["uncompared"].as_u64()).sum();
    assert!(uncompared > 100, "{uncompared} records prove little");
    assert_eq!(replayed["compared"].as_u64().map(|compared| compared + uncompared), Some(dump.len() as u64));
    dump
}

/// Every score but for ids, which name their lineage.
fn scores(dump: &Dump) -> Vec<[Value; 4]> {
    let score = |entry: &Entry| ["agentId", "timestamp", "confidence", "windows"].map(|field| entry.json()[field].clone());
    of_topic(dump, "eval.scores").map(score).collect()
}

/// What a log holds up to the ends of another.
fn beginning(dump: &Dump, of: &Dump) -> Dump {
    let is_in =
        |entry: &&Entry| of.iter().any(|old| (old.offset, &old.topic, old.partition) == (entry.offset, &entry.topic, entry.partition));
    dump.iter().filter(is_in).cloned().collect()
}

#[test]
fn a_log_that_differs_goes_on_and_every_proof_names_the_lineage() {
    let (directory, entry) = stopped();
    let before = directory.dump();
    directory.import_trace().run().refused(3, "log_differs");
    apply(&directory, "eval.reports/0").run().refused(3, "log_differs");
    assert_equal("after two refusals", &before, &directory.dump());

    let applied = apply(&directory, &named(&entry)).ok().json();
    assert!(applied["difference"].as_str().is_some_and(|difference| difference.contains("value.observation")), "{applied}");
    apply(&directory, &named(&entry)).run().refused(2, "lineage_not_needed");
    let summary = directory.import_trace().ok().json();
    for partition in summary["partitions"].as_array().expect("one a partition") {
        assert_eq!(partition["holds"], true, "{partition}");
    }
    let dump = assert_proved(&directory, 1);
    assert_equal("what was there", &before, &beginning(&dump, &before));

    // State was folded from what had been taken, so it goes on as if nothing had been.
    let whole = example();
    let undisturbed = whole.import_trace().ok().json();
    assert_eq!(scores(&whole.dump()), scores(&dump));
    assert_eq!((&undisturbed["allocations"], &undisturbed["pools"]), (&summary["allocations"], &summary["pools"]));

    // Sequences begin anew under another lineage, and an id leads to its own record.
    let streams: BTreeSet<u32> = before.iter().map(|entry| entry.stream).collect();
    let first = of_topic(&dump, "eval.scores").filter(|entry| !streams.contains(&entry.stream)).map(|entry| entry.sequence).min();
    assert!(first < Some(10), "{first:?}");
    let shown = directory.call(["log", "cat", "eval.promotions"]).ok().lines();
    let last = shown.last().and_then(|shown| shown["id"].as_str()).expect("a promotion").to_owned();
    let explained = directory.call(["explain", &last]).ok().json();
    assert_eq!(explained["decision"][0]["id"], last.as_str(), "{explained}");
    assert_eq!(explained["decision"][0]["proof"]["newLineage"]["reason"], REASON, "{explained}");
    assert!(explained["scores"].as_array().is_some_and(|scores| scores.len() == 1), "{explained}");
    let intake = directory.call(["log", "cat", "audit.intake"]).ok().lines();
    let epoch = intake.iter().rfind(|shown| shown["type"] == "ConfigEpoch").expect("an epoch");
    assert_eq!(epoch["value"]["lineage"]["partition"], named(&entry).as_str());
    let epoch = epoch["id"].as_str().expect("an id");
    for (call, wanted) in [
        (&["explain", epoch][..], "it begins a new lineage since"),
        (&["explain", &last], "(begun since"),
        (&["audit", "verify"], "begun since"),
        (&["replay", "--assert-equal"], "equal but for these"),
    ] {
        let told = merit(call).with(["--data-dir"]).with([directory.data()]).with(["--topology"]).with([&directory.topology]).ok().out;
        assert!(told.contains(wanted) && told.contains(REASON), "{call:?}: {told}");
    }
    let ids: BTreeSet<&str> = shown.iter().filter_map(|shown| shown["id"].as_str()).collect();
    assert_eq!(ids.len(), shown.len());
}

#[test]
fn a_log_can_differ_again_in_its_new_lineage() {
    let (directory, entry) = stopped();
    apply(&directory, &named(&entry)).ok();
    die(&directory, 8);
    let (directory, entry) = differing(&directory);
    directory.import_trace().run().refused(3, "log_differs");
    apply(&directory, &named(&entry)).ok();
    directory.import_trace().ok();
    let dump = assert_proved(&directory, 2);
    assert_eq!(scores(&example().dump()), scores(&dump));
    // A directory whose state is lost folds what differed once more.
    let rebuilt = directory.changed(|_| ());
    rebuilt.import_trace().ok();
    assert_equal("without state", &dump, &rebuilt.dump());
}

#[test]
fn a_record_that_is_missing_at_the_end_leaves_no_hole() {
    let (directory, entry) = stopped();
    let is_last = |other: &Entry| (&other.topic, other.partition, other.offset) == (&entry.topic, entry.partition, entry.offset);
    let directory = directory.changed_under_its_state(|dump| dump.retain(|other| !is_last(other)));
    directory.import_trace().run().refused(3, "log_differs");
    apply(&directory, &named(&entry)).ok();
    directory.import_trace().ok();
    assert_proved(&directory, 1);
}

/// Where each partition of reports goes on in the last lineage.
fn last_epochs(directory: &Directory) -> Vec<u64> {
    let dump = directory.dump();
    let epochs =
        |partition| of_topic(&dump, "eval.reports").filter(move |entry| (entry.partition, entry.kind) == (partition, Kind::ConfigEpoch));
    (0..4).map(|partition| epochs(partition).last().map_or(0, |entry| entry.offset)).collect()
}

/// No seal will ever cover what came last in a lineage that ended, so only its age keeps it.
#[test]
fn what_differed_is_pruned_by_its_age() {
    for (commit, is_old) in [(8, true), (42, false)] {
        let directory = keeping("4d");
        die(&directory, commit);
        let (directory, entry) = differing(&directory);
        apply(&directory, &named(&entry)).ok();
        directory.import_trace().with(["--commit-rows", "100"]).ok();
        let epochs = last_epochs(&directory);
        let cuts = prune(&directory, &[]);
        let reports: Vec<&Value> = cuts.iter().filter(|cut| cut["topic"] == "eval.reports").collect();
        assert!(reports.iter().any(|cut| cut["removed"].as_u64() > Some(0)), "{cuts:?}");
        for (cut, epoch) in reports.iter().zip(epochs) {
            assert_eq!(cut["start"].as_u64() > Some(epoch), is_old, "{cut}, the new lineage begins at {epoch}");
        }
        directory.call(["audit", "verify"]).ok();
        let replayed = directory.replay();
        assert_eq!(replayed.code, Some(0), "{replayed:?}");
        assert_eq!(replayed.json()["newLineages"].as_array().map(Vec::len), Some(usize::from(!is_old)), "{replayed:?}");
        let whole = directory.dump();
        let rebuilt = directory.changed(|_| ());
        assert_eq!(rebuilt.import_trace().ok().json()["rows"], 0);
        assert_equal("without state", &whole, &rebuilt.dump());
    }
}

#[test]
fn where_nothing_differs_no_lineage_begins() {
    let directory = Directory::new(Profile::Example);
    apply(&directory, "eval.scores/0").run().refused(1, "directory_missing");
    die(&directory, 22);
    let before = directory.dump();
    apply(&directory, "eval.scores/0").run().refused(2, "lineage_not_needed");
    for reason in ["", " ", &"x".repeat(5_000)] {
        let call = directory.call(["topology", "apply", "--new-lineage", "eval.scores/0", "--reason", reason]);
        call.run().refused(2, "usage");
    }
    assert_equal("after the refusals", &before, &directory.dump());
    assert!(of_topic(&before, "eval.scores").any(|entry| entry.kind == Kind::ScoreUpdated));
}

#[test]
fn a_death_on_the_way_leaves_a_directory_where_it_can_be_applied() {
    let (directory, entry) = stopped();
    let undisturbed = directory.copy();
    apply(&undisturbed, &named(&entry)).ok();
    let applied = undisturbed.dump();
    let points = [
        (Failpoint::StoreOpened, 1),
        (Failpoint::TaskRecovered, 3),
        (Failpoint::Recovered, 1),
        (Failpoint::EpochTaken, 4),
        (Failpoint::EpochUncommitted, 1),
        (Failpoint::CheckpointTask, 2),
        (Failpoint::CheckpointGathered, 1),
        (Failpoint::CommitPacked, 1),
        (Failpoint::CommitSynced, 1),
        (Failpoint::CommitAcknowledged, 1),
    ];
    for (point, passages) in points {
        let copy = directory.copy();
        let died = apply(&copy, &named(&entry)).env("MERIT_FAILPOINT", format!("{}:{passages}", point.name())).run();
        assert_eq!(died.code, None, "at {}: {died:?}", point.name());
        match point {
            Failpoint::CommitSynced | Failpoint::CommitAcknowledged => apply(&copy, &named(&entry)).run().refused(2, "lineage_not_needed"),
            _ => drop(apply(&copy, &named(&entry)).ok()),
        }
        assert_equal(point.name(), &applied, &copy.dump());
    }
}

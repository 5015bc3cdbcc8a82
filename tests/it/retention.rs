//! A log whose oldest records were pruned: what is left is proved, computed again and gone on with as before.

use merit_core::Kind;
use merit_runtime::Failpoint;
use merit_tests::directory::Directory;
use merit_tests::dump::{Dump, Entry, assert_equal, of_topic};
use merit_tests::{repository, text, trace, trace_mapping, write};
use serde_json::Value;
use std::collections::BTreeMap;

/// First offsets that are left, by topic and partition.
type Starts = BTreeMap<(String, u32), u64>;

/// An empty directory whose topics of eval.* keep so much.
pub(crate) fn keeping(retention: &str) -> Directory {
    let mut directory = Directory::with_topology(repository("examples/topology.toml"));
    let line = format!("]\nretention = \"{retention}\"\n");
    let keep = |part: &str| if part.starts_with("eval.") { part.replacen("]\n", &line, 1) } else { part.to_owned() };
    let parts: Vec<String> = text(&directory.topology).split("[topics.\"").map(keep).collect();
    directory.topology = directory.file("topology.toml");
    write(&directory.topology, parts.join("[topics.\""));
    directory
}

/// The trace with pools, in commits small enough that whole batches can go.
fn imported(retention: &str) -> Directory {
    let directory = keeping(retention);
    directory.pools(&repository("examples/pools.toml"));
    directory.import_trace().with(["--commit-rows", "100"]).ok();
    directory
}

/// Imports the trace again under another name: late reports and copies.
fn import_second(directory: &Directory) {
    directory.import([trace()]).with(["--mapping"]).with([trace_mapping()]).with(["--source", "second"]).ok();
}

pub(crate) fn prune(directory: &Directory, flags: &[&str]) -> Vec<Value> {
    directory.call(["log", "prune"]).with(["--audit-key"]).with([directory.key()]).with(flags).ok().lines()
}

fn starts(cuts: &[Value]) -> Starts {
    let start = |cut: &Value| {
        let place = (cut["topic"].as_str()?.to_owned(), cut["partition"].as_u64()? as u32);
        Some((place, cut["start"].as_u64()?))
    };
    cuts.iter().map(|cut| start(cut).unwrap_or_else(|| panic!("{cut}"))).collect()
}

/// What a log holds from there on.
fn left(dump: &[Entry], starts: &Starts) -> Dump {
    let start = |entry: &Entry| starts.get(&(entry.topic.clone(), entry.partition)).copied().unwrap_or(0);
    dump.iter().filter(|entry| entry.offset >= start(entry)).cloned().collect()
}

fn assert_proved(directory: &Directory) -> Value {
    let verified = directory.call(["audit", "verify"]).ok().json();
    assert_eq!(verified["verified"], true);
    let replayed = directory.replay();
    assert_eq!((replayed.code, &replayed.json()["equal"]), (Some(0), &Value::Bool(true)), "{replayed:?}");
    assert!(replayed.json()["before"].as_u64() > Some(0) && replayed.json()["inputs"].as_u64() > Some(1_000), "{replayed:?}");
    verified
}

#[test]
fn nothing_goes_where_no_retention_is_set() {
    let directory = merit_tests::directory::example();
    let before = directory.dump();
    assert!(prune(&directory, &[]).is_empty());
    assert_equal("after a prune of nothing", &before, &directory.dump());
}

#[test]
fn what_is_left_of_a_pruned_log_is_proved_and_gone_on_with_as_before() {
    let (directory, whole) = (imported("4d"), imported("4d"));
    let before = directory.dump();
    assert_equal("before", &whole.dump(), &before);

    let would = prune(&directory, &["--dry-run"]);
    assert_equal("after a dry run", &before, &directory.dump());
    let cuts = prune(&directory, &[]);
    let starts = starts(&cuts);
    assert_eq!(starts, self::starts(&would));
    for topic in ["eval.reports", "eval.scores", "eval.promotions", "eval.aggregates", "eval.aggregate-scores"] {
        let removed = cuts.iter().filter(|cut| cut["topic"] == topic).filter_map(|cut| cut["removed"].as_u64()).sum::<u64>();
        assert!(removed > 0, "nothing was removed of {topic}: {cuts:?}");
    }
    assert!(cuts.iter().all(|cut| cut["topic"].as_str().is_some_and(|topic| topic.starts_with("eval."))), "{cuts:?}");
    assert_equal("what is left", &left(&before, &starts), &directory.dump());
    let pruned = assert_proved(&directory)["pruned"].clone();
    for what in ["leaves", "seals", "parents"] {
        assert!(pruned[what].as_u64() > Some(0), "{pruned}");
    }
    assert_eq!(starts, self::starts(&prune(&directory, &[])), "a second prune finds nothing to do");

    // No row comes twice, and what comes later finds the state that it would have found.
    let again = directory.import_trace().ok().json();
    assert_eq!((again["rows"].as_u64(), again["rowsBefore"].as_u64()), (Some(0), Some(17_764)));
    [&directory, &whole].into_iter().for_each(import_second);
    assert_equal("with more behind it", &left(&whole.dump(), &starts), &directory.dump());
    assert_proved(&directory);
}

#[test]
fn commands_say_what_was_pruned() {
    let directory = imported("4d");
    let before = directory.dump();
    let cuts = prune(&directory, &[]);
    let starts = starts(&cuts);
    let start = starts[&("eval.scores".to_owned(), 2)];

    let cat = |flags: &[&str]| directory.call(["log", "cat", "eval.scores", "--partition", "2"]).with(flags).run();
    let shown = cat(&["--limit", "1"]);
    assert_eq!((shown.code, shown.lines()[0]["offset"].as_u64()), (Some(0), Some(start)));
    assert!(shown.err.contains(&format!("eval.scores/2 begins at offset {start}")), "{shown:?}");
    cat(&["--from", "0"]).refused(2, "offset_pruned");
    let below = (start - 1).to_string();
    cat(&["--from", &below]).refused(2, "offset_pruned");
    assert_eq!(cat(&["--from", &start.to_string()]).code, Some(0));

    let id = |entry: &Entry| {
        let shown = directory.call(["log", "cat", &entry.topic, "--from", &entry.offset.to_string(), "--limit", "1"]);
        shown.with(["--partition", &entry.partition.to_string()]).ok().lines()[0]["id"].as_str().expect("an id").to_owned()
    };
    let promotion = |entry: &&Entry| entry.kind == Kind::PromotionProposed;
    let dump = directory.dump();
    let kept = of_topic(&dump, "eval.promotions").find(promotion).expect("a promotion is left");
    let explained = directory.call(["explain", &id(kept)]).ok();
    assert!(explained.err.contains("pruned by retention"), "{explained:?}");
    let gone = of_topic(&before, "eval.promotions").filter(promotion).find(|entry| !dump.contains(entry)).expect("one was pruned");
    let parents: Vec<Value> = of_topic(&before, "alloc.requests")
        .filter(|entry| entry.kind == Kind::RequestAllocation && entry.key == "gpus-g2")
        .map(Entry::json)
        .filter(|request| request["agentId"] == gone.json()["agentId"])
        .collect();
    let gone = parents[0]["promotionId"].as_str().expect("a request names its promotion");
    directory.call(["explain", gone]).run().refused(2, "id_pruned");
    assert_eq!(directory.call(["rejected", "list"]).ok().lines().len(), of_topic(&dump, "eval.rejected").count());
    directory.call(["state", "scan", "tiers"]).ok();
}

/// Whatever may go by age: the last seal, the last checkpoint and whole batches hold it back.
#[test]
fn nothing_unsealed_or_unsaved_goes() {
    let directory = keeping("1ms");
    let import = || directory.import_trace().with(["--commit-rows", "100", "--checkpoint-inputs", "20000"]);
    assert_eq!(import().env("MERIT_FAILPOINT", "commit.acknowledged:150").run().code, None, "it dies with a tail");
    let taken = directory.inputs();
    let cuts = prune(&directory, &[]);
    assert!(cuts.iter().any(|cut| cut["removed"].as_u64() > Some(0)), "{cuts:?}");
    assert_eq!(directory.inputs(), taken);
    directory.call(["audit", "verify"]).ok();
    let done = import().ok().json();
    assert!(done["refolded"].as_u64() > Some(0), "there was a tail: {done}");
    let undisturbed = keeping("1ms");
    undisturbed.import_trace().ok();
    assert_equal("behind the tail", &left(&undisturbed.dump(), &starts(&cuts)), &directory.dump());
    assert_proved(&directory);

    // Now all is saved, and old but for the last day: what no seal covers is left.
    let cuts = prune(&directory, &[]);
    assert_equal("all that may go", &left(&undisturbed.dump(), &starts(&cuts)), &directory.dump());
    let verified = directory.call(["audit", "verify"]).ok().json();
    let open: u64 = verified["tasks"].as_array().into_iter().flatten().filter_map(|task| task["notYetSealed"]["inputs"].as_u64()).sum();
    assert!(open > 0, "{verified}");
    assert_eq!(directory.replay().code, Some(0));
}

#[test]
fn a_death_at_any_step_of_a_prune_leaves_the_log_whole_or_cut() {
    let directory = imported("4d");
    let whole = directory.dump();
    let cut = left(&whole, &starts(&prune(&directory, &["--dry-run"])));
    let of_commit = [Failpoint::CommitPacked, Failpoint::CommitSynced];
    for point in Failpoint::ALL.iter().filter(|point| point.name().starts_with("prune.") || of_commit.contains(point)) {
        let directory = directory.copy();
        let dead = directory.call(["log", "prune"]).env("MERIT_FAILPOINT", format!("{}:1", point.name())).run();
        assert_eq!(dead.code, None, "{}: {dead:?}", point.name());
        let is_cut = [Failpoint::CommitSynced, Failpoint::PruneWritten, Failpoint::PruneReclaimed].contains(point);
        assert_equal(point.name(), if is_cut { &cut } else { &whole }, &directory.dump());
        directory.import_trace().ok();
        prune(&directory, &[]);
        assert_equal(point.name(), &cut, &directory.dump());
        assert_proved(&directory);
    }
}

#[test]
fn the_state_is_built_again_from_the_base() {
    let directory = imported("4d");
    prune(&directory, &[]);
    let rebuilt = directory.changed(|_| ());
    assert_proved(&rebuilt);
    [&directory, &rebuilt].into_iter().for_each(import_second);
    assert_equal("with more behind it", &directory.dump(), &rebuilt.dump());
}

#[test]
fn a_change_of_what_is_left_is_still_found() {
    let directory = imported("4d");
    prune(&directory, &[]);
    let changed = directory.changed(|dump| {
        let scores: Vec<usize> = (0..dump.len()).filter(|at| dump[*at].kind == Kind::ScoreUpdated).collect();
        let entry = &mut dump[scores[scores.len() / 2]];
        let last = entry.payload.len() - 1;
        entry.payload[last] ^= 1;
    });
    changed.replay().refused(3, "log_differs");
    changed.call(["audit", "verify"]).run().refused(3, "audit_fault");
}

#[test]
fn a_log_that_cannot_be_computed_again_is_not_pruned() {
    let directory = imported("4d");
    let changed = directory.changed_under_its_state(|dump| {
        let score = dump.iter_mut().find(|entry| entry.kind == Kind::ScoreUpdated).expect("scores");
        let last = score.payload.len() - 1;
        score.payload[last] ^= 1;
    });
    changed.call(["log", "prune"]).run().refused(3, "log_differs");
}

#[test]
fn the_ledger_and_the_audit_log_take_no_retention() {
    let directory = keeping("4d");
    write(&directory.topology, text(&directory.topology).replace("[topics.audit]\n", "[topics.audit]\nretention = \"4d\"\n"));
    let checked = merit_tests::process::merit(["topology", "check", "--json"]).with([&directory.topology]).run();
    assert_eq!((checked.code, &checked.lines()[0]["name"]), (Some(3), &Value::from("retention_elsewhere")), "{checked:?}");
    directory.call(["log", "prune"]).run().refused(3, "topology_invalid");
}

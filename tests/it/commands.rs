//! Commands that read a log.

use merit_tests::directory::{Directory, Profile, example, with_pools};
use merit_tests::dump::of_topic;
use merit_tests::process::merit;
use serde_json::{Value, json};
use std::process::Command;

fn first(directory: &Directory, topic: &str, kind: &str) -> Value {
    let records = directory.call(["log", "cat", topic]).ok().lines();
    records.into_iter().find(|record| record["type"] == kind).unwrap_or_else(|| panic!("{topic} holds no {kind}"))
}

#[test]
fn log_cat_shows_every_record_with_its_place_type_key_id_and_value() {
    let directory = example();
    let dump = directory.dump();
    for topic in ["eval.reports", "eval.scores", "eval.promotions", "eval.rejected", "alloc.requests", "alloc.applied", "audit"] {
        let shown = directory.call(["log", "cat", topic]).ok().lines();
        let entries: Vec<_> = of_topic(&dump, topic).collect();
        assert_eq!(shown.len(), entries.len(), "{topic}");
        for (line, entry) in shown.iter().zip(entries) {
            let fields: Vec<&str> = line.as_object().expect("an object").keys().map(String::as_str).collect();
            assert_eq!(fields, ["topic", "partition", "offset", "timestamp", "key", "type", "id", "value"]);
            let place = json!([entry.topic, entry.partition, entry.offset, entry.key, entry.kind.name()]);
            assert_eq!(json!([line["topic"], line["partition"], line["offset"], line["key"], line["type"]]), place);
            assert!(line["timestamp"].is_null() || line["timestamp"].as_str().is_some_and(|time| time.ends_with('Z')), "{line}");
            assert!(line["id"].as_str().is_some_and(|id| merit_core::Uuid::parse(id).is_some()), "{line}");
            assert!(line["value"].is_object(), "{line}");
        }
    }
}

#[test]
fn ids_are_all_different_and_parents_lead_to_them() {
    let directory = example();
    let topics = ["eval.reports", "eval.scores", "eval.promotions", "alloc.requests", "alloc.decisions", "alloc.applied"];
    let records: Vec<Value> = topics.iter().flat_map(|topic| directory.call(["log", "cat", topic]).ok().lines()).collect();
    let mut ids: Vec<&str> = records.iter().filter_map(|record| record["id"].as_str()).collect();
    ids.sort_unstable();
    let count = ids.len();
    ids.dedup();
    assert_eq!((ids.len(), count), (records.len(), records.len()), "two records have one id");
    let parents = records.iter().flat_map(|record| [&record["value"]["parents"], &record["value"]["evidence"]["parents"]]);
    let parents: Vec<&str> = parents.filter_map(Value::as_array).flatten().filter_map(Value::as_str).collect();
    assert!(!parents.is_empty());
    for parent in parents {
        assert!(ids.binary_search(&parent).is_ok(), "no record has the id {parent} of a parent");
    }
}

/// Clients of a cluster end in threads of their own, maybe in the middle of OpenSSL: none of its handlers may run beside them.
#[test]
fn a_process_ends_without_the_handlers_of_its_libraries() {
    let folder = tempfile::tempdir().expect("a folder for temporary files");
    let (source, library) = (folder.path().join("dies.c"), folder.path().join("dies.so"));
    merit_tests::write(&source, "#include <stdlib.h>\n__attribute__((destructor)) static void dies(void) { abort(); }\n");
    let built = Command::new("cc").args(["-shared", "-fPIC", "-o"]).args([&library, &source]).status();
    assert!(built.expect("a C compiler").success());
    for (arguments, exit) in [(["topology", "check"], 0), (["topology", "turn"], 2), (["state", "scan"], 2)] {
        let done = merit(arguments).env("LD_PRELOAD", &library).run();
        assert_eq!(done.code, Some(exit), "{done:#?}");
        assert!(!done.out.is_empty() || !done.err.is_empty());
    }
    let dies = Command::new("true").env("LD_PRELOAD", &library).status().expect("it is there");
    assert_eq!(dies.code(), None, "a program that ends as others do dies of it");
}

#[test]
fn fixed_point_is_shown_as_decimal_numbers() {
    let value = first(&example(), "eval.scores", "ScoreUpdated")["value"].clone();
    let window = &value["windows"][0];
    for number in [&value["observation"], &value["confidence"], &window["rawScore"], &window["score"], &window["components"][0]["value"]] {
        assert!(number.as_f64().is_some_and(|number| (0.0..=1.0).contains(&number)), "{number} of {value}");
    }
}

#[test]
fn log_cat_takes_a_partition_an_offset_and_a_limit() {
    let directory = example();
    let shown = directory.call(["log", "cat", "eval.scores", "--partition", "2", "--from", "5", "--limit", "3"]).ok().lines();
    let places: Vec<Value> = shown.iter().map(|line| json!([line["partition"], line["offset"]])).collect();
    assert_eq!(places, [json!([2, 5]), json!([2, 6]), json!([2, 7])]);
    assert_eq!(directory.call(["log", "cat", "eval.scores", "--from", "999999999"]).ok().out, "");
    directory.call(["log", "cat", "eval.score"]).run().refused(2, "topic_unknown");
}

#[test]
fn rejected_inputs_are_listed_and_shown_with_their_bytes() {
    let directory = example();
    let listed = directory.call(["rejected", "list"]).ok().lines();
    assert_eq!(listed.len(), 17);
    assert!(listed.iter().all(|rejected| rejected["rule"] == "agent_id_missing"), "{listed:?}");
    assert_eq!(directory.call(["rejected", "list", "--rule", "agent_id_missing"]).ok().lines(), listed);
    assert_eq!(directory.call(["rejected", "list", "--rule", "json_invalid"]).ok().out, "");
    let at = listed[3]["at"].as_str().expect("a place");
    let shown = directory.call(["rejected", "show", at]).ok().json();
    assert_eq!((&shown["rule"], &shown["offset"]), (&listed[3]["rule"], &listed[3]["offset"]));
    assert!(shown["bytes"].as_str().is_some_and(|row| row.contains("PENDING")), "{shown}");
    directory.call(["rejected", "show", "here"]).run().refused(2, "coordinates_invalid");
    directory.call(["rejected", "show", "0/999999"]).run().refused(2, "rejected_missing");
    directory.call(["rejected", "show", "77/0"]).run().refused(2, "rejected_missing");
}

#[test]
fn state_shows_the_rows_of_a_store_and_of_a_key() {
    let directory = example();
    let rows = directory.call(["state", "scan", "tiers"]).ok().lines();
    assert!(rows.len() > 10, "{rows:?}");
    for row in &rows {
        assert!(row["task"].as_str().is_some_and(|task| task.contains('/')), "{row}");
        assert!(row["value"].is_object(), "{row}");
    }
    let key = rows[0]["key"].as_str().expect("a key");
    let got = directory.call(["state", "get", "tiers", key]).ok().lines();
    assert_eq!(got, rows.iter().filter(|row| row["key"] == key).cloned().collect::<Vec<_>>());
    directory.call(["state", "get", "tiers", "nobody"]).run().refused(2, "key_unknown");
    directory.call(["state", "scan", "tears"]).run().refused(2, "store_unknown");
}

#[test]
fn every_store_of_the_topology_can_be_scanned() {
    let directory = example();
    for code in merit::registry::codes() {
        for store in code.stores {
            directory.call(["state", "scan", store]).ok().lines();
        }
    }
}

/// Counts of the state are those of the log.
#[test]
fn counts_in_the_state_are_those_of_the_log() {
    let directory = example();
    let dump = directory.dump();
    for row in directory.call(["state", "scan", "score-counts"]).ok().lines() {
        let partition: u32 =
            row["task"].as_str().and_then(|task| task.strip_prefix("evaluate/")?.parse().ok()).expect("a task of evaluate");
        let scores = of_topic(&dump, "eval.scores").filter(|entry| entry.partition == partition).count();
        assert_eq!(row["value"]["scored"], scores, "{row}");
    }
}

#[test]
fn explain_leads_from_a_promotion_to_its_score_and_its_proof() {
    let directory = example();
    let promotion = first(&directory, "eval.promotions", "PromotionProposed");
    let id = promotion["id"].as_str().expect("an id");
    let explained = directory.call(["explain", id]).ok();
    let agent = promotion["value"]["agentId"].as_str().expect("an agent");
    let rationale = promotion["value"]["rationale"].as_str().expect("a rationale");
    for part in [id, agent, rationale] {
        assert!(explained.out.contains(part), "{part} is not in {}", explained.out);
    }
    explained.json();
    let unknown = directory.call(["explain", "00000000-0000-8000-8000-000000000000"]).run();
    assert!(unknown.code.is_some_and(|code| code > 0), "{unknown:?}");
    assert!(unknown.failure()["hint"].is_string(), "{unknown:?}");
}

#[test]
fn pools_are_applied_and_seen_in_the_log() {
    let directory = with_pools(Profile::Default);
    let defined = first(&directory, "alloc.applied", "PoolDefined");
    assert_eq!((&defined["value"]["pool"], &defined["value"]["capacity"]), (&json!("gpus-g2"), &json!(4_392_000)));
    let bad = directory.file("bad.toml");
    merit_tests::write(&bad, "[[pools]]\nname = \"a\"\ncapacity = -1\n");
    directory.call(["pools", "apply"]).with([&bad]).run().refused(2, "pools_invalid");
    directory.call(["pools", "apply"]).with([directory.file("missing.toml")]).run().refused(1, "pools_read");
}

#[test]
fn readers_refuse_a_directory_that_is_none() {
    let directory = Directory::new(Profile::Default);
    let calls: [&[&str]; 6] = [
        &["log", "cat", "eval.scores"],
        &["rejected", "list"],
        &["state", "scan", "tiers"],
        &["explain", "agent"],
        &["audit", "verify"],
        &["replay", "--assert-equal"],
    ];
    for call in calls {
        directory.call(call).run().refused(1, "directory_missing");
    }
    assert!(!directory.data().exists(), "a reader makes no directory");
}

#[test]
fn a_reader_that_goes_away_is_no_failure_and_a_full_disk_is_one() {
    let directory = example();
    let done = directory.call(["log", "cat", "eval.reports"]).unread();
    assert_eq!((done.code, done.err.as_str()), (Some(0), ""), "{done:?}");
    directory.call(["log", "cat", "eval.reports"]).into_full_disk().refused(1, "output_failed");
}

#[test]
fn help_names_every_command_and_the_exit_codes() {
    let help = merit(["--help"]).ok().out;
    for word in [
        "import",
        "pools",
        "log",
        "replay",
        "explain",
        "audit",
        "topology",
        "rejected",
        "state",
        "backup",
        "restore",
        "bench",
        "Exit codes",
    ] {
        assert!(help.contains(word), "{word} is not in {help}");
    }
}

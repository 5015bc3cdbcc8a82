//! `merit import`: every kind of input, right and wrong.

use flate2::{Compression, write::GzEncoder};
use merit_core::{EventTime, Fixed};
use merit_runtime::store::{Store, Sync};
use merit_tests::directory::{Directory, Profile, with_pools};
use merit_tests::dump::{assert_equal, of_topic};
use merit_tests::process::{Done, merit};
use merit_tests::reports::{Report, lines, taken};
use merit_tests::{trace, trace_mapping, write};
use serde_json::Value;
use std::io::Write;
use std::path::PathBuf;

/// Reports of one agent, one a minute from a minute on.
fn reports(agent: &str, from: i64, count: i64) -> Vec<Report> {
    let report = |minute: i64| Report {
        id: None,
        agent: agent.into(),
        division: None,
        metrics: vec![("success".into(), Fixed(500_000 + minute))],
        time: EventTime(1_700_000_000_000 + minute * 60_000),
        window: None,
    };
    (from..from + count).map(report).collect()
}

fn directory() -> Directory {
    Directory::new(Profile::Default)
}

/// A file of reports beside the data.
fn file(directory: &Directory, name: &str, reports: &[Report]) -> PathBuf {
    let path = directory.file(name);
    write(&path, lines(reports));
    path
}

fn gzip(bytes: &[u8]) -> Vec<u8> {
    let mut encoder = GzEncoder::new(Vec::new(), Compression::fast());
    encoder.write_all(bytes).expect("memory");
    encoder.finish().expect("memory")
}

fn total(summary: &Value, class: &str) -> u64 {
    let partitions = summary["partitions"].as_array().expect("one a partition");
    assert!(partitions.iter().all(|partition| partition["holds"] == true), "{summary}");
    partitions.iter().filter_map(|partition| partition[class].as_u64()).sum()
}

#[test]
fn the_end_of_every_run_shows_that_inputs_are_conserved() {
    let directory = with_pools(Profile::Example);
    let summary = directory.import_trace().ok().json();
    assert_eq!((summary["rows"].as_u64(), total(&summary, "accepted"), total(&summary, "rejected")), (Some(17_764), 17_747, 17));
    assert_eq!(total(&summary, "scored"), 17_747);
    let again = merit(["import"]).with([trace()]).with(["--mapping"]).with([trace_mapping()]).with(["--data-dir"]).with([directory.data()]);
    let text = again.with(["--topology"]).with([&directory.topology]).with(["--audit-key"]).with([directory.key()]).ok().out;
    assert!(text.contains("Conservation (in = the sum of its classes; accepted = scored + late)"), "{text}");
    assert_eq!(text.lines().filter(|line| line.ends_with(" holds")).count(), 4, "{text}");
}

#[test]
fn standard_input_gzip_and_plain_files_give_one_log() {
    let text = lines(&reports("a", 0, 100));
    let expected = directory();
    expected.import(["-"]).input(text.as_str()).ok();
    for (name, bytes) in [
        ("plain.jsonl", text.clone().into_bytes()),
        ("packed.jsonl.gz", gzip(text.as_bytes())),
        ("packed-without-a-name", gzip(text.as_bytes())),
    ] {
        let directory = directory();
        write(&directory.file(name), bytes);
        directory.import([directory.file(name)]).ok();
        assert_equal(name, &expected.dump(), &directory.dump());
    }
    let packed = directory();
    packed.import(["-"]).input(gzip(text.as_bytes())).ok();
    assert_equal("gzip on standard input", &expected.dump(), &packed.dump());
}

#[test]
fn several_files_are_merged_by_event_time() {
    let directory = directory();
    let (even, odd): (Vec<Report>, Vec<Report>) = reports("a", 0, 200).into_iter().partition(|report| report.metrics[0].1.0 % 2 == 0);
    let files = [file(&directory, "odd.jsonl", &odd), file(&directory, "even.jsonl", &even)];
    directory.import(&files).ok();
    assert_eq!(taken(&directory.dump()), reports("a", 0, 200));
}

#[test]
fn late_rows_are_counted_and_sorting_is_hinted_at() {
    let mut rows = reports("a", 0, 100);
    rows.rotate_left(50);
    let unsorted = directory();
    let input = file(&unsorted, "input.jsonl", &rows);
    assert_eq!(total(&unsorted.import([&input]).ok().json(), "late"), 50);
    let call = |flags: &[&str]| {
        let directory = directory();
        merit(["import"]).with([&input]).with(["--data-dir"]).with([directory.data()]).with(flags).ok().out
    };
    assert!(call(&[]).contains("hint: 50 reports came later than grace and count in no window; --sort"), "{}", call(&[]));
    assert!(!call(&["--sort"]).contains("hint"), "{}", call(&["--sort"]));
    let sorted = directory();
    assert_eq!(total(&sorted.import([&input]).with(["--sort"]).ok().json(), "late"), 0);
    assert_eq!(taken(&sorted.dump()), reports("a", 0, 100));
}

#[test]
fn a_file_that_grew_goes_on_where_it_ended() {
    let directory = directory();
    let input = file(&directory, "input.jsonl", &reports("a", 0, 70));
    assert_eq!(directory.import([&input]).ok().json()["rows"], 70);
    file(&directory, "input.jsonl", &reports("a", 0, 100));
    let summary = directory.import([&input]).ok().json();
    assert_eq!((summary["rows"].as_u64(), summary["rowsBefore"].as_u64()), (Some(30), Some(70)));
    assert_eq!(taken(&directory.dump()), reports("a", 0, 100));
}

#[test]
fn a_file_whose_taken_rows_changed_is_refused() {
    let directory = directory();
    let input = file(&directory, "input.jsonl", &reports("a", 0, 70));
    directory.import([&input]).ok();
    let before = directory.dump();
    let mut changed = reports("a", 0, 70);
    changed[69].metrics[0].1 = Fixed(1);
    file(&directory, "input.jsonl", &changed);
    directory.import([&input]).run().refused(1, "source_differs");
    file(&directory, "input.jsonl", &reports("a", 0, 10));
    directory.import([&input]).run().refused(1, "source_differs");
    assert_equal("after the refusals", &before, &directory.dump());
    directory.import([&input]).with(["--source", "another"]).ok();
    assert_eq!(taken(&directory.dump()).len(), 80);
}

#[test]
fn rows_that_are_no_reports_are_rejected_by_name_and_the_rest_goes_on() {
    let good = r#""agentId":"a","timestamp":"2024-01-01T00:00:00Z""#;
    let many: Vec<String> = (0..17).map(|at| format!(r#""m{at}":0.5"#)).collect();
    let rows: &[(&str, Vec<u8>)] = &[
        ("json_invalid", b"this is no report".to_vec()),
        ("json_invalid", b"[1,2]".to_vec()),
        ("utf8_invalid", b"{\"agentId\":\"\xff\"}".to_vec()),
        ("agent_id_missing", br#"{"metrics":{"m":1},"timestamp":"2024-01-01T00:00:00Z"}"#.to_vec()),
        ("timestamp_missing", br#"{"agentId":"a","metrics":{"m":1}}"#.to_vec()),
        ("timestamp_invalid", br#"{"agentId":"a","metrics":{"m":1},"timestamp":"yesterday"}"#.to_vec()),
        ("timestamp_invalid", br#"{"agentId":"a","metrics":{"m":1},"timestamp":"2024-02-30T00:00:00Z"}"#.to_vec()),
        ("metrics_missing", format!("{{{good}}}").into_bytes()),
        ("metric_not_a_number", format!(r#"{{{good},"metrics":{{"m":"high"}}}}"#).into_bytes()),
        ("json_invalid", format!(r#"{{{good},"metrics":{{"m":NaN}}}}"#).into_bytes()),
        ("metric_range", format!(r#"{{{good},"metrics":{{"m":1e30}}}}"#).into_bytes()),
        ("metric_range", format!(r#"{{{good},"metrics":{{"m":1.000001}}}}"#).into_bytes()),
        ("metric_count", format!(r#"{{{good},"metrics":{{{}}}}}"#, many.join(",")).into_bytes()),
        ("key_duplicate", format!(r#"{{{good},"metrics":{{"m":1,"m":0}}}}"#).into_bytes()),
        ("field_unknown", format!(r#"{{{good},"metrics":{{"m":1}},"scores":1}}"#).into_bytes()),
        ("field_type", format!(r#"{{{good},"metrics":{{"m":1}},"source":7}}"#).into_bytes()),
        ("window_unknown", format!(r#"{{{good},"metrics":{{"m":1}},"window":"2h"}}"#).into_bytes()),
        (
            "agent_id_invalid",
            format!(r#"{{"agentId":"{}","metrics":{{"m":1}},"timestamp":"2024-01-01T00:00:00Z"}}"#, "a".repeat(257)).into_bytes(),
        ),
        ("report_too_large", vec![b'x'; (1 << 20) + 1]),
        ("json_invalid", "[".repeat(100_000).into_bytes()),
    ];
    let mut input = Vec::new();
    for (_, row) in rows {
        input.extend_from_slice(row);
        input.extend_from_slice(format!("\n{{{good},\"metrics\":{{\"m\":1}}}}\n").as_bytes());
    }
    let directory = directory();
    let summary = directory.import(["-"]).input(input).ok().json();
    assert_eq!((total(&summary, "accepted"), total(&summary, "rejected")), (rows.len() as u64, rows.len() as u64));
    let dump = directory.dump();
    let mut found: Vec<String> =
        of_topic(&dump, "eval.rejected").map(|entry| entry.json()["rule"].as_str().unwrap_or_default().to_owned()).collect();
    let mut expected: Vec<&str> = rows.iter().map(|(rule, _)| *rule).collect();
    found.sort_unstable();
    expected.sort_unstable();
    assert_eq!(found, expected);
}

#[test]
fn copies_count_once_and_a_reused_id_is_rejected() {
    let mut rows = reports("a", 0, 3);
    rows[0].id = Some("one".into());
    rows[2].id = Some("one".into());
    rows.insert(1, rows[0].clone());
    let directory = directory();
    let summary = directory.import([file(&directory, "input.jsonl", &rows)]).ok().json();
    assert_eq!((total(&summary, "accepted"), total(&summary, "duplicate"), total(&summary, "rejected")), (2, 1, 1));
    assert_eq!(summary["rejectedByRule"]["id_reused"], 1);
}

/// Nothing in a log is split or sorted by what a name may hold.
#[test]
fn names_of_any_kind_stay_apart_through_restarts() {
    let names = [
        "a",
        "a\0b",
        "a\0",
        "\0",
        "a\nb",
        "\"q\"",
        "\u{e9}\u{1f642}",
        "\u{202e}abc",
        " ",
        "tick",
        "config",
        "division:a",
        &"x".repeat(256),
    ];
    let of = |name: &str| Report { division: Some(name.into()), ..reports(name, 0, 1).remove(0) };
    let rows: Vec<Report> =
        (0..10).flat_map(|minute| names.map(|name| Report { time: EventTime(1_700_000_000_000 + minute * 60_000), ..of(name) })).collect();
    let directory = directory();
    let input = file(&directory, "input.jsonl", &rows[..60]);
    directory.import([&input]).with(["--checkpoint-inputs", "3", "--commit-rows", "7"]).ok();
    file(&directory, "input.jsonl", &rows);
    let summary = directory.import([&input]).ok().json();
    assert_eq!(total(&summary, "accepted"), rows.len() as u64);
    let states = directory.call(["state", "scan", "tiers"]).ok().lines();
    let mut keys: Vec<&str> = states.iter().filter_map(|row| row["key"].as_str()).collect();
    keys.sort_unstable();
    let mut expected = names.to_vec();
    expected.sort_unstable();
    assert_eq!(keys, expected);
    assert_eq!(directory.replay().code, Some(0));
}

#[test]
fn times_from_1970_to_9999_neither_hang_nor_break() {
    let at = |millis: i64| reports("a", 0, 6).into_iter().map(move |report| Report { time: EventTime(millis), ..report });
    let rows: Vec<Report> = [0, 1_704_067_200_000, EventTime::LATEST.0, 1_704_067_200_000, 0].into_iter().flat_map(at).collect();
    for profile in [Profile::Default, Profile::Example] {
        let directory = Directory::new(profile);
        let summary = directory.import([file(&directory, "input.jsonl", &rows)]).ok().json();
        assert_eq!(["scored", "late", "rejected"].map(|class| total(&summary, class)), [18, 6, 6]);
        assert_eq!(summary["rejectedByRule"]["timestamp_future"], 6);
        assert_eq!(directory.replay().code, Some(0));
        directory.call(["audit", "verify"]).ok();
    }
}

#[test]
fn a_truncated_gzip_keeps_what_came_and_goes_on_when_it_is_whole() {
    let text = lines(&reports("a", 0, 20_000));
    let packed = gzip(text.as_bytes());
    let directory = directory();
    let input = directory.file("input.jsonl.gz");
    write(&input, &packed[..packed.len() / 2]);
    directory.import([&input]).run().refused(1, "source_cut_short");
    write(&input, &packed);
    let summary = directory.import([&input]).ok().json();
    assert_eq!(summary["rows"].as_u64().zip(summary["rowsBefore"].as_u64()).map(|(now, before)| now + before), Some(20_000));
    assert_eq!(taken(&directory.dump()), reports("a", 0, 20_000));
}

#[test]
fn an_empty_file_is_no_rows() {
    let directory = directory();
    write(&directory.file("empty.jsonl"), "");
    write(&directory.file("blank.jsonl"), "\n\n  \n");
    for name in ["empty.jsonl", "blank.jsonl"] {
        assert_eq!(directory.import([directory.file(name)]).ok().json()["rows"], 0, "{name}");
    }
    assert_eq!(directory.import(["-"]).ok().json()["rows"], 0);
}

/// A call that must be refused, with its exit code and code.
fn check(directory: &Directory, arguments: &[&str], exit: i32, code: &str) {
    directory.call(["import"]).with(arguments).run().refused(exit, code);
}

#[test]
fn wrong_inputs_are_refused_by_name() {
    let directory = directory();
    let path = |name: &str| directory.file(name).display().to_string();
    std::fs::create_dir(directory.file("folder.jsonl")).expect("a new folder");
    write(&directory.file("a.csv"), "x,y\n1,2\n");
    write(&directory.file("a.jsonl"), lines(&reports("a", 0, 1)));
    write(&directory.file("copy.jsonl"), lines(&reports("a", 0, 1)));
    write(&directory.file("mapping.toml"), "agent = 7\nagent = 8\n");
    write(&directory.file("no-key"), "short");
    let (trace, mapping) = (trace().display().to_string(), trace_mapping().display().to_string());
    check(&directory, &[&path("missing.jsonl")], 1, "source_open");
    check(&directory, &[&path("folder.jsonl")], 1, "source_open");
    check(&directory, &[&path("a.csv")], 1, "mapping_missing");
    check(&directory, &[&path("a.csv"), "--mapping", &mapping], 1, "header_differs");
    check(&directory, &[&trace, "--mapping", &path("missing.toml")], 1, "mapping_read");
    check(&directory, &[&trace, "--mapping", &path("mapping.toml")], 2, "mapping_invalid");
    check(&directory, &[&path("a.jsonl"), &path("copy.jsonl")], 1, "source_name_taken");
    check(&directory, &[&path("a.jsonl"), "--audit-key", &path("no-key")], 1, "audit_key");
}

#[test]
fn calls_without_sense_are_refused_by_usage() {
    for arguments in [
        &["import"][..],
        &["import", "x"],
        &["import", "x", "--data-dir"],
        &["imprt"],
        &["import", "x", "--data-dir", "d", "--commit-rows", "many"],
        &["run", "--data-dir", "d", "--headless"],
    ] {
        let done = merit(arguments).run();
        assert_eq!(done.code, Some(2), "{done:?}");
        assert!(done.err.contains("Usage") || done.err.contains("error:"), "{done:?}");
    }
}

#[test]
fn a_bad_topology_is_refused_with_every_problem() {
    let directory = directory();
    let topology = directory.file("bad.toml");
    write(
        &topology,
        merit_tests::text(&directory.topology).replace("grace = \"10m\"", "grace = \"soon\"").replace("decimals = 2", "decimals = 9"),
    );
    let bad = Directory::with_topology(topology);
    let done = bad.import(["-"]).run();
    done.refused(3, "topology_invalid");
    let detail = done.failure()["detail"].to_string();
    assert!(detail.contains("grace") && detail.contains("decimals"), "{detail}");
    assert!(!bad.data().exists(), "nothing is written under a topology that is wrong");
}

#[test]
fn directories_that_cannot_be_used_are_refused_by_name() {
    let import = |data: &std::path::Path| -> Done {
        let directory = directory();
        let input = file(&directory, "input.jsonl", &reports("a", 0, 1));
        merit(["import", "--json", "--data-dir"]).with([data]).with(["--audit-key"]).with([directory.key()]).with([input]).run()
    };
    let folder = directory();
    write(&folder.file("a-file"), "text");
    import(&folder.file("a-file")).refused(1, "directory_open");
    import(&folder.file("a-file").join("below")).refused(1, "directory_open");
    import(std::path::Path::new("/proc/merit")).refused(1, "directory_open");
    std::fs::create_dir(folder.file("other")).expect("a new folder");
    write(&folder.file("other").join("CURRENT"), "MANIFEST-000001\n");
    import(&folder.file("other")).refused(3, "store_damaged");
}

#[test]
fn a_directory_in_use_is_refused() {
    let directory = directory();
    let store = Store::open(&directory.data(), Sync::System).unwrap_or_else(|error| panic!("{error}"));
    let refused = directory.import(["-"]).run();
    refused.refused(1, "directory_in_use");
    assert_eq!(refused.failure()["detail"], format!("process {} has it open to write", std::process::id()));
    drop(store);
    directory.import(["-"]).ok();
}

#[test]
fn text_for_people_names_error_code_and_hint() {
    let done = merit(["import", "missing.jsonl", "--data-dir", "nowhere"]).run();
    assert_eq!(done.code, Some(1));
    assert!(done.err.starts_with("error: could not open \"missing.jsonl\" [source_open]\n"), "{}", done.err);
    assert!(done.err.contains("\ndetail: ") && done.err.contains("\nhint: "), "{}", done.err);
}

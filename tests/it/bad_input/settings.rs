//! Topologies, pools and mappings that are wrong.

use super::{failed, good, import};
use merit_tests::directory::{Directory, Profile};
use merit_tests::process::merit;
use merit_tests::{text, write};

/// What to change in the topology, and the rule that this breaks.
const TOPOLOGIES: &[(&str, &str, &str)] = &[
    ("version = 1", "version = [[[", "T001"),
    ("version = 1", "version = 1\nversion = 1", "T001"),
    ("version = 1", "version = 1\0", "T001"),
    ("version = 1", "version = 2", "T004"),
    ("version = 1", "version = \"1\"", "T004"),
    ("version = 1", "", "T003"),
    ("version = 1", "version = 1\nedition = 2", "T002"),
    ("application = \"merit\"", "application = \"\"", "T004"),
    ("origin = \"merit.example/audit\"", "origin = \"LONG\"", "T004"),
    ("key_name = \"merit.example/emitter\"", "key_name = \"LONG\"", "T004"),
    ("partitions = 4", "partitions = 0", "T011"),
    ("partitions = 4", "partitions = 1000000000", "T011"),
    ("partitions = 4", "partitions = 99999999999999999999", "T004"),
    ("partitions = 4", "partitions = -4", "T004"),
    ("partitions = 4", "partitions = 4.5", "T004"),
    ("partitions = 4", "partitions = \"input\"", "T012"),
    ("[topics.\"eval.late\"]", "[topics.\"eval/late\"]", "T010"),
    ("records = [\"SealedLeaf\"]", "records = [\"SealedLeave\"]", "T005"),
    ("records = [\"SealedLeaf\"]", "records = [\"SealedLeaf\", \"SealedLeaf\"]", "T006"),
    ("records = [\"SealedLeaf\"]", "records = \"SealedLeaf\"", "T004"),
    ("records = [\"SealedLeaf\"]\nsink = true", "records = [\"SealedLeaf\"]", "T014"),
    ("input = \"audit.intake\"", "input = \"audit.outtake\"", "T007"),
    ("input = \"eval.aggregates\"", "input = \"eval.reports\"", "T015"),
    ("feedback = [\"AllocationOutcome\", \"Recheck\"]", "feedback = []", "T019"),
    ("stores = [\"cluster\"]", "stores = [\"clusters\"]", "T034"),
    ("writes = [\"PolicyDecided\"]", "writes = []", "T033"),
    ("processors = [\"audit-sealer\"]", "processors = []", "T004"),
    ("grace = \"10m\"", "grace = \"-10m\"", "T040"),
    ("grace = \"10m\"", "grace = \"9223372036854775807d\"", "T040"),
    ("grace = \"10m\"", "grace = \"9223372036854775807ms\"", "T040"),
    ("future = \"5m\"", "future = \"9223372036854775807ms\"", "T040"),
    ("future = \"5m\"", "future = 5", "T040"),
    ("grace = \"10m\"", "grace = \"10m\"\nslack = 1", "T041"),
    ("recent_reports = 262144", "recent_reports = 1", "T040"),
    ("recent_reports = 262144", "recent_reports = 18446744073709551616", "T040"),
    ("confidence = 0 ", "confidence = 2 ", "T040"),
    ("acknowledge_after = \"0ms\"", "acknowledge_after = \"1s\"", "T040"),
    ("profile = \"default\"", "profile = \"nobody\"", "T042"),
    ("decimals = 2", "decimals = 7", "T040"),
    ("enter = 0.85, exit = 0.75", "enter = 0.75, exit = 0.85", "T040"),
    ("enter = 0.85, exit = 0.75", "enter = 1e400, exit = 0.75", "T040"),
    ("delta = 1 }", "delta = 1000000000000000000 }", "T040"),
    ("pool = \"gpus-us-east\"", "pool = \"LONG\"", "T040"),
    ("reason = \"promotion threshold met\"", "reason = \"LONG\"", "T040"),
    ("window = \"12h\"", "window = \"0ms\"", "T040"),
    ("window = \"12h\"", "window = \"367d\"", "T040"),
    ("window = \"12h\"", "window = \"9223372036854775807ms\"", "T040"),
    ("[parameters.profiles.default]", "[parameters.profiles.default]\nmetrics.m = { weight = 1000001 }", "T040"),
    ("[parameters.profiles.default]", "[parameters.profiles.default]\nmetrics.m = { from = -9e12, to = 9e12 }", "T040"),
    ("[parameters.profiles.default]", "[parameters.profiles.default]\nweights.d.1h = { m = 9e12 }", "T040"),
    ("windows_in_row = 2", "windows_in_row = 0", "T040"),
    ("min_reports = 5", "min_reports = -5", "T040"),
    ("alpha = 0.1", "alpha = 0", "T040"),
];

#[test]
fn every_wrong_topology_is_refused_by_its_rule_and_writes_nothing() {
    let directory = Directory::new(Profile::Default);
    let real = text(&directory.topology);
    let file = directory.file("topology.toml");
    for (from, to, rule) in TOPOLOGIES {
        assert!(real.contains(from), "{from}");
        write(&file, real.replacen(from, &to.replace("LONG", &"x".repeat(100_000)), 1));
        let what = format!("{to:?} for {from:?}");
        let done = merit(["topology", "check", "--json"]).with([&file]).run();
        failed(&what, &done, "topology_invalid");
        assert!(merit_topology::rule::ALL.iter().any(|known| known.code == *rule));
        assert!(done.lines().iter().any(|finding| finding["code"] == *rule), "{what}: no {rule} in {}", done.out);
    }
    let done = import(&directory.data(), ["-".as_ref(), "--topology".as_ref(), file.as_path()]).input(good(0)).run();
    failed("an import", &done, "topology_invalid");
    assert!(!directory.data().exists());
}

/// The largest values that the rules admit.
const LARGEST: &[(&str, &str)] = &[
    ("grace = \"10m\"", "grace = \"24h\""),
    ("future = \"5m\"", "future = \"24h\""),
    ("request_cooldown = \"0ms\"", "request_cooldown = \"9223372036854775807ms\""),
    ("acknowledge_after = \"0ms\"", "acknowledge_after = \"9223372036854775807ms\""),
    ("observe_after = \"0ms\"", "observe_after = \"9223372036854775807ms\""),
    ("profile = \"default\"", "profile = \"sustained\""),
    ("window = \"12h\"", "window = \"366d\""),
    ("dwell = \"24h\"", "dwell = \"9223372036854775807ms\""),
    (
        "[parameters.profiles.sustained]",
        "[parameters.profiles.sustained]\nweights.default.1h = { a = 1000000, b = 1000000 }\n\
         metrics.a = { from = -1000000, to = 1000000 }\nmetrics.b = { from = -1000000, to = 1000000, weight = 1000000 }",
    ),
];

#[test]
fn the_largest_settings_are_computed_with() {
    let directory = Directory::new(Profile::Default);
    let mut topology = text(&directory.topology);
    for (from, to) in LARGEST {
        assert!(topology.contains(from), "{from}");
        topology = topology.replacen(from, to, 1);
    }
    let file = directory.file("topology.toml");
    write(&file, topology);
    let report = |at: i64| {
        let time = merit_core::EventTime(1_600_000_000_000 + at * 86_400_000);
        format!("{{\"agentId\":\"a{}\",\"timestamp\":\"{time}\",\"metrics\":{{\"a\":1e6,\"b\":-1e6}}}}\n", at % 3)
    };
    let rows: String = (0..800).map(report).collect();
    let done = import(&directory.data(), ["-".as_ref(), "--topology".as_ref(), file.as_path()]).input(rows).ok();
    let scored = directory.call(["log", "cat", "eval.scores"]).ok().lines();
    assert_eq!(scored.len(), 800, "{}", done.out);
    assert!(scored.iter().all(|record| record["value"]["observation"] == 0.5), "{:?}", scored[0]);
}

const POOL: &str = "[[pools]]\nname = \"a\"\ncapacity = 8\n";

#[test]
fn every_wrong_pools_file_is_refused_and_none_of_it_is_applied() {
    let directory = Directory::new(Profile::Default);
    let file = directory.file("pools.toml");
    let quotas = |quotas: &str| format!("{POOL}[pools.quotas]\n{quotas}\n");
    let capacity = |capacity: &str| POOL.replace("= 8", &format!("= {capacity}"));
    let long = "x".repeat(257);
    for wrong in [
        String::new(),
        "pools = []".into(),
        "pools = 1".into(),
        "[[pool]]\nname = \"a\"\n".into(),
        "[[[".into(),
        format!("a = {}", "[".repeat(100_000)),
        POOL.replace("name = \"a\"", ""),
        POOL.replace("\"a\"", "\"\""),
        POOL.replace("\"a\"", "7"),
        POOL.replace("\"a\"", &format!("{long:?}")),
        POOL.replace("capacity = 8", ""),
        capacity("-1"),
        capacity("1.5"),
        capacity("inf"),
        capacity("\"8\""),
        capacity("9223372036854776"),
        capacity("99999999999999999999"),
        format!("{POOL}state = \"shut\"\n"),
        format!("{POOL}owner = \"me\"\n"),
        format!("{POOL}{POOL}"),
        quotas("d = 9"),
        quotas("d = 4\ne = 5"),
        quotas("d = -1"),
        quotas("d = 1\nd = 1"),
        quotas("\"\" = 1"),
        quotas(&format!("{long} = 1")),
        format!("{POOL}\0"),
    ] {
        let before = if wrong.starts_with("[[pools]]") { "[[pools]]\nname = \"good\"\ncapacity = 1\n" } else { "" };
        write(&file, format!("{before}{wrong}"));
        failed(&format!("{wrong:.100}"), &directory.call(["pools", "apply"]).with([&file]).run(), "pools_invalid");
    }
    assert!(!directory.data().exists());
}

/// A file that is well in itself can still not fit what the ledger holds.
#[test]
fn what_the_ledger_refuses_is_told_and_the_rest_of_the_file_holds() {
    let directory = Directory::new(Profile::Default);
    let file = directory.file("pools.toml");
    let apply = || directory.call(["pools", "apply"]).with([&file]).run();
    write(&file, format!("{POOL}[pools.quotas]\nd = 6\n"));
    assert_eq!(apply().code, Some(0));
    write(&file, "[[pools]]\nname = \"b\"\ncapacity = 2000000000000000\n[[pools]]\nname = \"a\"\ncapacity = 4\n[pools.quotas]\nd = 3\n");
    let done = apply();
    failed("too large, and too small for the quotas of before", &done, "pools_refused");
    let detail = done.failure()["detail"].as_str().unwrap_or_default().to_owned();
    assert!(detail.contains("capacity_too_large") && detail.contains("quota_exceeds_capacity"), "{detail}");
    let applied = directory.call(["log", "cat", "alloc.applied"]).ok().lines();
    let kinds: Vec<&str> = applied.iter().filter_map(|record| record["type"].as_str()).collect();
    assert_eq!(kinds, ["PoolDefined", "QuotaSet", "CommandRefused", "CommandRefused", "QuotaSet"]);
    write(&file, "[[pools]]\nname = \"a\"\ncapacity = 4\n[pools.quotas]\nd = 3\n");
    assert_eq!(apply().code, Some(0), "and now it fits");
}

#[test]
fn every_wrong_mapping_is_refused_with_its_lines() {
    let directory = Directory::new(Profile::Default);
    let file = directory.file("mapping.toml");
    for wrong in [
        "",
        "[[[",
        "agent = 7",
        "agent = {}",
        "agent = { column = 'a', constant = 'b' }",
        "agent = { column = '' }",
        "timestamp = { column = 't' }",
        "timestamp = { column = 't', format = 'iso' }",
        "timestamp = { column = 't', format = '%H:%M' }",
        "metrics = []",
        "metrics = [{ name = 'm', column = 'm', zero_at = 1, one_at = 1 }]",
        "metrics = [{ name = 'm', column = 'm', zero_at = 1e400, one_at = 1 }]",
        "metrics = [{ name = 'm', column = 'm' }, { name = 'm', column = 'n' }]",
        "id = { columns = [] }",
        "owner = 'me'",
    ] {
        write(&file, wrong);
        let done = import(&directory.data(), ["-".as_ref(), "--mapping".as_ref(), file.as_path()]).run();
        failed(wrong, &done, "mapping_invalid");
        assert!(done.failure()["detail"].as_str().is_some_and(|detail| detail.contains("mapping.toml: line ")), "{done:?}");
    }
    assert!(!directory.data().exists());
}

#[test]
fn settings_that_are_no_text_are_refused() {
    let directory = Directory::new(Profile::Default);
    write(&directory.file("bytes"), b"\xff\xfe");
    let unreadable =
        [directory.file("missing"), directory.file("bytes"), directory.file(""), "/dev/zero".into(), directory.file("bytes").join("x")];
    for path in unreadable {
        let what = path.display().to_string();
        failed(&what, &merit(["topology", "check", "--json"]).with([&path]).run(), "topology_read");
        failed(&what, &directory.call(["pools", "apply"]).with([&path]).run(), "pools_read");
        failed(&what, &import(&directory.data(), ["-".as_ref(), "--mapping".as_ref(), path.as_path()]).run(), "mapping_read");
    }
    assert!(!directory.data().exists());
}

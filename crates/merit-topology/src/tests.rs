//! The real file is clean; each way of breaking it gives the rule that is broken, at its line.
#![allow(clippy::unwrap_used, reason = "test code")]

use crate::rule::{self, Rule};
use crate::*;
use merit_core::settings::Reader;
use merit_core::{Duration, Problem, profile};
use std::time::Instant;

const REAL: &str = include_str!("../../../topology.toml");

/// Reads what the real file has, and of profiles only the one in force, as processors do.
fn problems(settings: &Settings) -> Vec<Problem> {
    let profile = profile::path(settings);
    for (path, _) in parse(REAL).unwrap().settings.iter() {
        if !path.starts_with("profiles.") || path.starts_with(&format!("{profile}.")) {
            settings.get(path);
        }
    }
    let mut event_time = Reader::new(settings, "event-time");
    event_time.duration("grace", Duration::MINUTE);
    let mut scoring = Reader::new(settings, &profile);
    if 6 < scoring.whole("decimals", 2) {
        scoring.refuse("decimals", "must be 0 to 6");
    }
    [event_time.problems, scoring.problems].concat()
}

/// A binary that holds exactly what the file says.
fn code_as_in(text: &str) -> Vec<ProcessorCode> {
    let leak = |name: &String| -> &'static str { name.clone().leak() };
    let topology = parse(text).unwrap();
    let processors = topology.sub_topologies.iter().flat_map(|sub| sub.processors.iter().map(move |processor| (sub, processor)));
    let code = |(sub, processor): (&SubTopology, &ProcessorSpec)| ProcessorCode {
        sub_topology: leak(&sub.name),
        name: leak(&processor.name),
        reads: processor.reads,
        writes: processor.writes,
        stores: processor.stores.iter().map(leak).collect(),
        problems,
    };
    processors.map(code).collect()
}

/// The real file with the first `find` at or behind `section` replaced.
fn changed(section: &str, find: &str, put: &str) -> String {
    let start = REAL.find(section).unwrap_or_else(|| panic!("no {section}"));
    assert!(REAL[start..].contains(find), "no {find} behind {section}");
    format!("{}{}", &REAL[..start], REAL[start..].replacen(find, put, 1))
}

/// A change and what it breaks: rules, each with what stands on its line, at or behind the section.
struct Broken {
    section: &'static str,
    find: &'static str,
    put: &'static str,
    expected: &'static [(Rule, &'static str)],
}

const fn broken(section: &'static str, find: &'static str, put: &'static str, expected: &'static [(Rule, &'static str)]) -> Broken {
    Broken { section, find, put, expected }
}

fn check_broken(rows: &[Broken], findings: fn(&str) -> Vec<Finding>) {
    for row in rows {
        let text = changed(row.section, row.find, row.put);
        let start = REAL.find(row.section).unwrap();
        let line = |at: &str| 1 + text[..start + text[start..].find(at).unwrap()].matches('\n').count();
        let mut expected: Vec<(&str, usize)> = row.expected.iter().map(|(rule, at)| (rule.code, line(at))).collect();
        expected.sort_by_key(|(code, line)| (*line, *code));
        let found = findings(&text);
        let codes: Vec<(&str, usize)> = found.iter().map(|finding| (finding.code, finding.line)).collect();
        assert_eq!(codes, expected, "{:?} -> {:?} in {}: {found:#?}", row.find, row.put, row.section);
    }
}

const FORM: &[Broken] = &[
    broken("", "application", "version = 2\napplication", &[(rule::SYNTAX, "version = 2")]),
    broken("[audit]", "origin = \"", "origin = ", &[(rule::SYNTAX, "origin")]),
    broken("", "application", "colour = 1\napplication", &[(rule::UNKNOWN_FIELD, "colour")]),
    broken("[topics.\"eval.late\"]", "sink", "retain = \"7d\"\nsink", &[(rule::UNKNOWN_FIELD, "retain")]),
    broken("[topics.\"eval.late\"]", "sink", "retention = \"a week\"\nsink", &[(rule::WRONG_VALUE, "retention")]),
    broken("[topics.\"eval.late\"]", "sink", "retention = \"0d\"\nsink", &[(rule::WRONG_VALUE, "retention")]),
    broken("[topics.\"eval.late\"]", "sink", "retention = 7\nsink", &[(rule::WRONG_VALUE, "retention")]),
    // A table of a processor that the list leaves out.
    broken("[sub-topologies.evaluate]", "\"score-window\", ", "", &[(rule::UNKNOWN_FIELD, "[sub-topologies.evaluate.score-window]")]),
    broken("[sub-topologies.evaluate]", "\"score-window\", ", "\"score-window\", \"tally\", ", &[(rule::MISSING_FIELD, "processors")]),
    broken("[topics.\"eval.rejected\"]", "key = \"source\"\n", "", &[(rule::MISSING_FIELD, "[topics.\"eval.rejected\"]")]),
    broken("", "[audit]", "[auditing]", &[(rule::MISSING_FIELD, "#"), (rule::UNKNOWN_FIELD, "[auditing]")]),
    broken("", "version = 1", "version = 2", &[(rule::WRONG_VALUE, "version = 2")]),
    broken("[audit]", "origin = \"merit.example/audit\"", "origin = \"\"", &[(rule::WRONG_VALUE, "origin")]),
    broken("[topics.\"eval.late\"]", "sink = true", "sink = \"yes\"", &[(rule::WRONG_VALUE, "sink")]),
    broken("[topics.\"eval.late\"]", "\"input\"", "\"four\"", &[(rule::WRONG_VALUE, "partitions")]),
    broken("[topics.\"eval.late\"]", "\"input\"", "-1", &[(rule::WRONG_VALUE, "partitions")]),
    broken("[topics.\"eval.late\"]", "[\"ReportLate\"]", "[]", &[(rule::WRONG_VALUE, "records")]),
    broken("[topics.\"eval.late\"]", "\"ReportLate\"", "7", &[(rule::WRONG_VALUE, "records")]),
    broken("[topics.\"eval.late\"]", "\"ReportLate\"", "\n  \"ReportLat\"\n", &[(rule::UNKNOWN_RECORD_TYPE, "\"ReportLat\"")]),
    broken("[topics.\"eval.late\"]", "\"ReportLate\"", "\"ReportLate\",\n  \"ReportLate\"", &[(rule::LISTED_TWICE, "  \"ReportLate\"]")]),
    broken("[sub-topologies.seal]", "input = \"audit", "input = \"audits", &[(rule::UNKNOWN_NAME, "input")]),
    broken("[topics.\"eval.late\"]", "sink", "from = [\"evaluat\"]\nsink", &[(rule::UNKNOWN_NAME, "from")]),
];

/// In these the binary is as the file says, however wrong that is.
const FLOW: &[Broken] = &[
    broken("[topics.\"eval.late\"]", "eval.late", "eval late", &[(rule::TOPIC_NAME, "[topics")]),
    broken("[topics.\"eval.late\"]", "eval.late", "..", &[(rule::TOPIC_NAME, "[topics")]),
    broken("[topics.\"alloc.applied\"]", "partitions = 1", "partitions = 0", &[(rule::PARTITION_COUNT, "partitions")]),
    broken("[topics.\"alloc.applied\"]", "partitions = 1", "partitions = 10_001", &[(rule::PARTITION_COUNT, "partitions")]),
    broken("[topics.\"alloc.requests\"]", "partitions = 1", "partitions = \"input\"", &[(rule::INPUT_WITHOUT_COUNT, "partitions")]),
    // Written by evaluate with the partitions of eval.reports, and by allocate with 1.
    broken("[topics.\"eval.late\"]", "\"ReportLate\"", "\"ReportLate\", \"PolicyDecided\"", &[(rule::UNCLEAR_PARTITIONS, "partitions")]),
    broken(
        "[topics.\"eval.late\"]",
        "[topics",
        "[topics.outer]\nkey = \"k\"\npartitions = \"input\"\nrecords = [\"Approve\"]\nsource = [\"x\"]\nsink = true\n\n[topics",
        &[(rule::UNCLEAR_PARTITIONS, "partitions")],
    ),
    broken("[topics.audit]", "sink", "retention = \"7d\"\nsink", &[(rule::RETENTION_ELSEWHERE, "retention")]),
    broken("[topics.\"alloc.applied\"]", "sink", "retention = \"7d\"\nsink", &[(rule::RETENTION_ELSEWHERE, "retention")]),
    broken("[topics.\"eval.late\"]", "sink = true", "sink = false", &[(rule::TOPIC_WITHOUT_READER, "[topics")]),
    broken(
        "[parameters]",
        "[parameters]",
        "[sub-topologies.copy]\ninput = \"audit.intake\"\nprocessors = [\"a\"]\n\
         [sub-topologies.copy.a]\nreads = [\"AuditLeaf\"]\nwrites = []\n\n[parameters]",
        &[(rule::TOPIC_WITH_TWO_READERS, "input")],
    ),
    // A command that ingest reads and no other record leads to.
    broken("[topics.\"eval.reports\"]", "\"AssignEntity\", ", "", &[(rule::RECORD_WITHOUT_TOPIC, "reads = [")]),
    broken("[topics.\"eval.late\"]", "\"ReportLate\"", "\"ReportLate\", \"StreamSeal\"", &[(rule::RECORD_WITHOUT_WRITER, "records")]),
    // Control records come to inputs only.
    broken("[topics.\"eval.late\"]", "\"ReportLate\"", "\"ReportLate\",\n\"Tick\"", &[(rule::RECORD_WITHOUT_WRITER, "\"Tick\"]")]),
    // `from` keeps out the only writer.
    broken("[topics.\"eval.late\"]", "sink", "from = [\"seal\"]\nsink", &[(rule::RECORD_WITHOUT_WRITER, "records")]),
    broken(
        "[sub-topologies.evaluate]",
        "\"score-window\", \"hysteresis-promoter\"",
        "\"hysteresis-promoter\", \"score-window\"",
        &[(rule::READ_BEFORE_WRITTEN, "reads = [\"ScoreUpdated\"")],
    ),
    broken("[sub-topologies.allocate.policy-gate]", "\"Tick\"", "\"Tick\", \"ScoreUpdated\"", &[(rule::READ_BEFORE_WRITTEN, "reads")]),
    // To its own input, and to that of a sub-topology upstream.
    broken(
        "[sub-topologies.allocate.allocator-applier]",
        "feedback = [\"AllocationOutcome\", \"Recheck\"]",
        "feedback = [\"AllocationOutcome\"]",
        &[(rule::CYCLE_WITHOUT_FEEDBACK, "writes")],
    ),
    broken(
        "[sub-topologies.allocate.allocator-applier]",
        "feedback = [\"AllocationOutcome\", ",
        "feedback = [",
        &[(rule::CYCLE_WITHOUT_FEEDBACK, "writes")],
    ),
    // Downstream, to no input, and not written at all.
    broken(
        "[sub-topologies.evaluate.hysteresis-promoter]",
        "stores",
        "feedback = [\"RequestAllocation\"]\nstores",
        &[(rule::FEEDBACK_WITHOUT_CYCLE, "feedback")],
    ),
    broken(
        "[sub-topologies.allocate.policy-gate]",
        "stores",
        "feedback = [\"PolicyDecided\"]\nstores",
        &[(rule::FEEDBACK_WITHOUT_CYCLE, "feedback")],
    ),
    broken(
        "[sub-topologies.allocate.policy-gate]",
        "stores",
        "feedback = [\"Recheck\"]\nstores",
        &[(rule::FEEDBACK_WITHOUT_CYCLE, "feedback")],
    ),
    broken(
        "[sub-topologies.allocate.simulated-cluster]",
        "\"cluster\"",
        "\"cluster\",\n  \"pools\"",
        &[(rule::STORE_USED_TWICE, "  \"pools\"")],
    ),
];

/// In these the binary is as the real file says.
const CODE: &[Broken] = &[
    broken(
        "[sub-topologies.seal]",
        "processors = [\"audit-sealer\"]",
        "processors = [\"audit-sealer\", \"witness\"]\n[sub-topologies.seal.witness]\nreads = [\"SealedLeaf\"]\nwrites = []",
        &[(rule::NOT_IN_BINARY, "[sub-topologies.seal.witness]")],
    ),
    broken(
        "[sub-topologies.seal]",
        "processors = [\"audit-sealer\"]\n\n[sub-topologies.seal.audit-sealer]",
        "processors = [\"witness\"]\n\n[sub-topologies.seal.witness]",
        &[(rule::NOT_IN_FILE, "processors"), (rule::NOT_IN_BINARY, "[sub-topologies.seal.witness]")],
    ),
    broken("[sub-topologies.evaluate.score-window]", ", \"Tick\"", "", &[(rule::READS_DIFFER, "reads")]),
    broken("[sub-topologies.evaluate.score-window]", "\"ReportLate\"", "\"ReportLate\", \"Held\"", &[(rule::WRITES_DIFFER, "writes")]),
    broken("[sub-topologies.evaluate.score-window]", "\"windows\"", "\"panes\"", &[(rule::STORES_DIFFER, "stores")]),
    broken("[parameters.event-time]", "\"10m\"", "\"10 minutes\"", &[(rule::PARAMETER, "grace")]),
    // Wrong and unknown in the profile that is in force, and in one that is not.
    broken("[parameters.profiles.default]", "decimals = 2", "decimals = 9", &[(rule::PARAMETER, "decimals")]),
    broken("[parameters.profiles.sustained]", "decimals = 2", "decimals = 9", &[(rule::PARAMETER, "decimals")]),
    broken("[parameters.profiles.default]", "dwell", "dwelling", &[(rule::UNKNOWN_PARAMETER, "dwelling")]),
    broken("[parameters.profiles.sustained]", "alpha", "alhpa", &[(rule::UNKNOWN_PARAMETER, "alhpa")]),
    broken("[parameters.profiles.default]", "enter = ", "entry = ", &[(rule::UNKNOWN_PARAMETER, "entry")]),
    broken("[parameters]", "\"default\"", "\"defualt\"", &[(rule::UNKNOWN_PROFILE, "profile")]),
];

#[test]
fn the_real_file_is_clean() {
    let findings = check(&parse(REAL).unwrap(), &code_as_in(REAL));
    assert!(findings.is_empty(), "{findings:#?}");
}

#[test]
fn a_wrong_form_is_found_at_its_line() {
    check_broken(FORM, |text| parse(text).unwrap_err());
}

#[test]
fn a_wrong_flow_is_found_at_its_line() {
    check_broken(FLOW, |text| check(&parse(text).unwrap(), &code_as_in(text)));
}

#[test]
fn a_difference_from_the_code_is_found_at_its_line() {
    check_broken(CODE, |text| check(&parse(text).unwrap(), &code_as_in(REAL)));
}

#[test]
fn changes_within_the_rules_are_clean() {
    let rows = [
        ("[topics.\"alloc.applied\"]", "partitions = 1", "partitions = 10_000"),
        ("[topics.\"eval.late\"]", "sink", "from = [\"evaluate\"]\nsink"),
        // Stores belong to a sub-topology: another may use the name.
        ("[sub-topologies.seal.audit-sealer]", "\"audit-log\"", "\"windows\""),
        // Not in force, and still read.
        ("[parameters]", "\"default\"", "\"sustained\""),
    ];
    for (section, find, put) in rows {
        let text = changed(section, find, put);
        assert_eq!(check(&parse(&text).unwrap(), &code_as_in(&text)), [], "{find} -> {put}");
    }
}

#[test]
fn every_rule_has_a_row_and_a_code_of_its_own() {
    let rows: Vec<&Rule> = [FORM, FLOW, CODE].into_iter().flatten().flat_map(|row| row.expected).map(|(rule, _)| rule).collect();
    let without: Vec<&Rule> = rule::ALL.iter().filter(|rule| !rows.contains(rule)).collect();
    assert!(without.is_empty(), "{without:?}");
    assert!(rule::ALL.windows(2).all(|pair| pair[0].code < pair[1].code));
}

#[test]
fn several_problems_are_all_reported() {
    let text = REAL.replacen("\"ReportLate\"", "\"Late\"", 1).replacen("sink = true", "sink = 1", 1).replacen(
        "[parameters]",
        "[parametres]\nx = 1\n[parameters]",
        1,
    );
    let codes: Vec<&str> = parse(&text).unwrap_err().iter().map(|finding| finding.code).collect();
    assert_eq!(codes, ["T004", "T005", "T002"]);
    let text = REAL.replacen("sink = true", "sink = false", 1).replacen("\"homes\", ", "", 1).replacen(
        "grace = \"10m\"",
        "grace = \"\"\ngrade = 1",
        1,
    );
    let codes: Vec<&str> = check(&parse(&text).unwrap(), &code_as_in(REAL)).iter().map(|finding| finding.code).collect();
    assert_eq!(codes, ["T014", "T034", "T040", "T041"]);
}

#[test]
fn several_faults_of_syntax_are_all_reported() {
    let lines: Vec<usize> = parse("version = \napplication = merit\n[audit\n").unwrap_err().iter().map(|finding| finding.line).collect();
    assert_eq!(lines, [1, 2, 3]);
}

#[test]
fn a_difference_names_what_is_missing_and_what_is_too_much() {
    let text = changed("[sub-topologies.evaluate.score-window]", "\"ReportAccepted\", \"Tick\"", "\"ReportAccepted\", \"EvalReport\"");
    let findings = check(&parse(&text).unwrap(), &code_as_in(REAL));
    let line = findings[0].line;
    let expected = format!(
        "{line}: T032 reads_differ: score-window of evaluate has other reads in the code: Tick missing here, EvalReport not in the code"
    );
    assert_eq!(findings.iter().map(Finding::to_string).collect::<Vec<String>>(), [expected]);
}

#[test]
fn a_topic_name_has_at_most_249_characters() {
    for (length, wrong) in [(249, 0), (250, 1)] {
        let text = changed("[topics.\"eval.late\"]", "eval.late", &"x".repeat(length));
        assert_eq!(check(&parse(&text).unwrap(), &code_as_in(REAL)).len(), wrong);
    }
}

#[test]
fn parameters_are_text_as_written() {
    let text = changed("[parameters]", "[parameters]", "[parameters]\nx = { a = [true, 0.50, \"s\"], \"v1.5\" = 1_000 }");
    let settings = parse(&text).unwrap().settings;
    let under: Vec<(&str, &str)> = settings.under("x").collect();
    assert_eq!(under, [("x.a.0", "true"), ("x.a.1", "0.50"), ("x.a.2", "s"), ("x.v1%2E5", "1000")]);
}

#[test]
fn a_parameter_that_is_not_there_has_the_line_of_its_closest_parent() {
    let topology = parse(REAL).unwrap();
    let header = 1 + REAL[..REAL.find("[parameters.profiles.default]").unwrap()].matches('\n').count();
    assert_eq!(topology.line(&["parameters", "profiles", "default", "none", "0"]), header);
    assert_eq!(topology.line(&["nothing"]), 1);
}

/// Two sub-topologies, three topics of one record type, a feedback, audit leaves.
const SMALL: &str = r#"
version = 1
application = "small"
[audit]
origin = "o"
key_name = "k"
[topics.in]
key = "agentId"
partitions = 3
records = ["EvalReport", "Tick", "ConfigEpoch"]
source = ["producers"]
[topics.scores]
key = "agentId"
partitions = "input"
records = ["ScoreUpdated"]
sink = true
[topics.own-scores]
key = "agentId"
partitions = "input"
records = ["ScoreUpdated"]
from = ["score"]
sink = true
[topics.other-scores]
key = "agentId"
partitions = 1
records = ["ScoreUpdated"]
from = ["seal"]
sink = true
[topics.leaves]
key = "stream"
partitions = 1
records = ["AuditLeaf"]
[sub-topologies.score]
input = "in"
processors = ["ingest", "window"]
[sub-topologies.score.ingest]
reads = ["EvalReport"]
writes = ["ReportAccepted", "EvalReport"]
feedback = ["EvalReport"]
[sub-topologies.score.window]
reads = ["ReportAccepted"]
writes = ["ScoreUpdated"]
[sub-topologies.seal]
input = "leaves"
processors = ["sealer"]
[sub-topologies.seal.sealer]
reads = ["AuditLeaf"]
writes = []
"#;

#[test]
fn a_topic_that_names_the_writer_takes_its_records_from_those_that_name_none() {
    let mut topology = parse(SMALL).unwrap();
    let sub = |name: &str| SubTopology { name: name.into(), ..topology.sub_topologies[0].clone() };
    let (score, seal, other) = (sub("score"), sub("seal"), sub("other"));
    assert_eq!(topology.topics_of(&score, Kind::ScoreUpdated), [2]);
    assert_eq!(topology.topics_of(&seal, Kind::ScoreUpdated), [3]);
    assert_eq!(topology.topics_of(&other, Kind::ScoreUpdated), [1]);
    topology.topics[2].from.clear();
    assert_eq!(topology.topics_of(&score, Kind::ScoreUpdated), [1, 2]);
    assert_eq!(topology.topics_of(&score, Kind::ReportAccepted), [0; 0]);
}

#[test]
fn control_records_are_never_routed() {
    let topology = parse(SMALL).unwrap();
    for kind in [Kind::Tick, Kind::ConfigEpoch] {
        assert!(topology.topics[0].records.contains(kind));
        assert_eq!(topology.topics_of(&topology.sub_topologies[0], kind), [0; 0]);
    }
}

#[test]
fn input_stands_for_the_partitions_of_the_writers_input() {
    let topology = parse(SMALL).unwrap();
    // Nobody writes to topic 1: the scores go to topic 2.
    assert_eq!([0, 1, 2, 3, 4].map(|topic| topology.partition_count(topic)), [3, 1, 3, 1, 1]);
}

#[test]
fn it_is_drawn_for_mermaid() {
    let expected = r#"flowchart LR
  source0(["producers"])
  topic0[("in")]
  topic1[("scores")]
  topic2[("own-scores")]
  topic3[("other-scores")]
  topic4[("leaves")]
  subgraph sub0["score"]
    processor0_0["ingest"]
    processor0_1["window"]
  end
  subgraph sub1["seal"]
    processor1_0["sealer"]
  end
  source0 --> topic0
  topic0 --> processor0_0
  processor0_0 --> processor0_1
  processor0_0 -.->|"EvalReport"| topic0
  processor0_1 --> topic2
  sub0 --> topic4
  topic4 --> processor1_0
"#;
    assert_eq!(draw(&parse(SMALL).unwrap(), Format::Mermaid), expected);
}

#[test]
fn it_is_drawn_for_graphviz() {
    let drawn = draw(&parse(SMALL).unwrap(), Format::Dot);
    let expected = [
        "digraph \"small\" {",
        "  topic0 [shape=cylinder, label=\"in\"];",
        "  subgraph cluster_sub0 {",
        "    processor0_1 [label=\"window\"];",
        "  source0 -> topic0;",
        "  processor0_0 -> topic0 [label=\"EvalReport\", style=dashed];",
        "  processor0_1 -> topic4 [ltail=cluster_sub0];",
        "}",
    ];
    let mut lines = drawn.lines();
    expected.iter().for_each(|line| assert!(lines.any(|drawn| drawn == *line), "no {line} in its place in\n{drawn}"));
    assert_eq!(lines.next(), None);
}

#[test]
fn its_topics_stand_in_a_table() {
    let expected = "\
topic         key      partitions  records                      written by         read by
in            agentId  3           ConfigEpoch, Tick, EvalReport  producers, ingest  score
";
    let table = draw(&parse(SMALL).unwrap(), Format::Table);
    let words = |line: &str| line.split_whitespace().map(str::to_string).collect::<Vec<String>>();
    assert_eq!(table.lines().take(2).map(words).collect::<Vec<_>>(), expected.lines().map(words).collect::<Vec<_>>());
    let columns: Vec<Option<usize>> =
        ["partitions", "3 ", "1 (input)", "3 (input)", "1 ", "1 "].iter().zip(table.lines()).map(|(cell, line)| line.find(cell)).collect();
    assert!(columns.iter().all(|column| *column == columns[0]), "{table}");
}

#[test]
fn a_file_cut_off_anywhere_is_refused_or_judged_but_never_panics() {
    for end in (0..REAL.len()).step_by(31).filter(|end| REAL.is_char_boundary(*end)) {
        if let Ok(topology) = parse(&REAL[..end]) {
            check(&topology, &code_as_in(REAL));
            for format in [Format::Mermaid, Format::Dot, Format::Table] {
                assert!(!draw(&topology, format).is_empty());
            }
        }
    }
}

/// To count the lines before each fault anew would take minutes.
#[test]
fn a_large_file_of_nothing_but_faults_does_not_hang() {
    let start = Instant::now();
    let syntax = parse(&"a b c\n".repeat(400_000)).unwrap_err();
    assert_eq!((syntax.len(), syntax[399_999].line), (400_000, 400_000));
    let unknown: String = (0..400_000).map(|number| format!("k{number} = 1\n")).collect();
    let unknown = parse(&unknown).unwrap_err();
    assert_eq!(unknown.last().map(|finding| finding.line), Some(400_000));
    assert!(start.elapsed().as_secs() < 60, "{:?}", start.elapsed());
}

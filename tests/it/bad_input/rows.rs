//! Rows that are no report, or not one that counts, among good ones.

use super::{documented, good, rejected, total};
use merit::code::RULES;
use merit_core::{Datum, record};
use merit_tests::directory::{Directory, Profile};
use merit_tests::dump::of_topic;
use merit_tests::write;

/// What becomes of a row.
#[derive(Clone, Copy)]
enum Fate {
    /// It is refused by this rule.
    Rejected(&'static str),
    Accepted,
    Duplicate,
    /// It is accepted, and counts in no window.
    Late,
}
use Fate::{Accepted, Duplicate, Late, Rejected};

const TIME: &str = r#""timestamp":"2024-01-01T00:00:00Z""#;

/// A report of agent `x` with other fields than usual.
fn with(fields: &str) -> Vec<u8> {
    format!(r#"{{"agentId":"x","metrics":{{"m":0.5}},{TIME},{fields}}}"#).into()
}

fn metrics(metrics: &str) -> Vec<u8> {
    format!(r#"{{"agentId":"x","metrics":{metrics},{TIME}}}"#).into()
}

fn agent(agent: &str) -> Vec<u8> {
    format!(r#"{{{agent}"metrics":{{"m":0.5}},{TIME}}}"#).into()
}

fn at(time: &str) -> Vec<u8> {
    format!(r#"{{"agentId":"x","metrics":{{"m":0.5}},"timestamp":{time}}}"#).into()
}

/// An object of so many entries.
fn many(count: usize, value: &str) -> String {
    let entries: Vec<String> = (0..count).map(|number| format!(r#""n{number}":{value}"#)).collect();
    format!("{{{}}}", entries.join(","))
}

fn long(length: usize) -> String {
    "x".repeat(length)
}

fn json_rows() -> Vec<(&'static str, Vec<u8>, Fate)> {
    vec![
        ("no JSON", b"agentId=x".into(), Rejected("json_invalid")),
        ("an array", b"[1,2]".into(), Rejected("json_invalid")),
        ("a number", b"7".into(), Rejected("json_invalid")),
        ("null", b"null".into(), Rejected("json_invalid")),
        ("an empty object", b"{}".into(), Rejected("agent_id_missing")),
        ("cut off", br#"{"agentId":"x","metr"#.into(), Rejected("json_invalid")),
        ("two objects", [agent(r#""agentId":"x","#), agent(r#""agentId":"y","#)].concat(), Rejected("json_invalid")),
        ("a trailing comma", br#"{"agentId":"x",}"#.into(), Rejected("json_invalid")),
        ("single quotes", b"{'agentId':'x'}".into(), Rejected("json_invalid")),
        ("nesting without end", br#"{"metrics":"#.repeat(90_000), Rejected("metric_not_a_number")),
        ("brackets without end", b"[".repeat(100_000), Rejected("json_invalid")),
        ("wrong UTF-8", b"{\"agentId\":\"\xff\"}".into(), Rejected("utf8_invalid")),
        ("UTF-8 cut off", b"{\"agentId\":\"\xe2\x82\"}".into(), Rejected("utf8_invalid")),
        ("half a surrogate", agent(r#""agentId":"\ud800","#), Rejected("json_invalid")),
        ("a byte order mark in the middle", ["\u{feff}".as_bytes(), &agent(r#""agentId":"x","#)].concat(), Rejected("json_invalid")),
        ("NUL bytes", vec![0; 100], Rejected("json_invalid")),
        ("a control character in a string", b"{\"agentId\":\"a\x01b\"}".into(), Rejected("json_invalid")),
        ("a carriage return before the end", [agent(r#""agentId":"x","#), b"\r".into()].concat(), Accepted),
        ("a line of 100 MB", vec![b'x'; 100_000_000], Rejected("report_too_large")),
        ("10^6 tags", with(&format!(r#""tags":{}"#, many(1_000_000, r#""v""#))), Rejected("report_too_large")),
        ("10^6 metrics", metrics(&many(1_000_000, "1")), Rejected("report_too_large")),
        ("65 tags", with(&format!(r#""tags":{}"#, many(65, r#""v""#))), Rejected("tags_count")),
        ("65 metrics", metrics(&many(65, "1")), Rejected("metric_count")),
        ("17 metrics", metrics(&many(17, "1")), Rejected("metric_count")),
        ("17 metric names in a life", metrics(&many(16, "1")), Rejected("metric_names")),
        ("no metrics", br#"{"agentId":"x","timestamp":"2024-01-01T00:00:00Z"}"#.into(), Rejected("metrics_missing")),
        ("empty metrics", metrics("{}"), Rejected("metrics_missing")),
        ("metrics null", metrics("null"), Rejected("metrics_missing")),
        ("metrics a list", metrics("[0.5]"), Rejected("field_type")),
        ("a metric twice", metrics(r#"{"m":0.5,"m":0.6}"#), Rejected("key_duplicate")),
        ("a metric twice by an escape", metrics(r#"{"m":0.5,"\u006d":0.6}"#), Rejected("key_duplicate")),
        ("a metric without a name", metrics(r#"{"":0.5}"#), Rejected("metric_name_invalid")),
        ("a metric of a long name", metrics(&format!(r#"{{"{}":0.5}}"#, long(257))), Rejected("metric_name_invalid")),
        ("a number as a string", metrics(r#"{"m":"0.5"}"#), Rejected("metric_not_a_number")),
        ("a metric null", metrics(r#"{"m":null}"#), Rejected("metric_not_a_number")),
        ("a metric true", metrics(r#"{"m":true}"#), Rejected("metric_not_a_number")),
        ("NaN", metrics(r#"{"m":NaN}"#), Rejected("json_invalid")),
        ("-Infinity", metrics(r#"{"m":-Infinity}"#), Rejected("json_invalid")),
        ("a leading zero", metrics(r#"{"m":00.5}"#), Rejected("json_invalid")),
        ("minus zero", metrics(r#"{"m":-0}"#), Accepted),
        ("1e-400, which rounds to 0", metrics(r#"{"m":1e-400}"#), Accepted),
        ("a million digits", metrics(&format!(r#"{{"m":0.{}}}"#, "9".repeat(1_000_000))), Accepted),
        ("1e400", metrics(r#"{"m":1e400}"#), Rejected("metric_range")),
        ("a huge number", metrics(&format!(r#"{{"m":{}}}"#, "9".repeat(1_000_000))), Rejected("metric_range")),
        ("a number beyond a million", metrics(r#"{"m":1000000.000001}"#), Rejected("metric_range")),
        ("a metric outside its range", metrics(r#"{"m":1.000001}"#), Rejected("metric_range")),
        ("a metric below its range", metrics(r#"{"m":-0.000001}"#), Rejected("metric_range")),
        ("agentId missing", agent(""), Rejected("agent_id_missing")),
        ("agentId empty", agent(r#""agentId":"","#), Rejected("agent_id_missing")),
        ("agentId null", agent(r#""agentId":null,"#), Rejected("agent_id_missing")),
        ("agentId a number", agent(r#""agentId":7,"#), Rejected("field_type")),
        ("agentId too long", agent(&format!(r#""agentId":"{}","#, long(257))), Rejected("agent_id_invalid")),
        ("agentId by both names", agent(r#""agentId":"x","entityId":"x","#), Rejected("key_duplicate")),
        ("agentId of control characters", agent(r#""agentId":"\u0000\u001b[31m\n","#), Accepted),
        ("id empty, so none", with(r#""id":"""#), Accepted),
        ("id too long", with(&format!(r#""id":"{}""#, long(257))), Rejected("id_invalid")),
        ("id of control characters", with(r#""id":"\u0000\u001b""#), Accepted),
        ("id a number", with(r#""id":7"#), Rejected("field_type")),
        ("id taken", with(r#""id":"one""#), Accepted),
        ("id sent again", with(r#""id":"one""#), Duplicate),
        ("id reused", with(r#""id":"one","source":"other""#), Rejected("id_reused")),
        ("divisionId odd", with(r#""divisionId":"a/b:c\n%""#), Accepted),
        ("divisionId too long", with(&format!(r#""divisionId":"{}""#, long(257))), Rejected("division_id_invalid")),
        ("productId too long", with(&format!(r#""productId":"{}""#, long(257))), Rejected("product_id_invalid")),
        ("source of 900 KB", with(&format!(r#""source":"{}""#, long(900_000))), Accepted),
        ("source a list", with(r#""source":["s"]"#), Rejected("field_type")),
        ("an unknown field", with(r#""score":1"#), Rejected("field_unknown")),
        ("a field twice", with(r#""source":"a","source":"b""#), Rejected("key_duplicate")),
        ("a tag of a number", with(r#""tags":{"a":1}"#), Rejected("field_type")),
        ("a window unknown", with(r#""window":"90s""#), Rejected("window_unknown")),
        ("a window unknown in the tags", with(r#""tags":{"window":"2h"}"#), Rejected("window_unknown")),
        ("timestamp missing", br#"{"agentId":"x","metrics":{"m":0.5}}"#.into(), Rejected("timestamp_missing")),
        ("timestamp a number", at("1704067200000"), Rejected("timestamp_invalid")),
        ("timestamp of no day", at(r#""2024-02-30T00:00:00Z""#), Rejected("timestamp_invalid")),
        ("timestamp without an offset", at(r#""2024-01-01T00:00:00""#), Rejected("timestamp_invalid")),
        ("timestamp of 1900", at(r#""1900-01-01T00:00:00Z""#), Rejected("timestamp_invalid")),
        ("timestamp of 1970", at(r#""1970-01-01T00:00:00Z""#), Late),
        ("timestamp of 9999", at(r#""9999-12-31T23:59:59.999Z""#), Rejected("timestamp_future")),
        ("timestamp of 10000", at(r#""10000-01-01T00:00:00Z""#), Rejected("timestamp_invalid")),
    ]
}

/// Cells `a,t,m,n` of which `n` may be empty.
const MAPPING: &str = "agent = { column = 'a' }
source = { constant = 's' }
timestamp = { column = 't', format = 'unix_ms' }
[[metrics]]
name = 'm'
column = 'm'
[[metrics]]
name = 'n'
column = 'n'
skip_empty = true
";

fn csv_rows() -> Vec<(&'static str, Vec<u8>, Fate)> {
    vec![
        ("a column missing", b"x,1704067200000,1".into(), Rejected("csv_fields")),
        ("a column too many", b"x,1704067200000,1,,5".into(), Rejected("csv_fields")),
        ("another separator", b"x;1704067200000;1;".into(), Rejected("csv_fields")),
        ("a decimal comma", b"x,1704067200000,0,5,".into(), Rejected("csv_fields")),
        ("text behind a quote", b"\"x\"y,1704067200000,1,".into(), Rejected("csv_invalid")),
        ("a quoted decimal comma", b"x,1704067200000,\"0,5\",".into(), Rejected("metric_not_a_number")),
        ("no agent", b",1704067200000,1,".into(), Rejected("agent_id_missing")),
        ("only commas", b",,,".into(), Rejected("agent_id_missing")),
        ("an empty metric", b"x,1704067200000,,".into(), Rejected("metrics_missing")),
        ("an empty metric that may be", b"x,1704067200000,1,".into(), Accepted),
        ("carriage return and line end", b"x,1704067200000,1,\r".into(), Accepted),
        ("NaN", b"x,1704067200000,NaN,".into(), Rejected("metric_not_a_number")),
        ("inf", b"x,1704067200000,inf,".into(), Rejected("metric_not_a_number")),
        ("a blank before a number", b"x,1704067200000, 1,".into(), Rejected("metric_not_a_number")),
        ("a plus", b"x,1704067200000,+1,".into(), Rejected("metric_not_a_number")),
        ("1e400", b"x,1704067200000,1e400,".into(), Rejected("metric_range")),
        ("minus zero", b"x,1704067200000,-0,".into(), Accepted),
        ("wrong UTF-8", b"\xff,1704067200000,1,".into(), Rejected("utf8_invalid")),
        ("NUL in a name", b"x\0,1704067200000,1,".into(), Accepted),
        ("no timestamp", b"x,,1,".into(), Rejected("timestamp_missing")),
        ("a timestamp of text", b"x,yesterday,1,".into(), Rejected("timestamp_invalid")),
        ("a timestamp of 1900", b"x,-2208988800000,1,".into(), Rejected("timestamp_invalid")),
        ("a timestamp of 9999", b"x,253402300799999,1,".into(), Rejected("timestamp_future")),
        ("a timestamp of 30 digits", [b"x,", &*b"9".repeat(30), b",1,"].concat(), Rejected("timestamp_invalid")),
        ("a name of 257 bytes", format!("{},1704067200000,1,", long(257)).into(), Rejected("agent_id_invalid")),
        ("2 MiB", format!("{},1704067200000,1,", long(2 << 20)).into(), Rejected("report_too_large")),
    ]
}

#[test]
fn every_bad_row_of_json_meets_its_rule_and_the_good_ones_count() {
    let rows = json_rows();
    each_meets_its_fate(&rows, "input.jsonl", &good(0), good);
}

#[test]
fn every_bad_row_of_csv_meets_its_rule_and_the_good_ones_count() {
    let good = |second: usize| format!("good,{},0.5,", 1_704_067_200_000 + 1_000 * second);
    each_meets_its_fate(&csv_rows(), "input.csv", &format!("a,t,m,n\n{}", good(0)), good);
}

/// A quote that nobody closes takes what follows into its row: that row is refused, with all its bytes.
#[test]
fn an_unclosed_quote_is_one_row_with_all_that_follows() {
    let directory = Directory::new(Profile::Default);
    write(&directory.file("mapping.toml"), MAPPING);
    write(&directory.file("input.csv"), "a,t,m,n\ngood,1704067200000,1,\n\"x,1704067200000,1,\ny,1704067200000,1,\n");
    let flags = ["--mapping".into(), directory.file("mapping.toml")];
    let summary = directory.import([directory.file("input.csv")]).with(&flags).ok().json();
    assert_eq!((total(&summary, "accepted"), rejected(&directory)), (1, vec!["csv_invalid".to_string()]));
    let shown = directory.call(["rejected", "show", "0/0"]).run();
    let shown = if shown.code == Some(0) { shown } else { directory.call(["rejected", "list"]).ok() };
    assert!(shown.out.contains("csv_invalid"), "{}", shown.out);
}

/// What one row dated 9999 would do to all after it: the watermark would close behind it.
#[test]
fn a_row_of_the_future_makes_nothing_late_in_a_file_a_merge_or_a_sort() {
    let future = r#"{"agentId":"good","metrics":{"m":0.5},"timestamp":"9999-12-31T23:59:59.999Z"}"#;
    // Every 10,000 rows all partitions are told the time.
    let one: String = (0..12_000).map(|second| if second == 100 { format!("{future}\n") } else { good(second) + "\n" }).collect();
    let other: String = (0..2_000).map(|second| good(6 * second).replace("good", "other") + "\n").collect();
    for (files, flags) in
        [(&["one.jsonl"][..], &[][..]), (&["one.jsonl", "other.jsonl"], &[]), (&["one.jsonl", "other.jsonl"], &["--sort"])]
    {
        let directory = Directory::new(Profile::Default);
        write(&directory.file("one.jsonl"), &one);
        write(&directory.file("other.jsonl"), &other);
        let import = || directory.import(files.iter().map(|name| directory.file(name))).with(flags);
        let summary = import().ok().json();
        let accepted = 11_999 + if files.len() == 2 { 2_000 } else { 0 };
        assert_eq!(["accepted", "late", "rejected"].map(|class| total(&summary, class)), [accepted, 0, 1], "{files:?} {flags:?}");
        assert_eq!(summary["rejectedByRule"]["timestamp_future"], 1);
        assert_eq!(import().ok().json()["rows"], 0);
    }
}

/// The import takes every row, each into its class, and a second time none.
fn each_meets_its_fate(rows: &[(&str, Vec<u8>, Fate)], name: &str, first: &str, good: impl Fn(usize) -> String) {
    let directory = Directory::new(Profile::Default);
    let mut input = first.as_bytes().to_vec();
    for (number, (_, row, _)) in rows.iter().enumerate() {
        input.extend([b"\n", &**row, b"\n", good(number + 1).as_bytes()].concat());
    }
    write(&directory.file(name), input);
    write(&directory.file("mapping.toml"), MAPPING);
    let import = || directory.import([directory.file(name)]).with(["--mapping".into(), directory.file("mapping.toml")]);
    let summary = import().ok().json();
    let rule = |fate: Fate| if let Rejected(rule) = fate { Some(rule) } else { None };
    let mut rules: Vec<&str> = rows.iter().filter_map(|(.., fate)| rule(*fate)).collect();
    rules.sort_unstable();
    assert_eq!(rejected(&directory), rules);
    rules.iter().for_each(|rule| assert_eq!(documented(RULES, rule).exit, 0));
    let count = |wanted: fn(&Fate) -> bool| rows.iter().filter(|(.., fate)| wanted(fate)).count() as u64;
    let (good, duplicate, late) = (rows.len() as u64 + 1, count(|fate| matches!(fate, Duplicate)), count(|fate| matches!(fate, Late)));
    let accepted = good + late + count(|fate| matches!(fate, Accepted));
    let found = ["accepted", "duplicate", "rejected", "late"].map(|class| total(&summary, class));
    assert_eq!(found, [accepted, duplicate, rules.len() as u64, late]);
    assert_eq!(summary["rows"], good + rows.len() as u64);
    assert_eq!(import().ok().json()["rows"], 0, "a second import takes nothing");
    assert_eq!(directory.replay().code, Some(0));
    directory.call(["audit", "verify"]).ok();
    // What could not be read is kept as it came.
    let dump = directory.dump();
    for entry in of_topic(&dump, "eval.rejected") {
        let record = record::Rejected::decode(&entry.payload).expect("a Rejected");
        let came = rows.iter().any(|(_, row, _)| row.starts_with(record.bytes));
        assert!(came || record.record_type == "EvalReport", "{} of {} bytes came from nowhere", record.rule, record.bytes.len());
    }
}

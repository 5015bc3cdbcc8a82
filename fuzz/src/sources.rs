//! What people give Merit: reports as JSON lines and CSV, and the three TOML files.

use merit::registry;
use merit_core::record::EvalReport;
use merit_core::{Datum, EventTime};
use merit_runtime::layout::Layout;
use merit_sources::report::MAX_ITEMS;
use merit_sources::{CsvReports, JsonReports, Mapping, Outcome, RULES, Source, SourceError, Unreadable};
use merit_topology::{Finding, Format, ProcessorCode, Topology};
use serde_json::{Map, Value, json};
use std::io::Cursor;
use std::sync::{Arc, LazyLock};

/// Sets every field, so that a reader which forgets to clear one is found.
const FULL_LINE: &[u8] = br#"{"id":"i","agentId":"a","divisionId":"d","productId":"p","source":"s","window":"7d",
    "timestamp":"2025-01-17T18:00:00Z","metrics":{"m":1,"n":2},"tags":{"window":"24h","t":"u"}}"#;

/// What the program holds, told once.
static CODES: LazyLock<Vec<ProcessorCode>> = LazyLock::new(registry::codes);

/// Bytes as one line of JSON and as a file of such lines, plain or gzip.
///
/// A line that becomes a report is JSON, gives the same report when it is written again, and does not depend on the line before it;
/// what is refused as `json_invalid` is no JSON object.
pub fn json(bytes: &[u8]) -> bool {
    let (mut fresh, mut used) = (JsonReports::default(), JsonReports::default());
    used.parse(FULL_LINE).expect("a report");
    let read = fresh.parse(bytes);
    assert_eq!(read, used.parse(bytes));
    let object = serde_json::from_slice::<Map<String, Value>>(bytes).is_ok();
    match &read {
        Ok(report) => {
            // Numbers that no double holds are refused by serde_json and fit here.
            assert!(serde_json::from_slice::<Box<serde_json::value::RawValue>>(bytes).is_ok());
            keeps_its_promises(report);
        }
        Err(fault) => {
            is_named(fault);
            assert!(!(object && fault.rule.name == "json_invalid"), "{}", fault.detail);
        }
    }
    read.is_ok() | file(bytes, None)
}

/// A mapping file, a zero byte, and a CSV file to be read by it.
pub fn csv(bytes: &[u8]) -> bool {
    let mut parts = bytes.splitn(2, |byte| *byte == 0);
    let mapping = parts.next().and_then(|text| std::str::from_utf8(text).ok()).and_then(|text| Mapping::parse(text).ok());
    mapping.zip(parts.next()).is_some_and(|(mapping, rows)| file(rows, Some(&Arc::new(mapping))))
}

/// A mapping file. Each column that it names is found in a header of them all, and any row under it is a report or breaks a rule.
pub fn mapping(bytes: &[u8]) -> bool {
    let Ok(text) = std::str::from_utf8(bytes) else { return false };
    let mapping = match Mapping::parse(text) {
        Ok(mapping) => Arc::new(mapping),
        Err(problems) => {
            stand_on_lines(text, &problems);
            return false;
        }
    };
    assert_eq!(mapping.text(), text);
    let cells = |cell: &dyn Fn(&String) -> String| {
        let quoted = |column| format!("\"{}\"", cell(column).replace('"', "\"\""));
        mapping.columns().iter().map(quoted).collect::<Vec<String>>().join(",")
    };
    let mut reports = CsvReports::new(Arc::clone(&mapping), cells(&String::clone).as_bytes()).expect("a header with every column");
    for cell in ["1", "0.5", "", "2024-11-15 16:57:50", "2025-01-17T18:00:00Z", "x"] {
        match reports.parse(cells(&|_| cell.to_owned()).as_bytes()) {
            Ok(report) => drop(keeps_its_promises(&report)),
            Err(fault) => is_named(&fault),
        }
    }
    true
}

/// A pools file. Pools that are read have names of their own and quotas within their capacity.
pub fn pools(bytes: &[u8]) -> bool {
    let Ok(text) = std::str::from_utf8(bytes) else { return false };
    let pools = match merit_sources::pools::parse(text) {
        Ok(pools) => pools,
        Err(problems) => {
            stand_on_lines(text, &problems);
            return false;
        }
    };
    for (at, pool) in pools.iter().enumerate() {
        assert!(!pool.name.is_empty() && pools[..at].iter().all(|other| other.name != pool.name));
        assert!(pool.quotas.is_sorted_by(|one, other| one.division < other.division));
        assert!(pool.quotas.iter().map(|quota| u128::from(quota.nominal)).sum::<u128>() <= u128::from(pool.capacity));
        assert!(i64::try_from(pool.capacity).is_ok());
    }
    true
}

/// A topology file. What can be read can be checked and drawn; what passes the check can be laid out.
pub fn topology(bytes: &[u8]) -> bool {
    let Ok(text) = std::str::from_utf8(bytes) else { return false };
    let topology = match merit_topology::parse(text) {
        Ok(topology) => topology,
        Err(findings) => {
            stand_in_order(text, &findings);
            return false;
        }
    };
    let findings = merit_topology::check(&topology, &CODES);
    if findings.is_empty() {
        lay_out(&topology);
    } else {
        stand_in_order(text, &findings);
    }
    findings.is_empty()
}

fn lay_out(topology: &Topology) {
    for format in [Format::Mermaid, Format::Dot, Format::Table] {
        assert!(!merit_topology::draw(topology, format).is_empty());
    }
    let layout = Layout::new(topology, &registry::registered());
    assert!(!layout.tasks.is_empty() && layout.tasks.len() <= layout.partitions.len());
}

/// A file of rows, taken whole, and taken in two parts as a killed import does.
fn file(bytes: &[u8], mapping: Option<&Arc<Mapping>>) -> bool {
    let open = || Source::from_reader("file", Cursor::new(bytes.to_vec()), mapping, None);
    let mut source = match open() {
        Ok(source) => source,
        Err(error) => return !is_known(&error),
    };
    let whole = take(&mut source, usize::MAX);
    let mut first = open().expect("opened before");
    let mut rows = take(&mut first, whole.len() / 2);
    let position = first.position();
    let mut second = open().expect("opened before");
    second.resume(&position).expect("the same rows");
    rows.extend(take(&mut second, usize::MAX));
    assert_eq!(rows, whole);
    assert_eq!(second.position(), source.position());
    rows.iter().any(|row| row.is_ok())
}

/// Up to so many rows: reports as they are encoded, and the rules that others break.
fn take(source: &mut Source, most: usize) -> Vec<Result<Vec<u8>, String>> {
    let mut rows = Vec::new();
    while rows.len() < most {
        match source.take() {
            Ok(Some(outcome)) => rows.push(outcome_of(outcome)),
            Ok(None) => break,
            Err(error) => {
                assert!(is_known(&error));
                break;
            }
        }
    }
    rows
}

fn outcome_of(outcome: Outcome<'_>) -> Result<Vec<u8>, String> {
    match outcome {
        Ok(report) => Ok(keeps_its_promises(&report)),
        Err((fault, row)) => {
            is_named(&fault);
            assert!(!row.is_empty());
            Err(format!("{}: {}", fault.rule, fault.detail))
        }
    }
}

fn keeps_its_promises(report: &EvalReport<'_>) -> Vec<u8> {
    assert!(!report.agent_id.is_empty());
    assert!((1..=MAX_ITEMS).contains(&report.metrics.len()) && report.tags.len() <= MAX_ITEMS);
    assert!((EventTime::EPOCH..=EventTime::LATEST).contains(&report.timestamp));
    let mut encoded = Vec::new();
    report.put(&mut encoded);
    assert_eq!(Datum::decode(&encoded).as_ref(), Some(report));
    assert_eq!(JsonReports::default().parse(line_of(report).as_bytes()).as_ref(), Ok(report));
    encoded
}

/// A report as a line of JSON.
fn line_of(report: &EvalReport<'_>) -> String {
    let text = |name: &str, text: &str| format!("{}:{}", json!(name), json!(text));
    let time = report.timestamp.to_string();
    let texts = [
        ("id", report.id),
        ("agentId", Some(report.agent_id)),
        ("divisionId", report.division_id),
        ("productId", report.product_id),
        ("source", Some(report.source)),
        ("timestamp", Some(&time)),
        ("window", report.window),
    ];
    let metrics: Vec<String> = report.metrics.iter().map(|metric| format!("{}:{}", json!(metric.name), metric.value)).collect();
    let tags: Vec<String> = report.tags.iter().map(|tag| text(tag.name, tag.value)).collect();
    let texts: Vec<String> = texts.into_iter().filter_map(|(name, value)| Some(text(name, value?))).collect();
    format!("{{{},\"metrics\":{{{}}},\"tags\":{{{}}}}}", texts.join(","), metrics.join(","), tags.join(","))
}

fn is_named(fault: &Unreadable) {
    assert!(RULES.contains(&fault.rule), "{} is in no table", fault.rule);
    assert!(fault.detail.len() <= 2_048, "a detail of {} bytes", fault.detail.len());
}

/// Errors that bytes alone can cause.
fn is_known(error: &SourceError) -> bool {
    matches!(error, SourceError::Read { .. } | SourceError::CutShort { .. } | SourceError::HeaderDiffers { .. })
}

/// Problems of the form `line 3: ...`, in the order of the text.
fn stand_on_lines(text: &str, problems: &[String]) {
    let line = |problem: &String| problem.strip_prefix("line ")?.split_once(": ")?.0.parse::<usize>().ok();
    let lines: Vec<usize> = problems.iter().map(|problem| line(problem).expect("a line")).collect();
    are_lines_of(text, &lines);
}

fn stand_in_order(text: &str, findings: &[Finding]) {
    are_lines_of(text, &findings.iter().map(|finding| finding.line).collect::<Vec<usize>>());
    assert!(findings.iter().all(|finding| !finding.message.is_empty()));
}

fn are_lines_of(text: &str, lines: &[usize]) {
    let last = 1 + text.bytes().filter(|byte| *byte == b'\n').count();
    assert!(!lines.is_empty() && lines.is_sorted() && lines.iter().all(|line| (1..=last).contains(line)), "{lines:?} of {last}");
}

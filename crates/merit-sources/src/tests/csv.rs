use super::line;
use crate::{CsvReports, MAX_ROW, Mapping};
use proptest::prelude::*;
use std::sync::Arc;

const MAPPING: &str = r#"
agent = { column = "agent" }
source = { constant = "s" }
division = { column = "division" }
product = { constant = "p" }
window = { constant = "24h" }
timestamp = { column = "time", format = "unix_ms" }
id = { columns = ["agent", "time"] }

[[metrics]]
name = "success"
column = "status"
equals = "OK"

[[metrics]]
name = "speed"
column = "seconds"
zero_at = 120
one_at = 0

[[metrics]]
name = "rating"
column = "stars"
zero_at = 1
one_at = 5.5
skip_empty = true

[[metrics]]
name = "seconds"
column = "seconds"
"#;

const HEADER: &[u8] = b"note,agent,division,time,status,seconds,stars";

fn mapping() -> Arc<Mapping> {
    Arc::new(Mapping::parse(MAPPING).expect("a mapping"))
}

fn read(row: &[u8]) -> String {
    let mut reports = CsvReports::new(mapping(), HEADER).expect("the header fits");
    reports.parse(row).map(|report| line(&report)).unwrap_or_else(|fault| fault.rule.name.into())
}

#[test]
fn rows_become_reports_or_break_a_rule() {
    for (row, expected) in [
        ("n,a,d,5,OK,30,3.25", "a 5 success=1 speed=0.75 rating=0.5 seconds=30"),
        ("n,a,d,5,FAILED,30,", "a 5 success=0 speed=0.75 seconds=30"), // an empty cell that may be skipped
        (r#""x, ""y""",a,d,5,OK,0,1"#, "a 5 success=1 speed=1 rating=0 seconds=0"),
        (r#"n,"a, b",d,"5",OK,"12",1"#, "a, b 5 success=1 speed=0.9 rating=0 seconds=12"),
        ("n,a \"b\",d,5,OK,12,1", "a \"b\" 5 success=1 speed=0.9 rating=0 seconds=12"), // quotes within a plain cell are text
        // The line is held within 0 to 1, and rounded half away from zero.
        ("n,a,d,5,OK,121,9", "a 5 success=1 speed=0 rating=1 seconds=121"),
        ("n,a,d,5,OK,-1,0", "a 5 success=1 speed=1 rating=0 seconds=-1"),
        ("n,a,d,5,OK,40,4", "a 5 success=1 speed=0.666667 rating=0.666667 seconds=40"),
        ("n,a,d,5,OK,119.99994,1", "a 5 success=1 speed=0.000001 rating=0 seconds=119.99994"), // 0.0000005
        ("n,,d,5,OK,30,1", "agent_id_missing"),
        ("n,,d,,,,", "agent_id_missing"), // before all else that is missing
        ("n,a,d,,OK,30,1", "timestamp_missing"),
        ("n,a,d,x,OK,30,1", "timestamp_invalid"),
        ("n,a,d,-5,OK,30,1", "timestamp_invalid"),
        ("n,a,d,5,,30,1", "metrics_missing"),
        ("n,a,d,5,OK,,1", "metrics_missing"),
        ("n,a,d,5,OK,x,1", "metric_not_a_number"),
        ("n,a,d,5,OK,NaN,1", "metric_not_a_number"),
        ("n,a,d,5,OK, 30,1", "metric_not_a_number"),
        ("n,a,d,5,OK,1e99,1", "metric_range"),
        ("n,a,d,5,OK,30", "csv_fields"),
        ("n,a,d,5,OK,30,1,", "csv_fields"),
        ("n,\"a,d,5,OK,30,1", "csv_invalid"),
        ("n,\"a\"b,d,5,OK,30,1", "csv_invalid"),
    ] {
        assert_eq!(read(row.as_bytes()), expected, "{row}");
    }
    assert_eq!(read(b"n,\xff,d,5,OK,30,1"), "utf8_invalid");
    assert_eq!(read(&vec![b'x'; MAX_ROW + 1]), "report_too_large");
}

#[test]
fn texts_come_from_columns_and_constants() {
    let mut reports = CsvReports::new(mapping(), HEADER).expect("the header fits");
    for (agent, division, id) in [("a", "d", Some("a/5")), ("a/b%", "", Some("a%2Fb%25/5"))] {
        let row = format!("n,{agent},{division},5,OK,30,1");
        let report = reports.parse(row.as_bytes()).expect("a report");
        assert_eq!((report.id, report.division_id), (id, Some(division).filter(|text| !text.is_empty())));
        assert_eq!((report.source, report.product_id, report.window, report.tags.len()), ("s", Some("p"), Some("24h"), 0));
    }
}

#[test]
fn a_header_must_have_each_column_once() {
    for (header, problems) in [
        ("agent,division,time,status,seconds,stars", &[][..]),
        ("agent,division,time,status", &["no column \"seconds\"", "no column \"stars\""]),
        ("agent,agent,division,time,status,seconds,stars", &["\"agent\" twice"]),
        ("x,x,agent,division,time,status,seconds,stars", &[]), // nobody asks for x
        ("\"agent", &["the header"]),
    ] {
        let found = CsvReports::new(mapping(), header.as_bytes()).err().unwrap_or_default();
        assert_eq!(found.len(), problems.len(), "{header}: {found:?}");
        assert!(found.iter().zip(problems).all(|(found, expected)| found.contains(expected)), "{header}: {found:?}");
    }
}

proptest! {
    /// Whatever crate csv writes is read back cell by cell: the agent is the second of three.
    #[test]
    fn cells_are_read_as_crate_csv_writes_them(cells in proptest::array::uniform3("[a-c,\"\r\n é]{0,6}")) {
        let mut writer = csv::WriterBuilder::new().terminator(csv::Terminator::Any(b'\n')).from_writer(Vec::new());
        writer.write_record([&cells[0], &format!("x{}", cells[1]), &cells[2], "7", "1"]).expect("in memory");
        let row = writer.into_inner().expect("in memory");
        let text = "agent = { column = \"b\" }\nsource = { column = \"a\" }\ndivision = { column = \"c\" }\ntimestamp = { column = \"t\", format = \"unix_ms\" }\n[[metrics]]\nname = \"m\"\ncolumn = \"m\"";
        let mut reports = CsvReports::new(Arc::new(Mapping::parse(text).expect("a mapping")), b"a,b,c,t,m").expect("the header fits");
        let report = reports.parse(row.strip_suffix(b"\n").expect("a line")).map_err(|fault| TestCaseError::fail(fault.detail))?;
        prop_assert_eq!([report.source, &report.agent_id[1..], report.division_id.unwrap_or("")], [&cells[0], &cells[1], &cells[2]].map(String::as_str));
    }

    #[test]
    fn no_row_panics(row: Vec<u8>) {
        read(&row);
    }
}

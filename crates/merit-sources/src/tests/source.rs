use super::{gzip, line};
use crate::{MAX_ROW, Mapping, Position, Source, SourceError};
use merit_core::{Digest, Duration, EventTime};
use proptest::prelude::*;
use sha2::{Digest as _, Sha256};
use std::io::{Cursor, Read};
use std::path::Path;
use std::sync::Arc;

fn mapping() -> Arc<Mapping> {
    let text = "agent = { column = 'a' }\nsource = { constant = 's' }\ntimestamp = { column = 't', format = 'unix_ms' }\n[[metrics]]\nname = 'm'\ncolumn = 'm'\n";
    Arc::new(Mapping::parse(text).expect("a mapping"))
}

fn report(agent: &str, millis: u32) -> String {
    format!(r#"{{"agentId":"{agent}","metrics":{{"m":1}},"timestamp":"1970-01-01T00:00:00.{millis:03}Z"}}"#)
}

fn json(bytes: impl Into<Vec<u8>>) -> Source {
    Source::from_reader("test", Cursor::new(bytes.into()), None, None).expect("opens")
}

/// What a row shows: its report in one line, or its rule and raw length.
fn shown(outcome: crate::Outcome<'_>) -> String {
    match outcome {
        Ok(report) => line(&report),
        Err((fault, raw)) => format!("{} {}", fault.rule.name, raw.len()),
    }
}

fn all(source: &mut Source) -> Result<Vec<String>, SourceError> {
    let mut rows = Vec::new();
    while let Some(outcome) = source.take()? {
        rows.push(shown(outcome));
    }
    Ok(rows)
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// The running digest as it is defined.
fn digest(rows: &[&str]) -> Digest {
    rows.iter().fold(Sha256::new(), |digest, row| digest.chain_update((row.len() as u32).to_be_bytes()).chain_update(row)).finalize().into()
}

#[test]
fn rows_end_where_lines_end() {
    let (a, b) = (report("a", 1), report("b", 2));
    let expected = ["a 1 m=1", "b 2 m=1"];
    for text in [
        format!("{a}\n{b}\n"),
        format!("{a}\n{b}"),
        format!("{a}\r\n{b}\r\n"),
        format!("\u{feff}{a}\n{b}\n"),
        format!("\n\n{a}\n \t\r\n{b}\n\n"),
        format!("\u{feff}\n{a}\n{b}"),
    ] {
        for bytes in [text.clone().into_bytes(), gzip(text.as_bytes()), [gzip(&text.as_bytes()[..7]), gzip(&text.as_bytes()[7..])].concat()]
        {
            let mut source = json(bytes);
            assert_eq!(all(&mut source).expect("read"), expected, "{text:?}");
            assert_eq!(source.position(), Position { name: hex(&Sha256::digest(a.clone() + "\0")), rows: 2, digest: digest(&[&a, &b]) });
        }
    }
}

#[test]
fn an_empty_input_has_no_rows() {
    let named = hex(&Sha256::digest("\0"));
    for bytes in [vec![], b"\n".to_vec(), b"\r\n\r\n".to_vec(), "\u{feff}".as_bytes().to_vec(), gzip(b"")] {
        let mut source = json(bytes);
        assert_eq!(all(&mut source).expect("read"), [""; 0]);
        assert_eq!(source.position(), Position { name: named.clone(), rows: 0, digest: digest(&[]) });
    }
    for text in ["", "\n", "a,t,m", "a,t,m\n\n"] {
        let mut source = Source::from_reader("test", Cursor::new(text), Some(&mapping()), None).expect("opens");
        assert_eq!(all(&mut source).expect("read"), [""; 0]);
    }
}

#[test]
fn csv_records_go_on_between_quotes() {
    for (text, expected) in [
        ("a,t,m\nx,1,2\ny,3,4\n", &["x 1 m=2", "y 3 m=4"][..]),
        ("\u{feff}a,t,m\r\nx,1,2\r\n\r\ny,3,4", &["x 1 m=2", "y 3 m=4"]),
        ("\u{feff}\"a\",t,m\nx,1,2\n", &["x 1 m=2"]),
        ("n,a,t,m\n\"one\ntwo, \"\"three\"\"\n\nfour\",x,1,2\n5\" tall,y,3,4\n", &["x 1 m=2", "y 3 m=4"]),
        ("n,a,t,m\n\"never closed,x,1,2\nlost,y,3,4\n", &["csv_invalid 30"]),
        ("a,t,m\nx,1\ny,3,4\n", &["csv_fields 3", "y 3 m=4"]),
    ] {
        let mut source = Source::from_reader("test", Cursor::new(text), Some(&mapping()), None).expect("opens");
        assert_eq!(all(&mut source).expect("read"), expected, "{text:?}");
    }
}

#[test]
fn a_csv_source_is_known_by_its_header_rows_and_mapping() {
    let mapping = mapping();
    let mut source = Source::from_reader("test", Cursor::new("a,t,m\nx,1,2\n\"y\",3,4\n"), Some(&mapping), None).expect("opens");
    all(&mut source).expect("read");
    let name = hex(&Sha256::digest(format!("x,1,2\0{}", mapping.text())));
    assert_eq!(source.position(), Position { name, rows: 2, digest: digest(&["a,t,m", "x,1,2", "\"y\",3,4"]) });
    let given = Source::from_reader("test", Cursor::new("a,t,m\nx,1,2\n"), Some(&mapping), Some("mine")).expect("opens");
    assert_eq!(given.name(), "mine");
}

#[test]
fn a_row_too_long_is_one_row_and_takes_no_memory() {
    let after = report("a", 1);
    for length in [MAX_ROW - 1, MAX_ROW, MAX_ROW + 1, MAX_ROW + 2, MAX_ROW + 5, MAX_ROW + 6, MAX_ROW + 7, 3 * MAX_ROW] {
        let expected = if length > MAX_ROW { "report_too_large 4096".into() } else { format!("json_invalid {length}") };
        for end in ["\n", "\r\n"] {
            let mut source = json([&b"x".repeat(length)[..], end.as_bytes(), after.as_bytes()].concat());
            assert_eq!(all(&mut source).expect("read"), [&expected, "a 1 m=1"], "{length} {end:?}");
            assert!(source.row_capacity() <= 2 * (MAX_ROW + 8), "{}", source.row_capacity());
        }
    }
    // A quote that is never closed costs the rows of a MiB, not the file.
    let rows = "y,3,4\n".repeat(MAX_ROW / 6 + 2);
    let mut source =
        Source::from_reader("test", Cursor::new(format!("a,t,m\n\"x,1,2\n{rows}z,5,6\n")), Some(&mapping()), None).expect("opens");
    let read = all(&mut source).expect("read");
    assert_eq!((read[0].as_str(), read.last().map(String::as_str)), ("report_too_large 4096", Some("z 5 m=6")));
}

#[test]
fn a_packed_file_cut_short_names_the_rows_before_the_cut() {
    let rows: String = (0..2_000).map(|at| report(&format!("agent-{}", at * 7_919 % 2_003), at % 1_000) + "\n").collect();
    let packed = gzip(rows.as_bytes());
    let mut found = Vec::new();
    for cut in [1, 2, 5, 10, 20, packed.len() / 2, packed.len() - 9, packed.len() - 1] {
        let source = Source::from_reader("cut.gz", Cursor::new(packed[..cut].to_vec()), None, None);
        let fault = source.and_then(|mut source| all(&mut source));
        match (cut, fault) {
            (1, Ok(rows)) => assert_eq!(rows, ["json_invalid 1"]), // half of what gzip starts with is not gzip
            (_, Err(SourceError::CutShort { path, rows })) => {
                assert_eq!(path, "cut.gz");
                found.push(rows);
            }
            (_, other) => panic!("{cut}: {other:?}"),
        }
    }
    assert!(found.is_sorted(), "{found:?}");
    assert_eq!((found[0], found[6]), (0, 2_000)); // only the checksum is cut
    assert!(0 < found[4] && found[4] < 2_000, "{found:?}");
}

#[test]
fn what_cannot_be_opened_says_why() {
    let directory = tempfile::tempdir().expect("a directory");
    let file = |name: &str, bytes: &[u8]| {
        let path = directory.path().join(name);
        std::fs::write(&path, bytes).expect("written");
        path
    };
    let code = |path: &Path| Source::open(path, None, None).err().map(|fault| (fault.code().name, fault.to_string()));
    let missing = directory.path().join("missing.jsonl");
    assert_eq!(code(&missing), Some(("source_open", format!("could not open {:?}", missing.display().to_string()))));
    assert_eq!(code(directory.path()).map(|(code, _)| code), Some("source_open"));
    assert_eq!(code(&file("a.csv", b"a,t,m\n")).map(|(code, _)| code), Some("mapping_missing"));
    assert_eq!(code(&file("a.csv.gz", b"a,t,m\n")).map(|(code, _)| code), Some("mapping_missing"));
    assert_eq!(code(&file("bad.json.gz", b"\x1f\x8bnothing like gzip follows")).map(|(code, _)| code), Some("source_read"));
    let header = Source::open(&file("b.csv", b"a,t\n"), Some(&mapping()), None).err().map(|fault| fault.to_string());
    assert!(header.is_some_and(|text| text.ends_with("by its mapping: the header has no column \"m\"")));
}

#[test]
fn the_extension_else_the_mapping_says_what_a_file_is() {
    let directory = tempfile::tempdir().expect("a directory");
    let lines = report("j", 1);
    let records = "a,t,m\nc,2,3\n";
    for (name, text, with_mapping, expected) in [
        ("a.jsonl", lines.as_str(), true, "j 1 m=1"),
        ("a.ndjson", &lines, false, "j 1 m=1"),
        ("a.json.gz", &lines, true, "j 1 m=1"), // gzip is known by its bytes, so a plain file of that name is read too
        ("a.csv", records, true, "c 2 m=3"),
        ("a.txt", records, true, "c 2 m=3"),
        ("a", &lines, false, "j 1 m=1"),
    ] {
        let path = directory.path().join(name);
        std::fs::write(&path, text).expect("written");
        let mapping = mapping();
        let mut source = Source::open(&path, with_mapping.then_some(&mapping), None).expect(name);
        assert_eq!(all(&mut source).expect("read"), [expected], "{name}");
        assert_eq!(source.progress(), (text.len() as u64, Some(text.len() as u64)));
    }
}

/// Gives a byte at a time, as a slow pipe may.
struct Drip(Cursor<Vec<u8>>);

impl Read for Drip {
    fn read(&mut self, buffer: &mut [u8]) -> std::io::Result<usize> {
        let length = buffer.len().min(1);
        self.0.read(&mut buffer[..length])
    }
}

#[test]
fn a_pipe_may_give_a_byte_at_a_time() {
    let text = format!("\u{feff}{}\r\n{}", report("a", 1), report("b", 2));
    for bytes in [text.clone().into_bytes(), gzip(text.as_bytes())] {
        let mut source = Source::from_reader("stdin", Drip(Cursor::new(bytes)), None, None).expect("opens");
        assert_eq!(all(&mut source).expect("read"), ["a 1 m=1", "b 2 m=1"]);
        assert_eq!(source.progress().1, None);
    }
}

#[test]
fn other_rows_than_were_taken_are_refused() {
    let rows = [report("a", 1), "garbage".into(), report("b", 2), report("c", 3)];
    let mut first = json(rows.join("\n"));
    for _ in 0..2 {
        first.take().expect("read");
    }
    let position = first.position();
    let resumed = |rows: &[String]| {
        let mut source = json(rows.join("\n"));
        source.resume(&position).map(|()| all(&mut source).expect("read"))
    };
    assert_eq!(resumed(&rows).expect("the same"), ["b 2 m=1", "c 3 m=1"]);
    assert_eq!(resumed(&rows[..3]).expect("the same so far"), ["b 2 m=1"]);
    assert_eq!(resumed(&rows[..2]).expect("the same so far"), [""; 0]);
    let other = |at: usize, text: &str| {
        let mut rows = rows.to_vec();
        rows[at] = text.into();
        resumed(&rows).err().map(|fault| fault.code().name)
    };
    assert_eq!(other(1, "garbagf"), Some("source_differs"));
    assert_eq!(other(0, &report("A", 1)), Some("source_differs"));
    assert_eq!(other(2, "not taken yet"), None);
    assert_eq!(resumed(&rows[..1]).err().map(|fault| fault.code().name), Some("source_differs")); // shorter
    assert_eq!(resumed(&rows[1..]).err().map(|fault| fault.code().name), Some("source_differs"));
}

#[test]
fn sorted_rows_come_by_time_and_keep_their_order_within_one() {
    let rows = [report("a", 5), "bad-1".into(), report("b", 2), "bad-22".into(), report("c", 5), report("d", 1)];
    let mut source = json(format!("first\n{}", rows.join("\n")));
    source.sort().expect("read");
    let sorted = ["json_invalid 5", "d 1 m=1", "b 2 m=1", "json_invalid 6", "a 5 m=1", "json_invalid 5", "c 5 m=1"];
    assert_eq!(all(&mut source).expect("read"), sorted);
    assert_eq!(source.position().digest, digest(&["first", &rows[5], &rows[2], "bad-22", &rows[0], "bad-1", &rows[4]]));
    assert_eq!(source.name(), hex(&Sha256::digest("first\0"))); // the file's first row, sorted or not
}

proptest! {
    /// A source that stops at any row and is resumed gives the rows and the position of one that does not stop.
    #[test]
    fn resumed_at_any_row_the_stream_is_the_same(
        rows in proptest::collection::vec(prop_oneof![4 => (0..20_u32).prop_map(|at| report("a", at)), 1 => Just("bad".to_string())], 1..12),
        sort: bool,
        packed: bool,
    ) {
        let text = rows.join("\n");
        let open = || {
            let mut source = json(if packed { gzip(text.as_bytes()) } else { text.clone().into_bytes() });
            if sort { source.sort().expect("read") }
            source
        };
        let mut whole = open();
        let mut positions = vec![whole.position()];
        let mut taken = Vec::new();
        while let Some(time) = whole.peek().expect("read") {
            taken.push((time, shown(whole.take().expect("read").expect("a row"))));
            positions.push(whole.position());
        }
        prop_assert_eq!(taken.len(), rows.len());
        for (at, position) in positions.iter().enumerate() {
            let mut source = open();
            source.resume(position).expect("the same rows");
            prop_assert_eq!(&source.position(), position);
            for expected in &taken[at..] {
                let time = source.peek().expect("read").expect("a row");
                prop_assert_eq!(&(time, shown(source.take().expect("read").expect("a row"))), expected);
            }
            prop_assert!(source.take().expect("read").is_none());
            prop_assert_eq!(&source.position(), &positions[rows.len()]);
        }
    }
}

#[test]
fn rows_from_the_future_are_refused_and_lend_no_time() {
    let now = i64::try_from(std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).expect("after 1970").as_millis());
    let at = |millis: i64| format!("{{\"agentId\":\"a\",\"metrics\":{{\"m\":1}},\"timestamp\":\"{}\"}}\n", EventTime(millis));
    let (hour, now) = (3_600_000, now.expect("before 292 million years"));
    let text: String = [now + 2 * hour, 5, EventTime::LATEST.0, now + hour / 2, 7].map(at).concat();
    let read = |sort: bool| {
        let mut source = json(text.as_str());
        source.refuse_future(Duration(hour));
        if sort {
            source.sort().expect("reads");
        }
        let mut found = Vec::new();
        while let Some(time) = source.peek().expect("reads") {
            let outcome = source.take().expect("reads").expect("a row");
            found.push((time.0, outcome.map_or_else(|(fault, _)| fault.rule.name, |_| "")));
        }
        found
    };
    let (future, soon) = ("timestamp_future", now + hour / 2);
    assert_eq!(read(false), [(EventTime::MIN.0, future), (5, ""), (5, future), (soon, ""), (7, "")]);
    assert_eq!(read(true), [(EventTime::MIN.0, future), (5, ""), (5, future), (7, ""), (soon, "")]);
}

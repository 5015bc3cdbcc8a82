//! Files that are damaged, or no files.

use super::{failed, good, import, rejected, total};
use flate2::{Compression, write::GzEncoder};
use merit_tests::directory::{Directory, Profile};
use merit_tests::dump::assert_equal;
use merit_tests::write;
use std::io::Write;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::PathBuf;
use std::process::Command;

const MAPPING: &str = "agent = { column = 'a' }
source = { constant = 's' }
timestamp = { column = 't', format = 'unix_ms' }
metrics = [{ name = 'm', column = 'm' }]
";

/// How an import of a file ends: the rows accepted and rules broken, or the code and the rows kept.
#[derive(Clone, Copy)]
enum End {
    Done(u64, &'static [&'static str]),
    Failed(&'static str, u64),
}
use End::{Done, Failed};

fn gzip(bytes: &[u8]) -> Vec<u8> {
    let mut encoder = GzEncoder::new(Vec::new(), Compression::fast());
    encoder.write_all(bytes).expect("memory");
    encoder.finish().expect("memory")
}

/// So many good rows.
fn rows(count: usize) -> String {
    (0..count).map(|second| good(second) + "\n").collect()
}

/// Changes one byte, counted from the end.
fn flipped(mut bytes: Vec<u8>, from_end: usize) -> Vec<u8> {
    let at = bytes.len() - from_end;
    bytes[at] ^= 0xff;
    bytes
}

fn files() -> Vec<(&'static str, &'static str, Vec<u8>, End)> {
    let (two, packed) = (rows(2), gzip(rows(2).as_bytes()));
    let cut = |bytes: usize| packed[..packed.len() - bytes].to_vec();
    let csv = |text: &str| text.as_bytes().to_vec();
    let utf16: Vec<u8> = [0xfe_u8, 0xff].into_iter().chain(two.bytes().flat_map(|byte| [0, byte])).collect();
    vec![
        ("empty", "a.jsonl", Vec::new(), Done(0, &[])),
        ("blank lines", "a.jsonl", b"\n \r\n\t\n".into(), Done(0, &[])),
        ("a byte order mark alone", "a.jsonl", "\u{feff}".into(), Done(0, &[])),
        ("a byte order mark before the rows", "a.jsonl", format!("\u{feff}{two}").into(), Done(2, &[])),
        ("no line end at the end", "a.jsonl", two.trim_end().into(), Done(2, &[])),
        ("Windows line ends", "a.jsonl", two.replace('\n', "\r\n").into(), Done(2, &[])),
        ("old Macintosh line ends", "a.jsonl", two.replace('\n', "\r").into(), Done(0, &["json_invalid"])),
        ("the last row cut", "a.jsonl", two[..two.len() - 9].into(), Done(1, &["json_invalid"])),
        ("a JSON array", "a.json", format!("[{},{}]", good(0), good(1)).into(), Done(0, &["json_invalid"])),
        ("UTF-16", "a.jsonl", utf16, Done(0, &["json_invalid", "utf8_invalid"])),
        ("CSV under the name of JSON", "a.jsonl", csv("a,t,m\nx,1,1\n"), Done(0, &["json_invalid", "json_invalid"])),
        ("gzip without its name", "a.jsonl", packed.clone(), Done(2, &[])),
        ("its name without gzip", "a.jsonl.gz", two.clone().into(), Done(2, &[])),
        ("two gzip members", "a.jsonl.gz", [gzip(good(0).as_bytes()), gzip(format!("\n{}\n", good(1)).as_bytes())].concat(), Done(2, &[])),
        ("gzip of nothing", "a.jsonl.gz", gzip(b""), Done(0, &[])),
        ("gzip cut in its header", "a.jsonl.gz", packed[..5].into(), Failed("source_cut_short", 0)),
        ("gzip cut in its trailer", "a.jsonl.gz", cut(4), Failed("source_cut_short", 2)),
        ("gzip cut in its data", "a.jsonl.gz", cut(14), Failed("source_cut_short", 0)),
        (
            "gzip cut in its second member",
            "a.jsonl.gz",
            [&*gzip(rows(1).as_bytes()), &packed[..30]].concat(),
            Failed("source_cut_short", 1),
        ),
        ("gzip of a wrong checksum", "a.jsonl.gz", flipped(packed.clone(), 6), Failed("source_read", 2)),
        ("gzip of a wrong length", "a.jsonl.gz", flipped(packed.clone(), 1), Failed("source_read", 2)),
        ("gzip with garbage behind", "a.jsonl.gz", [&*packed, &b"garbage ".repeat(9)].concat(), Failed("source_read", 2)),
        ("gzip padded with zeros", "a.jsonl.gz", [&*packed, &[0; 512]].concat(), Failed("source_read", 2)),
        ("gzip by its first bytes alone", "a.jsonl.gz", b"\x1f\x8bnothing like gzip follows".into(), Failed("source_read", 0)),
        ("CSV of nothing", "a.csv", Vec::new(), Done(0, &[])),
        ("CSV of a header", "a.csv", csv("a,t,m\n"), Done(0, &[])),
        ("CSV without a header", "a.csv", csv("x,1704067200000,1\n"), Failed("header_differs", 0)),
        ("CSV with a column twice", "a.csv", csv("a,t,m,m\nx,1704067200000,1,1\n"), Failed("header_differs", 0)),
        ("CSV of semicolons", "a.csv", csv("a;t;m\nx;1704067200000;1\n"), Failed("header_differs", 0)),
        ("CSV of tabs", "a.csv", csv("a\tt\tm\nx\t1704067200000\t1\n"), Failed("header_differs", 0)),
        ("CSV of old Macintosh line ends", "a.csv", csv("a,t,m\rx,1704067200000,1\r"), Failed("header_differs", 0)),
        ("a header of wrong UTF-8", "a.csv", b"a,t,m,\xff\nx,1704067200000,1,1\n".into(), Failed("header_differs", 0)),
        ("a header with an unclosed quote", "a.csv", csv("a,t,\"m\nx,1704067200000,1\n"), Failed("header_differs", 0)),
        ("a header of 2 MiB", "a.csv", csv(&format!("a,t,m{}\n", ",x".repeat(1 << 20))), Failed("header_differs", 0)),
    ]
}

#[test]
fn every_damaged_file_ends_by_name_and_keeps_what_came_before() {
    for (what, name, bytes, end) in files() {
        let directory = Directory::new(Profile::Default);
        write(&directory.file(name), bytes);
        write(&directory.file("mapping.toml"), MAPPING);
        let run = || directory.import([directory.file(name)]).with(["--mapping".into(), directory.file("mapping.toml")]).run();
        let done = run();
        match end {
            Done(accepted, rules) => {
                assert_eq!(done.code, Some(0), "{what}: {done:?}");
                assert_eq!(
                    (total(&done.json(), "accepted"), rejected(&directory)),
                    (accepted, rules.iter().map(|rule| rule.to_string()).collect()),
                    "{what}"
                );
                assert_eq!(run().json()["rows"], 0, "{what}");
            }
            Failed(code, kept) => {
                failed(what, &done, code);
                let reports = || directory.inputs();
                let before = reports();
                failed(what, &run(), code);
                assert_eq!(reports(), before, "{what}: a second import takes nothing");
                if kept > 0 {
                    let taken = directory.call(["log", "cat", "eval.scores"]).ok().lines();
                    assert_eq!(taken.len() as u64, kept, "{what}");
                    write(&directory.file(name), rows(3));
                    assert_eq!(run().json()["rows"], 3 - kept, "{what}: the whole file goes on behind what was kept");
                }
            }
        }
    }
}

#[test]
fn what_is_no_file_is_refused_by_name() {
    let directory = Directory::new(Profile::Default);
    let file = |name: &str| directory.file(name);
    for name in ["one.jsonl", "same.jsonl", "locked.jsonl"] {
        write(&file(name), rows(2));
    }
    write(&file("other.jsonl"), rows(1) + &good(7));
    write(&file("table.csv"), "a,t,m\n");
    for name in ["empty.jsonl", "empty-too.jsonl"] {
        write(&file(name), "");
    }
    std::fs::create_dir(file("folder.jsonl")).expect("a new folder");
    symlink("loop", file("loop")).expect("a new link");
    std::fs::set_permissions(file("locked.jsonl"), PermissionsExt::from_mode(0o000)).expect("our own file");
    let refused: [(&str, &[&str], &str); 9] = [
        ("missing", &["missing.jsonl"], "source_open"),
        ("below a file", &["one.jsonl/x"], "source_open"),
        ("a directory", &["folder.jsonl"], "source_open"),
        ("a link to itself", &["loop"], "source_open"),
        ("a name too long", &[&"x".repeat(300)], "source_open"),
        ("no permission", &["locked.jsonl"], "source_open"),
        ("CSV without a mapping", &["table.csv"], "mapping_missing"),
        ("two copies", &["one.jsonl", "same.jsonl"], "source_name_taken"),
        ("good ones and a missing one", &["one.jsonl", "missing.jsonl"], "source_open"),
    ];
    for (what, names, code) in refused {
        failed(what, &directory.import(names.iter().map(|name| file(name))).unprivileged().run(), code);
    }
    let summary = directory.import([file("empty.jsonl"), file("one.jsonl"), file("empty-too.jsonl"), "/dev/null".into()]).ok().json();
    assert_eq!(summary["rows"], 2, "empty files are nothing to be confused");
    failed("another file that begins alike", &directory.import([file("other.jsonl")]).run(), "source_differs");
    assert_eq!(directory.import([file("other.jsonl")]).with(["--source", "other"]).ok().json()["rows"], 2);
}

/// 3 GiB out of 3 MB, in one row and in many, within 1 GB of address space.
#[test]
fn a_gzip_bomb_takes_no_memory() {
    let (line, lines) = (gzip(&vec![b'x'; 16 << 20]), gzip(&b"x\n".repeat(1 << 10)));
    let directory = Directory::new(Profile::Default);
    let ends = |bomb: Vec<u8>| [gzip(format!("{}\n", good(0)).as_bytes()), bomb, gzip(format!("\n{}\n", good(1)).as_bytes())].concat();
    write(&directory.file("line.gz"), ends(line.repeat(192)));
    write(&directory.file("lines.gz"), ends(lines.repeat(20)));
    let summary = directory.import([directory.file("line.gz")]).limited("-v 1000000").ok().json();
    assert_eq!((total(&summary, "accepted"), rejected(&directory)), (2, vec!["report_too_large".to_string()]));
    let summary = directory.import([directory.file("lines.gz")]).with(["--source", "lines"]).limited("-v 1000000").ok().json();
    assert_eq!((total(&summary, "accepted"), summary["rejectedByRule"]["json_invalid"].as_u64()), (4, Some(20 << 10)));
}

#[test]
fn a_pipe_that_closes_early_gives_what_it_gave() {
    let directory = Directory::new(Profile::Default);
    let pipe: PathBuf = directory.file("pipe");
    assert!(Command::new("mkfifo").arg(&pipe).status().expect("coreutils").success());
    let running = directory.import([&pipe]).start();
    write(&pipe, format!("{}\n{}", good(0), &good(1)[..30]));
    let mut running = running;
    let out = running.ended_within(merit_tests::process::HANG).expect("it ends with the pipe");
    let summary = running.finish(out).json();
    assert_eq!((total(&summary, "accepted"), rejected(&directory)), (1, vec!["json_invalid".to_string()]));
    let done = import(&directory.data(), ["-"]).with(["--audit-key".into(), directory.key()]).input(&good(2).as_bytes()[..10]).run();
    assert_eq!((done.code, done.json()["rejectedByRule"]["json_invalid"].as_u64()), (Some(0), Some(2)));
}

/// Bad rows and rows of the future are taken once, wherever a run stopped.
#[test]
fn an_import_that_was_cut_off_goes_on_as_if_it_had_not_been() {
    let row = |second: usize| match second % 10 {
        3 => good(second).replace("2024-01-01", "9999-01-01"),
        7 => good(second)[..20].into(),
        _ => good(second),
    };
    let member = |from: usize, to: usize| gzip((from..to).map(|second| row(second) + "\n").collect::<String>().as_bytes());
    let (first, second) = (member(0, 12_345), member(12_345, 20_000));
    let whole = [&*first, &*second].concat();
    let [once, twice] = [(); 2].map(|()| Directory::new(Profile::Default));
    let file = once.file("a.jsonl.gz");
    let import = |directory: &Directory, bytes: &[u8]| {
        write(&file, bytes);
        directory.import([&file]).run()
    };
    assert_eq!(import(&once, &whole).code, Some(0));
    failed("cut off", &import(&twice, &whole[..first.len() + 20]), "source_cut_short");
    let summary = import(&twice, &whole).json();
    assert_eq!((summary["rowsBefore"].as_u64(), summary["rows"].as_u64()), (Some(12_345), Some(7_655)));
    let classes = ["accepted", "rejected", "late"].map(|class| total(&summary, class));
    assert_eq!((classes, rejected(&twice).len()), ([16_000, 4_000, 0], 4_000));
    assert_equal("cut off or not", &once.dump(), &twice.dump());
}

//! Calls that no command takes, and questions about what is not there.

use super::{failed, good};
use merit_tests::directory::{Directory, Profile};
use merit_tests::process::merit;
use merit_tests::write;

const USAGE: [&[&str]; 16] = [
    &[],
    &["imprt"],
    &["--jsn"],
    &["import"],
    &["import", "x"],
    &["import", "--data-dir", "d"],
    &["import", "x", "--data-dir"],
    &["import", "x", "--data-dir", ""],
    &["import", "x", "--data-dir", "d", "--commit-rows", "many"],
    &["import", "x", "--data-dir", "d", "--commit-rows", "99999999999999999999"],
    &["log", "cat", "t", "--data-dir", "d", "--from", "-1"],
    &["log", "cat", "t", "--data-dir", "d", "--partition", "4294967296"],
    &["topology", "draw", "--format", "svg"],
    &["replay", "--data-dir", "d"],
    &["explain", "--data-dir", "d"],
    &["help", "nothing"],
];

#[test]
fn a_call_without_sense_says_what_it_lacks_for_people_and_for_machines() {
    for arguments in USAGE {
        failed(&format!("{arguments:?}"), &merit(arguments).with(["--json"]).run(), "usage");
        failed(&format!("{arguments:?}"), &merit(["--json"]).with(arguments).run(), "usage");
        let done = merit(arguments).run();
        assert_eq!((done.code, done.out.as_str()), (Some(2), ""), "{arguments:?}");
        let help = arguments.is_empty() && done.err.contains("Usage: merit");
        let told = done.err.starts_with("error: ") && ["[usage]\n", "\ndetail: ", "\nhint: "].iter().all(|part| done.err.contains(part));
        assert!(help || told, "{arguments:?}: {}", done.err);
    }
}

#[test]
fn questions_about_what_is_not_there_are_refused_by_name() {
    let directory = Directory::new(Profile::Default);
    directory.import(["-"]).input(good(0)).ok();
    let long = "x".repeat(100_000);
    let calls: [(&[&str], &str); 16] = [
        (&["log", "cat", "eval.score"], "topic_unknown"),
        (&["log", "cat", ""], "topic_unknown"),
        (&["log", "cat", "eval.scores", "--partition", "4"], "partition_unknown"),
        (&["state", "scan", "tears"], "store_unknown"),
        (&["state", "get", "tiers", "\u{1b}[31m"], "key_unknown"),
        (&["explain", ""], "id_unknown"),
        (&["explain", &long], "id_unknown"),
        (&["explain", "00000000-0000-8000-8000-000000000000"], "id_unknown"),
        (&["rejected", "show", "here"], "coordinates_invalid"),
        (&["rejected", "show", "0/99999999999999999999"], "coordinates_invalid"),
        (&["rejected", "show", "4294967295/0"], "rejected_missing"),
        (&["rejected", "show", "0/18446744073709551615"], "rejected_missing"),
        (&["audit", "verify", "--key", "a+b+c"], "key_invalid"),
        (&["audit", "verify", "--key", "/dev/null"], "key_invalid"),
        (&["audit", "verify", "--key", "/"], "key_invalid"),
        (&["replay", "--assert-equal", "--audit-key", "/dev/null"], "audit_key"),
    ];
    for (arguments, code) in calls {
        failed(&format!("{:?}", &arguments[..2]), &directory.call(arguments).run(), code);
    }
    let done = merit(["bench", "--json", "--cpu", "4096"]).run();
    failed("bench on no core", &done, "cpu_unknown");
    std::fs::create_dir(directory.file("whole-json")).expect("a new folder");
    let done = merit(["bench", "--json", "--reports", "1", "--data-dir"]).with([directory.file("")]).run();
    failed("bench into a directory that is there", &done, "bench_run");
    assert!(done.err.contains("directory_exists"), "{}", done.err);
}

/// What a name holds must not steer the terminal of who reads it.
#[test]
fn control_characters_are_written_out_for_people() {
    let directory = Directory::new(Profile::Default);
    let name = r"\u001b[31m\u0007\u009b";
    let report = good(0).replace("good", name).replace('}', &format!(r#","x{name}":1}}"#));
    write(&directory.file("input.jsonl"), format!("{}\n{}\n{report}\n", good(0), good(1).replace("good", name)));
    directory.import([directory.file("input.jsonl")]).ok();
    let place = ["--data-dir".into(), directory.data()];
    for command in
        [&["log", "cat", "eval.scores"][..], &["state", "scan", "tiers"], &["rejected", "list"], &["explain", "\u{1b}[31m\u{7}\u{9b}"]]
    {
        let shown = merit(command).with(&place).ok().out;
        assert!(!shown.contains(|character: char| character.is_control() && character != '\n'), "{command:?}: {shown:?}");
    }
    let done = merit(["log", "cat", "\u{1b}[31m"]).with(["--data-dir", "\u{1b}[31m"]).run();
    assert!(!done.err.contains('\u{1b}'), "{}", done.err);
}

//! What the kernel was asked for, in order: nothing is acknowledged before it is synced.

use merit_tests::directory::{Directory, Profile};
use merit_tests::{text, text_of_trace, trace_mapping, write};
use std::collections::BTreeMap;

/// Rows, each in a commit of its own.
const ROWS: usize = 200;

/// A system call on a file: its name, the file, and whether this line is where it begins, where it ends, or both.
struct Line<'t> {
    call: &'t str,
    file: &'t str,
    begins: bool,
    ends: bool,
}

/// Reads a line of `strace -f -y`: `17 fdatasync(9</place/000004.log>) = 0`, or its two halves where another thread came between.
fn read<'t>(line: &'t str, open: &mut BTreeMap<&'t str, (&'t str, &'t str)>) -> Option<Line<'t>> {
    let (thread, rest) = line.split_once(' ')?;
    let rest = rest.trim_start();
    if rest.starts_with("<... ") {
        let (call, file) = open.remove(thread)?;
        return Some(Line { call, file, begins: false, ends: true });
    }
    let (call, arguments) = rest.split_once('(')?;
    let (_, file) = arguments.split_once('<')?;
    let (file, _) = file.split_once('>')?;
    let unfinished = rest.ends_with("<unfinished ...>");
    if unfinished {
        open.insert(thread, (call, file));
    }
    Some(Line { call, file, begins: true, ends: !unfinished })
}

/// Checks a trace: whenever an acknowledgement begins, everything that the write-ahead log was given has been synced.
/// Gives the number of acknowledgements, and of writes to the log.
fn check(trace: &str) -> (u32, u32) {
    let (mut acknowledged, mut written) = (0, 0);
    // Files with bytes that no sync, begun behind them, has brought to the disk.
    let mut unsynced: BTreeMap<&str, u32> = BTreeMap::new();
    let mut syncing: BTreeMap<&str, u32> = BTreeMap::new();
    let mut open = BTreeMap::new();
    for line in trace.lines() {
        let Some(Line { call, file, begins, ends }) = read(line, &mut open) else { continue };
        let is_log = file.ends_with(".log");
        let is_write = call.contains("write");
        if is_log && is_write && begins {
            written += 1;
            *unsynced.entry(file).or_default() = written;
        }
        if is_log
            && call.contains("sync")
            && begins
            && let Some(up_to) = unsynced.get(file)
        {
            syncing.insert(file, *up_to);
        }
        if is_log && call.contains("sync") && ends && unsynced.get(file).is_some_and(|last| syncing.get(file) == Some(last)) {
            unsynced.remove(file);
        }
        let tells = file.ends_with("/ACKNOWLEDGED") || file.starts_with("pipe:");
        if tells && is_write && begins {
            acknowledged += 1;
            assert!(unsynced.is_empty(), "{unsynced:?} was not synced before\n{line}");
        }
    }
    (acknowledged, written)
}

#[test]
fn nothing_is_acknowledged_before_it_is_synced() {
    let directory = Directory::new(Profile::Example);
    let (rows, trace) = (directory.file("rows.csv"), directory.file("trace"));
    write(&rows, text_of_trace().split_inclusive('\n').take(ROWS + 1).collect::<String>());
    let trace_to = trace.to_string_lossy();
    let calls = "trace=write,writev,pwrite64,pwritev,fsync,fdatasync,sync_file_range,sendto";
    let import = directory.import([&rows]).with(["--mapping"]).with([trace_mapping()]);
    let import = import.with(["--commit-rows", "1", "--checkpoint-inputs", "50"]);
    let done = import.under("strace", ["-f", "-y", "-o", &trace_to, "-e", calls]).run();
    assert_eq!(done.code, Some(0), "strace must be installed and ptrace permitted: {done:?}");
    let (acknowledged, written) = check(&text(&trace));
    assert!(acknowledged > ROWS as u32 && written > ROWS as u32, "{acknowledged} acknowledgements and {written} writes in {ROWS} commits");
}

#[test]
#[should_panic(expected = "was not synced")]
fn a_trace_with_an_acknowledgement_before_its_sync_is_found() {
    check(
        "1 write(9</d/000004.log>, \"a\", 1) = 1\n\
         2 fdatasync(9</d/000004.log> <unfinished ...>\n\
         1 write(9</d/000004.log>, \"b\", 1) = 1\n\
         2 <... fdatasync resumed>) = 0\n\
         1 pwrite64(7</d/ACKNOWLEDGED>, \"c\", 1, 0) = 1\n",
    );
}

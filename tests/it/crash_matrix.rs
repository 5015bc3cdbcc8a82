//! A process that dies at a named place, over and over, and changes no record.

use merit_runtime::Failpoint;
use merit_tests::directory::{Directory, Profile};
use merit_tests::dump::assert_equal;
use merit_tests::process::Call;
use merit_tests::random::Random;
use merit_tests::{repository, text_of_trace, trace_mapping, write};
use std::path::{Path, PathBuf};

/// Directories that die again and again; each has a seed of its own.
const LIVES: u64 = 6;

/// Deaths that the matrix must reach, all lives together.
const DEATHS: usize = 200;

/// Deaths that are tried in one part of the trace.
const TRIES: usize = 6;

/// The trace in parts, each a source: eleven short ones, so that there is always work left, and one that is long enough for Ticks.
fn parts(directory: &Directory) -> Vec<PathBuf> {
    let trace = text_of_trace();
    let (header, rows) = trace.split_once('\n').expect("a header");
    let mut rows = rows.split_inclusive('\n');
    let part = |number: usize| {
        let path = directory.file(&format!("part-{number}.csv"));
        let rows: String = rows.by_ref().take(if number < 11 { 250 } else { usize::MAX }).collect();
        write(&path, format!("{header}\n{rows}"));
        path
    };
    (0..12).map(part).collect()
}

/// One part in small commits, with a checkpoint every few of them.
fn import(directory: &Directory, part: &Path) -> Call {
    let commit = if std::fs::metadata(part).is_ok_and(|file| file.len() > 100_000) { "500" } else { "25" };
    directory.import([part]).with(["--mapping"]).with([trace_mapping()]).with(["--commit-rows", commit, "--checkpoint-inputs", "90"])
}

/// Behind the first part: pools cannot be applied twice, and so are spared.
fn pools(directory: &Directory, part: usize) {
    if part == 0 {
        directory.pools(&repository("examples/pools.toml"));
    }
}

/// Runs a call that is to die at a place; whether it did.
fn dies(call: Call, point: Failpoint, passages: u64) -> bool {
    let done = call.env("MERIT_FAILPOINT", format!("{}:{passages}", point.name())).run();
    assert!(done.code.is_none_or(|code| code == 0), "at {}: {done:?}", point.name());
    done.code.is_none()
}

/// Places that few parts lead to: those of a directory that is new, those of event time that went far, and those of a prune.
fn is_rare(point: Failpoint) -> bool {
    ["key.", "epoch.", "seal.", "prune.", "import.ticked"].iter().any(|start| point.name().starts_with(start))
}

/// Every place that each part leads to, in an order of its own.
fn shuffled(random: &mut Random) -> Vec<Failpoint> {
    let mut points: Vec<Failpoint> = Failpoint::ALL.iter().copied().filter(|point| !is_rare(*point)).collect();
    (1..points.len()).rev().for_each(|at| points.swap(at, random.below(at as u64 + 1) as usize));
    points
}

/// Where to die in a part: at first where only that part leads.
fn tries(part: usize, random: &mut Random) -> Vec<Failpoint> {
    let mut tries = match part {
        0 => vec![Failpoint::EpochTaken, Failpoint::EpochUncommitted],
        11 => vec![Failpoint::ImportTicked, Failpoint::SealDue, Failpoint::SealMade],
        _ => Vec::new(),
    };
    tries.extend(shuffled(random));
    tries.truncate(TRIES);
    tries
}

/// Lets a directory die at one place after the other, and gives these.
fn live(seed: u64, parts: &[PathBuf], undisturbed: &Directory) -> Vec<Failpoint> {
    let mut random = Random::new(seed);
    let directory = Directory::new(Profile::Example);
    let mut deaths = Vec::new();
    for (number, part) in parts.iter().enumerate() {
        let mut taken = directory.inputs();
        for point in tries(number, &mut random) {
            if dies(import(&directory, part), point, *random.one(&[1, 1, 1, 2, 4])) {
                deaths.push(point);
            }
            let inputs = directory.inputs();
            assert!(inputs >= taken, "seed {seed}: of {taken} inputs on disk {inputs} are left behind {}", point.name());
            taken = inputs;
        }
        let summary = import(&directory, part).ok().json();
        for partition in summary["partitions"].as_array().expect("one a partition") {
            assert_eq!(partition["holds"], true, "seed {seed}: {partition}");
        }
        pools(&directory, number);
    }
    let dump = directory.dump();
    assert_equal(&format!("seed {seed}, behind {deaths:?}"), &undisturbed.dump(), &dump);
    directory.call(["audit", "verify"]).ok();
    assert_eq!(directory.replay().json()["compared"].as_u64(), Some(dump.len() as u64));
    deaths
}

#[test]
fn a_death_at_any_place_changes_no_record() {
    let undisturbed = Directory::new(Profile::Example);
    let parts = &parts(&undisturbed);
    for (number, part) in parts.iter().enumerate() {
        import(&undisturbed, part).ok();
        pools(&undisturbed, number);
    }
    let undisturbed = &undisturbed;
    let mut deaths = std::thread::scope(|scope| {
        let lives = |first: u64| move || (first..LIVES).step_by(4).flat_map(|seed| live(seed, parts, undisturbed)).collect::<Vec<_>>();
        let threads: Vec<_> = (0..4).map(|first| scope.spawn(lives(first))).collect();
        threads.into_iter().flat_map(|thread| thread.join().expect("a life that failed says why")).collect::<Vec<_>>()
    });
    deaths.extend(deaths_of_a_key());
    assert!(deaths.len() >= DEATHS, "{} deaths prove little", deaths.len());
    // Those of a prune have their matrix in `retention.rs`.
    for point in Failpoint::ALL.iter().filter(|point| !point.name().starts_with("prune.")) {
        assert!(deaths.contains(point), "no process died at {}", point.name());
    }
}

/// A key is made once, so this one has no equal to be compared with.
fn deaths_of_a_key() -> Vec<Failpoint> {
    let directory = Directory::new(Profile::Example);
    let import = || directory.call(["import"]).with([merit_tests::trace()]).with(["--mapping"]).with([trace_mapping()]);
    let deaths = [Failpoint::KeyWritten, Failpoint::KeyWritten, Failpoint::KeyLinked];
    deaths.iter().for_each(|point| assert!(dies(import(), *point, 1), "{}", point.name()));
    let key = std::fs::read(directory.data().join("audit.key")).expect("it has its name");
    assert!(!dies(import(), Failpoint::KeyLinked, 1), "a key that is there is not made again");
    assert_eq!(std::fs::read(directory.data().join("audit.key")).expect("it is still there"), key);
    directory.call(["audit", "verify"]).ok();
    directory.call(["replay", "--assert-equal"]).ok();
    deaths.into()
}

#[test]
fn a_place_that_is_none_is_refused_before_anything_is_done() {
    let directory = Directory::new(Profile::Example);
    for text in ["", "commit", "commit.written", "commit.written:0", "commit.written:x", "Commit.written:1"] {
        directory.import_trace().env("MERIT_FAILPOINT", text).run().refused(2, "failpoint_unknown");
    }
    assert!(!directory.data().exists(), "a refused call makes no directory");
}

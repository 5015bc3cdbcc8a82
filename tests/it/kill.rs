//! `kill -9` at any moment changes no record.

use merit_core::Duration as Span;
use merit_tests::directory::{Directory, Profile, example, with_pools};
use merit_tests::dump::{assert_equal, of_topic};
use merit_tests::random::Random;
use merit_tests::reports::{Report, lines, taken};
use merit_tests::write;
use std::collections::BTreeSet;
use std::path::Path;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

/// Kills in the life of one directory.
const KILLS: u32 = 50;

/// Directories, side by side.
const LIVES: u64 = 2;

/// Times that the trace is repeated, each behind the last in event time.
const REPEATS: i64 = 3;

/// So many days does the trace take, and a bit.
const DAYS: i64 = 18;

/// The trace over and over, with ids, copies, reused ids, late reports and lines that are no reports.
fn long_input() -> String {
    let dump = example().dump();
    let reports = taken(&dump);
    let mut text = String::new();
    for repeat in 0..REPEATS {
        let moved = |(number, report): (usize, &Report)| Report {
            id: (number % 3 == 0).then(|| format!("report-{repeat}-{number}")),
            time: report.time + Span(repeat * DAYS * 86_400_000 - if number % 50 == 49 { 900_000 } else { 0 }),
            ..report.clone()
        };
        let moved: Vec<Report> = reports.iter().enumerate().map(moved).collect();
        text.push_str(&lines(&moved));
        text.push_str(&lines(&moved[..100])); // 34 copies, 66 late reports
        let reused = Report { metrics: vec![("other".into(), merit_core::Fixed::ONE)], ..moved[0].clone() };
        text.push_str(&lines(&[reused]));
        text.push_str("this is no report\n{\"agentId\":\"a\"}\n");
    }
    text
}

/// Small commits, so that there is work for all kills; checkpoints of every cadence.
fn flags(random: &mut Random) -> Vec<&'static str> {
    let commit = ["--commit-rows", *random.one(&["1", "3", "7"])];
    let checkpoint = random.one(&[Some("50"), Some("1000"), Some("20000"), None]).map(|inputs| ["--checkpoint-inputs", inputs]);
    commit.into_iter().chain(checkpoint.into_iter().flatten()).collect()
}

/// Imports with kills after up to `longest`, and notes where the log ended after each.
/// Gives the kills that hit a process at work before the import was through.
fn import_with_kills(directory: &Directory, input: &Path, longest: Duration, random: &mut Random, ends: &mut BTreeSet<u64>) -> u32 {
    for kills in 0..KILLS {
        let mut running = directory.import([input]).with(flags(random)).start();
        let after = Duration::from_micros(random.below(longest.as_micros() as u64) + 1);
        if let Some(out) = running.ended_within(after) {
            assert_eq!(running.finish(out).code, Some(0));
            return kills;
        }
        if !running.kill() {
            return kills;
        }
        ends.insert(directory.inputs());
    }
    KILLS
}

/// Kills one directory's imports again and again, and compares it with the undisturbed one.
#[expect(clippy::print_stderr, reason = "a failure must tell its seed")]
fn live(seed: u64, input: &Path, mut longest: Duration, undisturbed: &Directory) {
    eprintln!("MERIT_SEED={seed}");
    let mut random = Random::new(seed);
    // Kills that come too late to be enough within one import prove nothing: then again from the start, and sooner.
    let mut killed = with_pools(Profile::Example);
    let mut ends = BTreeSet::new();
    while import_with_kills(&killed, input, longest, &mut random, &mut ends) < KILLS {
        killed = with_pools(Profile::Example);
        ends.clear();
        longest = longest * 2 / 3;
        assert!(longest > Duration::from_millis(1), "an import is through before it can be killed {KILLS} times");
    }
    assert!(ends.len() > 10, "the kills hit all but the same moment: the log ended at {ends:?}");
    eprintln!("kills up to {longest:?} after the start left {} different ends", ends.len());
    let summary = killed.import([input]).ok().json();
    assert!(summary["rowsBefore"].as_u64().is_some_and(|rows| rows > 0), "no killed import left a row: {summary}");
    for partition in summary["partitions"].as_array().expect("one a partition") {
        assert_eq!(partition["holds"], true, "{partition}");
    }
    let dump = killed.dump();
    for topic in ["eval.late", "eval.rejected", "eval.promotions", "alloc.applied", "audit"] {
        assert!(of_topic(&dump, topic).next().is_some(), "{topic} is empty");
    }
    assert_equal(&format!("after {KILLS} kills"), &undisturbed.dump(), &dump);
    let replayed = killed.replay();
    assert_eq!(replayed.code, Some(0), "{replayed:?}");
    assert_eq!(replayed.json()["compared"].as_u64(), Some(dump.len() as u64));
    killed.call(["audit", "verify"]).ok();
}

#[test]
fn a_hundred_kills_give_equal_topics() {
    let clock = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.subsec_nanos());
    let seed = std::env::var("MERIT_SEED").ok().and_then(|seed| seed.parse().ok()).unwrap_or(u64::from(clock));
    let undisturbed = with_pools(Profile::Example);
    let input = undisturbed.file("input.jsonl");
    write(&input, long_input());
    undisturbed.import([&input]).ok();
    let started = Instant::now();
    undisturbed.import([&input]).ok(); // nothing is left to import: how long a start takes
    let longest = started.elapsed() + Duration::from_millis(250);
    std::thread::scope(|scope| {
        let (input, undisturbed) = (&input, &undisturbed);
        (0..LIVES).for_each(|life| drop(scope.spawn(move || live(seed + life, input, longest, undisturbed))));
    });
}

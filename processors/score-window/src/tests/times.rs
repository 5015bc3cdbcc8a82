//! Edges of lateness and of Progress.

use super::bench::{Bench, QUALITY, report};
use merit_core::record::ReportAccepted;
use merit_core::{EventTime, Payload};
use std::format;
use std::string::String;
use std::vec::Vec;

const START: i64 = 1_737_136_800_000;
const GRACE: i64 = 600_000;
const MINUTE: i64 = 60_000;

/// Runs `report AT [RECEIVED]` and `tick AT` (ms since START) against the kinds and watermarks that they lead to.
#[track_caller]
fn check(settings: &[&str], table: &[(&str, &str)]) {
    let mut bench = Bench::new(settings);
    let number = |text: &str| START + text.parse::<i64>().expect("a number");
    for (command, expected) in table {
        let words: Vec<&str> = command.split_whitespace().collect();
        let emitted = match words[..] {
            ["report", at] => bench.report(report("ann", number(at), QUALITY)),
            ["report", at, received] => {
                bench.report(ReportAccepted { received_at: EventTime(number(received)), ..report("ann", number(at), QUALITY) })
            }
            ["tick", at] => bench.tick(number(at)),
            _ => panic!("no command: {command}"),
        };
        let shown = emitted.iter().map(|record| {
            record.read(|payload| match payload {
                Payload::ScoreUpdated(score) => format!("scored, {} in 1h", score.windows.iter().next().expect("1h").n),
                Payload::ReportLate(late) => format!("late behind {}", late.watermark.0 - START),
                Payload::Progress(progress) => format!("progress {}", progress.watermark.0 - START),
                other => panic!("{other:?}"),
            })
        });
        assert_eq!(shown.collect::<Vec<String>>().join(", "), *expected, "{command}");
        bench.reload();
    }
}

#[test]
fn a_report_at_the_watermark_counts_and_one_before_it_is_late() {
    check(
        &[],
        &[
            ("report 0", "scored, 1 in 1h, progress -600000"),
            ("report -600000", "scored, 2 in 1h"),
            ("report -600001", "late behind -600000"),
            ("report 5", "scored, 3 in 1h"),
            ("report -595", "scored, 4 in 1h"),
            ("report -599996", "late behind -599995"),
            ("report -599995", "scored, 5 in 1h"),
        ],
    );
    check(
        &["event-time.grace=0ms"],
        &[("report 0", "scored, 1 in 1h, progress 0"), ("report -1", "late behind 0"), ("report 0", "scored, 2 in 1h")],
    );
}

/// It is judged by what was closed before it came, however far it moves the watermark itself.
#[test]
fn lateness_is_judged_before_a_report_moves_the_watermark() {
    check(
        &["event-time.grace=0ms"],
        &[("report 0", "scored, 1 in 1h, progress 0"), ("report 100", "scored, 2 in 1h"), ("report 99", "late behind 100")],
    );
}

/// A clock ahead of its receipt closes nothing before its time, and a late report moves nothing.
#[test]
fn only_time_that_was_received_moves_the_watermark() {
    check(
        &["event-time.grace=0ms"],
        &[
            ("report 300000 0", "scored, 1 in 1h, progress 0"),
            ("report 0", "scored, 2 in 1h"),
            ("report -1 200000", "late behind 0"),
            ("report 1", "scored, 3 in 1h"),
            ("report 0", "late behind 1"),
        ],
    );
}

#[test]
fn a_tick_closes_and_is_always_told() {
    check(
        &[],
        &[
            ("tick 0", "progress -600000"),
            ("tick 0", "progress -600000"),
            ("tick -5", "progress -600000"), // time does not run back
            ("report -600001", "late behind -600000"),
            ("tick 1", "progress -599999"),
            ("report -600000", "late behind -599999"),
        ],
    );
}

/// Reports, one ms apart, that an announcement takes when the watermark is at `from` and then at `to`.
fn reports_until_progress(from: i64, to: i64) -> Option<i64> {
    let mut bench = Bench::new(&[]);
    bench.tick(from + GRACE);
    (1..=200).find(|_| bench.report(report("ann", to + GRACE, QUALITY)).len() > 1)
}

#[test]
fn progress_needs_a_new_minute_and_64_reports_or_an_hour() {
    let hour = 60 * MINUTE;
    for (from, to, reports, reason) in [
        (0, MINUTE - 1, None, "the same minute"),
        (0, MINUTE, Some(64), "a new minute needs 64 reports"),
        (MINUTE - 1, MINUTE, Some(64), "a minute begins on the minute"),
        (1, hour, Some(64), "1 ms less than an hour"),
        (1, hour + 1, Some(1), "an hour"),
    ] {
        assert_eq!(reports_until_progress(START + from, START + to), reports, "{reason}");
    }
}

#[test]
fn an_announcement_starts_the_count_anew() {
    let mut bench = Bench::new(&[]);
    bench.tick(START);
    let told = |bench: &mut Bench, at: i64| bench.report(report("ann", at, QUALITY)).len() > 1;
    assert!((0..63).all(|_| !told(&mut bench, START)));
    bench.tick(START);
    assert!((0..63).all(|_| !told(&mut bench, START + MINUTE)));
    bench.reload();
    assert!(told(&mut bench, START + MINUTE));
    assert!((0..200).all(|_| !told(&mut bench, START + MINUTE)));
}

//! Judged when a window has closed: windows of an hour, closed 10 minutes after their end.

use super::stage::{Stage, at, check, fixed};
use merit_core::{Kind, Payload};
use std::format;
use std::string::String;
use std::vec::Vec;

/// Two windows in a row of five reports each; no dwell.
const WINDOWS: &[&str] =
    &["evaluate=window", "window=1h", "windows_in_row=2", "min_reports=5", "alpha=0.05", "approval=automatic", "dwell=0ms"];

const UP: &str = "ann base>promoted: score 0.99 >= threshold 0.85 in 2 windows of 1h in a row, asks gpus-us-east 1 Automatic for 0";
const DOWN: &str = "ann promoted>base: score 0.2 < threshold 0.75 in 2 windows of 1h in a row, releases gpus-us-east of 0";

fn with(more: &[&'static str]) -> Vec<&'static str> {
    [WINDOWS, more].concat()
}

#[test]
fn windows_in_a_row_promote_and_demote() {
    check(
        WINDOWS,
        &[
            ("scores ann 0 0.99 60", ""),
            ("scores ann 65 0.99 60", ""),
            ("score ann 129 0.99", ""), // the second window ends at 120 and is closed at 130
            ("score ann 130 0.99", UP),
            ("scores ann 180 0.2 60", ""),
            ("scores ann 240 0.2 60", ""),
            ("tick 309", ""),
            ("tick 310", DOWN),
        ],
    );
}

#[test]
fn a_tick_closes_as_a_report_does() {
    check(
        WINDOWS,
        &[
            ("scores ann 0 0.99 60", ""),
            ("scores ann 60 0.99 60", ""),
            ("tick 129", ""),
            ("tick 130", UP),
            ("tick 130", ""),
            ("tick 500", ""),
        ],
    );
}

#[test]
fn one_window_in_the_dead_band_starts_the_count_anew() {
    check(
        WINDOWS,
        &[
            ("scores ann 0 0.99 60", ""),
            ("scores ann 60 0.84 5", ""),
            ("scores ann 120 0.99 60", ""),
            ("tick 190", ""),
            ("scores ann 180 0.99 60", ""),
            ("tick 250", UP),
        ],
    );
}

#[test]
fn a_thin_window_neither_counts_nor_resets() {
    check(
        WINDOWS,
        &[
            ("scores ann 0 0.99 90", ""),
            ("scores ann 60 0.1 4", ""),   // would reset
            ("scores ann 120 0.99 4", ""), // would count
            ("tick 190", ""),
            ("scores ann 180 0.99 90", ""),
            ("tick 250", UP),
        ],
    );
    // With one report more it is not thin.
    check(WINDOWS, &[("scores ann 0 0.99 90", ""), ("scores ann 60 0.1 5", ""), ("scores ann 120 0.99 90", ""), ("tick 190", "")]);
}

#[test]
fn the_score_of_a_window_is_the_mean_of_its_observations_rounded_as_scores_are() {
    let judged = |text: &[(&str, u32)]| {
        let mut stage = Stage::new(&with(&["windows_in_row=1"]));
        for (score, n) in text {
            stage.command(&format!("scores ann 0 {score} {n}"));
        }
        let emitted = stage.command("tick 70");
        emitted.first().map(|record| {
            record.read(|payload| {
                let Payload::ReviewRequired(review) = payload else { panic!("{payload:?}") };
                (review.evidence.score, review.evidence.threshold)
            })
        })
    };
    assert_eq!(judged(&[("0.9", 3), ("0.8", 3)]), Some((Some(fixed("0.85")), Some(fixed("0.85")))));
    assert_eq!(judged(&[("0.845", 6)]), Some((Some(fixed("0.85")), Some(fixed("0.85")))));
    assert_eq!(judged(&[("0.844999", 6)]), None);
}

#[test]
fn a_report_within_grace_counts_in_its_window() {
    check(
        &with(&["windows_in_row=1"]),
        &[
            ("scores ann 0 0.9 4", ""),
            ("score bob 69 0.5", ""),
            ("score ann 59 0.9", ""), // the fifth
            ("score bob 70 0.5", "ann to review"),
        ],
    );
}

/// (window, key), whoever came first.
#[test]
fn windows_close_in_the_order_of_time_and_name() {
    for restart in [false, true] {
        let mut stage = Stage::new(&with(&["windows_in_row=1", "min_reports=1", ".event-time.grace=24h"]));
        for (minute, agent, score) in [
            (130, "c", "0.9"),
            (130, "a", "0.9"),
            (70, "a", "0.8"),
            (70, "c", "0.8"),
            (10, "c", "0.9"),
            (125, "b", "0.9"),
            (10, "a", "0.9"),
            (10, "b", "0.9"),
            (70, "b", "0.8"),
        ] {
            assert_eq!(stage.command(&format!("score {agent} {minute} {score}")), []);
        }
        if restart {
            stage.reload();
        }
        let emitted = stage.command("tick 9000");
        let seen: Vec<(String, i64)> = emitted.iter().map(|record| (record.key.clone(), record.time.0 - at(0).0)).collect();
        let hours = |agent: &str, hour: i64| (agent.into(), hour * 3_600_000);
        assert_eq!(seen, [hours("a", 1), hours("b", 1), hours("c", 1), hours("a", 3), hours("b", 3), hours("c", 3)]);
    }
}

#[test]
fn what_the_interval_does_not_prove_is_for_a_person_once_a_crossing() {
    check(
        WINDOWS,
        &[
            ("scores ann 0 0.99 5", ""),
            ("scores ann 60 0.99 5", ""),
            ("tick 130", "ann to review"),
            ("scores ann 120 0.99 5", ""),
            ("tick 190", ""),
            ("scores ann 180 0.8 5", ""),
            ("tick 250", ""), // the crossing is over
            ("scores ann 240 0.99 5", ""),
            ("scores ann 300 0.99 5", ""),
            ("tick 370", "ann to review"),
            ("scores ann 360 0.99 200", ""),
            (
                "tick 430",
                "ann base>promoted: score 0.99 >= threshold 0.85 in 3 windows of 1h in a row, asks gpus-us-east 1 Automatic for 0",
            ),
        ],
    );
}

/// One report fewer and the bound is not above the threshold: the very interval that the record carries decides.
#[test]
fn the_bound_must_lie_beyond_the_threshold() {
    for (score, before, promoted) in [("0.99", "", false), ("0.3", "promote ann", true)] {
        let verdicts: Vec<(Kind, bool)> = (5..60)
            .map(|n| {
                let mut stage = Stage::new(&with(&["windows_in_row=1"]));
                if !before.is_empty() {
                    stage.command(before);
                }
                stage.command(&format!("scores ann 0 {score} {n}"));
                let emitted = stage.command("tick 70");
                let evidence = emitted[0].read(|payload| match payload {
                    Payload::ReviewRequired(record) => record.evidence.interval,
                    Payload::PromotionProposed(record) => record.evidence.interval,
                    Payload::DemotionProposed(record) => record.evidence.interval,
                    other => panic!("{other:?}"),
                });
                let interval = evidence.expect("observations");
                assert_eq!(interval.n, n);
                (emitted[0].kind, if promoted { interval.high < fixed("0.75") } else { interval.low > fixed("0.85") })
            })
            .collect();
        let moved = if promoted { Kind::DemotionProposed } else { Kind::PromotionProposed };
        for (kind, proven) in &verdicts {
            assert_eq!(*kind, if *proven { moved } else { Kind::ReviewRequired });
        }
        let kinds: Vec<Kind> = verdicts.iter().map(|(kind, _)| *kind).collect();
        assert!(kinds.contains(&moved));
        assert!(kinds.contains(&Kind::ReviewRequired));
    }
}

#[test]
fn a_proposal_says_how_many_windows_and_what_bound_it_rests_on() {
    let mut stage = Stage::new(WINDOWS);
    for command in ["scores ann 0 0.99 60", "scores ann 60 0.99 60"] {
        stage.command(command);
    }
    stage.command("tick 130")[0].read(|payload| {
        let Payload::PromotionProposed(promotion) = payload else { panic!("{payload:?}") };
        let interval = promotion.evidence.interval.expect("observations");
        let rationale =
            format!("score 0.99 >= threshold 0.85 in 2 windows of 1h in a row; lower bound {} of the mean over 120 reports", interval.low);
        assert_eq!(promotion.rationale, rationale);
        assert_eq!((promotion.evidence.window, promotion.evidence.windows_in_row), ("1h", 2));
        assert_eq!((promotion.evidence.confidence, promotion.timestamp), (fixed("1"), at(120)));
    });
}

#[test]
fn dwell_is_counted_between_the_ends_of_windows() {
    check(
        &with(&["dwell=3h", "windows_in_row=1"]),
        &[
            ("scores ann 0 0.99 60", ""),
            ("tick 70", "ann base>promoted: score 0.99 >= threshold 0.85 in 1 windows of 1h in a row, asks gpus-us-east 1 Automatic for 0"),
            ("scores ann 60 0.2 60", ""),
            ("tick 130", "ann held by dwell"),
            ("scores ann 120 0.2 60", ""),
            ("tick 190", ""),
            ("scores ann 180 0.2 60", ""),
            // Ends at 240, three hours after 60.
            ("tick 250", "ann promoted>base: score 0.2 < threshold 0.75 in 3 windows of 1h in a row, releases gpus-us-east of 0"),
        ],
    );
}

/// A released allocation waits for the next window that counts; so does everything else that a window decides.
#[test]
fn outcomes_act_when_the_next_window_closes() {
    check(
        &with(&["windows_in_row=1"]),
        &[
            ("scores ann 0 0.99 60", ""),
            ("tick 70", "ann base>promoted: score 0.99 >= threshold 0.85 in 1 windows of 1h in a row, asks gpus-us-east 1 Automatic for 0"),
            ("released ann 0", ""),
            ("scores ann 70 0.8 4", ""),
            ("tick 130", ""), // a thin window is no evaluation
            ("scores ann 120 0.8 5", ""),
            ("tick 190", "ann promoted>base: allocation released: preempted"),
        ],
    );
}

/// A change of tier forgets the windows that were open.
#[test]
fn a_new_tier_starts_with_new_windows() {
    check(
        &with(&["windows_in_row=1"]),
        &[
            ("scores ann 0 0.2 60", ""),
            ("promote ann", "ann base>promoted: manual override"),
            ("tick 70", ""), // would demote
            ("scores ann 70 0.2 4", ""),
            ("demote ann", "ann promoted>base: manual override"),
            ("promote ann", "ann base>promoted: manual override"),
            ("scores ann 71 0.2 4", ""),
            ("tick 130", ""), // four, not eight
        ],
    );
}

#[test]
fn another_profile_starts_with_no_evidence() {
    let other = &with(&["reason=better"]);
    for closing in ["score ann 130 0.99", "tick 130"] {
        for (change, closes) in [(false, true), (true, false)] {
            let mut stage = Stage::new(WINDOWS);
            stage.command("scores ann 0 0.99 60");
            stage.command("scores ann 60 0.99 60");
            if change {
                stage.configure(other);
            }
            assert_eq!(!stage.command(closing).is_empty(), closes, "{closing}");
        }
    }
    // Windows in a row and the interval begin with the new profile.
    let mut stage = Stage::new(WINDOWS);
    stage.command("scores ann 0 0.99 60");
    stage.command("tick 70");
    stage.configure(other);
    stage.command("scores ann 70 0.99 60");
    assert_eq!(stage.command("tick 130"), []);
    stage.command("scores ann 130 0.99 60");
    stage.command("tick 190")[0].read(|payload| {
        let Payload::PromotionProposed(promotion) = payload else { panic!("{payload:?}") };
        assert_eq!((promotion.evidence.windows_in_row, promotion.evidence.interval.map(|interval| interval.n)), (2, Some(120)));
    });
}

/// A configuration that leaves the profile as it was changes nothing.
#[test]
fn another_epoch_of_the_same_profile_keeps_the_evidence() {
    let mut stage = Stage::new(WINDOWS);
    stage.command("scores ann 0 0.99 60");
    stage.configure(&with(&[".ingest.recent_reports=8192"]));
    stage.command("scores ann 60 0.99 60");
    stage.configure(WINDOWS);
    let emitted = stage.command("tick 130");
    assert_eq!(stage.show(&emitted), UP);
}

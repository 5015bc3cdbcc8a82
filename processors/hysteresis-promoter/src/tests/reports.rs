//! Judged at each report: seed 001 and everything that outcomes and people add.

use super::stage::{Stage, at, check, fixed};
use merit_core::record::Approval;
use merit_core::{Key, Kind, Payload, Uuid};
use std::vec::Vec;

/// Seed 001's promotion and request, field by field.
#[test]
fn seed_001_gets_its_text_and_numbers() {
    let mut stage = Stage::new(&[]);
    stage.command("home agent-123 red");
    let emitted = stage.score("agent-123", at(3), "1h", fixed("0.92"), fixed("0.915"));
    assert_eq!(emitted.iter().map(|record| record.kind).collect::<Vec<_>>(), [Kind::PromotionProposed, Kind::RequestAllocation]);
    emitted[0].read(|payload| {
        let Payload::PromotionProposed(promotion) = payload else { panic!("{payload:?}") };
        assert_eq!((promotion.agent_id, promotion.division_id), ("agent-123", "red"));
        assert_eq!((promotion.from_tier, promotion.to_tier), ("base", "promoted"));
        assert_eq!((promotion.rationale, promotion.requested_by), ("score 0.92 >= threshold 0.85", "eval-engine"));
        assert_eq!(promotion.timestamp, at(3));
        let evidence = promotion.evidence;
        assert_eq!((evidence.window, evidence.score, evidence.threshold), ("1h", Some(fixed("0.92")), Some(fixed("0.85"))));
        assert_eq!((evidence.confidence, evidence.windows_in_row), (fixed("0.7"), 1));
        assert_eq!(evidence.interval.map(|interval| interval.n), Some(1));
        let score = Uuid::of_record("evaluate/score-window/0/aa", 1);
        assert_eq!(evidence.parents.iter().collect::<Vec<_>>(), [score]);
    });
    assert_eq!(emitted[0].key, "agent-123");
    emitted[1].read(|payload| {
        let Payload::RequestAllocation(request) = payload else { panic!("{payload:?}") };
        assert_eq!((request.promotion_id, request.agent_id, request.division_id), (Some(emitted[0].id), "agent-123", None));
        assert_eq!((request.pool, request.delta), ("gpus-us-east", 1_000));
        assert_eq!((request.reason, request.requested_by), ("promotion threshold met", "eval-engine"));
        assert_eq!((request.confidence, request.approval), (Some(fixed("0.7")), Approval::Manual));
    });
    assert_eq!(emitted[1].key, "gpus-us-east");
}

#[test]
fn a_tier_is_entered_at_its_threshold_and_left_below_the_other() {
    check(
        &[],
        &[
            ("score ann 0 0.84", ""),
            ("score ann 1 0.85", "ann base>promoted: score 0.85 >= threshold 0.85, asks gpus-us-east 1 Manual for 0"),
            ("score ann 2 0.99", ""), // no second proposal
            ("score ann 3 0.84", ""), // the dead band
            ("score ann 4 0.75", ""),
            ("score ann 5 0.74", "ann promoted>base: score 0.74 < threshold 0.75, releases gpus-us-east of 0"),
            ("score ann 6 0.1", ""),
            ("score ann 7 0.84", ""),
            ("score ann 8 0.9", "ann base>promoted: score 0.9 >= threshold 0.85, asks gpus-us-east 1 Manual for 1"),
            ("score bob 8 0.9", "bob base>promoted: score 0.9 >= threshold 0.85, asks gpus-us-east 1 Manual for 2"),
            ("score ann 9 0.7", "ann promoted>base: score 0.7 < threshold 0.75, releases gpus-us-east of 1"),
        ],
    );
}

#[test]
fn the_window_of_the_report_is_judged() {
    check(
        &[],
        &[
            ("score ann 0 0.7 7d", ""),
            ("score ann 0 0.9 24h", "ann base>promoted: score 0.9 >= threshold 0.85, asks gpus-us-east 1 Manual for 0"),
            ("score ann 0 0.7 7d", "ann promoted>base: score 0.7 < threshold 0.75, releases gpus-us-east of 0"),
        ],
    );
}

#[test]
fn what_is_asked_for_is_that_of_the_home() {
    check(
        &["allocation.divisions.red.pool=red-pool", "allocation.divisions.red.delta=4", "approval=automatic"],
        &[
            ("home ann red", ""),
            ("score ann 0 0.9", "ann base>promoted: score 0.9 >= threshold 0.85, asks red-pool 4 Automatic for 0"),
            ("home ann blue", ""),
            ("score ann 1 0.7", "ann promoted>base: score 0.7 < threshold 0.75, releases red-pool of 0"),
            ("score ann 2 0.9", "ann base>promoted: score 0.9 >= threshold 0.85, asks gpus-us-east 1 Automatic for 1"),
        ],
    );
}

#[test]
fn within_dwell_a_crossing_is_held_once() {
    check(
        &["dwell=1h"],
        &[
            ("score ann 0 0.9", "ann base>promoted: score 0.9 >= threshold 0.85, asks gpus-us-east 1 Manual for 0"),
            ("score ann 10 0.7", "ann held by dwell"),
            ("score ann 20 0.6", ""),
            ("score ann 30 0.8", ""), // back in the dead band: the crossing ends
            ("score ann 40 0.7", "ann held by dwell"),
            ("score ann 59 0.7", ""),
            ("score ann 60 0.7", "ann promoted>base: score 0.7 < threshold 0.75, releases gpus-us-east of 0"),
            ("score ann 61 0.9", "ann held by dwell"),
            ("score ann 119 0.9", ""),
            ("score ann 50 0.9", ""), // a report from before the change
            ("score ann 120 0.9", "ann base>promoted: score 0.9 >= threshold 0.85, asks gpus-us-east 1 Manual for 1"),
        ],
    );
}

#[test]
fn a_held_record_says_what_was_seen() {
    let mut stage = Stage::new(&["dwell=1h"]);
    stage.command("score ann 0 0.9");
    stage.command("score ann 10 0.7")[0].read(|payload| {
        let Payload::Held(held) = payload else { panic!("{payload:?}") };
        assert_eq!((held.agent_id, held.tier, held.guard, held.timestamp), ("ann", "promoted", "dwell", at(10)));
        assert_eq!(held.rationale, "score 0.7 < threshold 0.75; dwell of 1h has not passed");
        assert_eq!((held.evidence.score, held.evidence.threshold), (Some(fixed("0.7")), Some(fixed("0.75"))));
        assert_eq!(held.evidence.interval.map(|interval| interval.n), Some(1)); // since the change
        assert_eq!(held.evidence.parents.iter().collect::<Vec<_>>(), [Uuid::of_record("evaluate/score-window/0/aa", 2)]);
    });
}

#[test]
fn several_reports_in_a_row_may_be_asked_for() {
    check(
        &["windows_in_row=3"],
        &[
            ("score ann 0 0.9", ""),
            ("score ann 1 0.9", ""),
            ("score ann 2 0.84", ""),
            ("score ann 3 0.9", ""),
            ("score ann 4 0.9", ""),
            ("score ann 5 0.9", "ann base>promoted: score 0.9 >= threshold 0.85, asks gpus-us-east 1 Manual for 0"),
            ("score ann 6 0.7", ""),
            ("score ann 7 0.7", ""),
            ("score ann 8 0.75", ""),
            ("score ann 9 0.7", ""),
            ("score ann 10 0.7", ""),
            ("score ann 11 0.7", "ann promoted>base: score 0.7 < threshold 0.75, releases gpus-us-east of 0"),
        ],
    );
}

#[test]
fn tiers_are_climbed_one_by_one_and_each_gives_back_its_own() {
    check(
        &["tiers.0.name=silver", "tiers.0.enter=0.8", "tiers.0.exit=0.7", "tiers.1.name=gold", "tiers.1.enter=0.9", "tiers.1.exit=0.85"],
        &[
            ("score ann 0 0.95", "ann base>silver: score 0.95 >= threshold 0.8, asks gpus-us-east 1 Manual for 0"),
            ("score ann 1 0.89", ""),
            ("score ann 2 0.95", "ann silver>gold: score 0.95 >= threshold 0.9, asks gpus-us-east 1 Manual for 1"),
            ("score ann 3 0.99", ""),
            ("score ann 4 0.5", "ann gold>silver: score 0.5 < threshold 0.85, releases gpus-us-east of 1"),
            ("score ann 5 0.5", "ann silver>base: score 0.5 < threshold 0.7, releases gpus-us-east of 0"),
            ("score ann 6 0.5", ""),
        ],
    );
}

#[test]
fn a_refused_allocation_returns_the_tier_and_starts_dwell() {
    check(
        &["dwell=1h"],
        &[
            ("score ann 0 0.9", "ann base>promoted: score 0.9 >= threshold 0.85, asks gpus-us-east 1 Manual for 0"),
            ("score ann 30 0.9", ""),
            ("rejected ann 0", ""),
            ("score ann 40 0.9", "ann held by dwell"),
            ("score ann 50 0.7", ""),                  // of the base there is nothing to lose
            ("score ann 89 0.9", "ann held by dwell"), // an hour after the first promotion, not after its refusal at 30
            ("score ann 90 0.9", "ann base>promoted: score 0.9 >= threshold 0.85, asks gpus-us-east 1 Manual for 1"),
            ("rejected ann 0", ""), // once is enough
            ("score ann 150 0.7", "ann promoted>base: score 0.7 < threshold 0.75, releases gpus-us-east of 1"),
            ("rejected ann 1", ""), // given back by then
            ("score ann 210 0.9", "ann base>promoted: score 0.9 >= threshold 0.85, asks gpus-us-east 1 Manual for 2"),
        ],
    );
}

#[test]
fn a_released_allocation_demotes_at_the_next_evaluation() {
    check(
        &["dwell=1h"],
        &[
            ("score ann 0 0.9", "ann base>promoted: score 0.9 >= threshold 0.85, asks gpus-us-east 1 Manual for 0"),
            ("confirmed ann 0", ""),
            ("released ann 7", ""), // nobody's
            ("score ann 1 0.8", ""),
            ("released ann 0", ""),
            ("score bob 2 0.8", ""),
            ("score ann 2 0.8", "ann promoted>base: allocation released: preempted"), // nothing is left to release
            ("score ann 3 0.9", "ann held by dwell"),
            ("score ann 62 0.9", "ann base>promoted: score 0.9 >= threshold 0.85, asks gpus-us-east 1 Manual for 1"),
            ("score ann 63 0.9", ""),
        ],
    );
}

#[test]
fn a_person_overrides_threshold_tier_and_dwell() {
    check(
        &["dwell=1h"],
        &[
            ("score ann 0 0.1", ""),
            ("promote ann", "ann base>promoted: manual override"), // asks for nothing
            ("demote ann", "ann promoted>base: manual override"),
            ("promote ann west 2", "ann base>promoted: manual override, asks west 2 Manual for 1"),
            ("score ann 59 0.1", "ann held by dwell"),
            ("score ann 60 0.1", "ann promoted>base: score 0.1 < threshold 0.75, releases west of 1"),
            ("demote ann", "ann base>base: manual override"),
        ],
    );
}

#[test]
fn a_proposal_by_hand_carries_its_own_words() {
    let mut stage = Stage::new(&[]);
    stage.command("score ann 5 0.8");
    let emitted = stage.command("promote ann west 2");
    emitted[0].read(|payload| {
        let Payload::PromotionProposed(promotion) = payload else { panic!("{payload:?}") };
        assert_eq!((promotion.rationale, promotion.requested_by, promotion.timestamp), ("manual override", "ops", at(5)));
        let evidence = promotion.evidence;
        assert_eq!((evidence.score, evidence.threshold, evidence.confidence), (None, None, fixed("0.9")));
        assert!(evidence.parents.is_empty());
    });
    emitted[1].read(|payload| {
        let Payload::RequestAllocation(request) = payload else { panic!("{payload:?}") };
        assert_eq!((request.pool, request.delta, request.requested_by), ("west", 2_000, "ops"));
        assert_eq!((request.promotion_id, request.confidence), (Some(emitted[0].id), Some(fixed("0.9"))));
    });
}

/// A promotion by hand at the top raises nothing, so its refusal takes nothing away.
#[test]
fn a_refusal_takes_back_only_what_its_promotion_raised() {
    check(
        &[],
        &[
            ("score ann 0 0.9", "ann base>promoted: score 0.9 >= threshold 0.85, asks gpus-us-east 1 Manual for 0"),
            ("promote ann west 2", "ann promoted>promoted: manual override, asks west 2 Manual for 1"),
            ("rejected ann 1", ""),
            ("score ann 1 0.9", ""),
            ("score ann 2 0.7", "ann promoted>base: score 0.7 < threshold 0.75, releases gpus-us-east of 0"),
        ],
    );
}

/// The second promotion then rests on the tier that the first was to give, and goes back with it.
#[test]
fn a_late_refusal_moves_later_promotions_one_tier_down() {
    check(
        &["tiers.1.name=gold", "tiers.1.enter=0.95", "tiers.1.exit=0.9"],
        &[
            ("score ann 0 0.99", "ann base>promoted: score 0.99 >= threshold 0.85, asks gpus-us-east 1 Manual for 0"),
            ("score ann 1 0.99", "ann promoted>gold: score 0.99 >= threshold 0.95, asks gpus-us-east 1 Manual for 1"),
            ("rejected ann 0", ""),
            ("score ann 2 0.99", "ann promoted>gold: score 0.99 >= threshold 0.95, asks gpus-us-east 1 Manual for 2"),
            ("score ann 3 0.8", "ann gold>promoted: score 0.8 < threshold 0.9, releases gpus-us-east of 2"),
            ("score ann 4 0.7", "ann promoted>base: score 0.7 < threshold 0.75, releases gpus-us-east of 1"),
        ],
    );
}

/// What several promotions obtained at one tier goes back with it, the last first: nobody else would ever give it back.
#[test]
fn a_demotion_gives_back_everything_above_the_tier_it_leads_to() {
    check(
        &[],
        &[
            ("score ann 0 0.9", "ann base>promoted: score 0.9 >= threshold 0.85, asks gpus-us-east 1 Manual for 0"),
            ("promote ann west 2", "ann promoted>promoted: manual override, asks west 2 Manual for 1"),
            ("score ann 2 0.7", "ann promoted>base: score 0.7 < threshold 0.75, releases west of 1, releases gpus-us-east of 0"),
        ],
    );
    check(
        &["tiers.1.name=gold", "tiers.1.enter=0.95", "tiers.1.exit=0.9"],
        &[
            ("score ann 0 0.9", "ann base>promoted: score 0.9 >= threshold 0.85, asks gpus-us-east 1 Manual for 0"),
            ("promote ann", "ann promoted>gold: manual override"),
            ("score ann 1 0.8", "ann gold>promoted: score 0.8 < threshold 0.9"), // that promotion obtained nothing
            ("score ann 2 0.7", "ann promoted>base: score 0.7 < threshold 0.75, releases gpus-us-east of 0"),
        ],
    );
}

#[test]
fn a_person_may_promote_anew_what_lost_its_allocation() {
    check(
        &[],
        &[
            ("score ann 0 0.9", "ann base>promoted: score 0.9 >= threshold 0.85, asks gpus-us-east 1 Manual for 0"),
            ("released ann 0", ""),
            ("promote ann west 2", "ann promoted>promoted: manual override, asks west 2 Manual for 1"),
            ("score ann 1 0.8", ""),
        ],
    );
}

/// Before the first report or Tick no time stands; the promotion's own counts.
#[test]
fn a_refusal_starts_dwell_where_no_report_was_seen_yet() {
    check(
        &["dwell=1h"],
        &[
            ("promote ann west 2", "ann base>promoted: manual override, asks west 2 Manual for 0"),
            ("rejected ann 0", ""),
            ("score ann 59 0.9", "ann held by dwell"),
            ("score ann 60 0.9", "ann base>promoted: score 0.9 >= threshold 0.85, asks gpus-us-east 1 Manual for 1"),
        ],
    );
}

/// An entity above the tiers of a new profile stands at its top, and can still lose that.
#[test]
fn a_profile_with_fewer_tiers_can_still_demote() {
    let mut stage = Stage::new(&["tiers.1.name=gold", "tiers.1.enter=0.95", "tiers.1.exit=0.9"]);
    for command in ["score ann 0 0.99", "score ann 1 0.99"] {
        assert_eq!(stage.command(command).len(), 2);
    }
    stage.configure(&[]);
    assert_eq!(stage.command("score ann 2 0.8"), []);
    let emitted = stage.command("score ann 3 0.7");
    let expected = "ann promoted>base: score 0.7 < threshold 0.75, releases gpus-us-east of 1, releases gpus-us-east of 0";
    assert_eq!(stage.show(&emitted), expected);
}

/// Ingest refused it as `feedback_depth`; the promoter must not act on it either.
#[test]
fn an_outcome_that_was_fed_back_too_often_changes_nothing() {
    use merit_core::Head;
    use merit_core::record::{AllocationOutcome, Outcome};
    for (hops, answer) in [(33, ""), (32, "ann promoted>base: allocation released: gone")] {
        let mut stage = Stage::new(&[]);
        stage.command("score ann 0 0.9");
        let (promotion_id, allocation_id) = (Some(stage.promotions[0]), Uuid([1; 16]));
        let outcome = AllocationOutcome { agent_id: "ann", promotion_id, allocation_id, outcome: Outcome::Released, reason: "gone" };
        let head =
            Head { key: Key::new("ann"), time: at(0), stream: Head::OUTSIDE, sequence: 0, offset: 0, hops, sent: None, headers: None };
        assert_eq!(stage.take(head, &outcome), []);
        let emitted = stage.command("score ann 1 0.9");
        assert_eq!(stage.show(&emitted), answer, "{hops}");
    }
}

#[test]
fn a_proposal_that_ingest_refuses_moves_nobody() {
    use merit_core::record::{Action, ProposePromotion};
    let long = "x".repeat(70_000);
    let (action, confidence, delta) = (Action::Promote, None, Some(1_000));
    let good = ProposePromotion { agent_id: "ann", action, rationale: "", confidence, requested_by: "", pool: Some("west"), delta };
    for (proposal, records) in [
        (good, 2),
        (ProposePromotion { agent_id: &long, ..good }, 0),
        (ProposePromotion { agent_id: "", ..good }, 0),
        (ProposePromotion { rationale: &long, ..good }, 0),
        (ProposePromotion { pool: Some(&long), ..good }, 0),
        (ProposePromotion { delta: Some(0), ..good }, 0),
    ] {
        let mut stage = Stage::new(&[]);
        assert_eq!(stage.outside("ann", (&proposal).into()).len(), records, "{proposal:.40?}");
        stage.checkpoint();
        assert_eq!(stage.standings(), records / 2);
    }
}

/// A job or a request by hand has no promotion: that its units came or went is nothing to the tiers, not even a row of state.
#[test]
fn an_outcome_without_a_promotion_leaves_no_trace() {
    use merit_core::record::{AllocationOutcome, Outcome};
    let mut stage = Stage::new(&[]);
    for outcome in [Outcome::Confirmed, Outcome::Rejected, Outcome::Released] {
        let agent_id = "retrain:00000000-0000-8000-8000-000000000000";
        let record = AllocationOutcome { agent_id, promotion_id: None, allocation_id: Uuid([1; 16]), outcome, reason: "preempted: heat" };
        assert_eq!(stage.outside(agent_id, (&record).into()), []);
    }
    stage.checkpoint();
    assert_eq!(stage.standings(), 0);
}

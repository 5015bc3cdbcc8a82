//! Stories as tables: a command, and what it leads to.

use super::chain::{Chain, Way};
use merit_core::{Payload, Uuid};
use std::format;
use std::string::{String, ToString};
use std::vec::Vec;

/// Runs a table against a chain. Answers of the cluster are not shown.
#[track_caller]
fn play(mut chain: Chain, table: &str) {
    for row in table.lines().map(str::trim).filter(|row| !row.is_empty()) {
        let (command, expected) = row.split_once('|').expect("a row has two columns");
        let emitted = chain.command(command);
        let shown: Vec<String> = emitted.iter().filter_map(|record| record.read(|payload| show(&chain.allocations, payload))).collect();
        assert_eq!(shown.join(", "), expected.trim(), "{}", command.trim());
    }
}

#[track_caller]
fn check(settings: &[&str], table: &str) {
    play(Chain::new(settings, Way::Straight), table);
}

fn show(allocations: &[Uuid], payload: Payload<'_>) -> Option<String> {
    let number = |id: Uuid| allocations.iter().position(|known| *known == id).map_or("?".to_string(), |at| at.to_string());
    Some(match payload {
        Payload::PolicyDecided(r) => format!("Decided {}", r.policy_id),
        Payload::PoolDefined(_) => "PoolDefined".into(),
        Payload::QuotaSet(_) => "QuotaSet".into(),
        Payload::CommandRefused(r) => format!("Refused {}", r.rule),
        Payload::AllocationRequested(r) => format!("Requested {}", number(r.allocation_id)),
        Payload::AllocationPended(r) => {
            let rules: Vec<&str> = r.blockers.iter().map(|blocker| blocker.rule).collect();
            let until = r.not_before.map_or(String::new(), |time| format!(" until {}", time.0));
            format!("Pended {} {}{until}", number(r.allocation_id), rules.join("+"))
        }
        Payload::AllocationApproved(r) => format!("Approved {} by {}", number(r.allocation_id), r.approved_by),
        Payload::AllocationDispatched(r) => format!("Order {}@{}", r.quantity / 1_000, r.fence),
        Payload::AllocationApplied(r) if !allocations.contains(&r.allocation_id) => {
            format!("Taken {} by {} ({}: {})", r.delta / 1_000, r.applied_by, r.policy_id, r.reason)
        }
        Payload::AllocationApplied(r) => format!("Applied {} by {} ({}: {})", number(r.allocation_id), r.applied_by, r.policy_id, r.reason),
        Payload::AllocationConfirmed(r) => format!("Confirmed {}", number(r.allocation_id)),
        Payload::AllocationRejected(r) => format!("Rejected {} {}: {}", number(r.allocation_id), r.policy_id, r.reason),
        Payload::AllocationDraining(r) => format!("Draining {} for {}", number(r.allocation_id), r.reason),
        Payload::AllocationReleased(r) if allocations.contains(&r.allocation_id) => format!("Released {}", number(r.allocation_id)),
        Payload::AllocationReleased(r) => format!("Reclaimed {} leaves {}", r.delta / 1_000, r.quantity / 1_000),
        Payload::AllocationPreempted(r) => {
            let taken: Vec<String> =
                r.taken.iter().map(|part| format!("{} of {}", part.delta / 1_000, number(part.allocation_id))).collect();
            format!("Preempted {} of {} for {}", taken.join(" and "), r.division_id.unwrap_or("several"), r.reason)
        }
        Payload::AllocationOutcome(r) if r.reason.starts_with("preempted") => format!("Told {:?} {}", r.outcome, r.reason),
        Payload::AllocationOutcome(r) => format!("Told {:?}", r.outcome),
        Payload::Recheck(_) => "Recheck".into(),
        _ => return None,
    })
}

/// Seed 001: a person approves what a promotion asked for.
#[test]
fn a_manual_request_is_judged_when_it_is_approved() {
    check(
        &[],
        r#"
        pool gpus 10               | PoolDefined
        ask ann gpus 1 manual      | Decided awaiting_approval, Requested 0, Pended 0 awaiting_approval
        approve 0 allocator-bot    | Decided sentinel-allow, Approved 0 by allocator-bot, Order 1@1, Applied 0 by allocator-bot (sentinel-allow: approved), Confirmed 0, Told Confirmed
        approve 0 allocator-bot    | Refused allocation_not_pending
        ask ann gpus 2 manual      | Decided awaiting_approval, Requested 1, Pended 1 awaiting_approval
        deny gpus other            |
        approve 1 allocator-bot    | Decided sentinel-deny-pool, Rejected 1 sentinel-deny-pool: pool "gpus" is denied, Told Rejected
        approve 1 allocator-bot    | Refused allocation_not_pending
        most 1                     |
        ask ann gpus 2 manual      | Decided awaiting_approval, Requested 2, Pended 2 awaiting_approval
        approve 2 allocator-bot    | Decided sentinel-max-delta, Rejected 2 sentinel-max-delta: delta 2 exceeds 1, the most for one request, Told Rejected
        approve 9 allocator-bot    | Refused allocation_unknown
    "#,
    );
}

#[test]
fn a_denied_pool_wins_over_an_unknown_one() {
    check(
        &[],
        r#"
        ask ann x 1 automatic      | Decided pool_unknown, Requested 0, Rejected 0 pool_unknown: there is no pool "x", Told Rejected
        deny x                     |
        ask ann x 1 automatic      | Decided sentinel-deny-pool, Requested 1, Rejected 1 sentinel-deny-pool: pool "x" is denied, Told Rejected
        ask ann x 1 manual         | Decided awaiting_approval, Requested 2, Pended 2 awaiting_approval
        approve 2 bob              | Decided sentinel-deny-pool, Rejected 2 sentinel-deny-pool: pool "x" is denied, Told Rejected
    "#,
    );
}

#[test]
fn a_person_may_reject_what_waits() {
    check(
        &[],
        r#"
        pool gpus 1                | PoolDefined
        ask ann gpus 1 manual      | Decided awaiting_approval, Requested 0, Pended 0 awaiting_approval
        reject 0 finance-budget    | Rejected 0 finance-budget: no, Told Rejected
        reject 0 finance-budget    | Refused allocation_not_pending
        approve 0 bot              | Refused allocation_not_pending
        reject 5 finance-budget    | Refused allocation_unknown
    "#,
    );
}

#[test]
fn a_burst_is_spread_by_the_cooldown() {
    check(&["policy-gate.request_cooldown=10s"], "
        pool gpus 10               | PoolDefined
        @1000 ask ann gpus 1 manual  | Decided awaiting_approval, Requested 0, Pended 0 awaiting_approval
        ask ann gpus 1 automatic   | Decided sentinel-allow, Requested 1, Approved 1 by allocator, Order 1@1, Applied 1 by allocator (sentinel-allow: approved), Confirmed 1, Told Confirmed
        ask ann gpus 1 automatic   | Decided request_cooldown, Requested 2, Pended 2 request_cooldown until 11000
        approve 0 bob              | Decided request_cooldown, Pended 0 request_cooldown until 21000
        ask eve gpus 1 automatic   | Decided sentinel-allow, Requested 3, Approved 3 by allocator, Order 1@1, Applied 3 by allocator (sentinel-allow: approved), Confirmed 3, Told Confirmed
        tick 10999                 |
        approve 2 bob              |
        tick 11000                 | Approved 2 by allocator, Order 2@2, Applied 2 by allocator (sentinel-allow: approved), Confirmed 2, Told Confirmed
        deny gpus                  |
        tick 30000                 | Rejected 0 sentinel-deny-pool: pool \"gpus\" is denied, Told Rejected
    ");
}

#[test]
fn low_confidence_waits_for_a_person() {
    check(&["policy-gate.confidence=0.7"], "
        pool gpus 10                 | PoolDefined
        ask ann gpus 1 automatic 0.7 | Decided sentinel-allow, Requested 0, Approved 0 by allocator, Order 1@1, Applied 0 by allocator (sentinel-allow: approved), Confirmed 0, Told Confirmed
        ask ann gpus 1 automatic 0.6 | Decided low_confidence, Requested 1, Pended 1 low_confidence
        ask ann gpus 1 automatic     | Decided low_confidence, Requested 2, Pended 2 low_confidence
        drop 2 ann                   | Rejected 2 released: demoted, Told Released
        approve 1 bob                | Decided sentinel-allow, Approved 1 by bob, Order 2@2, Applied 1 by bob (sentinel-allow: approved), Confirmed 1, Told Confirmed
    ");
}

#[test]
fn a_full_division_waits_until_units_come_back() {
    check(&[], "
        pool gpus 4                | PoolDefined
        quota gpus red 3           | QuotaSet
        quota gpus blue 1          | QuotaSet
        quota gpus green 1         | Refused quota_exceeds_capacity
        quota none green 1         | Refused pool_unknown
        pool gpus 3                | Refused quota_exceeds_capacity
        home ann red               |
        home eve red               |
        ask ann gpus 4 automatic   | Decided sentinel-allow, Requested 0, Rejected 0 exceeds_max_quota: 4 GPUs exceed 3, the most that division \"red\" may hold, Told Rejected
        ask zoe gpus 1 automatic   | Decided sentinel-allow, Requested 1, Rejected 1 exceeds_max_quota: 1 GPUs exceed 0, the most that division \"default\" may hold, Told Rejected
        ask ann gpus 2 automatic   | Decided sentinel-allow, Requested 2, Approved 2 by allocator, Order 2@1, Applied 2 by allocator (sentinel-allow: approved), Confirmed 2, Told Confirmed
        ask eve gpus 2 automatic   | Decided sentinel-allow, Requested 3, Pended 3 waiting_for_quota+waiting_for_capacity
        ask eve gpus 2 manual      | Decided awaiting_approval, Requested 4, Pended 4 awaiting_approval
        approve 4 bob              | Decided sentinel-allow, Pended 4 waiting_for_quota+waiting_for_capacity
        approve 4 eve              |
        drop 2 ann                 | Draining 2 for demoted, Order 0@2, Released 2, Told Released, Recheck, Approved 3 by allocator, Order 2@1, Applied 3 by allocator (sentinel-allow: approved), Confirmed 3, Told Confirmed
        release 3 eve              | Draining 3 for done, Order 0@2, Released 3, Told Released, Recheck, Approved 4 by bob, Order 2@3, Applied 4 by bob (sentinel-allow: approved), Confirmed 4, Told Confirmed
    ");
}

#[test]
fn without_quotas_a_pool_is_first_come_first_served() {
    check(&[], "
        pool gpus 2                | PoolDefined
        home ann red               |
        ask ann gpus 2 automatic   | Decided sentinel-allow, Requested 0, Approved 0 by allocator, Order 2@1, Applied 0 by allocator (sentinel-allow: approved), Confirmed 0, Told Confirmed
        ask zoe gpus 1 automatic   | Decided sentinel-allow, Requested 1, Pended 1 waiting_for_capacity
        pool gpus 3 hold           | PoolDefined
        pool gpus 3                | PoolDefined, Recheck, Approved 1 by allocator, Order 1@1, Applied 1 by allocator (sentinel-allow: approved), Confirmed 1, Told Confirmed
        pool gpus 1                | PoolDefined
        ask eve gpus 1 automatic   | Decided sentinel-allow, Requested 2, Pended 2 waiting_for_capacity
        drop 0 ann                 | Draining 0 for demoted, Order 0@2, Released 0, Told Released
        drop 1 zoe                 | Draining 1 for demoted, Order 0@2, Released 1, Told Released, Recheck, Approved 2 by allocator, Order 1@1, Applied 2 by allocator (sentinel-allow: approved), Confirmed 2, Told Confirmed
        pool gpus 2000000000000000 | Refused capacity_too_large
    ");
}

#[test]
fn a_held_pool_lets_requests_wait() {
    check(&[], "
        pool gpus 2 hold           | PoolDefined
        ask ann gpus 1 automatic   | Decided sentinel-allow, Requested 0, Pended 0 pool_held
        ask ann gpus 3 automatic   | Decided sentinel-allow, Requested 1, Rejected 1 exceeds_max_quota: 3 GPUs exceed 2, the most that division \"default\" may hold, Told Rejected
        pool gpus 2                | PoolDefined, Recheck, Approved 0 by allocator, Order 1@1, Applied 0 by allocator (sentinel-allow: approved), Confirmed 0, Told Confirmed
    ");
}

#[test]
fn what_is_released_while_it_is_ordered_drains_once_it_is_there() {
    check(
        &["simulated-cluster.acknowledge_after=1s", "simulated-cluster.observe_after=5s"],
        "
        pool gpus 2                | PoolDefined
        tick 1000                  |
        ask ann gpus 1 automatic   | Decided sentinel-allow, Requested 0, Approved 0 by allocator, Order 1@1
        drop 0 ann                 |
        drop 0 ann                 |
        release 0 ann              | Refused nothing_to_release
        ask ann gpus 1 automatic   | Decided sentinel-allow, Requested 1, Approved 1 by allocator
        ask eve gpus 1 automatic   | Decided sentinel-allow, Requested 2, Pended 2 waiting_for_capacity
        drop 1 ann                 | Rejected 1 released: demoted, Told Released, Recheck, Approved 2 by allocator, Order 1@1
        tick 1999                  |
        tick 2000                  | Applied 0 by allocator (sentinel-allow: approved), Applied 2 by allocator (sentinel-allow: approved)
        tick 6000                  | Confirmed 0, Told Confirmed, Draining 0 for demoted, Order 0@2, Confirmed 2, Told Confirmed
        tick 11000                 | Released 0, Told Released
        drop 0 ann                 |
        release 0 ann              | Refused nothing_to_release
        release 7 ann              | Refused allocation_unknown
    ",
    );
}

#[test]
fn a_cluster_may_refuse_and_repeat_itself() {
    play(Chain::without_cluster(), "
        pool gpus 2                | PoolDefined
        ask ann gpus 1 automatic   | Decided sentinel-allow, Requested 0, Approved 0 by allocator, Order 1@1
        ask ann gpus 1 automatic   | Decided sentinel-allow, Requested 1, Approved 1 by allocator
        ask eve gpus 1 automatic   | Decided sentinel-allow, Requested 2, Pended 2 waiting_for_capacity
        refused 0 ann gpus 9       |
        refused 0 ann gpus 1       | Rejected 0 cluster_refused: no node, Told Rejected, Order 1@2, Recheck, Approved 2 by allocator, Order 1@1
        observed ann gpus 1 1      |
        observed ann gpus 7 2      |
        acked 0 ann gpus 1         |
        acked 1 ann gpus 1         |
        observed ann gpus 1 2      | Applied 1 by allocator (sentinel-allow: approved), Confirmed 1, Told Confirmed
        acked 1 ann gpus 2         |
        observed ann gpus 1 2      |
        release 1 ann              | Draining 1 for done, Order 0@3
        refused 1 ann gpus 3       |
        observed ann gpus 0 3      | Released 1, Told Released
        observed bob gpus 0 3      |
    ");
}

#[test]
fn whatever_pool_a_person_asks_for_waits_for_approval() {
    check(
        &[],
        r#"
        ask ann nowhere 1 manual   | Decided awaiting_approval, Requested 0, Pended 0 awaiting_approval
        approve 0 bob              | Decided pool_unknown, Rejected 0 pool_unknown: there is no pool "nowhere", Told Rejected
    "#,
    );
}

#[test]
fn what_is_out_of_bounds_is_refused_by_name_and_judged_by_nobody() {
    let long = "x".repeat(70_000);
    let (manual, requested) = (format!("ask {long} gpus 1 manual"), "Decided awaiting_approval, Requested 0, Pended 0 awaiting_approval");
    let mut chain = Chain::new(&[], Way::Straight);
    for (command, expected) in [
        ("pool gpus 10", "PoolDefined"),
        ("ask ann gpus 0 manual", "Refused delta_not_positive"),
        ("ask ann gpus 0 automatic", "Refused delta_not_positive"), // by a processor too
        (&manual, "Refused text_invalid"),
        ("ask ann gpus 1 manual", requested),
        (&format!("approve 0 {long}"), "Refused text_invalid"),
        (&format!("reject 0 {long}"), "Refused text_invalid"),
        (&format!("release 0 {long}"), "Refused text_invalid"),
        (&format!("preempt {long} gpus 1"), "Refused text_invalid"),
        (&format!("preempt ann {long} 1"), "Refused text_invalid"),
        (&format!("pool {long} 1"), "Refused text_invalid"),
        (&format!("quota gpus {long} 1"), "Refused text_invalid"),
        (&format!("acked 0 {long} gpus 1"), "Refused text_invalid"),
        (&format!("observed {long} gpus 1 1"), "Refused text_invalid"),
        (&format!("refused 0 ann {long} 1"), "Refused text_invalid"),
        ("reject 0 no", "Rejected 0 no: no, Told Rejected"), // all that left it alone
    ] {
        let emitted = chain.command(command);
        let shown: Vec<String> = emitted.iter().filter_map(|record| record.read(|payload| show(&chain.allocations, payload))).collect();
        assert_eq!(shown.join(", "), expected, "{:.40}", command);
        assert!(emitted.iter().all(|record| record.key.len() <= 256), "{command:.40}");
    }
}

#[test]
fn a_preemption_takes_the_newest_first_and_the_last_in_part() {
    check(&[], "
        pool gpus 6                | PoolDefined
        ask ann gpus 3 automatic   | Decided sentinel-allow, Requested 0, Approved 0 by allocator, Order 3@1, Applied 0 by allocator (sentinel-allow: approved), Confirmed 0, Told Confirmed
        ask ann gpus 2 automatic   | Decided sentinel-allow, Requested 1, Approved 1 by allocator, Order 5@2, Applied 1 by allocator (sentinel-allow: approved), Confirmed 1, Told Confirmed
        ask eve gpus 2 automatic   | Decided sentinel-allow, Requested 2, Pended 2 waiting_for_capacity
        ask ann gpus 2 automatic   | Decided sentinel-allow, Requested 3, Pended 3 waiting_for_capacity
        preempt ann gpus 6         | Refused nothing_to_preempt
        preempt eve gpus 1         | Refused nothing_to_preempt
        preempt ann other 1        | Refused pool_unknown
        preempt ann gpus 0         | Refused delta_not_positive
        preempt ann gpus 3         | Preempted 2 of 1 and 1 of 0 of default for heat, Told Released preempted: heat, Order 2@3, Taken 3 by ops (preempted: heat), Reclaimed 3 leaves 2, Recheck, Approved 2 by allocator, Order 2@1, Approved 3 by allocator, Order 4@4, Applied 2 by allocator (sentinel-allow: approved), Confirmed 2, Told Confirmed, Applied 3 by allocator (sentinel-allow: approved), Confirmed 3, Told Confirmed
        drop 1 ann                 |
        release 1 ann              | Refused nothing_to_release
        drop 0 ann                 | Draining 0 for demoted, Order 2@5, Released 0, Told Released
        preempt ann gpus 2         | Preempted 2 of 3 of default for heat, Told Released preempted: heat, Order 0@6, Taken 2 by ops (preempted: heat), Reclaimed 2 leaves 0
        preempt ann gpus 1         | Refused nothing_to_preempt
    ");
}

#[test]
fn a_preemption_waits_its_turn_and_takes_only_what_is_in_place() {
    check(
        &["simulated-cluster.acknowledge_after=1s", "simulated-cluster.observe_after=5s"],
        "
        pool gpus 9                | PoolDefined
        tick 1000                  |
        home ann red               |
        ask ann gpus 2 automatic   | Decided sentinel-allow, Requested 0, Approved 0 by allocator, Order 2@1
        preempt ann gpus 1         | Refused nothing_to_preempt
        tick 6000                  | Applied 0 by allocator (sentinel-allow: approved), Confirmed 0, Told Confirmed
        home ann blue              |
        ask ann gpus 2 automatic   | Decided sentinel-allow, Requested 1, Approved 1 by allocator, Order 4@2
        preempt ann gpus 1         | Preempted 1 of 0 of red for heat
        preempt ann gpus 2         | Refused nothing_to_preempt
        preempt ann gpus 1         | Preempted 1 of 0 of red for heat, Told Released preempted: heat
        tick 11000                 | Applied 1 by allocator (sentinel-allow: approved), Confirmed 1, Told Confirmed, Order 3@3
        ask ann gpus 1 automatic   | Decided sentinel-allow, Requested 2, Approved 2 by allocator
        tick 12000                 | Taken 1 by ops (preempted: heat)
        tick 16000                 | Reclaimed 1 leaves 3, Order 2@4
        tick 21000                 | Taken 1 by ops (preempted: heat), Reclaimed 1 leaves 2, Order 3@5
        home ann red               |
        tick 26000                 | Applied 2 by allocator (sentinel-allow: approved), Confirmed 2, Told Confirmed
        ask ann gpus 1 automatic   | Decided sentinel-allow, Requested 3, Approved 3 by allocator, Order 4@6
        tick 31000                 | Applied 3 by allocator (sentinel-allow: approved), Confirmed 3, Told Confirmed
        preempt ann gpus 4         | Preempted 1 of 3 and 1 of 2 and 2 of 1 of several for heat, Told Released preempted: heat, Told Released preempted: heat, Told Released preempted: heat, Order 0@7
        tick 36000                 | Taken 4 by ops (preempted: heat), Reclaimed 4 leaves 0
    ",
    );
}

/// A cluster that refuses to take units back has them still: the order stands, as that of a release does.
#[test]
fn a_preemption_stands_until_it_is_observed() {
    play(
        Chain::without_cluster(),
        "
        pool gpus 2                | PoolDefined
        ask ann gpus 2 automatic   | Decided sentinel-allow, Requested 0, Approved 0 by allocator, Order 2@1
        observed ann gpus 2 1      | Applied 0 by allocator (sentinel-allow: approved), Confirmed 0, Told Confirmed
        preempt ann gpus 1         | Preempted 1 of 0 of default for heat, Order 1@2
        approve 100 bob            | Refused allocation_not_pending
        release 100 ann            | Refused nothing_to_release
        refused 100 ann gpus 2     |
        acked 100 ann gpus 2       | Taken 1 by ops (preempted: heat)
        acked 100 ann gpus 2       |
        observed ann gpus 2 2      |
        observed ann gpus 1 2      | Reclaimed 1 leaves 1
        observed ann gpus 1 2      |
        approve 100 bob            | Refused allocation_not_pending
    ",
    );
}

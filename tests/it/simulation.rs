//! The pipeline on a simulated broker, where one seed decides what breaks.

use merit::simulate::simulation;
use merit_runtime::sim::{Fault, Sabotage, Step};
use merit_tests::process::merit;
use std::collections::BTreeSet;

#[test]
fn nothing_breaks_a_rule_in_two_thousand_seeds() {
    let total = merit(["simulate", "--seeds", "2000", "--json"]).ok().json();
    assert_eq!((total["seeds"].as_u64(), total["failed"].as_u64()), (Some(2_000), Some(0)));
    assert!(total["fenced"].as_u64() > Some(2_000), "{total:#}");
    assert!(total["fewestFaults"].as_u64() >= Some(20), "{total:#}");
    let happened = |of: &str, name: &str| assert!(total[of][name].as_u64() > Some(0), "no {name} among {of}");
    Fault::ALL.iter().for_each(|fault| happened("faults", fault.name()));
    Step::ALL.iter().for_each(|step| happened("crashes", &format!("{step:?}")));
    let rare = [
        "Held",
        "ReviewRequired",
        "AllocationConfirmed",
        "AllocationReleased",
        "AllocationPreempted",
        "AllocationOutcome",
        "Recheck",
        "RetrainQueued",
        "RetrainUpdated",
        "Rejected",
        "ReportLate",
    ];
    rare.iter().for_each(|kind| happened("records", kind));
}

#[test]
fn the_same_seed_is_the_same_run() {
    let simulation = simulation();
    let mut traces = BTreeSet::new();
    for seed in 0..20 {
        let run = simulation.run(seed, None);
        assert_eq!(run, simulation.run(seed, None));
        traces.insert(run.trace);
    }
    assert_eq!(traces.len(), 20);
}

#[test]
#[expect(clippy::print_stdout, reason = "which rule finds it, and where, is for a person to see")]
fn each_sabotage_is_found_within_two_hundred_seeds() {
    let simulation = simulation();
    for (sabotage, rules) in [
        (Sabotage::Initialisation, &["refold", "sequence", "chain"] as &[&str]),
        (Sabotage::Comparison, &["chain", "replay"]),
        (Sabotage::Position, &["refold"]),
        (Sabotage::Suppression, &["sequence"]),
        (Sabotage::Fence, &["refold", "replay", "state"]),
        (Sabotage::Ownership, &["sequence", "refold"]),
        (Sabotage::Epoch, &["refold", "replay", "state"]),
        (Sabotage::Loss, &["refold", "replay", "state"]),
    ] {
        let broken = |seed| simulation.run(seed, Some(sabotage)).broken.filter(|broken| rules.contains(&broken.invariant));
        let found = (0..200).find_map(|seed| Some((seed, broken(seed)?)));
        let (seed, broken) = found.unwrap_or_else(|| panic!("200 seeds do not find {sabotage:?} by {rules:?}"));
        println!("{sabotage:?} is found at seed {seed} by `{}`: {}", broken.invariant, broken.detail);
    }
}

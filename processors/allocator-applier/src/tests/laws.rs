//! Laws that hold for any commands: I1, I2, I4, I5, I7 and I9 of the reference, and that a checkpoint changes nothing.

use super::chain::{Chain, Owned, Way};
use super::model::run;
use merit_core::Kind;
use proptest::prelude::*;
use proptest::sample::select;
use std::format;
use std::string::{String, ToString};
use std::vec::Vec;

fn command() -> impl Strategy<Value = String> {
    let pool = || select(vec!["p", "q"]);
    let agent = || select(vec!["ann", "bob", "eve"]);
    let division = || select(vec!["red", "blue", "default"]);
    let which = || 0..25_u8;
    prop_oneof![
        2 => (pool(), 0..9_u8, any::<bool>()).prop_map(|(p, n, hold)| format!("pool {p} {n}{}", if hold && n == 8 { " hold" } else { "" })),
        2 => (pool(), division(), 0..5_u8).prop_map(|(p, d, n)| format!("quota {p} {d} {n}")),
        1 => (agent(), division()).prop_map(|(a, d)| format!("home {a} {d}")),
        1 => select(vec!["deny q", "deny", "most 3"]).prop_map(|text| text.to_string()),
        9 => (agent(), pool(), 0..5_u8, select(vec!["manual", "automatic", "automatic 0.9"]))
            .prop_map(|(a, p, n, how)| format!("ask {a} {p} {n} {how}")),
        5 => which().prop_map(|n| format!("approve {n} bot")),
        1 => which().prop_map(|n| format!("reject {n} no")),
        3 => (which(), agent()).prop_map(|(n, a)| format!("release {n} {a}")),
        3 => (which(), agent()).prop_map(|(n, a)| format!("drop {n} {a}")),
        4 => (agent(), pool(), 0..5_u8).prop_map(|(a, p, n)| format!("preempt {a} {p} {n}")),
        3 => (which(), agent(), pool(), 1..6_u8).prop_map(|(n, a, p, fence)| format!("refused {n} {a} {p} {fence}")),
    ]
}

/// Commands between ticks that move on by up to 8 s.
fn commands() -> impl Strategy<Value = Vec<String>> {
    let steps = proptest::collection::vec((command(), 0..8_000_u64), 1..60);
    steps.prop_map(|steps| {
        let mut commands = Vec::from(["pool p 8".to_string(), "pool q 3".to_string()]);
        let mut now = 0;
        for (command, later) in steps {
            now += later;
            commands.push(command);
            commands.push(format!("tick {now}"));
        }
        // What an order waits for: an earlier order of that entity and pool, and so on.
        commands.extend((1..200).map(|step| format!("tick {}", now + step * 60_000)));
        commands
    })
}

fn settings() -> impl Strategy<Value = Vec<&'static str>> {
    let delay = select(vec!["simulated-cluster.observe_after=0ms", "simulated-cluster.observe_after=5s"]);
    let cooldown = select(vec!["policy-gate.request_cooldown=0ms", "policy-gate.request_cooldown=10s"]);
    let confidence = select(vec!["policy-gate.confidence=0", "policy-gate.confidence=0.5"]);
    (delay, cooldown, confidence).prop_map(|(delay, cooldown, confidence)| Vec::from([delay, cooldown, confidence]))
}

/// Everything but the answers of the cluster.
fn decisions(records: &[Owned]) -> Vec<&Owned> {
    records.iter().filter(|record| !matches!(record.kind, Kind::Acked | Kind::Observed)).collect()
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 300, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn the_ledger_holds_whatever_is_asked(commands in commands(), settings in settings()) {
        let (_, model) = run(Chain::new(&settings, Way::Straight), &commands, 0);
        model.settled();
        model.no_idle_units();
    }

    #[test]
    fn a_repeated_answer_changes_nothing(commands in commands(), settings in settings()) {
        let (once, _) = run(Chain::new(&settings, Way::Straight), &commands, 0);
        let (repeated, _) = run(Chain::new(&settings, Way::Repeated), &commands, 0);
        prop_assert_eq!(decisions(&repeated), decisions(&once));
    }

    #[test]
    fn an_observation_may_come_before_its_acknowledgement(commands in commands(), settings in settings()) {
        let (_, straight) = run(Chain::new(&settings, Way::Straight), &commands, 0);
        let (_, swapped) = run(Chain::new(&settings, Way::Swapped), &commands, 0);
        prop_assert_eq!(swapped, straight);
    }

    #[test]
    fn a_checkpoint_changes_nothing(commands in commands(), settings in settings(), every in 1..5_usize) {
        let (straight, _) = run(Chain::new(&settings, Way::Straight), &commands, 0);
        let (reloaded, _) = run(Chain::new(&settings, Way::Straight), &commands, every);
        prop_assert_eq!(reloaded, straight);
    }
}

/// A batch looks at 256, and the next goes on behind the last: the 301st is served although nobody before it can be.
#[test]
fn a_recheck_goes_on_behind_a_full_batch() {
    let mut chain = Chain::new(&[], Way::Straight);
    for command in ["pool p 4", "quota p red 2", "quota p blue 2", "home ann red", "home bob red", "home eve blue"] {
        chain.command(command);
    }
    for command in ["ask ann p 1 automatic", "ask eve p 2 automatic"] {
        chain.command(command);
    }
    for _ in 0..300 {
        chain.command("ask bob p 2 automatic");
    }
    chain.command("ask eve p 1 automatic");
    let emitted = chain.command("drop 1 eve");
    let count = |kind: Kind| emitted.iter().filter(|record| record.kind == kind).count();
    assert_eq!((count(Kind::Recheck), count(Kind::AllocationApproved)), (2, 1));
}

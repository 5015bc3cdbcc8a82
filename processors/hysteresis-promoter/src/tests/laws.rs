//! Laws that hold for any records: few changes, a chain of tiers without gaps, nothing kept that nobody holds a tier for, and no
//! difference between a stop and none.

use super::stage::{Emitted, Stage};
use merit_core::{Kind, Payload, Uuid};
use proptest::prelude::*;
use proptest::sample::select;
use std::collections::{BTreeMap, BTreeSet};
use std::format;
use std::string::{String, ToString};
use std::vec::Vec;

const GOLD: &[&str] = &["tiers.1.name=gold", "tiers.1.enter=0.95", "tiers.1.exit=0.9"];

fn report_profile() -> Vec<&'static str> {
    [GOLD, &["dwell=3h"]].concat()
}

fn window_profile() -> Vec<&'static str> {
    // An alpha that lets few reports prove something.
    [GOLD, &["evaluate=window", "window=1h", "windows_in_row=2", "min_reports=2", "alpha=0.999", "dwell=3h"]].concat()
}

/// A score that stays as it is for a while, so that intervals prove something.
fn score(agent: &'static str) -> impl Strategy<Value = String> {
    let level = select(&["1", "0.97", "0.9", "0.8", "0.1", "0"][..]);
    (level, 1..25_u8).prop_map(move |(level, n)| format!("scores {agent} NOW {level} {n}"))
}

fn command() -> impl Strategy<Value = String> {
    let agent = || select(&["ann", "bob", "eve"][..]);
    prop_oneof![
        20 => agent().prop_flat_map(score),
        2 => Just("tick NOW".to_string()),
        1 => agent().prop_map(|agent| format!("home {agent} red")),
        1 => agent().prop_map(|agent| format!("promote {agent}")),
        1 => agent().prop_map(|agent| format!("promote {agent} west 2")),
        1 => agent().prop_map(|agent| format!("demote {agent}")),
        3 => (agent(), select(&["confirmed", "rejected", "released"][..]), 0..12_u8).prop_map(|(agent, how, n)| format!("{how} {agent} {n}")),
    ]
}

/// Commands with the minutes that pass before each; a report may be up to 10 minutes old.
fn commands() -> impl Strategy<Value = Vec<String>> {
    let step = (command(), prop_oneof![4 => 0..15_i64, 2 => 0..90_i64, 1 => 0..500_i64], 0..10_i64);
    proptest::collection::vec(step, 1..80).prop_map(|steps| {
        let mut now = 0;
        let mut commands = Vec::new();
        for (command, passes, lag) in steps {
            now += passes;
            commands.push(command.replace("NOW", &(now - lag).to_string()));
        }
        commands
    })
}

/// Only what the promoter does by itself: no people, no outcomes.
fn alone(commands: &[String]) -> Vec<&String> {
    commands.iter().filter(|command| command.starts_with("scores") || command.starts_with("tick")).collect()
}

struct Change {
    agent: String,
    from: String,
    to: String,
    at: i64,
}

fn change(record: &Emitted) -> Option<Change> {
    record.read(|payload| {
        let (agent, from, to, at) = match payload {
            Payload::PromotionProposed(r) => (r.agent_id, r.from_tier, r.to_tier, r.timestamp),
            Payload::DemotionProposed(r) => (r.agent_id, r.from_tier, r.to_tier, r.timestamp),
            _ => return None,
        };
        Some(Change { agent: agent.into(), from: from.into(), to: to.into(), at: at.0 })
    })
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 300, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn a_tier_changes_at_most_once_in_a_dwell(commands in commands(), windows: bool) {
        let mut stage = Stage::new(&if windows { window_profile() } else { report_profile() });
        let mut last = BTreeMap::new();
        for command in alone(&commands) {
            for change in stage.command(command).iter().filter_map(change) {
                if let Some(before) = last.insert(change.agent, change.at) {
                    prop_assert!(change.at - before >= 3 * 3_600_000, "{} ms after the last", change.at - before);
                }
            }
        }
    }

    #[test]
    fn proposals_are_changes_of_tier_without_a_gap(commands in commands(), windows: bool) {
        let mut stage = Stage::new(&if windows { window_profile() } else { report_profile() });
        let mut tiers = BTreeMap::new();
        for command in alone(&commands) {
            for Change { agent, from, to, .. } in stage.command(command).iter().filter_map(change) {
                prop_assert_ne!(&from, &to);
                let before = tiers.insert(agent, to).unwrap_or("base".to_string());
                prop_assert_eq!(from, before);
            }
        }
    }

    /// Each promotion's request is given back once at most; and after a fall to the base, nothing of the entity is left held.
    #[test]
    fn at_the_base_nothing_is_held(commands in commands(), windows: bool) {
        let mut stage = Stage::new(&if windows { window_profile() } else { report_profile() });
        let mut held: BTreeMap<String, BTreeSet<Uuid>> = BTreeMap::new();
        for command in &commands {
            let emitted = stage.command(command);
            if let [how @ ("rejected" | "released"), agent, number] = command.split(' ').collect::<Vec<_>>()[..] {
                let promotion = stage.promotions.get(number.parse::<usize>().expect("a number"));
                let gone = promotion.is_some_and(|id| held.entry(agent.into()).or_default().remove(id));
                prop_assert!(emitted.is_empty(), "{how} {gone}");
            }
            let mut fallen = Vec::new();
            for record in &emitted {
                record.read(|payload| match payload {
                    Payload::RequestAllocation(r) => {
                        held.entry(r.agent_id.into()).or_default().extend(r.promotion_id);
                    }
                    Payload::Release(r) => {
                        let own = held.entry(r.agent_id.into()).or_default();
                        assert!(r.promotion_id.is_some_and(|id| own.remove(&id)), "released twice, or never asked for");
                    }
                    Payload::DemotionProposed(r) if r.to_tier == "base" => fallen.push(r.agent_id.to_string()),
                    _ => {}
                });
            }
            for agent in fallen {
                prop_assert!(held.get(&agent).is_none_or(BTreeSet::is_empty), "{agent} keeps something after {command}");
            }
        }
    }

    #[test]
    fn a_checkpoint_changes_nothing(commands in commands(), windows: bool, checkpoint in 1..5_usize, reload in 1..9_usize) {
        let settings = if windows { window_profile() } else { report_profile() };
        let (mut straight, mut stopped) = (Stage::new(&settings), Stage::new(&settings));
        for (at, command) in commands.iter().enumerate() {
            if at % checkpoint == 0 {
                stopped.checkpoint();
            }
            if at % reload == 0 {
                stopped.reload();
            }
            prop_assert_eq!(stopped.command(command), straight.command(command), "{}", command);
        }
        stopped.checkpoint();
        straight.checkpoint();
        prop_assert_eq!(&stopped.rows, &straight.rows);
    }
}

/// The streams above are no use unless they reach every kind of output.
#[test]
fn the_streams_of_these_laws_reach_every_output() {
    use proptest::strategy::ValueTree;
    use proptest::test_runner::TestRunner;
    let mut runner = TestRunner::deterministic();
    for settings in [report_profile(), window_profile()] {
        let mut seen = BTreeSet::new();
        for _ in 0..100 {
            let commands = commands().new_tree(&mut runner).expect("a stream").current();
            let mut stage = Stage::new(&settings);
            commands.iter().for_each(|command| seen.extend(stage.command(command).iter().map(|record| record.kind)));
        }
        let all = [Kind::PromotionProposed, Kind::DemotionProposed, Kind::Held, Kind::RequestAllocation, Kind::Release];
        assert!(all.iter().all(|kind| seen.contains(kind)), "{seen:?}");
    }
}

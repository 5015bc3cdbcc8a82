//! Laws that hold for any inputs: each is in exactly one class, duplicates are what a full history says, a checkpoint changes nothing.

use super::desk::{Desk, Emitted, GOOD, NOW, show};
use crate::state::Counts;
use merit_core::record::*;
use merit_core::{EventTime, Fixed, Key, List, Uuid};
use proptest::prelude::*;
use proptest::sample::select;
use std::collections::HashMap;
use std::format;
use std::string::{String, ToString};
use std::vec::Vec;

const AGENTS: [&str; 5] = ["ann", "bob", "eve", "zoe", "foobar"];

#[derive(Clone, Debug)]
enum Input {
    /// Agent, id, metric name, value, division.
    Report(&'static str, Option<u8>, u8, Fixed, Option<&'static str>),
    Raw,
    Assign(&'static str, &'static str),
    Propose(&'static str),
    Outcome(&'static str, u8),
    Tick,
}

fn input() -> impl Strategy<Value = Input> {
    let agent = || select(&AGENTS[..]);
    let id = proptest::option::weighted(0.7, 0..8_u8);
    let value = select(&[Fixed(0), Fixed(930_000), Fixed::ONE, Fixed(1_000_001)][..]);
    let division = || select(&["red", "blue"][..]);
    prop_oneof![
        12 => (agent(), id, 0..20_u8, value, proptest::option::of(division()))
            .prop_map(|(agent, id, metric, value, division)| Input::Report(agent, id, metric, value, division)),
        1 => Just(Input::Raw),
        2 => (agent(), select(&["red", "blue", ""][..])).prop_map(|(agent, division)| Input::Assign(agent, division)),
        1 => select(&["ann", "bob", ""][..]).prop_map(Input::Propose),
        1 => (agent(), 31..35_u8).prop_map(|(agent, hops)| Input::Outcome(agent, hops)),
        1 => Just(Input::Tick),
    ]
}

fn take(desk: &mut Desk, input: &Input) -> Vec<Emitted> {
    match *input {
        Input::Report(agent_id, id, metric, value, division_id) => {
            let (id, name) = (id.map(|id| id.to_string()), format!("m{metric}"));
            let metrics = [Metric { name: &name, value }];
            desk.report(EvalReport { id: id.as_deref(), agent_id, division_id, metrics: List::Slice(&metrics), ..GOOD })
        }
        Input::Raw => desk.take("probe", &RawReport { source: "probe", rule: "json_invalid", detail: "no", bytes: b"{" }),
        Input::Assign(agent_id, division_id) => desk.take(agent_id, &AssignEntity { agent_id, division_id, product_id: None }),
        Input::Propose(agent_id) => {
            let (action, confidence, rationale, requested_by) = (Action::Promote, None, "why not", "ann");
            let proposal = ProposePromotion { agent_id, action, rationale, confidence, requested_by, pool: None, delta: None };
            desk.take(agent_id, &proposal)
        }
        Input::Outcome(agent_id, hops) => {
            let (promotion_id, allocation_id, outcome, reason) = (None, Uuid([1; 16]), Outcome::Confirmed, "");
            desk.take_at(NOW, hops, agent_id, &AllocationOutcome { agent_id, promotion_id, allocation_id, outcome, reason })
        }
        Input::Tick => desk.take("", &Tick { time: EventTime(NOW.0 + 1) }),
    }
}

/// The classes in the order of [`Counts`].
fn classes(counts: &Counts) -> [u64; 7] {
    let Counts { accepted, duplicate, rejected, rerouted, commands, fed_back, control } = *counts;
    [accepted, duplicate, rejected, rerouted, commands, fed_back, control]
}

/// What a full history says about each input: the class it is in and, for a report that does not count, why.
#[derive(Default)]
struct History {
    contents: HashMap<u8, String>,
    metrics: HashMap<&'static str, Vec<u8>>,
}

impl History {
    fn judge(&mut self, input: &Input) -> (usize, &'static str) {
        let Input::Report(agent, id, metric, value, _) = *input else {
            return match input {
                Input::Raw => (2, "rejected json_invalid"),
                Input::Outcome(_, 33..) => (2, "rejected feedback_depth"),
                Input::Outcome(..) => (5, ""),
                Input::Tick => (6, ""),
                Input::Assign(_, "") => (2, "rejected division_id_invalid"),
                Input::Propose("") => (2, "rejected agent_id_invalid"),
                Input::Assign(..) | Input::Propose(_) | Input::Report(..) => (4, ""),
            };
        };
        if Key::new(agent).partition(2) != 0 {
            return (3, "rerouted");
        }
        if value > Fixed::ONE {
            return (2, "rejected metric_range");
        }
        let content = format!("{input:?}");
        match id.and_then(|id| self.contents.get(&id)) {
            Some(first) if *first == content => return (1, "counted at offset"),
            Some(_) => return (2, "rejected id_reused"),
            None => {}
        }
        let known = self.metrics.entry(agent).or_default();
        if !known.contains(&metric) {
            if known.len() == 16 {
                return (2, "rejected metric_names");
            }
            known.push(metric);
        }
        if let Some(id) = id {
            self.contents.insert(id, content);
        }
        (0, "counts for")
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 300, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn every_input_is_in_exactly_the_class_that_a_full_history_gives_it(inputs in proptest::collection::vec(input(), 1..150)) {
        let (mut desk, mut history) = (Desk::partition(0, 2, &[]), History::default());
        let mut expected = [0; 7];
        for input in &inputs {
            let emitted = take(&mut desk, input);
            let (class, words) = history.judge(input);
            expected[class] += 1;
            prop_assert!(show(&emitted).contains(words), "{input:?} gave {:?}, not {words:?}", show(&emitted));
            if class != 0 && words.is_empty() {
                let told = emitted.iter().all(|record| show(core::slice::from_ref(record)).starts_with("home of"));
                prop_assert!(told, "{input:?} gave {:?}", show(&emitted));
            }
            prop_assert_eq!(classes(&desk.counts()), expected, "{:?}", input);
        }
        prop_assert_eq!(classes(&desk.counts()).iter().sum::<u64>(), inputs.len() as u64);
    }

    #[test]
    fn a_checkpoint_changes_nothing(inputs in proptest::collection::vec((input(), 0..3_u8), 1..120)) {
        let (mut straight, mut stopped) = (Desk::partition(0, 2, &[]), Desk::partition(0, 2, &[]));
        for (input, stop) in &inputs {
            match stop {
                0 => stopped.reload(),
                1 => stopped.checkpoint(),
                _ => {}
            }
            prop_assert_eq!(take(&mut stopped, input), take(&mut straight, input));
        }
        stopped.checkpoint();
        straight.checkpoint();
        prop_assert_eq!(stopped.rows, straight.rows);
    }
}

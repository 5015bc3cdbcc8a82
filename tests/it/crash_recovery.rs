//! An engine that is dropped without a clean stop, and goes on.

use merit::registry::registered;
use merit_audit::Signer;
use merit_core::record::{EvalReport, Metric};
use merit_core::{EventTime, Fixed, Head, Key, Kind, List, Payload};
use merit_runtime::store::Sync;
use merit_runtime::{Engine, Input, LOGIC_VERSION, Options, RuntimeError, key};
use merit_tests::directory::{Directory, Profile, example};
use merit_tests::dump::{Entry, assert_equal, topology};
use merit_tests::process::merit;
use merit_tests::random::Random;

fn open(directory: &Directory, checkpoint_inputs: u64) -> Engine {
    try_open(directory, Options { checkpoint_inputs: Some(checkpoint_inputs), ..Options::default() })
        .unwrap_or_else(|error| panic!("{error}"))
}

fn try_open(directory: &Directory, options: Options) -> Result<Engine, RuntimeError> {
    let topology = topology(&directory.topology);
    let signer = Signer::new(&topology.key_name, &key::read(&directory.key()).expect("the key of the test"));
    Engine::open(&directory.data(), &topology, &registered(), signer, Options { sync: Sync::System, ..options })
}

fn take(engine: &mut Engine, entry: &Entry) {
    let partition = engine.layout().find(&entry.topic, entry.partition).expect("a topic of the topology");
    let (key, time) = (Key::new(&entry.key), entry.time);
    let taken = Payload::decode(entry.kind, &entry.payload, |payload| engine.take(&Input { partition, key, time, payload, headers: None }));
    taken.expect("canonical").unwrap_or_else(|error| panic!("{error}"));
}

/// Outside records in the order in which they were taken.
fn outside(dump: &[Entry]) -> Vec<&Entry> {
    let mut entries: Vec<&Entry> = dump.iter().filter(|entry| entry.stream == u32::from(Head::OUTSIDE)).collect();
    entries.sort_by_key(|entry| entry.sequence);
    entries
}

fn check(seed: u64) {
    let expected = example().dump();
    let inputs = outside(&expected);
    let directory = Directory::new(Profile::Example);
    let mut random = Random::new(seed);
    let mut refolded = 0;
    let mut drops = 0;
    loop {
        let mut engine = open(&directory, *random.one(&[1, 100, 1_000, 10_000, 1_000_000]));
        refolded += engine.refolded;
        // What was not committed is gone; the configuration is put in force by the opening.
        let at = engine.outside_records() as usize;
        assert!(inputs[..at].iter().all(|entry| entry.sequence < at as u64));
        let until = (at + random.below(2_500) as usize).min(inputs.len());
        let mut uncommitted = random.below(400);
        for entry in inputs[at..until].iter().filter(|entry| entry.kind != Kind::ConfigEpoch) {
            take(&mut engine, entry);
            if uncommitted == 0 {
                engine.commit(Vec::new()).unwrap_or_else(|error| panic!("{error}"));
                uncommitted = random.below(400);
            }
            uncommitted = uncommitted.saturating_sub(1);
        }
        if until == inputs.len() {
            engine.close(Vec::new()).unwrap_or_else(|error| panic!("{error}"));
            break;
        }
        drops += 1;
    }
    assert!(drops > 3 && refolded > 0, "seed {seed}: {drops} drops and {refolded} inputs refolded prove little");
    assert_equal(&format!("seed {seed}"), &expected, &directory.dump());
}

#[test]
fn an_engine_dropped_at_any_point_goes_on_as_if_it_had_not_been() {
    (1..=4).for_each(check);
}

/// What lies behind the checkpoint is for the version that computed it; a clean stop leaves nothing there.
#[test]
fn an_uncheckpointed_end_of_another_logic_version_is_refused_until_a_clean_stop() {
    let example = example().dump();
    let inputs: Vec<&Entry> = outside(&example).into_iter().filter(|entry| entry.kind != Kind::ConfigEpoch).collect();
    let directory = Directory::new(Profile::Example);
    let other = Options { logic_version: LOGIC_VERSION + 1, ..Options::default() };
    let mut engine = try_open(&directory, other).unwrap_or_else(|error| panic!("{error}"));
    inputs[..500].iter().for_each(|entry| take(&mut engine, entry));
    engine.commit(Vec::new()).and_then(|()| engine.settle()).unwrap_or_else(|error| panic!("{error}"));
    drop(engine);
    let before = directory.dump();
    directory.import(["-"]).run().refused(1, "upgrade_needs_clean_stop");
    assert_equal("after the refusal", &before, &directory.dump());

    let engine = try_open(&directory, other).unwrap_or_else(|error| panic!("its own version goes on: {error}"));
    assert!(engine.refolded > 0);
    engine.close(Vec::new()).unwrap_or_else(|error| panic!("{error}"));
    let mut engine = open(&directory, 1_000_000);
    assert_eq!(engine.refolded, 0);
    inputs[500..600].iter().for_each(|entry| take(&mut engine, entry));
    engine.commit(Vec::new()).and_then(|()| engine.settle()).unwrap_or_else(|error| panic!("{error}"));
    drop(engine);
    let refused = try_open(&directory, other).err().expect("the end is now of this version");
    assert!(matches!(refused, RuntimeError::Upgrade { .. }), "{refused}");
    directory.import(["-"]).ok();
    try_open(&directory, other).unwrap_or_else(|error| panic!("after a clean stop: {error}"));
}

#[test]
fn the_version_names_that_of_the_logic() {
    assert_eq!(merit(["--version"]).ok().out, format!("merit {}, logic version {LOGIC_VERSION}\n", env!("CARGO_PKG_VERSION")));
}

/// Takes 600 reports of so many agents, each in a commit of its own, into an engine that makes a checkpoint behind 2,000 inputs.
fn report_600(directory: &Directory, agents: usize, time: EventTime) -> Engine {
    let mut engine = open(directory, 2_000);
    for at in 0..600 {
        let agent = format!("agent-{}", at % agents);
        let (key, metrics) = (Key::new(&agent), [Metric { name: "accuracy", value: Fixed::ONE }]);
        let report = EvalReport {
            id: None,
            agent_id: &agent,
            division_id: None,
            product_id: None,
            metrics: List::Slice(&metrics),
            source: "test",
            timestamp: time,
            window: None,
            tags: List::EMPTY,
        };
        let input = Input { partition: engine.report_partition(&key), key, time, payload: Payload::EvalReport(&report), headers: None };
        engine.take(&input).and_then(|()| engine.commit(Vec::new())).unwrap_or_else(|error| panic!("{error}"));
    }
    engine
}

/// Inputs that a start computes again behind 600 reports of so many agents that are known.
fn refolded(agents: usize) -> u64 {
    let directory = Directory::new(Profile::Default);
    let begun = report_600(&directory, agents, EventTime(1_700_000_000_000));
    begun.close(Vec::new()).unwrap_or_else(|error| panic!("{error}"));
    let mut engine = report_600(&directory, agents, EventTime(1_700_000_001_000));
    engine.settle().unwrap_or_else(|error| panic!("{error}"));
    drop(engine);
    open(&directory, 2_000).refolded
}

/// A start reads a value that changed from disk, which takes as long as some inputs do.
#[test]
fn few_inputs_of_many_agents_are_as_long_a_tail_as_many_of_few() {
    let (of_few, of_many) = (refolded(5), refolded(600));
    assert!(of_few >= 600 && of_many < of_few, "{of_few} {of_many}");
}

//! An engine that is dropped without a clean stop, and goes on.

use merit::registry::registered;
use merit_audit::Signer;
use merit_core::{Head, Key, Kind, Payload};
use merit_runtime::store::Sync;
use merit_runtime::{Engine, Input, Options, key};
use merit_tests::directory::{Directory, Profile, example};
use merit_tests::dump::{Entry, assert_equal, topology};
use merit_tests::random::Random;

fn open(directory: &Directory, checkpoint_inputs: u64) -> Engine {
    let topology = topology(&directory.topology);
    let signer = Signer::new(&topology.key_name, &key::read(&directory.key()).expect("the key of the test"));
    let options = Options { sync: Sync::System, checkpoint_inputs: Some(checkpoint_inputs), ..Options::default() };
    Engine::open(&directory.data(), &topology, &registered(), signer, options).unwrap_or_else(|error| panic!("{error}"))
}

fn take(engine: &mut Engine, entry: &Entry) {
    let partition = engine.layout().find(&entry.topic, entry.partition).expect("a topic of the topology");
    let (key, time) = (Key::new(&entry.key), entry.time);
    let taken = Payload::decode(entry.kind, &entry.payload, |payload| engine.take(&Input { partition, key, time, payload }));
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

//! One log under one configuration after another.

use merit_tests::directory::{Directory, Profile, with_pools};
use merit_tests::dump::{Dump, assert_equal, of_topic, topology};
use merit_tests::{repository, text, trace, trace_mapping, write};

/// The trace under a source name of its own, so that it can come twice.
fn import(directory: &Directory, source: &str, flags: &[&str]) {
    directory.import([trace()]).with(["--mapping"]).with([trace_mapping()]).with(["--source", source]).with(flags).ok();
}

/// Imported under the default parameters, then again under those of the example.
fn under_both(flags: &[&str]) -> Directory {
    let mut directory = with_pools(Profile::Default);
    import(&directory, "first", flags);
    directory.topology = repository("examples/topology.toml");
    import(&directory, "second", flags);
    directory
}

fn epochs(dump: &Dump) -> Vec<(u32, u64)> {
    let epochs = of_topic(dump, "eval.reports").filter(|entry| entry.kind == merit_core::Kind::ConfigEpoch);
    epochs.map(|entry| (entry.partition, entry.json()["number"].as_u64().expect("a number"))).collect()
}

#[test]
fn changed_parameters_are_an_epoch_of_every_partition_and_the_log_replays() {
    let directory = under_both(&[]);
    let dump = directory.dump();
    assert_eq!(epochs(&dump), (0..4).flat_map(|partition| [(partition, 0), (partition, 1)]).collect::<Vec<_>>());
    assert_eq!(directory.replay().code, Some(0));
    directory.call(["audit", "verify"]).ok();
    assert_equal("with other commits", &dump, &under_both(&["--commit-rows", "500", "--checkpoint-inputs", "900"]).dump());
}

#[test]
fn equal_parameters_are_no_new_epoch() {
    let directory = with_pools(Profile::Default);
    import(&directory, "first", &[]);
    import(&directory, "second", &[]);
    assert_eq!(epochs(&directory.dump()), (0..4).map(|partition| (partition, 0)).collect::<Vec<_>>());
}

/// Keys would go to other partitions, and streams would have other numbers.
#[test]
fn another_number_of_partitions_is_refused_and_changes_nothing() {
    let mut directory = with_pools(Profile::Default);
    import(&directory, "first", &[]);
    let before = directory.dump();
    let original = directory.topology.clone();
    directory.topology = directory.file("other.toml");
    let changed = text(&original).replace("partitions = 4", "partitions = 8");
    assert_ne!(changed, text(&original));
    write(&directory.topology, changed);
    assert!(topology(&directory.topology).partition_count(0) == 8);
    let done = directory.import([trace()]).with(["--mapping"]).with([trace_mapping()]).with(["--source", "second"]).run();
    assert_ne!(done.code, Some(0), "streams and keys would be numbered otherwise than in the log: {done:?}");
    assert!(done.failure()["hint"].is_string());
    directory.topology = original;
    assert_equal("after the refusal", &before, &directory.dump());
}

//! The pipeline on Apache Kafka: the same records, whoever computes them.

use merit_core::record::ScoreUpdated;
use merit_core::{Datum, EventTime, Kind};
use merit_tests::copies::Application;
use merit_tests::directory::{Directory, Profile, example};
use merit_tests::kafka::Kafka;
use std::collections::BTreeMap;
use std::time::Duration;

/// What was scored, agent by agent: everything that a score says but where its report lay, which transactions move.
fn scores(application: &Application, of: &Directory) -> BTreeMap<String, Vec<Vec<u8>>> {
    let mut scores = BTreeMap::<String, Vec<Vec<u8>>>::new();
    application.each_record(of, &["eval.scores"], |frame| {
        let mut score = ScoreUpdated::decode(frame.payload).expect("a score");
        score.offset = 0;
        // A report without an id is named by its place.
        score.report_id = "";
        let mut bytes = Vec::new();
        score.put(&mut bytes);
        scores.entry(frame.key.into()).or_default().push(bytes);
    });
    scores
}

#[test]
fn two_copies_compute_of_the_real_trace_what_one_machine_does() {
    let kafka = Kafka::start(1);
    let application = Application::begin(&kafka, Directory::new(Profile::Example));
    let copies = ["a", "b"].map(|name| application.copy(name));
    application.send(&application.inputs(&example()), Duration::ZERO);
    application.wait_drained();
    copies.into_iter().for_each(|copy| drop(copy.stop()));
    let exported = application.export();
    // Past a merge of streams the recorded input decides: from there on it is equal to the last byte.
    exported.is_whole();
    let (one, two) = (scores(&application, &example()), scores(&application, &exported));
    assert!(one.len() > 50, "{} agents", one.len());
    assert!(
        one == two,
        "scores differ for {:?}",
        one.iter().find(|(agent, scores)| two.get(*agent) != Some(scores)).map(|(agent, _)| agent)
    );
    let decided = |of: &Directory| {
        let mut kinds = BTreeMap::<Kind, u32>::new();
        application.each_record(of, &["eval.promotions", "eval.rejected", "eval.late"], |frame| {
            *kinds.entry(frame.kind().expect("a type")).or_default() += 1;
        });
        kinds
    };
    assert_eq!(decided(&example()), decided(&exported));
}

#[test]
fn a_copy_says_what_it_waits_for_and_goes_on() {
    let kafka = Kafka::start(1);
    let application = Application::begin(&kafka, Directory::new(Profile::Default));
    let copy = application.copy("a");
    application.send(&application.ticks(EventTime(1_750_000_000_000)), Duration::ZERO);
    application.wait_drained();
    let load: Vec<_> = (1..200).flat_map(|minute| application.ticks(EventTime(1_750_000_000_000 + minute * 60_000))).collect();
    std::thread::scope(|scope| {
        let sending = scope.spawn(|| application.send(&load, Duration::from_millis(300)));
        std::thread::sleep(Duration::from_secs(1));
        kafka.pause(1);
        std::thread::sleep(Duration::from_secs(12));
        kafka.resume(1);
        sending.join().expect("everything is sent");
    });
    application.wait_drained();
    let done = copy.stop();
    assert!(done.err.contains("\"waits\""), "{}", done.err);
    assert!(done.err.contains("\"goes on\""), "{}", done.err);
}

#[test]
fn a_second_process_of_the_same_instance_ends_the_first() {
    let kafka = Kafka::start(1);
    let application = Application::begin(&kafka, Directory::new(Profile::Default));
    let first = application.copy("a");
    application.send(&application.ticks(EventTime(1_750_000_000_000)), Duration::ZERO);
    application.wait_drained();
    std::fs::create_dir_all(application.data("b")).expect("a directory");
    std::fs::copy(application.data("a").join("instance"), application.data("b").join("instance")).expect("a file");
    let second = application.copy("b");
    first.end().refused(1, "cluster_fenced");
    application.send(&application.ticks(EventTime(1_750_000_060_000)), Duration::ZERO);
    application.wait_drained();
    second.stop();
}

#[test]
fn what_cannot_work_is_refused_at_the_start() {
    let kafka = Kafka::start(1);
    let directory = Directory::new(Profile::Default);
    let application = Application::of(kafka.bootstrap(), Directory::with_topology(directory.topology.clone()));
    application.run("a").run().refused(1, "cluster_differs");
    application.apply().ok();
    let text = std::fs::read_to_string(&directory.topology).expect("a topology").replace("grace = \"10m\"", "grace = \"11m\"");
    let other = directory.file("other.toml");
    merit_tests::write(&other, text);
    let changed = Application::of(kafka.bootstrap(), Directory::with_topology(other));
    changed.run("a").run().refused(1, "config_mismatch");
    // A copy that runs meets the configuration that it was not started with.
    let copy = application.copy("a");
    application.send(&application.ticks(EventTime(1_750_000_000_000)), Duration::ZERO);
    application.wait_drained();
    changed.apply().ok();
    copy.end().refused(1, "config_mismatch");
    let copy = changed.copy("a");
    changed.send(&changed.ticks(EventTime(1_750_000_060_000)), Duration::ZERO);
    changed.wait_drained();
    copy.stop();
    drop(kafka);
    let done = changed.run("a").run();
    assert_ne!(done.code, Some(0));
    assert!(done.failure()["hint"].as_str().is_some_and(|hint| !hint.is_empty()), "{done:#?}");
}

//! The pipeline on Apache Kafka: the same records, whoever computes them.

use merit_core::record::ScoreUpdated;
use merit_core::{Datum, EventTime, Fixed, Kind};
use merit_runtime::live;
use merit_runtime::store::{Commit, Store, Sync};
use merit_tests::copies::Application;
use merit_tests::directory::{Directory, Profile, example, with_pools};
use merit_tests::kafka::Kafka;
use merit_tests::process::wait_until;
use merit_tests::random::Random;
use merit_tests::reports::Report;
use merit_tests::write;
use std::collections::{BTreeMap, BTreeSet};
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
    let kinds = computed_alike(&example(), Profile::Example);
    assert!(kinds.contains(&Kind::PromotionProposed), "{kinds:?}");
}

#[test]
fn two_copies_compute_of_generated_reports_what_one_machine_does() {
    let embedded = with_pools(Profile::Default);
    let files: Vec<_> = (1..=SCENARIOS).map(|seed| embedded.file(&format!("{seed}.jsonl"))).collect();
    for (seed, file) in (1..).zip(&files) {
        write(file, generated(seed));
    }
    embedded.import(&files).ok();
    let kinds = computed_alike(&embedded, Profile::Default);
    let expected = [Kind::PromotionProposed, Kind::Rejected, Kind::ReportLate];
    assert!(expected.iter().all(|kind| kinds.contains(kind)), "{kinds:?}");
}

#[test]
fn a_copy_that_is_told_to_end_while_it_copies_the_log_ends_like_any_other() {
    let kafka = Kafka::start(1);
    let application = Application::begin(&kafka, Directory::new(Profile::Default));
    // A start listens to signals before it joins the group and copies the log.
    let done = application.run("a").start().terminate();
    assert_eq!(done.code, Some(0), "{done:#?}");
    assert_eq!(done.out.trim(), r#"{"stopped":true}"#);
    assert!(done.err.contains("joins the group") && !done.err.contains("is up to it"), "{done:#?}");
}

/// Has two copies compute what one machine has, and compares. Gives the types of what was decided of the reports.
fn computed_alike(embedded: &Directory, profile: Profile) -> BTreeSet<Kind> {
    let kafka = Kafka::start(1);
    let application = Application::begin(&kafka, Directory::new(profile));
    let copies = ["a", "b"].map(|name| application.copy(name));
    application.fill(application.inputs(embedded).into_iter());
    application.wait_drained();
    copies.into_iter().for_each(|copy| drop(copy.stop()));
    let exported = application.export();
    // Past a merge of streams the recorded input decides: from there on it is equal to the last byte.
    exported.is_whole();
    let (one, two) = (scores(&application, embedded), scores(&application, &exported));
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
    let kinds = decided(embedded);
    assert_eq!(kinds, decided(&exported));
    kinds.into_keys().collect()
}

/// Scenarios, a month each, and lines of one.
const SCENARIOS: u64 = 4;
const LINES: u64 = 10_000;
const MONTH: i64 = 30 * 24 * 3_600_000;

/// Reports of agents that are good, get better, get worse, or are anything, in an order drawn from a seed: some come late, twice, or
/// without an id, and some lines are none.
fn generated(seed: u64) -> String {
    let mut random = Random::new(seed);
    let mut lines = String::new();
    for number in 0..LINES {
        let agent = random.below(40);
        let share = (1_000_000 * number / LINES) as i64;
        let value = [900_000, share, 1_000_000 - share, random.below(1_000_001) as i64][(agent % 4) as usize];
        let late = if random.below(20) == 0 { random.below(3 * 24 * 3_600_000) } else { random.below(60_000) };
        let begin = 1_750_000_000_000 + seed as i64 * MONTH;
        let id = [None, Some(number.saturating_sub(random.below(50))), Some(number)][random.below(3) as usize];
        let report = Report {
            id: id.map(|id| format!("{seed}-{id}")),
            agent: format!("agent-{seed}-{agent}"),
            division: agent.is_multiple_of(3).then(|| "research".into()),
            metrics: vec![("successRate".into(), Fixed(value)), ("userRating".into(), Fixed(random.below(1_000_001) as i64))],
            time: EventTime(begin + number as i64 * (MONTH / LINES as i64) - late as i64),
            window: None,
        };
        let line = report.line();
        lines += match random.below(100) {
            0 => "{}",
            1 => &line[..line.len() / 2],
            _ => &line,
        };
        lines.push('\n');
    }
    lines
}

#[test]
fn a_copy_says_what_it_waits_for_and_goes_on() {
    let kafka = Kafka::start(1);
    let application = Application::begin(&kafka, Directory::new(Profile::Default));
    // More than it takes in at once: it has something to do whenever the broker stops to answer.
    application.fill((0..40_000).flat_map(|minute| application.ticks(EventTime(1_750_000_000_000 + minute * 60_000))));
    let copy = application.copy("a");
    wait_until("something is processed", || application.committed("eval.reports", 0) > 0);
    kafka.pause(1);
    std::thread::sleep(Duration::from_secs(12));
    kafka.resume(1);
    application.wait_drained();
    let done = copy.stop();
    assert!(done.err.contains("\"waits\""), "{}", done.err);
    assert!(done.err.contains("\"goes on\""), "{}", done.err);
}

#[test]
fn a_copy_begins_beside_a_transaction_that_another_left_open() {
    let kafka = Kafka::start(1);
    let application = Application::begin(&kafka, Directory::new(Profile::Default));
    let left_open = application.open_transaction("audit.intake");
    let copy = application.copy("a");
    wait_until("it is in the group", || application.members() > 0);
    drop(left_open);
    application.wait_drained();
    copy.stop();
}

#[test]
fn a_disk_that_is_older_than_its_changelog_remembers_is_restored_from_the_beginning() {
    let kafka = Kafka::start(1);
    let application = Application::begin(&kafka, Directory::new(Profile::Default));
    let of_task = [b"evaluate\0".as_slice(), &0_u32.to_be_bytes()].concat();
    let forgotten = [&of_task[..], b"forgotten"].concat();
    let run = |time| {
        let copy = application.copy("a");
        application.send(&application.ticks(EventTime(time)), Duration::ZERO);
        application.wait_drained();
        copy.stop();
    };
    run(1_750_000_000_000);
    for (days, is_kept) in [(5, true), (7, false)] {
        let store = Store::open(&application.data("a"), Sync::System).expect("nobody has it");
        let mark = store.meta("changelog/evaluate/0").expect("readable").expect("a mark");
        let at = live::now().0 - days * 86_400_000;
        let mark = [&mark[..16], &at.to_be_bytes()].concat();
        let (state, meta) = (vec![(forgotten.clone(), vec![1])], vec![("changelog/evaluate/0".into(), mark)]);
        store.commit(&mut Commit { state, meta, ..Commit::default() }, &[]).expect("room");
        drop(store);
        run(1_750_000_060_000 * days);
        let store = Store::open_to_read(&application.data("a")).expect("a directory");
        assert_eq!(store.state_row(&forgotten).expect("readable").is_some(), is_kept, "{days} days");
    }
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
    let (key, elsewhere) = (application.directory.key(), directory.file("elsewhere.key"));
    std::fs::rename(&key, &elsewhere).expect("the key of the log");
    application.run("a").run().refused(1, "audit_key_missing");
    std::fs::rename(&elsewhere, &key).expect("the key of the log");
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

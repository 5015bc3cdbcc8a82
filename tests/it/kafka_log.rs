//! The log of a real cluster: copied, computed again, exported and brought back, at its offsets.

use merit::registry::registered;
use merit_audit::Signer;
use merit_core::record::{Approval, DefinePool, EvalReport, Headers, Metric, PoolState, RequestAllocation, ScoreUpdated, Tick};
use merit_core::{Datum, EventTime, Fixed, Kind, List, Payload};
use merit_runtime::kafka::foreign::Intake;
use merit_runtime::kafka::reader::LastError;
use merit_runtime::kafka::wire;
use merit_runtime::key;
use merit_runtime::layout::Layout;
use merit_runtime::store::{Commit, Store, Sync};
use merit_tests::copy::{ClusterLog, Copy};
use merit_tests::directory::{Directory, Profile, with_pools};
use merit_tests::dump::{Dump, Entry, assert_equal, of_topic, topology};
use merit_tests::process::{Call, Done, merit};
use merit_tests::random::Random;
use rdkafka::ClientConfig;
use rdkafka::consumer::{BaseConsumer, Consumer};
use rdkafka::message::{BorrowedMessage, Message};
use rdkafka::{Offset, TopicPartitionList};
use std::collections::BTreeSet;
use std::path::Path;
use std::sync::LazyLock;
use std::time::Duration;

/// Event time between two reports: far enough that seals fall due.
const STEP: i64 = 20 * 60_000;

fn signer(directory: &Directory) -> Signer {
    Signer::new("merit.example/emitter", &key::read(&directory.key()).expect("the key of the tests"))
}

fn request(log: &ClusterLog, agent_id: &str, time: EventTime) {
    let headers = Headers { trace: "", actor: "ann", auth: "test", reply_to: None, once: None };
    let request = RequestAllocation {
        promotion_id: None,
        agent_id,
        division_id: None,
        pool: "gpus-us-east",
        delta: 1_000,
        reason: "needed",
        requested_by: "ops",
        confidence: None,
        approval: Approval::Manual,
    };
    let partition = log.partition("alloc.requests", "gpus-us-east");
    log.append(partition, "gpus-us-east", time, Payload::RequestAllocation(&request), Some(headers));
}

/// Appends reports of eight agents; every tenth is no record, every seventh has no header of ours.
fn send_reports(log: &ClusterLog, from: i64, count: i64) {
    let mut random = Random::new(from as u64);
    for number in from..from + count {
        let time = EventTime(1_750_000_000_000 + number * STEP);
        let agent = format!("agent-{}", random.below(8));
        let metrics = [Metric { name: "successRate", value: Fixed(600_000 + random.below(400_000) as i64) }];
        let id = format!("report-{number}");
        let report = EvalReport {
            id: Some(&id),
            agent_id: &agent,
            division_id: Some("division"),
            product_id: None,
            metrics: List::Slice(&metrics),
            source: "test",
            timestamp: time,
            window: None,
            tags: List::EMPTY,
        };
        let partition = log.partition("eval.reports", &agent);
        if number % 10 == 3 {
            log.append_foreign(partition, agent.as_bytes(), time, br#"{"agentId":"json is no record here"}"#);
        } else if number % 7 == 0 {
            let mut value = vec![0, 0, 0, 0, Kind::EvalReport as u8];
            report.put(&mut value);
            log.append_foreign(partition, agent.as_bytes(), time, &value);
        } else {
            log.append(partition, &agent, time, Payload::EvalReport(&report), None);
        }
    }
    let time = EventTime(1_750_000_000_000 + (from + count) * STEP);
    for partition in ["eval.reports", "alloc.requests"].iter().filter_map(|topic| log.layout.all_of(topic)).flatten() {
        log.append(partition, "tick", time, Payload::Tick(&Tick { time }), None);
    }
    request(log, "agent-1", time);
}

/// A log that a copy has computed, and that nothing is added to: made once.
fn computed() -> &'static ClusterLog {
    static COMPUTED: LazyLock<ClusterLog> = LazyLock::new(|| {
        let directory = Directory::new(Profile::Default);
        let log = ClusterLog::start(&directory.topology);
        log.configure(&signer(&directory));
        // Offline commands have no time.
        let pool = DefinePool { pool: "gpus-us-east", capacity: 4_000, state: PoolState::Open };
        log.append(log.partition("alloc.requests", "gpus-us-east"), "gpus-us-east", EventTime::MIN, Payload::DefinePool(&pool), None);
        let mut copy = Copy::start(&log, signer(&directory));
        for part in 0..3 {
            send_reports(&log, part * 100, 100);
            copy.process();
        }
        log
    });
    &COMPUTED
}

/// Every record of a cluster's log, read by a consumer that knows nothing of Merit.
fn raw(log: &ClusterLog) -> Dump {
    let mut config = ClientConfig::new();
    config.set("bootstrap.servers", log.kafka.bootstrap()).set("group.id", "raw").set("enable.auto.commit", "false");
    config.set("isolation.level", "read_committed").set("enable.partition.eof", "true");
    let consumer: BaseConsumer = config.create().expect("a consumer");
    let mut from = TopicPartitionList::new();
    let places: Vec<(&str, i32)> = (0..log.topics.logs()).map(|at| log.topics.place(at)).collect();
    for (topic, partition) in &places {
        from.add_partition_offset(topic, *partition, Offset::Beginning).expect("an offset");
    }
    // All at once: each assignment takes a second.
    consumer.assign(&from).expect("assigned");
    let mut dumps = vec![Dump::new(); places.len()];
    let mut intake = Intake::new(&log.layout, &log.topics, &LastError::default());
    let mut ended = 0;
    while ended < places.len() {
        match consumer.poll(Duration::from_secs(60)).expect("an answer") {
            Ok(message) => {
                let place = (message.topic(), message.partition());
                let at = places.iter().position(|known| *known == place).expect("it was asked for");
                dumps[at].extend(entry(&mut intake, at, (place.0, place.1 as u32), &message));
            }
            Err(rdkafka::error::KafkaError::PartitionEOF(_)) => ended += 1,
            Err(error) => panic!("{error}"),
        }
    }
    dumps.concat()
}

fn entry(intake: &mut Intake, at: usize, (topic, partition): (&str, u32), message: &BorrowedMessage<'_>) -> Option<Entry> {
    let offset = message.offset() as u64;
    match wire::read(message) {
        wire::Read::Record(frame) => Some(Entry::of(topic, partition, offset, &frame)),
        wire::Read::Foreign(foreign) => intake.frame(at, offset, &foreign).map(|frame| Entry::of(topic, partition, offset, &frame)),
        wire::Read::Gap => None,
    }
}

/// `merit log export --kafka` into a directory.
fn export(log: &ClusterLog, directory: &Directory) -> Call {
    directory.call(["log", "export", "--kafka", log.kafka.bootstrap()])
}

fn exported(log: &ClusterLog) -> Directory {
    let directory = Directory::new(Profile::Default);
    export(log, &directory).ok();
    directory
}

/// A call that does not take `--data-dir` by itself.
fn call(directory: &Directory, arguments: &[&dyn AsRef<std::ffi::OsStr>]) -> Done {
    merit(["--json"]).with(arguments).with(["--topology"]).with([&directory.topology]).run()
}

fn offsets_missing(dump: &[Entry]) -> usize {
    let follow = |pair: &&[Entry]| (&pair[0].topic, pair[0].partition) == (&pair[1].topic, pair[1].partition);
    dump.windows(2).filter(follow).map(|pair| (pair[1].offset - pair[0].offset - 1) as usize).sum()
}

#[test]
fn a_log_on_kafka_is_copied_at_its_offsets_and_every_command_that_reads_reads_it() {
    let log = computed();
    let directory = exported(log);
    let (expected, found) = (raw(log), directory.dump());
    assert_equal("the copy", &expected, &found);
    assert!(offsets_missing(&found) > 100, "transactions left {} offsets without a record", offsets_missing(&found));
    let kinds: BTreeSet<Kind> = found.iter().map(|entry| entry.kind).collect();
    let wanted = [Kind::RawReport, Kind::Rejected, Kind::ScoreUpdated, Kind::PromotionProposed, Kind::AllocationPended, Kind::SealedLeaf];
    assert!(wanted.iter().all(|kind| kinds.contains(kind)), "{kinds:?}");
    assert_eq!(of_topic(&found, "eval.reports").filter(|entry| entry.kind == Kind::RawReport).count(), 30);

    let replayed = directory.call(["replay", "--assert-equal"]).with(["--audit-key"]).with([directory.key()]).ok().json();
    assert_eq!((replayed["equal"].as_bool(), replayed["compared"].as_u64()), (Some(true), Some(found.len() as u64)), "{replayed}");
    assert_eq!((replayed["lacking"].as_u64(), replayed["ahead"].as_u64()), (Some(0), Some(0)), "{replayed}");
    directory.call(["replay", "--assert-equal"]).ok();
    let verified = directory.call(["audit", "verify"]).ok().json();
    let seals = verified["tasks"].as_array().into_iter().flatten().filter(|task| task["seals"].as_u64() > Some(1)).count();
    assert!(seals > 3, "{verified}");

    let promotion = &directory.records_of("eval.promotions", "PromotionProposed")[0];
    directory.call(["explain", promotion["id"].as_str().expect("an id")]).ok();
    let rejected = directory.call(["rejected", "list"]).ok().lines();
    assert_eq!(rejected.len(), 30);
    directory.call(["rejected", "show", rejected[7]["at"].as_str().expect("a place")]).ok();
    directory.call(["state", "scan", "tiers"]).ok();

    // A copy of it reads the same.
    let backup = directory.file("backup");
    directory.call(["backup"]).with([&backup]).ok();
    // What ends the log is where the next export begins.
    export(log, &directory).ok();
    assert_equal("brought up to date", &found, &directory.dump());
}

#[test]
fn nothing_is_written_to_a_copy_but_what_kafka_holds() {
    let directory = exported(computed());
    let before = directory.dump();
    for with_key in [false, true] {
        let call = |words: &[&str]| {
            let call = directory.call(words);
            if with_key { call.with(["--audit-key"]).with([directory.key()]).run() } else { call.run() }
        };
        let report = directory.file("reports");
        merit_tests::write(&report, "");
        call(&["import", report.to_str().expect("a path")]).refused(1, "directory_is_mirror");
        call(&["pools", "apply", &pools()]).refused(1, "directory_is_mirror");
        call(&["run"]).refused(1, "directory_is_mirror");
        call(&["log", "prune"]).refused(1, "directory_is_mirror");
        call(&["topology", "apply", "--new-lineage", "eval.scores/0", "--reason", "none"]).refused(1, "directory_is_mirror");
    }
    assert_equal("after all that", &before, &directory.dump());
    // And the other way round.
    let own = with_pools(Profile::Default);
    let before = own.dump();
    export(computed(), &own).run().refused(1, "directory_of_other_log");
    assert_equal("its own log", &before, &own.dump());
}

fn pools() -> String {
    merit_tests::repository("examples/pools.toml").to_string_lossy().into_owned()
}

#[test]
fn an_export_that_is_killed_goes_on_where_it_was() {
    let log = computed();
    let expected = exported(log).dump();
    // The format, whose copy it is, and what the log holds.
    for point in (1..=3).flat_map(|commit| [format!("commit.packed:{commit}"), format!("commit.synced:{commit}")]) {
        let directory = Directory::new(Profile::Default);
        let died = export(log, &directory).env("MERIT_FAILPOINT", &point).run();
        assert_eq!(died.code, None, "{point}: {died:?}");
        export(log, &directory).ok();
        assert_equal(&point, &expected, &directory.dump());
        assert_eq!(directory.replay().code, Some(0), "{point}");
    }
}

#[test]
fn a_log_goes_through_a_file_and_through_another_cluster_and_is_the_same() {
    let log = computed();
    let directory = exported(log);
    let expected = directory.dump();

    // Kafka to a file, and a directory to a file; each makes a directory.
    let (of_kafka, of_directory) = (directory.file("of-kafka"), directory.file("of-directory"));
    let done = call(&directory, &[&"log", &"export", &"--kafka", &log.kafka.bootstrap(), &"--output", &of_kafka]);
    assert_eq!(done.code, Some(0), "{done:?}");
    directory.call(["log", "export"]).with(["--output"]).with([&of_directory]).ok();
    for file in [&of_kafka, &of_directory] {
        let made = Directory::new(Profile::Default);
        made.call(["log", "import"]).with([file]).ok();
        assert_equal("through a file", &expected, &made.dump());
        assert_eq!(made.replay().json()["compared"].as_u64(), Some(expected.len() as u64));
        made.call(["audit", "verify"]).ok();
        // It is the copy that it was, which the cluster brings up to date.
        export(log, &made).ok();
        made.call(["log", "import"]).with([file]).run().refused(1, "directory_not_empty");
    }
    directory.call(["log", "export"]).with(["--output"]).with([&of_directory]).run().refused(2, "log_file_exists");

    // A file that was changed makes nothing.
    let mut bytes = std::fs::read(&of_kafka).expect("a file");
    let middle = bytes.len() / 2;
    bytes[middle] ^= 1;
    let changed = directory.file("changed");
    merit_tests::write(&changed, &bytes);
    let made = Directory::new(Profile::Default);
    made.call(["log", "import"]).with([&changed]).run().refused(3, "log_file_damaged");
    assert!(!made.data().exists(), "nothing is left of it");

    // To another cluster, from the file and from the directory, and back.
    for from in [Some(&of_kafka), None] {
        let other = ClusterLog::start(&directory.topology);
        let import = |file: Option<&Path>| match file {
            Some(file) => call(&directory, &[&"log", &"import", &file, &"--kafka", &other.kafka.bootstrap()]),
            None => directory.call(["log", "import", "--kafka", other.kafka.bootstrap()]).run(),
        };
        import(Some(&changed)).refused(3, "log_file_damaged");
        let done = import(from.map(|path| path.as_path()));
        assert_eq!(done.code, Some(0), "{done:?}");
        let (told, missing) = (done.json(), offsets_missing(&expected) as u64);
        assert_eq!(told["records"].as_u64(), Some(expected.len() as u64), "{told}");
        assert!(told["gaps"].as_u64() >= Some(missing), "{told}, between records {missing}");
        assert_eq!(told["goesOn"].as_bool(), Some(true), "{told}");
        assert_equal("on another cluster", &expected, &raw(&other));
        let back = exported(&other);
        assert_equal("and back", &expected, &back.dump());
        let replayed = back.replay().json();
        assert_eq!((replayed["compared"].as_u64(), replayed["lacking"].as_u64()), (Some(expected.len() as u64), Some(0)), "{replayed}");
        import(from.map(|path| path.as_path())).refused(1, "cluster_topic_not_empty");
    }
}

#[test]
fn a_log_of_a_directory_goes_to_kafka_and_is_there_what_each_task_computes() {
    let own = with_pools(Profile::Example);
    own.import_trace().ok();
    let expected = own.dump();
    let file = own.file("file");
    own.call(["log", "export"]).with(["--output"]).with([&file]).ok();
    // Through a file it is a log of its own again, which goes on.
    let again = Directory::new(Profile::Example);
    again.call(["log", "import"]).with([&file]).ok();
    assert_equal("through a file", &expected, &again.dump());
    assert_eq!(again.import_trace().ok().json()["rows"].as_u64(), Some(0));
    assert_equal("nothing was new", &expected, &again.dump());
    again.is_whole();

    let log = ClusterLog::start(&own.topology);
    let done = own.call(["log", "import", "--kafka", log.kafka.bootstrap()]).ok().json();
    assert_eq!(
        (done["records"].as_u64(), done["gaps"].as_u64(), done["goesOn"].as_bool()),
        (Some(expected.len() as u64), Some(0), Some(true))
    );
    let back = Directory::new(Profile::Example);
    export(&log, &back).ok();
    assert_equal("on Kafka", &expected, &back.dump());
    let replayed = back.replay().json();
    assert_eq!((replayed["compared"].as_u64(), replayed["lacking"].as_u64()), (Some(expected.len() as u64), Some(0)), "{replayed}");
    back.call(["audit", "verify"]).ok();
    let inputs = log.layout.tasks.iter().map(|task| log.topics.place(task.input));
    let ends: Vec<u64> = inputs.map(|(topic, partition)| end(&expected, topic, partition as u32)).collect();
    assert_eq!(group_offsets(&log), ends, "a copy goes on behind the last input");
}

fn end(dump: &[Entry], topic: &str, partition: u32) -> u64 {
    of_topic(dump, topic).filter(|entry| entry.partition == partition).map(|entry| entry.offset + 1).max().unwrap_or(0)
}

/// Where the group stands, by task.
fn group_offsets(log: &ClusterLog) -> Vec<u64> {
    let mut config = ClientConfig::new();
    config.set("bootstrap.servers", log.kafka.bootstrap()).set("group.id", &log.application);
    let consumer: BaseConsumer = config.create().expect("a consumer");
    let mut inputs = TopicPartitionList::new();
    for task in log.layout.tasks.iter() {
        let (topic, partition) = log.topics.place(task.input);
        inputs.add_partition(topic, partition);
    }
    let found = consumer.committed_offsets(inputs, Duration::from_secs(60)).expect("an answer");
    let offset = |task: &merit_runtime::layout::TaskLayout| {
        let (topic, partition) = log.topics.place(task.input);
        found.find_partition(topic, partition).and_then(|found| found.offset().to_raw()).expect("an offset") as u64
    };
    log.layout.tasks.iter().map(offset).collect()
}

#[test]
fn what_is_missing_or_too_much_of_a_copy_is_named_up_to_its_last_record() {
    let directory = exported(computed());
    let replayed = |change: &dyn Fn(&mut Dump)| directory.changed(change).replay();
    assert_eq!(replayed(&|_| ()).code, Some(0), "as it is");
    let last = |dump: &[Entry], topic: &str| dump.iter().rposition(|entry| entry.topic == topic).expect("a record");
    for topic in ["eval.scores", "eval.rejected", "alloc.applied", "alloc.requests", "audit.intake", "audit"] {
        let without = replayed(&|dump| drop(dump.remove(last(dump, topic))));
        without.refused(3, "log_differs");
        let twice = replayed(&|dump| {
            let at = last(dump, topic);
            let again = Entry { offset: dump[at].offset + 1, ..dump[at].clone() };
            dump.insert(at + 1, again);
        });
        twice.refused(3, "log_differs");
    }
    // An input of which everything that followed is there.
    replayed(&|dump| drop(dump.remove(dump.iter().position(|entry| entry.kind == Kind::EvalReport).expect("a report"))))
        .refused(3, "log_differs");
    // The last input, so that no input is left behind what followed from it.
    replayed(&remove_last_score_input).refused(3, "log_corrupt");
    // A record where its task does not write.
    let strayed = replayed(&|dump| {
        let score = dump.iter().find(|entry| entry.topic == "eval.scores").expect("a score").clone();
        let at = last(dump, "alloc.applied");
        let stray = Entry { topic: "alloc.applied".into(), partition: 0, offset: dump[at].offset + 1, ..score };
        dump.insert(at + 1, stray);
    });
    strayed.refused(3, "log_corrupt");
}

#[test]
fn a_log_that_grows_while_it_is_copied_is_compared_as_far_as_it_can_be() {
    let directory = Directory::new(Profile::Default);
    let log = ClusterLog::start(&directory.topology);
    log.configure(&signer(&directory));
    let mut copy = Copy::start(&log, signer(&directory));
    copy.process();
    // Another copy is brought up to date by processes that die before or behind their commit.
    let killed = Directory::new(Profile::Default);
    export(&log, &killed).ok();
    let mut points = ["commit.packed:1", "commit.synced:1"].iter().cycle();
    for part in 0..4 {
        send_reports(&log, part * 60, 60);
        // Inputs that nobody has processed are no difference.
        let copied = exported(&log);
        copied.call(["audit", "verify"]).ok();
        let waiting = copied.replay().json();
        assert!(waiting["lacking"].as_u64() > Some(0), "{waiting}");
        // Nor are those that others have just written.
        assert!(copy.cycle());
        let copied = exported(&log);
        let open = copied.call(["audit", "verify"]).ok().json()["open"]["unsealed"].as_u64();
        assert!(part == 0 || open > Some(0), "{open:?}");
        let between = copied.replay().json();
        assert!(between["lacking"].as_u64() > Some(0), "{between}");
        std::thread::scope(|scope| {
            let working = scope.spawn(|| copy.process());
            while !working.is_finished() {
                let died = export(&log, &killed).env("MERIT_FAILPOINT", points.next().expect("there is a next one")).run();
                assert_eq!(died.code, None, "{died:?}");
                export(&log, &directory).ok();
                directory.is_whole();
            }
        });
    }
    export(&log, &directory).ok();
    export(&log, &killed).ok();
    assert_equal("killed again and again", &directory.dump(), &killed.dump());
    let verified = directory.call(["audit", "verify"]).ok().json();
    assert_eq!(["unsealed", "unsigned"].map(|field| verified["open"][field].as_u64()), [Some(0); 2], "{verified}");
    let all = directory.dump().len() as u64;
    let replayed = directory.replay().json();
    assert_eq!(["compared", "lacking", "ahead"].map(|field| replayed[field].as_u64()), [Some(all), Some(0), Some(0)], "{replayed}");
}

#[test]
fn a_missing_offset_is_a_fault_in_a_log_that_is_no_copy() {
    let directory = with_pools(Profile::Default);
    let last = of_topic(&directory.dump(), "alloc.applied").last().expect("a record").clone();
    let layout = Layout::new(&topology(&directory.topology), &registered());
    let at = layout.find("alloc.applied", 0).expect("a partition of the topology");
    let mut body = Vec::new();
    last.frame().put(&mut body);
    let mut commit = Commit { batches: vec![(at, last.offset + 2, 1, body)], ..Commit::default() };
    let store = Store::open(&directory.data(), Sync::System).unwrap_or_else(|error| panic!("{error}"));
    store.commit(&mut commit, &layout.partitions).unwrap_or_else(|error| panic!("{error}"));
    drop(store);
    directory.call(["log", "cat", "alloc.applied"]).run().refused(3, "log_corrupt");
}

/// Removes the report that the last score of partition 0 follows from, and all inputs behind it.
fn remove_last_score_input(dump: &mut Dump) {
    let of_score = of_topic(dump, "eval.scores").filter(|entry| entry.partition == 0).last().expect("a score");
    let offset = ScoreUpdated::decode(&of_score.payload).expect("canonical").offset;
    dump.retain(|entry| entry.topic != "eval.reports" || entry.partition > 0 || entry.offset < offset);
}

#[test]
fn what_follows_from_inputs_behind_the_end_of_a_copy_is_counted_where_nothing_is_known_of_them() {
    let directory = exported(computed());
    let all = directory.dump().len() as u64;
    let changed = directory.changed(remove_last_score_input);
    let removed = all - changed.dump().len() as u64;
    let outside = |directory: &Directory| directory.dump().iter().filter(|entry| entry.is_outside()).count() as u64;
    let fed_back = removed - (outside(&directory) - outside(&changed));
    let layout = Layout::new(&topology(&changed.topology), &registered());
    // No spans: so it is where the brokers have forgotten the group.
    let mut commit = Commit { meta: vec![("processed".into(), vec![0])], ..Commit::default() };
    let store = Store::open(&changed.data(), Sync::System).unwrap_or_else(|error| panic!("{error}"));
    store.commit(&mut commit, &layout.partitions).unwrap_or_else(|error| panic!("{error}"));
    drop(store);
    let replayed = changed.call(["replay", "--assert-equal"]).ok().json();
    let [compared, lacking, ahead] = ["compared", "lacking", "ahead"].map(|field| replayed[field].as_u64().expect("a number"));
    assert_eq!((lacking, compared + ahead), (fed_back, all - removed), "{replayed}");
    assert!(ahead > 0, "{replayed}");
}

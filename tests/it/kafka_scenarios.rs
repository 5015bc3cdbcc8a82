//! What other programs and other hands do to a cluster: records that are none, a backlog, and topics that are not what they were.

use merit_core::record::{EvalReport, Metric};
use merit_core::{EventTime, Fixed, List};
use merit_tests::copies::{Application, Copy, Sent};
use merit_tests::directory::{Directory, Profile};
use merit_tests::kafka::Kafka;
use merit_tests::process::{Done, HANG};
use rdkafka::ClientConfig;
use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use rdkafka::producer::{BaseProducer, BaseRecord, DeliveryResult, Producer, ProducerContext};
use rdkafka::{ClientContext, producer::NoCustomPartitioner};
use std::sync::Mutex;
use std::time::Duration;

const TOPICS: &str = "org.apache.kafka.tools.TopicCommand";

/// Bytes that the topics of Merit take in one message.
const LARGEST: usize = 8 << 20;

fn reports(application: &Application, numbers: std::ops::Range<u64>) -> Vec<Sent> {
    let metrics = [Metric { name: "successRate", value: Fixed(700_000) }];
    let report = |number: u64| {
        application.report(&EvalReport {
            id: Some(&format!("report-{number}")),
            agent_id: &format!("agent-{}", number % 50),
            division_id: None,
            product_id: None,
            metrics: List::Slice(&metrics),
            source: "test",
            timestamp: EventTime(1_750_000_000_000 + number as i64),
            window: None,
            tags: List::EMPTY,
        })
    };
    numbers.map(report).collect()
}

/// Another program.
struct Stranger(BaseProducer<Answers>);

#[derive(Default)]
struct Answers(Mutex<Vec<Result<(), KafkaError>>>);

impl ClientContext for Answers {}

impl ProducerContext<NoCustomPartitioner> for Answers {
    type DeliveryOpaque = ();

    fn delivery(&self, result: &DeliveryResult<'_>, (): ()) {
        let result = result.as_ref().map(|_| ()).map_err(|(error, _)| error.clone());
        self.0.lock().expect("not poisoned").push(result);
    }
}

impl Stranger {
    fn new(kafka: &Kafka) -> Stranger {
        let mut config = ClientConfig::new();
        config.set("bootstrap.servers", kafka.bootstrap()).set("message.max.bytes", "100000000").set("compression.type", "lz4");
        Stranger(config.create_with_context(Answers::default()).expect("a producer"))
    }

    /// What the broker says to a message in `eval.reports`.
    fn send(&self, key: &[u8], value: &[u8]) -> Result<(), KafkaError> {
        self.0.send(BaseRecord::to("eval.reports").partition(0).key(key).payload(value)).map_err(|(error, _)| error)?;
        self.0.flush(HANG)?;
        self.0.context().0.lock().expect("not poisoned").pop().expect("an answer")
    }
}

/// Bytes that no compression makes fewer.
fn noise(count: usize) -> Vec<u8> {
    let mut state = 1_u64;
    let mut next = || {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (state >> 56) as u8
    };
    (0..count).map(|_| next()).collect()
}

fn count(application: &Application, of: &Directory, topic: &str) -> usize {
    let mut count = 0;
    application.each_record(of, &[topic], |_| count += 1);
    count
}

/// How often the group gave a copy its tasks.
fn assignments(done: &Done) -> usize {
    done.err.matches("the group gave this copy its tasks").count()
}

#[test]
fn what_is_no_report_is_rejected_and_a_backlog_is_worked_off() {
    let kafka = Kafka::start(1);
    let application = Application::begin(&kafka, Directory::new(Profile::Default));
    let copy = application.copy("a");
    let stranger = Stranger::new(&kafka);
    application.send(&reports(&application, 0..100), Duration::ZERO);
    let noise = noise(LARGEST + 1);
    let (nearly, zeros, long) = (&noise[..LARGEST - 1_000], vec![0; 3 * LARGEST], vec![b'k'; 100_000]);
    // No record, no schema of ours, none of its values; the largest that a broker takes; larger still, but compressed; a key of no use.
    let poison: [(&[u8], &[u8]); 8] = [
        (b"agent-1", b""),
        (b"agent-1", br#"{"agentId":"agent-1","metrics":{"successRate":NaN}}"#),
        (b"agent-1", &[0, 0, 0, 0, 250, 1, 2, 3]),
        (b"agent-1", &[0, 0, 0, 0, 0, 0xff, 0xff, 0xff]),
        (&[0xff, 0xfe], b"the key is not UTF-8"),
        (b"agent-1", nearly),
        (b"agent-1", &zeros),
        (&long, b"a long key"),
    ];
    for (number, (key, value)) in poison.iter().enumerate() {
        stranger.send(key, value).unwrap_or_else(|error| panic!("number {number}: {error}"));
    }
    let refused = stranger.send(b"agent-1", &noise);
    assert_eq!(refused.expect_err("too large").rdkafka_error_code(), Some(RDKafkaErrorCode::MessageSizeTooLarge));
    application.send(&reports(&application, 100..200), Duration::ZERO);
    application.wait_drained();
    assert_eq!(assignments(&copy.stop()), 1);

    // Nobody is there while the others go on.
    application.send(&reports(&application, 200..40_200), Duration::ZERO);
    let copy = application.copy("a");
    application.wait_drained();
    assert!(copy.peak_memory() < 1 << 30, "{} bytes", copy.peak_memory());
    assert_eq!(assignments(&copy.stop()), 1, "the group stays as it is");

    let exported = application.export();
    exported.is_whole();
    assert_eq!(count(&application, &exported, "eval.rejected"), poison.len());
    assert_eq!(count(&application, &exported, "eval.scores"), 40_200);
    let told = exported.call(["rejected", "list"]).ok().out;
    assert_eq!(told.matches("SHA-256").count(), 2, "{told}");
}

#[test]
fn a_topic_that_is_not_what_it_was_ends_every_copy_that_read_it() {
    let kafka = Kafka::start(1);
    let application = Application::begin(&kafka, Directory::new(Profile::Default));
    let topic = |command: &[&str]| drop(kafka.tool(TOPICS, command, ""));
    let at_work = |from: u64| -> Copy {
        let copy = application.copy("a");
        application.send(&reports(&application, from..from + 200), Duration::ZERO);
        application.wait_drained();
        copy
    };
    // Keys would move.
    let copy = at_work(0);
    topic(&["--alter", "--topic", "eval.late", "--partitions", "6"]);
    copy.end().refused(1, "cluster_partitions_differ");
    application.run("a").run().refused(1, "cluster_differs");
    application.apply().run().refused(1, "cluster_partitions_differ");
    // Nothing was in it.
    topic(&["--delete", "--topic", "eval.late"]);
    application.apply().ok();
    let copy = at_work(200);
    topic(&["--delete", "--topic", "eval.late"]);
    copy.end().refused(1, "cluster_topic_changed");
    application.apply().ok();
    at_work(400).stop();

    // What is read on from an offset of the old one is nothing of the new one, however much that holds.
    topic(&["--delete", "--topic", "eval.reports"]);
    application.run("a").run().refused(1, "cluster_differs");
    application.apply().ok();
    application.run("a").run().refused(1, "cluster_topic_changed");
    application.send(&reports(&application, 1_000..4_000), Duration::ZERO);
    application.run("a").run().refused(1, "cluster_topic_changed");
    let into = Directory::with_topology(application.directory.topology.clone());
    std::fs::rename(application.data("a"), into.data()).expect("a directory");
    into.replay();
    assert_eq!(count(&application, &into, "eval.scores"), 600, "the directory holds what was");
}

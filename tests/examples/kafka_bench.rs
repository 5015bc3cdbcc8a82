//! Merit on Kafka, measured as its peer is: one broker, one copy, reports that are a pure function of their number.
//!
//! `scripts/bench_kafka.sh` and `scripts/bench_recovery.sh` run it. Every measurement is one line of JSON. First argument: what to measure.
//! - `drain [TOPIC...]`: reports lie there, then a copy starts. Topics that are named are not published.
//! - `null`: the same reports through the same client library, the records written that a copy wrote of them, and nothing computed.
//! - `latency`: reports at a fixed rate, each stamped with when it was due.
//! - `restart`: a copy is killed in the middle of a backlog; from the start of the next to its first record.
//! - `recovery`: a copy with much state is killed, and loses its disk; until the next has processed one report more, and how much of
//!   that it waited for the group.
//!
//! Copies are headless where `HEADLESS` is set; they mirror the log and fold read models otherwise.
//! `REPORTS`, `AGENTS`, `RATE`, `MEASURED_SECONDS`, `WARM_UP` and `BACKLOG` say how much.

#![expect(clippy::print_stdout, reason = "it prints what it measured")]

use merit::bench::load::{Format, report};
use merit_core::record::{AllocationRequested, PromotionProposed, ScoreUpdated};
use merit_core::{Datum, EventTime, Kind};
use merit_runtime::frame::Frame;
use merit_runtime::kafka::wire::{self, Read};
use merit_tests::copies::{Application, Copy, Sent};
use merit_tests::directory::Directory;
use merit_tests::kafka::{Kafka, running};
use merit_tests::process::merit;
use merit_tests::repository;
use rdkafka::consumer::{BaseConsumer, Consumer};
use rdkafka::message::{BorrowedMessage, Header, Headers, OwnedHeaders};
use rdkafka::producer::{BaseProducer, BaseRecord, Producer};
use rdkafka::{ClientConfig, Message, Offset, TopicPartitionList};
use serde_json::{Value, json};
use std::collections::{BTreeMap, HashMap, VecDeque};
use std::path::Path;
use std::process::Command;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

/// Ticks of a second in `/proc/PID/stat`: Linux tells user space 100 everywhere.
const TICKS: f64 = 100.0;

/// What the peer decides: a promotion above 0.8 and its end below 0.6, six hours between two, granted by itself.
const PROFILE: &str = r#"
[parameters.profiles.measured]
decimals = 4
evaluate = "report"
approval = "automatic"
requested_by = "eval-engine"
reason = "promotion threshold met"
dwell = "6h"
tiers = [{ name = "promoted", enter = 0.80, exit = 0.60 }]
allocation = { pool = "gpus-us-east", delta = 1 }
"#;

fn number(variable: &str, default: u64) -> u64 {
    std::env::var(variable).ok().and_then(|text| text.parse().ok()).unwrap_or(default)
}

fn is_headless() -> bool {
    std::env::var_os("HEADLESS").is_some()
}

fn main() {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let words: Vec<&str> = arguments.iter().map(String::as_str).collect();
    match words[..] {
        ["drain", ref hidden @ ..] => drain(hidden),
        ["null"] => null(),
        ["pass-through", brokers, broker] => pass_through(brokers, broker.parse().expect("a number")),
        ["latency"] => latency(),
        ["restart"] => restart(),
        ["recovery"] => recovery(),
        _ => println!("drain [TOPIC...] | null | latency | restart | recovery"),
    }
}

/// A broker with Merit's topics.
struct Bench {
    application: Application,
    kafka: Kafka,
    agents: u64,
    _directory: tempfile::TempDir,
}

impl Bench {
    fn begin(hidden: &[&str]) -> Bench {
        let folder = tempfile::tempdir().expect("a temporary directory");
        let text = std::fs::read_to_string(repository("topology.toml")).expect("our own file");
        let text = text.replacen("profile = \"default\"", "profile = \"measured\"", 1) + PROFILE;
        let text = hidden.iter().fold(text, |text, topic| without(&text, topic));
        let topology = folder.path().join("topology.toml");
        std::fs::write(&topology, text).expect("our own directory");
        let pools = folder.path().join("pools.toml");
        std::fs::write(&pools, "[[pools]]\nname = \"gpus-us-east\"\ncapacity = 1000000\n").expect("our own directory");
        let kafka = Kafka::start(1);
        let application = Application::begin(&kafka, Directory::with_topology(topology.clone()));
        merit(["pools", "apply", "--kafka", kafka.bootstrap(), "--topology"]).with([&topology, &pools]).ok();
        Bench { application, kafka, agents: number("AGENTS", 10_000), _directory: folder }
    }

    /// Starts the copy that is measured.
    fn copy(&self) -> Copy {
        let call = if is_headless() { self.application.headless("a") } else { self.application.run("a") };
        Copy::of(call)
    }

    /// A report of the load, received at a time.
    fn report(&self, number: u64, received_at: EventTime) -> Sent {
        let (report, mut payload) = (report(number, self.agents), Vec::with_capacity(160));
        report.write(Format::Avro, &mut payload);
        self.application.encoded(report.agent(), received_at, payload)
    }

    fn preload(&self, numbers: std::ops::Range<u64>) {
        let now = EventTime(i64::try_from(micros() / 1_000).expect("this side of the year 200,000,000"));
        self.application.fill(numbers.map(|number| self.report(number, now)));
    }

    /// Bytes of the records of topics with that in their names, as the broker has them on its disk; its indexes are not counted.
    fn topic_bytes(&self, name: &str) -> f64 {
        bytes_under(&self.kafka.folder().join("broker-1/data"), &|path| path.contains(&format!("{name}-")) && path.ends_with(".log"))
    }

    /// Rows of all changelogs, and the bytes of their keys and values.
    fn changelog_rows(&self) -> (u64, u64) {
        let topics = ["merit-evaluate-changelog", "merit-aggregate-changelog", "merit-allocate-changelog", "merit-seal-changelog"];
        let (mut rows, mut bytes) = (0, 0);
        self.read(&topics, |message| (rows, bytes) = (rows + 1, bytes + (message.key_len() + message.payload_len()) as u64));
        (rows, bytes)
    }

    fn broker(&self) -> u32 {
        running(self.kafka.folder(), 1).map_or(0, |pid| pid.as_raw_nonzero().get().cast_unsigned())
    }

    /// Records of a type in a topic, and the bytes of their values.
    fn count(&self, topic: &str, kind: Kind) -> (u64, u64) {
        let (mut records, mut bytes) = (0, 0);
        self.read(&[topic], |message| {
            if matches!(wire::read(message), Read::Record(frame) if frame.kind() == Some(kind)) {
                (records, bytes) = (records + 1, bytes + message.payload_len() as u64);
            }
        });
        (records, bytes)
    }

    /// Gives every message of topics, until none comes for a second.
    fn read(&self, topics: &[&str], mut each: impl FnMut(&BorrowedMessage<'_>)) {
        let consumer = consumer(self.kafka.bootstrap(), topics, Offset::Beginning);
        let mut heard = Instant::now();
        while heard.elapsed() < Duration::from_secs(1) {
            while let Some(Ok(message)) = consumer.poll(Duration::from_millis(50)) {
                heard = Instant::now();
                each(&message);
            }
        }
    }
}

/// A topology in which a topic is not published.
fn without(topology: &str, topic: &str) -> String {
    let begin = topology.find(&format!("[topics.\"{topic}\"]")).unwrap_or_else(|| panic!("no topic {topic}"));
    let end = topology[begin + 1..].find("\n[").map_or(topology.len(), |end| begin + 2 + end);
    format!("{}{}", &topology[..begin], &topology[end..])
}

fn micros() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).expect("behind 1970").as_micros() as u64
}

/// CPU seconds that a process has used.
fn cpu(process: u32) -> f64 {
    let stat = std::fs::read_to_string(format!("/proc/{process}/stat")).unwrap_or_default();
    let fields: Vec<&str> = stat.rsplit(')').next().unwrap_or_default().split_whitespace().collect();
    let ticks = |at: usize| fields.get(at).and_then(|text| text.parse::<f64>().ok()).unwrap_or(0.0);
    (ticks(11) + ticks(12)) / TICKS
}

/// The most memory that a process has had, in MB.
fn peak(process: u32) -> u64 {
    let status = std::fs::read_to_string(format!("/proc/{process}/status")).unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"));
    line.and_then(|line| line.split_whitespace().next()?.parse::<u64>().ok()).unwrap_or(0) / 1_024
}

fn consumer(brokers: &str, topics: &[&str], from: Offset) -> BaseConsumer {
    let mut config = ClientConfig::new();
    config.set("bootstrap.servers", brokers).set("group.id", "bench").set("enable.auto.commit", "false");
    config.set("isolation.level", "read_committed").set("fetch.wait.max.ms", "10").set("fetch.queue.backoff.ms", "10");
    let consumer: BaseConsumer = config.create().expect("a consumer");
    let mut list = TopicPartitionList::new();
    for topic in topics {
        let metadata = consumer.fetch_metadata(Some(topic), Duration::from_secs(10)).expect("the broker answers");
        for partition in metadata.topics()[0].partitions() {
            let end = || consumer.fetch_watermarks(topic, partition.id(), Duration::from_secs(10)).expect("the broker answers").1;
            let at = if from == Offset::End { Offset::Offset(end()) } else { from };
            list.add_partition_offset(topic, partition.id(), at).expect("an offset");
        }
    }
    consumer.assign(&list).expect("partitions that are there");
    consumer
}

/// Everything lies there, then a copy starts; until the last input is committed.
fn drain(hidden: &[&str]) {
    let reports = number("REPORTS", 2_000_000);
    let bench = Bench::begin(hidden);
    bench.preload(0..reports);
    let (broker, begun) = (cpu(bench.broker()), Instant::now());
    let copy = bench.copy();
    bench.application.wait_consumed();
    let seconds = begun.elapsed().as_secs_f64();
    let (used, memory, broker) = (cpu(copy.id()), peak(copy.id()), cpu(bench.broker()) - broker);
    let count = |topic, kind| if hidden.contains(&topic) { (0, 0) } else { bench.count(topic, kind) };
    let (decisions, _) = count("alloc.applied", Kind::AllocationRequested);
    let (scores, bytes) = count("eval.scores", Kind::ScoreUpdated);
    let public = ["eval.scores", "eval.promotions", "alloc.applied", "audit"];
    let on_broker: Vec<Value> = public
        .map(|topic| json!({ "topic": topic, "bytes_a_report": tenths(bench.topic_bytes(&format!("/{topic}")) / reports as f64) }))
        .into();
    end(copy);
    let per_million = 1e6 / reports as f64;
    println!(
        "{}",
        json!({
            "system": "merit", "headless": is_headless(), "test": "drain", "hidden": hidden, "reports": reports, "seconds": tenths(seconds),
            "reports_per_s": (reports as f64 / seconds).round(), "cpu_s_per_million": tenths(used * per_million),
            "broker_cpu_s_per_million": tenths(broker * per_million), "peak_mb": memory,
            "decisions_per_1000": decisions as f64 * 1_000.0 / reports as f64,
            "scores": scores, "score_bytes": bytes / scores.max(1), "on_broker": on_broker,
        })
    );
}

fn tenths(value: f64) -> f64 {
    (value * 10.0).round() / 10.0
}

/// Ends a copy, and shows what it waited for: that explains figures.
#[expect(clippy::print_stderr, reason = "standard output has the figures")]
fn end(copy: Copy) {
    copy.stop().err.lines().filter(|line| line.contains("WARN")).for_each(|line| eprintln!("{line}"));
}

/// What a copy wrote of the reports, written once more to the same topics by a process that computes nothing.
fn null() {
    let bench = Bench::begin(&[]);
    bench.preload(0..number("REPORTS", 2_000_000));
    let copy = bench.copy();
    bench.application.wait_consumed();
    bench.application.wait_drained();
    end(copy);
    let program = std::env::current_exe().expect("it runs");
    let child = Command::new(program).args(["pass-through", bench.kafka.bootstrap(), &bench.broker().to_string()]).status();
    assert!(child.expect("it can be run").success(), "the pass-through failed");
}

/// A record that a copy wrote.
struct Written {
    key: Vec<u8>,
    value: Option<Vec<u8>>,
    headers: Vec<(String, Vec<u8>)>,
}

/// What is in every partition but those of reports and answers: outputs, and of the changelogs what is left of them.
fn written(brokers: &str) -> BTreeMap<(String, i32), Vec<Written>> {
    let admin: BaseConsumer = ClientConfig::new().set("bootstrap.servers", brokers).create().expect("a consumer");
    let metadata = admin.fetch_metadata(None, Duration::from_secs(10)).expect("the broker answers");
    let names = metadata.topics().iter().map(|topic| topic.name());
    let names: Vec<&str> = names.filter(|name| !name.starts_with("__") && *name != "eval.reports" && !name.ends_with("answers")).collect();
    let reader = consumer(brokers, &names, Offset::Beginning);
    let (mut all, mut heard) = (BTreeMap::<_, Vec<Written>>::new(), Instant::now());
    while heard.elapsed() < Duration::from_secs(2) {
        while let Some(Ok(message)) = reader.poll(Duration::from_millis(50)) {
            heard = Instant::now();
            let headers = message.headers().into_iter().flat_map(|headers| headers.iter());
            let headers = headers.map(|header| (header.key.to_owned(), header.value.unwrap_or_default().to_vec())).collect();
            let (key, value) = (message.key().unwrap_or_default().to_vec(), message.payload().map(<[u8]>::to_vec));
            all.entry((message.topic().to_owned(), message.partition())).or_default().push(Written { key, value, headers });
        }
    }
    all
}

/// The process of [`null`]: reports are consumed, and for each of them its share of what is to be written of each partition is
/// produced, one transaction a turn with the offsets.
fn pass_through(brokers: &str, broker: u32) {
    let reports = number("REPORTS", 2_000_000);
    let written = written(brokers);
    let mut sent = vec![0; written.len()];
    let input = consumer(brokers, &["eval.reports"], Offset::Beginning);
    let mut config = ClientConfig::new();
    config.set("bootstrap.servers", brokers).set("transactional.id", "null").set("compression.type", "lz4").set("linger.ms", "1");
    config.set("batch.size", "262144").set("retry.backoff.ms", "5").set("queue.buffering.max.messages", "1000000");
    let output: BaseProducer = config.create().expect("a producer");
    let limit = Duration::from_secs(60);
    output.init_transactions(limit).expect("the broker takes it");
    let group = input.group_metadata().expect("a group");
    let (used, brokers_own, begun) = (cpu(std::process::id()), cpu(broker), Instant::now());
    let (mut done, mut offsets) = (0, HashMap::new());
    while done < reports {
        let Some(first) = input.poll(Duration::from_millis(100)) else { continue };
        output.begin_transaction().expect("none is open");
        let (mut next, turn) = (Some(first), Instant::now());
        while let Some(message) = next {
            let message = message.expect("a record");
            // Configurations, and what is fed back, are no reports.
            done += u64::from(matches!(wire::read(&message), Read::Record(frame) if frame.kind() == Some(Kind::EvalReport)));
            for (((topic, partition), records), sent) in written.iter().zip(&mut sent) {
                let share = (records.len() as u64 * done.min(reports) / reports) as usize;
                for record in &records[*sent..share] {
                    let headers = record.headers.iter().map(|(key, value)| Header { key, value: Some(value) });
                    let headers = headers.fold(OwnedHeaders::new_with_capacity(record.headers.len()), OwnedHeaders::insert);
                    let mut message = BaseRecord::to(topic).partition(*partition).key(&record.key).headers(headers);
                    message.payload = record.value.as_ref();
                    output.send(message).map_err(|(error, _)| error).expect("room in the queue");
                }
                *sent = share;
            }
            offsets.insert(message.partition(), message.offset() + 1);
            next = if turn.elapsed() < Duration::from_millis(50) { input.poll(Duration::ZERO) } else { None };
        }
        while output.in_flight_count() > 0 {
            output.poll(Duration::ZERO);
            std::thread::sleep(Duration::from_micros(200));
        }
        let mut list = TopicPartitionList::new();
        for (partition, offset) in offsets.drain() {
            list.add_partition_offset("eval.reports", partition, Offset::Offset(offset)).expect("an offset");
        }
        output.send_offsets_to_transaction(&list, &group, limit).expect("the broker takes them");
        output.commit_transaction(limit).expect("the broker takes it");
    }
    let (seconds, per_million) = (begun.elapsed().as_secs_f64(), 1e6 / reports as f64);
    let bytes = |of: &Written| of.key.len() + of.value.as_ref().map_or(0, Vec::len);
    let records = || written.values().flatten();
    println!(
        "{}",
        json!({
            "system": "null", "test": "drain", "reports": reports, "seconds": tenths(seconds),
            "reports_per_s": (reports as f64 / seconds).round(),
            "cpu_s_per_million": tenths((cpu(std::process::id()) - used) * per_million),
            "broker_cpu_s_per_million": tenths((cpu(broker) - brokers_own) * per_million),
            "records_a_report": tenths(records().count() as f64 / reports as f64),
            "bytes_a_report": records().map(bytes).sum::<usize>() as u64 / reports,
        })
    );
}

/// What came out, and when.
#[derive(Default)]
struct Seen {
    scores: Vec<(u64, u64)>,
    /// The report of an agent and of a time.
    reports: HashMap<(String, EventTime), u64>,
    promotions: Vec<(String, EventTime)>,
    allocations: Vec<(String, u64)>,
}

impl Seen {
    fn take(&mut self, frame: &Frame<'_>, at: u64) {
        match frame.kind() {
            Some(Kind::ScoreUpdated) => {
                let score = ScoreUpdated::decode(frame.payload).expect("our own record");
                let number = score.report_id.trim_start_matches("report-").parse().expect("one of ours");
                self.scores.push((number, at));
                self.reports.insert((score.agent_id.into(), score.timestamp), number);
            }
            Some(Kind::PromotionProposed) => {
                let proposed = PromotionProposed::decode(frame.payload).expect("our own record");
                self.promotions.push((proposed.agent_id.into(), proposed.timestamp));
            }
            Some(Kind::AllocationRequested) => {
                let requested = AllocationRequested::decode(frame.payload).expect("our own record");
                self.allocations.push((requested.agent_id.into(), at));
            }
            _ => {}
        }
    }

    /// Report and arrival of the first record of each allocation: the promotions of an agent and its requests are in one order.
    fn allocations(&self) -> Vec<(u64, u64)> {
        let mut promoted: HashMap<&str, VecDeque<EventTime>> = HashMap::new();
        for (agent, time) in &self.promotions {
            promoted.entry(agent).or_default().push_back(*time);
        }
        let report = |(agent, at): &(String, u64)| {
            let time = promoted.get_mut(agent.as_str())?.pop_front()?;
            Some((*self.reports.get(&(agent.clone(), time))?, *at))
        };
        self.allocations.iter().filter_map(report).collect()
    }
}

/// An open loop: what is late is counted from when it was due.
fn latency() {
    let (preloaded, rate) = (number("REPORTS", 500_000), number("RATE", 5_000));
    let (seconds, warm_up) = (number("MEASURED_SECONDS", 60), number("WARM_UP", 15));
    let bench = Bench::begin(&[]);
    bench.preload(0..preloaded);
    let copy = bench.copy();
    bench.application.wait_drained();
    let before = cpu(copy.id());
    let (stop, brokers) = (AtomicBool::new(false), bench.kafka.bootstrap().to_owned());
    let sinks = consumer(&brokers, &["eval.scores", "eval.promotions", "alloc.applied"], Offset::End);
    let (start, reports) = (micros() + 500_000, rate * seconds);
    let due = |number: u64| start + (number - preloaded) * 1_000_000 / rate;
    let (seen, latest) = std::thread::scope(|scope| {
        let reading = scope.spawn(|| {
            let mut seen = Seen::default();
            while !stop.load(Ordering::Relaxed) {
                while let Some(Ok(message)) = sinks.poll(Duration::from_millis(20)) {
                    if let Read::Record(frame) = wire::read(&message) {
                        seen.take(&frame, micros());
                    }
                }
            }
            seen
        });
        let latest = open_loop(&bench, preloaded..preloaded + reports, due);
        std::thread::sleep(Duration::from_secs(3));
        stop.store(true, Ordering::Relaxed);
        (reading.join().expect("it reads to the end"), latest)
    });
    let cut = start + warm_up * 1_000_000;
    let share = (cpu(copy.id()) - before) / (seconds + 3) as f64;
    end(copy);
    let of = |arrivals: &[(u64, u64)]| {
        let after = arrivals.iter().filter(|(number, _)| *number >= preloaded && due(*number) >= cut);
        percentiles(after.map(|(number, at)| at.saturating_sub(due(*number))).collect())
    };
    println!(
        "{}",
        json!({
            "system": "merit", "headless": is_headless(), "test": "latency", "rate": rate, "sent": reports,
            "cpu_share": (share * 100.0).round() / 100.0,
            "generator_max_late_ms": latest / 1_000, "score": of(&seen.scores), "alloc": of(&seen.allocations()),
        })
    );
}

/// Sends what is due every five milliseconds, as a producer that lingers does; gives by how many microseconds the latest was late.
fn open_loop(bench: &Bench, numbers: std::ops::Range<u64>, due: impl Fn(u64) -> u64) -> u64 {
    let mut latest = 0;
    bench.application.fill(numbers.map(|number| {
        let due = due(number);
        while micros() < due {
            std::thread::sleep(Duration::from_millis(5));
        }
        latest = latest.max(micros() - due);
        bench.report(number, EventTime((due / 1_000) as i64))
    }));
    latest
}

fn percentiles(mut micros: Vec<u64>) -> Value {
    micros.sort_unstable();
    let at = |share: f64| micros.get(((micros.len() as f64 * share) as usize).min(micros.len().saturating_sub(1))).copied();
    let milliseconds = |share: f64| at(share).map(|micros| tenths(micros as f64 / 1e3));
    json!({
        "n": micros.len(), "p50_ms": milliseconds(0.5), "p99_ms": milliseconds(0.99), "p999_ms": milliseconds(0.999),
        "max_ms": milliseconds(1.0),
    })
}

/// Killed in the middle of a backlog; from the start of the next process to its first record.
fn restart() {
    let (reports, backlog) = (number("REPORTS", 2_000_000), number("BACKLOG", 300_000));
    let bench = Bench::begin(&[]);
    bench.preload(0..reports);
    let mut copy = bench.copy();
    bench.application.wait_drained();
    for round in 0..3 {
        let from = reports + round * backlog;
        let (next, took, size) = std::thread::scope(|scope| {
            let sending = scope.spawn(|| bench.preload(from..from + backlog));
            std::thread::sleep(Duration::from_millis(800));
            copy.kill();
            sending.join().expect("everything is sent");
            let sink = consumer(bench.kafka.bootstrap(), &["eval.scores"], Offset::End);
            let begun = Instant::now();
            let next: Copy = bench.copy();
            while sink.poll(Duration::from_millis(5)).is_none_or(|message| message.is_err()) {}
            (next, begun.elapsed(), (bytes_under(&bench.application.data("a"), &|_| true) / 1e6).round())
        });
        bench.application.wait_drained();
        copy = next;
        println!(
            "{}",
            json!({
                "system": "merit", "headless": is_headless(), "test": "restart", "state_reports": from, "disk_mb": size,
                "first_record_ms": took.as_millis(),
            })
        );
    }
    end(copy);
    let (scores, _) = bench.count("eval.scores", Kind::ScoreUpdated);
    println!(
        "{}",
        json!({ "system": "merit", "headless": is_headless(), "test": "exactly_once", "expected": reports + 3 * backlog, "records": scores })
    );
}

/// Behind `kill -9` with much state, twice, and behind the loss of the disk: until one report more is processed.
fn recovery() {
    let reports = number("REPORTS", 1_000_000);
    let bench = Bench::begin(&[]);
    let first = bench.copy();
    bench.preload(0..reports);
    bench.application.wait_drained();
    first.kill();
    let (on_broker, (rows, row_bytes)) = (bench.topic_bytes("-changelog"), bench.changelog_rows());
    for (next, lost) in (reports..).zip([false, false, true]) {
        let disk = (bytes_under(&bench.application.data("a"), &|_| true) / 1e6).round();
        if lost {
            std::fs::remove_dir_all(bench.application.data("a")).expect("our own directory");
        }
        let begun = Instant::now();
        let copy = bench.copy();
        bench.preload(next..next + 1);
        bench.application.wait_consumed();
        let (seconds, used, done) = (begun.elapsed().as_secs_f64(), cpu(copy.id()), jiff::Timestamp::now());
        let (group, given) = joined(&copy.killed().err);
        let restored = row_bytes as f64 / 1e6 / between(given, done);
        println!(
            "{}",
            json!({
                "system": "merit", "headless": is_headless(), "test": "recovery", "agents": bench.agents, "reports": reports,
                "disk_lost": lost, "disk_mb": disk,
                "changelog_mb": (on_broker / 1e6).round(), "changelog_rows": rows,
                "changelog_rows_mb": (row_bytes as f64 / 1e6).round(), "first_record_s": tenths(seconds),
                "of_which_group_s": tenths(group), "cpu_s": tenths(used),
                "restored_mb_per_s": if lost { json!(restored.round()) } else { Value::Null },
            })
        );
    }
}

/// Seconds that a copy waited for the group to give it its tasks, and when it had them.
fn joined(diary: &str) -> (f64, jiff::Timestamp) {
    let lines: Vec<Value> = diary.lines().filter_map(|line| serde_json::from_str(line).ok()).collect();
    let at = |message: &str| -> jiff::Timestamp {
        let line = lines.iter().find(|line| line["message"] == message);
        let time = line.and_then(|line| line["timestamp"].as_str()?.parse().ok());
        time.unwrap_or_else(|| panic!("no copy said {message:?}: {diary}"))
    };
    let given = at("the group gave this copy its tasks");
    (between(at("joins the group"), given), given)
}

/// Seconds.
fn between(from: jiff::Timestamp, to: jiff::Timestamp) -> f64 {
    (to - from).total(jiff::Unit::Second).expect("a span of seconds")
}

/// Bytes of the files under a folder whose path is one of those.
fn bytes_under(folder: &Path, is_one: &dyn Fn(&str) -> bool) -> f64 {
    let entries = std::fs::read_dir(folder).into_iter().flatten().flatten();
    let size = |entry: std::fs::DirEntry| match entry.metadata() {
        Ok(data) if data.is_dir() => bytes_under(&entry.path(), is_one),
        Ok(data) if is_one(&entry.path().to_string_lossy()) => data.len() as f64,
        _ => 0.0,
    };
    entries.map(size).sum()
}

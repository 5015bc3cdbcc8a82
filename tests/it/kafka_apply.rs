//! `merit topology apply --kafka`, `merit pools apply --kafka`, and the check at the start of a copy.

use merit_core::record::{ConfigEpoch, DefinePool, PolicyBundle, SetQuota};
use merit_core::{Datum, EventTime, Key, Kind, Payload};
use merit_runtime::Input;
use merit_runtime::kafka::commands::Commands;
use merit_runtime::kafka::reader::{LastError, Reader};
use merit_runtime::kafka::topics::Topics;
use merit_runtime::kafka::wire::{self, Read};
use merit_runtime::kafka::{Access, Cluster, ClusterError, admin};
use merit_runtime::layout::Layout;
use merit_tests::kafka::Kafka;
use merit_tests::process::{Call, HANG, merit, wait_until};
use merit_tests::{repository, text, write};
use merit_topology::Topology;
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::ffi::OsStr;
use std::net::TcpListener;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};
use tempfile::TempDir;

const TOPICS: &str = "org.apache.kafka.tools.TopicCommand";
const PRODUCER: &str = "org.apache.kafka.tools.ConsoleProducer";
const CONFIGS: &str = "kafka.admin.ConfigCommand";

/// Topics of the topology that is compiled in, and partitions that its tasks read.
const ALL_TOPICS: usize = 18;
const INPUTS: usize = 10;

/// A deployment: brokers, and a folder with its key and its topologies.
struct Deployment {
    brokers: String,
    folder: TempDir,
}

impl Deployment {
    fn on(brokers: &str) -> Deployment {
        Deployment { brokers: brokers.into(), folder: TempDir::with_prefix("merit-it-").expect("a temporary directory") }
    }

    fn file(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// The topology that is compiled in, with one text for another.
    fn topology(&self, name: &str, from: &str, to: &str) -> PathBuf {
        let (compiled_in, path) = (text(&repository("topology.toml")), self.file(name));
        assert!(compiled_in.contains(from), "{from}");
        write(&path, compiled_in.replacen(from, to, 1));
        path
    }

    fn call(&self, command: &[&str], options: &[(&str, &Path)]) -> Call {
        let call = merit(command).with(["--json", "--kafka", &self.brokers]);
        options.iter().fold(call, |call, (option, path)| call.with([OsStr::new(option), path.as_os_str()]))
    }

    fn apply(&self) -> Call {
        self.call(&["topology", "apply"], &[("--audit-key", &self.file("key"))])
    }

    fn apply_with(&self, topology: &Path) -> Call {
        self.call(&["topology", "apply"], &[("--audit-key", &self.file("key")), ("--topology", topology)])
    }

    fn apply_pools(&self) -> Call {
        self.call(&["pools", "apply"], &[]).with([repository("examples/pools.toml")])
    }

    fn run(&self, topology: &Path) -> Call {
        let (data, key) = (self.file("copy"), self.file("key"));
        let call = self.call(&["run"], &[("--data-dir", &data), ("--audit-key", &key), ("--topology", topology)]);
        ["MERIT_OPS_ADDR", "EVAL_ENGINE_ADDR", "RESOURCE_ALLOCATOR_ADDR"].iter().fold(call, |call, name| call.env(name, "127.0.0.1:0"))
    }

    fn cluster(&self) -> (Cluster, Topology, Arc<Layout>, Arc<Topics>) {
        let topology = merit_topology::parse(&text(&repository("topology.toml"))).expect("it is well");
        let cluster = Cluster { brokers: self.brokers.clone(), application: topology.application.clone(), access: Access::default() };
        let layout = Arc::new(Layout::new(&topology, &merit::registry::registered()));
        let topics = Arc::new(Topics::new(&cluster, &layout));
        (cluster, topology, layout, topics)
    }

    /// What a start says of the topics.
    fn differences(&self) -> Vec<String> {
        let (cluster, topology, _, topics) = self.cluster();
        match admin::check(&cluster, &topics, &topology) {
            Ok(()) => Vec::new(),
            Err(ClusterError::Differs { differences }) => differences,
            Err(error) => panic!("{error}"),
        }
    }

    /// Every record in the partitions that tasks read.
    fn inputs(&self) -> BTreeMap<(String, u32), Vec<Record>> {
        let (cluster, _, layout, topics) = self.cluster();
        let mut reader = Reader::new(&cluster, &topics, &LastError::default()).expect("a reader");
        let of = layout.tasks.iter().map(|task| {
            let place = &layout.partitions[task.input];
            ((place.name.clone(), place.partition), records(&mut reader, task.input))
        });
        of.collect()
    }

    /// Runs a copy until each task has a leaf for the last configuration in the audit log, and ends it, which checkpoints.
    fn run_a_copy(&self, topology: &Path) {
        let (cluster, _, layout, topics) = self.cluster();
        let audit = layout.find("audit", 0).expect("it is there");
        let mut reader = Reader::new(&cluster, &topics, &LastError::default()).expect("a reader");
        let mut leaves = || records(&mut reader, audit).len();
        let (before, running) = (leaves(), self.run(topology).start());
        wait_until("each task has a leaf", || leaves() >= before + INPUTS);
        let done = running.terminate();
        assert_eq!(done.code, Some(0), "{done:#?}");
        for task in 0..layout.tasks.len() {
            assert!(reader.end(topics.changelog(task)).expect("it is there") > 0, "task {task} has no checkpoint");
        }
    }
}

#[derive(Clone, Debug, PartialEq, Eq)]
struct Record {
    kind: Kind,
    time: EventTime,
    payload: Vec<u8>,
}

fn records(reader: &mut Reader, partition: usize) -> Vec<Record> {
    let (mut records, end, begun) = (Vec::new(), reader.end(partition).expect("it is there"), Instant::now());
    let mut next = 0;
    while next < end {
        assert!(begun.elapsed() < HANG, "a partition is not read to its end");
        let read = reader.read(partition, next, end, 100, |_, message| {
            let Read::Record(frame) = wire::read(message) else { panic!("no record of Merit") };
            records.push(Record { kind: frame.kind().expect("a type"), time: frame.time, payload: frame.payload.to_vec() });
        });
        next = read.expect("it can be read").unwrap_or(next);
    }
    records
}

fn of_kind<'r>(records: impl IntoIterator<Item = &'r Record>, kind: Kind) -> Vec<&'r Record> {
    records.into_iter().filter(|record| record.kind == kind).collect()
}

/// Names of the topics with that change.
fn changed(told: &Value, change: &str) -> Vec<String> {
    let topics = told["topics"].as_array().expect("topics");
    let of = topics.iter().filter(|topic| topic["change"] == change);
    of.map(|topic| topic["topic"].as_str().expect("a name").to_owned()).collect()
}

#[test]
fn a_cluster_gets_what_is_missing_and_only_that() {
    let kafka = Kafka::start(1);
    let deployment = Deployment::on(kafka.bootstrap());
    let key = deployment.file("key");
    let requests = ("alloc.requests".to_owned(), 0);

    let told = deployment.apply().with(["--dry-run"]).ok().json();
    assert_eq!((told["dryRun"].as_bool(), changed(&told, "created").len()), (Some(true), ALL_TOPICS), "{told}");
    assert_eq!((told["epoch"]["number"].as_u64(), told["epoch"]["appended"].as_bool()), (Some(0), Some(true)));
    assert!(!key.exists(), "a dry run makes no key");
    assert_eq!(deployment.differences().len(), ALL_TOPICS, "and no topic");
    assert!(deployment.differences().contains(&"eval.reports is missing".to_owned()));

    let told = deployment.apply().ok().json();
    assert_eq!(changed(&told, "created").len(), ALL_TOPICS, "{told}");
    assert_eq!((told["epoch"]["appended"].as_bool(), told["pools"].as_u64()), (Some(true), Some(1)), "{told}");
    assert_eq!(key.metadata().expect("it was made").permissions().mode() & 0o777, 0o600);
    assert_eq!(deployment.differences(), Vec::<String>::new());
    let first = deployment.inputs();
    assert_eq!(first.len(), INPUTS);
    for (place, records) in &first {
        let epochs = of_kind(records, Kind::ConfigEpoch);
        assert_eq!((epochs.len(), epochs[0].time), (1, EventTime::EPOCH), "{place:?}");
        let epoch = ConfigEpoch::decode(&records[0].payload).expect("the first record is the configuration");
        assert_eq!((epoch.number, epoch.partitions), (0, 4), "{place:?}");
        assert_eq!(records.len(), if *place == requests { 2 } else { 1 }, "{place:?}");
    }
    let pool = &first[&requests][1];
    let defined = DefinePool::decode(&pool.payload).expect("the shipped pool");
    assert_eq!((defined.pool, defined.capacity, pool.time), ("gpus-us-east", 10_000, EventTime::MIN));

    let told = deployment.apply().ok().json();
    assert_eq!(changed(&told, "unchanged").len(), ALL_TOPICS, "{told}");
    let rest = json!([told["epoch"]["appended"], told["pools"], told["policyAppended"]]);
    assert_eq!(rest, json!([false, 0, false]), "{told}");
    assert_eq!(deployment.inputs(), first);

    // From here on what is in force is in the changelogs, and behind them.
    deployment.run_a_copy(&repository("topology.toml"));
    let told = deployment.apply().ok().json();
    assert_eq!(told["epoch"], json!({ "number": 0, "appended": false, "parameters": [] }), "{told}");

    let shorter = deployment.topology("shorter.toml", "grace = \"10m\"", "grace = \"5m\"");
    let parameters = json!([{ "path": "event-time.grace", "found": "10m", "wanted": "5m" }]);
    let before = deployment.inputs();
    let told = deployment.apply_with(&shorter).with(["--dry-run"]).ok().json();
    assert_eq!(told["epoch"], json!({ "number": 1, "appended": true, "parameters": parameters }), "{told}");
    assert_eq!(deployment.inputs(), before);
    let told = deployment.apply_with(&shorter).ok().json();
    assert_eq!(told["epoch"], json!({ "number": 1, "appended": true, "parameters": parameters }), "{told}");
    for (place, records) in &deployment.inputs() {
        let epochs = of_kind(records, Kind::ConfigEpoch);
        let numbers: Vec<u64> = epochs.iter().map(|record| ConfigEpoch::decode(&record.payload).expect("an epoch").number).collect();
        assert_eq!(numbers, [0, 1], "{place:?}");
        assert!(epochs[1].time >= epochs[0].time, "{place:?}");
    }
    let told = deployment.apply_with(&shorter).ok().json();
    assert_eq!(told["epoch"], json!({ "number": 1, "appended": false, "parameters": [] }), "{told}");

    the_key_is_the_one_in_force(&deployment);
    rules_of_the_environment_are_appended_when_they_change(&deployment, &shorter);
    settings_are_mended(&kafka, &deployment, &shorter);

    let before = deployment.inputs()[&requests].len();
    let pools = deployment.apply_pools().ok().json();
    assert_eq!(pools, json!({ "pools": 7, "quotas": 18 }));
    let requests = &deployment.inputs()[&requests];
    assert_eq!(requests.len(), before + 7 + 18);
    assert_eq!(of_kind(requests, Kind::SetQuota).len(), 18);
}

fn the_key_is_the_one_in_force(deployment: &Deployment) {
    let (key, other) = (deployment.file("key"), deployment.file("other"));
    let before = deployment.inputs();
    std::fs::rename(&key, &other).expect("our own file");
    deployment.apply().run().refused(1, "audit_key_missing");
    write(&key, "5f1b3c0d9e8a7766554433221100ffeeddccbbaa99887766554433221100aabb\n");
    std::fs::set_permissions(&key, std::fs::Permissions::from_mode(0o600)).expect("our own file");
    deployment.apply().run().refused(1, "audit_key_differs");
    std::fs::rename(&other, &key).expect("our own file");
    assert_eq!(deployment.inputs(), before);
}

fn rules_of_the_environment_are_appended_when_they_change(deployment: &Deployment, topology: &Path) {
    let apply = |pools: &str| {
        let call = deployment.apply_with(topology).env("RESOURCE_ALLOCATOR_DENY_POOLS", pools);
        call.ok().json()["policyAppended"].as_bool()
    };
    let denied = || -> Vec<String> {
        let inputs = deployment.inputs();
        let bundles = of_kind(inputs.values().flatten(), Kind::PolicyBundle);
        let pools = bundles.iter().map(|record| PolicyBundle::decode(&record.payload).expect("rules").deny_pools.iter().collect());
        pools.collect()
    };
    assert_eq!((apply("a"), apply("a"), denied()), (Some(true), Some(false), vec!["a".to_owned()]));
    deployment.run_a_copy(topology);
    assert_eq!((apply("a"), denied()), (Some(false), vec!["a".to_owned()]));
    assert_eq!((apply(""), denied()), (Some(true), vec!["a".to_owned(), String::new()]));
}

fn settings_are_mended(kafka: &Kafka, deployment: &Deployment, topology: &Path) {
    let topic = ["--entity-type", "topics", "--entity-name", "eval.scores"];
    let alter = ["--alter", "--add-config", "retention.ms=1000,segment.ms=7200000"];
    kafka.tool(CONFIGS, &[&topic[..], &alter].concat(), "");
    assert_eq!(deployment.differences(), ["eval.scores has retention.ms 1000, not -1"]);
    let refused = deployment.run(topology).run();
    refused.refused(1, "cluster_differs");
    assert!(refused.failure()["hint"].as_str().is_some_and(|hint| hint.contains("merit topology apply")), "{refused:#?}");

    let told = deployment.apply_with(topology).ok().json();
    assert_eq!(changed(&told, "altered"), ["eval.scores"]);
    let settings: Vec<&Value> = told["topics"].as_array().expect("topics").iter().filter(|topic| topic["change"] == "altered").collect();
    assert_eq!(settings[0]["settings"], json!([{ "name": "retention.ms", "found": "1000", "wanted": "-1" }]));
    assert_eq!(deployment.differences(), Vec::<String>::new());
    let described = kafka.tool(CONFIGS, &[&topic[..], &["--describe"]].concat(), "");
    assert!(described.contains("segment.ms=7200000"), "what somebody set beside stays: {described}");
}

#[test]
fn what_cannot_be_mended_is_refused_before_anything_is_changed() {
    let kafka = Kafka::start(1);
    let deployment = Deployment::on(kafka.bootstrap());
    let topics =
        || -> Vec<String> { kafka.tool(TOPICS, &["--list", "--exclude-internal"], "").split_whitespace().map(Into::into).collect() };
    let make = |name: &str, partitions: &str| kafka.tool(TOPICS, &["--create", "--topic", name, "--partitions", partitions], "");

    let short = deployment.topology("short.toml", "[topics.\"eval.late\"]", "[topics.\"eval.late\"]\nretention = \"6d\"");
    let refused = deployment.apply_with(&short).run();
    refused.refused(2, "retention_short");
    assert!(refused.failure()["error"].as_str().is_some_and(|error| error.contains("eval.late")), "{refused:#?}");
    deployment.apply_pools().run().refused(1, "cluster_differs");
    assert_eq!(topics(), Vec::<String>::new());

    make("eval.scores", "3");
    make("eval.late", "5");
    let refused = deployment.apply().run();
    refused.refused(1, "cluster_partitions_differ");
    let detail = "eval.late has 5 partitions, not 4\neval.scores has 3 partitions, not 4";
    assert_eq!(refused.failure()["detail"], detail);
    assert_eq!(topics(), ["eval.late", "eval.scores"]);
    let differences = deployment.differences();
    let missing = differences.iter().filter(|line| line.ends_with(" is missing")).count();
    assert_eq!(missing, ALL_TOPICS - 2);
    assert!(differences.contains(&"eval.late has 5 partitions, not 4".to_owned()), "{differences:?}");

    for name in ["eval.late", "eval.scores"] {
        kafka.tool(TOPICS, &["--delete", "--topic", name], "");
    }
    make("eval.reports", "4");
    kafka.tool(PRODUCER, &["--topic", "eval.reports"], "one\n");
    let refused = deployment.apply().run();
    refused.refused(1, "cluster_not_empty");
    assert!(refused.failure()["error"].as_str().is_some_and(|error| error.starts_with("eval.reports/")), "{refused:#?}");
    assert_eq!(topics(), ["eval.reports"]);
    assert!(!deployment.file("key").exists());

    // Kept for 30 days, it is made so, and says what that means.
    kafka.tool(TOPICS, &["--delete", "--topic", "eval.reports"], "");
    let month = deployment.topology("month.toml", "[topics.\"eval.late\"]", "[topics.\"eval.late\"]\nretention = \"30d\"");
    let done = deployment.apply_with(&month).ok();
    assert!(done.err.contains("older than the retention") && done.err.contains("eval.late"), "{done:#?}");
    assert_eq!(deployment.differences(), ["eval.late has retention.ms 2592000000, not -1"]);

    commands_that_do_not_arrive_are_told(&kafka, &deployment);
}

fn commands_that_do_not_arrive_are_told(kafka: &Kafka, deployment: &Deployment) {
    let (cluster, _, layout, topics) = deployment.cluster();
    let mut commands = Commands::new(&cluster, &topics).expect("a sender");
    let partition = layout.find("alloc.requests", 0).expect("it is there");
    let quota = SetQuota { pool: "a-pool", division_id: "a-division", nominal: 1_000 };
    let input = Input { partition, key: Key::new("a-pool"), time: EventTime(1), payload: Payload::SetQuota(&quota), headers: None };
    let mut encoding = Vec::new();
    input.payload.put(&mut encoding);
    let mut send = |count: usize| {
        (0..count).for_each(|_| commands.send(partition, &input.frame(&encoding)).expect("there is room"));
        commands.flush(Duration::from_secs(10))
    };
    let before = deployment.inputs().values().flatten().count();
    send(3).expect("the broker runs");
    assert_eq!(deployment.inputs().values().flatten().count(), before + 3);

    kafka.kill(1);
    let begun = Instant::now();
    let Err(ClusterError::Undelivered { count, first, .. }) = send(2) else { panic!("nothing can have arrived") };
    assert_eq!((count, first.as_str()), (2, "alloc.requests/0 under key \"a-pool\""));
    assert!(begun.elapsed() < Duration::from_secs(15), "{:?}", begun.elapsed());
}

#[test]
fn a_cluster_that_does_not_answer_is_named_in_time() {
    let silent = TcpListener::bind("127.0.0.1:0").expect("a free port");
    let nobody = TcpListener::bind("127.0.0.1:0").and_then(|listener| listener.local_addr()).expect("a free port");
    let deployments = [silent.local_addr().expect("bound"), nobody].map(|address| Deployment::on(&address.to_string()));
    std::thread::scope(|scope| {
        for deployment in &deployments {
            for call in [deployment.apply(), deployment.apply_pools(), deployment.run(&repository("topology.toml"))] {
                scope.spawn(move || {
                    let begun = Instant::now();
                    let done = call.run();
                    done.refused(1, "cluster_failed");
                    assert!(begun.elapsed() < Duration::from_secs(15), "{:?}", begun.elapsed());
                });
            }
        }
    });
    assert!(deployments.iter().all(|deployment| !deployment.file("key").exists()));
    let refused = deployments[1].apply().run().failure()["error"].as_str().map(str::to_owned);
    assert!(refused.as_ref().is_some_and(|error| error.contains("Connection refused")), "{refused:?}");
}

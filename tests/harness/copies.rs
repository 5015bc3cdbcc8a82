//! Copies of Merit on a cluster, what is sent to them, and when they are done with it.

use crate::directory::Directory;
use crate::kafka::Kafka;
use crate::process::{Call, Done, HANG, Running, merit, status_field, wait_until};
use crate::text;
use merit::registry::registered;
use merit_core::record::{EvalReport, Tick};
use merit_core::{Datum, EventTime, Head, Key, Kind};
use merit_runtime::frame::Frame;
use merit_runtime::kafka::commands::Commands;
use merit_runtime::kafka::reader::{LastError, Reader};
use merit_runtime::kafka::topics::Topics;
use merit_runtime::kafka::{Access, Cluster, ClusterError, Role, wire};
use merit_runtime::layout::Layout;
use merit_runtime::store::Store;
use rdkafka::consumer::{BaseConsumer, Consumer};
use rdkafka::message::DeliveryResult;
use rdkafka::producer::{BaseProducer, BaseRecord, Producer, ProducerContext};
use rdkafka::{ClientConfig, ClientContext, Offset, TopicPartitionList};
use rustix::process::{Pid, Signal, kill_process};
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::{Duration, Instant};
use tempfile::TempDir;

/// What copies have in common: topology, key, cluster.
pub struct Application {
    /// Topology and key.
    pub directory: Directory,
    brokers: String,
    /// How the cluster and its registry are reached.
    config: Option<PathBuf>,
    /// Where it is found what each user shows; none where nobody has to show anything.
    clients: Option<PathBuf>,
    cluster: Cluster,
    layout: Arc<Layout>,
    topics: Arc<Topics>,
    folder: TempDir,
}

/// One copy; killed when dropped.
pub struct Copy {
    running: Option<Running>,
}

/// How many records did not arrive.
#[derive(Default)]
struct Undelivered(AtomicU64);

impl ClientContext for Undelivered {}

impl ProducerContext for Undelivered {
    type DeliveryOpaque = ();

    fn delivery(&self, result: &DeliveryResult<'_>, (): ()) {
        self.0.fetch_add(u64::from(result.is_err()), Relaxed);
    }
}

/// Aborted when dropped.
pub struct OpenTransaction(BaseProducer);

impl Drop for OpenTransaction {
    fn drop(&mut self) {
        self.0.abort_transaction(HANG).expect("it was open");
    }
}

/// A record on its way to a cluster.
pub struct Sent {
    partition: usize,
    key: String,
    kind: u32,
    time: EventTime,
    payload: Vec<u8>,
}

impl Application {
    /// Gives a cluster the topics and the configuration of a topology.
    pub fn begin(kafka: &Kafka, directory: Directory) -> Application {
        let application = Application::of(kafka.bootstrap(), directory);
        application.apply().ok();
        application
    }

    /// One on a cluster with a registry, that nothing was applied for.
    pub fn with_registry(kafka: &Kafka, directory: Directory) -> Application {
        let application = Application::of(kafka.bootstrap(), directory);
        let config = application.config_of(kafka.registry());
        Application { config: Some(config), ..application }
    }

    /// A file that names a registry.
    pub fn config_of(&self, registry: &str) -> PathBuf {
        let path = self.folder.path().join(format!("config-{}", xxhash_rust::xxh3::xxh3_64(registry.as_bytes())));
        std::fs::write(&path, format!("schema.registry.url={registry}\n")).expect("our own folder");
        path
    }

    /// The same with another way to reach the cluster.
    pub fn reached_by(self, config: PathBuf) -> Application {
        Application { config: Some(config), ..self }
    }

    /// One that nothing was applied for.
    pub fn of(brokers: &str, directory: Directory) -> Application {
        let brokers = brokers.to_owned();
        let text = std::fs::read_to_string(&directory.topology).expect("a topology");
        let topology = merit_topology::parse(&text).expect("a topology that is right");
        let cluster = Cluster { brokers: brokers.clone(), application: topology.application.clone(), access: Access::default() };
        let layout = Arc::new(Layout::new(&topology, &registered()));
        let topics = Arc::new(Topics::new(&cluster, &layout));
        let folder = TempDir::with_prefix("merit-copies-").expect("a temporary directory");
        Application { directory, brokers, config: None, clients: None, cluster, layout, topics, folder }
    }

    /// One that nothing was applied for on a cluster where each command is its role's.
    pub fn secure(kafka: &Kafka, directory: Directory) -> Application {
        let clients = kafka.client("admin").parent().map(Into::into);
        Application { clients, ..Application::of(kafka.bootstrap(), directory) }
    }

    /// What a user shows to the cluster.
    fn client(&self, user: &str) -> Option<PathBuf> {
        self.clients.as_ref().map(|clients| clients.join(format!("{user}.properties")))
    }

    /// What a call of a user ends with.
    pub fn by(&self, user: &str) -> Vec<PathBuf> {
        let shown = self.client(user).or_else(|| self.config.clone());
        shown.map_or_else(Vec::new, |shown| vec!["--kafka-config".into(), shown])
    }

    /// The cluster as a user reaches it.
    fn cluster_of(&self, user: &str) -> Cluster {
        let access = self.client(user).map_or_else(Access::default, |client| Access::read(&client).expect("made by the script"));
        Cluster { access, ..self.cluster.clone() }
    }

    /// `merit topology apply`.
    pub fn apply(&self) -> Call {
        self.apply_by(self.by("operator"))
    }

    /// The same, reached in that way.
    pub fn apply_by(&self, reached: Vec<PathBuf>) -> Call {
        merit(["topology", "apply", "--json", "--kafka", &self.brokers]).with(self.of_all()).with(reached)
    }

    fn of_all(&self) -> [PathBuf; 4] {
        ["--topology".into(), self.directory.topology.clone(), "--audit-key".into(), self.directory.key()]
    }

    /// The data directory of a copy.
    pub fn data(&self, copy: &str) -> PathBuf {
        self.folder.path().join(copy)
    }

    /// The call that starts a copy.
    pub fn run(&self, copy: &str) -> Call {
        self.run_by(&self.brokers, "copy", copy)
    }

    /// The same by way of these brokers, by a user.
    pub fn run_by(&self, brokers: &str, user: &str, copy: &str) -> Call {
        let call = merit(["run", "--json", "--kafka", brokers, "--data-dir"]).with([self.data(copy)]);
        let call = call.with(self.of_all()).with(self.by(user));
        ["MERIT_OPS_ADDR", "EVAL_ENGINE_ADDR", "RESOURCE_ALLOCATOR_ADDR"].into_iter().fold(call, |call, name| call.env(name, "127.0.0.1:0"))
    }

    /// The call that starts a copy that serves nobody.
    pub fn headless(&self, copy: &str) -> Call {
        self.run(copy).with(["--headless"])
    }

    /// Starts a copy.
    pub fn copy(&self, copy: &str) -> Copy {
        Copy::of(self.run(copy))
    }

    /// What an embedded log took from outside, in order, but for its configuration.
    pub fn inputs(&self, of: &Directory) -> Vec<Sent> {
        let store = Store::open_to_read(&of.data()).expect("a directory");
        let mut all = Vec::new();
        for topic in ["eval.reports", "alloc.requests"] {
            for partition in self.layout.all_of(topic).into_iter().flatten() {
                let mut records = store.records(&self.layout.partitions[partition]);
                while let Some((_, frame)) = records.next().expect("readable") {
                    if frame.is_outside() && frame.kind() != Some(Kind::ConfigEpoch) {
                        let Frame { kind, time, key, payload, sequence, .. } = frame;
                        all.push((sequence, Sent { partition, key: key.into(), kind, time, payload: payload.into() }));
                    }
                }
            }
        }
        all.sort_by_key(|(sequence, _)| *sequence);
        all.into_iter().map(|(_, sent)| sent).collect()
    }

    /// Sends records, `pause` behind each hundred of them. Where some did not arrive as far as is known, all of their thousand are
    /// sent again: a report that has an id counts once.
    pub fn send(&self, records: &[Sent], pause: Duration) {
        self.send_by("copy", records, pause);
    }

    /// The same by a user.
    pub fn send_by(&self, user: &str, records: &[Sent], pause: Duration) {
        let begun = Instant::now();
        for thousand in records.chunks(1_000) {
            while let Err(error) = self.send_once(user, thousand, pause) {
                assert!(begun.elapsed() < HANG, "the cluster takes no records: {error}");
                std::thread::sleep(Duration::from_millis(200));
            }
        }
    }

    fn send_once(&self, user: &str, records: &[Sent], pause: Duration) -> Result<(), ClusterError> {
        let mut commands = Commands::new(&self.cluster_of(user), &self.topics)?;
        for hundred in records.chunks(100) {
            hundred.iter().try_for_each(|sent| commands.send(sent.partition, &sent.frame()))?;
            std::thread::sleep(pause);
        }
        commands.flush(HANG)
    }

    /// A report on its way.
    pub fn report(&self, report: &EvalReport<'_>) -> Sent {
        let mut payload = Vec::new();
        report.put(&mut payload);
        self.encoded(report.agent_id.into(), report.timestamp, payload)
    }

    /// The encoding of a report on its way.
    pub fn encoded(&self, agent: String, received_at: EventTime, payload: Vec<u8>) -> Sent {
        let first = self.layout.tasks[0].input;
        let partition = first + Key::new(&agent).partition(self.layout.report_partitions) as usize;
        Sent { partition, key: agent, kind: Kind::EvalReport as u32, time: received_at, payload }
    }

    /// Sends many records to a cluster where nothing fails: each once and in this order, however long it takes.
    pub fn fill(&self, records: impl Iterator<Item = Sent>) {
        let mut config = self.cluster.config(Role::Restore);
        config.set("message.timeout.ms", HANG.as_millis().to_string());
        let producer: BaseProducer<Undelivered> = config.create_with_context(Undelivered::default()).expect("a producer");
        let (begun, mut writer) = (Instant::now(), wire::Writer::default());
        for sent in records {
            let (value, headers) = writer.write(&sent.frame(), self.topics.schema(sent.partition, sent.kind));
            let (topic, partition) = self.topics.place(sent.partition);
            let record = BaseRecord::to(topic).partition(partition).key(&sent.key).payload(value).headers(headers);
            let mut record = record.timestamp(wire::timestamp(sent.time));
            while let Err((error, waiting)) = producer.send(record) {
                assert!(begun.elapsed() < HANG, "the broker takes no records: {error}");
                producer.poll(Duration::from_millis(1));
                record = waiting;
            }
        }
        producer.flush(HANG).expect("the broker answers");
        assert_eq!(producer.context().0.load(Relaxed), 0, "of the records some did not arrive");
    }

    /// A transaction that has written to a topic, and stays open until it is dropped.
    pub fn open_transaction(&self, topic: &str) -> OpenTransaction {
        let mut config = self.cluster.config(Role::Transactional("left-open"));
        let producer: BaseProducer = config.set("transaction.timeout.ms", HANG.as_millis().to_string()).create().expect("a producer");
        producer.init_transactions(HANG).expect("a coordinator");
        producer.begin_transaction().expect("none is open");
        producer.send(BaseRecord::<[u8], [u8]>::to(topic).payload(b"never committed")).map_err(|(error, _)| error).expect("there is room");
        producer.flush(HANG).expect("it arrives");
        OpenTransaction(producer)
    }

    /// A Tick for every partition of reports and for the ledger.
    pub fn ticks(&self, time: EventTime) -> Vec<Sent> {
        let mut payload = Vec::new();
        Tick { time }.put(&mut payload);
        let partitions = ["eval.reports", "alloc.requests"].into_iter().filter_map(|topic| self.layout.all_of(topic)).flatten();
        let tick = |partition| Sent { partition, key: "tick".into(), kind: Kind::Tick as u32, time, payload: payload.clone() };
        partitions.map(tick).collect()
    }

    /// The log as it is now, copied into a directory of the test, which goes on from where it stood.
    pub fn export(&self) -> Directory {
        let directory = Directory::with_topology(self.directory.topology.clone());
        self.export_into(&directory);
        directory
    }

    /// The same into that directory.
    pub fn export_into(&self, directory: &Directory) {
        let call = merit(["log", "export", "--json", "--kafka", &self.brokers, "--topology"]).with([&directory.topology]);
        call.with(["--data-dir"]).with([directory.data()]).with(self.by("auditor")).ok();
    }

    /// Gives every record of some topics of a directory.
    pub fn each_record(&self, of: &Directory, topics: &[&str], mut each: impl FnMut(&Frame<'_>)) {
        let store = Store::open_to_read(&of.data()).expect("a directory");
        for partition in topics.iter().filter_map(|topic| self.layout.all_of(topic)).flatten() {
            let mut records = store.records(&self.layout.partitions[partition]);
            while let Some((_, frame)) = records.next().expect("readable") {
                each(&frame);
            }
        }
    }

    /// What librdkafka is told to reach the cluster as a user.
    pub fn config(&self, user: &str) -> ClientConfig {
        let mut config = ClientConfig::new();
        config.set("bootstrap.servers", &self.brokers);
        let lines = self.client(user).map_or_else(String::new, |client| text(&client));
        for (name, value) in lines.lines().filter_map(|line| line.split_once('=')) {
            config.set(name, value);
        }
        config
    }

    /// Names of all its topics.
    pub fn topics(&self) -> Vec<String> {
        self.topics.wanted().into_iter().map(|topic| topic.name).collect()
    }

    /// Waits until everything that was sent was consumed, with all that followed from it.
    pub fn wait_drained(&self) {
        let (begun, mut look) = (Instant::now(), self.look());
        let mut waits = "nothing".to_owned();
        // What a task wrote behind its own look at an input is found by the second look.
        let mut quiet = 0;
        while quiet < 2 {
            assert!(begun.elapsed() < HANG, "copies do not come to an end: {waits}");
            match look.left() {
                None => quiet += 1,
                Some(left) => (quiet, waits) = (0, left),
            }
            std::thread::sleep(Duration::from_millis(200));
        }
    }

    /// Waits until every report that was sent was consumed; looks more often, and once.
    pub fn wait_consumed(&self) {
        let mut look = self.look();
        wait_until("everything is consumed", || look.left().is_none());
    }

    /// Offset of a partition up to which the group has come.
    pub fn committed(&self, topic: &str, partition: i32) -> u64 {
        let mut config = ClientConfig::new();
        config.set("bootstrap.servers", &self.brokers).set("group.id", &self.cluster.application).set("isolation.level", "read_committed");
        let group: BaseConsumer = config.create().expect("a consumer");
        let mut list = TopicPartitionList::new();
        list.add_partition(topic, partition);
        // Brokers tell no offset that a transaction may change: that of a killed copy stays open for ten seconds.
        let begun = Instant::now();
        let committed = loop {
            match group.committed_offsets(list.clone(), Duration::from_secs(5)) {
                Ok(committed) => break committed,
                Err(error) => assert!(begun.elapsed() < HANG, "no broker answers: {error}"),
            }
        };
        match committed.elements().first().map(|element| element.offset()) {
            Some(Offset::Offset(offset)) => offset as u64,
            _ => 0,
        }
    }

    /// How many copies are in the group.
    pub fn members(&self) -> usize {
        let group: BaseConsumer = self.config("admin").create().expect("a consumer");
        let listed = group.fetch_group_list(Some(&self.cluster.application), Duration::from_secs(5));
        listed.map_or(0, |list| list.groups().iter().map(|group| group.members().len()).sum())
    }

    fn look(&self) -> Look<'_> {
        let mut config = self.config("admin");
        config.set("group.id", &self.cluster.application).set("isolation.level", "read_committed");
        let reader = Reader::new(&self.cluster_of("admin"), &self.topics, &LastError::default()).expect("a reader");
        Look { application: self, group: config.create().expect("a consumer"), reader }
    }
}

/// Offsets before an end that may hold no record.
const FAR: u64 = 4_096;

/// How far a group has come, seen from outside.
struct Look<'a> {
    application: &'a Application,
    group: BaseConsumer,
    reader: Reader,
}

impl Look<'_> {
    /// An input that is not consumed to its end.
    fn left(&mut self) -> Option<String> {
        let Look { application: Application { layout, topics, .. }, group, reader } = self;
        for task in &layout.tasks {
            let (topic, partition) = topics.place(task.input);
            let mut list = TopicPartitionList::new();
            list.add_partition(topic, partition);
            let Ok(committed) = group.committed_offsets(list, Duration::from_secs(5)) else { return Some("a broker".into()) };
            let mut from = match committed.elements().first().map(|element| element.offset()) {
                Some(Offset::Offset(offset)) => offset as u64,
                _ => 0,
            };
            let Ok(end) = reader.end(task.input) else { return Some("a broker".into()) };
            let left = |from| Some(format!("{topic}/{partition} from {from} to {end}"));
            // So many are not all markers of transactions; reading them would slow down what is waited for.
            if end.saturating_sub(from) > FAR {
                return left(from);
            }
            let begun = Instant::now();
            while from < end {
                let mut records = 0;
                let read = reader.read(task.input, from, end, 1_000, |_, _| records += 1);
                if records > 0 || begun.elapsed() > Duration::from_secs(5) || read.is_err() {
                    return left(from);
                }
                from = read.ok().flatten().unwrap_or(from);
                std::thread::sleep(Duration::from_millis(2));
            }
        }
        None
    }
}

impl Sent {
    /// Whether it is sent by a producer.
    pub fn is_report(&self) -> bool {
        self.kind == Kind::EvalReport as u32
    }

    fn frame(&self) -> Frame<'_> {
        let Sent { kind, time, key, payload, .. } = self;
        Frame { kind: *kind, hops: 0, stream: Head::OUTSIDE.into(), sequence: 0, time: *time, key, headers: None, payload }
    }
}

impl Copy {
    /// Starts it.
    pub fn of(call: Call) -> Copy {
        Copy { running: Some(call.start()) }
    }

    fn running(&self) -> &Running {
        self.running.as_ref().expect("it runs until it is taken")
    }

    /// Its process.
    pub fn id(&self) -> u32 {
        self.running().id()
    }

    fn signal(&self, signal: Signal) {
        let pid = Pid::from_raw(self.running().id().cast_signed()).expect("a process has an id");
        kill_process(pid, signal).expect("our own child");
    }

    /// The most memory that it had so far, in bytes.
    pub fn peak_memory(&self) -> u64 {
        let peak = status_field(self.running().id(), "VmHWM").expect("Linux tells");
        peak.trim_end_matches(" kB").parse::<u64>().expect("a number") * 1_024
    }

    /// Holds it where it is.
    pub fn pause(&self) {
        self.signal(Signal::STOP);
    }

    /// Lets it go on.
    pub fn resume(&self) {
        self.signal(Signal::CONT);
    }

    /// Kills it, and checks that it ran until then.
    pub fn kill(mut self) {
        assert!(self.running.take().is_some_and(Running::kill), "it had ended before");
    }

    /// Tells it to end, and checks that it does so well.
    pub fn stop(mut self) -> Done {
        let done = self.running.take().expect("it runs until it is taken").terminate();
        assert_eq!(done.code, Some(0), "{done:#?}");
        done
    }

    /// Kills it; gives what it had said.
    pub fn killed(self) -> Done {
        self.running().send_kill();
        self.end()
    }

    /// Its end, where it comes by itself.
    pub fn end(mut self) -> Done {
        self.running.take().expect("it runs until it is taken").end()
    }
}

impl Drop for Copy {
    fn drop(&mut self) {
        if let Some(running) = self.running.take() {
            running.abandon();
        }
    }
}

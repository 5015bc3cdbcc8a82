//! A log on a real cluster, and one copy of the pipeline that computes it: as small as can be, in one thread, all tasks its own.
//!
//! It is none of Merit's shells. It runs their tasks, and writes what any copy would: each batch in one transaction with the offsets
//! behind its inputs, and every third of these once more before it, in a transaction that it aborts.

use crate::dump;
use crate::kafka::Kafka;
use crate::process::HANG;
use merit::registry::registered;
use merit_audit::Signer;
use merit_core::record::{ConfigEpoch, Headers, Parameter};
use merit_core::{Datum, EventTime, Head, Key, List, Payload, Record};
use merit_runtime::RuntimeError;
use merit_runtime::frame::Frame;
use merit_runtime::kafka::foreign::Intake;
use merit_runtime::kafka::reader::{LastError, Reader};
use merit_runtime::kafka::topics::{Kept, Topics};
use merit_runtime::kafka::{Access, Cluster, wire};
use merit_runtime::layout::Layout;
use merit_runtime::task::{Answered, Outgoing, Publisher, Task, sent_of};
use rdkafka::ClientConfig;
use rdkafka::consumer::{BaseConsumer, Consumer};
use rdkafka::producer::{BaseProducer, BaseRecord, Producer};
use rdkafka::{Offset, TopicPartitionList};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

const CALL: Duration = Duration::from_secs(60);

/// Inputs of a task in one transaction.
const BATCH: usize = 25;

/// A cluster with the topics of a topology, and nothing in them.
pub struct ClusterLog {
    /// The brokers.
    pub kafka: Kafka,
    /// The file that the topics are laid out by.
    topology: PathBuf,
    /// Name of the application.
    pub application: String,
    /// The topology, laid out.
    pub layout: Arc<Layout>,
    /// Every partition by number.
    pub topics: Arc<Topics>,
    producer: BaseProducer,
}

impl ClusterLog {
    /// Starts a broker and makes the topics of a topology file.
    pub fn start(file: &Path) -> ClusterLog {
        let kafka = Kafka::start(1);
        let topology = dump::topology(file);
        let layout = Arc::new(Layout::new(&topology, &registered()));
        let application = topology.application;
        let cluster = Cluster { brokers: kafka.bootstrap().into(), application: application.clone(), access: Access::default() };
        let topics = Arc::new(Topics::new(&cluster, &layout));
        make_topics(&cluster, &topics);
        let producer = client(&cluster).set("acks", "all").create().expect("a producer");
        ClusterLog { kafka, topology: file.into(), application, layout, topics, producer }
    }

    /// The cluster as Merit names it.
    pub fn cluster(&self) -> Cluster {
        Cluster { brokers: self.kafka.bootstrap().into(), application: self.application.clone(), access: Access::default() }
    }

    /// Number of a partition.
    pub fn partition(&self, topic: &str, key: &str) -> usize {
        let all = self.layout.all_of(topic).expect("a topic of the topology");
        all.start + Key::new(key).partition(all.len() as u32) as usize
    }

    /// Appends a record from outside, and waits until it is there.
    pub fn append(&self, partition: usize, key: &str, time: EventTime, payload: Payload<'_>, headers: Option<Headers<'_>>) {
        let (mut bytes, mut writer) = (Vec::new(), wire::Writer::default());
        payload.put(&mut bytes);
        let (kind, stream) = (payload.kind() as u32, Head::OUTSIDE.into());
        let frame = Frame { kind, hops: 0, stream, sequence: 0, time, key, headers, payload: &bytes };
        let (value, headers) = writer.write(&frame, kind);
        let (topic, number) = self.topics.place(partition);
        let record = BaseRecord::to(topic).partition(number).key(key).payload(value);
        self.send(record.timestamp(wire::timestamp(time)).headers(headers));
    }

    /// Appends what another program sends: no header, and these bytes.
    pub fn append_foreign(&self, partition: usize, key: &[u8], time: EventTime, value: &[u8]) {
        let (topic, number) = self.topics.place(partition);
        self.send(BaseRecord::to(topic).partition(number).key(key).payload(value).timestamp(time.0));
    }

    fn send<K: rdkafka::message::ToBytes + ?Sized>(&self, record: BaseRecord<'_, K, [u8]>) {
        self.producer.send(record).map_err(|(error, _)| error).expect("sent");
        drain(&self.producer);
    }

    /// Puts the topology in force, signed with that key.
    pub fn configure(&self, signer: &Signer) {
        let topology = dump::topology(&self.topology);
        let settings = &topology.settings;
        let parameters: Vec<Parameter<'_>> = settings.iter().map(|(path, value)| Parameter { path, value }).collect();
        let epoch = ConfigEpoch {
            number: 0,
            origin: &topology.origin,
            key_name: &topology.key_name,
            emitter_key: signer.public(),
            partitions: self.layout.report_partitions,
            parameters: List::Slice(&parameters),
            lineage: None,
        };
        for task in self.layout.tasks.iter().rev() {
            self.append(task.input, "config", EventTime::EPOCH, Payload::ConfigEpoch(&epoch), None);
        }
    }
}

fn client(cluster: &Cluster) -> ClientConfig {
    let mut config = ClientConfig::new();
    config.set("bootstrap.servers", &cluster.brokers).set("linger.ms", "0").set("retry.backoff.ms", "5");
    config
}

fn make_topics(cluster: &Cluster, topics: &Topics) {
    use rdkafka::admin::{AdminClient, AdminOptions, NewTopic, TopicReplication};
    let admin: AdminClient<_> = client(cluster).create().expect("an admin client");
    let wanted = topics.wanted();
    let new = wanted.iter().map(|topic| {
        let new = NewTopic::new(&topic.name, topic.partitions as i32, TopicReplication::Fixed(1));
        let new = new.set("max.message.bytes", "8388608").set("retention.ms", "-1");
        if topic.kept == Kept::Compacted { new.set("cleanup.policy", "compact") } else { new }
    });
    let made = block_on(admin.create_topics(&new.collect::<Vec<_>>(), &AdminOptions::new().operation_timeout(Some(CALL))));
    for topic in made.expect("an answer") {
        topic.expect("made");
    }
}

/// Waits for a future that another thread wakes.
fn block_on<T>(future: impl Future<Output = T>) -> T {
    struct Unpark(std::thread::Thread);
    impl std::task::Wake for Unpark {
        fn wake(self: Arc<Self>) {
            self.0.unpark();
        }
    }
    let waker = Arc::new(Unpark(std::thread::current())).into();
    let mut future = std::pin::pin!(future);
    loop {
        match future.as_mut().poll(&mut std::task::Context::from_waker(&waker)) {
            std::task::Poll::Ready(done) => return done,
            std::task::Poll::Pending => std::thread::park(),
        }
    }
}

fn drain(producer: &BaseProducer) {
    while producer.in_flight_count() > 0 {
        producer.poll(Duration::from_millis(1));
    }
}

/// A record on its way out: partition, key, time, value and headers of its message.
struct Output {
    partition: usize,
    frame: Vec<u8>,
}

#[derive(Default)]
struct Outputs {
    records: Vec<Output>,
    answers: Vec<(String, Vec<u8>)>,
}

impl Publisher for Outputs {
    fn publish(&mut self, record: &Outgoing<'_>) -> Result<(), RuntimeError> {
        let mut frame = Vec::new();
        record.frame().put(&mut frame);
        self.records.push(Output { partition: record.partition, frame });
        Ok(())
    }

    fn answer(&mut self, answered: &Answered<'_>) {
        let mut bytes = Vec::new();
        answered.put(&mut bytes);
        self.answers.push((answered.reply_to.copy.into(), bytes));
    }
}

/// The copy.
pub struct Copy {
    layout: Arc<Layout>,
    topics: Arc<Topics>,
    reader: Reader,
    intake: Intake,
    producer: BaseProducer,
    group: BaseConsumer,
    tasks: Vec<Task>,
    next: Vec<u64>,
    signer: Signer,
    transactions: u64,
}

impl Copy {
    /// One that has processed nothing.
    pub fn start(log: &ClusterLog, signer: Signer) -> Copy {
        let cluster = log.cluster();
        let reader = Reader::new(&cluster, &log.topics, &LastError::default()).expect("a reader");
        let producer: BaseProducer = client(&cluster).set("transactional.id", "test").create().expect("a producer");
        producer.init_transactions(CALL).expect("initialised");
        let group = client(&cluster).set("group.id", &cluster.application).create().expect("a consumer");
        let tasks = (0..log.layout.tasks.len()).map(|task| Task::new(task, Arc::clone(&log.layout), merit_codec::fingerprint));
        Copy {
            tasks: tasks.collect(),
            next: vec![0; log.layout.tasks.len()],
            layout: Arc::clone(&log.layout),
            topics: Arc::clone(&log.topics),
            reader,
            intake: Intake::new(&log.layout, &log.topics, &LastError::default()),
            producer,
            group,
            signer,
            transactions: 0,
        }
    }

    /// Processes what there is, and what that leads to, until nothing is left.
    pub fn process(&mut self) {
        while self.cycle() {}
    }

    /// One batch in one transaction; whether there was something to do.
    pub fn cycle(&mut self) -> bool {
        let mut outputs = Outputs::default();
        let mut positions = Vec::new();
        for number in 0..self.tasks.len() {
            let inputs = self.inputs(number);
            for (offset, frame) in &inputs {
                self.step(number, *offset, &Frame::decode(frame).expect("its own encoding"), &mut outputs);
            }
            if !inputs.is_empty() {
                positions.push((self.layout.tasks[number].input, self.tasks[number].position));
            }
        }
        if positions.is_empty() {
            return false;
        }
        self.transactions += 1;
        if self.transactions.is_multiple_of(3) {
            self.transact(&outputs, &positions, false);
        }
        self.transact(&outputs, &positions, true);
        true
    }

    /// What comes next of a task's input, up to its end.
    fn inputs(&mut self, number: usize) -> Vec<(u64, Vec<u8>)> {
        let input = self.layout.tasks[number].input;
        let end = self.reader.end(input).expect("an end");
        let (mut inputs, begun) = (Vec::new(), Instant::now());
        while self.next[number] < end && inputs.is_empty() {
            assert!(begun.elapsed() < HANG, "nothing comes of {:?} behind offset {}", self.topics.place(input), self.next[number]);
            let read = self.reader.read(input, self.next[number], end, BATCH, |offset, message| {
                let mut bytes = Vec::new();
                match wire::read(message) {
                    wire::Read::Record(frame) => frame.put(&mut bytes),
                    wire::Read::Foreign(foreign) => self.intake.frame(input, offset, &foreign).expect("no registry").put(&mut bytes),
                    wire::Read::Gap => return,
                }
                inputs.push((offset, bytes));
            });
            match read.expect("readable") {
                Some(next) => self.next[number] = next.min(end),
                None => std::thread::sleep(Duration::from_millis(1)),
            }
        }
        inputs
    }

    fn step(&mut self, number: usize, offset: u64, frame: &Frame<'_>, outputs: &mut Outputs) {
        let kind = frame.kind().expect("a record type");
        let sent = sent_of(kind, frame.payload);
        let (key, stream, hops) = (Key::new(frame.key), frame.stream as u16, frame.hops as u8);
        let head = Head {
            key,
            time: frame.time,
            stream,
            sequence: frame.sequence,
            offset,
            hops,
            sent: sent.as_ref(),
            headers: frame.headers.as_ref(),
        };
        let (task, signer) = (&mut self.tasks[number], &self.signer);
        let stepped =
            Payload::decode(kind, frame.payload, |payload| task.step(&Record { head, payload }, frame.payload, Some(signer), outputs));
        stepped.expect("canonical").unwrap_or_else(|error| panic!("{error}"));
    }

    fn transact(&self, outputs: &Outputs, positions: &[(usize, u64)], commit: bool) {
        let producer = &self.producer;
        producer.begin_transaction().expect("begun");
        let mut writer = wire::Writer::default();
        for Output { partition, frame } in &outputs.records {
            let frame = Frame::decode(frame).expect("its own encoding");
            let (topic, number) = self.topics.place(*partition);
            let (value, headers) = writer.write(&frame, frame.kind);
            let record = BaseRecord::to(topic).partition(number).key(frame.key).payload(value);
            let record = record.timestamp(wire::timestamp(frame.time)).headers(headers);
            producer.send(record).map_err(|(error, _)| error).expect("sent");
        }
        for (copy, answer) in &outputs.answers {
            let (topic, number) = self.topics.place(self.topics.answers(copy));
            let record = BaseRecord::to(topic).partition(number).key(copy).payload(answer);
            producer.send(record).map_err(|(error, _)| error).expect("sent");
        }
        drain(producer);
        if !commit {
            return producer.abort_transaction(CALL).expect("aborted");
        }
        let mut offsets = TopicPartitionList::new();
        for (partition, offset) in positions {
            let (topic, number) = self.topics.place(*partition);
            offsets.add_partition_offset(topic, number, Offset::Offset(*offset as i64)).expect("an offset");
        }
        let group = self.group.group_metadata().expect("a group");
        producer.send_offsets_to_transaction(&offsets, &group, CALL).expect("sent");
        producer.commit_transaction(CALL).expect("committed");
    }
}

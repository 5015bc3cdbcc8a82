//! A producer of transactions.
//!
//! Each failure has its branch: one that calls for the same call again, one that calls for an abort, and one after which nobody
//! knows what happened; behind that one the producer is made anew, which decides whatever was open.

use super::client::{CALL, Cluster, Role};
use super::error::{ClusterError, code_of};
use super::native;
use super::reader::LastError;
use crate::copy::Refused;
use rdkafka::config::RDKafkaLogLevel;
use rdkafka::consumer::ConsumerGroupMetadata;
use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use rdkafka::message::{DeliveryResult, Message, OwnedHeaders};
use rdkafka::producer::{BaseProducer, BaseRecord, NoCustomPartitioner, Producer as _, ProducerContext};
use rdkafka::{ClientContext, TopicPartitionList};
use std::sync::mpsc::{Receiver, RecvTimeoutError, sync_channel};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

/// Between two looks at what is in flight. Shorter naps burn the core that a broker may need, and so does a poll that waits: rdkafka
/// spins through the last millisecond of it.
const PAUSE: Duration = Duration::from_millis(1);

/// How long a call takes that never comes back.
const STUCK: Duration = Duration::from_secs(7);

/// What a message that nobody asks the offset of is marked with.
const UNASKED: usize = usize::MAX;

/// The offset of what was not delivered yet.
const NOWHERE: u64 = u64::MAX;

#[derive(Default)]
struct Deliveries {
    /// Offset of each message, in the order in which they were sent.
    offsets: Vec<u64>,
    /// With its topic.
    failed: Option<(String, KafkaError)>,
}

/// The topic that a transaction must not write to, once brokers said so. librdkafka tells the error without the topic, which stands in
/// its log alone: `Failed to add partition "TOPIC" [0] to transaction: Broker: Topic authorization failed`.
#[derive(Clone, Default)]
pub(super) struct Forbidden(Arc<Mutex<Option<String>>>);

impl Forbidden {
    /// Looks at a line of the log.
    pub(super) fn hear(&self, facility: &str, line: &str) {
        if facility == "ADDPARTS" && line.ends_with("Topic authorization failed") {
            let topic = line.split('"').nth(1).unwrap_or_default().to_owned();
            self.0.lock().unwrap_or_else(PoisonError::into_inner).get_or_insert(topic);
        }
    }

    /// What it came to.
    pub(super) fn error(&self, attempt: &'static str) -> Option<ClusterError> {
        let topic = self.0.lock().unwrap_or_else(PoisonError::into_inner).clone()?;
        ClusterError::forbidden(attempt, &topic, Some(RDKafkaErrorCode::TopicAuthorizationFailed))
    }
}

impl Deliveries {
    /// Whether everything that was answered arrived, at an offset.
    fn are_whole(&self) -> bool {
        self.failed.is_none() && !self.offsets.contains(&NOWHERE)
    }
}

struct Context {
    deliveries: Mutex<Deliveries>,
    last_error: LastError,
    forbidden: Forbidden,
}

impl Context {
    fn deliveries(&self) -> MutexGuard<'_, Deliveries> {
        self.deliveries.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl ClientContext for Context {
    fn error(&self, error: KafkaError, reason: &str) {
        self.last_error.set(&error, reason);
    }

    fn log(&self, _: RDKafkaLogLevel, facility: &str, line: &str) {
        self.forbidden.hear(facility, line);
    }
}

impl ProducerContext<NoCustomPartitioner> for Context {
    type DeliveryOpaque = usize;

    fn delivery(&self, result: &DeliveryResult<'_>, number: usize) {
        let mut deliveries = self.deliveries();
        match result {
            Ok(message) => {
                if let Some(offset) = deliveries.offsets.get_mut(number) {
                    // A message that was sent twice has an offset that the broker does not tell.
                    *offset = u64::try_from(message.offset()).unwrap_or(NOWHERE);
                }
            }
            Err((error, message)) => deliveries.failed = Some((message.topic().into(), error.clone())),
        }
    }
}

/// One transactional id.
pub(super) struct Producer {
    name: Name,
    /// None before it was initialised.
    producer: Option<Arc<BaseProducer<Context>>>,
    is_initialised: bool,
    /// The first take-over, on a thread of its own.
    taking: Option<JoinHandle<Taken>>,
    /// Offsets on their way.
    sending: Option<Sending>,
}

/// What is taken over.
#[derive(Clone)]
struct Name {
    cluster: Cluster,
    id: String,
    /// A topic that is there.
    topic: String,
    last_error: LastError,
}

/// A producer to go on with, and whether it is initialised.
type Taken = (Option<Arc<BaseProducer<Context>>>, Result<(), Refused>);

impl Name {
    /// Takes it over with a producer that did not get as far, or a new one.
    fn take_over(&self, producer: Option<Arc<BaseProducer<Context>>>) -> Taken {
        let producer = match producer.map_or_else(|| self.producer(), Ok) {
            Ok(producer) => producer,
            Err(refused) => return (None, Err(refused)),
        };
        // Once a broker is connected, the coordinator is asked for at once; a client that has none looks again after half a second. The
        // first answer may close the connection that it came by, for one to the same broker by its number. What fails shows below.
        for _ in 0..2 {
            let _ = producer.client().fetch_metadata(Some(&self.topic), CALL);
        }
        let Err(error) = producer.init_transactions(CALL) else { return (Some(producer), Ok(())) };
        self.last_error.set(&error, "taking over a transactional id");
        match &error {
            KafkaError::Transaction(cause) if cause.is_retriable() => (Some(producer), Err(Refused::Retry)),
            KafkaError::Transaction(cause) if is_final(cause.code()) => {
                let failed = ClusterError::call_on("take over a transactional id", &self.id)(error);
                (Some(producer), Err(Refused::Failed(failed.into())))
            }
            _ => (None, Err(Refused::Retry)),
        }
    }

    fn producer(&self) -> Result<Arc<BaseProducer<Context>>, Refused> {
        let context = Context { deliveries: Mutex::default(), last_error: self.last_error.clone(), forbidden: Forbidden::default() };
        let made = self.cluster.config(Role::Transactional(&self.id)).create_with_context(context);
        made.map(Arc::new).map_err(|error| Refused::Failed(ClusterError::call("make a producer")(error).into()))
    }
}

/// Offsets that another thread waits for.
struct Sending {
    offsets: Arc<(TopicPartitionList, ConsumerGroupMetadata)>,
    since: Instant,
    sent: Receiver<Result<(), KafkaError>>,
}

impl Producer {
    /// One that takes its id over as soon as brokers answer.
    pub(super) fn new(cluster: &Cluster, id: String, topic: &str, last_error: &LastError) -> Producer {
        let name = Name { cluster: cluster.clone(), id, topic: topic.to_owned(), last_error: last_error.clone() };
        let taken = name.clone();
        let taking = std::thread::Builder::new().name("take-over".into()).spawn(move || taken.take_over(None)).ok();
        Producer { name, producer: None, is_initialised: false, taking, sending: None }
    }

    /// Makes it anew: whatever the one before had open is decided behind this.
    pub(super) fn initialise(&mut self) -> Result<(), Refused> {
        if std::mem::take(&mut self.is_initialised) {
            self.give_up();
        }
        let (producer, taken) = match self.taking.take() {
            Some(taking) => taking.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic)),
            None => self.name.take_over(self.producer.take()),
        };
        (self.producer, self.is_initialised) = (producer, taken.is_ok());
        taken
    }

    fn give_up(&mut self) {
        (self.producer, self.is_initialised, self.sending) = (None, false, None);
    }

    fn producer(&self) -> Result<&Arc<BaseProducer<Context>>, Refused> {
        self.producer.as_ref().filter(|_| self.is_initialised).ok_or(Refused::Unknown)
    }

    /// Begins a transaction.
    pub(super) fn begin(&self) -> Result<(), Refused> {
        let producer = self.producer()?;
        *producer.context().deliveries() = Deliveries::default();
        producer.begin_transaction().map_err(|error| self.refused(error, "beginning a transaction"))
    }

    /// Sends a message whose offset is asked for.
    pub(super) fn send(
        &self,
        (topic, partition): (&str, i32),
        key: &[u8],
        value: Option<&[u8]>,
        time: Option<i64>,
        headers: Option<OwnedHeaders>,
    ) -> Result<(), Refused> {
        let number = self.producer()?.context().deliveries().offsets.len();
        self.enqueue(number, (topic, partition), key, value, time, headers)?;
        self.producer()?.context().deliveries().offsets.push(NOWHERE);
        Ok(())
    }

    /// Sends one whose offset nobody wants.
    pub(super) fn send_unasked(&self, place: (&str, i32), key: &[u8], value: &[u8]) -> Result<(), Refused> {
        self.enqueue(UNASKED, place, key, Some(value), None, None)
    }

    fn enqueue(
        &self,
        number: usize,
        (topic, partition): (&str, i32),
        key: &[u8],
        value: Option<&[u8]>,
        time: Option<i64>,
        headers: Option<OwnedHeaders>,
    ) -> Result<(), Refused> {
        let producer = self.producer()?;
        let mut record = BaseRecord::with_opaque_to(topic, number).partition(partition).key(key);
        (record.payload, record.timestamp, record.headers) = (value, time, headers);
        match producer.send(record) {
            Ok(()) => Ok(()),
            Err((KafkaError::MessageProduction(RDKafkaErrorCode::QueueFull), _)) => {
                producer.poll(Duration::ZERO);
                std::thread::sleep(PAUSE);
                Err(Refused::Retry)
            }
            Err((error, _)) => {
                self.name.last_error.set(&error, "sending a record");
                Err(Refused::Abort)
            }
        }
    }

    /// Waits until everything that was sent is there, no longer than that; gives the offsets of the records.
    pub(super) fn delivered(&mut self, patience: Duration) -> Result<Vec<u64>, Refused> {
        let begun = Instant::now();
        self.records_arrived(patience)?;
        let answer = self.offsets_answered(patience.saturating_sub(begun.elapsed())).ok_or(Refused::Retry)?;
        match (answer, self.sending.take()) {
            // A transaction is never whole without them.
            (Err(Refused::Retry), Some(Sending { offsets, .. })) => {
                self.sending = Some(self.offsets_under_way(offsets)?);
                return Err(Refused::Retry);
            }
            (answer, _) => answer?,
        }
        Ok(std::mem::take(&mut self.producer()?.context().deliveries().offsets))
    }

    fn records_arrived(&self, patience: Duration) -> Result<(), Refused> {
        let producer = self.producer()?;
        let begun = Instant::now();
        let mut left = producer.in_flight_count();
        while left > 0 {
            // One call serves what came of one partition.
            producer.poll(Duration::ZERO);
            let before = std::mem::replace(&mut left, producer.in_flight_count());
            if left < before {
                continue;
            }
            if begun.elapsed() >= patience {
                producer.context().forbidden.error("write").map_or(Ok(()), end)?;
                return Err(Refused::Retry);
            }
            native::flush(producer, PAUSE);
        }
        let deliveries = producer.context().deliveries();
        if let Some((topic, error)) = &deliveries.failed {
            self.name.last_error.set(error, "delivering records");
            let forbidden = producer.context().forbidden.error("write");
            forbidden.or_else(|| ClusterError::forbidden("write", topic, code_of(error))).map_or(Ok(()), end)?;
        }
        if deliveries.are_whole() { Ok(()) } else { Err(Refused::Abort) }
    }

    /// Commits offsets with the open transaction, while its records are on their way. Where the group has no coordinator for a while,
    /// librdkafka 2.12 may never come back from that, whatever limit it is given (it asks for one twice, and again only when a connection
    /// comes or goes): so another thread waits for it.
    pub(super) fn send_offsets(&mut self, offsets: TopicPartitionList, of: ConsumerGroupMetadata) -> Result<(), Refused> {
        self.sending = Some(self.offsets_under_way(Arc::new((offsets, of)))?);
        Ok(())
    }

    fn offsets_under_way(&self, offsets: Arc<(TopicPartitionList, ConsumerGroupMetadata)>) -> Result<Sending, Refused> {
        let (producer, sent_offsets) = (Arc::clone(self.producer()?), Arc::clone(&offsets));
        let (tell, sent) = sync_channel(1);
        let send = move || {
            let (offsets, of) = &*sent_offsets;
            // Nobody listens to one that was stuck.
            let _ = tell.send(producer.send_offsets_to_transaction(offsets, of, CALL));
        };
        std::thread::Builder::new().name("offsets".into()).spawn(send).map_err(|_| Refused::Abort)?;
        Ok(Sending { offsets, since: Instant::now(), sent })
    }

    /// What became of the offsets that were sent, if that is known within that time. A producer that is stuck is left to the thread that
    /// waits for it; the next takes its id over, and so fences it.
    fn offsets_answered(&mut self, patience: Duration) -> Option<Result<(), Refused>> {
        let Some(Sending { since, sent, .. }) = &self.sending else { return Some(Ok(())) };
        match sent.recv_timeout(patience) {
            Ok(sent) => Some(sent.map_err(|error| self.refused(error, "committing offsets with a transaction"))),
            Err(RecvTimeoutError::Timeout) if since.elapsed() < STUCK => None,
            Err(_) => {
                self.give_up();
                Some(Err(Refused::Unknown))
            }
        }
    }

    /// Commits the open transaction. A request without an answer may still arrive, and would end the next transaction of this
    /// producer (KIP-890): so it is never asked again.
    pub(super) fn commit(&self) -> Result<(), Refused> {
        self.producer()?.commit_transaction(CALL).map_err(|error| match self.refused(error, "committing a transaction") {
            Refused::Retry => Refused::Unknown,
            refused => refused,
        })
    }

    /// Aborts the open transaction. Where a message may or may not have arrived, nobody knows the number that brokers expect of the
    /// next (librdkafka counts what it purges as never sent, and a number that is used twice is a repetition to them, dropped without
    /// a word): such a producer is given up, which aborts as well.
    pub(super) fn abort(&mut self) -> Result<(), Refused> {
        if let None | Some(Err(Refused::Unknown)) = self.offsets_answered(STUCK) {
            return Err(Refused::Unknown);
        }
        self.sending = None;
        let producer = self.producer()?;
        if producer.in_flight_count() > 0 || !producer.context().deliveries().are_whole() {
            return Err(Refused::Unknown);
        }
        producer.abort_transaction(CALL).map_err(|error| match self.refused(error, "aborting a transaction") {
            Refused::Retry | Refused::Abort => Refused::Unknown,
            refused => refused,
        })
    }

    /// The branch of a failure.
    fn refused(&self, error: KafkaError, attempt: &'static str) -> Refused {
        self.name.last_error.set(&error, attempt);
        let name = match code_of(&error) {
            Some(RDKafkaErrorCode::GroupAuthorizationFailed) => &self.name.cluster.application,
            Some(RDKafkaErrorCode::TransactionalIdAuthorizationFailed) => &self.name.id,
            _ => "",
        };
        let forbidden = self.producer.as_ref().and_then(|producer| producer.context().forbidden.error("write"));
        match error {
            error if let Some(error) = forbidden.or_else(|| ClusterError::forbidden("go on with a transaction", name, code_of(&error))) => {
                Refused::Failed(error.into())
            }
            // The member hears of it, too, and joins again.
            KafkaError::Transaction(cause) if cause.code() == RDKafkaErrorCode::FencedInstanceId => Refused::Abort,
            KafkaError::Transaction(cause) if cause.is_fatal() => Refused::Unknown,
            KafkaError::Transaction(cause) if cause.txn_requires_abort() => Refused::Abort,
            KafkaError::Transaction(cause) if cause.is_retriable() => Refused::Retry,
            _ => Refused::Unknown,
        }
    }
}

/// Ends the copy.
fn end(error: ClusterError) -> Result<(), Refused> {
    Err(Refused::Failed(error.into()))
}

fn is_final(code: RDKafkaErrorCode) -> bool {
    matches!(
        code,
        RDKafkaErrorCode::TransactionalIdAuthorizationFailed
            | RDKafkaErrorCode::ClusterAuthorizationFailed
            | RDKafkaErrorCode::InvalidTransactionTimeout
    )
}

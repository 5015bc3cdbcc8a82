//! A producer of transactions.
//!
//! Each failure has its branch: one that calls for the same call again, one that calls for an abort, and one after which nobody
//! knows what happened; behind that one the producer is made anew, which decides whatever was open.

use super::client::{CALL, Cluster, Role};
use super::error::ClusterError;
use super::reader::LastError;
use crate::copy::Refused;
use rdkafka::consumer::ConsumerGroupMetadata;
use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use rdkafka::message::{DeliveryResult, Message, OwnedHeaders};
use rdkafka::producer::{BaseProducer, BaseRecord, NoCustomPartitioner, Producer as _, ProducerContext, PurgeConfig};
use rdkafka::{ClientContext, TopicPartitionList};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

/// Between two looks at what is in flight: a loop without it burns the core that the broker may need.
const PAUSE: Duration = Duration::from_micros(200);

/// How long one wait for deliveries lasts before the copy looks about.
const PATIENCE: Duration = Duration::from_millis(100);

/// What a message that nobody asks the offset of is marked with.
const UNASKED: usize = usize::MAX;

/// The offset of what was not delivered yet.
const NOWHERE: u64 = u64::MAX;

#[derive(Default)]
struct Deliveries {
    /// Offset of each message, in the order in which they were sent.
    offsets: Vec<u64>,
    failed: Option<KafkaError>,
}

struct Context {
    deliveries: Mutex<Deliveries>,
    last_error: LastError,
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
            Err((error, _)) => deliveries.failed = Some(error.clone()),
        }
    }
}

/// One transactional id.
pub(super) struct Producer {
    cluster: Cluster,
    id: String,
    last_error: LastError,
    /// None before it was initialised.
    producer: Option<BaseProducer<Context>>,
    is_initialised: bool,
}

impl Producer {
    /// One that is not initialised.
    pub(super) fn new(cluster: &Cluster, id: String, last_error: &LastError) -> Producer {
        Producer { cluster: cluster.clone(), id, last_error: last_error.clone(), producer: None, is_initialised: false }
    }

    /// Makes it anew: whatever the one before had open is decided behind this.
    pub(super) fn initialise(&mut self) -> Result<(), Refused> {
        if std::mem::take(&mut self.is_initialised) {
            self.producer = None;
        }
        if self.producer.is_none() {
            let context = Context { deliveries: Mutex::default(), last_error: self.last_error.clone() };
            let made = self.cluster.config(Role::Transactional(&self.id)).create_with_context(context);
            self.producer = Some(made.map_err(|error| Refused::Failed(ClusterError::call("make a producer")(error).into()))?);
        }
        let Some(producer) = &self.producer else { return Err(Refused::Retry) };
        match producer.init_transactions(CALL) {
            Ok(()) => {
                self.is_initialised = true;
                Ok(())
            }
            Err(error) => {
                self.last_error.set(&error, "taking over a transactional id");
                match &error {
                    KafkaError::Transaction(cause) if cause.is_retriable() => {}
                    KafkaError::Transaction(cause) if is_forbidden(cause.code()) => {
                        return Err(Refused::Failed(ClusterError::call("take over a transactional id")(error).into()));
                    }
                    _ => self.producer = None,
                }
                Err(Refused::Retry)
            }
        }
    }

    fn producer(&self) -> Result<&BaseProducer<Context>, Refused> {
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
                self.last_error.set(&error, "sending a record");
                Err(Refused::Abort)
            }
        }
    }

    /// Waits until everything that was sent is there, for a while; gives the offsets.
    pub(super) fn delivered(&self) -> Result<Vec<u64>, Refused> {
        let producer = self.producer()?;
        let begun = Instant::now();
        while producer.in_flight_count() > 0 {
            producer.poll(Duration::ZERO);
            if begun.elapsed() > PATIENCE {
                return Err(Refused::Retry);
            }
            if producer.in_flight_count() > 0 {
                std::thread::sleep(PAUSE);
            }
        }
        let Deliveries { offsets, failed } = std::mem::take(&mut *producer.context().deliveries());
        match failed {
            Some(error) => {
                self.last_error.set(&error, "delivering records");
                Err(Refused::Abort)
            }
            None if offsets.contains(&NOWHERE) => Err(Refused::Abort),
            None => Ok(offsets),
        }
    }

    /// Commits offsets with the open transaction.
    pub(super) fn send_offsets(&self, offsets: &TopicPartitionList, of: &ConsumerGroupMetadata) -> Result<(), Refused> {
        let sent = self.producer()?.send_offsets_to_transaction(offsets, of, CALL);
        sent.map_err(|error| self.refused(error, "committing offsets with a transaction"))
    }

    /// Commits the open transaction. A request without an answer may still arrive, and would end the next transaction of this
    /// producer (KIP-890): so it is never asked again.
    pub(super) fn commit(&self) -> Result<(), Refused> {
        self.producer()?.commit_transaction(CALL).map_err(|error| match self.refused(error, "committing a transaction") {
            Refused::Retry => Refused::Unknown,
            refused => refused,
        })
    }

    /// Aborts the open transaction.
    pub(super) fn abort(&self) -> Result<(), Refused> {
        let producer = self.producer()?;
        producer.purge(PurgeConfig::default().queue().inflight());
        let begun = Instant::now();
        while producer.in_flight_count() > 0 {
            producer.poll(Duration::ZERO);
            if begun.elapsed() > CALL {
                return Err(Refused::Unknown);
            }
            std::thread::sleep(PAUSE);
        }
        producer.abort_transaction(CALL).map_err(|error| match self.refused(error, "aborting a transaction") {
            Refused::Retry | Refused::Abort => Refused::Unknown,
            refused => refused,
        })
    }

    /// The branch of a failure.
    fn refused(&self, error: KafkaError, attempt: &str) -> Refused {
        self.last_error.set(&error, attempt);
        match error {
            KafkaError::Transaction(cause) if cause.code() == RDKafkaErrorCode::FencedInstanceId => Refused::Fenced,
            KafkaError::Transaction(cause) if cause.is_fatal() => Refused::Unknown,
            KafkaError::Transaction(cause) if cause.txn_requires_abort() => Refused::Abort,
            KafkaError::Transaction(cause) if cause.is_retriable() => Refused::Retry,
            _ => Refused::Unknown,
        }
    }
}

fn is_forbidden(code: RDKafkaErrorCode) -> bool {
    matches!(
        code,
        RDKafkaErrorCode::TransactionalIdAuthorizationFailed
            | RDKafkaErrorCode::ClusterAuthorizationFailed
            | RDKafkaErrorCode::InvalidTransactionTimeout
    )
}

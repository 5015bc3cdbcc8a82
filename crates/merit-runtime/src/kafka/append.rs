//! Records of a command in several partitions at once: all of them, or none.

use super::client::{CALL, Cluster, Role};
use super::error::ClusterError;
use super::producer::Forbidden;
use super::topics::Topics;
use super::wire::{Writer, timestamp};
use crate::Input;
use rdkafka::ClientContext;
use rdkafka::config::RDKafkaLogLevel;
use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use rdkafka::message::DeliveryResult;
use rdkafka::producer::{BaseProducer, BaseRecord, Producer, ProducerContext};
use std::sync::Arc;
use std::time::{Duration, Instant};

/// How long a call is made again that Kafka asks to make again.
const LIMIT: Duration = Duration::from_secs(30);

/// A transaction of `merit topology apply`; dropped uncommitted it leaves nothing.
pub struct Append {
    producer: BaseProducer<Context>,
    id: String,
    topics: Arc<Topics>,
    writer: Writer,
    payload: Vec<u8>,
    is_open: bool,
}

#[derive(Default)]
struct Context {
    forbidden: Forbidden,
}

impl ClientContext for Context {
    fn log(&self, _: RDKafkaLogLevel, facility: &str, line: &str) {
        self.forbidden.hear(facility, line);
    }
}

impl ProducerContext for Context {
    type DeliveryOpaque = ();

    // A record that did not arrive fails the commit.
    fn delivery(&self, _: &DeliveryResult<'_>, (): ()) {}
}

impl Append {
    /// Takes over from whoever appends at the same time: what was not committed before never will be, so what is read behind this
    /// stays in force until the commit.
    pub fn take_over(cluster: &Cluster, topics: &Arc<Topics>) -> Result<Append, ClusterError> {
        let id = format!("{}-apply", cluster.application);
        let producer = cluster.config(Role::Transactional(&id)).create_with_context(Context::default());
        let producer: BaseProducer<Context> = producer.map_err(ClusterError::call("make a producer"))?;
        again("begin to append", &id, || producer.init_transactions(CALL))?;
        Ok(Append { producer, id, topics: Arc::clone(topics), writer: Writer::default(), payload: Vec::new(), is_open: false })
    }

    /// Adds a record.
    pub fn send(&mut self, input: &Input<'_>) -> Result<(), ClusterError> {
        let attempt = "append a record";
        if !self.is_open {
            self.producer.begin_transaction().map_err(ClusterError::call(attempt))?;
            self.is_open = true;
        }
        self.payload.clear();
        input.payload.put(&mut self.payload);
        let schema = self.topics.schema(input.partition, input.payload.kind() as u32);
        let (value, headers) = self.writer.write(&input.frame(&self.payload), schema);
        let (topic, partition) = self.topics.place(input.partition);
        let record = BaseRecord::to(topic).partition(partition).key(input.key.name).payload(value).headers(headers);
        self.producer.send(record.timestamp(timestamp(input.time))).map_err(|(error, _)| ClusterError::call(attempt)(error))
    }

    /// Commits what was added. Where this fails, the same command says what came of it: it appends what is not there.
    pub fn commit(mut self) -> Result<(), ClusterError> {
        match std::mem::take(&mut self.is_open) {
            true => {
                let attempt = "commit what was appended";
                let done = again(attempt, &self.id, || self.producer.commit_transaction(CALL));
                done.map_err(|error| self.producer.context().forbidden.error(attempt).unwrap_or(error))
            }
            false => Ok(()),
        }
    }
}

impl Drop for Append {
    fn drop(&mut self) {
        if self.is_open {
            // What is not aborted now is so when its time is over.
            let _ = self.producer.abort_transaction(CALL);
        }
    }
}

/// Makes a call until Kafka does not ask to make it again.
fn again(attempt: &'static str, id: &str, mut call: impl FnMut() -> Result<(), KafkaError>) -> Result<(), ClusterError> {
    let begun = Instant::now();
    loop {
        let done = call();
        // A commit waits for its records first, which is told as a flush.
        let asked_again = match &done {
            Err(KafkaError::Transaction(error)) => error.is_retriable(),
            Err(KafkaError::Flush(code)) => *code == RDKafkaErrorCode::OperationTimedOut,
            _ => false,
        };
        if !asked_again || begun.elapsed() >= LIMIT {
            return done.map_err(ClusterError::call_on(attempt, id));
        }
    }
}

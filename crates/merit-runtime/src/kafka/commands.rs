//! Commands on their way to a cluster: each by itself, once.

use super::client::{CALL, Cluster, Role};
use super::error::{ClusterError, code_of};
use super::topics::Topics;
use super::wire::{Writer, timestamp};
use crate::frame::Frame;
use rdkafka::ClientContext;
use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use rdkafka::message::{DeliveryResult, Message};
use rdkafka::producer::{BaseProducer, BaseRecord, Producer, ProducerContext};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

/// Sends commands. They may be told to have failed and have arrived: a sender that sends again gives them a key.
pub struct Commands {
    producer: BaseProducer<Context>,
    topics: Arc<Topics>,
    writer: Writer,
}

/// What did not arrive since it was asked last.
#[derive(Default)]
struct Context {
    lost: Mutex<Vec<Lost>>,
}

struct Lost {
    /// Topic, partition and key.
    what: String,
    topic: String,
    error: KafkaError,
}

impl ClientContext for Context {}

impl ProducerContext for Context {
    type DeliveryOpaque = ();

    fn delivery(&self, result: &DeliveryResult<'_>, (): ()) {
        if let Err((error, message)) = result {
            let key = String::from_utf8_lossy(message.key().unwrap_or_default());
            let what = format!("{}/{} under key {key:?}", message.topic(), message.partition());
            self.lost.lock().unwrap_or_else(PoisonError::into_inner).push(Lost {
                what,
                topic: message.topic().into(),
                error: error.clone(),
            });
        }
    }
}

impl Lost {
    /// That it is the first of so many.
    fn told(&self, count: usize) -> ClusterError {
        let Lost { what, topic, error } = self;
        let forbidden = ClusterError::forbidden("send a command", topic, code_of(error));
        forbidden.unwrap_or_else(|| ClusterError::Undelivered { count, first: what.clone(), cause: error.to_string() })
    }
}

impl Commands {
    /// A sender.
    pub fn new(cluster: &Cluster, topics: &Arc<Topics>) -> Result<Commands, ClusterError> {
        let producer = cluster.config(Role::Commands).create_with_context(Context::default());
        let producer = producer.map_err(ClusterError::call("make a producer"))?;
        Ok(Commands { producer, topics: Arc::clone(topics), writer: Writer::default() })
    }

    /// Sends a record to a partition; waits only while as many are on their way as may be. [`Commands::flush`] tells of its arrival.
    pub fn send(&mut self, partition: usize, frame: &Frame<'_>) -> Result<(), ClusterError> {
        let (value, headers) = self.writer.write(frame, self.topics.schema(partition, frame.kind));
        let (topic, number) = self.topics.place(partition);
        let record = BaseRecord::to(topic).partition(number).key(frame.key).payload(value).headers(headers);
        let (mut record, begun) = (record.timestamp(timestamp(frame.time)), Instant::now());
        loop {
            record = match self.producer.send(record) {
                Ok(()) => return Ok(()),
                Err((KafkaError::MessageProduction(RDKafkaErrorCode::QueueFull), record)) if begun.elapsed() < CALL => record,
                Err((error, _)) => return Err(ClusterError::call("send a command")(error)),
            };
            self.producer.poll(Duration::from_millis(1));
        }
    }

    /// Hears what arrived; gives how many are on their way.
    pub fn in_flight(&self) -> usize {
        self.producer.poll(Duration::ZERO);
        usize::try_from(self.producer.in_flight_count()).unwrap_or(0)
    }

    /// What did not arrive since it was asked last, as far as is known.
    pub fn lost(&self) -> Option<ClusterError> {
        let lost = std::mem::take(&mut *self.producer.context().lost.lock().unwrap_or_else(PoisonError::into_inner));
        lost.first().map(|first| first.told(lost.len()))
    }

    /// Waits until everything that was sent has arrived, or is known not to have, which takes 5 s at most.
    pub fn flush(&self, limit: Duration) -> Result<(), ClusterError> {
        let begun = Instant::now();
        while self.producer.in_flight_count() > 0 && begun.elapsed() < limit {
            self.producer.poll(Duration::ZERO);
            thread::sleep(Duration::from_micros(200));
        }
        let lost = std::mem::take(&mut *self.producer.context().lost.lock().unwrap_or_else(PoisonError::into_inner));
        let waiting = usize::try_from(self.producer.in_flight_count()).unwrap_or(0);
        match (lost.first(), waiting) {
            (None, 0) => Ok(()),
            (Some(first), _) => Err(first.told(lost.len() + waiting)),
            (None, count) => {
                let cause = format!("no answer came within {} ms", limit.as_millis());
                Err(ClusterError::Undelivered { count, first: "those that were sent last".into(), cause })
            }
        }
    }
}

//! Reading partitions from where the reader wants, as a member of no group.
//!
//! Only what is committed is given. A partition is read to an end by position, not by its last record: what ends it may be the
//! marker of a transaction, which is given to nobody.

use super::client::{CALL, Cluster, Role};
use super::error::ClusterError;
use super::native::{Fetched, Given, Queue};
use super::topics::Topics;
use rdkafka::consumer::{BaseConsumer, Consumer, ConsumerContext};
use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use rdkafka::message::Message;
use rdkafka::{ClientContext, Offset, TopicPartitionList};
use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

/// What librdkafka had to say last: it goes on by itself, so this is told only where nothing else moves.
#[derive(Clone, Default)]
pub struct LastError(Arc<Mutex<Option<(Weight, String)>>>);

/// How much an error says of what is wrong; one that says less does not take the place of one that says more.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Weight {
    /// That no broker is left, less than what happened to the last one.
    NoBroker,
    Any,
    /// That the brokers do not let this program in, from which the others follow.
    Refused,
}

impl LastError {
    /// Notes it.
    pub fn set(&self, error: &KafkaError, reason: &str) {
        // The end of a partition is asked for, and no error.
        if error.rdkafka_error_code() == Some(RDKafkaErrorCode::PartitionEOF) {
            return;
        }
        let (weight, said) = match (ClusterError::of_connection(error, reason), error.rdkafka_error_code()) {
            (Some(refused), _) => (Weight::Refused, refused.to_string()),
            (None, Some(RDKafkaErrorCode::AllBrokersDown)) => (Weight::NoBroker, format!("{error}: {reason}")),
            (None, _) => (Weight::Any, format!("{error}: {reason}")),
        };
        let mut last = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if last.as_ref().is_none_or(|(before, _)| *before <= weight) {
            *last = Some((weight, said));
        }
    }

    /// Notes what something beside librdkafka has to say.
    pub(super) fn say(&self, what: String) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = Some((Weight::Any, what));
    }

    /// Gives it once.
    pub fn take(&self) -> Option<String> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).take().map(|(_, said)| said)
    }
}

struct Context {
    last_error: LastError,
}

impl ClientContext for Context {
    fn error(&self, error: KafkaError, reason: &str) {
        self.last_error.set(&error, reason);
    }
}

impl ConsumerContext for Context {}

struct Open {
    queue: Queue<Context>,
    /// Offset that the next message has, or one behind it.
    next: u64,
    /// Nothing is left before that offset.
    ended: u64,
}

/// Between two questions for a partition that has no leader.
const NO_LEADER: Duration = Duration::from_millis(50);

/// Reads partitions.
pub struct Reader {
    consumer: Arc<BaseConsumer<Context>>,
    /// Sees what is open, too.
    ends: Arc<BaseConsumer<Context>>,
    topics: Arc<Topics>,
    /// Asks where the topics are, before the first is opened: of one that it does not know, librdkafka asks after a second.
    asking: Option<JoinHandle<()>>,
    open: BTreeMap<usize, Open>,
}

impl Reader {
    /// A reader that has nothing open.
    pub fn new(cluster: &Cluster, topics: &Arc<Topics>, last_error: &LastError) -> Result<Reader, ClusterError> {
        let ends = Arc::new(consumer(cluster, Role::Ends, last_error)?);
        Reader::with(ends, cluster, topics, last_error)
    }

    /// Another one, which has nothing open.
    pub(super) fn beside(&self, cluster: &Cluster) -> Result<Reader, ClusterError> {
        Reader::with(Arc::clone(&self.ends), cluster, &self.topics, &self.ends.context().last_error)
    }

    fn with(
        ends: Arc<BaseConsumer<Context>>,
        cluster: &Cluster,
        topics: &Arc<Topics>,
        last_error: &LastError,
    ) -> Result<Reader, ClusterError> {
        let consumer = Arc::new(consumer(cluster, Role::Reader, last_error)?);
        let (asked, wanted) = (Arc::clone(&consumer), Arc::clone(topics));
        let ask = move || {
            // Who does not answer is asked again when a partition is opened.
            let _ = wanted.wanted().iter().try_for_each(|topic| asked.fetch_metadata(Some(&topic.name), CALL).map(drop));
        };
        let asking = std::thread::Builder::new().name("topics".into()).spawn(ask).ok();
        Ok(Reader { consumer, ends, topics: Arc::clone(topics), asking, open: BTreeMap::new() })
    }

    /// Gives what is there of a partition from an offset on, `most` messages at most, and waits for none; returns their number.
    pub fn poll(&mut self, partition: usize, from: u64, most: usize, mut each: impl FnMut(u64, &Fetched)) -> Result<usize, ClusterError> {
        self.serve();
        if self.open.get(&partition).is_none_or(|open| open.next != from) {
            self.position(partition, from)?;
        }
        let Some(open) = self.open.get_mut(&partition) else { return Ok(0) };
        let mut fault = None;
        let given = open.queue.poll(most, |found| match found {
            // What comes behind a fault is read again.
            _ if fault.is_some() => {}
            Given::Message(message) => {
                let offset = message.offset() as u64;
                // A fetch that began before this position was asked for may come late.
                if offset >= open.next {
                    open.next = offset + 1;
                    each(offset, message);
                }
            }
            Given::End(offset) => open.ended = offset,
            Given::Fault(error) => fault = Some(error),
        });
        fault.map_or(Ok(given), |error| self.failed(partition, from, &error).map(|()| given))
    }

    /// The same up to `end`, which is waited for; returns the offset to go on from, and `end` or more once nothing is left before it.
    /// Gives none where what is before `end` is not decided yet, or not here: it is asked for again.
    pub fn read(
        &mut self,
        partition: usize,
        from: u64,
        end: u64,
        most: usize,
        mut each: impl FnMut(u64, &Fetched),
    ) -> Result<Option<u64>, ClusterError> {
        if from >= end {
            return Ok(Some(from));
        }
        let mut next = from;
        let given = self.poll(partition, from, most, |offset, message| {
            next = offset + 1;
            if offset < end {
                each(offset, message);
            }
        })?;
        let ended = self.open.get(&partition).is_some_and(|open| open.ended >= end);
        match given {
            0 if ended => Ok(Some(end)),
            0 => Ok(None),
            _ => Ok(Some(next)),
        }
    }

    /// Stops reading all of them.
    pub fn close_all(&mut self) {
        let open: Vec<usize> = self.open.keys().copied().collect();
        open.into_iter().for_each(|partition| self.close(partition));
    }

    /// Stops reading a partition.
    pub fn close(&mut self, partition: usize) {
        if self.open.remove(&partition).is_some() {
            // It was assigned, so there is nothing to refuse.
            let _ = self.consumer.incremental_unassign(&self.list(partition, Offset::Invalid));
        }
    }

    /// Offset behind the last record of a partition, open transactions included.
    pub fn end(&self, partition: usize) -> Result<u64, ClusterError> {
        self.watermarks(&self.ends, partition).map(|(_, end)| end)
    }

    /// Offset before which everything is decided.
    pub fn stable_end(&self, partition: usize) -> Result<u64, ClusterError> {
        self.watermarks(&self.consumer, partition).map(|(_, end)| end)
    }

    /// The first offset that is left of a partition.
    pub fn start(&self, partition: usize) -> Result<u64, ClusterError> {
        self.watermarks(&self.ends, partition).map(|(start, _)| start)
    }

    /// Every topic of the cluster, with its number of partitions.
    pub(super) fn partitions(&self) -> Result<BTreeMap<String, u32>, ClusterError> {
        let metadata = self.ends.fetch_metadata(None, CALL).map_err(ClusterError::call("ask the cluster for its topics"))?;
        let there = metadata.topics().iter().filter(|topic| topic.error().is_none());
        Ok(there.map(|topic| (topic.name().to_owned(), topic.partitions().len() as u32)).collect())
    }

    /// The name that the cluster has given itself.
    pub fn cluster_id(&self) -> Result<String, ClusterError> {
        let cause = || self.ends.context().last_error.take().unwrap_or_else(|| "no broker answers".into());
        let unreached = || ClusterError::Call { attempt: "reach the cluster", cause: cause() };
        // It comes with the answer to this; who asks for it alone waits for the next metadata, about a second.
        self.ends.fetch_metadata(Some(self.topics.place(0).0), CALL).map_err(|_| unreached())?;
        self.ends.client().fetch_cluster_id(CALL).ok_or_else(unreached)
    }

    /// Asks again while a partition has no leader, as it is when it was just made or its broker died.
    fn watermarks(&self, consumer: &BaseConsumer<Context>, partition: usize) -> Result<(u64, u64), ClusterError> {
        let (topic, number) = self.topics.place(partition);
        let begun = Instant::now();
        loop {
            let error = match consumer.fetch_watermarks(topic, number, CALL) {
                Ok((low, high)) => return Ok((low.max(0) as u64, high.max(0) as u64)),
                Err(error) => error,
            };
            match error.rdkafka_error_code() {
                Some(code) if is_missing(code) => {
                    refuse_hidden(consumer, topic)?;
                    return Err(ClusterError::PartitionMissing { topic: topic.into(), partition: number });
                }
                Some(RDKafkaErrorCode::NotLeaderForPartition | RDKafkaErrorCode::LeaderNotAvailable) if begun.elapsed() < CALL => {
                    std::thread::sleep(NO_LEADER);
                }
                _ => {
                    consumer.context().last_error.set(&error, "asking for the ends of a partition");
                    return Err(ClusterError::call_on("ask for the ends of a partition", topic)(error));
                }
            }
        }
    }

    /// Serves what belongs to no partition.
    fn serve(&self) {
        if let Some(Err(error)) = self.consumer.poll(Duration::ZERO) {
            self.consumer.context().last_error.set(&error, "reading");
        }
    }

    fn position(&mut self, partition: usize, from: u64) -> Result<(), ClusterError> {
        self.close(partition);
        // Neither answer nor panic says anything about this partition.
        let _ = self.asking.take().map(JoinHandle::join);
        let (topic, number) = self.topics.place(partition);
        let missing = || ClusterError::PartitionMissing { topic: topic.into(), partition: number };
        let queue = Queue::of(&self.consumer, topic, number).ok_or_else(missing)?;
        let at = self.list(partition, Offset::Offset(from as i64));
        self.consumer.incremental_assign(&at).map_err(ClusterError::call("read a partition"))?;
        self.open.insert(partition, Open { queue, next: from, ended: 0 });
        Ok(())
    }

    fn list(&self, partition: usize, offset: Offset) -> TopicPartitionList {
        let (topic, number) = self.topics.place(partition);
        let mut list = TopicPartitionList::with_capacity(1);
        // It refuses logical offsets of another kind only.
        let _ = list.add_partition_offset(topic, number, offset);
        list
    }

    /// What cannot be mended by waiting.
    fn failed(&mut self, partition: usize, offset: u64, error: &KafkaError) -> Result<(), ClusterError> {
        let (topic, number) = self.topics.place(partition);
        let (topic, code) = (topic.to_owned(), error.rdkafka_error_code());
        // Opened again by the next call, wherever it stood.
        self.close(partition);
        match code {
            Some(RDKafkaErrorCode::AutoOffsetReset | RDKafkaErrorCode::OffsetOutOfRange) => match self.end(partition) {
                Ok(end) if end < offset => {
                    let how = format!("it ends at offset {end}, and was to be read on from {offset}");
                    Err(ClusterError::Replaced { topic, partition: number, how })
                }
                _ => Err(ClusterError::OffsetGone { topic, partition: number, offset }),
            },
            code if let Some(forbidden) = ClusterError::forbidden("read", &topic, code) => Err(forbidden),
            // Even a partition that is unknown: so it may be while its broker is on its way back.
            _ => {
                self.consumer.context().last_error.set(error, "reading");
                Ok(())
            }
        }
    }
}

fn consumer(cluster: &Cluster, role: Role<'_>, last_error: &LastError) -> Result<BaseConsumer<Context>, ClusterError> {
    let context = Context { last_error: last_error.clone() };
    cluster.config(role).create_with_context(context).map_err(ClusterError::call("make a consumer"))
}

/// Refuses a topic that is there for others, but not for this user.
pub(super) fn refuse_hidden<C: ConsumerContext>(consumer: &BaseConsumer<C>, topic: &str) -> Result<(), ClusterError> {
    let attempt = "ask the cluster for a topic";
    let metadata = consumer.fetch_metadata(Some(topic), CALL).map_err(ClusterError::call_on(attempt, topic))?;
    let code = metadata.topics().iter().find_map(|topic| topic.error()).map(RDKafkaErrorCode::from);
    ClusterError::forbidden(attempt, topic, code).map_or(Ok(()), Err)
}

fn is_missing(code: RDKafkaErrorCode) -> bool {
    matches!(code, RDKafkaErrorCode::UnknownPartition | RDKafkaErrorCode::UnknownTopicOrPartition | RDKafkaErrorCode::UnknownTopic)
}

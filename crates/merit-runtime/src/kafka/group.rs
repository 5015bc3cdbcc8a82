//! How far the group has come, asked and said from outside of it.

use super::client::{CALL, Cluster, Role};
use super::error::ClusterError;
use super::topics::Topics;
use rdkafka::consumer::{BaseConsumer, CommitMode, Consumer};
use rdkafka::error::KafkaResult;
use rdkafka::{Offset, TopicPartitionList};
use std::sync::Arc;
use std::time::{Duration, Instant};

/// How long a call is made again, and the time between two.
const LIMIT: Duration = Duration::from_secs(30);
const PAUSE: Duration = Duration::from_millis(100);

/// The group, seen from outside.
pub(super) struct Group {
    consumer: BaseConsumer,
    topics: Arc<Topics>,
}

impl Group {
    /// That of an application.
    pub(super) fn new(cluster: &Cluster, topics: &Arc<Topics>) -> Result<Group, ClusterError> {
        let consumer = cluster.config(Role::Group).create().map_err(ClusterError::call("make a consumer"))?;
        Ok(Group { consumer, topics: Arc::clone(topics) })
    }

    /// Behind the last input that was processed, of each of these partitions; none where the group has never said so, or the
    /// brokers have forgotten it.
    pub(super) fn processed(&self, partitions: &[usize]) -> Result<Vec<Option<u64>>, ClusterError> {
        again("ask how far the group has come", || {
            let found = self.consumer.committed_offsets(self.list(partitions.iter().map(|at| (*at, Offset::Invalid))), CALL)?;
            let offset = |partition: &usize| {
                let (topic, number) = self.topics.place(*partition);
                let Some(found) = found.find_partition(topic, number) else { return Ok(None) };
                found.error()?;
                Ok(found.offset().to_raw().and_then(|offset| u64::try_from(offset).ok()))
            };
            partitions.iter().map(offset).collect()
        })
    }

    /// Says that all before these offsets was processed. Refused while the group has members.
    pub(super) fn say(&self, processed: &[(usize, u64)]) -> Result<(), ClusterError> {
        let offsets = self.list(processed.iter().map(|(partition, offset)| (*partition, Offset::Offset(*offset as i64))));
        again("say how far the group has come", || self.consumer.commit(&offsets, CommitMode::Sync))
    }

    fn list(&self, offsets: impl Iterator<Item = (usize, Offset)>) -> TopicPartitionList {
        let mut list = TopicPartitionList::new();
        for (partition, offset) in offsets {
            let (topic, number) = self.topics.place(partition);
            // It refuses logical offsets of another kind only.
            let _ = list.add_partition_offset(topic, number, offset);
        }
        list
    }
}

/// Makes a call until it succeeds, or has not for so long: the group may be on its way to another broker.
fn again<T>(attempt: &'static str, mut call: impl FnMut() -> KafkaResult<T>) -> Result<T, ClusterError> {
    let begun = Instant::now();
    loop {
        match call() {
            Err(_) if begun.elapsed() < LIMIT => std::thread::sleep(PAUSE),
            done => return done.map_err(ClusterError::call(attempt)),
        }
    }
}

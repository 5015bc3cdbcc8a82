//! How far the group has come, asked and said from outside of it.

use super::client::{CALL, Cluster, Role};
use super::error::{ClusterError, code_of, patiently};
use super::topics::Topics;
use rdkafka::consumer::{BaseConsumer, CommitMode, Consumer};
use rdkafka::error::{KafkaError, KafkaResult, RDKafkaErrorCode};
use rdkafka::{Offset, TopicPartitionList};
use std::sync::Arc;

/// The group, seen from outside.
pub(super) struct Group {
    consumer: BaseConsumer,
    topics: Arc<Topics>,
    name: String,
}

impl Group {
    /// That of an application.
    pub(super) fn new(cluster: &Cluster, topics: &Arc<Topics>) -> Result<Group, ClusterError> {
        let consumer = cluster.config(Role::Group).create().map_err(ClusterError::call("make a consumer"))?;
        Ok(Group { consumer, topics: Arc::clone(topics), name: cluster.application.clone() })
    }

    /// Behind the last input that was processed, of each of these partitions; none where the group has never said so, or the
    /// brokers have forgotten it.
    pub(super) fn processed(&self, partitions: &[usize]) -> Result<Vec<Option<u64>>, ClusterError> {
        patiently(|| self.asked(partitions).map_err(self.failed("ask how far the group has come")))
    }

    fn asked(&self, partitions: &[usize]) -> KafkaResult<Vec<Option<u64>>> {
        let found = self.consumer.committed_offsets(self.list(partitions.iter().map(|at| (*at, Offset::Invalid))), CALL)?;
        let offset = |partition: &usize| {
            let (topic, number) = self.topics.place(*partition);
            let Some(found) = found.find_partition(topic, number) else { return Ok(None) };
            found.error()?;
            Ok(found.offset().to_raw().and_then(|offset| u64::try_from(offset).ok()))
        };
        partitions.iter().map(offset).collect()
    }

    /// Says that all before these offsets was processed. Refused while the group has members.
    pub(super) fn say(&self, processed: &[(usize, u64)]) -> Result<(), ClusterError> {
        let offsets = self.list(processed.iter().map(|(partition, offset)| (*partition, Offset::Offset(*offset as i64))));
        let failed = self.failed("say how far the group has come");
        patiently(|| self.consumer.commit(&offsets, CommitMode::Sync).map_err(&failed))
    }

    fn failed(&self, attempt: &'static str) -> impl Fn(KafkaError) -> ClusterError {
        move |error| {
            let is_of_group = code_of(&error) == Some(RDKafkaErrorCode::GroupAuthorizationFailed);
            ClusterError::call_on(attempt, if is_of_group { &self.name } else { "" })(error)
        }
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

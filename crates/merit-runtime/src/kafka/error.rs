//! What can go wrong with a cluster.

use crate::code;
use merit_core::Code;
use rdkafka::error::KafkaError;

/// A failure of a cluster, or a refusal to go on with it.
#[derive(Debug, thiserror::Error)]
pub enum ClusterError {
    /// A call failed for good.
    #[error("could not {attempt}: {cause}")]
    Call {
        /// What was attempted.
        attempt: &'static str,
        /// What Kafka says.
        cause: String,
    },
    /// Records that are needed are not there any more.
    #[error("{topic}/{partition} does not go back to offset {offset}: what it held there was removed")]
    OffsetGone {
        /// The topic.
        topic: String,
        /// The partition in it.
        partition: i32,
        /// What was asked for.
        offset: u64,
    },
    /// A topic or a partition of it is not there.
    #[error("the cluster has no partition {partition} of {topic}")]
    PartitionMissing {
        /// The topic.
        topic: String,
        /// The partition in it.
        partition: i32,
    },
    /// Something that is no record of Merit stands where only Merit writes.
    #[error("what {topic}/{partition} holds at offset {offset} is no record of Merit: {cause}")]
    NoRecord {
        /// The topic.
        topic: String,
        /// The partition in it.
        partition: i32,
        /// Its offset.
        offset: u64,
        /// Why it is none.
        cause: &'static str,
    },
    /// Another process has the same instance name.
    #[error("another process has taken over as instance {instance:?}")]
    Fenced {
        /// The name.
        instance: String,
    },
}

impl ClusterError {
    /// Its code, which says what a person can do about it.
    pub fn code(&self) -> &'static Code {
        match self {
            ClusterError::Call { .. } => code::CLUSTER_FAILED,
            ClusterError::OffsetGone { .. } => code::CLUSTER_OFFSET_GONE,
            ClusterError::PartitionMissing { .. } => code::CLUSTER_PARTITION_MISSING,
            ClusterError::NoRecord { .. } => code::CLUSTER_NO_RECORD,
            ClusterError::Fenced { .. } => code::CLUSTER_FENCED,
        }
    }

    /// What a failed call says.
    pub(super) fn call(attempt: &'static str) -> impl Fn(KafkaError) -> ClusterError {
        move |error| ClusterError::Call { attempt, cause: error.to_string() }
    }
}

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
    /// A topic that a log is to be written into holds records.
    #[error("{topic}/{partition} is not empty")]
    NotEmpty {
        /// The topic.
        topic: String,
        /// The partition in it.
        partition: i32,
    },
    /// A record of a log that is written into topics got another offset than it has.
    #[error("a record got offset {found} of {topic}/{partition}, and {due} is due")]
    OffsetDiffers {
        /// The topic.
        topic: String,
        /// The partition in it.
        partition: i32,
        /// What it got.
        found: u64,
        /// What it has in the log.
        due: u64,
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
            ClusterError::NotEmpty { .. } => code::CLUSTER_NOT_EMPTY,
            ClusterError::OffsetDiffers { .. } => code::CLUSTER_OFFSET_DIFFERS,
            ClusterError::Fenced { .. } => code::CLUSTER_FENCED,
        }
    }

    /// What a failed call says.
    pub(super) fn call(attempt: &'static str) -> impl Fn(KafkaError) -> ClusterError {
        move |error| ClusterError::Call { attempt, cause: error.to_string() }
    }
}

//! What can go wrong with a cluster.

use crate::code;
use merit_core::Code;
use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use std::path::PathBuf;
use std::time::{Duration, Instant};

/// How long a call is made again whose cluster has answered before: a broker that starts again, or another that takes its place, needs
/// less. How often it is at least, since an attempt lasts up to [`super::client::CALL`], and a process that was held meanwhile has had
/// none. And the time between two.
const PATIENCE: Duration = Duration::from_secs(60);
const ATTEMPTS: u32 = 2;
const PAUSE: Duration = Duration::from_millis(100);

/// How long for a partition that the brokers do not know: they do not all hear of a new one at once.
const KNOWN_WITHIN: Duration = Duration::from_secs(10);

/// A failure of a cluster, or a refusal to go on with it.
#[derive(Debug, thiserror::Error)]
pub enum ClusterError {
    /// The file that says how the cluster is reached is wrong.
    #[error("{} does not say how the cluster is reached: {}", path.display(), first(problems))]
    Access {
        /// The file.
        path: PathBuf,
        /// One line each.
        problems: Vec<String>,
    },
    /// A call to the schema registry failed, or got no answer.
    #[error("could not {attempt} the schema registry {url}: {cause}")]
    Registry {
        /// Where it is.
        url: String,
        /// What was attempted.
        attempt: &'static str,
        /// What it says, or why there was no answer.
        cause: String,
    },
    /// The registry lacks schemas of Merit.
    #[error("the schema registry lacks {}", match subjects.as_slice() { [one] => one.clone(), many => format!("{} subjects", many.len()) })]
    SchemaMissing {
        /// Their subjects.
        subjects: Vec<String>,
    },
    /// The registry has another schema under an id than messages mean by it.
    #[error("under id {id} the schema registry does not have the schema of {subject} that this program writes")]
    SchemaDiffers {
        /// The subject.
        subject: String,
        /// The id.
        id: u32,
    },
    /// The registry took a schema for one that cannot follow those of its subject.
    #[error("the schema registry refuses the schema of {subject}: {cause}")]
    SchemaRefused {
        /// The subject.
        subject: String,
        /// What it says.
        cause: String,
    },
    /// A call failed for good.
    #[error("could not {attempt}: {cause}")]
    Call {
        /// What was attempted.
        attempt: &'static str,
        /// What Kafka says.
        cause: String,
    },
    /// There is no encrypted connection: one side does not trust the other, or one of them does not encrypt.
    #[error("no encrypted connection to the cluster came about: {cause}")]
    Encryption {
        /// What librdkafka says.
        cause: String,
    },
    /// The user name, its password or the way of asking for them is not the cluster's.
    #[error("the cluster does not let the user of --kafka-config in: {cause}")]
    Login {
        /// What librdkafka says.
        cause: String,
    },
    /// No ACL of the cluster allows what was attempted.
    #[error("could not {attempt}: the cluster does not allow it on {resource}")]
    Forbidden {
        /// What was attempted.
        attempt: &'static str,
        /// Kind and name.
        resource: String,
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
    /// A topic is another than the one of that name that was read.
    #[error("{topic}/{partition} is not the one that was read: {how}")]
    Replaced {
        /// The topic.
        topic: String,
        /// The partition in it.
        partition: i32,
        /// What tells.
        how: String,
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
    /// Topics are not as the topology wants them.
    #[error("the cluster is not as the topology wants it: {}", counted(differences))]
    Differs {
        /// One line each.
        differences: Vec<String>,
    },
    /// Topics have another number of partitions than the topology wants.
    #[error("the cluster has topics with another number of partitions: {}", counted(differences))]
    PartitionsDiffer {
        /// One line each.
        differences: Vec<String>,
    },
    /// A topic would be kept for less time than a copy may be away.
    #[error("the retention of {} is too short for a cluster", topics.join(", "))]
    RetentionShort {
        /// Their names.
        topics: Vec<String>,
    },
    /// A topic that a log is to be written into holds records.
    #[error("{topic}/{partition} is not empty")]
    TopicNotEmpty {
        /// The topic.
        topic: String,
        /// The partition in it.
        partition: i32,
    },
    /// There are records, and no configuration before them.
    #[error("{topic}/{partition} holds records, and the cluster has no configuration yet")]
    NotEmpty {
        /// The topic.
        topic: String,
        /// The partition in it.
        partition: i32,
    },
    /// The configuration in force is another than this copy's.
    #[error("configuration {number} is in force on the cluster, and it is not that of this copy")]
    ConfigMismatch {
        /// Its number.
        number: u64,
    },
    /// There is no configuration.
    #[error("the cluster has no configuration yet")]
    NotBegun,
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
    /// Records were sent and did not arrive.
    #[error("{count} of the records that were sent did not arrive, the first in {first}: {cause}")]
    Undelivered {
        /// How many.
        count: usize,
        /// Topic, partition and key of the first one.
        first: String,
        /// What Kafka says of it.
        cause: String,
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
            ClusterError::Access { .. } => code::KAFKA_CONFIG,
            ClusterError::Registry { .. } => code::REGISTRY_FAILED,
            ClusterError::SchemaMissing { .. } => code::SCHEMA_MISSING,
            ClusterError::SchemaDiffers { .. } => code::SCHEMA_DIFFERS,
            ClusterError::SchemaRefused { .. } => code::SCHEMA_REFUSED,
            ClusterError::Call { .. } => code::CLUSTER_FAILED,
            ClusterError::Encryption { .. } => code::CLUSTER_ENCRYPTION,
            ClusterError::Login { .. } => code::CLUSTER_LOGIN,
            ClusterError::Forbidden { .. } => code::CLUSTER_FORBIDDEN,
            ClusterError::OffsetGone { .. } => code::CLUSTER_OFFSET_GONE,
            ClusterError::Replaced { .. } => code::CLUSTER_TOPIC_CHANGED,
            ClusterError::PartitionMissing { .. } => code::CLUSTER_PARTITION_MISSING,
            ClusterError::NoRecord { .. } => code::CLUSTER_NO_RECORD,
            ClusterError::Differs { .. } => code::CLUSTER_DIFFERS,
            ClusterError::PartitionsDiffer { .. } => code::CLUSTER_PARTITIONS_DIFFER,
            ClusterError::RetentionShort { .. } => code::RETENTION_SHORT,
            ClusterError::NotEmpty { .. } => code::CLUSTER_NOT_EMPTY,
            ClusterError::ConfigMismatch { .. } => code::CONFIG_MISMATCH,
            ClusterError::NotBegun => code::CLUSTER_NOT_BEGUN,
            ClusterError::Undelivered { .. } => code::CLUSTER_UNDELIVERED,
            ClusterError::TopicNotEmpty { .. } => code::CLUSTER_TOPIC_NOT_EMPTY,
            ClusterError::OffsetDiffers { .. } => code::CLUSTER_OFFSET_DIFFERS,
            ClusterError::Fenced { .. } => code::CLUSTER_FENCED,
        }
    }

    /// What is known beside the message.
    pub fn detail(&self) -> Option<String> {
        match self {
            ClusterError::Differs { differences: lines }
            | ClusterError::PartitionsDiffer { differences: lines }
            | ClusterError::SchemaMissing { subjects: lines }
            | ClusterError::Access { problems: lines, .. } => Some(lines.join("\n")),
            _ => None,
        }
    }

    /// Whether the same call may succeed later: brokers come and go, and do not all know of a new topic at once.
    pub(super) fn is_passing(&self) -> bool {
        matches!(self, ClusterError::Call { .. } | ClusterError::PartitionMissing { .. })
    }

    fn patience(&self) -> Duration {
        if matches!(self, ClusterError::PartitionMissing { .. }) { KNOWN_WITHIN } else { PATIENCE }
    }

    /// What a failed call says.
    pub(super) fn call(attempt: &'static str) -> impl Fn(KafkaError) -> ClusterError {
        ClusterError::call_on(attempt, "")
    }

    /// What a failed call says that was about something of that name.
    pub(super) fn call_on<'n>(attempt: &'static str, name: &'n str) -> impl Fn(KafkaError) -> ClusterError + use<'n> {
        move |error| match code_of(&error) {
            Some(code) => ClusterError::denied(attempt, name, code, error.to_string()),
            None => ClusterError::Call { attempt, cause: error.to_string() },
        }
    }

    /// What it says where only its code is known.
    pub(super) fn denied(attempt: &'static str, name: &str, code: RDKafkaErrorCode, cause: String) -> ClusterError {
        ClusterError::forbidden(attempt, name, Some(code)).unwrap_or(ClusterError::Call { attempt, cause })
    }

    /// That no ACL allows something, where that is what brokers say. Trying again changes nothing.
    pub(super) fn forbidden(attempt: &'static str, name: &str, code: Option<RDKafkaErrorCode>) -> Option<ClusterError> {
        let kind = match code? {
            RDKafkaErrorCode::TopicAuthorizationFailed => "topic",
            RDKafkaErrorCode::GroupAuthorizationFailed => "group",
            RDKafkaErrorCode::TransactionalIdAuthorizationFailed => "transactional id",
            RDKafkaErrorCode::ClusterAuthorizationFailed => {
                return Some(ClusterError::Forbidden { attempt, resource: "the cluster".into() });
            }
            _ => return None,
        };
        let resource = if name.is_empty() { format!("a {kind} that brokers do not name") } else { format!("{kind} {name}") };
        Some(ClusterError::Forbidden { attempt, resource })
    }

    /// What librdkafka says of a connection that cannot come about as things are; none where the next one may.
    pub(super) fn of_connection(error: &KafkaError, reason: &str) -> Option<ClusterError> {
        let cause = reason.to_owned();
        match error.rdkafka_error_code()? {
            RDKafkaErrorCode::SSL => Some(ClusterError::Encryption { cause }),
            RDKafkaErrorCode::Authentication | RDKafkaErrorCode::SaslAuthenticationFailed => Some(ClusterError::Login { cause }),
            RDKafkaErrorCode::UnsupportedSASLMechanism | RDKafkaErrorCode::IllegalSASLState => Some(ClusterError::Login { cause }),
            // Behind its handshake, as that of TLS 1.3 is when the broker looks at the certificate.
            RDKafkaErrorCode::BrokerTransportFailure if reason.contains("SSL alert") => Some(ClusterError::Encryption { cause }),
            _ => None,
        }
    }
}

/// The code of an error. That of a call of an administrator is told by its own variant alone.
pub(super) fn code_of(error: &KafkaError) -> Option<RDKafkaErrorCode> {
    match error {
        KafkaError::AdminOp(code) => Some(*code),
        error => error.rdkafka_error_code(),
    }
}

/// Makes a call again while that may help, for a time.
pub(super) fn patiently<T>(mut call: impl FnMut() -> Result<T, ClusterError>) -> Result<T, ClusterError> {
    let (begun, mut attempts) = (Instant::now(), 0);
    loop {
        attempts += 1;
        match call() {
            Err(error) if error.is_passing() && (attempts < ATTEMPTS || begun.elapsed() < error.patience()) => std::thread::sleep(PAUSE),
            done => return done,
        }
    }
}

fn counted(differences: &[String]) -> String {
    match differences {
        [one] => one.clone(),
        many => format!("{} differences", many.len()),
    }
}

fn first(problems: &[String]) -> String {
    match problems {
        [one] => one.clone(),
        many => format!("{} problems", many.len()),
    }
}

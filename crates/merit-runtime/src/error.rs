//! What can go wrong in the world, and what to do then.

use crate::code;
use crate::kafka::ClusterError;
use merit_core::{Code, Fault};
use std::path::PathBuf;

/// A failure of the runtime.
#[derive(Debug, thiserror::Error)]
pub enum RuntimeError {
    /// The directory cannot be opened.
    #[error("could not open the data directory {path:?}: {cause}")]
    Open {
        /// The directory.
        path: PathBuf,
        /// What the store says.
        cause: String,
    },
    /// Another process writes it.
    #[error("could not open the data directory {path:?}: another process is using it")]
    InUse {
        /// The directory.
        path: PathBuf,
        /// That process, where the kernel tells.
        owner: Option<u32>,
    },
    /// There is none.
    #[error("there is no Merit data directory at {path:?}")]
    Missing {
        /// The directory.
        path: PathBuf,
    },
    /// It was written in another format.
    #[error("the data directory {path:?} has format {found}, this program reads format {wanted}")]
    Format {
        /// The directory.
        path: PathBuf,
        /// Its format.
        found: String,
        /// Ours.
        wanted: &'static str,
    },
    /// It was written under a topology of another structure.
    #[error("the data directory was written under another topology: {detail}")]
    Topology {
        /// The first part that differs.
        detail: String,
    },
    /// What lies behind the checkpoint was computed by another version of the logic.
    #[error("the end of the log was written by logic version {found} and not checkpointed; this program has version {own}")]
    Upgrade {
        /// Its version.
        found: String,
        /// Ours.
        own: u32,
    },
    /// The store failed.
    #[error("could not {attempt} the store: {cause}")]
    Store {
        /// What was attempted.
        attempt: &'static str,
        /// What the store says.
        cause: String,
    },
    /// A copy would be written over something.
    #[error("{path:?} is there already")]
    NotEmpty {
        /// The directory.
        path: PathBuf,
    },
    /// The directory is a backup, which is read and restored, never written.
    #[error("{path:?} is a backup")]
    IsBackup {
        /// The directory.
        path: PathBuf,
    },
    /// The log in it is a copy of one on Kafka, which is written there.
    #[error("{path:?} holds a copy of the log of {of}")]
    IsMirror {
        /// The directory.
        path: PathBuf,
        /// That log.
        of: String,
    },
    /// It is that of a copy on Kafka, and no log was copied there.
    #[error("{path:?} holds what a copy computes, and nothing of the log of {of}")]
    WithoutLog {
        /// The directory.
        path: PathBuf,
        /// That log.
        of: String,
    },
    /// The log in it is not the one that is to be copied there.
    #[error("{path:?} holds {found}, not the log of {wanted}")]
    OtherLog {
        /// The directory.
        path: PathBuf,
        /// What is in it.
        found: String,
        /// What was to be copied.
        wanted: String,
    },
    /// A file of a log cannot be read or written.
    #[error("could not use the log file {path:?}: {cause}")]
    LogFile {
        /// The file.
        path: PathBuf,
        /// Why.
        cause: String,
    },
    /// A file of a log would be written over another.
    #[error("{path:?} is there already")]
    LogFileExists {
        /// The file.
        path: PathBuf,
    },
    /// A file of a log is not as it was written.
    #[error("{path:?} is no whole log file: {cause}")]
    LogFileDamaged {
        /// The file.
        path: PathBuf,
        /// What was found.
        cause: String,
    },
    /// There is no backup.
    #[error("there is no backup at {path:?}")]
    BackupMissing {
        /// The directory.
        path: PathBuf,
    },
    /// A backup is not as it was made.
    #[error("the backup at {path:?} is damaged: {cause}")]
    BackupDamaged {
        /// The directory.
        path: PathBuf,
        /// What was found.
        cause: String,
    },
    /// A file of the store is damaged or missing.
    #[error("the store is damaged: {cause}")]
    Damaged {
        /// What the store says, with the file.
        cause: String,
    },
    /// The store holds less than was acknowledged.
    #[error(
        "the store in {path:?} ends at sequence {found}, and all up to {acknowledged} was on disk: its write-ahead log was cut or removed"
    )]
    CutShort {
        /// The directory.
        path: PathBuf,
        /// The last sequence number in it.
        found: u64,
        /// The last that was acknowledged.
        acknowledged: u64,
    },
    /// There is a log and no key.
    #[error("the audit key {path:?} is missing, and there is a log already")]
    KeyMissing {
        /// The file.
        path: PathBuf,
    },
    /// The key file cannot be used.
    #[error("could not use the audit key {path:?}: {cause}")]
    Key {
        /// The file.
        path: PathBuf,
        /// Why.
        cause: String,
    },
    /// The key is not the one that the log was begun with.
    #[error("the audit key is not the one in force in this log")]
    KeyDiffers,
    /// A record in the log cannot be read.
    #[error("{topic}/{partition} cannot be read at offset {offset}: {cause}")]
    Corrupt {
        /// The topic.
        topic: String,
        /// The partition.
        partition: u32,
        /// The offset.
        offset: u64,
        /// What was found.
        cause: String,
    },
    /// A record was asked for that was pruned.
    #[error("{topic}/{partition} was pruned before offset {start}: offset {offset} is gone")]
    Pruned {
        /// The topic.
        topic: String,
        /// The partition.
        partition: u32,
        /// The offset that was asked for.
        offset: u64,
        /// The first offset that is left.
        start: u64,
    },
    /// What is computed again differs from what is in the log.
    #[error("{0}")]
    Difference(Box<Difference>),
    /// A new lineage would end one that goes on well.
    #[error("nothing differs: what lies behind the last checkpoint is as it is computed again")]
    LineageNotNeeded,
    /// A bug of ours.
    #[error("{task} stopped at offset {offset}: {fault}")]
    Stopped {
        /// Sub-topology and partition.
        task: String,
        /// The input that it stopped at.
        offset: u64,
        /// What broke.
        fault: Fault,
    },
    /// The cluster failed, or it is not as it has to be.
    #[error(transparent)]
    Cluster(#[from] ClusterError),
}

/// The first record that differs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Difference {
    /// The topic.
    pub topic: String,
    /// The partition.
    pub partition: u32,
    /// The offset in the log.
    pub offset: u64,
    /// The stream of the record.
    pub stream: String,
    /// Its sequence.
    pub sequence: u64,
    /// The field, or what is missing.
    pub field: String,
    /// In the log.
    pub recorded: String,
    /// Computed again.
    pub computed: String,
}

impl std::fmt::Display for Difference {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Difference { topic, partition, offset, stream, sequence, field, recorded, computed } = self;
        write!(f, "{topic}/{partition} at offset {offset} (stream {stream}, sequence {sequence}) differs in {field}: ")?;
        write!(f, "the log has {recorded}, computed again it is {computed}")
    }
}

impl RuntimeError {
    /// Its code, which says what a person can do about it.
    pub fn code(&self) -> &'static Code {
        match self {
            RuntimeError::Open { .. } => code::DIRECTORY_OPEN,
            RuntimeError::InUse { .. } => code::DIRECTORY_IN_USE,
            RuntimeError::Missing { .. } => code::DIRECTORY_MISSING,
            RuntimeError::Format { .. } => code::DIRECTORY_FORMAT,
            RuntimeError::Topology { .. } => code::TOPOLOGY_DIFFERS,
            RuntimeError::Upgrade { .. } => code::UPGRADE_NEEDS_CLEAN_STOP,
            RuntimeError::Store { .. } => code::STORE_FAILED,
            RuntimeError::NotEmpty { .. } => code::DIRECTORY_NOT_EMPTY,
            RuntimeError::IsBackup { .. } => code::DIRECTORY_IS_BACKUP,
            RuntimeError::IsMirror { .. } => code::DIRECTORY_IS_MIRROR,
            RuntimeError::WithoutLog { .. } => code::DIRECTORY_WITHOUT_LOG,
            RuntimeError::OtherLog { .. } => code::DIRECTORY_OF_OTHER_LOG,
            RuntimeError::LogFile { .. } => code::LOG_FILE,
            RuntimeError::LogFileExists { .. } => code::LOG_FILE_EXISTS,
            RuntimeError::LogFileDamaged { .. } => code::LOG_FILE_DAMAGED,
            RuntimeError::BackupMissing { .. } => code::BACKUP_MISSING,
            RuntimeError::BackupDamaged { .. } => code::BACKUP_DAMAGED,
            RuntimeError::Damaged { .. } => code::STORE_DAMAGED,
            RuntimeError::CutShort { .. } => code::STORE_CUT_SHORT,
            RuntimeError::KeyMissing { .. } => code::AUDIT_KEY_MISSING,
            RuntimeError::Key { .. } => code::AUDIT_KEY,
            RuntimeError::KeyDiffers => code::AUDIT_KEY_DIFFERS,
            RuntimeError::Corrupt { .. } => code::LOG_CORRUPT,
            RuntimeError::Pruned { .. } => code::OFFSET_PRUNED,
            RuntimeError::Difference(_) => code::LOG_DIFFERS,
            RuntimeError::LineageNotNeeded => code::LINEAGE_NOT_NEEDED,
            RuntimeError::Cluster(error) => error.code(),
            RuntimeError::Stopped { .. } => code::STOPPED,
        }
    }

    /// What is known beside the message.
    pub fn detail(&self) -> Option<String> {
        match self {
            RuntimeError::InUse { owner, .. } => owner.map(|process| format!("process {process} has it open to write")),
            RuntimeError::Cluster(error) => error.detail(),
            _ => None,
        }
    }
}

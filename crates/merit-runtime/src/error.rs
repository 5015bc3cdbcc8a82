//! What can go wrong in the world, and what to do then.

use merit_core::Fault;
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
    /// Another process has it.
    #[error("could not open the data directory {path:?}: another process is using it")]
    InUse {
        /// The directory.
        path: PathBuf,
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
    /// The store failed.
    #[error("could not {attempt} the store: {cause}")]
    Store {
        /// What was attempted.
        attempt: &'static str,
        /// What the store says.
        cause: String,
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
    /// What a person can do about it.
    pub fn hint(&self) -> &'static str {
        match self {
            RuntimeError::Open { .. } => "check that the path is a directory that you may write to, and that the disk is not full",
            RuntimeError::InUse { .. } => "stop the other process, or pass another --data-dir",
            RuntimeError::Missing { .. } => "pass the --data-dir that an import wrote to",
            RuntimeError::Format { .. } => "use the version of Merit that wrote it",
            RuntimeError::Topology { .. } => {
                "pass the --topology that it was written with; parameters may differ, partitions and processors may not"
            }
            RuntimeError::Store { .. } => "check the disk; what was acknowledged is in the log, so run the command again when it is well",
            RuntimeError::Key { .. } => {
                "the file must hold 32 bytes as 64 hexadecimal digits and be readable by its owner alone (chmod 600)"
            }
            RuntimeError::KeyDiffers => "pass the key that the log was begun with, by --audit-key FILE",
            RuntimeError::Corrupt { .. } => "restore the directory from a copy; `merit audit verify` tells how far it can be trusted",
            RuntimeError::Pruned { .. } => "ask from the first offset that is left; the topic's retention removed what was before it",
            RuntimeError::Difference(_) => {
                "keep a copy: the log was changed, or this program computes otherwise than the one that wrote it. \
                 Restore a copy or that program, or go on as a new lineage: \
                 merit topology apply --new-lineage PARTITION --reason TEXT"
            }
            RuntimeError::Stopped { .. } => "this is a bug of Merit: keep the directory and report the line above",
        }
    }
}

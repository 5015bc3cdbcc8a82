//! Records that carry time and configuration.

use crate::{EventTime, List, datum};

datum! {
    /// Time that passed without reports.
    Tick {
        /// Event time up to which the partition may be closed, less grace.
        time: EventTime,
    }
}

datum! {
    /// One parameter of the topology.
    Parameter<'a> {
        /// Dotted path in `topology.toml`.
        path: &'a str,
        /// Its value as text.
        value: &'a str,
    }
}

datum! {
    /// The configuration in force from this record on.
    ConfigEpoch<'a> {
        /// 0, 1, 2, ... in one log.
        number: u64,
        /// Name of the audit log.
        origin: &'a str,
        /// Name of the emitter key.
        key_name: &'a str,
        /// Ed25519 public key of the emitter.
        emitter_key: [u8; 32],
        /// Partitions of `eval.reports`.
        partitions: u32,
        /// Sorted by path.
        parameters: List<'a, Parameter<'a>>,
    }
}

datum! {
    /// How far one partition of `eval.reports` has closed.
    Progress {
        /// The partition.
        partition: u32,
        /// Its watermark.
        watermark: EventTime,
    }
}

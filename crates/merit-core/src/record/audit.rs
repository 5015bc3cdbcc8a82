//! Leaves of the audit log and the facts that only they carry.

use crate::{List, datum};

datum! {
    /// One audit leaf on its way to the sealer.
    AuditLeaf<'a> {
        /// The chain it belongs to: `sub-topology/partition/lineage`.
        stream: &'a str,
        /// Its place in the chain, gapless from 0.
        sequence: u64,
        /// The leaf's bytes, as defined by `merit-audit`.
        leaf: &'a [u8],
        /// What the leaf commits to, where no topic carries it.
        payload: Option<&'a [u8]>,
    }
}

datum! {
    /// One audit leaf in the order of the one log; its index is its offset.
    SealedLeaf<'a> {
        /// The leaf's bytes.
        leaf: &'a [u8],
        /// What the leaf commits to, where no topic carries it.
        payload: Option<&'a [u8]>,
    }
}

datum! {
    /// What one stream published since the last seal.
    SealedOutput<'a> {
        /// The stream: `sub-topology/processor/partition/lineage`.
        stream: &'a str,
        /// First sequence covered.
        from_sequence: u64,
        /// Behind the last sequence covered.
        to_sequence: u64,
        /// SHA-256 over the digest of the seal before and what the stream published since.
        digest: [u8; 32],
    }
}

datum! {
    /// Covers everything that a task read and published since its last seal.
    StreamSeal<'a> {
        /// Topic that the task reads.
        topic: &'a str,
        /// Its partition.
        partition: u32,
        /// First offset covered.
        from_offset: u64,
        /// Behind the last offset covered.
        to_offset: u64,
        /// SHA-256 over the digest of the seal before and the inputs since.
        inputs: [u8; 32],
        /// Ranges a stream.
        streams: List<'a, SealedOutput<'a>>,
    }
}

datum! {
    /// The end of one chain.
    StreamHead<'a> {
        /// The chain.
        stream: &'a str,
        /// Sequence of its last leaf.
        sequence: u64,
        /// Hash of its last leaf's envelope.
        hash: [u8; 32],
    }
}

datum! {
    /// The ends of all chains, sorted by name: what was cut off a chain behind one is found by it.
    StreamHeads<'a> {
        /// One a chain.
        heads: List<'a, StreamHead<'a>>,
    }
}

datum! {
    /// A leaf came that breaks its chain; it is sealed all the same, as evidence.
    AuditIncident<'a> {
        /// The chain.
        stream: &'a str,
        /// The sequence that the leaf claims.
        sequence: u64,
        /// The rule that it breaks.
        rule: &'a str,
        /// What was found, for a person.
        detail: &'a str,
    }
}

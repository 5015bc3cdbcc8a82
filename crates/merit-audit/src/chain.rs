//! Making leaves: a chain knows its name and its end, and gives each entry its place.

use crate::envelope::{Envelope, Source, leaf_type};
use crate::json::MAX_INTEGER;
use crate::key::Signer;
use crate::leaf::{self, MAX_LEAF, SIGNATURE, VERSION};
use alloc::borrow::Cow;
use alloc::string::String;
use alloc::vec::Vec;
use core::fmt;
use merit_core::{Digest, EventTime, Kind, List, Uuid};

/// The most bytes of an envelope that leave room for one signature.
const MAX_ENVELOPE: usize = MAX_LEAF - ENVELOPE_AT - 1 - SIGNATURE;

/// Where the envelope starts in a leaf.
const ENVELOPE_AT: usize = 5;

/// The end of a chain; all that must be kept to go on with it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ChainHead {
    /// Sequence of the next leaf.
    pub sequence: u64,
    /// Event hash of the last leaf, else the chain's genesis.
    pub hash: Digest,
}

impl ChainHead {
    /// The end of a chain that has no leaf.
    pub fn genesis(origin: &str, stream: &str) -> ChainHead {
        ChainHead { sequence: 0, hash: leaf::genesis(origin, stream) }
    }
}

/// What there is to say about one record; the rest of its envelope the chain knows.
#[derive(Clone, Debug)]
pub struct Entry<'a> {
    /// Its type.
    pub kind: Kind,
    /// Where it stands.
    pub source: Source<'a>,
    /// Its time; one that RFC 3339 cannot write or that lies before 1970 is written as the nearest that it can.
    pub time: EventTime,
    /// Who acted, as authenticated; `merit` where a processor decided.
    pub actor: &'a str,
    /// How the actor was authenticated; `internal` for a processor.
    pub auth: &'a str,
    /// The record's key.
    pub subject: &'a str,
    /// Ids of the records that led to it.
    pub parents: List<'a, Uuid>,
    /// Number of the ConfigEpoch in force.
    pub epoch: u64,
    /// The policy that decided.
    pub policy: Option<&'a str>,
    /// Fingerprint of its schema.
    pub schema: Digest,
    /// Its encoding.
    pub payload: &'a [u8],
}

/// One chain of leaves, owned by one task.
#[derive(Clone, Debug)]
pub struct Chain {
    origin: String,
    stream: String,
    head: ChainHead,
}

impl Chain {
    /// A chain without leaves. `origin` names the audit log, `stream` is `sub-topology/partition/lineage`.
    pub fn new(origin: &str, stream: &str) -> Chain {
        Chain::resume(origin, stream, ChainHead::genesis(origin, stream))
    }

    /// A chain that ended at `head`.
    pub fn resume(origin: &str, stream: &str, head: ChainHead) -> Chain {
        Chain { origin: origin.into(), stream: stream.into(), head }
    }

    /// Its name.
    pub fn stream(&self) -> &str {
        &self.stream
    }

    /// Its end.
    pub fn head(&self) -> ChainHead {
        self.head
    }

    /// Makes the next leaf, not signed. The chain moves on only where that succeeds.
    pub fn append(&mut self, entry: &Entry<'_>) -> Result<Leaf, Unwritable> {
        if entry.epoch.max(self.head.sequence) > MAX_INTEGER {
            return Err(Unwritable::Number);
        }
        let mut bytes = Vec::with_capacity(1_024);
        bytes.extend_from_slice(&[VERSION, 0, 0, 0, 0]);
        self.envelope(entry).write(&mut bytes);
        let length = bytes.len() - ENVELOPE_AT;
        if length > MAX_ENVELOPE {
            return Err(Unwritable::Length(length));
        }
        bytes[1..ENVELOPE_AT].copy_from_slice(&(length as u32).to_be_bytes());
        let event_hash = leaf::event_hash(&bytes[1..]);
        bytes.push(0);
        self.head = ChainHead { sequence: self.head.sequence + 1, hash: event_hash };
        Ok(Leaf { bytes, signatures_at: ENVELOPE_AT + length, event_hash })
    }

    fn envelope<'a>(&'a self, entry: &'a Entry<'_>) -> Envelope<'a> {
        Envelope {
            actor: entry.actor.into(),
            auth: entry.auth.into(),
            epoch: entry.epoch,
            log: self.origin.as_str().into(),
            parents: match entry.parents {
                List::Slice(ids) => Cow::Borrowed(ids),
                List::Encoded { .. } => entry.parents.iter().collect(),
            },
            payload: leaf::payload_commit(entry.payload),
            payload_length: entry.payload.len() as u64,
            policy: entry.policy.map(Cow::Borrowed),
            prev: self.head.hash,
            schema: entry.schema,
            sequence: self.head.sequence,
            source: entry.source.clone(),
            stream: self.stream.as_str().into(),
            subject: entry.subject.into(),
            time: entry.time.clamp(EventTime::EPOCH, EventTime::LATEST),
            leaf_type: leaf_type(entry.kind).into(),
        }
    }
}

/// A leaf that a chain made.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Leaf {
    bytes: Vec<u8>,
    signatures_at: usize,
    event_hash: Digest,
}

impl Leaf {
    /// Its bytes.
    pub fn bytes(&self) -> &[u8] {
        &self.bytes
    }

    /// Its bytes without signatures: what a replay without the key can make too.
    pub fn envelope(&self) -> &[u8] {
        &self.bytes[ENVELOPE_AT..self.signatures_at]
    }

    /// Hash of its envelope.
    pub fn event_hash(&self) -> &Digest {
        &self.event_hash
    }

    /// Signs it, and through it every leaf of its chain before it. Signing again replaces the signature.
    pub fn sign(&mut self, signer: &Signer) {
        let signature = signer.sign(&self.event_hash);
        self.bytes.truncate(self.signatures_at);
        self.bytes.push(1);
        self.bytes.extend_from_slice(&signature.key_id.to_be_bytes());
        self.bytes.extend_from_slice(&signature.bytes);
    }
}

/// An entry that no leaf can hold.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Unwritable {
    /// Its envelope would have so many bytes.
    Length(usize),
    /// Epoch or sequence is above 2^53 - 1.
    Number,
}

impl fmt::Display for Unwritable {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Unwritable::Length(length) => {
                write!(f, "could not write audit leaf: an envelope of {length} bytes, at most {MAX_ENVELOPE} fit")
            }
            Unwritable::Number => f.write_str("could not write audit leaf: epoch or sequence is above 2^53 - 1"),
        }
    }
}

impl core::error::Error for Unwritable {}

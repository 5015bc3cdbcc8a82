//! Verifying one log, leaf by leaf in its order.
//!
//! A signature proves its own envelope and, through `prev`, every envelope of its chain before it. So leaves without one wait
//! until the next signed leaf of their chain, and are then compared backwards from it: the leaf that does not hash to what its
//! successor says is the one that was changed.
//! [`rule`] says what it can break.

use crate::chain::ChainHead;
use crate::envelope::{Envelope, leaf_type};
use crate::json;
use crate::key::EmitterKey;
use crate::leaf::{ParsedLeaf, genesis, payload_commit};
use crate::rule;
use alloc::collections::BTreeMap;
use alloc::format;
use alloc::string::{String, ToString};
use alloc::sync::Arc;
use alloc::vec::Vec;
use core::cmp::Ordering;
use core::fmt;
use core::mem;
use merit_core::record::StreamHeads;
use merit_core::{Code, Datum, Digest, Kind, Uuid};

/// The first thing that is wrong with a log.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AuditFault {
    /// The chain; as the leaf claims, where nothing tells better.
    pub stream: String,
    /// The place in the chain; for `gap` that of the missing leaf.
    pub sequence: u64,
    /// The leaf that shows it, by the index that the caller gave it.
    pub index: u64,
    /// The rule that it breaks.
    pub rule: &'static Code,
    /// What was found, for a person.
    pub detail: String,
}

impl fmt::Display for AuditFault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let AuditFault { stream, sequence, index, rule, detail } = self;
        write!(f, "{rule}: {detail} (sequence {sequence} of {stream}, index {index})")
    }
}

impl core::error::Error for AuditFault {}

/// What a log without fault holds.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Verified {
    /// Number of leaves.
    pub leaves: u64,
    /// The end of each chain, sorted by name.
    pub chains: Vec<(String, ChainHead)>,
}

/// Verifies one log. After a fault it is of no more use.
///
/// It keeps 16 bytes a leaf and 56 a parent.
#[derive(Debug)]
pub struct LogVerifier {
    origin: String,
    keys: Vec<EmitterKey>,
    chains: BTreeMap<Arc<str>, Tail>,
    ids: Vec<Uuid>,
    parents: Vec<Parent>,
}

/// What is known of one chain.
#[derive(Debug)]
struct Tail {
    head: ChainHead,
    /// Leaves since the last signed one.
    waiting: Vec<Link>,
}

#[derive(Debug)]
struct Link {
    index: u64,
    prev: Digest,
    hash: Digest,
}

#[derive(Debug)]
struct Parent {
    id: Uuid,
    stream: Arc<str>,
    sequence: u64,
    index: u64,
}

/// A rule and what was found.
type Finding = (&'static Code, String);

impl LogVerifier {
    /// A log named `origin`, signed by some of `keys`.
    pub fn new(origin: &str, keys: Vec<EmitterKey>) -> LogVerifier {
        LogVerifier { origin: origin.into(), keys, chains: BTreeMap::new(), ids: Vec::new(), parents: Vec::new() }
    }

    /// Takes the next leaf. `index` is its place in the log, for messages; `payload` is compared where it is given.
    pub fn leaf<'l>(&mut self, index: u64, bytes: &'l [u8], payload: Option<&[u8]>) -> Result<ParsedLeaf<'l>, AuditFault> {
        let refuse = |(rule, detail): Finding| {
            let (stream, sequence) = self.place(bytes);
            AuditFault { stream, sequence, index, rule, detail }
        };
        let leaf = ParsedLeaf::parse(bytes).map_err(|misshapen| refuse((rule::SHAPE, misshapen.to_string())))?;
        self.examine(&leaf, payload).map_err(refuse)?;
        self.check_link(index, bytes, &leaf)?;
        self.check_heads(index, &leaf.envelope, payload)?;
        self.take(index, &leaf)?;
        Ok(leaf)
    }

    /// Parents that no leaf so far is of, sorted, each once: to be looked up among the records that get no leaf.
    pub fn unresolved(&mut self) -> Vec<Uuid> {
        self.settle_parents();
        let mut ids: Vec<Uuid> = self.parents.iter().map(|parent| parent.id).collect();
        ids.sort_unstable();
        ids.dedup();
        ids
    }

    /// Forgets the leaves at the end of each chain that no signature covers, from the index on that is given for it: of a log that goes
    /// on, the signature is on its way. They must follow one another. Gives their number. Nothing is taken behind this.
    pub fn forget_unsigned(&mut self, from: impl Fn(&str) -> u64) -> Result<u64, AuditFault> {
        let mut forgotten = 0;
        for (stream, tail) in &mut self.chains {
            let open = tail.waiting.first().is_some_and(|first| first.index >= from(stream));
            if !open {
                continue;
            }
            forgotten += tail.waiting.len() as u64;
            tail.settle().map_err(|(sequence, index)| changed(stream, sequence, index))?;
        }
        Ok(forgotten)
    }

    /// Ends the log. `resolves` says whether a record without a leaf has that id.
    pub fn finish(mut self, mut resolves: impl FnMut(Uuid) -> bool) -> Result<Verified, AuditFault> {
        self.settle_parents();
        let uncovered = self.chains.iter().filter_map(|(stream, tail)| {
            let first = tail.waiting.first()?;
            let detail = format!("{} leaves at the end of the chain are not covered by a signature", tail.waiting.len());
            Some(AuditFault { stream: stream.to_string(), sequence: tail.signed(), index: first.index, rule: rule::UNCOVERED, detail })
        });
        let orphan = self.parents.iter().find(|parent| !resolves(parent.id)).map(|parent| {
            let detail = format!("its parent {} is nowhere", parent.id);
            AuditFault { stream: parent.stream.to_string(), sequence: parent.sequence, index: parent.index, rule: rule::PARENT, detail }
        });
        match uncovered.chain(orphan).min_by_key(|fault| fault.index) {
            Some(fault) => Err(fault),
            None => Ok(Verified {
                leaves: self.ids.len() as u64,
                chains: self.chains.iter().map(|(stream, tail)| (stream.to_string(), tail.head)).collect(),
            }),
        }
    }

    /// Everything that a leaf shows by itself.
    fn examine(&self, leaf: &ParsedLeaf<'_>, payload: Option<&[u8]>) -> Result<(), Finding> {
        let envelope = &leaf.envelope;
        if envelope.log != self.origin {
            return Err((rule::ORIGIN, format!("it belongs to log {:?}, this is {:?}", envelope.log, self.origin)));
        }
        for signature in leaf.signatures() {
            let id = signature.key_id;
            let Some(key) = self.keys.iter().find(|key| key.key_id() == id) else {
                return Err((rule::UNKNOWN_KEY, format!("it is signed by key {id:08x}, which was not given")));
            };
            if !key.verify(&leaf.event_hash, &signature) {
                return Err((rule::SIGNATURE, format!("key {id:08x} did not sign this envelope")));
            }
        }
        match payload {
            Some(payload) if payload.len() as u64 != envelope.payload_length || payload_commit(payload) != envelope.payload => {
                Err((rule::PAYLOAD, format!("its payload of {} bytes is not the one that it commits to", payload.len())))
            }
            Some(_) | None => Ok(()),
        }
    }

    /// The leaf's place in its chain.
    fn check_link(&self, index: u64, bytes: &[u8], leaf: &ParsedLeaf<'_>) -> Result<(), AuditFault> {
        let Envelope { stream, sequence, prev, .. } = &leaf.envelope;
        let head = self.head(stream);
        let fault = |(stream, sequence), rule, detail| Err(AuditFault { stream, sequence, index, rule, detail });
        let named = |sequence| self.place_by_prev(prev, stream).unwrap_or_else(|| (stream.to_string(), sequence));
        match sequence.cmp(&head.sequence) {
            Ordering::Greater => fault(named(head.sequence), rule::GAP, format!("sequence {} is due and {sequence} came", head.sequence)),
            Ordering::Less => {
                fault(named(*sequence), rule::REPEATED, format!("sequence {} is due and {sequence} came again", head.sequence))
            }
            Ordering::Equal if *prev == head.hash => Ok(()),
            // Before it stands a signed leaf, or it belongs behind another chain's end: so it is this leaf that is wrong.
            Ordering::Equal if self.waiting(stream).is_empty() || self.place_by_prev(prev, stream).is_some() => {
                fault(self.place(bytes), rule::PREV, "it does not follow the leaf before it".into())
            }
            // One of two unsigned neighbours was changed; the next signature tells which.
            Ordering::Equal => Ok(()),
        }
    }

    /// A `stream.heads` leaf against the chains so far: finds what was cut off the end of one.
    fn check_heads(&self, index: u64, envelope: &Envelope<'_>, payload: Option<&[u8]>) -> Result<(), AuditFault> {
        let Some(payload) = payload.filter(|_| envelope.leaf_type == leaf_type(Kind::StreamHeads)) else { return Ok(()) };
        let fault = |stream: &str, sequence, detail| Err(AuditFault { stream: stream.into(), sequence, index, rule: rule::HEADS, detail });
        let Some(listed) = StreamHeads::decode(payload) else {
            return fault(&envelope.stream, envelope.sequence, "its list of heads cannot be read".into());
        };
        for listed in listed.heads {
            let head = self.head(listed.stream);
            if head.sequence != listed.sequence.saturating_add(1) || head.hash != listed.hash {
                let detail = format!("the chain ended with sequence {}, the log shows {} leaves of it", listed.sequence, head.sequence);
                return fault(listed.stream, head.sequence.min(listed.sequence), detail);
            }
        }
        Ok(())
    }

    fn take(&mut self, index: u64, leaf: &ParsedLeaf<'_>) -> Result<(), AuditFault> {
        let Envelope { stream, sequence, prev, source, parents, .. } = &leaf.envelope;
        let name = self.chains.get_key_value(&**stream).map_or_else(|| Arc::from(&**stream), |(name, _)| Arc::clone(name));
        let head = ChainHead { sequence: sequence + 1, hash: leaf.event_hash };
        let tail = self.chains.entry(Arc::clone(&name)).or_insert(Tail { head, waiting: Vec::new() });
        tail.head = head;
        tail.waiting.push(Link { index, prev: *prev, hash: leaf.event_hash });
        if leaf.signatures().len() > 0 {
            tail.settle().map_err(|(sequence, index)| changed(&name, sequence, index))?;
        }
        self.ids.push(source.id());
        self.parents.extend(parents.iter().map(|id| Parent { id: *id, stream: Arc::clone(&name), sequence: *sequence, index }));
        Ok(())
    }

    fn settle_parents(&mut self) {
        self.ids.sort_unstable();
        let ids = &self.ids;
        self.parents.retain(|parent| ids.binary_search(&parent.id).is_err());
    }

    fn head(&self, stream: &str) -> ChainHead {
        self.chains.get(stream).map_or_else(|| ChainHead::genesis(&self.origin, stream), |tail| tail.head)
    }

    fn waiting(&self, stream: &str) -> &[Link] {
        self.chains.get(stream).map_or(&[], |tail| &tail.waiting)
    }

    /// Where a leaf that may be changed at any byte belongs: behind the leaf that its `prev` names, else where it says.
    fn place(&self, leaf: &[u8]) -> (String, u64) {
        let stream = String::from_utf8_lossy(after(leaf, "\"stream\":\"", |byte| byte != b'"'));
        let prev = json::digest(after(leaf, "\"prev\":\"", |byte| byte != b'"'));
        prev.and_then(|prev| self.place_by_prev(&prev, &stream)).unwrap_or_else(|| {
            let digits = after(leaf, "\"seq\":", |byte| byte.is_ascii_digit());
            let sequence = core::str::from_utf8(digits).ok().and_then(|text| text.parse().ok());
            (stream.to_string(), sequence.unwrap_or(0))
        })
    }

    fn place_by_prev(&self, prev: &Digest, stream: &str) -> Option<(String, u64)> {
        let behind = self.chains.iter().find(|(_, tail)| tail.head.hash == *prev);
        let first = || (genesis(&self.origin, stream) == *prev).then(|| (stream.to_string(), 0));
        behind.map(|(stream, tail)| (stream.to_string(), tail.head.sequence)).or_else(first)
    }
}

impl Tail {
    /// Sequence of the first leaf that no signature covers.
    fn signed(&self) -> u64 {
        self.head.sequence - self.waiting.len() as u64
    }

    /// Compares the waiting leaves backwards from the last, which is signed; gives sequence and index of one that was changed.
    fn settle(&mut self) -> Result<(), (u64, u64)> {
        let first = self.signed();
        let links = mem::take(&mut self.waiting);
        match links.windows(2).enumerate().rev().find(|(_, pair)| pair[0].hash != pair[1].prev) {
            Some((at, pair)) => Err((first + at as u64, pair[0].index)),
            None => Ok(()),
        }
    }
}

fn changed(stream: &str, sequence: u64, index: u64) -> AuditFault {
    let detail = "it is not the leaf that the one behind it follows".into();
    AuditFault { stream: stream.into(), sequence, index, rule: rule::CHANGED, detail }
}

/// The bytes behind the first `mark`, as long as `belongs`.
fn after<'l>(bytes: &'l [u8], mark: &str, belongs: impl Fn(u8) -> bool) -> &'l [u8] {
    let Some(at) = bytes.windows(mark.len()).position(|window| window == mark.as_bytes()) else { return &[] };
    let rest = &bytes[at + mark.len()..];
    let length = rest.iter().position(|byte| !belongs(*byte)).unwrap_or(rest.len());
    &rest[..length]
}

//! Judging leaves.

use crate::rule;
use crate::state::ChainState;
use alloc::format;
use alloc::string::{String, ToString};
use core::cmp::Ordering;
use merit_audit::{ChainHead, ParsedLeaf};
use merit_core::Code;
use merit_core::record::AuditLeaf;

/// Sealed leaves between two lists of heads: as many as a reader may miss at the cut-off end of a chain without being told.
pub const HEADS_EVERY: u64 = 4_096;

/// What to do with a leaf.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Finding {
    /// It follows on: seal it.
    Sound,
    /// It is sealed already: drop it.
    Duplicate,
    /// It breaks a rule: seal it, and say so.
    Broken { rule: &'static Code, detail: String },
}

/// Judges a leaf and moves its chain on.
///
/// A chain goes on behind a gap and behind a leaf that does not follow, so that one incident gives one report.
pub(crate) fn judge(origin: &str, keys: &[u32], chain: &mut ChainState, record: &AuditLeaf<'_>) -> Finding {
    let finding = match ParsedLeaf::parse(record.leaf) {
        Err(misshapen) => broken(rule::SHAPE, misshapen.to_string()),
        Ok(leaf) => check_label(origin, record, &leaf).unwrap_or_else(|| match place(origin, chain, &leaf) {
            Finding::Sound => check_keys(keys, &leaf),
            found @ (Finding::Duplicate | Finding::Broken { .. }) => found,
        }),
    };
    chain.tainted |= matches!(finding, Finding::Broken { .. });
    finding
}

fn broken(rule: &'static Code, detail: String) -> Finding {
    Finding::Broken { rule, detail }
}

/// Whether a leaf is what its record says, in the log that it says.
fn check_label(origin: &str, record: &AuditLeaf<'_>, leaf: &ParsedLeaf<'_>) -> Option<Finding> {
    let envelope = &leaf.envelope;
    if envelope.log != origin {
        Some(broken(rule::ORIGIN, format!("it belongs to log {:?}, this is {origin:?}", envelope.log)))
    } else if (&*envelope.stream, envelope.sequence) != (record.stream, record.sequence) {
        Some(broken(rule::LABEL, format!("it says that it is sequence {} of {:?}", envelope.sequence, envelope.stream)))
    } else {
        None
    }
}

fn place(origin: &str, chain: &mut ChainState, leaf: &ParsedLeaf<'_>) -> Finding {
    let (sequence, due) = (leaf.envelope.sequence, chain.next);
    let follows = match chain.last() {
        Some(last) => leaf.envelope.prev == *last,
        None => leaf.envelope.prev == ChainHead::genesis(origin, &leaf.envelope.stream).hash,
    };
    match sequence.cmp(&due) {
        Ordering::Less => match chain.earlier(sequence) {
            Some(hash) if *hash == leaf.event_hash => Finding::Duplicate,
            Some(_) => broken(rule::FORK, format!("another leaf is sealed as sequence {sequence}")),
            None => broken(rule::REPEATED, format!("sequence {sequence} came again when {due} was due, too late to compare")),
        },
        Ordering::Equal | Ordering::Greater => {
            chain.advance(sequence, leaf.event_hash);
            match sequence == due {
                true if follows => Finding::Sound,
                true => broken(rule::FORK, format!("it does not follow the leaf that is sealed before sequence {sequence}")),
                false => broken(rule::GAP, format!("sequence {due} is due")),
            }
        }
    }
}

fn check_keys(keys: &[u32], leaf: &ParsedLeaf<'_>) -> Finding {
    match leaf.signatures().find(|signature| keys.binary_search(&signature.key_id).is_err()) {
        Some(signature) => broken(rule::UNKNOWN_KEY, format!("no configuration names key {:08x}", signature.key_id)),
        None => Finding::Sound,
    }
}

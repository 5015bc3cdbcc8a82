//! The byte formats. Numbers are big-endian, `||` puts end to end, texts are UTF-8.
//!
//! ```text
//! payload_commit = SHA-256("merit.audit/payload/v1" || 0x00 || u64 length || payload)
//! event_hash     = SHA-256("merit.audit/event/v1"   || 0x00 || u32 length || envelope)
//! genesis        = SHA-256("merit.audit/stream/v1"  || 0x00 || u16 length || origin || u16 length || stream)
//! emit_message   =         "merit.audit/emit/v1"    || 0x00 || event_hash                     (52 bytes)
//! leaf           = 0x01 || u32 length || envelope || u8 n || n * (u32 key_id || signature[64])  (at most 65,535 bytes)
//! leaf_hash      = SHA-256(0x00 || leaf)                                                       (RFC 6962)
//! key_id         = SHA-256(key name || 0x0A || 0x01 || public key)[..4]                        (C2SP signed-note)
//! ```
//!
//! Signatures stand in the order of their key ids, each key once.

use crate::envelope::{Envelope, Misshapen};
use crate::key::Signature;
use merit_core::Digest;
use sha2::{Digest as _, Sha256};

/// The most bytes that a leaf may have.
pub const MAX_LEAF: usize = 65_535;

/// First byte of a leaf.
pub(crate) const VERSION: u8 = 1;

/// Bytes of one signature: key id and Ed25519.
pub(crate) const SIGNATURE: usize = 68;

/// Commits to a record's bytes.
pub fn payload_commit(payload: &[u8]) -> Digest {
    let length = (payload.len() as u64).to_be_bytes();
    Sha256::new_with_prefix(b"merit.audit/payload/v1\0").chain_update(length).chain_update(payload).finalize().into()
}

/// Hash of an envelope, given with its length before it, as it stands in a leaf.
pub(crate) fn event_hash(length_and_envelope: &[u8]) -> Digest {
    Sha256::new_with_prefix(b"merit.audit/event/v1\0").chain_update(length_and_envelope).finalize().into()
}

/// What the first envelope of a chain gives as `prev`. Origin and stream are at most 65,535 bytes each.
pub fn genesis(origin: &str, stream: &str) -> Digest {
    let length = |text: &str| (text.len() as u16).to_be_bytes();
    Sha256::new_with_prefix(b"merit.audit/stream/v1\0")
        .chain_update(length(origin))
        .chain_update(origin)
        .chain_update(length(stream))
        .chain_update(stream)
        .finalize()
        .into()
}

/// Hash of a leaf in a Merkle tree.
pub fn leaf_hash(leaf: &[u8]) -> Digest {
    Sha256::new_with_prefix([0]).chain_update(leaf).finalize().into()
}

/// A leaf taken apart; nothing is verified but its shape.
#[derive(Clone, Debug)]
pub struct ParsedLeaf<'a> {
    /// What it says.
    pub envelope: Envelope<'a>,
    /// The envelope's bytes.
    pub bytes: &'a [u8],
    /// Hash of the envelope: the next one's `prev`.
    pub event_hash: Digest,
    signatures: &'a [[u8; SIGNATURE]],
}

impl<'a> ParsedLeaf<'a> {
    /// Takes a leaf apart.
    pub fn parse(leaf: &'a [u8]) -> Result<ParsedLeaf<'a>, Misshapen> {
        let refuse = |at, expected| Misshapen { at, expected };
        if leaf.len() > MAX_LEAF {
            return Err(refuse(MAX_LEAF, "the end of the leaf"));
        }
        let rest = leaf.strip_prefix(&[VERSION]).ok_or(refuse(0, "leaf version 1"))?;
        let (length, _) = rest.split_first_chunk().ok_or(refuse(1, "the envelope's length"))?;
        let length = u32::from_be_bytes(*length) as usize;
        let (framed, rest) = rest.split_at_checked(length.saturating_add(4)).ok_or(refuse(1, "a length within the leaf"))?;
        let (count, rest) = rest.split_first().ok_or(refuse(leaf.len(), "the number of signatures"))?;
        let (signatures, over) = rest.as_chunks();
        if signatures.len() != usize::from(*count) || !over.is_empty() {
            return Err(refuse(length.saturating_add(5), "as many signatures as follow"));
        }
        if !signatures.is_sorted_by(|earlier, later| signature(earlier).key_id < signature(later).key_id) {
            return Err(refuse(length.saturating_add(6), "each key once, in the order of their ids"));
        }
        let bytes = &framed[4..];
        Ok(ParsedLeaf { envelope: Envelope::parse(bytes)?, bytes, event_hash: event_hash(framed), signatures })
    }

    /// Its signatures, in the order of their key ids.
    pub fn signatures(&self) -> impl ExactSizeIterator<Item = Signature> + use<'a> {
        self.signatures.iter().map(signature)
    }
}

fn signature(bytes: &[u8; SIGNATURE]) -> Signature {
    let mut value = Signature { key_id: 0, bytes: [0; 64] };
    let (key_id, rest) = bytes.split_at(4);
    value.key_id = key_id.iter().fold(0, |id, byte| id << 8 | u32::from(*byte));
    value.bytes.copy_from_slice(rest);
    value
}

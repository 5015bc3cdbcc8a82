//! What an auditor is given: leaves one by one, and a log of them.

use merit_audit::{AuditFault, Chain, EmitterKey, Entry, LogVerifier, ParsedLeaf, Signature, Signer, Source};
use merit_core::record::{StreamHead, StreamHeads};
use merit_core::{Datum, Digest, EventTime, Kind, List, Uuid};
use std::collections::BTreeSet;
use std::sync::LazyLock;

const ORIGIN: &str = "merit.example/audit";
const KEY_NAME: &str = "merit.example/emitter";

/// Bytes as one leaf, and as the envelope of one. What is taken apart gives the same bytes when it is put together.
pub fn leaf(bytes: &[u8]) -> bool {
    comes_back(bytes) | comes_back(&assemble(bytes, &[]))
}

fn comes_back(bytes: &[u8]) -> bool {
    match ParsedLeaf::parse(bytes) {
        Ok(leaf) => {
            let mut envelope = Vec::new();
            leaf.envelope.write(&mut envelope);
            assert_eq!(envelope, leaf.bytes);
            assert_eq!(assemble(&envelope, &leaf.signatures().collect::<Vec<Signature>>()), bytes);
            true
        }
        Err(misshapen) => {
            assert!(misshapen.at <= bytes.len(), "{misshapen}, and there are {}", bytes.len());
            false
        }
    }
}

/// A leaf by the table of formats in `merit_audit::leaf`.
fn assemble(envelope: &[u8], signatures: &[Signature]) -> Vec<u8> {
    let mut leaf = vec![1];
    leaf.extend((envelope.len() as u32).to_be_bytes());
    leaf.extend(envelope);
    leaf.push(signatures.len() as u8);
    for signature in signatures {
        leaf.extend(signature.key_id.to_be_bytes());
        leaf.extend(signature.bytes);
    }
    leaf
}

/// A log: leaves and payloads in turn, each behind its length in two bytes.
///
/// Nobody without the key can make a log that verifies: every envelope of one was written with the key.
pub fn audit_log(bytes: &[u8]) -> bool {
    let mut verifier = LogVerifier::new(ORIGIN, vec![GENUINE.key.clone()]);
    let mut rest = bytes;
    let mut hashes = Vec::new();
    while !rest.is_empty() {
        let Some((leaf, payload)) = take(&mut rest).zip(take(&mut rest)) else { return false };
        match verifier.leaf(hashes.len() as u64, leaf, Some(payload)) {
            Ok(leaf) => hashes.push(leaf.event_hash),
            Err(fault) => return !is_known(&fault, hashes.len()),
        }
    }
    verifier.unresolved();
    match verifier.finish(|_| true) {
        Ok(verified) => {
            assert_eq!(verified.leaves, hashes.len() as u64);
            assert!(hashes.iter().all(|hash| GENUINE.hashes.contains(hash)), "a forged log");
            !hashes.is_empty()
        }
        Err(fault) => !is_known(&fault, hashes.len()),
    }
}

fn is_known(fault: &AuditFault, last: usize) -> bool {
    assert!(merit_audit::rule::RULES.contains(&fault.rule) && fault.index <= last as u64, "{fault}");
    true
}

fn take<'b>(bytes: &mut &'b [u8]) -> Option<&'b [u8]> {
    let (length, rest) = bytes.split_first_chunk()?;
    let (part, rest) = rest.split_at_checked(usize::from(u16::from_be_bytes(*length)))?;
    *bytes = rest;
    Some(part)
}

/// A small log that was written with the key: two chains whose leaves are signed now and then, and the list of their heads.
pub struct Genuine {
    /// Leaf and payload of each row.
    pub rows: Vec<(Vec<u8>, Vec<u8>)>,
    hashes: BTreeSet<Digest>,
    key: EmitterKey,
}

/// The one log of [`audit_log`]: the same at every start.
pub static GENUINE: LazyLock<Genuine> = LazyLock::new(|| {
    let signer = Signer::new(KEY_NAME, &[7; 32]);
    let [mut evaluate, mut allocate, mut seal] =
        ["evaluate/0/aaaa", "allocate/0/bbbb", "seal/0/cccc"].map(|stream| Chain::new(ORIGIN, stream));
    let key = EmitterKey::new(KEY_NAME, &signer.public()).expect("a key");
    let mut genuine = Genuine { rows: Vec::new(), hashes: BTreeSet::new(), key };
    let mut add = |chain: &mut Chain, kind, payload: &[u8], signed: bool| {
        let sequence = chain.head().sequence;
        let stream = format!("{}/records", chain.stream());
        let outside = Source::Outside { topic: "eval.reports".into(), partition: 0, offset: 3 };
        let source = if kind == Kind::ConfigEpoch { outside } else { Source::Inner { stream: stream.clone().into(), sequence } };
        let parents = [Uuid::of_record(&stream, sequence.saturating_sub(1))];
        let policy = (kind == Kind::PolicyDecided).then_some("confidence");
        let (time, actor, auth, subject) = (EventTime(1_737_136_800_000), "merit", "internal", "agent \"1\"");
        let parents = List::Slice(&parents);
        let entry = Entry { kind, source, time, actor, auth, subject, parents, epoch: 0, policy, schema: [5; 32], payload };
        let mut leaf = chain.append(&entry).expect("it fits");
        if signed {
            leaf.sign(&signer);
        }
        genuine.hashes.insert(*leaf.event_hash());
        genuine.rows.push((leaf.bytes().to_vec(), payload.to_vec()));
    };
    add(&mut evaluate, Kind::ConfigEpoch, &[1], true);
    add(&mut allocate, Kind::AllocationRequested, &[2; 9], false);
    add(&mut evaluate, Kind::Held, &[], false);
    add(&mut allocate, Kind::PolicyDecided, &[3; 9], true);
    add(&mut evaluate, Kind::PromotionProposed, &[4; 9], true);
    let heads = [&allocate, &evaluate].map(|chain| StreamHead {
        stream: chain.stream(),
        sequence: chain.head().sequence - 1,
        hash: chain.head().hash,
    });
    let mut payload = Vec::new();
    StreamHeads { heads: List::Slice(&heads) }.put(&mut payload);
    add(&mut seal, Kind::StreamHeads, &payload, true);
    genuine
});

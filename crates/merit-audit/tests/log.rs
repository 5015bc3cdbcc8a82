//! A small log of three chains, and everything that can be done to it.

use merit_audit::{AuditFault, Chain, EmitterKey, Entry, LogVerifier, ParsedLeaf, Signer, Source, Verified, leaf_type};
use merit_core::record::{StreamHead, StreamHeads};
use merit_core::{Datum, EventTime, Kind, List, Uuid};

const ORIGIN: &str = "merit.example/audit";
const EVALUATE: &str = "evaluate/0/aaaa";
const ALLOCATE: &str = "allocate/0/bbbb";
const SEAL: &str = "seal/0/cccc";

/// An id whose record has no leaf.
fn score() -> Uuid {
    Uuid::of_record("evaluate/score-window/0/aaaa", 9)
}

fn signer() -> Signer {
    Signer::new("merit.example/emitter", &[7; 32])
}

fn keys() -> Vec<EmitterKey> {
    vec![EmitterKey::new("merit.example/emitter", &signer().public()).expect("a key")]
}

#[derive(Clone, Debug)]
struct Row {
    stream: &'static str,
    sequence: u64,
    leaf: Vec<u8>,
    payload: Vec<u8>,
}

fn row(chain: &mut Chain, kind: Kind, sequence: u64, parents: &[Uuid], payload: Vec<u8>, signer: Option<&Signer>) -> Row {
    let stream = if chain.stream() == EVALUATE {
        EVALUATE
    } else if chain.stream() == ALLOCATE {
        ALLOCATE
    } else {
        SEAL
    };
    let entry = Entry {
        kind,
        source: Source::Inner { stream: record_stream(stream).into(), sequence },
        time: EventTime(1_737_136_800_000),
        actor: "merit",
        auth: "internal",
        subject: "agent-1",
        parents: List::Slice(parents),
        epoch: 0,
        policy: (kind == Kind::PolicyDecided).then_some("confidence"),
        schema: [5; 32],
        payload: &payload,
    };
    let at = chain.head().sequence;
    let mut leaf = chain.append(&entry).expect("it fits");
    if let Some(signer) = signer {
        leaf.sign(signer);
    }
    Row { stream, sequence: at, leaf: leaf.bytes().to_vec(), payload }
}

fn record_stream(chain: &str) -> &'static str {
    if chain == EVALUATE {
        "evaluate/hysteresis-promoter/0/aaaa"
    } else if chain == ALLOCATE {
        "allocate/allocator-applier/0/bbbb"
    } else {
        "seal/audit-sealer/0/cccc"
    }
}

/// Two chains interleaved, leaves with and without signature, a parent that is sealed after its child, and the list of heads.
fn log() -> Vec<Row> {
    let (mut evaluate, mut allocate, mut seal) = (Chain::new(ORIGIN, EVALUATE), Chain::new(ORIGIN, ALLOCATE), Chain::new(ORIGIN, SEAL));
    let signer = &signer();
    let (signed, unsigned) = (Some(signer), None);
    let promotion = Uuid::of_record(record_stream(EVALUATE), 3);
    let request = Uuid::of_record(record_stream(ALLOCATE), 1);
    let mut rows = vec![
        row(&mut evaluate, Kind::ConfigEpoch, 0, &[], vec![1, 2, 3], signed),
        row(&mut allocate, Kind::ConfigEpoch, 0, &[], vec![1, 2, 3], signed),
        row(&mut allocate, Kind::AllocationRequested, 1, &[promotion], vec![4; 40], unsigned),
        row(&mut allocate, Kind::PolicyDecided, 2, &[request], vec![5; 50], unsigned),
        row(&mut evaluate, Kind::PromotionProposed, 3, &[score()], vec![6; 60], unsigned),
        row(&mut allocate, Kind::AllocationApproved, 4, &[request, promotion], vec![7; 70], unsigned),
        row(&mut evaluate, Kind::Held, 5, &[], vec![], signed),
        row(&mut allocate, Kind::AllocationApplied, 6, &[request], vec![8; 80], signed),
    ];
    let head = |chain: &Chain| {
        let stream = if chain.stream() == EVALUATE { EVALUATE } else { ALLOCATE };
        StreamHead { stream, sequence: chain.head().sequence - 1, hash: chain.head().hash }
    };
    let mut payload = Vec::new();
    StreamHeads { heads: List::Slice(&[head(&allocate), head(&evaluate)]) }.put(&mut payload);
    rows.push(row(&mut seal, Kind::StreamHeads, 0, &[], payload, signed));
    rows
}

fn verify<'r>(rows: impl IntoIterator<Item = &'r Row>, payloads: bool) -> Result<Verified, AuditFault> {
    let mut verifier = LogVerifier::new(ORIGIN, keys());
    for (index, row) in rows.into_iter().enumerate() {
        verifier.leaf(index as u64, &row.leaf, payloads.then_some(&row.payload))?;
    }
    verifier.finish(|id| id == score())
}

fn found(rows: &[Row]) -> (&'static str, String, u64, u64) {
    let fault = verify(rows, true).expect_err("a fault");
    (fault.rule.name, fault.stream, fault.sequence, fault.index)
}

#[test]
fn an_untouched_log_has_no_fault() {
    let verified = verify(&log(), true).expect("no fault");
    assert_eq!(verified.leaves, 9);
    let chains: Vec<(&str, u64)> = verified.chains.iter().map(|(stream, head)| (stream.as_str(), head.sequence)).collect();
    assert_eq!(chains, [(ALLOCATE, 5), (EVALUATE, 3), (SEAL, 1)]);
}

/// Without payloads too. Only the name in the first leaf of a chain can be lost: nothing stands before it.
#[test]
fn a_flipped_byte_is_found_where_it_is() {
    let rows = log();
    for (at, row) in rows.iter().enumerate() {
        let name = format!("\"stream\":\"{}\"", row.stream);
        let name = row
            .leaf
            .windows(name.len())
            .position(|window| window == name.as_bytes())
            .map(|from| from..from + name.len())
            .expect("a stream");
        for byte in 0..row.leaf.len() {
            let mut bad = rows.clone();
            bad[at].leaf[byte] ^= if byte % 3 == 0 { 0x80 } else { 1 };
            let fault = verify(&bad, false).expect_err("a fault");
            if row.sequence > 0 || !name.contains(&byte) {
                assert_eq!((fault.stream.as_str(), fault.sequence), (row.stream, row.sequence), "byte {byte} of leaf {at}: {fault}");
            }
            assert_eq!(fault.index, at as u64, "byte {byte} of leaf {at}: {fault}");
        }
    }
}

#[test]
fn a_flipped_byte_of_a_payload_is_found() {
    let rows = log();
    for at in (0..rows.len()).filter(|at| !rows[*at].payload.is_empty()) {
        let mut bad = rows.clone();
        bad[at].payload[0] ^= 1;
        assert_eq!(found(&bad), ("payload", rows[at].stream.into(), rows[at].sequence, at as u64));
        bad[at].payload.pop();
        assert_eq!(found(&bad).0, "payload");
    }
}

#[test]
fn an_unsigned_leaf_that_was_rewritten_is_told_from_its_neighbours() {
    for at in [2, 3, 4, 5] {
        let mut rows = log();
        let subject = rows[at].leaf.windows(7).position(|window| window == b"agent-1").expect("a subject");
        rows[at].leaf[subject + 6] = b'2';
        assert_eq!(found(&rows), ("changed", rows[at].stream.into(), rows[at].sequence, at as u64));
    }
}

/// What is done; the rule, chain, sequence and index that the fault names.
type Edit = (fn(&mut Vec<Row>), &'static str, &'static str, u64, u64);

#[test]
fn what_was_done_to_the_order_is_named() {
    let edits: [Edit; 9] = [
        (|rows| drop(rows.remove(3)), "gap", ALLOCATE, 2, 4),
        (|rows| drop(rows.remove(0)), "gap", EVALUATE, 0, 3),
        (|rows| rows.insert(4, rows[3].clone()), "repeated", ALLOCATE, 2, 4),
        (|rows| rows.push(rows[0].clone()), "repeated", EVALUATE, 0, 9),
        (|rows| rows.swap(2, 3), "gap", ALLOCATE, 1, 2),
        (|rows| drop(rows.remove(7)), "heads", ALLOCATE, 4, 7),
        (|rows| rows.truncate(6), "uncovered", ALLOCATE, 1, 2),
        (|rows| rows.truncate(7), "uncovered", ALLOCATE, 1, 2),
        (|rows| drop(rows.drain(1..8)), "heads", ALLOCATE, 0, 1),
    ];
    for (at, (edit, rule, stream, sequence, index)) in edits.into_iter().enumerate() {
        let mut rows = log();
        edit(&mut rows);
        assert_eq!(found(&rows), (rule, stream.into(), sequence, index), "edit {at}");
    }
}

/// The other history is written with the true key: only the chain tells.
#[test]
fn a_forked_chain_is_named() {
    let mut other = Chain::new(ORIGIN, EVALUATE);
    let signer = signer();
    let mut fork = |signer| row(&mut other, Kind::PromotionProposed, 77, &[score()], vec![9], signer);
    let (first, second) = (fork(Some(&signer)), fork(Some(&signer)));

    let mut rows = log();
    rows[0] = first.clone();
    assert_eq!(found(&rows), ("prev", EVALUATE.into(), 1, 4));
    let mut rows = log();
    rows.insert(1, first);
    assert_eq!(found(&rows), ("repeated", EVALUATE.into(), 0, 1));
    let mut rows = log();
    rows[4] = second;
    assert_eq!(found(&rows), ("prev", EVALUATE.into(), 1, 4));
}

#[test]
fn signatures_of_others_are_named() {
    let sign = |rows: &mut Vec<Row>, at: usize, key_id: u32, signature: [u8; 64]| {
        let end = rows[at].leaf.len() - 68;
        rows[at].leaf.truncate(end);
        rows[at].leaf.extend_from_slice(&key_id.to_be_bytes());
        rows[at].leaf.extend_from_slice(&signature);
    };
    let forger = Signer::new("merit.example/emitter", &[8; 32]);
    let hash = |row: &Row| ParsedLeaf::parse(&row.leaf).expect("a leaf").event_hash;

    let mut rows = log();
    let forged = forger.sign(&hash(&rows[6]));
    sign(&mut rows, 6, forged.key_id, forged.bytes);
    assert_eq!(found(&rows), ("unknown_key", EVALUATE.into(), 2, 6));
    sign(&mut rows, 6, signer().key_id(), forged.bytes);
    assert_eq!(found(&rows), ("signature", EVALUATE.into(), 2, 6));
    // A true signature of another leaf.
    let taken = signer().sign(&hash(&rows[0])).bytes;
    sign(&mut rows, 6, signer().key_id(), taken);
    assert_eq!(found(&rows), ("signature", EVALUATE.into(), 2, 6));
    // None at all: then nothing vouches for the end of the chain.
    let end = rows[6].leaf.len() - 69;
    rows[6].leaf.truncate(end);
    rows[6].leaf.push(0);
    assert_eq!(found(&rows), ("uncovered", EVALUATE.into(), 1, 4));
}

#[test]
fn leaves_of_another_log_are_named() {
    let mut chain = Chain::new("merit.example/other", EVALUATE);
    let rows = [row(&mut chain, Kind::ConfigEpoch, 0, &[], vec![], Some(&signer()))];
    assert_eq!(found(&rows), ("origin", EVALUATE.into(), 0, 0));
}

#[test]
fn parents_resolve_to_leaves_or_to_what_the_caller_knows() {
    let rows = log();
    let mut verifier = LogVerifier::new(ORIGIN, keys());
    for (index, row) in rows.iter().enumerate() {
        verifier.leaf(index as u64, &row.leaf, None).expect("no fault");
    }
    assert_eq!(verifier.unresolved(), [score()]);
    let fault = verifier.finish(|_| false).expect_err("a fault");
    assert_eq!((fault.rule.name, fault.stream.as_str(), fault.sequence, fault.index), ("parent", EVALUATE, 1, 4));
}

#[test]
fn leaves_are_no_longer_than_their_format_allows() {
    let mut chain = Chain::new(ORIGIN, EVALUATE);
    let before = chain.head();
    let mut entry = Entry {
        kind: Kind::Held,
        source: Source::Inner { stream: "s".into(), sequence: 0 },
        time: EventTime::MIN,
        actor: "merit",
        auth: "internal",
        subject: "",
        parents: List::EMPTY,
        epoch: 0,
        policy: None,
        schema: [0; 32],
        payload: &[],
    };
    let room = 65_535 - 6 - 68 - chain.clone().append(&entry).expect("it fits").envelope().len();
    let (most, more) = ("x".repeat(room), "x".repeat(room + 1));
    entry.subject = &more;
    assert!(chain.append(&entry).is_err());
    assert_eq!(chain.head(), before);
    entry.subject = &most;
    let mut leaf = chain.append(&entry).expect("it fits");
    leaf.sign(&signer());
    assert_eq!(leaf.bytes().len(), 65_535);
    let parsed = ParsedLeaf::parse(leaf.bytes()).expect("a leaf");
    assert_eq!(parsed.envelope.time, EventTime::EPOCH);
    assert_eq!(parsed.envelope.leaf_type, leaf_type(Kind::Held));

    entry.epoch = 1 << 53;
    assert!(chain.append(&entry).is_err());
}

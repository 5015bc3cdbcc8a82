use crate::state::REMEMBERED;
use crate::{AuditSealer, HEADS_EVERY};
use merit_audit::{Chain, Entry, Leaf, Signer, Source};
use merit_core::processor::Configuration;
use merit_core::record::{AuditIncident, AuditLeaf, ConfigEpoch, StreamHeads};
use merit_core::table::RowMap;
use merit_core::{Datum, Digest, EventTime, Fault, Head, Key, Kind, List, Outbox, Payload, Processor, Settings, Sink, Uuid};

const ORIGIN: &str = "merit.example/audit";
const STREAM: &str = "evaluate/0/aaaa";
const KEY_NAME: &str = "merit.example/emitter";

#[derive(Default)]
struct Emitted(Vec<(Kind, String, Vec<u8>)>);

impl Sink for Emitted {
    fn emit(&mut self, key: Key<'_>, _: EventTime, payload: Payload<'_>) -> Result<u64, Fault> {
        let mut bytes = Vec::new();
        payload.put(&mut bytes);
        self.0.push((payload.kind(), key.name.into(), bytes));
        Ok(self.0.len() as u64 - 1)
    }
    fn next_sequence(&self) -> u64 {
        self.0.len() as u64
    }
    fn id(&self, sequence: u64) -> Uuid {
        Uuid::of_record("seal/audit-sealer/0/cccc", sequence)
    }
    fn id_of(&self, _: &Head<'_>) -> Option<Uuid> {
        None
    }
    fn fingerprint(&self, _: Kind) -> Digest {
        [0; 32]
    }
}

fn signer(secret: u8) -> Signer {
    Signer::new(KEY_NAME, &[secret; 32])
}

/// A sealer that was configured and then saw the epoch's record, and what it emits.
struct Bench {
    sealer: AuditSealer,
    emitted: Emitted,
    rows: RowMap,
}

impl Bench {
    fn new() -> Bench {
        let mut bench = Bench { sealer: AuditSealer::default(), emitted: Emitted::default(), rows: RowMap::default() };
        bench.configure();
        bench.epoch(&signer(7));
        bench
    }

    fn configure(&mut self) {
        let configuration = Configuration {
            settings: Settings::default(),
            partition: 0,
            partitions: 4,
            origin: ORIGIN.into(),
            emitter: (KEY_NAME.into(), signer(7).public()),
            epoch: 0,
        };
        self.sealer.configure(&configuration).expect("configured");
    }

    fn epoch(&mut self, signer: &Signer) {
        let record = ConfigEpoch {
            number: 0,
            origin: ORIGIN,
            key_name: KEY_NAME,
            emitter_key: signer.public(),
            partitions: 4,
            parameters: List::EMPTY,
            lineage: None,
        };
        assert_eq!(self.step(Payload::ConfigEpoch(&record)), [""; 0]);
    }

    /// Types emitted, with the rule of an incident.
    fn leaf(&mut self, sequence: u64, leaf: &[u8]) -> Vec<String> {
        self.step(Payload::AuditLeaf(&AuditLeaf { stream: STREAM, sequence, leaf, payload: None }))
    }

    fn step(&mut self, payload: Payload<'_>) -> Vec<String> {
        let from = self.emitted.0.len();
        let head = Head {
            key: Key::new(STREAM),
            time: EventTime(5),
            stream: Head::OUTSIDE,
            sequence: 0,
            offset: 0,
            hops: 0,
            sent: None,
            headers: None,
        };
        let input = <crate::AuditSealerPorts as merit_core::processor::Ports>::accept(payload).expect("an input");
        self.sealer.step(&head, input, &mut Outbox::new(&mut self.emitted)).expect("no fault");
        self.emitted.0[from..]
            .iter()
            .map(
                |(kind, _, bytes)| {
                    if *kind == Kind::AuditIncident { AuditIncident::decode(bytes).expect("readable").rule } else { kind.name() }
                },
            )
            .map(String::from)
            .collect()
    }

    /// The sealer as it comes back from a checkpoint.
    fn restart(&mut self) {
        self.rows.checkpoint_and_evict(&mut self.sealer);
        self.sealer = AuditSealer::default();
        self.configure();
        self.rows.restore(&mut self.sealer).expect("readable");
    }
}

fn next(chain: &mut Chain, signer: &Signer, number: u64) -> Leaf {
    let source = Source::Inner { stream: "evaluate/hysteresis-promoter/0/aaaa".into(), sequence: number };
    let mut leaf = chain
        .append(&Entry {
            kind: Kind::Held,
            source,
            time: EventTime(5),
            actor: "merit",
            auth: "internal",
            subject: "agent-1",
            parents: List::EMPTY,
            epoch: 0,
            policy: None,
            schema: [1; 32],
            payload: b"held",
        })
        .expect("it fits");
    leaf.sign(signer);
    leaf
}

/// The first `count` leaves of a chain; `number` tells histories apart.
fn leaves(origin: &str, stream: &str, signer: &Signer, count: usize, number: u64) -> Vec<Leaf> {
    let mut chain = Chain::new(origin, stream);
    (0..count).map(|_| next(&mut chain, signer, number)).collect()
}

/// Claimed sequence, leaf, and what it gives: `sealed`, `dropped`, or the rule of the incident behind the sealed leaf.
type Step<'a> = (u64, &'a [u8], &'static str);

/// All leaves are sealed but exact repetitions.
#[test]
fn each_leaf_is_sealed_once_and_each_break_is_told() {
    let histories = [
        leaves(ORIGIN, STREAM, &signer(7), 4, 0),
        leaves(ORIGIN, STREAM, &signer(7), 4, 1),
        leaves(ORIGIN, STREAM, &signer(8), 4, 0),
        leaves("merit.example/other", STREAM, &signer(7), 4, 0),
        leaves(ORIGIN, "evaluate/1/aaaa", &signer(7), 4, 0),
    ];
    let [good, fork, strange, foreign, elsewhere] = histories.each_ref().map(|leaves| |at: usize| leaves[at].bytes());
    let rows: [(&str, &[Step<'_>]); 10] = [
        ("in order", &[(0, good(0), "sealed"), (1, good(1), "sealed")]),
        ("again", &[(0, good(0), "sealed"), (1, good(1), "sealed"), (0, good(0), "dropped"), (1, good(1), "dropped")]),
        ("gap", &[(0, good(0), "sealed"), (2, good(2), "gap"), (3, good(3), "sealed")]),
        ("gap at the start", &[(1, good(1), "gap"), (2, good(2), "sealed")]),
        ("another at a sealed place", &[(0, good(0), "sealed"), (0, fork(0), "fork"), (1, good(1), "sealed")]),
        ("another at the due place", &[(0, good(0), "sealed"), (1, fork(1), "fork"), (2, fork(2), "sealed")]),
        ("key", &[(0, strange(0), "unknown_key"), (1, good(1), "sealed")]),
        ("shape", &[(0, b"\x01", "shape"), (0, good(0), "sealed")]),
        ("log", &[(0, foreign(0), "origin")]),
        ("label", &[(0, elsewhere(0), "label"), (1, good(0), "label")]),
    ];
    for (name, row) in rows {
        for restarts in [false, true] {
            let mut bench = Bench::new();
            for (at, (sequence, leaf, wanted)) in row.iter().enumerate() {
                let wanted: &[&str] = match *wanted {
                    "dropped" => &[],
                    "sealed" => &["SealedLeaf"],
                    rule => &["SealedLeaf", rule],
                };
                assert_eq!(bench.leaf(*sequence, leaf), wanted, "{name}, leaf {at}, restarts {restarts}");
                if restarts {
                    bench.restart();
                }
            }
        }
    }
}

#[test]
fn a_sealed_leaf_carries_bytes_and_payload_unchanged_under_its_chain() {
    let leaf = &leaves(ORIGIN, STREAM, &signer(7), 1, 0)[0];
    let mut bench = Bench::new();
    bench.step(Payload::AuditLeaf(&AuditLeaf { stream: STREAM, sequence: 0, leaf: leaf.bytes(), payload: Some(b"held") }));
    let (kind, key, bytes) = &bench.emitted.0[0];
    let sealed = merit_core::record::SealedLeaf::decode(bytes).expect("readable");
    assert_eq!((*kind, key.as_str(), sealed.leaf, sealed.payload), (Kind::SealedLeaf, STREAM, leaf.bytes(), Some(&b"held"[..])));
}

#[test]
fn a_key_counts_from_its_configuration_on_and_for_ever() {
    let mut chain = Chain::new(ORIGIN, STREAM);
    let (old, new) = (signer(7), signer(8));
    let mut bench = Bench::new();
    assert_eq!(bench.leaf(0, next(&mut chain, &new, 0).bytes()), ["SealedLeaf", "unknown_key"]);
    bench.epoch(&new);
    bench.restart();
    assert_eq!(bench.leaf(1, next(&mut chain, &new, 0).bytes()), ["SealedLeaf"]);
    assert_eq!(bench.leaf(2, next(&mut chain, &old, 0).bytes()), ["SealedLeaf"]);
}

#[test]
fn a_leaf_that_comes_again_too_late_to_compare_is_told() {
    let leaves = leaves(ORIGIN, STREAM, &signer(7), REMEMBERED + 1, 0);
    let mut bench = Bench::new();
    for (sequence, leaf) in leaves.iter().enumerate() {
        assert_eq!(bench.leaf(sequence as u64, leaf.bytes()), ["SealedLeaf"]);
    }
    assert_eq!(bench.leaf(1, leaves[1].bytes()), [""; 0]);
    assert_eq!(bench.leaf(0, leaves[0].bytes()), ["SealedLeaf", "repeated"]);
}

#[test]
fn heads_of_all_chains_are_listed_every_so_many_sealed_leaves() {
    let signer = signer(7);
    let mut chains = ["evaluate/1/bbbb", "allocate/0/aaaa", "evaluate/0/aaaa"].map(|name| Chain::new(ORIGIN, name));
    let mut bench = Bench::new();
    let mut sealed = 0;
    for round in 0..2 {
        while sealed < HEADS_EVERY * (round + 1) {
            let chain = &mut chains[(sealed % 3) as usize];
            let (stream, sequence) = (chain.stream().to_string(), chain.head().sequence);
            let leaf = next(chain, &signer, sealed);
            let record = AuditLeaf { stream: &stream, sequence, leaf: leaf.bytes(), payload: None };
            let kinds = bench.step(Payload::AuditLeaf(&record));
            assert_eq!(bench.step(Payload::AuditLeaf(&record)), [""; 0], "a repetition does not count");
            sealed += 1;
            let due = sealed % HEADS_EVERY == 0;
            assert_eq!(kinds, if due { &["SealedLeaf", "StreamHeads"][..] } else { &["SealedLeaf"] });
        }
        bench.restart();
        let (_, key, bytes) = bench.emitted.0.last().expect("heads");
        assert_eq!(key, ORIGIN);
        let heads = StreamHeads::decode(bytes).expect("readable").heads;
        let listed: Vec<_> = heads.iter().map(|head| (head.stream.to_string(), head.sequence + 1, head.hash)).collect();
        let mut wanted: Vec<_> =
            chains.iter().map(|chain| (chain.stream().to_string(), chain.head().sequence, chain.head().hash)).collect();
        wanted.sort();
        assert_eq!(listed, wanted);
    }
}

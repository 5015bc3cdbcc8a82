//! The byte formats against values that another program computed from `src/leaf.rs`'s formulas alone
//! (hashes, JSON and Ed25519 of Python's standard library and `cryptography`).

use merit_audit::{Chain, ChainHead, EmitterKey, Entry, Envelope, LogVerifier, ParsedLeaf, Running, Signer, Source, leaf_hash};
use merit_core::id::Hex;
use merit_core::{EventTime, Kind, List, Uuid};
use serde_json::Value;

fn vectors() -> Value {
    serde_json::from_str(include_str!("data/leaf_v1.json")).expect("JSON")
}

fn text(value: &Value) -> &str {
    value.as_str().expect("a text")
}

fn bytes(value: &Value) -> Vec<u8> {
    let digits: Vec<u8> = text(value).bytes().map(|byte| char::from(byte).to_digit(16).expect("hex") as u8).collect();
    digits.chunks(2).map(|pair| pair[0] << 4 | pair[1]).collect()
}

fn fixed<const N: usize>(value: &Value) -> [u8; N] {
    bytes(value).try_into().expect("that many bytes")
}

fn source(text: &str) -> Source<'_> {
    match text.rsplit_once('#') {
        Some((stream, sequence)) => Source::Inner { stream: stream.into(), sequence: sequence.parse().expect("a number") },
        None => Source::Outside { topic: text.split('/').next().expect("a topic").into(), partition: 0, offset: 0 },
    }
}

#[test]
fn leaves_are_written_byte_for_byte() {
    let vectors = vectors();
    let (origin, stream) = (text(&vectors["origin"]), text(&vectors["stream"]));
    let signer = Signer::new(text(&vectors["key_name"]), &fixed(&vectors["secret"]));
    assert_eq!(signer.public(), fixed(&vectors["public"]));
    assert_eq!(signer.key_id().to_be_bytes(), fixed(&vectors["key_id"]));
    assert_eq!(ChainHead::genesis(origin, stream), ChainHead { sequence: 0, hash: fixed(&vectors["genesis"]) });

    let mut chain = Chain::new(origin, stream);
    let mut verifier = LogVerifier::new(origin, vec![EmitterKey::new(signer.name(), &signer.public()).expect("a key")]);
    for (index, vector) in vectors["leaves"].as_array().expect("leaves").iter().enumerate() {
        let parents: Vec<Uuid> =
            vector["parents"].as_array().expect("ids").iter().map(|id| Uuid::parse(text(id)).expect("an id")).collect();
        let payload = bytes(&vector["payload"]);
        let mut leaf = chain
            .append(&Entry {
                kind: Kind::from_name(text(&vector["kind"])).expect("a type"),
                source: source(text(&vector["src"])),
                time: EventTime(vector["time"].as_i64().expect("a time")),
                actor: "merit",
                auth: "internal",
                subject: text(&vector["subject"]),
                parents: List::Slice(&parents),
                epoch: 0,
                policy: vector["policy"].as_str(),
                schema: fixed(&vector["schema"]),
                payload: &payload,
            })
            .expect("it fits");
        if vector["signed"] == true {
            leaf.sign(&signer);
        }
        assert_eq!(String::from_utf8_lossy(leaf.envelope()), text(&vector["envelope"]));
        assert_eq!(leaf.event_hash(), &fixed(&vector["event_hash"]));
        assert_eq!(Hex(leaf.bytes()).to_string(), text(&vector["leaf"]));
        assert_eq!(leaf_hash(leaf.bytes()), fixed(&vector["leaf_hash"]));
        assert_eq!(chain.head(), ChainHead { sequence: index as u64 + 1, hash: *leaf.event_hash() });

        let parsed: ParsedLeaf<'_> = verifier.leaf(index as u64, leaf.bytes(), Some(&payload)).expect("no fault");
        assert_eq!(parsed.event_hash, *leaf.event_hash());
        let mut again = Vec::new();
        Envelope::parse(leaf.envelope()).expect("canonical").write(&mut again);
        assert_eq!(again, leaf.envelope());
    }
    let outside: Vec<String> = verifier.unresolved().iter().map(Uuid::to_string).collect();
    assert_eq!(outside.len(), 2, "the promotion's parents have no leaf, the verdict's has");
    assert_eq!(verifier.finish(|id| outside.contains(&id.to_string())).expect("no fault").leaves, 3);
}

#[test]
fn running_digests_are_computed_byte_for_byte() {
    let mut running = Running::default();
    running.update(3, b"ab");
    running.update(11, b"");
    assert_eq!(running.seal(), fixed(&vectors()["running"][0]));
    running.update(3, b"c");
    assert_eq!(running.seal(), fixed(&vectors()["running"][1]));
}

/// RFC 6962 section 2.1 and `transparency-dev/merkle` `rfc6962_test.go`.
#[test]
fn leaves_hash_as_in_rfc_6962() {
    for (leaf, hash) in [
        ("", "6e340b9cffb37a989ca544e6bb780a2c78901d3fb33738768511a30617afa01d"),
        ("L123456", "395aa064aa4c29f7010acfe3f25db9485bbd4b91897b6ad7ad547639252b4d56"),
    ] {
        assert_eq!(Hex(&leaf_hash(leaf.as_bytes())).to_string(), hash);
    }
}

/// Checkpoints hold it: another release of the library must not read it differently.
#[test]
fn the_state_between_two_seals_is_written_byte_for_byte() {
    let mut running = Running::default();
    running.update(3, &[b'a'; 40]);
    assert_eq!(*running.state(), *bytes(&vectors()["running_state"]));
    let mut resumed = Running::resume(&bytes(&vectors()["running_state"])).expect("a state");
    assert_eq!(resumed.seal(), running.seal());
}

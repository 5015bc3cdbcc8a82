//! The envelope's JSON against `serde_json`, and what its reader refuses.

use merit_audit::{Envelope, Source, leaf_type};
use merit_core::{EventTime, Kind, Uuid};
use proptest::prelude::*;
use serde_json::{Map, Value, json};
use std::borrow::Cow;

fn written(envelope: &Envelope<'_>) -> Vec<u8> {
    let mut bytes = Vec::new();
    envelope.write(&mut bytes);
    bytes
}

fn sample() -> Envelope<'static> {
    Envelope {
        actor: "merit".into(),
        auth: "internal".into(),
        epoch: 3,
        log: "merit.example/audit".into(),
        parents: vec![Uuid::of_record("a", 1), Uuid::of_record("b", 2)].into(),
        payload: [0xab; 32],
        payload_length: 17,
        policy: Some("confidence".into()),
        prev: [1; 32],
        schema: [2; 32],
        sequence: 40,
        source: Source::Inner { stream: "allocate/policy-gate/0/cd".into(), sequence: 7 },
        stream: "allocate/0/cd".into(),
        subject: "gpus-us-east".into(),
        time: EventTime(1_737_136_800_123),
        leaf_type: leaf_type(Kind::PolicyDecided).into(),
    }
}

/// The same envelope through another JSON writer, which escapes texts as RFC 8785 does.
fn by_serde(envelope: &Envelope<'_>) -> String {
    let hex = |bytes: &[u8]| merit_core::id::Hex(bytes).to_string();
    let mut object = Map::new();
    let mut put = |key: &str, value: Value| object.insert(key.into(), value);
    put("actor", json!(envelope.actor));
    put("auth", json!(envelope.auth));
    put("ct", json!("avro/binary"));
    put("epoch", json!(envelope.epoch));
    put("id", json!(envelope.source.id().to_string()));
    put("log", json!(envelope.log));
    put("parents", envelope.parents.iter().map(|id| Value::from(id.to_string())).collect());
    put("payload", json!(hex(&envelope.payload)));
    put("plen", json!(envelope.payload_length));
    if let Some(policy) = &envelope.policy {
        put("policy", json!(policy));
    }
    put("prev", json!(hex(&envelope.prev)));
    put("schema", json!(hex(&envelope.schema)));
    put("seq", json!(envelope.sequence));
    put("src", json!(envelope.source.to_string()));
    put("stream", json!(envelope.stream));
    put("subject", json!(envelope.subject));
    put("ts", json!(envelope.time.to_string()));
    put("type", json!(envelope.leaf_type));
    put("v", json!(1));
    let mut sorted: Vec<&String> = object.keys().collect();
    sorted.sort_by(|a, b| a.encode_utf16().cmp(b.encode_utf16()));
    assert!(object.keys().eq(sorted), "keys stand in the order of RFC 8785");
    serde_json::to_string(&object).expect("JSON")
}

/// Any characters, the ones that JSON escapes often.
fn any_text() -> impl Strategy<Value = Cow<'static, str>> {
    let character = prop_oneof![proptest::char::range('\0', '\u{80}'), any::<char>()];
    proptest::collection::vec(character, 0..12).prop_map(|characters| String::from_iter(characters).into())
}

prop_compose! {
    fn any_source()(name in any_text(), outside: bool, partition: u32, number: u64) -> Source<'static> {
        if outside {
            let topic = name.replace(['#', '/'], "").into();
            Source::Outside { topic, partition, offset: number }
        } else {
            let stream = name.replace('#', "").into();
            Source::Inner { stream, sequence: number }
        }
    }
}

prop_compose! {
    fn any_envelope()(
        texts in proptest::array::uniform7(any_text()),
        numbers in proptest::array::uniform3(0..1_u64 << 53),
        digests: [[u8; 32]; 3],
        parents: Vec<u64>,
        policy: bool,
        source in any_source(),
        time in 0..=EventTime::LATEST.0,
    ) -> Envelope<'static> {
        let [actor, auth, log, stream, subject, leaf_type, name] = texts;
        Envelope {
            actor, auth, log, stream, subject, leaf_type, source,
            epoch: numbers[0], payload_length: numbers[1], sequence: numbers[2],
            parents: parents.iter().map(|n| Uuid::of_record("p", *n)).collect(),
            payload: digests[0], prev: digests[1], schema: digests[2],
            policy: policy.then_some(name),
            time: EventTime(time),
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn envelopes_are_rfc_8785_and_round_trip(envelope in any_envelope()) {
        let bytes = written(&envelope);
        prop_assert_eq!(String::from_utf8_lossy(&bytes), by_serde(&envelope));
        prop_assert_eq!(Envelope::parse(&bytes), Ok(envelope));
    }

    /// Whatever single edit the reader lets through is itself canonical.
    #[test]
    fn what_is_read_is_written_back(envelope in any_envelope(), at: prop::sample::Index, byte: u8, edit in 0..3) {
        let mut bytes = written(&envelope);
        let at = at.index(bytes.len());
        match edit {
            0 => bytes[at] = byte,
            1 => bytes.insert(at, byte),
            _ => drop(bytes.remove(at)),
        }
        if let Ok(read) = Envelope::parse(&bytes) {
            prop_assert_eq!(written(&read), bytes.clone());
            prop_assert_eq!(by_serde(&read).into_bytes(), bytes);
        }
    }
}

/// Each row replaces the first text by the second.
#[test]
fn other_spellings_are_refused() {
    let good = String::from_utf8(written(&sample())).expect("UTF-8");
    assert_eq!(Envelope::parse(good.as_bytes()), Ok(sample()));
    for (part, other) in [
        ("{\"actor\"", "{ \"actor\""),                                                              // white space
        ("\"v\":1}", "\"v\":1}\n"),                                                                 // more behind the end
        ("\"v\":1}", "\"v\":1,\"x\":1}"),                                                           // unknown key
        ("\"auth\":", "\"actor\":\"merit\",\"auth\":"),                                             // doubled key
        ("\"auth\":\"internal\",", ""),                                                             // missing key
        ("\"actor\":\"merit\",\"auth\":\"internal\"", "\"auth\":\"internal\",\"actor\":\"merit\""), // other order
        ("\"policy\":\"confidence\"", "\"policy\":null"),                                           // null
        ("\"epoch\":3", "\"epoch\":3.0"),                                                           // float
        ("\"epoch\":3", "\"epoch\":3e0"),                                                           // exponent
        ("\"epoch\":3", "\"epoch\":03"),                                                            // leading zero
        ("\"epoch\":3", "\"epoch\":-3"),                                                            // negative
        ("\"epoch\":3", "\"epoch\":\"3\""),                                                         // a text
        ("\"epoch\":3", "\"epoch\":9007199254740992"),                                              // 2^53
        ("\"epoch\":3", "\"epoch\":99999999999999999999"),                                          // over 64 bits
        ("\"v\":1", "\"v\":2"),                                                                     // another version
        ("avro/binary", "application/json"),                                                        // another encoding
        ("avro/binary", "avro\\/binary"),                                                           // needless escape
        ("\"merit\"", "\"mer\\u0069t\""),                                                           // needless escape
        ("\"merit\"", "\"mer\\u000At\""),                                                           // upper-case escape
        ("\"merit\"", "\"mer\\u000at\""),              // a long escape where a short one exists
        ("\"merit\"", "\"mer\\u001Ft\""),              // upper-case digits
        ("\"merit\"", "\"mer\\ud800t\""),              // half a character
        ("\"merit\"", "\"mer\\"),                      // cut inside an escape
        ("\"merit\"", "\"mer\nt\""),                   // control character as it is
        ("abab", "ABab"),                              // upper-case digest
        ("abab", "ab"),                                // short digest
        ("abab", "zbab"),                              // no digit
        ("2025-01-17T18", "2025-01-17 18"),            // another time format
        ("2025-01-17T18", "2025-02-30T18"),            // a day that does not exist
        ("2025-01-17T18", "1969-12-31T18"),            // before 1970
        ("18:00:00.123Z", "17:60:00.123Z"),            // a minute that does not exist
        ("policy-gate/0/cd#7", "policy-gate/0/cd#07"), // leading zero
        ("policy-gate/0/cd#7", "policy-gate/0/cd#8"),  // id of another record
        ("policy-gate/0/cd#7", "policy-gate"),         // no source
    ] {
        let bad = good.replacen(part, other, 1);
        assert_ne!(bad, good, "{part}");
        assert!(Envelope::parse(bad.as_bytes()).is_err(), "{bad}");
    }
    assert!(Envelope::parse(&[b'{', 0xff]).is_err());
    assert!((0..good.len()).all(|length| Envelope::parse(&good.as_bytes()[..length]).is_err()));
}

#[test]
fn types_are_named_after_their_records() {
    for kind in Kind::ALL {
        let name = leaf_type(*kind).split('.').map(|word| word[..1].to_uppercase() + &word[1..]).collect::<String>();
        assert_eq!(name, kind.name());
    }
}

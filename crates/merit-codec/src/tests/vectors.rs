//! `schemas/vectors/<record>.json`: JSON and bytes that belong together, for implementations in other languages.

use super::*;
use crate::{from_json, to_json};
use merit_core::id::Hex;
use sample::Sample;
use serde_json::json;

/// The vectors of a record type.
fn vectors(kind: Kind) -> Vec<(Value, Vec<u8>)> {
    let list = read_value(&format!("vectors/{}.json", kind.name()));
    let vector = |vector: &Value| (vector["json"].clone(), unhex(vector["hex"].as_str().expect("hex")));
    list.as_array().expect("a list").iter().map(vector).collect()
}

/// The text of a new vector file.
pub(super) fn generated(kind: Kind) -> String {
    let vector = |mut sample: Sample| {
        let value = sample.value("", kind.shape());
        let bytes = from_json(kind.shape(), &value).expect("a value of the shape");
        json!({"json": value, "hex": Hex(&bytes).to_string()})
    };
    format!("{:#}\n", json!([vector(Sample::full()), vector(Sample::bare())]))
}

fn unhex(text: &str) -> Vec<u8> {
    let byte = |at| u8::from_str_radix(&text[at..at + 2], 16).expect("hex");
    (0..text.len()).step_by(2).map(byte).collect()
}

#[test]
fn vectors_hold_in_both_directions_and_elsewhere() {
    for kind in Kind::ALL {
        let vectors = vectors(*kind);
        assert!(vectors.len() >= 2, "{}", kind.name());
        for (value, bytes) in vectors {
            assert_eq!(from_json(kind.shape(), &value).as_ref(), Ok(&bytes), "{}", kind.name());
            assert_eq!(to_json(kind.shape(), &bytes).as_ref(), Some(&value), "{}", kind.name());
            assert_eq!(oracle::through_avro(&avro(*kind), &bytes), bytes, "{}", kind.name());
            assert_eq!(oracle::through_record(*kind, &bytes), Some(bytes), "{}", kind.name());
        }
    }
}

#[test]
fn every_vector_file_has_a_record_type() {
    for entry in std::fs::read_dir(path("vectors")).expect("schemas/vectors/") {
        let name = entry.expect("entry").file_name().into_string().expect("a name in UTF-8");
        let record = name.strip_suffix(".json").unwrap_or_else(|| panic!("schemas/vectors/{name}: not a vector file"));
        assert!(Kind::from_name(record).is_some(), "schemas/vectors/{name}: no such record type");
    }
}

#[test]
fn damaged_bytes_never_give_the_same_value() {
    for kind in Kind::ALL {
        for (value, bytes) in vectors(*kind) {
            for length in 0..bytes.len() {
                assert_eq!(to_json(kind.shape(), &bytes[..length]), None, "{} cut at {length}", kind.name());
                assert_eq!(oracle::through_record(*kind, &bytes[..length]), None, "{} cut at {length}", kind.name());
            }
            for more in [0, 2, 255] {
                let longer = [&bytes[..], &[more]].concat();
                assert_eq!(to_json(kind.shape(), &longer), None, "{} and {more}", kind.name());
                assert_eq!(oracle::through_record(*kind, &longer), None, "{} and {more}", kind.name());
            }
            for bit in 0..bytes.len() * 8 {
                let mut flipped = bytes.clone();
                flipped[bit / 8] ^= 1 << (bit % 8);
                assert_ne!(to_json(kind.shape(), &flipped).as_ref(), Some(&value), "{} bit {bit}", kind.name());
                let again = oracle::through_record(*kind, &flipped);
                assert!(again.is_none_or(|again| again == flipped), "{} bit {bit}", kind.name());
            }
        }
    }
}

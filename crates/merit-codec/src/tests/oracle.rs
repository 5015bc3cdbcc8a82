//! Another implementation of Avro reads and writes the same bytes.

use super::*;
use crate::{from_json, to_json, write_json};
use apache_avro::reader::datum::GenericDatumReader;
use apache_avro::writer::datum::GenericDatumWriter;
use merit_core::Payload;
use proptest::prelude::*;

/// The bytes after another implementation read and wrote them.
pub(super) fn through_avro(schema: &apache_avro::Schema, mut bytes: &[u8]) -> Vec<u8> {
    let value = GenericDatumReader::builder(schema).build().expect("a reader").read_value(&mut bytes).expect("readable");
    assert!(bytes.is_empty(), "{} bytes are left", bytes.len());
    GenericDatumWriter::builder(schema).build().expect("a writer").write_value_to_vec(value).expect("writable")
}

/// The bytes after the record read and wrote them.
pub(super) fn through_record(kind: Kind, bytes: &[u8]) -> Option<Vec<u8>> {
    Payload::decode(kind, bytes, |payload| {
        let mut out = Vec::new();
        payload.put(&mut out);
        out
    })
}

/// A record type and a value of it.
fn any_record(longs: std::ops::Range<i64>) -> impl Strategy<Value = (Kind, Value)> {
    let kinds = prop::sample::select(Kind::ALL);
    kinds.prop_flat_map(move |kind| (Just(kind), sample::any_value(kind.shape(), longs.clone())))
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 2_000, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn bytes_are_those_of_another_implementation_and_of_the_record((kind, value) in any_record(0..i64::from(u32::MAX))) {
        let bytes = from_json(kind.shape(), &value).expect("a value of the shape");
        prop_assert_eq!(&through_avro(&avro(kind), &bytes), &bytes);
        prop_assert_eq!(through_record(kind, &bytes), Some(bytes.clone()));
        prop_assert_eq!(to_json(kind.shape(), &bytes), Some(value));
    }

    /// Unsigned fields refuse what the schema allows; what they take stays as it is.
    #[test]
    fn longs_outside_a_field_are_refused_and_never_changed((kind, value) in any_record(i64::MIN..i64::MAX)) {
        let bytes = from_json(kind.shape(), &value).expect("a value of the shape");
        prop_assert_eq!(&through_avro(&avro(kind), &bytes), &bytes);
        if let Some(again) = through_record(kind, &bytes) {
            prop_assert_eq!(again, bytes);
        }
    }

    #[test]
    fn no_bytes_panic(kind in prop::sample::select(Kind::ALL), bytes: Vec<u8>) {
        let mut text = String::from("before");
        match write_json(kind.shape(), &bytes, &mut text) {
            Some(()) => prop_assert!(text.len() > 6),
            None => prop_assert_eq!(&text, "before"),
        }
        if let Some(value) = to_json(kind.shape(), &bytes) {
            prop_assert_eq!(from_json(kind.shape(), &value), Ok(bytes));
        }
    }
}

//! Rust records and schema files agree, in both directions.

use super::*;
use crate::{canonical_form, fingerprint, incompatibilities, schema};
use apache_avro::schema::{Schema, UuidSchema};
use merit_core::Shape;
use sha2::Sha256;
use std::collections::BTreeMap;

/// The text of a current schema file.
pub(super) fn generated(kind: Kind) -> String {
    format!("{:#}\n", schema(kind))
}

#[test]
fn every_record_type_has_the_schema_file_that_its_shape_gives() {
    for kind in Kind::ALL {
        let name = format!("{}.avsc", kind.name());
        assert_eq!(read(&name), generated(*kind), "schemas/{name}; UPDATE_EXPECT=1 rewrites it");
    }
}

#[test]
fn every_schema_file_has_a_record_type_of_the_same_fields() {
    for (record, version, name) in files() {
        let kind = Kind::from_name(&record).unwrap_or_else(|| panic!("schemas/{name}: no such record type"));
        if version.is_none() {
            let parsed = Schema::parse_str(&read(&name)).unwrap_or_else(|error| panic!("schemas/{name}: {error}"));
            assert_same(&name, kind.shape(), &parsed, &mut BTreeMap::new());
        }
    }
}

/// Walks a schema as another implementation understands it along the shape.
fn assert_same(at: &str, shape: &Shape, schema: &Schema, named: &mut BTreeMap<String, Schema>) {
    if let Schema::Ref { name } = schema {
        let definition = named.get(&name.fullname(None)).cloned().unwrap_or_else(|| panic!("{at}: {name:?} is not defined before"));
        return assert_same(at, shape, &definition, named);
    }
    if let Some(name) = schema.name() {
        named.insert(name.fullname(None), schema.clone());
    }
    let name = schema.name().map(|name| name.fullname(None)).unwrap_or_default();
    match (shape, schema) {
        (Shape::Boolean, Schema::Boolean)
        | (Shape::Long | Shape::Fixed, Schema::Long)
        | (Shape::Double, Schema::Double)
        | (Shape::Time, Schema::TimestampMillis)
        | (Shape::Text, Schema::String)
        | (Shape::Bytes, Schema::Bytes) => {}
        (Shape::Octets(size), Schema::Fixed(fixed)) => assert_eq!((name, fixed.size), (format!("merit.Fixed{size}"), *size), "{at}"),
        (Shape::Uuid, Schema::Uuid(UuidSchema::Fixed(fixed))) => assert_eq!((name.as_str(), fixed.size), ("merit.Uuid", 16), "{at}"),
        (Shape::Enum(symbolic, symbols), Schema::Enum(found)) => {
            assert_eq!(name, format!("merit.{symbolic}"), "{at}");
            assert_eq!(found.symbols, *symbols, "{at}");
        }
        (Shape::Record(record, fields), Schema::Record(found)) => {
            assert_eq!(name, format!("merit.{record}"), "{at}");
            assert_eq!(found.fields.len(), fields.len(), "{at}");
            for (field, found) in fields.iter().zip(&found.fields) {
                let at = format!("{at}.{}", field.name);
                assert_eq!(found.name.to_lowercase(), field.name.replace('_', ""), "{at}");
                assert_eq!(found.default.is_some(), matches!(field.shape, Shape::Optional(_)), "{at}");
                assert_same(&at, field.shape, &found.schema, named);
            }
        }
        (Shape::List(item), Schema::Array(array)) => assert_same(&format!("{at}[]"), item, &array.items, named),
        (Shape::Optional(inner), Schema::Union(union)) => {
            assert_eq!(union.variants()[0], Schema::Null, "{at}");
            assert_eq!(union.variants().len(), 2, "{at}");
            assert_same(at, inner, &union.variants()[1], named);
        }
        (shape, schema) => panic!("{at}: {shape:?} is {schema:?}"),
    }
}

#[test]
fn a_name_means_one_type_in_all_records() {
    fn collect(shape: &'static Shape, named: &mut BTreeMap<&'static str, &'static Shape>) {
        match shape {
            Shape::Enum(name, _) | Shape::Record(name, _) => assert_eq!(*named.entry(name).or_insert(shape), shape),
            Shape::Boolean | Shape::Long | Shape::Double | Shape::Fixed | Shape::Time => {}
            Shape::Text | Shape::Bytes | Shape::Octets(_) | Shape::Uuid | Shape::List(_) | Shape::Optional(_) => {}
        }
        match shape {
            Shape::Record(_, fields) => fields.iter().for_each(|field| collect(field.shape, named)),
            Shape::List(inner) | Shape::Optional(inner) => collect(inner, named),
            Shape::Boolean | Shape::Long | Shape::Double | Shape::Fixed | Shape::Time | Shape::Text => {}
            Shape::Bytes | Shape::Octets(_) | Shape::Uuid | Shape::Enum(..) => {}
        }
    }
    let mut named = BTreeMap::new();
    Kind::ALL.iter().for_each(|kind| collect(kind.shape(), &mut named));
}

#[test]
fn every_schema_reads_every_kept_version() {
    let mut next = BTreeMap::new();
    for (record, version, name) in files() {
        let Some(version) = version else { continue };
        let due = next.entry(record.clone()).or_insert(1);
        assert_eq!(version, *due, "schemas/{name}: versions are kept without a gap");
        *due += 1;
        let problems = incompatibilities(&read_value(&format!("{record}.avsc")), &read_value(&name));
        assert_eq!(problems, Vec::<String>::new(), "schemas/{record}.avsc does not read schemas/{name}");
    }
    assert!(!next.is_empty(), "no version is kept");
}

/// NB: apache-avro 0.22 leaves `{"type":"long"}` of a logical type; the specification's PRIMITIVE rule makes that `"long"`.
#[test]
fn canonical_forms_and_fingerprints_are_those_of_another_implementation() {
    for kind in Kind::ALL {
        let theirs = avro(*kind).canonical_form().replace(r#"{"type":"long"}"#, r#""long""#);
        assert_eq!(canonical_form(&schema(*kind)), theirs, "{}", kind.name());
        let reparsed = Schema::parse_str(&theirs).expect("a canonical form is a schema");
        assert_eq!(fingerprint(*kind).to_vec(), reparsed.fingerprint::<Sha256>().bytes, "{}", kind.name());
    }
}

#[test]
fn a_canonical_form_keeps_what_a_parser_needs() {
    let written = serde_json::json!({
        "doc": "gone", "fields": [
            {"type": {"type": "int", "logicalType": "date"}, "name": "day", "default": 0, "aliases": ["d"]},
            {"name": "key", "type": {"size": 4, "type": "fixed", "name": "other.Key"}},
            {"name": "keys", "type": {"items": ["null", "other.Key"], "type": "array"}},
            {"name": "more", "type": {"values": "Row", "type": "map"}},
        ], "namespace": "n", "name": "Row", "type": "record",
    });
    assert_eq!(
        canonical_form(&written),
        concat!(
            r#"{"name":"n.Row","type":"record","fields":[{"name":"day","type":"int"},"#,
            r#"{"name":"key","type":{"name":"other.Key","type":"fixed","size":4}},"#,
            r#"{"name":"keys","type":{"type":"array","items":["null","other.Key"]}},"#,
            r#"{"name":"more","type":{"type":"map","values":"n.Row"}}]}"#
        )
    );
}

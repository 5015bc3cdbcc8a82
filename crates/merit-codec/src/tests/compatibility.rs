//! The compatibility check fails where it must.

use crate::incompatibilities;
use apache_avro::Schema;
use apache_avro::schema_compatibility::{Compatibility, SchemaCompatibility};
use serde_json::{Value, json};

/// The released version that all evolutions below start from.
fn released() -> Value {
    json!({"type": "record", "name": "Row", "namespace": "merit", "fields": [
        {"name": "id", "type": {"type": "fixed", "name": "Fixed8", "size": 8}},
        {"name": "bytes", "type": "bytes"},
        {"name": "score", "type": {"type": "long", "scale": 6}},
        {"name": "state", "type": {"type": "enum", "name": "State", "symbols": ["Open", "Hold"]}},
        {"name": "note", "type": ["null", "string"], "default": null},
        {"name": "parts", "type": {"type": "array", "items": {"type": "record", "name": "Part", "fields": [
            {"name": "state", "type": "State"},
        ]}}},
    ]})
}

/// The released version with one value replaced, by JSON pointer.
fn with(pointer: &str, value: Value) -> Value {
    let mut schema = released();
    *schema.pointer_mut(pointer).unwrap_or_else(|| panic!("{pointer}")) = value;
    schema
}

fn with_field(field: Value) -> Value {
    let mut schema = released();
    schema["fields"].as_array_mut().expect("fields").push(field);
    schema
}

fn without_field(name: &str) -> Value {
    let mut schema = released();
    schema["fields"].as_array_mut().expect("fields").retain(|field| field["name"] != name);
    schema
}

/// Avro's own rules, by another implementation: full compatibility or not.
fn avro_reads(reader: &Value, writer: &Value) -> bool {
    let parse = |schema| Schema::parse(schema).expect("a schema");
    SchemaCompatibility::can_read(&parse(writer), &parse(reader)) == Ok(Compatibility::Full)
}

fn check(reader: &Value, writer: &Value, problems: &[&str]) {
    assert_eq!(incompatibilities(reader, writer), problems, "{reader}");
}

#[test]
fn evolutions_that_read_the_released_version_pass() {
    for evolved in [
        released(),
        with_field(json!({"name": "more", "type": ["null", "long"], "default": null})),
        with_field(json!({"name": "more", "type": "long", "default": 0})),
        without_field("note"),
        without_field("bytes"),
        with("/fields/1/type", json!(["null", "bytes"])), // becomes optional
        with("/fields/3/type/symbols", json!(["Hold", "Open", "Closed"])),
    ] {
        check(&evolved, &released(), &[]);
        assert!(avro_reads(&evolved, &released()), "{evolved}");
    }
}

#[test]
fn evolutions_that_break_the_released_version_are_refused() {
    for (evolved, problem) in [
        (with_field(json!({"name": "more", "type": "long"})), "more: is new and has no default"),
        (with_field(json!({"name": "more", "type": ["null", "long"]})), "more: is new and has no default"),
        (with("/fields/1/name", json!("octets")), "octets: is new and has no default"), // renamed
        (with("/fields/1/type", json!("long")), "bytes: long cannot read bytes"),
        (with("/fields/0/type/size", json!(9)), "id: fixed Fixed8 size 9 cannot read fixed Fixed8 size 8"),
        (with("/fields/3/type/symbols", json!(["Open"])), "state: symbol \"Hold\" is gone"),
        (with("/fields/4", json!({"name": "note", "type": "string"})), "note: null was allowed and is no longer"), // becomes required
        (with("/fields/4/type/1", json!("long")), "note: string was allowed and is no longer"),
        (with("/fields/5/type/items/fields/0/type", json!("string")), "parts[].state: string cannot read enum State"),
        (with("/name", json!("Line")), "record Line cannot read record Row"),
    ] {
        let found = incompatibilities(&evolved, &released());
        // A symbol that is gone counts where the enum is defined and wherever it is named.
        assert_eq!(found.first().map(String::as_str), Some(problem), "{evolved}");
        assert!(!avro_reads(&evolved, &released()), "{evolved}");
    }
}

/// Here Merit is stricter than Avro: the bytes could be read and would mean something else.
#[test]
fn a_changed_meaning_is_refused() {
    for (evolved, problem) in [
        (with("/fields/2/type", json!("long")), "score: long cannot read long scale 6"),
        (with("/fields/2/type/scale", json!(3)), "score: long scale 3 cannot read long scale 6"),
        (
            with("/fields/2/type", json!({"type": "long", "logicalType": "timestamp-millis"})),
            "score: long timestamp-millis cannot read long scale 6",
        ),
        (with("/fields/1/type", json!("string")), "bytes: string cannot read bytes"),
    ] {
        check(&evolved, &released(), &[problem]);
        assert!(avro_reads(&evolved, &released()), "{evolved}");
    }
}

/// BACKWARD looks one way only: what an old reader makes of new bytes is another question.
#[test]
fn a_new_symbol_is_refused_by_the_old_reader_only() {
    let evolved = with("/fields/3/type/symbols", json!(["Open", "Hold", "Closed"]));
    check(&evolved, &released(), &[]);
    check(&released(), &evolved, &["state: symbol \"Closed\" is gone", "parts[].state: symbol \"Closed\" is gone"]);
}

#[test]
fn every_problem_is_named() {
    let evolved = json!({"type": "record", "name": "Row", "namespace": "merit", "fields": [
        {"name": "id", "type": "string"},
        {"name": "more", "type": "long"},
    ]});
    check(&evolved, &released(), &["id: string cannot read fixed Fixed8 size 8", "more: is new and has no default"]);
}

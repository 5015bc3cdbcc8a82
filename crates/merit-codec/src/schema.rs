//! Shapes as Avro schemas.
//!
//! | [`Shape`] | Avro |
//! |---|---|
//! | `Boolean`, `Long`, `Double`, `Text`, `Bytes` | `boolean`, `long`, `double`, `string`, `bytes` |
//! | `Fixed` | `long` with `"scale": 6`: units of 1e-6 |
//! | `Time` | `long` with `"logicalType": "timestamp-millis"` |
//! | `Octets(n)` | `fixed` of n bytes, named `Fixed` and n |
//! | `Uuid` | `fixed` of 16 bytes named `Uuid`, `"logicalType": "uuid"` |
//! | `Enum`, `Record` | of the same name, fields in camel case, in the order of the struct |
//! | `List` | `array` |
//! | `Optional` | union of `null` and the other, and `null` is the field's default |
//!
//! A named type is defined where it comes first and named after that; all are in namespace `merit`.

use merit_core::{Fixed, Kind, Shape};
use serde_json::{Map, Value, json};
use std::collections::BTreeSet;

/// Namespace of every named type.
const NAMESPACE: &str = "merit";

/// The Avro schema of a record type, as `schemas/` keeps it.
pub fn schema(kind: Kind) -> Value {
    describe(kind.shape(), &mut BTreeSet::new())
}

/// The camel case of a Rust field name: `agent_id` is `agentId`.
pub(crate) fn camel_case(name: &str) -> impl Iterator<Item = char> {
    let mut raise = false;
    name.chars().filter_map(move |letter| {
        let shown = if raise { letter.to_ascii_uppercase() } else { letter };
        raise = letter == '_';
        (!raise).then_some(shown)
    })
}

fn describe(shape: &Shape, defined: &mut BTreeSet<String>) -> Value {
    match shape {
        Shape::Boolean => json!("boolean"),
        Shape::Long => json!("long"),
        Shape::Double => json!("double"),
        Shape::Fixed => json!({"type": "long", "scale": Fixed::DECIMALS}),
        Shape::Time => json!({"type": "long", "logicalType": "timestamp-millis"}),
        Shape::Text => json!("string"),
        Shape::Bytes => json!("bytes"),
        Shape::Octets(size) => named("fixed", &format!("Fixed{size}"), defined, |_| vec![("size", json!(size))]),
        Shape::Uuid => named("fixed", "Uuid", defined, |_| vec![("size", json!(16)), ("logicalType", json!("uuid"))]),
        Shape::Enum(name, symbols) => named("enum", name, defined, |_| vec![("symbols", json!(symbols))]),
        Shape::Record(name, fields) => named("record", name, defined, |defined| {
            let fields = fields.iter().map(|field| describe_field(field.name, field.shape, defined));
            vec![("fields", fields.collect())]
        }),
        Shape::List(item) => json!({"type": "array", "items": describe(item, defined)}),
        Shape::Optional(inner) => json!(["null", describe(inner, defined)]),
    }
}

fn describe_field(name: &str, shape: &Shape, defined: &mut BTreeSet<String>) -> Value {
    let mut field = Map::new();
    field.insert("name".into(), camel_case(name).collect::<String>().into());
    field.insert("type".into(), describe(shape, defined));
    if matches!(shape, Shape::Optional(_)) {
        field.insert("default".into(), Value::Null);
    }
    Value::Object(field)
}

/// The definition of a named type, or its name where it was defined before.
/// The outermost definition carries the namespace; the others are inside it.
fn named(
    type_name: &str,
    name: &str,
    defined: &mut BTreeSet<String>,
    attributes: impl FnOnce(&mut BTreeSet<String>) -> Vec<(&'static str, Value)>,
) -> Value {
    let outermost = defined.is_empty();
    if !defined.insert(name.into()) {
        return name.into();
    }
    let mut definition = Map::new();
    definition.insert("type".into(), type_name.into());
    definition.insert("name".into(), name.into());
    if outermost {
        definition.insert("namespace".into(), NAMESPACE.into());
    }
    definition.extend(attributes(defined).into_iter().map(|(key, value)| (key.into(), value)));
    Value::Object(definition)
}

//! Fingerprints of schemas: SHA-256 of the Parsing Canonical Form (Avro 1.12 specification, "Parsing Canonical Form for Schemas").

use crate::schema;
use merit_core::{Digest, Kind};
use serde_json::{Map, Value};
use sha2::{Digest as _, Sha256};
use std::collections::BTreeMap;
use std::sync::OnceLock;

const PRIMITIVES: [&str; 8] = ["null", "boolean", "int", "long", "float", "double", "bytes", "string"];

/// The fingerprint of a record type's schema; reckoned once a process.
pub fn fingerprint(kind: Kind) -> Digest {
    static FINGERPRINTS: OnceLock<BTreeMap<Kind, Digest>> = OnceLock::new();
    let reckon = || Kind::ALL.iter().map(|kind| (*kind, Sha256::digest(canonical_form(&schema(*kind))).into())).collect();
    FINGERPRINTS.get_or_init(reckon)[&kind]
}

/// The Parsing Canonical Form of a valid schema: what is left of it when everything that does not matter to a parser is gone.
pub fn canonical_form(schema: &Value) -> String {
    canonical(schema, "")
}

fn canonical(schema: &Value, namespace: &str) -> String {
    match schema {
        Value::String(name) if PRIMITIVES.contains(&name.as_str()) => quoted(name),
        Value::String(name) => quoted(&full_name(name, namespace)),
        Value::Array(branches) => listed(branches, |branch| canonical(branch, namespace)),
        Value::Object(attributes) => canonical_object(attributes, namespace),
        // No schema; shown as it is.
        Value::Null | Value::Bool(_) | Value::Number(_) => schema.to_string(),
    }
}

/// A type in braces. Only the attributes that count, in the order that the specification gives them.
fn canonical_object(attributes: &Map<String, Value>, enclosing: &str) -> String {
    let namespace = attributes.get("namespace").and_then(Value::as_str).unwrap_or(enclosing);
    let name = attributes.get("name").and_then(Value::as_str).map(|name| full_name(name, namespace));
    // A dotted name brings its own namespace.
    let namespace = name.as_deref().and_then(|name| name.rsplit_once('.')).map_or(namespace, |(namespace, _)| namespace);
    let type_name = attributes.get("type").unwrap_or(&Value::Null);
    if type_name.as_str().is_none_or(|name| PRIMITIVES.contains(&name)) {
        return canonical(type_name, namespace);
    }
    let parts = [
        name.as_deref().map(|name| format!("\"name\":{}", quoted(name))),
        Some(format!("\"type\":{type_name}")),
        attributes.get("fields").and_then(Value::as_array).map(|fields| {
            let field = |field: &Value| format!("{{\"name\":{},\"type\":{}}}", field["name"], canonical(&field["type"], namespace));
            format!("\"fields\":{}", listed(fields, field))
        }),
        attributes.get("symbols").map(|symbols| format!("\"symbols\":{symbols}")),
        attributes.get("items").map(|items| format!("\"items\":{}", canonical(items, namespace))),
        attributes.get("values").map(|values| format!("\"values\":{}", canonical(values, namespace))),
        attributes.get("size").map(|size| format!("\"size\":{size}")),
    ];
    format!("{{{}}}", parts.into_iter().flatten().collect::<Vec<_>>().join(","))
}

fn full_name(name: &str, namespace: &str) -> String {
    if name.contains('.') || namespace.is_empty() { name.into() } else { format!("{namespace}.{name}") }
}

fn quoted(text: &str) -> String {
    Value::from(text).to_string()
}

fn listed(items: &[Value], each: impl Fn(&Value) -> String) -> String {
    format!("[{}]", items.iter().map(each).collect::<Vec<_>>().join(","))
}

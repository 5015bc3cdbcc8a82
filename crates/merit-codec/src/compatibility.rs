//! Whether a schema reads what an older one wrote.
//!
//! Avro's rules for schema resolution, and stricter in two points, because a value that changes its meaning in silence is worse than
//! one that cannot be read: no promotions (`long` to `double`, `string` to `bytes`), and a scale or logical type stays as it is.
//! Aliases do not count: a renamed field is another field.

use serde_json::Value;
use std::collections::BTreeMap;

/// Everything that keeps `reader` from reading all values written with `writer`, each with the path of the field; empty where it can.
/// Both are valid schemas without recursion.
pub fn incompatibilities(reader: &Value, writer: &Value) -> Vec<String> {
    let mut pair = Pair { reader: definitions(reader), writer: definitions(writer), problems: Vec::new() };
    pair.compare("", reader, writer);
    pair.problems
}

/// Named types by name.
type Definitions<'a> = BTreeMap<&'a str, &'a Value>;

struct Pair<'a> {
    reader: Definitions<'a>,
    writer: Definitions<'a>,
    problems: Vec<String>,
}

impl<'a> Pair<'a> {
    fn compare(&mut self, path: &str, reader: &'a Value, writer: &'a Value) {
        let (reader, writer) = (resolve(reader, &self.reader), resolve(writer, &self.writer));
        match (reader, writer) {
            (Value::Array(_), _) | (_, Value::Array(_)) => self.compare_unions(path, branches(reader), branches(writer)),
            _ if label(reader) != label(writer) => self.report(path, &format!("{} cannot read {}", label(reader), label(writer))),
            _ => self.compare_parts(path, reader, writer),
        }
    }

    /// Every branch of the writer needs one of the reader.
    fn compare_unions(&mut self, path: &str, reader: &'a [Value], writer: &'a [Value]) {
        for branch in writer {
            let written = label(resolve(branch, &self.writer));
            match reader.iter().find(|candidate| label(resolve(candidate, &self.reader)) == written) {
                Some(same) => self.compare(path, same, branch),
                None => self.report(path, &format!("{written} was allowed and is no longer")),
            }
        }
    }

    /// Two types of one label: what is inside them.
    fn compare_parts(&mut self, path: &str, reader: &'a Value, writer: &'a Value) {
        for symbol in list(writer, "symbols") {
            if !list(reader, "symbols").contains(symbol) {
                self.report(path, &format!("symbol {symbol} is gone"));
            }
        }
        for field in list(reader, "fields") {
            let inner = format!("{path}.{}", field["name"].as_str().unwrap_or_default());
            match list(writer, "fields").iter().find(|written| written["name"] == field["name"]) {
                Some(written) => self.compare(&inner, &field["type"], &written["type"]),
                None if field.get("default").is_none() => self.report(&inner, "is new and has no default"),
                None => {}
            }
        }
        if let (Some(reader), Some(writer)) = (reader.get("items"), writer.get("items")) {
            self.compare(&format!("{path}[]"), reader, writer);
        }
    }

    fn report(&mut self, path: &str, problem: &str) {
        self.problems.push(format!("{path}: {problem}").trim_start_matches(['.', ':', ' ']).to_owned());
    }
}

/// What must be equal on both sides: type, name, size, scale and logical type.
fn label(schema: &Value) -> String {
    let attribute = |key: &str| schema.get(key).map(|value| value.as_str().map_or_else(|| format!("{key} {value}"), str::to_owned));
    let attributes = || ["type", "name", "size", "scale", "logicalType"].into_iter().filter_map(attribute).collect::<Vec<_>>().join(" ");
    schema.as_str().map_or_else(attributes, str::to_owned)
}

fn list<'a>(schema: &'a Value, key: &str) -> &'a [Value] {
    schema.get(key).and_then(Value::as_array).map_or(&[], Vec::as_slice)
}

fn branches(schema: &Value) -> &[Value] {
    schema.as_array().map_or(std::slice::from_ref(schema), Vec::as_slice)
}

fn resolve<'a>(schema: &'a Value, definitions: &Definitions<'a>) -> &'a Value {
    schema.as_str().and_then(|name| definitions.get(name).copied()).unwrap_or(schema)
}

/// Every named type inside a schema.
fn definitions(schema: &Value) -> Definitions<'_> {
    let mut found = Definitions::new();
    let mut open = vec![schema];
    while let Some(next) = open.pop() {
        let is_named = matches!(next.get("type").and_then(Value::as_str), Some("record" | "enum" | "fixed"));
        if let Some(name) = next.get("name").and_then(Value::as_str).filter(|_| is_named) {
            found.insert(name, next);
        }
        match next {
            Value::Array(items) => open.extend(items),
            Value::Object(attributes) => open.extend(attributes.values()),
            Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => {}
        }
    }
    found
}

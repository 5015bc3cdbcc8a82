//! Values made from shapes: fixed ones for the vectors, random ones for the oracle.

use crate::schema::camel_case;
use merit_core::id::Hex;
use merit_core::{EventTime, Fixed, Shape, Uuid, time::rfc3339};
use proptest::prelude::*;
use serde_json::{Map, Value, json};
use std::ops::Range;

/// The same value on every call. A full one has all optional fields and two items a list, a bare one has neither.
pub(super) struct Sample {
    full: bool,
    count: u64,
}

impl Sample {
    pub(super) fn full() -> Sample {
        Sample { full: true, count: 0 }
    }

    pub(super) fn bare() -> Sample {
        Sample { full: false, count: 0 }
    }

    /// A value for the field of that Rust name.
    pub(super) fn value(&mut self, name: &str, shape: &Shape) -> Value {
        self.count += 1;
        match shape {
            Shape::Boolean => json!(self.full),
            Shape::Long => json!(7_u64.pow(self.count as u32 % 11)), // varints of one to five bytes, all within u32
            Shape::Double => json!(self.count as f64 / 8.0),
            Shape::Fixed => decimal(self.count as i64 * 137_931 % 1_000_000),
            Shape::Time => json!(rfc3339(EventTime(1_737_136_800_000 + self.count as i64 * 61_001))),
            Shape::Text => self.text(name),
            Shape::Bytes if self.full => json!({"hex": format!("ff{}", Hex(&self.octets(4)))}), // ff is never UTF-8
            Shape::Bytes => json!("{\"score\": 0.92}"),
            Shape::Octets(size) => json!(format!("{}", Hex(&self.octets(*size)))),
            Shape::Uuid => json!(format!("{}", Uuid::of_record("evaluate/hysteresis-promoter/0/5e", self.count))),
            Shape::Enum(_, symbols) => json!(if self.full { symbols.last() } else { symbols.first() }),
            Shape::Record(_, fields) => {
                let member = |field: &merit_core::datum::Field| (camel_case(field.name).collect(), self.value(field.name, field.shape));
                Value::Object(fields.iter().map(member).collect())
            }
            Shape::List(item) if self.full => json!([self.value(name, item), self.value(name, item)]),
            Shape::List(_) => json!([]),
            Shape::Optional(inner) if self.full => self.value(name, inner),
            Shape::Optional(_) => Value::Null,
        }
    }

    fn octets(&self, size: usize) -> Vec<u8> {
        (0..size).map(|at| (at as u64 * 17 + self.count * 29 + 128) as u8).collect()
    }

    fn text(&self, name: &str) -> Value {
        let text = match name {
            "agent_id" => "agent-7",
            "aggregate_id" => "division:research",
            "division_id" => "research",
            "product_id" => "assistant",
            "pool" => "gpus-us-east",
            "window" => "24h",
            "from_tier" => "candidate",
            "to_tier" | "tier" => "production",
            "topic" => "eval.reports",
            "stream" => "evaluate/0/5e",
            "record_type" | "command" => "EvalReport",
            "rationale" | "reason" if self.full => "score 0.92 ≥ 0.85\nin \"24h\"",
            _ => return json!(format!("{}-{}", name.replace('_', "-"), self.count)),
        };
        json!(text)
    }
}

/// A decimal as the JSON view has it.
fn decimal(units: i64) -> Value {
    let text = Fixed(units).to_string();
    let exact = units.unsigned_abs() < (1 << 33) * 1_000_000;
    if exact { serde_json::from_str(&text).expect("a number") } else { json!(text) }
}

/// Any value of a shape, its longs within `longs`.
pub(super) fn any_value(shape: &'static Shape, longs: Range<i64>) -> BoxedStrategy<Value> {
    match shape {
        Shape::Boolean => any::<bool>().prop_map(Value::from).boxed(),
        Shape::Long => long(longs).prop_map(Value::from).boxed(),
        Shape::Double => any::<f64>().prop_filter("JSON has no such number", |value| value.is_finite()).prop_map(Value::from).boxed(),
        // One less than all: i64::MIN has no positive counterpart and cannot be read as text.
        Shape::Fixed => long(-i64::MAX..i64::MAX).prop_map(decimal).boxed(),
        Shape::Time => long(i64::MIN..i64::MAX).prop_map(time).boxed(),
        Shape::Text => text().prop_map(Value::from).boxed(),
        Shape::Bytes => prop_oneof![text().prop_map(String::into_bytes), prop::collection::vec(any::<u8>(), 0..40)].prop_map(bytes).boxed(),
        Shape::Octets(size) => prop::collection::vec(any::<u8>(), *size).prop_map(|bytes| json!(Hex(&bytes).to_string())).boxed(),
        Shape::Uuid => any::<[u8; 16]>().prop_map(|bytes| json!(Uuid(bytes).to_string())).boxed(),
        Shape::Enum(_, symbols) => prop::sample::select(*symbols).prop_map(Value::from).boxed(),
        Shape::Record(_, fields) => {
            let members: Vec<_> = fields.iter().map(|field| any_value(field.shape, longs.clone())).collect();
            let name = |field: &merit_core::datum::Field| camel_case(field.name).collect::<String>();
            members.prop_map(move |values| Value::Object(fields.iter().map(name).zip(values).collect::<Map<_, _>>())).boxed()
        }
        Shape::List(item) => prop::collection::vec(any_value(item, longs), 0..4).prop_map(Value::from).boxed(),
        Shape::Optional(inner) => prop_oneof![Just(Value::Null), any_value(inner, longs)].boxed(),
    }
}

/// Small numbers as often as any.
fn long(range: Range<i64>) -> BoxedStrategy<i64> {
    let small = range.start.max(-1_000)..range.end.min(1_000);
    prop_oneof![small, range].boxed()
}

fn text() -> BoxedStrategy<String> {
    prop::collection::vec(any::<char>(), 0..12).prop_map(String::from_iter).boxed()
}

fn time(millis: i64) -> Value {
    if (-62_167_219_200_000..=EventTime::LATEST.0).contains(&millis) { json!(rfc3339(EventTime(millis))) } else { json!(millis) }
}

fn bytes(bytes: Vec<u8>) -> Value {
    let printable = |text: &str| text.chars().all(|letter| !letter.is_control() || matches!(letter, '\n' | '\r' | '\t'));
    match std::str::from_utf8(&bytes) {
        Ok(text) if printable(text) => json!(text),
        _ => json!({"hex": Hex(&bytes).to_string()}),
    }
}

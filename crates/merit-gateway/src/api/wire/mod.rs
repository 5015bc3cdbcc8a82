//! What the services say in JSON: seed 001's fields by their names, with what Merit knows beside them.

mod allocation;
mod job;
mod promotion;
mod score;

pub(crate) use allocation::{AllocationRecord, Pool, Quota, status_of};
pub(crate) use job::RetrainJob;
pub(crate) use promotion::PromotionEvent;
pub(crate) use score::{AgentScore, PastScore};

use merit_core::{EventTime, Fixed, Kind, Uuid};
use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Deserialize, Serialize, Serializer};
use std::borrow::Cow;

/// A decimal of at most six places, exact in JSON up to 2^53 millionths.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Decimal(pub(crate) Fixed);

impl Serialize for Decimal {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_f64(self.0.0 as f64 / 1e6)
    }
}

impl JsonSchema for Decimal {
    fn schema_name() -> Cow<'static, str> {
        "Decimal".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({ "type": "number", "description": "A decimal of at most six places." })
    }
}

/// GPUs from milli-GPUs: an integer where they are whole.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Gpus(pub(crate) i64);

impl Gpus {
    fn of(milli: u64) -> Gpus {
        Gpus(i64::try_from(milli).unwrap_or(i64::MAX))
    }
}

impl Serialize for Gpus {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self.0 % 1_000 {
            0 => serializer.serialize_i64(self.0 / 1_000),
            _ => serializer.serialize_f64(self.0 as f64 / 1e3),
        }
    }
}

impl JsonSchema for Gpus {
    fn schema_name() -> Cow<'static, str> {
        "Gpus".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({ "type": "number", "description": "GPUs; fewer than none where they are taken back." })
    }
}

/// A time as RFC 3339 with milliseconds, in UTC.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Time(pub(crate) EventTime);

impl Serialize for Time {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(&self.0)
    }
}

impl JsonSchema for Time {
    fn schema_name() -> Cow<'static, str> {
        "Time".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({ "type": "string", "format": "date-time" })
    }
}

/// An id in its text form.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Id(pub(crate) Uuid);

impl Serialize for Id {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(&self.0)
    }
}

impl<'de> Deserialize<'de> for Id {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Id, D::Error> {
        let text = Cow::<'de, str>::deserialize(deserializer)?;
        Uuid::parse(&text).map(Id).ok_or_else(|| serde::de::Error::custom("is not an id as Merit gives them, a UUID"))
    }
}

impl JsonSchema for Id {
    fn schema_name() -> Cow<'static, str> {
        "Id".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({ "type": "string", "format": "uuid" })
    }
}

/// A whole number from 0 on. JSON has one kind of number: `1.0` is 1.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Whole(pub(crate) u64);

impl<'de> Deserialize<'de> for Whole {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Whole, D::Error> {
        let number = serde_json::Number::deserialize(deserializer)?;
        // Up to 2^53 every whole number is a double of its own.
        let exact = |float: &f64| float.fract() == 0.0 && (0.0..=9_007_199_254_740_992.0).contains(float);
        let whole = number.as_u64().or_else(|| number.as_f64().filter(exact).map(|float| float as u64));
        whole.map(Whole).ok_or_else(|| serde::de::Error::custom(format_args!("{number} is no whole number from 0 on")))
    }
}

/// Where a proposal, or an allocation, stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Status {
    Pending,
    Approved,
    Applied,
    Rejected,
}

impl Status {
    pub(crate) fn name(self) -> &'static str {
        match self {
            Status::Pending => "pending",
            Status::Approved => "approved",
            Status::Applied => "applied",
            Status::Rejected => "rejected",
        }
    }
}

/// A record's value as JSON, by its schema.
pub(crate) fn value_of(kind: Kind, payload: &[u8]) -> serde_json::Value {
    let mut text = String::new();
    let written = merit_codec::write_json(kind.shape(), payload, &mut text);
    written.and_then(|()| serde_json::from_str(&text).ok()).unwrap_or_default()
}

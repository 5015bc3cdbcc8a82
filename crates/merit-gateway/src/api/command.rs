//! What the operations that change something have in common.

use super::app::{Answer as Led, App, Order};
use super::code;
use crate::call::Call;
use crate::operation::Response;
use crate::refusal::Refusal;
use crate::reply::Reply;
use hyper::StatusCode;
use hyper::header::{HeaderValue, LOCATION};
use merit_core::record::{CommandRefused, Rejected};
use merit_core::{Datum, Kind, MAX_NAME};
use schemars::{Schema, json_schema};
use serde_json::Value;

/// The most whole GPUs of one request: far beyond any pool, and far within 64 bits of milli-GPUs.
const MOST_GPUS: u64 = 1_000_000;

/// What every command is told whose answer takes longer than a call waits.
pub(super) const LATER: Response = Response::json(
    202,
    "It is in the log, and takes longer than a call waits; `Location` says where to look.",
    |_| json_schema!({ "type": "object" }),
);

/// 202: the command is in the log.
pub(super) fn later(location: &str) -> Result<Reply, Refusal> {
    let reply = Reply::json(StatusCode::ACCEPTED, &serde_json::json!({ "location": location }))?;
    Ok(match HeaderValue::try_from(location) {
        Ok(location) => reply.with(LOCATION, location),
        Err(_) => reply,
    })
}

/// Says that an answer is that of an earlier call.
pub(super) fn replayed(reply: Reply, led: &Led) -> Reply {
    match led.is_again() {
        true => reply.replayed(),
        false => reply,
    }
}

impl App {
    /// Runs a command; none where that takes longer than a call waits.
    pub(super) async fn run(&self, call: &Call, order: &Order<'_>) -> Result<Option<Led>, Refusal> {
        let led = self.led(self.post(call, order)?).await?;
        led.as_ref().map_or(Ok(()), |led| check(self, led))?;
        Ok(led)
    }
}

/// What ingest or the allocator refused.
pub(super) fn check(app: &App, led: &Led) -> Result<(), Refusal> {
    if let Some(rejected) = led.first(Kind::Rejected).and_then(|(_, payload)| Rejected::decode(payload)) {
        let rule = app.rule(rejected.rule, code::REPORT_REFUSED);
        let refusal = Refusal::new(StatusCode::UNPROCESSABLE_ENTITY, rule, rejected.detail.to_owned());
        return Err(Refusal { replayed: led.is_again(), ..refusal });
    }
    let Some(refused) = led.first(Kind::CommandRefused).and_then(|(_, payload)| CommandRefused::decode(payload)) else { return Ok(()) };
    let rule = app.rule(refused.rule, code::COMMAND_REFUSED);
    let status = if refused.rule.ends_with("_unknown") { StatusCode::NOT_FOUND } else { StatusCode::CONFLICT };
    let refusal = Refusal::new(status, rule, format!("{}: {}", rule.happened, refused.detail));
    Err(Refusal { replayed: led.is_again(), ..refusal })
}

/// Milli-GPUs of whole GPUs.
pub(super) fn milli_gpus(field: &str, gpus: u64) -> Result<u64, Refusal> {
    match (1..=MOST_GPUS).contains(&gpus) {
        true => Ok(gpus * 1_000),
        false => Err(Refusal::value(field, format_args!("is not 1 to {MOST_GPUS} whole GPUs"))),
    }
}

/// The one name of several that is there.
pub(super) fn one_of<const N: usize>(field: &str, names: [Option<String>; N]) -> Result<String, Refusal> {
    let mut given = names.into_iter().flatten();
    match (given.next(), given.next()) {
        (Some(name), None) if (1..=MAX_NAME).contains(&name.len()) => Ok(name),
        (Some(_), None) => Err(Refusal::value(field, format_args!("is not 1 to {MAX_NAME} bytes"))),
        (Some(_), Some(_)) => Err(Refusal::value(field, "is there by two names")),
        (None, _) => Err(Refusal::value(field, "is missing")),
    }
}

/// Says in a schema that exactly one of `agentId` and `entityId` is there.
pub(super) fn agent_or_entity(schema: &mut Schema) {
    schema.insert("allOf".to_owned(), Value::from(vec![one_named(&["agentId", "entityId"])]));
}

/// Exactly one of some fields is there and not null.
pub(super) fn one_named(fields: &[&str]) -> Value {
    serde_json::json!({ "oneOf": fields.iter().map(|field| named(field)).collect::<Vec<Value>>() })
}

/// A field that is there and not null.
pub(super) fn named(field: &str) -> Value {
    serde_json::json!({ "required": [field], "properties": { field: { "type": "string" } } })
}

//! What refuses, in one shape: `{ "error", "code", "requestId" }` and what the operation adds.
//!
//! | status | when |
//! |---|---|
//! | 400 | what was sent cannot be read: no JSON, broken body, a parameter in path, query or header that is none |
//! | 422 | the body can be read, and a field is unknown, set only by Merit, missing, or its value is wrong |
//! | others | as `code.rs` says |

use std::borrow::Cow;

use hyper::StatusCode;
use hyper::header::HeaderValue;
use merit_core::Code;
use serde_json::{Map, Value};

use crate::code;
use crate::reply::Reply;

/// A request that is refused.
#[derive(Clone, Debug)]
pub struct Refusal {
    pub status: StatusCode,
    pub code: &'static Code,
    /// For a person: what is wrong, in lower case, without a period.
    pub message: Cow<'static, str>,
    /// What the body says beside `error`, `code` and `requestId`, in this order.
    pub fields: Vec<(String, Value)>,
    /// Seconds, at least 1.
    pub retry_after: Option<u32>,
    /// It is the answer of an earlier call under the same `Idempotency-Key`.
    pub replayed: bool,
    pub(crate) allow: Option<HeaderValue>,
    /// The connection cannot be read on.
    pub(crate) close: bool,
}

impl Refusal {
    pub fn new(status: StatusCode, code: &'static Code, message: impl Into<Cow<'static, str>>) -> Refusal {
        Refusal { status, code, message: message.into(), fields: Vec::new(), retry_after: None, replayed: false, allow: None, close: false }
    }

    /// Adds a field to the body.
    pub fn with(mut self, name: &'static str, value: impl Into<Value>) -> Refusal {
        self.fields.push((name.to_owned(), value.into()));
        self
    }

    /// Adds everything that a value says of itself to the body, where it does not say it already.
    pub fn record(mut self, value: &impl serde::Serialize) -> Refusal {
        if let Ok(Value::Object(fields)) = serde_json::to_value(value) {
            let is_new = |(name, _): &(String, Value)| self.fields.iter().all(|(known, _)| known != name);
            let new: Vec<(String, Value)> = fields.into_iter().filter(is_new).collect();
            self.fields.extend(new);
        }
        self
    }

    /// 400: a parameter of path, query or header.
    pub fn parameter(name: &str, fault: impl std::fmt::Display) -> Refusal {
        Refusal::new(StatusCode::BAD_REQUEST, code::PARAMETER_INVALID, format!("parameter `{name}`: {fault}"))
    }

    /// 422: a value of the body, such as `metrics.latency`.
    pub fn value(field: &str, fault: impl std::fmt::Display) -> Refusal {
        Refusal::new(StatusCode::UNPROCESSABLE_ENTITY, code::VALUE_INVALID, format!("{field}: {fault}"))
    }

    /// 503: had no effect, and may go well after some seconds.
    pub fn overloaded(message: impl Into<Cow<'static, str>>, retry_after: u32) -> Refusal {
        let refusal = Refusal::new(StatusCode::SERVICE_UNAVAILABLE, code::OVERLOADED, message);
        Refusal { retry_after: Some(retry_after), ..refusal }
    }

    pub(crate) fn panicked() -> Refusal {
        Refusal::new(StatusCode::INTERNAL_SERVER_ERROR, code::PANICKED, "a bug of Merit; the outcome of the request is unknown")
    }

    pub(crate) fn closing(self) -> Refusal {
        Refusal { close: true, ..self }
    }

    /// The answer.
    pub(crate) fn reply(self, request_id: &str) -> Reply {
        let own = [("error", self.message.into_owned()), ("code", self.code.name.to_owned()), ("requestId", request_id.to_owned())];
        let own = own.map(|(name, value)| (name.to_owned(), Value::from(value)));
        let fields = self.fields.into_iter().filter(|(name, _)| own.iter().all(|(known, _)| known != name)).collect::<Vec<_>>();
        let body: Map<String, Value> = own.into_iter().chain(fields).collect();
        let body = serde_json::to_vec(&body).expect("a map of strings to values is JSON");
        let mut reply = Reply::written(self.status, "application/json", body);
        if let Some(seconds) = self.retry_after {
            reply = reply.with(hyper::header::RETRY_AFTER, seconds.max(1).into());
        }
        if self.replayed {
            reply = reply.replayed();
        }
        if let Some(allow) = self.allow {
            reply = reply.with(hyper::header::ALLOW, allow);
        }
        reply
    }
}

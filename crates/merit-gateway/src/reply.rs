//! What an operation answers.

use bytes::Bytes;
use hyper::StatusCode;
use hyper::header::{HeaderName, HeaderValue};
use serde::Serialize;

use crate::refusal::Refusal;

const REPLAYED: HeaderName = HeaderName::from_static("idempotency-replayed");

/// An answer that went well.
#[derive(Clone, Debug)]
pub struct Reply {
    pub status: StatusCode,
    /// Beside `Content-Type`, `X-Request-Id`, `traceparent` and `Date`, which the door sets.
    pub headers: Vec<(HeaderName, HeaderValue)>,
    /// `None` for an answer without a body.
    pub content_type: Option<&'static str>,
    pub body: Bytes,
}

impl Reply {
    /// A body written by serde.
    ///
    /// # Errors
    /// `internal` for a value that JSON cannot hold, such as a map whose keys are no strings.
    pub fn json(status: StatusCode, value: &impl Serialize) -> Result<Reply, Refusal> {
        let body = serde_json::to_vec(value).map_err(|_| Refusal::panicked())?;
        Ok(Reply::written(status, "application/json", body))
    }

    /// A body that is written already.
    pub fn written(status: StatusCode, content_type: &'static str, body: impl Into<Bytes>) -> Reply {
        Reply { status, headers: Vec::new(), content_type: Some(content_type), body: body.into() }
    }

    /// No body, as with 204.
    pub fn empty(status: StatusCode) -> Reply {
        Reply { status, headers: Vec::new(), content_type: None, body: Bytes::new() }
    }

    /// Says that it is the answer of an earlier call under the same `Idempotency-Key`.
    pub fn replayed(self) -> Reply {
        self.with(REPLAYED, HeaderValue::from_static("true"))
    }

    pub fn with(mut self, name: HeaderName, value: HeaderValue) -> Reply {
        self.headers.push((name, value));
        self
    }
}

//! What an operation is given: a request whose form the door has checked.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::{SystemTime, UNIX_EPOCH};

use bytes::Bytes;
use hyper::HeaderMap;
use hyper::header::HeaderValue;

use crate::parameter;
use crate::refusal::Refusal;

/// Who asks.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Principal {
    /// Whoever reaches the loopback address of this machine.
    Local,
}

impl Principal {
    /// As records name their actor.
    pub fn name(&self) -> &str {
        match self {
            Principal::Local => "local",
        }
    }

    /// How it was authenticated, as audit leaves name it.
    pub fn auth(&self) -> &str {
        match self {
            Principal::Local => "loopback",
        }
    }
}

/// A request for an operation.
#[derive(Clone, Debug)]
pub struct Call {
    /// Of the operation, as its table writes it.
    pub path: &'static str,
    /// Empty for an operation without a body; within the operation's limit.
    pub body: Bytes,
    pub principal: Arc<Principal>,
    pub request_id: RequestId,
    pub trace: Option<Traceparent>,
    /// 1 to 255 visible ASCII characters; `None` for GET.
    pub idempotency_key: Option<String>,
    /// The client asked for `Prefer: return=representation`.
    pub prefer_representation: bool,
    pub(crate) parameters: Vec<(&'static str, String)>,
}

impl Call {
    /// A parameter that the operation's table names, decoded; `None` if it is not required and was not given.
    pub fn text(&self, name: &str) -> Option<&str> {
        self.parameters.iter().find(|(known, _)| *known == name).map(|(_, value)| value.as_str())
    }

    /// A parameter of [`Kind::Count`](crate::Kind::Count).
    pub fn count(&self, name: &str) -> Option<u64> {
        self.text(name).and_then(parameter::count)
    }
}

/// Name of a request: the client's own `X-Request-Id` if it is 1 to 128 of `[A-Za-z0-9._-]`, else one made by the door.
#[derive(Clone, Debug)]
pub struct RequestId(HeaderValue);

impl RequestId {
    pub fn as_str(&self) -> &str {
        self.0.to_str().expect("it is ASCII")
    }

    pub(crate) fn header(&self) -> HeaderValue {
        self.0.clone()
    }
}

/// Makes ids that are unlike those of another start of the process, and unlike each other.
#[derive(Debug)]
pub(crate) struct RequestIds {
    start: u64,
    next: AtomicU64,
}

impl RequestIds {
    pub(crate) fn new() -> RequestIds {
        let millis = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_millis();
        RequestIds { start: u64::try_from(millis).unwrap_or_default(), next: AtomicU64::new(0) }
    }

    pub(crate) fn of(&self, headers: &HeaderMap) -> RequestId {
        let sent = headers.get("x-request-id").filter(|sent| {
            (1..=128).contains(&sent.len()) && sent.as_bytes().iter().all(|byte| byte.is_ascii_alphanumeric() || b"._-".contains(byte))
        });
        RequestId(sent.cloned().unwrap_or_else(|| {
            let made = format!("{:x}-{:x}", self.start, self.next.fetch_add(1, Relaxed));
            HeaderValue::try_from(made).expect("hexadecimal digits are visible ASCII")
        }))
    }
}

/// A `traceparent` of W3C Trace Context level 1: version 00, lower case, ids that are not all zeros.
#[derive(Clone, Debug)]
pub struct Traceparent(HeaderValue);

impl Traceparent {
    /// `None` for one that is not valid, or given twice: as the specification wants, the trace begins anew.
    pub(crate) fn of(headers: &HeaderMap) -> Option<Traceparent> {
        let value = once(headers, "traceparent").ok().flatten()?;
        is_traceparent(value.as_bytes()).then(|| Traceparent(value.clone()))
    }

    pub fn as_str(&self) -> &str {
        self.0.to_str().expect("it is ASCII")
    }

    /// 32 hexadecimal digits.
    pub fn trace_id(&self) -> &str {
        &self.as_str()[3..35]
    }

    pub(crate) fn header(&self) -> HeaderValue {
        self.0.clone()
    }
}

/// `00-<32 hex>-<16 hex>-<2 hex>`.
fn is_traceparent(value: &[u8]) -> bool {
    let hex = |range: std::ops::Range<usize>| value[range].iter().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'));
    let zeros = |range: std::ops::Range<usize>| value[range].iter().all(|byte| *byte == b'0');
    value.len() == 55
        && value.starts_with(b"00-")
        && [value[35], value[52]] == *b"--"
        && hex(3..35)
        && hex(36..52)
        && hex(53..55)
        && !zeros(3..35)
        && !zeros(36..52)
}

/// A header that may be given once.
pub(crate) fn once<'h>(headers: &'h HeaderMap, name: &str) -> Result<Option<&'h HeaderValue>, Refusal> {
    let mut values = headers.get_all(name).iter();
    match (values.next(), values.next()) {
        (value, None) => Ok(value),
        (_, Some(_)) => Err(Refusal::parameter(name, "is given twice")),
    }
}

pub(crate) fn idempotency_key(headers: &HeaderMap) -> Result<Option<String>, Refusal> {
    let Some(value) = once(headers, "idempotency-key")? else { return Ok(None) };
    let key = value.to_str().ok().filter(|key| is_idempotency_key(key));
    key.map(|key| Some(key.to_owned())).ok_or_else(|| Refusal::parameter("Idempotency-Key", "is not 1 to 255 visible ASCII characters"))
}

/// 1 to 255 visible ASCII characters.
pub(crate) fn is_idempotency_key(key: &str) -> bool {
    (1..=255).contains(&key.len()) && key.bytes().all(|byte| byte.is_ascii_graphic())
}

pub(crate) fn prefers_representation(headers: &HeaderMap) -> bool {
    let preferences = headers.get_all("prefer").iter().filter_map(|value| value.to_str().ok());
    preferences.flat_map(|value| value.split(',')).any(|preference| preference.trim().eq_ignore_ascii_case("return=representation"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_traceparent_is_taken_by_the_letter() {
        let valid = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";
        for (value, taken) in [
            (valid.to_owned(), true),
            (valid.to_uppercase(), false),
            (valid.replacen("00", "01", 1), false),
            (valid.replacen("00", "ff", 1), false),
            (valid.replace("4bf92f3577b34da6a3ce929d0e0e4736", &"0".repeat(32)), false),
            (valid.replace("00f067aa0ba902b7", &"0".repeat(16)), false),
            (valid.replace('-', "_"), false),
            (format!("{valid}-"), false),
            (valid[..54].to_owned(), false),
            (String::new(), false),
        ] {
            assert_eq!(is_traceparent(value.as_bytes()), taken, "{value}");
        }
    }

    #[test]
    fn a_preference_is_found_in_any_list() {
        for (value, found) in [
            ("return=representation", true),
            ("respond-async, Return=Representation", true),
            ("return=minimal", false),
            ("x-return=representation", false),
        ] {
            let headers = HeaderMap::from_iter([(hyper::header::HeaderName::from_static("prefer"), HeaderValue::from_static(value))]);
            assert_eq!(prefers_representation(&headers), found, "{value}");
        }
    }
}

//! One request, from its head to its answer.

use std::convert::Infallible;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};
use std::task::Poll;

use bytes::{Bytes, BytesMut};
use http_body_util::{BodyExt, Full};
use hyper::body::{Body as _, Incoming};
use hyper::header::{self, HeaderName, HeaderValue};
use hyper::http::request;
use hyper::{HeaderMap, Method, Request, Response, StatusCode, Version};
use matchit::Params;
use tokio::time::timeout;

use crate::call::{self, Call, Principal, RequestIds, Traceparent};
use crate::code;
use crate::counters::Counters;
use crate::limits::Limits;
use crate::openapi;
use crate::operation::{About, Answer, Handle, Operation, own};
use crate::pace::Pace;
use crate::rate::Bucket;
use crate::refusal::Refusal;
use crate::reply::Reply;
use crate::route::{self, Routes, Values};

const PAGE: &str = include_str!("page.html");

/// An application behind the door: its operations, and what the door keeps beside them.
#[derive(Debug)]
pub struct Service<A> {
    app: Arc<A>,
    operations: Vec<Operation<A>>,
    routes: Routes,
    document: Bytes,
    limits: Limits,
    counters: Arc<Counters>,
    principal: Arc<Principal>,
    bucket: Bucket,
    ids: RequestIds,
    /// Bytes of bodies in memory.
    held: AtomicUsize,
}

impl<A: Send + Sync + 'static> Service<A> {
    /// Puts `/openapi.json` and `/docs` beside the operations.
    ///
    /// # Panics
    /// If two operations have the same method and path, or the same id: a bug, found at the first start.
    pub fn new(app: Arc<A>, about: &About, operations: impl IntoIterator<Item = Operation<A>>, limits: Limits) -> Service<A> {
        let operations: Vec<_> = operations.into_iter().chain(own()).collect();
        Service {
            app,
            routes: Routes::new(&operations),
            document: openapi::document(about, &operations),
            counters: Arc::new(Counters::new(operations.iter().map(|operation| operation.id).collect())),
            principal: Arc::new(Principal::Local),
            bucket: Bucket::new(limits.rate),
            ids: RequestIds::new(),
            held: AtomicUsize::new(0),
            operations,
            limits,
        }
    }

    /// The application's operations, then the door's own two; counters go by the same indices.
    pub fn operations(&self) -> &[Operation<A>] {
        &self.operations
    }

    /// The OpenAPI document, as JSON.
    pub fn document(&self) -> &Bytes {
        &self.document
    }

    pub fn counters(&self) -> &Arc<Counters> {
        &self.counters
    }

    pub fn limits(&self) -> &Limits {
        &self.limits
    }

    pub(crate) async fn answer(self: Arc<Self>, pace: Arc<Pace>, request: Request<Incoming>) -> Result<Response<Full<Bytes>>, Infallible> {
        let in_flight = pace.begin();
        let (head, mut body) = request.into_parts();
        let request_id = self.ids.of(&head.headers);
        let trace = Traceparent::of(&head.headers);
        let found = self.find(&head);
        let index = found.as_ref().ok().map(|(index, _)| *index);
        let outcome = match found.and_then(|(index, path)| self.admit(index, &path, &head, &body)) {
            Ok(admitted) => {
                let call = Call {
                    path: self.operations[admitted.index].path,
                    body: Bytes::new(),
                    principal: self.principal.clone(),
                    request_id: request_id.clone(),
                    trace: trace.clone(),
                    idempotency_key: admitted.idempotency_key,
                    prefer_representation: call::prefers_representation(&head.headers),
                    parameters: admitted.values,
                };
                self.perform(admitted.index, call, &mut body).await
            }
            Err(refusal) => Err(self.turn_away(&head, &mut body, refusal).await),
        };
        let close = outcome.as_ref().is_err_and(|refusal| refusal.close) && head.version < Version::HTTP_2;
        let reply = outcome.unwrap_or_else(|refusal| refusal.reply(request_id.as_str()));
        self.counters.answered(index, reply.status);
        let mut response = response(&head.method, reply);
        let headers = response.headers_mut();
        headers.insert(HeaderName::from_static("x-request-id"), request_id.header());
        if let Some(trace) = trace {
            headers.insert(HeaderName::from_static("traceparent"), trace.header());
        }
        if close {
            headers.insert(header::CONNECTION, HeaderValue::from_static("close"));
        }
        in_flight.answered();
        Ok(response)
    }

    /// The whole answer on HTTP/1 to what is no request, and the end of its connection.
    pub(crate) fn refuse_bytes(&self, status: StatusCode) -> Vec<u8> {
        let request_id = self.ids.of(&HeaderMap::new());
        let reply = not_a_request(status).reply(request_id.as_str());
        self.counters.answered(None, reply.status);
        let mut bytes = format!("HTTP/1.1 {status}\r\ncontent-type: application/json\r\n").into_bytes();
        for (name, value) in &reply.headers {
            bytes.extend([name.as_str().as_bytes(), b": ", value.as_bytes(), b"\r\n"].concat());
        }
        let rest = format!("x-request-id: {}\r\nconnection: close\r\ncontent-length: {}\r\n\r\n", request_id.as_str(), reply.body.len());
        bytes.extend_from_slice(rest.as_bytes());
        bytes.extend_from_slice(&reply.body);
        bytes
    }

    /// The operation that a request is for, by its index.
    fn find<'p>(&self, head: &'p request::Parts) -> Result<(usize, Params<'_, 'p>), Refusal> {
        self.bucket.take().map_err(|seconds| {
            self.counters.rate_limited.add();
            rate_limited(seconds)
        })?;
        route::check_host(head)?;
        self.routes.find(&head.method, head.uri.path())
    }

    /// Judges everything that the operation wants but the body's bytes.
    fn admit(&self, index: usize, path: &Params<'_, '_>, head: &request::Parts, body: &Incoming) -> Result<Admitted, Refusal> {
        let operation = &self.operations[index];
        let values = route::values(operation.parameters, path, head.uri.query(), &head.headers)?;
        let idempotency_key = if operation.mutates() { call::idempotency_key(&head.headers)? } else { None };
        match operation.body {
            None if !body.is_end_stream() => Err(body_unexpected()),
            None => Ok(()),
            Some(expected) => {
                route::check_content_type(&head.headers)?;
                if within(body.size_hint().lower(), expected.limit) { Ok(()) } else { Err(too_large(expected.limit)) }
            }
        }?;
        Ok(Admitted { index, values, idempotency_key })
    }

    /// Reads the body and lets the operation's handler answer.
    async fn perform(&self, index: usize, mut call: Call, body: &mut Incoming) -> Result<Reply, Refusal> {
        let operation = &self.operations[index];
        let mut held = Held { bytes: 0, all: &self.held };
        if let Some(expected) = operation.body {
            call.body = timeout(self.limits.body, self.read(body, expected.limit, &mut held)).await.unwrap_or_else(|_| {
                self.counters.body_timeouts.add();
                Err(body_timeout())
            })?;
        }
        let handler = match operation.handle {
            Handle::Document => return Ok(Reply::written(StatusCode::OK, "application/json", self.document.clone())),
            Handle::Page => return Ok(Reply::written(StatusCode::OK, "text/html; charset=utf-8", PAGE)),
            Handle::Call(handler) => handler,
        };
        let app = self.app.clone();
        let answer: Answer = match catch_unwind(AssertUnwindSafe(|| handler(app, call))) {
            Ok(answer) => answer,
            Err(_) => return Err(self.panicked()),
        };
        match timeout(self.limits.request, unwound(answer)).await {
            Ok(Ok(outcome)) => outcome,
            Ok(Err(Panicked)) => Err(self.panicked()),
            Err(_) => {
                self.counters.request_timeouts.add();
                Err(request_timeout())
            }
        }
    }

    fn panicked(&self) -> Refusal {
        self.counters.panics.add();
        Refusal::panicked()
    }

    /// A body within its limit; what is over it is read up to the drain limit, so that the connection lives on.
    async fn read(&self, body: &mut Incoming, limit: usize, held: &mut Held<'_>) -> Result<Bytes, Refusal> {
        let (mut first, mut rest) = (Bytes::new(), BytesMut::new());
        while let Some(frame) = body.frame().await {
            let Ok(data) = frame.map_err(|_| body_broken())?.into_data() else { continue };
            let size = held.bytes + data.len();
            if limit < size {
                return Err(self.drain(body, size, too_large(limit)).await);
            }
            held.add(data.len());
            if self.limits.held_bytes < self.held.load(Relaxed) {
                return Err(self.drain(body, size, Refusal::overloaded("too many bodies are in memory", 1)).await);
            }
            // Nearly every body is one frame, and that is not copied.
            if first.is_empty() {
                first = data;
            } else {
                rest.reserve(if rest.is_empty() { first.len() + data.len() } else { data.len() });
                if rest.is_empty() {
                    rest.extend_from_slice(&first);
                }
                rest.extend_from_slice(&data);
            }
        }
        Ok(if rest.is_empty() { first } else { rest.freeze() })
    }

    /// Refuses without reading the body, and then gets it out of the way.
    async fn turn_away(&self, head: &request::Parts, body: &mut Incoming, refusal: Refusal) -> Refusal {
        if head.version >= Version::HTTP_2 || body.is_end_stream() {
            return refusal;
        }
        // Who waits for `100 Continue` sends nothing after a refusal, and a connection whose body is missing ends.
        if head.headers.contains_key(header::EXPECT) || !within(body.size_hint().lower(), self.limits.drain_bytes) {
            return refusal.closing();
        }
        timeout(self.limits.body, self.drain(body, 0, refusal.clone())).await.unwrap_or_else(|_| refusal.closing())
    }

    async fn drain(&self, body: &mut Incoming, mut size: usize, refusal: Refusal) -> Refusal {
        while let Some(frame) = body.frame().await {
            let Ok(frame) = frame else { return refusal.closing() };
            size += frame.data_ref().map_or(0, Bytes::len);
            if self.limits.drain_bytes < size {
                return refusal.closing();
            }
        }
        refusal
    }
}

/// A request that its head does not refuse.
struct Admitted {
    index: usize,
    values: Values,
    idempotency_key: Option<String>,
}

/// Bytes of one body in memory.
struct Held<'a> {
    bytes: usize,
    all: &'a AtomicUsize,
}

impl Held<'_> {
    fn add(&mut self, bytes: usize) {
        self.bytes += bytes;
        self.all.fetch_add(bytes, Relaxed);
    }
}

impl Drop for Held<'_> {
    fn drop(&mut self) {
        self.all.fetch_sub(self.bytes, Relaxed);
    }
}

struct Panicked;

/// A handler whose panic is an outcome. What it left half done is behind locks that poison, or gone with it.
async fn unwound(mut answer: Answer) -> Result<Result<Reply, Refusal>, Panicked> {
    std::future::poll_fn(|context| match catch_unwind(AssertUnwindSafe(|| Pin::as_mut(&mut answer).poll(context))) {
        Ok(poll) => poll.map(Ok),
        Err(_) => Poll::Ready(Err(Panicked)),
    })
    .await
}

fn response(method: &Method, reply: Reply) -> Response<Full<Bytes>> {
    let size = reply.body.len();
    let body = if *method == Method::HEAD { Bytes::new() } else { reply.body };
    let mut response = Response::new(Full::new(body));
    *response.status_mut() = reply.status;
    let headers = response.headers_mut();
    headers.reserve(4);
    if let Some(content_type) = reply.content_type {
        headers.insert(header::CONTENT_TYPE, HeaderValue::from_static(content_type));
    }
    if *method == Method::HEAD {
        headers.insert(header::CONTENT_LENGTH, size.into());
    }
    headers.extend(reply.headers);
    response
}

fn within(size: u64, limit: usize) -> bool {
    usize::try_from(size).is_ok_and(|size| size <= limit)
}

/// By the status that says what it is instead.
fn not_a_request(status: StatusCode) -> Refusal {
    match status {
        StatusCode::SERVICE_UNAVAILABLE => {
            Refusal { retry_after: Some(1), ..Refusal::new(status, code::CONNECTIONS_FULL, "as many connections are open as may be") }
        }
        StatusCode::BAD_REQUEST => Refusal::new(status, code::REQUEST_INVALID, "the bytes are no HTTP request"),
        _ => Refusal::new(status, code::HEAD_TOO_LARGE, "the request line and headers are too long or too many"),
    }
}

fn rate_limited(seconds: u32) -> Refusal {
    let refusal = Refusal::new(StatusCode::TOO_MANY_REQUESTS, code::RATE_LIMITED, "more requests a second than one caller may make");
    Refusal { retry_after: Some(seconds), ..refusal }
}

fn body_unexpected() -> Refusal {
    Refusal::new(StatusCode::BAD_REQUEST, code::BODY_UNEXPECTED, "the operation takes no body")
}

fn body_broken() -> Refusal {
    Refusal::new(StatusCode::BAD_REQUEST, code::BODY_BROKEN, "the body ended before its end, or its chunks are none").closing()
}

fn body_timeout() -> Refusal {
    Refusal::new(StatusCode::REQUEST_TIMEOUT, code::BODY_TIMEOUT, "the body took too long to arrive").closing()
}

fn too_large(limit: usize) -> Refusal {
    Refusal::new(StatusCode::PAYLOAD_TOO_LARGE, code::BODY_TOO_LARGE, format!("the body is over {limit} bytes"))
}

fn request_timeout() -> Refusal {
    let message = "the request took too long; its outcome is unknown";
    Refusal { retry_after: Some(1), ..Refusal::new(StatusCode::SERVICE_UNAVAILABLE, code::REQUEST_TIMEOUT, message) }
}

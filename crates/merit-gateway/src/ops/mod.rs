//! The operations service: whether Merit lives, whether it answers, and what it does in numbers.

pub mod count;
pub mod health;
pub mod metrics;

use crate::api::code;
use crate::call::Call;
use crate::operation::{Answer, Content, Handle, Operation, Response, schema_of};
use crate::refusal::Refusal;
use crate::reply::Reply;
use health::{Health, Phase};
use hyper::{Method, StatusCode};
use metrics::Metrics;
use schemars::JsonSchema;
use serde::Serialize;
use std::sync::Arc;

/// The text format of Prometheus.
const EXPOSITION: &str = "text/plain; version=0.0.4; charset=utf-8";

/// What the operations service works with.
pub struct Ops {
    /// How far the process is.
    pub health: Arc<Health>,
    /// What it counts.
    pub metrics: Arc<Metrics>,
}

/// How Merit is.
#[derive(Serialize, JsonSchema)]
struct Status {
    /// `ok` where it lives, `ready` where it answers calls.
    status: &'static str,
}

/// The operations on port 8050.
pub fn operations() -> Vec<Operation<Ops>> {
    vec![
        Operation {
            method: Method::GET,
            path: "/healthz",
            id: "health",
            summary: "Whether the process works",
            description: "From its start on, while it recovers too; a process that is not well does not get well by itself.",
            parameters: &[],
            body: None,
            responses: &const {
                [
                    Response::json(200, "It works.", schema_of::<Status>),
                    Response::refusal(503, "The pipeline or the read models stopped; the message says why."),
                ]
            },
            handle: Handle::Call(health),
        },
        Operation {
            method: Method::GET,
            path: "/readyz",
            id: "ready",
            summary: "Whether calls are answered",
            description: "Not before the log is recovered and the read models are up to it, and not while the process ends.",
            parameters: &[],
            body: None,
            responses: &const {
                [
                    Response::json(200, "They are.", schema_of::<Status>),
                    Response::refusal(503, "They are not, or not yet; the message says what is waited for."),
                ]
            },
            handle: Handle::Call(ready),
        },
        Operation {
            method: Method::GET,
            path: "/metrics",
            id: "metrics",
            summary: "What Merit counts",
            description: "In the text format of Prometheus; docs/metrics.md says what each number means.",
            parameters: &[],
            body: None,
            responses: &const { [Response { status: 200, description: "The numbers.", content: Content::Text("text/plain") }] },
            handle: Handle::Call(scrape),
        },
    ]
}

fn health(ops: Arc<Ops>, _: Call) -> Answer {
    Box::pin(async move {
        match ops.health.phase() {
            Phase::Stopped(why) => Err(Refusal { code: code::STOPPED, ..Refusal::overloaded(why, 5) }),
            Phase::Recovering | Phase::Folding { .. } | Phase::Ready | Phase::Ending => {
                Reply::json(StatusCode::OK, &Status { status: "ok" })
            }
        }
    })
}

fn ready(ops: Arc<Ops>, _: Call) -> Answer {
    Box::pin(async move {
        let not_ready = |why| Refusal { code: code::NOT_READY, ..Refusal::overloaded(why, 1) };
        match ops.health.phase() {
            Phase::Ready => Reply::json(StatusCode::OK, &Status { status: "ready" }),
            Phase::Recovering => Err(not_ready("recovering: what lies behind the last checkpoint is computed again".into())),
            Phase::Folding { done, of } => {
                let refusal = not_ready(format!("folding {done} of {of} records into the read models"));
                Err(refusal.with("folded", done).with("records", of))
            }
            Phase::Ending => Err(not_ready("the process ends".into())),
            Phase::Stopped(why) => Err(not_ready(why)),
        }
    })
}

fn scrape(ops: Arc<Ops>, _: Call) -> Answer {
    Box::pin(async move { Ok(Reply::written(StatusCode::OK, EXPOSITION, ops.metrics.render())) })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::call::{Principal, RequestIds};
    use bytes::Bytes;
    use hyper::HeaderMap;

    fn call() -> Call {
        let (body, principal, request_id) = (Bytes::new(), Arc::new(Principal::Local), RequestIds::new().of(&HeaderMap::new()));
        Call {
            path: "/metrics",
            body,
            principal,
            request_id,
            trace: None,
            idempotency_key: None,
            prefer_representation: false,
            parameters: Vec::new(),
        }
    }

    #[test]
    fn each_phase_has_its_answers() {
        let runtime = tokio::runtime::Builder::new_current_thread().build().expect("a runtime");
        let ops = Arc::new(Ops { health: Arc::default(), metrics: Arc::new(Metrics::new("0", 1)) });
        // Phase, status of /healthz, status of /readyz, and what the latter says.
        let cases = [
            (Phase::Recovering, 200, 503, "recovering"),
            (Phase::Folding { done: 3, of: 7 }, 200, 503, "folding 3 of 7 records"),
            (Phase::Ready, 200, 200, ""),
            (Phase::Ending, 200, 503, "the process ends"),
            (Phase::Stopped("the disk is full".into()), 503, 503, "the disk is full"),
        ];
        for (phase, lives, is_ready, says) in cases {
            ops.health.enter(phase.clone());
            let ask = |handler: fn(Arc<Ops>, Call) -> Answer| match runtime.block_on(handler(Arc::clone(&ops), call())) {
                Ok(reply) => (reply.status.as_u16(), String::new()),
                Err(refusal) => (refusal.status.as_u16(), refusal.message.into_owned()),
            };
            assert_eq!(ask(health).0, lives, "{phase:?}");
            let (status, message) = ask(ready);
            assert_eq!(status, is_ready, "{phase:?}");
            assert!(message.starts_with(says), "{phase:?}: {message}");
        }
    }
}

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

//! The reasoning graph of one decision.

use super::app::{App, failed};
use super::code;
use super::wire::{Id, Time, value_of};
use crate::call::Call;
use crate::model::graph::GraphNode;
use crate::operation::{Answer, Handle, Operation, Response, schema_of};
use crate::parameter::{Kind as ParameterKind, Parameter, Place};
use crate::refusal::Refusal;
use crate::reply::Reply;
use hyper::{Method, StatusCode};
use merit_core::Uuid;
use schemars::JsonSchema;
use serde::Serialize;
use serde_json::Value;
use std::sync::Arc;

const ID: Parameter = Parameter {
    name: "id",
    place: Place::Path,
    required: true,
    kind: ParameterKind::Text { longest: 64 },
    description: "The id of a promotion, an allocation, a job, or any other decision.",
};

/// The operation, which both services have.
pub(super) fn operation() -> Operation<App> {
    Operation {
        method: Method::GET,
        path: "/trace/{id}",
        id: "trace",
        summary: "Why: what a decision rests on, and what rests on it",
        description: "Every record is a node with its place in the log; an edge leads from what came first to what rests on it. At most \
            256 nodes around the decision that was asked for.",
        parameters: &const { [ID] },
        body: None,
        responses: &const {
            [Response::json(200, "The graph.", schema_of::<Trace>), Response::refusal(404, "Nothing was decided under that id.")]
        },
        handle: Handle::Call(trace),
    }
}

/// A record.
#[derive(Serialize, JsonSchema)]
struct Node {
    id: Id,
    /// Its type.
    r#type: &'static str,
    topic: String,
    partition: u32,
    offset: u64,
    timestamp: Time,
    /// The record, by its schema.
    value: Value,
}

/// From a record to one that rests on it.
#[derive(Serialize, JsonSchema)]
struct Edge {
    from: Id,
    to: Id,
}

#[derive(Serialize, JsonSchema)]
struct Trace {
    /// The decision that was asked for.
    id: Id,
    /// In the order of their time.
    nodes: Vec<Node>,
    edges: Vec<Edge>,
}

fn trace(app: Arc<App>, call: Call) -> Answer {
    Box::pin(async move {
        let unknown = || Refusal::new(StatusCode::NOT_FOUND, code::DECISION_UNKNOWN, "nothing was decided under that id");
        let id = call.text("id").and_then(Uuid::parse).ok_or_else(unknown)?;
        let around = app.graph().around(id).map_err(|error| failed(&error))?.ok_or_else(unknown)?;
        let known = |parent: &Uuid| around.iter().any(|node| node.id == *parent);
        let edges = around.iter().flat_map(|node| {
            let parents = node.parents.iter().filter(|parent| known(parent));
            parents.map(|parent| Edge { from: Id(*parent), to: Id(node.id) })
        });
        let edges = edges.collect();
        let nodes = around.iter().map(|node| shown(&app, node)).collect();
        Reply::json(StatusCode::OK, &Trace { id: Id(id), nodes, edges })
    })
}

fn shown(app: &App, node: &GraphNode) -> Node {
    let at = &app.layout.partitions[node.partition];
    Node {
        id: Id(node.id),
        r#type: node.kind.name(),
        topic: at.name.clone(),
        partition: at.partition,
        offset: node.offset,
        timestamp: Time(node.time),
        value: value_of(node.kind, &node.payload),
    }
}

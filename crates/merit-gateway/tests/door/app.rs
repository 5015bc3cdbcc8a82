//! An application to stand behind the door: notes that are not kept, and operations that go wrong.

use std::sync::Arc;

use hyper::{Method, StatusCode};
use merit_gateway::{About, Call, Handle, Kind, Operation, Parameter, Place, Refusal, Reply, Response, json, schema_of, strict};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use tokio::sync::Semaphore;

pub(crate) const ABOUT: About = About { title: "Notes", version: "0.1.0", description: "Notes that are not kept." };

#[derive(Debug)]
pub(crate) struct App {
    /// What the operation `waiting` waits for.
    pub(crate) gate: Semaphore,
    /// One permit for each that began to wait.
    pub(crate) waiting: Semaphore,
}

#[derive(Debug, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
struct Note {
    /// Who wrote it.
    #[schemars(length(min = 1, max = 100), regex(pattern = r"^[^\u0000-\u001F\u007F-\u009F]*$"))]
    agent_id: String,
    /// How good it is.
    #[schemars(range(min = 0.0, max = 1.0))]
    value: f64,
}

#[derive(Debug, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
struct Seen {
    id: String,
    limit: Option<u64>,
    bytes: usize,
    idempotency_key: Option<String>,
    representation: bool,
    principal: String,
}

const ID: Parameter =
    Parameter { name: "id", place: Place::Path, required: true, kind: Kind::Text { longest: 100 }, description: "The note." };

pub(crate) const NOTES: [Operation<App>; 2] = [
    Operation {
        method: Method::POST,
        path: "/notes",
        id: "write",
        summary: "Write a note",
        description: "Reads it, and keeps nothing.",
        parameters: &[],
        body: Some(json(schema_of::<Note>, r#"{ "agentId": "agent-123", "value": 0.9 }"#)),
        responses: &[Response::json(201, "what was seen", schema_of::<Seen>)],
        handle: Handle::Call(|_, call| Box::pin(write(call))),
    },
    Operation {
        method: Method::GET,
        path: "/notes/{id}",
        id: "note",
        summary: "Read a note",
        description: "There is each of them but `none`.",
        parameters: &[
            ID,
            Parameter {
                name: "limit",
                place: Place::Query,
                required: false,
                kind: Kind::Count { least: 1, most: 100 },
                description: "How much of it.",
            },
            Parameter { name: "window", place: Place::Query, required: false, kind: Kind::Choice(&["1h", "24h"]), description: "When." },
        ],
        body: None,
        responses: &[Response::json(200, "the note", schema_of::<Seen>), Response::refusal(404, "there is no such note")],
        handle: Handle::Call(|_, call| Box::pin(read(call))),
    },
];

pub(crate) const FAULTS: [Operation<App>; 3] = [
    fault("/panic", "panic", Handle::Call(|_, _| Box::pin(async { std::panic::resume_unwind(Box::new("unheard")) }))),
    fault("/stalled", "stalled", Handle::Call(|_, _| Box::pin(async { Err(Refusal::overloaded("the log stalls", 2)) }))),
    fault("/waiting", "waiting", Handle::Call(|app, _| Box::pin(wait(app)))),
];

const fn fault(path: &'static str, id: &'static str, handle: Handle<App>) -> Operation<App> {
    Operation { method: Method::POST, path, id, summary: id, description: id, parameters: &[], body: None, responses: &[], handle }
}

async fn write(call: Call) -> Result<Reply, Refusal> {
    let note: Note = strict::read(&call.body)?;
    if note.agent_id.is_empty() || 100 < note.agent_id.chars().count() || note.agent_id.chars().any(char::is_control) {
        return Err(Refusal::value("agentId", "is not 1 to 100 characters without control characters"));
    }
    if !(0.0..=1.0).contains(&note.value) {
        return Err(Refusal::value("value", "is not from 0 to 1"));
    }
    Reply::json(StatusCode::CREATED, &seen(&call, note.agent_id))
}

async fn read(call: Call) -> Result<Reply, Refusal> {
    match call.text("id") {
        None | Some("none") => Err(Refusal::new(StatusCode::NOT_FOUND, merit_gateway::code::ROUTE_UNKNOWN, "there is no such note")),
        Some(id) => Reply::json(StatusCode::OK, &seen(&call, id.to_owned())),
    }
}

async fn wait(app: Arc<App>) -> Result<Reply, Refusal> {
    app.waiting.add_permits(1);
    let _permit = app.gate.acquire().await;
    Ok(Reply::empty(StatusCode::NO_CONTENT))
}

fn seen(call: &Call, id: String) -> Seen {
    Seen {
        id,
        limit: call.count("limit"),
        bytes: call.body.len(),
        idempotency_key: call.idempotency_key.clone(),
        representation: call.prefer_representation,
        principal: call.principal.name().to_owned(),
    }
}

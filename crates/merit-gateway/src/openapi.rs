//! The OpenAPI 3.1 document of a table.

use bytes::Bytes;
use hyper::StatusCode;
use schemars::generate::SchemaSettings;
use schemars::{JsonSchema, SchemaGenerator};
use serde_json::{Map, Value, json};

use crate::operation::{About, Body, Content, Operation, Response};
use crate::parameter::{Parameter, Place};

/// Whatever a header can hold, of a header whose value refuses nothing.
const ANY_HEADER: &str = r"^[\t\u0020-\u007E\u0080-\u00FF]*$";

/// The document, as JSON.
pub(crate) fn document<A>(about: &About, operations: &[Operation<A>]) -> Bytes {
    let mut schemas =
        SchemaSettings::draft2020_12().with(|settings| settings.definitions_path = "/components/schemas".into()).into_generator();
    let error = schemas.subschema_for::<Error>();
    let mut paths = Map::new();
    for operation in operations {
        let methods = paths.entry(operation.path).or_insert_with(|| json!({}));
        let method = operation.method.as_str().to_ascii_lowercase();
        assert!(methods.get(&method).is_none(), "{} {} is twice in the table", operation.method, operation.path);
        methods[method] = of_operation(operation, &mut schemas);
    }
    let document = json!({
        "openapi": "3.1.0",
        "info": { "title": about.title, "version": about.version, "description": about.description },
        "servers": [{ "url": "/", "description": "where this document comes from" }],
        "paths": paths,
        "components": {
            "schemas": schemas.take_definitions(true),
            "responses": { "Error": error_response(error.into()) },
            "parameters": { "RequestId": request_id(), "Traceparent": traceparent(), "IdempotencyKey": idempotency_key(), "Prefer": prefer() },
            "headers": { "RequestId": { "description": "The request's name: the one sent, or one made.", "schema": { "type": "string" } } },
        },
    });
    Bytes::from(document.to_string())
}

/// The shape of every refusal. An operation may add fields.
#[derive(JsonSchema)]
#[serde(rename_all = "camelCase")]
#[expect(dead_code, reason = "its shape is all there is to it")]
struct Error {
    /// What is wrong, for a person.
    error: String,
    /// What is wrong, for a program: a name that keeps its meaning.
    code: String,
    /// The request's name, as in the header `X-Request-Id`.
    request_id: String,
}

fn of_operation<A>(operation: &Operation<A>, schemas: &mut SchemaGenerator) -> Value {
    let mut object = json!({
        "operationId": operation.id,
        "summary": operation.summary,
        "description": operation.description,
        "tags": [operation.path.split('/').nth(1).unwrap_or_default()],
        "parameters": parameters(operation),
        "responses": responses(operation, schemas),
    });
    if let Some(body) = operation.body {
        object["requestBody"] = request_body(body, schemas);
    }
    object
}

fn parameters<A>(operation: &Operation<A>) -> Vec<Value> {
    let own = operation.parameters.iter().map(parameter);
    let shared =
        ["RequestId", "Traceparent"].into_iter().chain(operation.mutates().then_some(["IdempotencyKey", "Prefer"]).into_iter().flatten());
    own.chain(shared.map(|name| json!({ "$ref": format!("#/components/parameters/{name}") }))).collect()
}

fn parameter(parameter: &Parameter) -> Value {
    let place = match parameter.place {
        Place::Path => "path",
        Place::Query => "query",
        Place::Header => "header",
    };
    json!({
        "name": parameter.name,
        "in": place,
        "required": parameter.required,
        "description": parameter.description,
        "schema": parameter.kind.schema(),
    })
}

fn request_body(body: Body, schemas: &mut SchemaGenerator) -> Value {
    json!({
        "required": true,
        "description": format!("At most {} bytes.", body.limit),
        "content": { "application/json": { "schema": (body.schema)(schemas), "example": written(body.example) } },
    })
}

/// What the handler answers, and what the door answers for it.
fn responses<A>(operation: &Operation<A>, schemas: &mut SchemaGenerator) -> Value {
    let mut all = Map::new();
    for response in operation.responses {
        all.insert(response.status.to_string(), of_response(response, schemas));
    }
    for status in by_the_door(operation) {
        all.entry(status.as_str()).or_insert_with(|| json!({ "$ref": "#/components/responses/Error" }));
    }
    all.sort_keys();
    Value::Object(all)
}

fn of_response(response: &Response, schemas: &mut SchemaGenerator) -> Value {
    let content = match response.content {
        Content::Empty => json!({}),
        Content::Error => json!({ "application/json": { "schema": { "$ref": "#/components/schemas/Error" } } }),
        Content::Json(schema, None) => json!({ "application/json": { "schema": schema(schemas) } }),
        Content::Json(schema, Some(example)) => json!({ "application/json": { "schema": schema(schemas), "example": written(example) } }),
        Content::Text(media_type) => json!({ media_type: { "schema": { "type": "string" } } }),
    };
    json!({ "description": response.description, "headers": request_id_header(), "content": content })
}

/// Statuses of the door's own refusals, `code.rs`.
fn by_the_door<A>(operation: &Operation<A>) -> impl Iterator<Item = StatusCode> {
    let any = [
        StatusCode::BAD_REQUEST,
        StatusCode::MISDIRECTED_REQUEST,
        StatusCode::TOO_MANY_REQUESTS,
        StatusCode::INTERNAL_SERVER_ERROR,
        StatusCode::SERVICE_UNAVAILABLE,
    ];
    let with_body =
        [StatusCode::REQUEST_TIMEOUT, StatusCode::PAYLOAD_TOO_LARGE, StatusCode::UNSUPPORTED_MEDIA_TYPE, StatusCode::UNPROCESSABLE_ENTITY];
    any.into_iter().chain(operation.body.map(|_| with_body).into_iter().flatten())
}

fn error_response(schema: Value) -> Value {
    json!({
        "description": "Refused; `code` says why, and docs/errors.md what to do.",
        "headers": {
            "X-Request-Id": { "$ref": "#/components/headers/RequestId" },
            "Retry-After": { "description": "Seconds after which it may go well; with 429 and 503.", "schema": { "type": "integer", "minimum": 1 } },
        },
        "content": { "application/json": { "schema": schema } },
    })
}

fn request_id_header() -> Value {
    json!({ "X-Request-Id": { "$ref": "#/components/headers/RequestId" } })
}

fn request_id() -> Value {
    json!({
        "name": "X-Request-Id", "in": "header", "schema": { "type": "string", "pattern": ANY_HEADER },
        "description": "A name for the request: 1 to 128 of `A-Z a-z 0-9 . _ -`. Another is made where none or no such is given.",
    })
}

fn traceparent() -> Value {
    json!({
        "name": "traceparent", "in": "header", "schema": { "type": "string", "pattern": ANY_HEADER },
        "description": "W3C Trace Context level 1. A valid one comes back; an invalid one counts as none.",
    })
}

fn idempotency_key() -> Value {
    json!({
        "name": "Idempotency-Key", "in": "header", "schema": { "type": "string", "minLength": 1, "maxLength": 255, "pattern": "^[!-~]+$" },
        "description": "With the same key the same request has its effect once.",
    })
}

fn prefer() -> Value {
    json!({
        "name": "Prefer", "in": "header", "schema": { "type": "string", "pattern": ANY_HEADER },
        "description": "`return=representation` asks for the whole of what was made, where the operation can give it.",
    })
}

fn written(example: &str) -> Value {
    serde_json::from_str(example).expect("examples of a table are JSON")
}

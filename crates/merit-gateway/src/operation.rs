//! The table that a service is made of.

use std::pin::Pin;
use std::sync::Arc;

use hyper::Method;
use schemars::{JsonSchema, Schema, SchemaGenerator};

use crate::call::Call;
use crate::limits::BODY_BYTES;
use crate::parameter::Parameter;
use crate::refusal::Refusal;
use crate::reply::Reply;

/// What a service says of itself in its document.
#[derive(Clone, Copy, Debug)]
pub struct About {
    pub title: &'static str,
    pub version: &'static str,
    /// Markdown.
    pub description: &'static str,
}

/// What a handler gives back.
pub type Answer = Pin<Box<dyn Future<Output = Result<Reply, Refusal>> + Send>>;

/// Writes a schema and, into the generator, those that it refers to: [`schema_of`] of a type.
pub type SchemaOf = fn(&mut SchemaGenerator) -> Schema;

/// Schema of a type by reference into `components`.
pub fn schema_of<T: JsonSchema>(generator: &mut SchemaGenerator) -> Schema {
    generator.subschema_for::<T>()
}

/// Who answers.
#[derive(Debug)]
pub enum Handle<A> {
    Call(fn(Arc<A>, Call) -> Answer),
    /// The OpenAPI document.
    Document,
    /// The page that shows it.
    Page,
}

/// The JSON that an operation reads.
#[derive(Clone, Copy, Debug)]
pub struct Body {
    pub schema: SchemaOf,
    /// In bytes.
    pub limit: usize,
    /// JSON text.
    pub example: &'static str,
}

/// A body within the usual limit.
pub const fn json(schema: SchemaOf, example: &'static str) -> Body {
    Body { schema, limit: BODY_BYTES, example }
}

/// An answer that an operation's handler gives. What the door itself answers is added to the document for every operation.
#[derive(Clone, Copy, Debug)]
pub struct Response {
    pub status: u16,
    pub description: &'static str,
    pub content: Content,
}

/// What an answer holds.
#[derive(Clone, Copy, Debug)]
pub enum Content {
    Empty,
    /// The shape of every refusal.
    Error,
    Json(SchemaOf, /** An example as JSON text. */ Option<&'static str>),
    /// Text of a media type.
    Text(&'static str),
}

impl Response {
    pub const fn json(status: u16, description: &'static str, schema: SchemaOf) -> Response {
        Response { status, description, content: Content::Json(schema, None) }
    }

    pub const fn example(status: u16, description: &'static str, schema: SchemaOf, example: &'static str) -> Response {
        Response { status, description, content: Content::Json(schema, Some(example)) }
    }

    pub const fn refusal(status: u16, description: &'static str) -> Response {
        Response { status, description, content: Content::Error }
    }
}

/// A method on a path.
#[derive(Debug)]
pub struct Operation<A> {
    pub method: Method,
    /// `/eval/agent/{id}/score`; each name in braces has a [`Parameter`] in [`Place::Path`](crate::Place::Path).
    pub path: &'static str,
    /// `operationId` of the document and label of the metrics; unique.
    pub id: &'static str,
    pub summary: &'static str,
    /// Markdown.
    pub description: &'static str,
    pub parameters: &'static [Parameter],
    /// `None`: a body is refused.
    pub body: Option<Body>,
    pub responses: &'static [Response],
    pub handle: Handle<A>,
}

impl<A> Operation<A> {
    /// Can change something, so `Idempotency-Key` counts.
    pub(crate) fn mutates(&self) -> bool {
        !self.method.is_safe()
    }
}

/// What every service has beside its own operations.
pub(crate) const fn own<A>() -> [Operation<A>; 2] {
    let document = &const { [Response::json(200, "the document", |_| schemars::json_schema!({ "type": "object" }))] };
    let page = &const { [Response { status: 200, description: "the page", content: Content::Text("text/html") }] };
    [
        Operation {
            method: Method::GET,
            path: "/openapi.json",
            id: "openapi",
            summary: "This document",
            description: "OpenAPI 3.1, made from the table that requests are routed by.",
            parameters: &[],
            body: None,
            responses: document,
            handle: Handle::Document,
        },
        Operation {
            method: Method::GET,
            path: "/docs",
            id: "docs",
            summary: "This document as a page",
            description: "One page that needs nothing else.",
            parameters: &[],
            body: None,
            responses: page,
            handle: Handle::Page,
        },
    ]
}

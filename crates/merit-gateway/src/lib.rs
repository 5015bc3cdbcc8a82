//! The HTTP door: connections and their limits, routes and parameters, strict JSON, refusals in one shape, the OpenAPI document.
//!
//! A service is a `const` table of [`Operation`]s over one application value. Routing, limits and the document at
//! `/openapi.json` all come from that table, so they cannot differ.
//!
//! What a request meets, in order: the connection limit, the header limit in time and size, the host, the rate of its principal, the
//! route, the method, the parameters, the content type, the body limit in time and size, and then the operation's handler, within the
//! request limit. Whatever refuses answers `{ "error", "code", "requestId" }`, bytes that are no request too.
//!
//! The door does not know what an operation does: [`api`] holds the services, [`model`] what they read, [`ops`] how they are.

pub mod api;
mod begun;
pub mod call;
pub mod code;
mod connection;
pub mod counters;
pub mod door;
pub mod limits;
pub mod model;
pub mod openapi;
pub mod operation;
pub mod ops;
mod pace;
pub mod parameter;
mod rate;
pub mod refusal;
pub mod reply;
mod route;
pub mod service;
pub mod strict;

pub use call::{Call, Principal, RequestId, Traceparent};
pub use door::{DoorError, bind, raise_file_limit, serve};
pub use limits::Limits;
pub use operation::{About, Answer, Body, Handle, Operation, Response, json, schema_of};
pub use parameter::{Kind, Parameter, Place};
pub use refusal::Refusal;
pub use reply::Reply;
pub use service::Service;

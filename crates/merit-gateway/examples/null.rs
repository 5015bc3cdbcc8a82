//! A door with one operation that reads nothing: what a request costs before Merit does anything.
//!
//! `cargo run --release -p merit-gateway --example null -- [current|multi] [PORT]`, then
//! `wrk -t2 -c200 -d10 -s crates/merit-gateway/examples/null.lua http://127.0.0.1:PORT/eval/submit`.

use std::net::SocketAddr;
use std::sync::Arc;

use hyper::{Method, StatusCode};
use merit_gateway::{About, Call, Handle, Limits, Operation, Refusal, Reply, Response, Service, bind, json, raise_file_limit, serve};

const ABOUT: About = About { title: "Null", version: "0.1.0", description: "Reads nothing." };

/// 400 bytes, as long as the answer to a report.
const ANSWER: &str = concat!(
    r#"{"reportId":"b7f6a6f5-0e14-4b4c-bd9c-4b9bfdd58aec","score":{"agentId":"agent-123","score":0.92,"confidence":0.7,"#,
    r#""components":{"components":[{"metric":"successRate","value":0.93},{"metric":"latencyScore","value":0.9}]},"window":"1h","#,
    r#""computedAt":"2025-01-17T18:00:01Z"},"promotion":{"id":"e82f6d0e-0e14-4b4c-bd9c-4b9bfdd58aec","agentId":"agent-123","#,
    r#""action":"promote","status":"pending","confidence":0.7}}"#,
);

const OPERATIONS: [Operation<()>; 1] = [Operation {
    method: Method::POST,
    path: "/eval/submit",
    id: "submit",
    summary: "Take a report",
    description: "And throw it away.",
    parameters: &[],
    body: Some(json(|_| schemars::json_schema!({ "type": "object" }), "{}")),
    responses: &[Response::json(200, "always the same", |_| schemars::json_schema!({ "type": "object" }))],
    handle: Handle::Call(|_, call| Box::pin(submit(call))),
}];

async fn submit(_: Call) -> Result<Reply, Refusal> {
    Ok(Reply::written(StatusCode::OK, "application/json", ANSWER))
}

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let arguments: Vec<String> = std::env::args().collect();
    let port = arguments.get(2).map_or(Ok(8051), |port| port.parse())?;
    let mut builder = match arguments.get(1).map(String::as_str) {
        Some("current") => tokio::runtime::Builder::new_current_thread(),
        _ => tokio::runtime::Builder::new_multi_thread(),
    };
    raise_file_limit()?;
    builder.worker_threads(2).enable_all().build()?.block_on(async {
        let listener = bind(SocketAddr::from(([127, 0, 0, 1], port)))?;
        let service = Arc::new(Service::new(Arc::new(()), &ABOUT, OPERATIONS, Limits::default()));
        serve(listener, service, std::future::pending()).await;
        Ok(())
    })
}

//! The server that only answers: the door and the routes of the evaluation service, with nothing behind them.

use crate::failure::Failure;
use crate::output::Output;
use clap::Args;
use merit_gateway::api::evaluation;
use merit_gateway::{About, Call, Handle, Limits, Operation, Refusal, Reply, Service, bind, raise_file_limit, serve};
use serde_json::json;
use std::net::{Ipv4Addr, SocketAddr};
use std::num::NonZeroU32;
use std::sync::Arc;

/// As long as the answer to a report that promotes, the longest there is, in bytes.
const ANSWER_BYTES: usize = 850;

const ABOUT: About = About { title: "Null", version: env!("CARGO_PKG_VERSION"), description: "Answers, and does nothing else." };

#[derive(Args)]
pub(crate) struct NullHttp {}

impl NullHttp {
    /// Serves until it is killed.
    pub(in crate::bench) fn run(self, out: &mut Output) -> Result<(), Failure> {
        let unserved = |error: merit_gateway::DoorError| Failure::new(crate::code::LISTEN, error.to_string());
        raise_file_limit().map_err(unserved)?;
        tokio::runtime::Builder::new_multi_thread().enable_all().build()?.block_on(async {
            let listener = bind(SocketAddr::from((Ipv4Addr::LOCALHOST, 0))).map_err(unserved)?;
            out.line(json!({ "evaluation": listener.local_addr()?.to_string() }).to_string())?;
            out.finish()?;
            let answer: Arc<str> = format!("{{\"reportId\":\"{}\"}}", "0".repeat(ANSWER_BYTES - 15)).into();
            let operations = evaluation().into_iter().map(|operation| Operation {
                method: operation.method,
                path: operation.path,
                id: operation.id,
                summary: operation.summary,
                description: operation.description,
                parameters: operation.parameters,
                body: operation.body,
                responses: operation.responses,
                handle: Handle::Call(|answer, call| Box::pin(answered(answer, call))),
            });
            // It answers more than one caller may ask for.
            let limits = Limits { rate: NonZeroU32::MAX, ..Limits::default() };
            let service = Service::new(Arc::new(answer), &ABOUT, operations, limits);
            serve(listener, Arc::new(service), std::future::pending()).await;
            Ok(())
        })
    }
}

async fn answered(answer: Arc<Arc<str>>, _: Call) -> Result<Reply, Refusal> {
    Ok(Reply::written(hyper::StatusCode::OK, "application/json", answer.as_bytes().to_vec()))
}

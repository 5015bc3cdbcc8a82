//! The application that the tests put behind the door, to be looked at: `cargo run --release -p merit-gateway --example notes -- 8051`,
//! then open <http://localhost:8051/docs>.

#[path = "../tests/door/app.rs"]
mod app;

use std::net::SocketAddr;
use std::sync::Arc;

use merit_gateway::{Limits, Service, bind, raise_file_limit, serve};
use tokio::sync::Semaphore;

#[tokio::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let port = std::env::args().nth(1).map_or(Ok(8051), |port| port.parse())?;
    raise_file_limit()?;
    let listener = bind(SocketAddr::from(([127, 0, 0, 1], port)))?;
    let app = Arc::new(app::App { gate: Semaphore::new(0), waiting: Semaphore::new(0) });
    let operations = app::NOTES.into_iter().chain(app::FAULTS);
    let service = Service::new(app, &app::ABOUT, operations, Limits::default());
    serve(listener, Arc::new(service), std::future::pending()).await;
    Ok(())
}

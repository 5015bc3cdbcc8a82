//! The listeners: where they stand, and how they end.

use crate::code;
use crate::failure::Failure;
use crate::output::Output;
use merit_gateway::api::{App, allocation, evaluation};
use merit_gateway::operation::About;
use merit_gateway::{DoorError, Limits, Service, bind, raise_file_limit, serve};
use std::error::Error;
use std::net::{SocketAddr, ToSocketAddrs};
use std::sync::Arc;
use tokio::net::TcpListener;
use tokio::runtime::Runtime;
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::sync::{oneshot, watch};

const EVALUATION: About =
    About { title: "Merit evaluation service", version: env!("CARGO_PKG_VERSION"), description: "Reports in, scores and promotions out." };

const ALLOCATION: About = About {
    title: "Merit resource allocator",
    version: env!("CARGO_PKG_VERSION"),
    description: "Requests for GPUs, and what becomes of them.",
};

/// Where the services listen.
pub(super) struct Addresses {
    evaluation: SocketAddr,
    allocation: SocketAddr,
}

impl Addresses {
    /// Those of the environment, else seed 001's on loopback.
    pub(super) fn from_environment() -> Result<Addresses, Failure> {
        let evaluation = address("EVAL_ENGINE_ADDR", "127.0.0.1:8051")?;
        Ok(Addresses { evaluation, allocation: address("RESOURCE_ALLOCATOR_ADDR", "127.0.0.1:8052")? })
    }
}

fn address(variable: &str, default: &str) -> Result<SocketAddr, Failure> {
    let text = std::env::var(variable).unwrap_or_else(|_| default.into());
    let invalid = || Failure::new(code::ENVIRONMENT_INVALID, format!("{variable} is {text:?}, which is no address: give HOST:PORT"));
    text.to_socket_addrs().ok().and_then(|mut found| found.next()).ok_or_else(invalid)
}

/// Services that listen, and do not serve yet.
pub(super) struct Services {
    runtime: Runtime,
    evaluation: (TcpListener, Arc<Service<App>>),
    allocation: (TcpListener, Arc<Service<App>>),
    /// Heard from before anybody is told the addresses: who stops Merit by a signal then stops it cleanly.
    terminate: Signal,
    interrupt: Signal,
}

impl Services {
    /// Opens the doors.
    pub(super) fn start(app: App, addresses: &Addresses) -> Result<Services, Failure> {
        raise_file_limit().map_err(failed)?;
        let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build();
        let runtime = runtime
            .map_err(|error| Failure::new(code::LISTEN, "could not start the threads of the services").because(error.to_string()))?;
        let app = Arc::new(app);
        let deaf = |error: std::io::Error| Failure::new(code::LISTEN, "could not listen to signals").because(error.to_string());
        let (evaluation, allocation, terminate, interrupt) = {
            let _entered = runtime.enter();
            let (terminate, interrupt) = (signal(SignalKind::terminate()).map_err(deaf)?, signal(SignalKind::interrupt()).map_err(deaf)?);
            let service = |about, operations| Arc::new(Service::new(Arc::clone(&app), about, operations, Limits::default()));
            let evaluation = (bind(addresses.evaluation).map_err(failed)?, service(&EVALUATION, evaluation()));
            let allocation = (bind(addresses.allocation).map_err(failed)?, service(&ALLOCATION, allocation()));
            (evaluation, allocation, terminate, interrupt)
        };
        Ok(Services { runtime, evaluation, allocation, terminate, interrupt })
    }

    /// Says where they are.
    pub(super) fn announce(&self, out: &mut Output) -> Result<(), Failure> {
        let at = |listener: &TcpListener| listener.local_addr().map_or_else(|_| "?".into(), |address| address.to_string());
        let (evaluation, allocation) = (at(&self.evaluation.0), at(&self.allocation.0));
        if out.json {
            out.line(serde_json::json!({ "evaluation": evaluation, "allocation": allocation }).to_string())?;
        } else {
            out.line(format!("evaluation  http://{evaluation}  (operations: /docs)"))?;
            out.line(format!("allocation  http://{allocation}  (operations: /docs)"))?;
            out.line("plain HTTP on loopback: whoever reaches these addresses is the local principal")?;
        }
        out.finish()
    }

    /// Serves until a signal comes, or the pipeline ends.
    pub(super) fn serve(self, ended: oneshot::Receiver<()>) {
        let Services { runtime, evaluation, allocation, mut terminate, mut interrupt } = self;
        runtime.block_on(async {
            let (stop, stopping) = watch::channel(false);
            let until = |mut stopping: watch::Receiver<bool>| async move {
                // A sender that is gone has stopped, too.
                let _ = stopping.wait_for(|stop| *stop).await;
            };
            let doors = [evaluation, allocation].map(|(listener, service)| tokio::spawn(serve(listener, service, until(stopping.clone()))));
            tokio::select! {
                _ = terminate.recv() => {}
                _ = interrupt.recv() => {}
                _ = ended => {}
            }
            stop.send_replace(true);
            for door in doors {
                // A door that panicked said so.
                let _ = door.await;
            }
        });
    }
}

fn failed(error: DoorError) -> Failure {
    let code = match &error {
        DoorError::NotLoopback { .. } => code::NOT_LOOPBACK,
        DoorError::Listen { .. } | DoorError::FileLimit { .. } => code::LISTEN,
    };
    let cause = error.source().map(ToString::to_string);
    let failure = Failure::new(code, error.to_string());
    match cause {
        Some(cause) => failure.because(cause),
        None => failure,
    }
}

//! The listeners: where they stand, and how they end.

use super::diary::Refusals;
use crate::code;
use crate::failure::Failure;
use crate::output::Output;
use merit_gateway::api::{App, allocation, evaluation};
use merit_gateway::operation::About;
use merit_gateway::ops::health::{Health, Phase};
use merit_gateway::ops::metrics::Metrics;
use merit_gateway::ops::{Ops, operations};
use merit_gateway::{DoorError, Limits, Service, bind, raise_file_limit, serve};
use std::error::Error;
use std::net::{SocketAddr, ToSocketAddrs};
use std::ops::ControlFlow;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;
use tokio::runtime::Runtime;
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::{oneshot, watch};
use tokio::task::JoinHandle;
use tracing::info;

const EVALUATION: About =
    About { title: "Merit evaluation service", version: env!("CARGO_PKG_VERSION"), description: "Reports in, scores and promotions out." };

const ALLOCATION: About = About {
    title: "Merit resource allocator",
    version: env!("CARGO_PKG_VERSION"),
    description: "Requests for GPUs, and what becomes of them.",
};

const OPERATIONS: About = About {
    title: "Merit operations",
    version: env!("CARGO_PKG_VERSION"),
    description: "Whether Merit works, and what it does in numbers.",
};

/// Between two looks at what gathers while nobody asks.
const UPKEEP: Duration = Duration::from_secs(1);

/// Where the services listen.
pub(super) struct Addresses {
    operations: SocketAddr,
    evaluation: SocketAddr,
    allocation: SocketAddr,
}

impl Addresses {
    /// Those of the environment, else seed 001's on loopback.
    pub(super) fn from_environment() -> Result<Addresses, Failure> {
        Ok(Addresses {
            operations: address("MERIT_OPS_ADDR", "127.0.0.1:8050")?,
            evaluation: address("EVAL_ENGINE_ADDR", "127.0.0.1:8051")?,
            allocation: address("RESOURCE_ALLOCATOR_ADDR", "127.0.0.1:8052")?,
        })
    }
}

fn address(variable: &str, default: &str) -> Result<SocketAddr, Failure> {
    let text = std::env::var(variable).unwrap_or_else(|_| default.into());
    let invalid = || Failure::new(code::ENVIRONMENT_INVALID, format!("{variable} is {text:?}, which is no address: give HOST:PORT"));
    text.to_socket_addrs().ok().and_then(|mut found| found.next()).ok_or_else(invalid)
}

/// Services that are open.
pub(super) struct Services {
    runtime: Runtime,
    health: Arc<Health>,
    metrics: Arc<Metrics>,
    refusals: Arc<Mutex<Refusals>>,
    operations: Door,
}

/// The signal that tells Merit to end, once it came.
pub(super) struct EndSignal(watch::Receiver<Option<&'static str>>);

impl EndSignal {
    /// Whether to go on with what takes long.
    pub(super) fn go_on(&self) -> ControlFlow<()> {
        if self.0.borrow().is_some() { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
    }
}

/// A listener that serves until it is told to close.
pub(super) struct Door {
    name: &'static str,
    address: SocketAddr,
    close: watch::Sender<bool>,
    served: JoinHandle<()>,
}

impl Services {
    /// Opens the door of the operations, which answers from here on; the others follow once there is something behind them.
    pub(super) fn start(health: &Arc<Health>, metrics: &Arc<Metrics>, addresses: &Addresses) -> Result<Services, Failure> {
        raise_file_limit().map_err(failed)?;
        let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build();
        let runtime = runtime
            .map_err(|error| Failure::new(code::LISTEN, "could not start the threads of the services").because(error.to_string()))?;
        let ops = Arc::new(Ops { health: Arc::clone(health), metrics: Arc::clone(metrics) });
        let refusals = Arc::default();
        let service = Service::new(ops, &OPERATIONS, operations(), Limits::default());
        let operations = open(&runtime, metrics, &refusals, "operations", addresses.operations, service)?;
        runtime.spawn(upkeep(Arc::clone(metrics), Arc::clone(&refusals)));
        let (health, metrics) = (Arc::clone(health), Arc::clone(metrics));
        Ok(Services { runtime, health, metrics, refusals, operations })
    }

    /// Listens to signals from here on: until then one ends the process by itself.
    pub(super) fn listen_to_signals(&self) -> Result<EndSignal, Failure> {
        let deaf = |error: std::io::Error| Failure::new(code::LISTEN, "could not listen to signals").because(error.to_string());
        let _entered = self.runtime.enter();
        let mut terminate = signal(SignalKind::terminate()).map_err(deaf)?;
        let mut interrupt = signal(SignalKind::interrupt()).map_err(deaf)?;
        let (tell, told) = watch::channel(None);
        self.runtime.spawn(async move {
            let signal = tokio::select! {
                _ = terminate.recv() => "SIGTERM",
                _ = interrupt.recv() => "SIGINT",
            };
            info!(signal, "told to end");
            tell.send_replace(Some(signal));
        });
        Ok(EndSignal(told))
    }

    /// Opens the doors of evaluation and allocation.
    pub(super) fn open(&self, app: App, addresses: &Addresses) -> Result<Vec<Door>, Failure> {
        let app = Arc::new(app);
        let service = |about, operations| Service::new(Arc::clone(&app), about, operations, Limits::default());
        let doors = [
            ("evaluation", addresses.evaluation, service(&EVALUATION, evaluation())),
            ("allocation", addresses.allocation, service(&ALLOCATION, allocation())),
        ];
        let open = |(name, address, service)| open(&self.runtime, &self.metrics, &self.refusals, name, address, service);
        let doors = doors.into_iter().map(open).collect::<Result<Vec<Door>, Failure>>()?;
        self.health.enter(Phase::Ready);
        Ok(doors)
    }

    /// Says where they are.
    pub(super) fn announce(&self, opened: &[Door], out: &mut Output) -> Result<(), Failure> {
        let doors = || opened.iter().chain([&self.operations]);
        if out.json {
            let addresses = doors().map(|door| (door.name.to_owned(), door.address.to_string().into()));
            out.line(serde_json::Value::Object(addresses.collect()).to_string())?;
        } else {
            for door in doors() {
                out.line(format!("{:<10}  http://{}  (operations: /docs)", door.name, door.address))?;
            }
            out.line("plain HTTP on loopback: whoever reaches these addresses is the local principal")?;
        }
        out.finish()
    }

    /// Serves until a signal comes, or the pipeline ends; then closes every door but that of the operations.
    pub(super) fn serve(&self, doors: Vec<Door>, EndSignal(mut told): EndSignal, ended: oneshot::Receiver<()>) {
        self.runtime.block_on(async {
            let why = tokio::select! {
                Ok(signal) = told.wait_for(Option::is_some) => signal.unwrap_or_default(),
                _ = ended => "the pipeline stopped",
            };
            self.health.enter(Phase::Ending);
            info!(why, "merit ends");
            for door in &doors {
                door.close.send_replace(true);
            }
            for door in doors {
                // A door that panicked said so.
                let _ = door.served.await;
            }
        });
    }

    /// Closes what is open.
    pub(super) fn close(self) {
        self.operations.close.send_replace(true);
        // A door that panicked said so.
        let _ = self.runtime.block_on(self.operations.served);
    }
}

fn open<A: Send + Sync + 'static>(
    runtime: &Runtime,
    metrics: &Metrics,
    refusals: &Mutex<Refusals>,
    name: &'static str,
    address: SocketAddr,
    service: Service<A>,
) -> Result<Door, Failure> {
    let _entered = runtime.enter();
    let listener = bind(address).map_err(failed)?;
    let address = listener.local_addr().unwrap_or(address);
    metrics.watch_door(name, service.counters());
    refusals.lock().unwrap_or_else(PoisonError::into_inner).watch(name, service.counters());
    let (close, mut closing) = watch::channel(false);
    let until = async move {
        // A sender that is gone has told it, too.
        let _ = closing.wait_for(|close| *close).await;
    };
    let served = runtime.spawn(serve(listener, Arc::new(service), until));
    info!(service = name, %address, "listens");
    Ok(Door { name, address, close, served })
}

/// Looks after what gathers while nobody asks.
async fn upkeep(metrics: Arc<Metrics>, refusals: Arc<Mutex<Refusals>>) {
    loop {
        tokio::time::sleep(UPKEEP).await;
        metrics.upkeep();
        refusals.lock().unwrap_or_else(PoisonError::into_inner).tell();
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

//! `merit run --kafka`: one of the copies that share the work on a cluster.

use super::services::{Addresses, EndSignal, Services};
use super::{Behind, Follower, Pipeline, Run};
use crate::failure::Failure;
use crate::output::Output;
use crate::session::{self, Deployed};
use merit_audit::Signer;
use merit_core::Datum;
use merit_core::record::ConfigEpoch;
use merit_gateway::ops::health::{Health, Phase};
use merit_gateway::ops::metrics::Metrics;
use merit_runtime::copy::Step;
use merit_runtime::epoch::{self, Wanted};
use merit_runtime::kafka::clock::Listener;
use merit_runtime::kafka::in_force::InForce;
use merit_runtime::kafka::live::{self, Live};
use merit_runtime::kafka::topics::Topics;
use merit_runtime::kafka::{Cluster, ClusterError, Event, Mirror, Worker, admin, worker};
use merit_runtime::layout::Layout;
use merit_runtime::store::{Store, Sync};
use merit_runtime::{LOGIC_VERSION, RuntimeError, key};
use merit_topology::Topology;
use std::ops::ControlFlow;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::thread::JoinHandle;
use std::time::Instant;
use tokio::sync::oneshot;
use tracing::{info, warn};

/// Name of the file that holds the name of the copy.
const INSTANCE: &str = "instance";

impl Run {
    pub(super) fn run_copy(self, deployed: Deployed, addresses: Addresses, topology: &Topology, out: &mut Output) -> Result<(), Failure> {
        super::diary::begin(out.json);
        let health = Arc::new(Health::default());
        let metrics = Arc::new(Metrics::new(env!("CARGO_PKG_VERSION"), LOGIC_VERSION));
        let services = Services::start(&health, &metrics, &addresses)?;
        let Deployed { cluster, layout, topics } = &deployed;
        let signer = Signer::new(&topology.key_name, &key::read(&session::key_path(&self.place, self.audit_key.as_ref()))?);
        let found = {
            let (cluster, topics, layout) = (cluster.clone(), Arc::clone(topics), Arc::clone(layout));
            std::thread::spawn(move || found(&cluster, &topics, &layout))
        };
        let directory = self.place.data_dir.clone();
        let store = std::thread::spawn(move || Store::open(&directory, Sync::System));
        let checked = admin::check(cluster, topics, topology);
        let store = joined(store);
        // What comes first is the reason of what follows, which then is not waited for: a topic that is missing may be on its way to
        // the brokers for all that its reader knows.
        checked?;
        let in_force = in_force(joined(found)?, cluster, topics, layout, topology, &signer)?;
        let store = Arc::new(store?);
        let topics = deployed.topics_with_schemas(topology, Some(&self.place.data_dir))?;
        let Deployed { cluster, layout, .. } = deployed;
        let instance = instance(&self.place.data_dir)?;
        // Either takes the directory for this cluster, before anything is written to it.
        let log = match self.headless {
            true => Log::Heard(Box::new(Listener::open(&cluster, &layout, &topics, &store)?)),
            false => Log::Mirrored(Box::new(Mirror::open(&cluster, &layout, &topics, &store)?)),
        };
        info!(instance, brokers = cluster.brokers, "joins the group");
        let parts = worker::Parts {
            cluster: cluster.clone(),
            instance,
            in_force,
            layout: Arc::clone(&layout),
            topics: Arc::clone(&topics),
            signer,
            store: Arc::clone(&store),
            runtime: topology.runtime,
        };
        // Its tasks need no service: they begin while the log is being copied.
        let (owns_ledger, gone) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicBool::new(false)));
        let ready = self.headless.then(|| Arc::clone(&health));
        let told = Told { layout: Arc::clone(&layout), owns_ledger: Arc::clone(&owns_ledger), ready };
        // From here on a copy that ends hands its tasks over.
        let end_signal = services.listen_to_signals()?;
        let end = Arc::clone(&gone);
        let worker = Worker::start(parts, move |event| told.tell(event), move || end.store(true, Relaxed))?;
        let parts = live::Parts { cluster, layout: Arc::clone(&layout), topics, owns_ledger, gone };
        match log {
            Log::Heard(listener) => serve_nobody(worker, parts, *listener, services, end_signal, health, out)?,
            Log::Mirrored(mirror) => {
                let behind = Behind { directory: &self.place.data_dir, store, layout, addresses, services, end_signal, health, metrics };
                serve(worker, parts, *mirror, behind, out)?;
            }
        }
        info!("everything computed is committed and checkpointed");
        out.line(if out.json { r#"{"stopped":true}"# } else { "stopped: everything computed is committed and checkpointed" })
    }
}

/// What a copy has of the log beside the inputs of its tasks.
enum Log {
    /// All of it, in its directory.
    Mirrored(Box<Mirror>),
    /// What the clock goes by.
    Heard(Box<Listener>),
}

/// Brings the mirror up to the log, and serves until the end.
fn serve(worker: Worker, parts: live::Parts, mut mirror: Mirror, behind: Behind<'_>, out: &mut Output) -> Result<(), Failure> {
    let (began, mut offsets) = (Instant::now(), 0);
    let caught_up = mirror.catch_up(|done, of| {
        offsets = of;
        out.progress(&format!("log: {done} of {of} offsets copied"));
        if parts.gone.load(Relaxed) { ControlFlow::Break(()) } else { behind.end_signal.go_on() }
    })?;
    out.progress("");
    if caught_up.is_break() {
        return Ok(worker.stop()?);
    }
    info!(offsets, seconds = began.elapsed().as_secs_f64(), "the copy of the log is up to it");
    let Some(fold) = behind.fold(out)? else { return Ok(worker.stop()?) };
    let begin = |follower: Follower, copy: &str| {
        let live = Live::start(parts, mirror, copy.to_owned(), follower, undelivered)?;
        Ok(Pipeline { inbox: live.inbox(), stop: Box::new(move || end(live, worker)) })
    };
    behind.serve(fold, begin, out)
}

/// Stands by until the end.
fn serve_nobody(
    worker: Worker,
    parts: live::Parts,
    listener: Listener,
    services: Services,
    end_signal: EndSignal,
    health: Arc<Health>,
    out: &mut Output,
) -> Result<(), Failure> {
    let (ended, end_heard) = oneshot::channel();
    let stopped = Arc::clone(&health);
    let ended = move || {
        stopped.pipeline_ended();
        // Nobody listens where the run ends for another reason.
        let _ = ended.send(());
    };
    let live = Live::headless(parts, listener, ended, undelivered)?;
    let stood_by = services.announce(&[], out).map(|()| services.serve(Vec::new(), end_signal, end_heard));
    health.enter(Phase::Ending);
    let stopped = end(live, worker);
    services.close();
    stopped?;
    stood_by
}

/// Ends both, and gives the reason where one of them had stopped before.
fn end(live: Live, worker: Worker) -> Result<(), RuntimeError> {
    let followed = live.stop();
    worker.stop()?;
    followed
}

fn undelivered(error: ClusterError) {
    warn!(error = error.to_string(), "commands did not arrive");
}

fn joined<R>(thread: JoinHandle<R>) -> R {
    thread.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))
}

/// The configuration in force, as far as everything is decided.
fn found(cluster: &Cluster, topics: &Arc<Topics>, layout: &Arc<Layout>) -> Result<Vec<u8>, RuntimeError> {
    let mut so_far = InForce::new(cluster, topics, layout, Vec::new())?.so_far();
    let found = so_far.configuration()?.epoch;
    // A consumer takes a tenth of a second to end, for a group that it is not in.
    std::thread::spawn(move || drop(so_far));
    Ok(found)
}

/// The configuration in force, which has to be that of this copy. A copy that was killed leaves a transaction open for ten seconds,
/// which this one ends once it begins: only a configuration that may be behind that is waited for.
fn in_force(
    found: Vec<u8>,
    cluster: &Cluster,
    topics: &Arc<Topics>,
    layout: &Arc<Layout>,
    topology: &Topology,
    signer: &Signer,
) -> Result<Vec<u8>, RuntimeError> {
    let parameters = epoch::parameters(topology);
    let wanted = Wanted { topology, parameters: &parameters, partitions: layout.report_partitions, emitter_key: signer.public() };
    if wanted.behind(&found, None)?.is_none() {
        return Ok(found);
    }
    let found = InForce::new(cluster, topics, layout, Vec::new())?.configuration()?.epoch;
    let Some(current) = ConfigEpoch::decode(&found) else { return Err(ClusterError::NotBegun.into()) };
    match wanted.behind(&found, None)? {
        None => Ok(found),
        Some(_) => Err(ClusterError::ConfigMismatch { number: current.number }.into()),
    }
}

/// The name of the copy in the group, for as long as its directory is there.
fn instance(directory: &Path) -> Result<String, RuntimeError> {
    let path = directory.join(INSTANCE);
    let failed = |error: std::io::Error| RuntimeError::Open { path: path.clone(), cause: error.to_string() };
    match std::fs::read_to_string(&path) {
        Ok(name) => Ok(name.trim().into()),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
            let mut bytes = [0; 8];
            let random = std::fs::File::open("/dev/urandom").and_then(|mut random| std::io::Read::read_exact(&mut random, &mut bytes));
            random.map_err(failed)?;
            let name = merit_core::id::Hex(&bytes).to_string();
            std::fs::write(&path, &name).map_err(failed)?;
            Ok(name)
        }
        Err(error) => Err(failed(error)),
    }
}

/// Tells what a copy does.
struct Told {
    layout: Arc<Layout>,
    /// Whether this copy owns the ledger.
    owns_ledger: Arc<AtomicBool>,
    /// What becomes ready once it has its tasks; none where services do once they are open.
    ready: Option<Arc<Health>>,
}

impl Told {
    fn tell(&self, event: Event) {
        match event {
            Event::Assigned { tasks } => {
                let of = |task: &usize| &self.layout.tasks[*task];
                let ledger = self.layout.find("alloc.requests", 0);
                self.owns_ledger.store(tasks.iter().any(|task| Some(of(task).input) == ledger), Relaxed);
                let names: Vec<String> = tasks.iter().map(|task| format!("{}/{}", of(task).name, of(task).partition)).collect();
                info!(tasks = names.join(" "), "the group gave this copy its tasks");
                if let Some(health) = &self.ready {
                    health.enter_from(|phase| *phase == Phase::Recovering, Phase::Ready);
                }
            }
            Event::Restoring { topic, partition, next, end } => info!(topic, partition, next, end, "restores state from a changelog"),
            Event::Waiting { step, since, cause } => {
                let cause = cause.unwrap_or_else(|| "Kafka says nothing".into());
                warn!(before = waits_for(step), seconds = since.as_secs(), cause, "waits");
            }
            Event::Trouble { cause } => warn!(cause, "the cluster has trouble"),
            Event::Resumed { after } => info!(seconds = after.as_secs_f64(), "goes on"),
        }
    }
}

/// What a copy waits for at a step, for a person.
fn waits_for(step: Step) -> &'static str {
    match step {
        Step::InitialiseProducer | Step::InitialiseChangelog => "the coordinator of its transactions",
        Step::Join => "the group",
        Step::ReadCommitted => "the committed offset of an input",
        Step::ReadChangelogEpoch | Step::ReadChangelogEnd | Step::ReadChangelog => "a changelog",
        Step::ReadOutputs => "what a task wrote before, up to its open transactions",
        Step::ReadInputs | Step::Poll => "inputs",
        Step::StoreRestored | Step::StoreCheckpoint => "its disk",
        Step::Begin | Step::Produce | Step::Answer | Step::Deliver => "the delivery of its records",
        Step::SendOffsets | Step::Commit | Step::Abort => "the end of a transaction",
        Step::BeginChangelog | Step::ProduceChangelog | Step::DeliverChangelog => "the delivery of a checkpoint",
        Step::FenceChangelog | Step::CommitChangelog | Step::AbortChangelog => "the end of a checkpoint's transaction",
    }
}

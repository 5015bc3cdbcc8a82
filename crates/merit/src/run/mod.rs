//! `merit run`: the pipeline live, behind its two HTTP services.

mod copy;
mod diary;
pub(crate) mod policy;
mod services;

use crate::code;
use crate::failure::Failure;
use crate::output::Output;
use crate::{Place, Reach, pools, session};
use clap::Args;
use merit_gateway::api::{App, Calls};
use merit_gateway::model::Fold;
use merit_gateway::ops::count::{Lag, Tally};
use merit_gateway::ops::health::{Health, Phase};
use merit_gateway::ops::metrics::{Latencies, Metrics};
use merit_policy::rule::ALLOW;
use merit_runtime::embedded::Committed;
use merit_runtime::layout::Layout;
use merit_runtime::live::{Inbox, Live, now};
use merit_runtime::store::Store;
use merit_runtime::{Engine, LOGIC_VERSION, Options, RuntimeError};
use services::{Addresses, EndSignal, Services};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::mpsc::{Receiver, sync_channel};
use std::thread::JoinHandle;
use std::time::Instant;
use tokio::sync::oneshot;
use tracing::info;

/// Commits that wait to be folded into the tables: behind so many the disk waits for them.
const FOLD_AHEAD: usize = 64;

#[derive(Args)]
#[command(after_help = "With --kafka it is one of the copies that share the work on a cluster; without, the log is in the data directory.")]
pub(crate) struct Run {
    #[command(flatten)]
    place: Place,
    /// The emitter key; made at DIR/audit.key by default.
    #[arg(long, value_name = "FILE")]
    audit_key: Option<PathBuf>,
    #[command(flatten)]
    reach: Reach,
    /// Run tasks and nothing else: no copy of the log, no read models, and no door but that of the operations. Other copies answer calls.
    #[arg(long, requires = "kafka")]
    headless: bool,
}

impl Run {
    pub(crate) fn run(self, out: &mut Output) -> Result<(), Failure> {
        session::refuse_in_use(&self.place)?;
        let addresses = Addresses::from_environment()?;
        let topology = session::topology(self.place.topology.as_deref())?;
        if let Some(deployed) = session::cluster(&self.reach, &topology)? {
            return self.run_copy(deployed, addresses, &topology, out);
        }
        let policy = policy::from_environment()?;
        diary::begin(out.json);
        let health = Arc::new(Health::default());
        let metrics = Arc::new(Metrics::new(env!("CARGO_PKG_VERSION"), LOGIC_VERSION));
        let services = Services::start(&health, &metrics, &addresses)?;
        let began = Instant::now();
        let mut engine = session::open(&self.place, &topology, self.audit_key.as_ref(), Options::default())?;
        info!(inputs = engine.refolded, seconds = began.elapsed().as_secs_f64(), "recovered: inputs behind the checkpoint computed again");
        start_pools(&mut engine)?;
        policy::put_in_force(&mut engine, &policy)?;
        let (store, layout) = (engine.store().clone(), Arc::clone(engine.layout()));
        let end_signal = services.listen_to_signals()?;
        let behind = Behind { directory: &self.place.data_dir, store, layout, addresses, services, end_signal, health, metrics };
        let Some(fold) = behind.fold(out)? else {
            engine.close(Vec::new())?;
            return stopped(out);
        };
        let begin = |follower: Follower, _: &str| {
            let live = Live::start(engine, follower)?;
            Ok(Pipeline { inbox: live.inbox(), stop: Box::new(move || live.stop().map(drop)) })
        };
        behind.serve(fold, begin, out)?;
        stopped(out)
    }
}

/// Says that it ended as it was asked to.
fn stopped(out: &mut Output) -> Result<(), Failure> {
    info!("everything taken is on disk");
    out.line(if out.json { r#"{"stopped":true}"# } else { "stopped: everything taken is on disk" })
}

/// Takes every commit in order.
type Follower = Box<dyn FnMut(Committed) + Send>;

/// A pipeline that services stand before.
struct Pipeline {
    /// Where commands go.
    inbox: Inbox,
    /// Ends it; gives the reason where it had stopped before.
    stop: Box<dyn FnOnce() -> Result<(), RuntimeError>>,
}

/// What services stand on.
struct Behind<'p> {
    directory: &'p Path,
    /// The log, or a copy of it.
    store: Arc<Store>,
    layout: Arc<Layout>,
    addresses: Addresses,
    services: Services,
    end_signal: EndSignal,
    health: Arc<Health>,
    metrics: Arc<Metrics>,
}

impl Behind<'_> {
    /// Brings the read models up to the log; none where it was told to end meanwhile.
    fn fold(&self, out: &mut Output) -> Result<Option<Fold>, Failure> {
        let (began, mut folded) = (Instant::now(), 0);
        let fold = Fold::open(&self.store, &self.layout, &self.directory.join("read-models"), |done, of| {
            folded = of;
            self.health.enter(Phase::Folding { done, of });
            out.progress(&format!("read models: {done} of {of} records folded"));
            self.end_signal.go_on()
        })?;
        out.progress("");
        if fold.is_some() {
            info!(records = folded, seconds = began.elapsed().as_secs_f64(), "read models are up to the log");
        }
        Ok(fold)
    }

    /// Begins the pipeline with a follower and a name for answers, and serves until the end.
    fn serve(self, fold: Fold, begin: impl FnOnce(Follower, &str) -> Result<Pipeline, Failure>, out: &mut Output) -> Result<(), Failure> {
        let Behind { store, layout, addresses, services, end_signal, health, metrics, .. } = self;
        let copy = format!("{}-{:x}", std::process::id(), now().0);
        let calls = Arc::new(Calls::new(copy.clone()));
        let (tables, ids) = (Arc::clone(fold.tables()), Arc::clone(fold.ids()));
        let (send, committed) = sync_channel::<Committed>(FOLD_AHEAD);
        let lag = Lag::new(&metrics);
        let follower = move |commit: Committed| {
            lag.add(&commit.batches);
            // The thread that folds is gone only if it failed, which ends the run.
            drop(send.send(commit));
        };
        let Pipeline { inbox, stop } = begin(Box::new(follower), &copy)?;
        metrics.watch_pipeline(
            {
                let inbox = inbox.clone();
                move || inbox.waiting()
            },
            {
                let calls = Arc::clone(&calls);
                move || calls.waiting()
            },
        );
        let app = App {
            ids,
            layout: Arc::clone(&layout),
            store,
            tables: Arc::clone(&tables),
            inbox,
            calls: Arc::clone(&calls),
            latencies: Latencies::new(&metrics),
            rules: code::RULES.iter().flat_map(|section| section.codes).copied().collect(),
        };
        let policies = merit_policy::rule::RULES.iter().map(|rule| rule.name).chain([ALLOW]).collect();
        let tally = Tally::new(&metrics, &layout, &tables, policies)?;
        let (ended, end) = oneshot::channel();
        let folder = Folder { fold, tally, calls, health: Arc::clone(&health) }.start(committed, ended)?;
        let served = services.open(app, &addresses).and_then(|open| {
            services.announce(&open, out)?;
            services.serve(open, end_signal, end);
            Ok(())
        });
        health.enter(Phase::Ending);
        let stopped = stop();
        let folded =
            folder.join().unwrap_or_else(|_| Err(RuntimeError::Store { attempt: "fold", cause: "the folding thread panicked".into() }));
        services.close();
        stopped?;
        folded?;
        served?;
        Ok(tables.flush()?)
    }
}

/// Gives a ledger that has no pools those of the shipped file.
fn start_pools(engine: &mut Engine) -> Result<(), Failure> {
    let requests = engine.layout().find("alloc.requests", 0).map(|at| engine.layout().partitions[at].clone());
    let Some(requests) = requests else { return Ok(()) };
    // The first record of a log is the configuration.
    if engine.store().end(&requests)? > 1 {
        return Ok(());
    }
    let layout = Arc::clone(engine.layout());
    for pool in &pools::shipped()? {
        pools::define(&layout, pool, |input| engine.take(input))?;
    }
    engine.commit(Vec::new())?;
    Ok(engine.settle()?)
}

/// Folds every commit into the tables, counts it, and answers calls.
struct Folder {
    fold: Fold,
    tally: Tally,
    calls: Arc<Calls>,
    health: Arc<Health>,
}

impl Folder {
    /// Does so until the pipeline ends.
    fn start(
        mut self,
        committed: Receiver<Committed>,
        ended: oneshot::Sender<()>,
    ) -> Result<JoinHandle<Result<(), RuntimeError>>, Failure> {
        let work = move || {
            let folded = committed.iter().try_for_each(|commit| self.take(commit));
            if let Err(error) = &folded {
                self.health.enter(Phase::Stopped(format!("the read models stopped: {error}")));
            } else {
                self.health.pipeline_ended();
            }
            self.calls.end();
            // Nobody listens where the run ends for another reason.
            let _ = ended.send(());
            folded
        };
        let started = std::thread::Builder::new().name("read-models".into()).spawn(work);
        started.map_err(|error| RuntimeError::Store { attempt: "start a thread for", cause: error.to_string() }.into())
    }

    fn take(&mut self, commit: Committed) -> Result<(), RuntimeError> {
        let began = Instant::now();
        self.fold.take(&commit.batches)?;
        self.tally.take(&commit, began);
        diary::committed(commit.took, commit.batches.iter().map(|(_, _, count, _)| count).sum());
        self.calls.answer(commit.answers);
        Ok(())
    }
}

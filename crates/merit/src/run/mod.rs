//! `merit run`: the pipeline live, behind its two HTTP services.

mod policy;
mod services;

use crate::code;
use crate::failure::Failure;
use crate::output::Output;
use crate::{Place, pools, session};
use clap::Args;
use merit_gateway::api::{App, Calls};
use merit_gateway::model::Fold;
use merit_gateway::model::fold::Ids;
use merit_runtime::embedded::Committed;
use merit_runtime::live::{Live, now};
use merit_runtime::{Engine, Options, RuntimeError};
use services::{Addresses, Services};
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, sync_channel};
use std::thread::JoinHandle;
use tokio::sync::oneshot;

/// The pools that an empty directory starts with.
const POOLS: &str = include_str!("../../../../pools.toml");

/// Commits that wait to be folded into the tables: behind so many the disk waits for them.
const FOLD_AHEAD: usize = 64;

#[derive(Args)]
pub(crate) struct Run {
    #[command(flatten)]
    place: Place,
    /// The emitter key; made at DIR/audit.key by default.
    #[arg(long, value_name = "FILE")]
    audit_key: Option<PathBuf>,
}

impl Run {
    pub(crate) fn run(self, out: &mut Output) -> Result<(), Failure> {
        session::refuse_in_use(&self.place)?;
        let addresses = Addresses::from_environment()?;
        let policy = policy::from_environment()?;
        let topology = session::topology(self.place.topology.as_deref())?;
        let mut engine = session::open(&self.place, &topology, self.audit_key.as_ref(), Options::default())?;
        start_pools(&mut engine)?;
        policy::put_in_force(&mut engine, &policy)?;
        let (store, layout) = (engine.store().clone(), Arc::clone(engine.layout()));
        let mut folded_before = 0;
        let tables = self.place.data_dir.join("read-models");
        let fold = Fold::open(&store, &layout, &tables, |folded| {
            folded_before = folded;
            out.progress(&format!("read models: {folded} records folded"));
        })?;
        out.progress("");
        let calls = Arc::new(Calls::new(format!("{}-{:x}", std::process::id(), now().0)));
        let tables = Arc::clone(fold.tables());
        let (send, committed) = sync_channel(FOLD_AHEAD);
        // The thread that folds is gone only if it failed, which ends the run.
        let live = Live::start(engine, move |commit| drop(send.send(commit)))?;
        let app = App {
            ids: Ids::new(&store, &layout)?,
            layout,
            store,
            tables: Arc::clone(&tables),
            inbox: live.inbox(),
            calls: Arc::clone(&calls),
            rules: code::RULES.iter().flat_map(|section| section.codes).copied().collect(),
        };
        let (ended, end) = oneshot::channel();
        let folder = start_folding(fold, committed, calls, ended)?;
        let served = Services::start(app, &addresses).and_then(|services| {
            services.announce(out)?;
            services.serve(end);
            Ok(())
        });
        let stopped = live.stop();
        let folded =
            folder.join().unwrap_or_else(|_| Err(RuntimeError::Store { attempt: "fold", cause: "the folding thread panicked".into() }));
        stopped?;
        folded?;
        served?;
        tables.flush()?;
        out.line(if out.json { r#"{"stopped":true}"# } else { "stopped: everything taken is on disk" })
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
    let invalid = |problems: Vec<String>| Failure::new(code::POOLS_INVALID, "the pools that are compiled in").because(problems.join("\n"));
    for pool in &merit_sources::pools::parse(POOLS).map_err(invalid)? {
        pools::define(engine, pool)?;
    }
    engine.commit(Vec::new())?;
    Ok(engine.settle()?)
}

/// Folds every commit into the tables and answers calls, until the pipeline ends.
fn start_folding(
    mut fold: Fold,
    committed: Receiver<Committed>,
    calls: Arc<Calls>,
    ended: oneshot::Sender<()>,
) -> Result<JoinHandle<Result<(), RuntimeError>>, Failure> {
    let work = move || {
        let folded = committed.iter().try_for_each(|Committed { batches, answers }| {
            fold.take(&batches)?;
            calls.answer(answers);
            Ok(())
        });
        // Nobody listens where the run ends for another reason.
        let _ = ended.send(());
        folded
    };
    let started = std::thread::Builder::new().name("read-models".into()).spawn(work);
    started.map_err(|error| RuntimeError::Store { attempt: "start a thread for", cause: error.to_string() }.into())
}

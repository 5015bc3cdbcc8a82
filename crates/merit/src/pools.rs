//! `merit pools`: pools and quotas from a file, as commands.

use crate::code;
use crate::failure::Failure;
use crate::output::Output;
use crate::session::{self, Deployed};
use crate::{Place, Reach, summary};
use clap::{ArgGroup, Args, Subcommand};
use merit_core::record::{CommandRefused, DefinePool, SetQuota};
use merit_core::{Datum, EventTime, Key, Kind, Payload};
use merit_runtime::kafka::commands::Commands;
use merit_runtime::kafka::in_force::InForce;
use merit_runtime::kafka::{ClusterError, admin};
use merit_runtime::layout::{Layout, Partition};
use merit_runtime::store::Store;
use merit_runtime::{Input, Options, RuntimeError};
use merit_sources::pools::Pool;
use merit_topology::Topology;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

#[derive(Subcommand)]
pub(crate) enum Pools {
    /// Append a command for every pool and quota of a file.
    Apply(Apply),
}

#[derive(Args)]
#[command(group(ArgGroup::new("to").required(true).args(["data_dir", "kafka"])))]
pub(crate) struct Apply {
    /// TOML with a `[[pools]]` table a pool.
    file: PathBuf,
    /// The data directory to append to.
    #[arg(long, value_name = "DIR")]
    data_dir: Option<PathBuf>,
    #[command(flatten)]
    reach: Reach,
    /// A topology file instead of the one that is compiled in.
    #[arg(long, value_name = "FILE")]
    topology: Option<PathBuf>,
    /// The emitter key; made at DIR/audit.key by default.
    #[arg(long, value_name = "FILE", conflicts_with = "kafka")]
    audit_key: Option<PathBuf>,
}

/// The pools that an empty ledger starts with.
const POOLS: &str = include_str!("../../../pools.toml");

/// How long commands to a cluster may be on their way; by then it is known of each whether it arrived.
const ON_THE_WAY: Duration = Duration::from_secs(10);

impl Pools {
    pub(crate) fn run(self, out: &mut Output) -> Result<(), Failure> {
        let Pools::Apply(apply) = self;
        let text = session::read(&apply.file, code::POOLS_READ)?;
        let pools = merit_sources::pools::parse(&text).map_err(|problems| {
            let name = apply.file.display();
            let lines: Vec<String> = problems.iter().map(|problem| format!("{name}: {problem}")).collect();
            Failure::new(code::POOLS_INVALID, summary::problems(lines.len(), &name.to_string())).because(lines.join("\n"))
        })?;
        let topology = session::topology(apply.topology.as_deref())?;
        let quotas = quotas(&pools);
        let done = match (apply.data_dir, session::cluster(&apply.reach, &topology)?) {
            (Some(data_dir), _) => {
                let place = Place { data_dir, topology: apply.topology };
                append(&place, &topology, apply.audit_key.as_ref(), &pools)?;
                "applied"
            }
            (None, Some(deployed)) => {
                send(&deployed.with_schemas(&topology)?, &topology, &pools)?;
                "sent"
            }
            // The arguments require one of them.
            (None, None) => return Err(Failure::new(code::USAGE, "pools are applied to a directory or to a cluster")),
        };
        if out.json {
            out.line(serde_json::json!({ "pools": pools.len(), "quotas": quotas }).to_string())
        } else {
            out.line(format!("{} pools and {quotas} quotas {done}; `merit log cat alloc.applied` shows what became of each", pools.len()))
        }
    }
}

/// Appends to a directory, and fails where the ledger refused something.
fn append(place: &Place, topology: &Topology, audit_key: Option<&PathBuf>, pools: &[Pool]) -> Result<(), Failure> {
    let mut engine = session::open(place, topology, audit_key, Options::default())?;
    let layout = Arc::clone(engine.layout());
    let applied = layout.find("alloc.applied", 0).map(|at| &layout.partitions[at]);
    let before = applied.map_or(Ok(0), |applied| engine.store().end(applied))?;
    for pool in pools {
        define(&layout, pool, |input| engine.take(input))?;
    }
    let store = engine.close(Vec::new())?;
    let refused = applied.map_or_else(|| Ok(Vec::new()), |applied| refused(&store, applied, before))?;
    if refused.is_empty() {
        return Ok(());
    }
    let message = format!("{} of {} commands were refused", refused.len(), pools.len() + quotas(pools));
    Err(Failure::new(code::POOLS_REFUSED, message).because(refused.join("\n")))
}

/// Sends to a cluster that has a configuration, which every log begins with.
fn send(Deployed { cluster, layout, topics }: &Deployed, topology: &Topology, pools: &[Pool]) -> Result<(), Failure> {
    admin::check(cluster, topics, topology)?;
    if InForce::new(cluster, topics, layout, Vec::new())?.configuration()?.epoch.is_empty() {
        return Err(ClusterError::NotBegun.into());
    }
    let mut commands = Commands::new(cluster, topics)?;
    let mut payload = Vec::new();
    for pool in pools {
        define(layout, pool, |input| {
            payload.clear();
            input.payload.put(&mut payload);
            Ok(commands.send(input.partition, &input.frame(&payload))?)
        })?;
    }
    Ok(commands.flush(ON_THE_WAY)?)
}

/// What was refused from an offset on, one line each.
fn refused(store: &Store, applied: &Partition, from: u64) -> Result<Vec<String>, Failure> {
    let mut refused = Vec::new();
    let mut records = store.read(applied, from);
    while let Some((_, frame)) = records.next()? {
        let command = (frame.kind() == Some(Kind::CommandRefused)).then(|| CommandRefused::decode(frame.payload)).flatten();
        refused.extend(command.map(|CommandRefused { command, pool, rule, detail, .. }| format!("{command} {pool:?}: {rule}: {detail}")));
    }
    Ok(refused)
}

/// The pools that an empty ledger starts with.
pub(crate) fn shipped() -> Result<Vec<Pool>, Failure> {
    let invalid = |problems: Vec<String>| Failure::new(code::POOLS_INVALID, "the pools that are compiled in").because(problems.join("\n"));
    merit_sources::pools::parse(POOLS).map_err(invalid)
}

/// Quotas of some pools.
pub(crate) fn quotas(pools: &[Pool]) -> usize {
    pools.iter().map(|pool| pool.quotas.len()).sum()
}

/// Gives the commands of a pool to `take`.
pub(crate) fn define(layout: &Layout, pool: &Pool, mut take: impl FnMut(&Input<'_>) -> Result<(), RuntimeError>) -> Result<(), Failure> {
    let key = Key::new(&pool.name);
    let partition =
        layout.find("alloc.requests", 0).ok_or_else(|| Failure::new(code::TOPOLOGY_INVALID, "the topology has no topic alloc.requests"))?;
    // Offline commands carry no time: the ledger's stands as it is.
    let time = EventTime::MIN;
    let command = DefinePool { pool: &pool.name, capacity: pool.capacity, state: pool.state };
    take(&Input { partition, key, time, payload: Payload::DefinePool(&command), headers: None })?;
    for quota in &pool.quotas {
        let command = SetQuota { pool: &pool.name, division_id: &quota.division, nominal: quota.nominal };
        take(&Input { partition, key, time, payload: Payload::SetQuota(&command), headers: None })?;
    }
    Ok(())
}

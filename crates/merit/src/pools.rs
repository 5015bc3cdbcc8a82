//! `merit pools`: pools and quotas from a file, as commands.

use crate::code;
use crate::failure::Failure;
use crate::output::Output;
use crate::{Place, session, summary};
use clap::{Args, Subcommand};
use merit_core::record::{CommandRefused, DefinePool, SetQuota};
use merit_core::{Datum, EventTime, Key, Kind, Payload};
use merit_runtime::layout::Partition;
use merit_runtime::store::Store;
use merit_runtime::{Engine, Input, Options};
use merit_sources::pools::Pool;
use std::path::PathBuf;
use std::sync::Arc;

#[derive(Subcommand)]
pub(crate) enum Pools {
    /// Append a command for every pool and quota of a file.
    Apply(Apply),
}

#[derive(Args)]
pub(crate) struct Apply {
    /// TOML with a `[[pools]]` table a pool.
    file: PathBuf,
    #[command(flatten)]
    place: Place,
    /// The emitter key; made at DIR/audit.key by default.
    #[arg(long, value_name = "FILE")]
    audit_key: Option<PathBuf>,
}

impl Pools {
    pub(crate) fn run(self, out: &mut Output) -> Result<(), Failure> {
        let Pools::Apply(apply) = self;
        let text = session::read(&apply.file, code::POOLS_READ)?;
        let pools = merit_sources::pools::parse(&text).map_err(|problems| {
            let name = apply.file.display();
            let lines: Vec<String> = problems.iter().map(|problem| format!("{name}: {problem}")).collect();
            Failure::new(code::POOLS_INVALID, summary::problems(lines.len(), &name.to_string())).because(lines.join("\n"))
        })?;
        let topology = session::topology(apply.place.topology.as_deref())?;
        let mut engine = session::open(&apply.place, &topology, apply.audit_key.as_ref(), Options::default())?;
        let layout = Arc::clone(engine.layout());
        let applied = layout.find("alloc.applied", 0).map(|at| &layout.partitions[at]);
        let before = applied.map_or(Ok(0), |applied| engine.store().end(applied))?;
        let quotas: usize = pools.iter().map(|pool| pool.quotas.len()).sum();
        for pool in &pools {
            define(&mut engine, pool)?;
        }
        let store = engine.close(Vec::new())?;
        let refused = applied.map_or_else(|| Ok(Vec::new()), |applied| refused(&store, applied, before))?;
        if !refused.is_empty() {
            let message = format!("{} of {} commands were refused", refused.len(), pools.len() + quotas);
            return Err(Failure::new(code::POOLS_REFUSED, message).because(refused.join("\n")));
        }
        if out.json {
            out.line(serde_json::json!({ "pools": pools.len(), "quotas": quotas }).to_string())
        } else {
            out.line(format!("{} pools and {quotas} quotas applied; `merit log cat alloc.applied` shows what became of each", pools.len()))
        }
    }
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

/// Appends the commands of a pool.
pub(crate) fn define(engine: &mut Engine, pool: &Pool) -> Result<(), Failure> {
    let key = Key::new(&pool.name);
    let partition = engine
        .layout()
        .find("alloc.requests", 0)
        .ok_or_else(|| Failure::new(code::TOPOLOGY_INVALID, "the topology has no topic alloc.requests"))?;
    // Offline commands carry no time: the ledger's stands as it is.
    let time = EventTime::MIN;
    let command = DefinePool { pool: &pool.name, capacity: pool.capacity, state: pool.state };
    engine.take(&Input { partition, key, time, payload: Payload::DefinePool(&command), headers: None })?;
    for quota in &pool.quotas {
        let command = SetQuota { pool: &pool.name, division_id: &quota.division, nominal: quota.nominal };
        engine.take(&Input { partition, key, time, payload: Payload::SetQuota(&command), headers: None })?;
    }
    Ok(())
}

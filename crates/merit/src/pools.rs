//! `merit pools`: pools and quotas from a file, as commands.

use crate::failure::Failure;
use crate::output::Output;
use crate::{Place, session};
use clap::{Args, Subcommand};
use merit_core::record::{DefinePool, SetQuota};
use merit_core::{EventTime, Key, Payload};
use merit_runtime::{Engine, Input, Options};
use merit_sources::pools::Pool;
use std::path::PathBuf;

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
        let text = session::read(&apply.file, "pools_read")?;
        let pools = merit_sources::pools::parse(&text).map_err(|problems| {
            let name = apply.file.display();
            let lines: Vec<String> = problems.iter().map(|problem| format!("{name}: {problem}")).collect();
            Failure::call("pools_invalid", format!("{} problems in {name}\n{}", lines.len(), lines.join("\n")), "mend the lines above")
        })?;
        let mut engine = session::open(&apply.place, apply.audit_key.as_ref(), Options::default())?;
        let quotas: usize = pools.iter().map(|pool| pool.quotas.len()).sum();
        for pool in &pools {
            define(&mut engine, pool)?;
        }
        engine.close(Vec::new())?;
        if out.json {
            out.line(serde_json::json!({ "pools": pools.len(), "quotas": quotas }).to_string())
        } else {
            out.line(format!("{} pools and {quotas} quotas applied; `merit log cat alloc.applied` shows what became of each", pools.len()))
        }
    }
}

fn define(engine: &mut Engine, pool: &Pool) -> Result<(), Failure> {
    let key = Key::new(&pool.name);
    let partition = engine.layout().find("alloc.requests", 0).ok_or_else(|| {
        Failure::check("topology_invalid", "the topology has no topic alloc.requests", "use the topology that is compiled in")
    })?;
    // Offline commands carry no time: the ledger's stands as it is.
    let time = EventTime::MIN;
    let command = DefinePool { pool: &pool.name, capacity: pool.capacity, state: pool.state };
    engine.take(&Input { partition, key, time, payload: Payload::DefinePool(&command) })?;
    for quota in &pool.quotas {
        let command = SetQuota { pool: &pool.name, division_id: &quota.division, nominal: quota.nominal };
        engine.take(&Input { partition, key, time, payload: Payload::SetQuota(&command) })?;
    }
    Ok(())
}

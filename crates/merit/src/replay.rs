//! `merit replay`: a log computed again.

use crate::failure::Failure;
use crate::output::Output;
use crate::{Place, registry, session};
use clap::Args;
use merit_runtime::embedded::{Replayed, replay};
use merit_runtime::lineage::Cause;
use merit_runtime::store::Store;
use serde_json::{Value, json};
use std::path::PathBuf;
use std::sync::Arc;

#[derive(Args)]
pub(crate) struct Replay {
    #[command(flatten)]
    place: Place,
    /// Compare every record of every topic with what the log holds, and name the first that differs.
    #[arg(long, required = true)]
    assert_equal: bool,
    /// The emitter key; DIR/audit.key by default. Without it, signatures are verified instead of made again.
    #[arg(long, value_name = "FILE")]
    audit_key: Option<PathBuf>,
}

impl Replay {
    pub(crate) fn run(self, out: &mut Output) -> Result<(), Failure> {
        let topology = session::topology(self.place.topology.as_deref())?;
        let store = Arc::new(Store::open_log(&self.place.data_dir)?);
        let signer = session::signer(&self.place, self.audit_key.as_ref(), &topology)?;
        let progress = |taken: u64| out.progress(&format!("{taken} inputs replayed"));
        let Replayed { before, inputs, compared, lacking, ahead, gaps } =
            replay(&store, &topology, &registry::registered(), signer.as_ref(), progress)?;
        out.progress("");
        if out.json {
            let gap = |Cause { partition, reason, uncompared }: &Cause| json!({ "partition": partition, "reason": reason, "uncompared": uncompared });
            let lineages: Vec<Value> = gaps.iter().map(gap).collect();
            let value = json!({ "equal": true, "before": before, "inputs": inputs, "compared": compared, "lacking": lacking,
                "ahead": ahead, "newLineages": lineages });
            return out.line(value.to_string());
        }
        for Cause { partition, reason, uncompared } in &gaps {
            out.line(format!(
                "a new lineage began since {partition} differed: {reason}; the {uncompared} records before it were not compared"
            ))?;
        }
        if lacking + ahead > 0 {
            out.line(format!(
                "the log was copied while it grew: {lacking} records that follow from its last inputs are not in it yet, \
                 and {ahead} that follow from inputs behind its end were not compared"
            ))?;
        }
        match before {
            0 if !gaps.is_empty() => {
                out.line(format!("equal but for these: {inputs} inputs were run again and {compared} records of all topics are the same"))
            }
            0 => out.line(format!("equal: {inputs} inputs were run again and all {compared} records of all topics are the same")),
            _ => out.line(format!(
                "equal from the base on: {inputs} inputs were run again and {compared} records are the same; \
                 the {before} inputs before were compared when they were pruned"
            )),
        }
    }
}

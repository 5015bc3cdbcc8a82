//! `merit log prune`: what the retention of topics lets go.

use crate::failure::Failure;
use crate::output::Output;
use crate::{Place, registry, session};
use clap::Args;
use merit_runtime::embedded::{Cut, prune};
use merit_runtime::store::{Store, Sync};
use serde_json::json;
use std::path::PathBuf;
use std::sync::Arc;

#[derive(Args)]
pub(crate) struct Prune {
    #[command(flatten)]
    place: Place,
    /// Say what would go, and change nothing.
    #[arg(long)]
    dry_run: bool,
    /// The emitter key; DIR/audit.key by default. Without it, signatures are verified instead of made again.
    #[arg(long, value_name = "FILE")]
    audit_key: Option<PathBuf>,
}

impl Prune {
    pub(super) fn run(self, out: &mut Output) -> Result<(), Failure> {
        let topology = session::topology(self.place.topology.as_deref())?;
        let signer = session::signer(&self.place, self.audit_key.as_ref(), &topology)?;
        // Reading first: this command makes no directory.
        let read = Store::open_to_read(&self.place.data_dir)?;
        read.expect_own()?;
        let store = Arc::new(match self.dry_run {
            true => read,
            false => {
                drop(read);
                Store::open(&self.place.data_dir, Sync::Disk)?
            }
        });
        let progress = |outside: u64| out.progress(&format!("{outside} inputs computed again"));
        let cuts = prune(&store, &topology, &registry::registered(), signer.as_ref(), self.dry_run, progress)?;
        out.progress("");
        if out.json {
            return cuts.iter().try_for_each(|cut| out.line(self.as_json(cut)));
        }
        self.print(&cuts, out)
    }

    fn as_json(&self, cut: &Cut) -> String {
        let Cut { topic, partition, from, to, end } = cut;
        let removed = if self.dry_run { "wouldRemove" } else { "removed" };
        json!({ "topic": topic, "partition": partition, removed: to - from, "start": to, "end": end }).to_string()
    }

    fn print(&self, cuts: &[Cut], out: &mut Output) -> Result<(), Failure> {
        if cuts.is_empty() {
            return out.line("every topic is kept whole; topics of eval.* may have a retention in the topology, as in retention = \"30d\"");
        }
        let removed = if self.dry_run { "would remove" } else { "removed" };
        let mut rows = vec![["partition", removed, "starts at", "left"].map(String::from).to_vec()];
        rows.extend(cuts.iter().map(|Cut { topic, partition, from, to, end }| {
            vec![format!("{topic}/{partition}"), (to - from).to_string(), to.to_string(), (end - to).to_string()]
        }));
        out.table(&rows)
    }
}

//! `merit log import`: a log brought back, at its offsets.

use crate::code;
use crate::failure::Failure;
use crate::output::Output;
use crate::session::{self, Deployed};
use crate::{Reach, registry};
use clap::Args;
use merit_runtime::archive;
use merit_runtime::kafka::admin;
use merit_runtime::kafka::restore::{self, Log, Restored};
use merit_runtime::layout::Layout;
use merit_runtime::store::Store;
use merit_topology::Topology;
use serde_json::json;
use std::path::{Path, PathBuf};

#[derive(Args)]
#[command(after_help = "Of a file: FILE with --data-dir or --kafka. Of a directory: --data-dir with --kafka. Topics \
    that are written into have to be empty; those that are missing are made.")]
pub(crate) struct Import {
    /// A file that `merit log export` made.
    file: Option<PathBuf>,
    /// The directory: with FILE the one to make, with --kafka the one that holds the log.
    #[arg(long, value_name = "DIR")]
    data_dir: Option<PathBuf>,
    #[command(flatten)]
    reach: Reach,
    /// A topology file instead of the one that is compiled in.
    #[arg(long, value_name = "FILE")]
    topology: Option<PathBuf>,
}

impl Import {
    pub(super) fn run(self, out: &mut Output) -> Result<(), Failure> {
        let topology = session::topology(self.topology.as_deref())?;
        let deployed = session::cluster(&self.reach, &topology)?.map(|deployed| deployed.with_schemas(&topology)).transpose()?;
        match (self.file, self.data_dir, deployed) {
            (Some(file), Some(data_dir), None) => into_directory(&file, &data_dir, &topology, out),
            (Some(file), None, Some(deployed)) => onto(&deployed, &topology, &Log::File(&file), out),
            (None, Some(data_dir), Some(deployed)) => onto(&deployed, &topology, &Log::Directory(&Store::open_log(&data_dir)?), out),
            _ => Err(Failure::new(code::USAGE, "an import has one log to read and one place to write it to")
                .because("FILE with --data-dir DIR or --kafka HOST:PORT, or --data-dir DIR with --kafka HOST:PORT")),
        }
    }
}

fn into_directory(file: &Path, data_dir: &Path, topology: &Topology, out: &mut Output) -> Result<(), Failure> {
    let layout = Layout::new(topology, &registry::registered());
    archive::import(file, data_dir, &layout, |bytes| out.progress(&format!("{} MB copied", bytes / 1_000_000)))?;
    out.progress("");
    let store = Store::open_to_read(data_dir)?;
    if out.json {
        return out.line(json!({ "directory": data_dir, "mirror": store.mirrored().is_some() }).to_string());
    }
    match store.mirrored() {
        Some(of) => out.line(format!("{}: the log of {of}, to be read", data_dir.display())),
        None => {
            out.line(format!(
                "{}: the log as it was exported; its state is computed again by the first command that writes",
                data_dir.display()
            ))?;
            out.line(format!(
                "the key is in no log file: put it at {}, or pass it by --audit-key FILE",
                data_dir.join("audit.key").display()
            ))
        }
    }
}

fn onto(deployed: &Deployed, topology: &Topology, log: &Log<'_>, out: &mut Output) -> Result<(), Failure> {
    let Deployed { cluster, layout, topics } = deployed;
    admin::plan(cluster, topics, topology)?.carry_out()?;
    let progress = |records: u64| out.progress(&format!("{records} records written"));
    let Restored { records, gaps, goes_on } = restore::import(log, cluster, layout, topics, progress)?;
    out.progress("");
    if out.json {
        return out.line(json!({ "records": records, "gaps": gaps, "goesOn": goes_on }).to_string());
    }
    out.line(format!("{records} records written, each at its offset, and {gaps} offsets filled that hold none"))?;
    out.line(match goes_on {
        true => format!("copies of application {:?} go on behind the last input", cluster.application),
        false => "it is not known which of the last inputs were processed: copies that start would process all of them again".into(),
    })
}

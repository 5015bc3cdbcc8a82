//! `merit log export`: a log copied, at its offsets.

use crate::code;
use crate::failure::Failure;
use crate::output::Output;
use crate::session::{self, Deployed};
use crate::{Place, Reach};
use clap::Args;
use merit_runtime::archive;
use merit_runtime::kafka::{Mirror, mirror};
use merit_runtime::layout::Layout;
use merit_runtime::store::{Store, Sync};
use merit_topology::Topology;
use serde_json::json;
use std::ops::ControlFlow;
use std::path::{Path, PathBuf};
use std::sync::Arc;

#[derive(Args)]
#[command(after_help = "From Kafka: --kafka with --data-dir or --output. From a directory: --data-dir with --output.")]
pub(crate) struct Export {
    #[command(flatten)]
    reach: Reach,
    /// The directory: with --kafka the one to copy into, made where there is none and brought up to date where there is one.
    #[arg(long, value_name = "DIR")]
    data_dir: Option<PathBuf>,
    /// The file to make.
    #[arg(long, value_name = "FILE")]
    output: Option<PathBuf>,
    /// A topology file instead of the one that is compiled in.
    #[arg(long, value_name = "FILE")]
    topology: Option<PathBuf>,
}

impl Export {
    pub(super) fn run(self, out: &mut Output) -> Result<(), Failure> {
        let Export { reach, data_dir, output, topology } = self;
        let read = session::topology(topology.as_deref())?;
        let deployed = session::cluster(&reach, &read)?;
        let place = |data_dir| Place { data_dir, topology };
        match (deployed, data_dir, output) {
            (Some(deployed), Some(data_dir), None) => into_directory(&deployed, &read, &place(data_dir), out),
            (Some(deployed), None, Some(file)) => into_file(deployed.with_schemas(&read)?, &file, out),
            (None, Some(data_dir), Some(file)) => of_directory(&place(data_dir), &file, out),
            _ => Err(Failure::new(code::USAGE, "an export has one log to copy and one place to copy it to")
                .because("--kafka HOST:PORT with --data-dir DIR or --output FILE, or --data-dir DIR with --output FILE")),
        }
    }
}

fn into_directory(deployed: &Deployed, topology: &Topology, place: &Place, out: &mut Output) -> Result<(), Failure> {
    session::refuse_in_use(place)?;
    let Deployed { cluster, layout, topics } = deployed;
    // A cluster that is not there leaves no directory behind.
    mirror::reach(cluster, topics)?;
    let store = Arc::new(Store::open(&place.data_dir, Sync::Disk)?);
    let topics = deployed.topics_with_schemas(topology, Some(&place.data_dir))?;
    let mut mirror = Mirror::open(cluster, layout, &topics, &store)?;
    // It is never broken off.
    let _ = mirror.catch_up(|done, of| {
        out.progress(&format!("{done} of {of} offsets copied"));
        ControlFlow::Continue(())
    })?;
    drop(mirror);
    out.progress("");
    tell(&store, layout, &place.data_dir, out)
}

/// Says what is in a directory now.
fn tell(store: &Store, layout: &Layout, directory: &Path, out: &mut Output) -> Result<(), Failure> {
    let ends = layout.partitions.iter().map(|partition| Ok((partition, store.end(partition)?)));
    let ends = ends.collect::<Result<Vec<_>, Failure>>()?;
    if out.json {
        let end = |(partition, end): &(&_, u64)| {
            let merit_runtime::layout::Partition { name, partition, .. } = partition;
            json!({ "topic": name, "partition": partition, "end": end })
        };
        return out.line(json!({ "directory": directory, "ends": ends.iter().map(end).collect::<Vec<_>>() }).to_string());
    }
    let offsets: u64 = ends.iter().map(|(_, end)| end).sum();
    out.line(format!("{}: the log on Kafka as it is now, {offsets} offsets in {} partitions", directory.display(), ends.len()))?;
    out.line("every command that reads a directory reads it; the same export once more brings it up to date")
}

fn into_file(deployed: Deployed, file: &Path, out: &mut Output) -> Result<(), Failure> {
    let Deployed { cluster, layout, topics } = deployed;
    mirror::export(&cluster, &layout, &topics, file, |done, of| out.progress(&format!("{done} of {of} offsets copied")))?;
    told(file, out)
}

fn of_directory(place: &Place, file: &Path, out: &mut Output) -> Result<(), Failure> {
    let (store, _) = session::read_log(place)?;
    archive::export(&store, file, |rows| out.progress(&format!("{rows} rows copied")))?;
    told(file, out)
}

fn told(file: &Path, out: &mut Output) -> Result<(), Failure> {
    out.progress("");
    let bytes = file.metadata()?.len();
    if out.json {
        return out.line(json!({ "file": file, "bytes": bytes }).to_string());
    }
    out.line(format!("{}: {:.1} MB, whole, with a digest", file.display(), bytes as f64 / 1e6))?;
    out.line(format!("`merit log import {} --data-dir NEW` makes a directory of it", file.display()))
}

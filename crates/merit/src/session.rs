//! What every command begins with: the topology, the key, the directory.

use crate::failure::Failure;
use crate::output::Output;
use crate::{Place, registry};
use merit_audit::Signer;
use merit_runtime::layout::Layout;
use merit_runtime::store::Store;
use merit_runtime::{Engine, Options, key};
use merit_topology::Topology;
use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

/// The topology that is compiled in.
pub(crate) const TOPOLOGY: &str = include_str!("../../../topology.toml");

/// Reads and checks a topology; every problem at once.
pub(crate) fn topology(file: Option<&Path>) -> Result<Topology, Failure> {
    let (name, text) = topology_text(file)?;
    let findings = match merit_topology::parse(&text) {
        Err(findings) => findings,
        Ok(topology) => match merit_topology::check(&topology, &registry::codes()) {
            findings if findings.is_empty() => return Ok(topology),
            findings => findings,
        },
    };
    let lines: Vec<String> = findings.iter().map(|finding| format!("{name}:{finding}")).collect();
    let count = lines.len();
    let message = format!("{count} problem{} in the topology\n{}", if count == 1 { "" } else { "s" }, lines.join("\n"));
    Err(Failure::check("topology_invalid", message, "mend the lines above; `merit topology draw` shows a topology that is well"))
}

/// The text of a topology and the name to call it by.
pub(crate) fn topology_text(file: Option<&Path>) -> Result<(String, String), Failure> {
    match file {
        None => Ok(("topology.toml".into(), TOPOLOGY.into())),
        Some(path) => Ok((path.display().to_string(), read(path, "topology_read")?)),
    }
}

/// Reads a text file.
pub(crate) fn read(path: &Path, code: &'static str) -> Result<String, Failure> {
    let failed = |error: std::io::Error| {
        Failure::world(code, format!("could not read {}", path.display()), "check the path and its permissions").because(error.to_string())
    };
    std::fs::read_to_string(path).map_err(failed)
}

/// Where the key of a directory is.
pub(crate) fn key_path(place: &Place, given: Option<&PathBuf>) -> PathBuf {
    given.cloned().unwrap_or_else(|| place.data_dir.join("audit.key"))
}

/// The key of a directory, where it is here or given.
pub(crate) fn signer(place: &Place, given: Option<&PathBuf>, topology: &Topology) -> Result<Option<Signer>, Failure> {
    let path = key_path(place, given);
    match path.exists() || given.is_some() {
        true => Ok(Some(Signer::new(&topology.key_name, &key::read(&path)?))),
        false => Ok(None),
    }
}

/// Tells which topics do not begin at their first record any more.
pub(crate) fn note_pruned(store: &Store, out: &mut Output) {
    let topics: BTreeSet<&str> = store.pruned().partitions.keys().map(|(topic, _)| topic.as_str()).collect();
    if !topics.is_empty() {
        let topics: Vec<&str> = topics.into_iter().collect();
        out.note(&format!("pruned by retention, and so not whole: {}; `merit log prune --dry-run` shows from where on", topics.join(", ")));
    }
}

/// Opens the pipeline on a directory.
pub(crate) fn open(place: &Place, audit_key: Option<&PathBuf>, options: Options) -> Result<Engine, Failure> {
    let topology = topology(place.topology.as_deref())?;
    let signer = Signer::new(&topology.key_name, &key::read_or_create(&key_path(place, audit_key))?);
    Ok(Engine::open(&place.data_dir, &topology, &registry::registered(), signer, options)?)
}

/// Opens a directory to read it.
pub(crate) fn read_only(place: &Place) -> Result<(Store, Layout), Failure> {
    let topology = topology(place.topology.as_deref())?;
    let store = Store::open_to_read(&place.data_dir)?;
    let layout = Layout::new(&topology, &registry::registered());
    layout.check(&store)?;
    Ok((store, layout))
}

//! What every command begins with: the topology, the key, the directory.

use crate::code;
use crate::failure::Failure;
use crate::output::Output;
use crate::{Place, Reach, registry, summary};
use merit_audit::Signer;
use merit_core::Code;
use merit_runtime::kafka::reach;
use merit_runtime::kafka::schemas::Schemas;
use merit_runtime::kafka::topics::Topics;
use merit_runtime::kafka::{Access, Cluster};
use merit_runtime::layout::Layout;
use merit_runtime::store::{self, Store};
use merit_runtime::{Engine, Options, RuntimeError, key};
use merit_topology::Topology;
use std::collections::BTreeSet;
use std::fs::File;
use std::io::Read;
use std::path::{Path, PathBuf};
use std::sync::Arc;

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
    Err(Failure::new(code::TOPOLOGY_INVALID, summary::problems(lines.len(), &name)).because(lines.join("\n")))
}

/// The text of a topology and the name to call it by.
pub(crate) fn topology_text(file: Option<&Path>) -> Result<(String, String), Failure> {
    match file {
        None => Ok(("topology.toml".into(), TOPOLOGY.into())),
        Some(path) => Ok((path.display().to_string(), read(path, code::TOPOLOGY_READ)?)),
    }
}

/// The longest configuration file, in bytes.
const MAX_TEXT: u64 = 16 << 20;

/// Reads a text file.
pub(crate) fn read(path: &Path, code: &'static Code) -> Result<String, Failure> {
    let failed = |error: std::io::Error| Failure::new(code, format!("could not read {}", path.display())).because(error.to_string());
    let mut text = String::new();
    let length = File::open(path).and_then(|file| file.take(MAX_TEXT + 1).read_to_string(&mut text)).map_err(failed)?;
    if length as u64 > MAX_TEXT {
        return Err(failed(std::io::Error::other("it is longer than 16 MiB")));
    }
    Ok(text)
}

/// Where the key of a directory is.
pub(crate) fn key_path(place: &Place, given: Option<&PathBuf>) -> PathBuf {
    given.cloned().unwrap_or_else(|| place.data_dir.join("audit.key"))
}

/// Refuses a directory that another process writes, before anything is read or made for it.
pub(crate) fn refuse_in_use(place: &Place) -> Result<(), Failure> {
    let in_use = |owner| RuntimeError::InUse { path: place.data_dir.clone(), owner: Some(owner) }.into();
    store::owner(&place.data_dir).map_or(Ok(()), |owner| Err(in_use(owner)))
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

/// The key to write a directory with; made where there is neither key nor log.
pub(crate) fn writing_key(place: &Place, topology: &Topology, audit_key: Option<&PathBuf>) -> Result<Signer, Failure> {
    refuse_in_use(place)?;
    // Before the key, which is made in it: what is no directory is refused as that.
    let no_directory = |error: std::io::Error| RuntimeError::Open { path: place.data_dir.clone(), cause: error.to_string() };
    std::fs::create_dir_all(&place.data_dir).map_err(no_directory)?;
    let path = key_path(place, audit_key);
    // A log that has begun goes on with its key alone: a new one would only be refused, and lie in the way of the right one.
    if audit_key.is_none() && !path.exists() && Store::exists(&place.data_dir) {
        // A copy of a log on Kafka has no key, and needs none.
        Store::open_to_read(&place.data_dir).map_or(Ok(()), |store| store.expect_own())?;
        return Err(RuntimeError::KeyMissing { path }.into());
    }
    Ok(Signer::new(&topology.key_name, &key::read_or_create(&path)?))
}

/// Opens the pipeline on a directory.
pub(crate) fn open(place: &Place, topology: &Topology, audit_key: Option<&PathBuf>, options: Options) -> Result<Engine, Failure> {
    let signer = writing_key(place, topology, audit_key)?;
    Ok(Engine::open(&place.data_dir, topology, &registry::registered(), signer, options)?)
}

/// A cluster, what of a topology is computed there, and what lies where.
pub(crate) struct Deployed {
    pub(crate) cluster: Cluster,
    pub(crate) layout: Arc<Layout>,
    pub(crate) topics: Arc<Topics>,
}

impl Deployed {
    /// What lies where, with the schemas of the registry, if there is one; a directory keeps what is learned of it.
    pub(crate) fn topics_with_schemas(&self, topology: &Topology, directory: Option<&Path>) -> Result<Arc<Topics>, Failure> {
        let schemas = Schemas::learn(&self.cluster.access, topology, directory)?;
        Ok(Arc::new(Topics::new(&self.cluster, &self.layout).with_schemas(schemas)))
    }

    /// The same with those.
    pub(crate) fn with_schemas(self, topology: &Topology) -> Result<Deployed, Failure> {
        Ok(Deployed { topics: self.topics_with_schemas(topology, None)?, ..self })
    }
}

/// The cluster that a command names, if it names one, which answers and lets this program in.
pub(crate) fn cluster(named: &Reach, topology: &Topology) -> Result<Option<Deployed>, Failure> {
    let Some(brokers) = named.kafka.clone() else { return Ok(None) };
    let access = named.kafka_config.as_deref().map_or(Ok(Access::default()), Access::read)?;
    let cluster = Cluster { brokers, application: topology.application.clone(), access };
    reach::reach(&cluster)?;
    let layout = Layout::new(topology, &registry::registered());
    let topics = Topics::new(&cluster, &layout);
    Ok(Some(Deployed { cluster, layout: Arc::new(layout), topics: Arc::new(topics) }))
}

/// Opens a directory to read its log.
pub(crate) fn read_log(place: &Place) -> Result<(Store, Layout), Failure> {
    let (store, layout) = read_only(place)?;
    store.expect_log()?;
    Ok((store, layout))
}

/// Opens a directory to read it.
pub(crate) fn read_only(place: &Place) -> Result<(Store, Layout), Failure> {
    let topology = topology(place.topology.as_deref())?;
    let store = Store::open_to_read(&place.data_dir)?;
    let layout = Layout::new(&topology, &registry::registered());
    layout.check(&store)?;
    Ok((store, layout))
}

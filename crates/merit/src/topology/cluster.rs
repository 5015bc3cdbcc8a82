//! `merit topology apply --kafka`: topics, the configuration, and what an empty ledger begins with.

use crate::failure::Failure;
use crate::output::Output;
use crate::pools;
use crate::run::policy::{self, Policy};
use crate::session::Deployed;
use merit_audit::Signer;
use merit_core::record::ConfigEpoch;
use merit_core::{Datum, Key, Kind, Payload};
use merit_runtime::epoch::{self, Wanted};
use merit_runtime::kafka::Cluster;
use merit_runtime::kafka::admin::{self, Compared, Difference};
use merit_runtime::kafka::append::Append;
use merit_runtime::kafka::in_force::{Configuration, InForce};
use merit_runtime::kafka::schemas::{self, Schemas};
use merit_runtime::kafka::topics::Topics;
use merit_runtime::layout::Layout;
use merit_runtime::{Input, RuntimeError, key};
use merit_sources::pools::Pool;
use merit_topology::Topology;
use serde_json::{Value, json};
use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::sync::Arc;

/// Gives a cluster what a topology says, and tells what that changed.
pub(super) fn apply(topology: &Topology, deployed: Deployed, audit_key: &Path, dry_run: bool, out: &mut Output) -> Result<(), Failure> {
    let policy = policy::from_environment()?;
    let Deployed { cluster, layout, topics } = deployed;
    let plan = admin::plan(&cluster, &topics, topology)?;
    let deployment = Deployment { topology, audit_key, dry_run, policy, cluster, layout, topics: Arc::clone(&topics) };
    let mut subjects = schemas::plan(&deployment.cluster.access, topology)?;
    let missing: Option<Vec<String>> = subjects.as_deref().map(schemas::missing);
    // Before anything is changed: what is refused leaves everything as it was.
    let mut changes = deployment.changes(plan.missing())?;
    if !dry_run {
        if let Some(subjects) = &mut subjects {
            schemas::register(&deployment.cluster.access, subjects)?;
        }
        plan.carry_out()?;
        let known = Schemas::of(topology, subjects.as_deref());
        let topics = Arc::new(Topics::new(&deployment.cluster, &deployment.layout).with_schemas(known));
        let append = Append::take_over(&deployment.cluster, &topics)?;
        // Again, now that nobody else appends.
        changes = deployment.changes(Vec::new())?;
        changes.append(&deployment, append)?;
    }
    if let Some(kept) = kept_for_a_time(topology) {
        out.note(&kept);
    }
    let told = Told { dry_run, topics: &plan.compared, changes: &changes, registered: missing, inputs: deployment.layout.tasks.len() };
    if out.json { out.line(told.json().to_string()) } else { told.print(out) }
}

/// What a retention means on a cluster.
fn kept_for_a_time(topology: &Topology) -> Option<String> {
    let topics = topology.topics.iter().filter(|topic| topic.retention.is_some());
    let names: Vec<&str> = topics.map(|topic| topic.name.as_str()).collect();
    let told = "brokers compare a record's own time with their clock: of these topics they remove what is older than the retention, \
        however new it is in the log";
    (!names.is_empty()).then(|| format!("{told}: {}", names.join(", ")))
}

struct Deployment<'t> {
    topology: &'t Topology,
    audit_key: &'t Path,
    dry_run: bool,
    policy: Policy,
    cluster: Cluster,
    layout: Arc<Layout>,
    topics: Arc<Topics>,
}

/// What is to be appended.
struct Changes {
    in_force: Configuration,
    /// The configuration that follows; none where the one in force stays.
    next: Option<Next>,
    /// Pools that an empty ledger starts with.
    pools: Vec<Pool>,
    policy_differs: bool,
}

struct Next {
    /// Encoding of its ConfigEpoch.
    epoch: Vec<u8>,
    number: u64,
    /// What it changes of the one in force; nothing where it is the first.
    parameters: Vec<Parameter>,
}

/// A parameter that changes; none where it is not there.
struct Parameter {
    path: String,
    found: Option<String>,
    wanted: Option<String>,
}

impl Deployment<'_> {
    /// Finds out what is to be appended to a cluster without the topics that are `absent`.
    fn changes(&self, absent: Vec<String>) -> Result<Changes, Failure> {
        let mut log = InForce::new(&self.cluster, &self.topics, &self.layout, absent)?;
        let in_force = log.configuration()?;
        let is_first = in_force.epoch.is_empty();
        if is_first {
            log.refuse_records()?;
        }
        let before = if is_first { None } else { log.last("alloc.requests", "bundle", Kind::PolicyBundle)? };
        let policy_differs = self.policy.differs(before.as_deref());
        let pools = if is_first { pools::shipped()? } else { Vec::new() };
        let (parameters, partitions) = (epoch::parameters(self.topology), self.layout.report_partitions);
        let emitter_key = self.emitter_key(is_first)?;
        let wanted = Wanted { topology: self.topology, parameters: &parameters, partitions, emitter_key };
        let next = wanted.behind(&in_force.epoch, None)?.map(|epoch| {
            let parameters = ConfigEpoch::decode(&in_force.epoch).map_or_else(Vec::new, |current| changed(&current, &epoch));
            let mut encoding = Vec::new();
            epoch.put(&mut encoding);
            Next { epoch: encoding, number: epoch.number, parameters }
        });
        Ok(Changes { in_force, next, pools, policy_differs })
    }

    /// The public half of the emitter key: the one of the file, which is made where nothing was signed yet.
    fn emitter_key(&self, is_first: bool) -> Result<[u8; 32], Failure> {
        let path = self.audit_key;
        let key = match path.exists() {
            false if !is_first => return Err(RuntimeError::KeyMissing { path: path.into() }.into()),
            // Whatever it will be, nothing else depends on it.
            false if self.dry_run => return Ok([0; 32]),
            _ => key::read_or_create(path)?,
        };
        Ok(Signer::new(&self.topology.key_name, &key).public())
    }
}

/// What one configuration changes of another.
fn changed(current: &ConfigEpoch<'_>, next: &ConfigEpoch<'_>) -> Vec<Parameter> {
    let [found, wanted] = [current, next].map(|epoch| {
        let named = [("audit.origin", epoch.origin), ("audit.key_name", epoch.key_name)];
        let parameters = epoch.parameters.iter().map(|parameter| (parameter.path, parameter.value));
        parameters.chain(named).collect::<BTreeMap<&str, &str>>()
    });
    let paths: BTreeSet<&str> = found.keys().chain(wanted.keys()).copied().collect();
    let value = |of: &BTreeMap<&str, &str>, path: &str| of.get(path).map(ToString::to_string);
    let parameter = |path: &str| Parameter { path: path.into(), found: value(&found, path), wanted: value(&wanted, path) };
    paths.into_iter().map(parameter).filter(|parameter| parameter.found != parameter.wanted).collect()
}

impl Changes {
    /// Appends everything in one transaction.
    fn append(&self, to: &Deployment<'_>, mut append: Append) -> Result<(), Failure> {
        let time = self.in_force.newest;
        if let Some(epoch) = self.next.as_ref().and_then(|next| ConfigEpoch::decode(&next.epoch)) {
            // The last sub-topology first: what an epoch decides upstream reaches tasks that have begun theirs.
            for task in to.layout.tasks.iter().rev() {
                let (key, payload) = (Key::new("config"), Payload::ConfigEpoch(&epoch));
                append.send(&Input { partition: task.input, key, time, payload, headers: None })?;
            }
        }
        for pool in &self.pools {
            pools::define(&to.layout, pool, |input| Ok(append.send(input)?))?;
        }
        if let Some(partition) = to.layout.find("alloc.requests", 0).filter(|_| self.policy_differs) {
            to.policy.with_record(|bundle| append.send(&policy::input(partition, bundle)))?;
        }
        Ok(append.commit()?)
    }

    /// Number of the configuration that is in force then.
    fn number(&self) -> u64 {
        let current = || ConfigEpoch::decode(&self.in_force.epoch).map_or(0, |epoch| epoch.number);
        self.next.as_ref().map_or_else(current, |next| next.number)
    }
}

/// What was done, or would be.
struct Told<'a> {
    dry_run: bool,
    topics: &'a [Compared],
    changes: &'a Changes,
    /// Subjects that the registry lacked; none without a registry.
    registered: Option<Vec<String>>,
    /// Partitions that get a configuration.
    inputs: usize,
}

impl Told<'_> {
    fn json(&self) -> Value {
        let topic = |topic: &Compared| {
            let settings = topic.differences.iter().filter_map(|difference| match difference {
                Difference::Setting { name, found, wanted } => Some(json!({ "name": name, "found": found, "wanted": wanted })),
                Difference::Missing | Difference::Partitions { .. } => None,
            });
            json!({ "topic": topic.name, "partitions": topic.partitions, "replication": topic.replication,
                "change": change(topic), "settings": settings.collect::<Vec<_>>() })
        };
        let parameter = |Parameter { path, found, wanted }: &Parameter| json!({ "path": path, "found": found, "wanted": wanted });
        let parameters = self.changes.next.iter().flat_map(|next| &next.parameters);
        json!({
            "dryRun": self.dry_run,
            "topics": self.topics.iter().map(topic).collect::<Vec<_>>(),
            "epoch": { "number": self.changes.number(), "appended": self.changes.next.is_some(),
                "parameters": parameters.map(parameter).collect::<Vec<_>>() },
            "registered": self.registered,
            "pools": self.changes.pools.len(),
            "quotas": pools::quotas(&self.changes.pools),
            "policyAppended": self.changes.policy_differs,
        })
    }

    fn print(&self, out: &mut Output) -> Result<(), Failure> {
        let Told { dry_run, topics, changes, ref registered, inputs } = *self;
        let would = if dry_run { "would be " } else { "" };
        let unchanged = topics.iter().filter(|topic| topic.differences.is_empty()).count();
        if unchanged < topics.len() {
            let mut rows = vec![["topic", "partitions", "copies", "change"].map(String::from).to_vec()];
            let changed = topics.iter().filter(|topic| !topic.differences.is_empty());
            rows.extend(changed.map(|topic| {
                let change = format!("{would}{}{}", change(topic), altered(topic));
                vec![topic.name.clone(), topic.partitions.to_string(), topic.replication.to_string(), change]
            }));
            out.table(&rows)?;
        }
        out.line(format!("{unchanged} of {} topics unchanged", topics.len()))?;
        match registered.as_deref() {
            None => {}
            Some([]) => out.line("every schema is in the registry")?,
            Some(subjects) => {
                out.line(format!("{} schemas {would}registered", subjects.len()))?;
                subjects.iter().try_for_each(|subject| out.line(format!("  {subject}")))?;
            }
        }
        match &changes.next {
            None => out.line(format!("configuration {} unchanged", changes.number()))?,
            Some(Next { number, parameters, .. }) => {
                out.line(format!("configuration {number} {would}appended to {inputs} partitions"))?;
                for Parameter { path, found, wanted } in parameters {
                    let [found, wanted] = [found, wanted].map(|value| value.as_deref().unwrap_or("nothing"));
                    out.line(format!("  {path}: {found} -> {wanted}"))?;
                }
            }
        }
        if !changes.pools.is_empty() {
            out.line(format!("{} pools and {} quotas {would}appended", changes.pools.len(), pools::quotas(&changes.pools)))?;
        }
        if changes.policy_differs {
            out.line(format!("the rules of the environment {would}appended"))?;
        }
        Ok(())
    }
}

fn change(topic: &Compared) -> &'static str {
    match topic.is_missing() {
        true => "created",
        false if topic.differences.is_empty() => "unchanged",
        false => "altered",
    }
}

/// Settings that are altered, in words.
fn altered(topic: &Compared) -> String {
    let setting = |difference: &Difference| match difference {
        Difference::Setting { name, found, wanted } => Some(format!("{name} {} -> {wanted}", found.as_deref().unwrap_or("nothing"))),
        Difference::Missing | Difference::Partitions { .. } => None,
    };
    let settings: Vec<String> = topic.differences.iter().filter_map(setting).collect();
    if settings.is_empty() { String::new() } else { format!(": {}", settings.join(", ")) }
}

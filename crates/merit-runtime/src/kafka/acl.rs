//! The ACLs that each role needs on a cluster, from the topology.

use super::topics::{Kept, Topics};
use crate::layout::Layout;
use merit_topology::Topology;
use std::collections::BTreeSet;

/// What one role may do with some things of one kind.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Grant {
    /// The role, which one principal has.
    pub role: Role,
    /// In the words of Kafka.
    pub operations: &'static [&'static str],
    /// Topics, groups or transactional ids.
    pub kind: Kind,
    /// Whether the names are what names begin with.
    pub is_prefix: bool,
    /// At least one.
    pub names: Vec<String>,
}

/// Who does something on a cluster.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Role {
    /// `merit run`: the pipeline, the only one that writes decisions and their proof.
    Copy,
    /// `merit topology apply` and `merit pools apply`.
    Operator,
    /// Whoever sends reports.
    Producer,
    /// Whoever reads what is published.
    Reader,
    /// `merit log export`, and all that is verified behind it.
    Auditor,
    /// `merit log import`, into topics that are empty.
    Restorer,
}

/// A kind of things that ACLs are about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// A topic.
    Topic,
    /// A consumer group.
    Group,
    /// A transactional id.
    TransactionalId,
}

impl Role {
    /// Its name, and that of its principal.
    pub fn name(self) -> &'static str {
        match self {
            Role::Copy => "copy",
            Role::Operator => "operator",
            Role::Producer => "producer",
            Role::Reader => "reader",
            Role::Auditor => "auditor",
            Role::Restorer => "restorer",
        }
    }

    /// What it is for.
    pub fn purpose(self) -> &'static str {
        match self {
            Role::Copy => "merit run, the pipeline: nobody else writes decisions and the audit log",
            Role::Operator => "merit topology apply, merit pools apply: topics, and inputs of every task, into which configurations go",
            Role::Producer => "sends reports",
            Role::Reader => "reads what is published",
            Role::Auditor => "merit log export, and on its copy merit audit verify and merit replay",
            Role::Restorer => "merit log import: writes every topic, so it has these for the time of an import alone",
        }
    }
}

impl Kind {
    /// Its name in `kafka-acls.sh`.
    pub fn name(self) -> &'static str {
        match self {
            Kind::Topic => "topic",
            Kind::Group => "group",
            Kind::TransactionalId => "transactional-id",
        }
    }
}

/// Everything that the roles need, role by role. Read and Write mean Describe, too, and AlterConfigs DescribeConfigs.
pub fn grants(topology: &Topology, layout: &Layout, topics: &Topics) -> Vec<Grant> {
    let application = &topology.application;
    let wanted = topics.wanted();
    let all: Vec<String> = wanted.iter().map(|topic| topic.name.clone()).collect();
    let kept = |kept| wanted.iter().filter(move |topic| topic.kept == kept).map(|topic| topic.name.clone());
    let (logs, changelogs): (Vec<String>, _) = (kept(Kept::Log).collect(), kept(Kept::Compacted));
    let inputs = names(layout, layout.tasks.iter().map(|task| task.input));
    let reports = names(layout, (0..layout.partitions.len()).filter(|at| layout.is_report_partition(*at)));
    // The last sub-topology seals; what it writes is proof, not news.
    let proof = names(layout, layout.outputs(layout.tasks.len() - 1).into_iter());
    let published = topology.topics.iter().filter(|topic| topic.sink && !proof.contains(&topic.name)).map(|topic| topic.name.clone());
    let read_by_operator = inputs.iter().cloned().chain(changelogs).collect();
    let readers = format!("{application}-reader");
    let exact = |role, operations, kind, names| Grant { role, operations, kind, is_prefix: false, names };
    let prefix = |role, operations, kind, name: String| Grant { role, operations, kind, is_prefix: true, names: vec![name] };
    let group = || vec![application.clone()];
    vec![
        exact(Role::Copy, &["Read", "Write", "DescribeConfigs"], Kind::Topic, all.clone()),
        exact(Role::Copy, &["Read"], Kind::Group, group()),
        prefix(Role::Copy, &["Write"], Kind::TransactionalId, format!("{application}-")),
        exact(Role::Operator, &["Create", "Describe", "AlterConfigs"], Kind::Topic, all),
        exact(Role::Operator, &["Read"], Kind::Topic, read_by_operator),
        exact(Role::Operator, &["Write"], Kind::Topic, inputs),
        exact(Role::Operator, &["Write"], Kind::TransactionalId, vec![format!("{application}-apply")]),
        exact(Role::Operator, &["Describe"], Kind::Group, group()),
        exact(Role::Producer, &["Write"], Kind::Topic, reports),
        exact(Role::Reader, &["Read"], Kind::Topic, published.collect()),
        prefix(Role::Reader, &["Read"], Kind::Group, readers),
        exact(Role::Auditor, &["Read"], Kind::Topic, logs.clone()),
        exact(Role::Auditor, &["Describe"], Kind::Group, group()),
        exact(Role::Restorer, &["Read", "Write"], Kind::Topic, logs),
        exact(Role::Restorer, &["Read"], Kind::Group, group()),
    ]
}

/// Topics of partitions, each once.
fn names(layout: &Layout, partitions: impl Iterator<Item = usize>) -> Vec<String> {
    partitions.map(|at| layout.partitions[at].name.clone()).collect::<BTreeSet<String>>().into_iter().collect()
}

//! `topology.toml`: [`parse`] it, [`check`] it against what the binary holds, [`draw`] it.
//!
//! Text in, values out: the crate opens no file, knows no broker and no processor.
//! What the binary holds is told to it as [`ProcessorCode`].
//! Every problem is a [`Finding`] with a rule and a line, and all of them come at once:
//! first what [`parse`] finds, and where it finds nothing, what [`check`] finds.
#![warn(missing_docs, clippy::wildcard_enum_match_arm)]

mod check;
mod draw;
mod parse;
pub mod rule;
#[cfg(test)]
mod tests;

pub use check::{ProcessorCode, check};
pub use draw::{Format, draw};
pub use parse::parse;

use merit_core::record::Kinds;
use merit_core::settings::join;
use merit_core::{Duration, Kind, Settings};
use rule::Rule;
use std::collections::BTreeMap;
use std::fmt;

/// The whole file. Topics, sub-topologies and processors are in file order.
#[derive(Clone, Debug)]
pub struct Topology {
    /// Prefix of group ids, transactional ids and state directories; to rename it is a migration.
    pub application: String,
    /// Name of the audit log.
    pub origin: String,
    /// Name of the emitter key.
    pub key_name: String,
    /// What is published.
    pub topics: Vec<Topic>,
    /// What runs.
    pub sub_topologies: Vec<SubTopology>,
    /// `[parameters]`; values are text as written.
    pub settings: Settings,
    /// `[runtime]`.
    pub runtime: Runtime,
    lines: Lines,
}

/// Bounds of memory, and of what a start after a crash does again. No record depends on them: they are in no ConfigEpoch.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Runtime {
    /// `commit`: bytes of records that a commit gathers while the one before it is under way.
    pub commit_bytes: u64,
    /// `pending`: bytes of records at which the worker waits for the commit under way.
    pub pending_bytes: u64,
    /// `state`: bytes of state in memory; what was not used lately is left on disk. What the interval between two checkpoints
    /// adds comes on top.
    pub state_bytes: u64,
    /// `checkpoint_inputs`: inputs between two checkpoints, which is what a start after a crash refolds at most.
    pub checkpoint_inputs: u64,
}

impl Default for Runtime {
    fn default() -> Self {
        Runtime { commit_bytes: 1 << 20, pending_bytes: 16 << 20, state_bytes: 2 << 30, checkpoint_inputs: 100_000 }
    }
}

/// A log of records that is published.
#[derive(Clone, Debug)]
pub struct Topic {
    /// Its name, on Kafka too.
    pub name: String,
    /// The field that its records are keyed by; for readers of the file.
    pub key: String,
    /// How many partitions it has.
    pub partitions: Partitions,
    /// Record types that it carries.
    pub records: Kinds,
    /// Who outside writes to it.
    pub source: Vec<String>,
    /// Whether those outside may write reports as JSON. It stays as it is once there are any: what was read would be read otherwise.
    pub json: bool,
    /// Whether somebody outside reads it.
    pub sink: bool,
    /// Sub-topologies whose records it takes; empty: all.
    pub from: Vec<String>,
    /// How far its records may lie behind the newest of the log before `merit log prune` removes them; none: for ever.
    pub retention: Option<Duration>,
    /// Line of its header.
    pub line: usize,
}

/// How many partitions a topic has.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Partitions {
    /// That many.
    Count(u32),
    /// As many as the input topic of the sub-topology that writes to it.
    Input,
}

/// Processors fused in one task and one transaction, behind one input topic.
#[derive(Clone, Debug)]
pub struct SubTopology {
    /// Its name.
    pub name: String,
    /// Index of its input among the topics.
    pub input: usize,
    /// Its processors in the order in which a record goes through them.
    pub processors: Vec<ProcessorSpec>,
    /// Line of its header.
    pub line: usize,
}

/// What the file says of a processor.
#[derive(Clone, Debug)]
pub struct ProcessorSpec {
    /// Its name.
    pub name: String,
    /// Record types that reach it.
    pub reads: Kinds,
    /// Record types that leave it.
    pub writes: Kinds,
    /// Those of them that go back to an input upstream.
    pub feedback: Kinds,
    /// Names of its stores.
    pub stores: Vec<String>,
    /// Line of its header.
    pub line: usize,
}

/// One thing that is wrong with the file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Finding {
    /// Code of the rule, `T014`; it never changes its meaning.
    pub code: &'static str,
    /// Name of the rule, `topic_without_reader`.
    pub name: &'static str,
    /// Line in the file, from 1.
    pub line: usize,
    /// What is wrong, and what would be right.
    pub message: String,
}

impl Finding {
    fn new(rule: Rule, line: usize, message: impl Into<String>) -> Finding {
        Finding { code: rule.code, name: rule.name, line, message: message.into() }
    }
}

/// `12: T014 topic_without_reader: nobody reads ..`; the caller puts the file's name and a colon in front.
impl fmt::Display for Finding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {} {}: {}", self.line, self.code, self.name, self.message)
    }
}

fn by_line(mut findings: Vec<Finding>) -> Vec<Finding> {
    findings.sort_by_key(|finding| (finding.line, finding.code));
    findings
}

/// The line of every path in the file; list items stand under their place and, where they are text, under themselves.
#[derive(Clone, Debug, Default)]
struct Lines(BTreeMap<String, usize>);

impl Lines {
    /// The line of a path, else of its closest parent.
    fn at(&self, path: &str) -> usize {
        let known = self.0.get(path).copied();
        known.unwrap_or_else(|| path.rsplit_once('.').map_or(1, |(parent, _)| self.at(parent)))
    }
}

/// A path from its parts.
fn path(parts: &[&str]) -> String {
    parts.iter().fold(String::new(), |path, part| join(&path, part))
}

/// Record types that the runtime appends to every input: no processor's output is routed by them.
const CONTROL: Kinds = Kinds::of(&[Kind::ConfigEpoch, Kind::Tick]);

impl Topology {
    /// The topics that carry `kind` when `sub_topology` writes it, in file order.
    ///
    /// They are all that hold the type, but where one of these names the sub-topology in `from`, only those that do.
    pub fn topics_of(&self, sub_topology: &SubTopology, kind: Kind) -> Vec<usize> {
        let holding = |topic: &Topic| topic.records.contains(kind) && !CONTROL.contains(kind);
        let chosen = |wanted: &dyn Fn(&Topic) -> bool| -> Vec<usize> {
            self.topics.iter().enumerate().filter(|(_, topic)| holding(topic) && wanted(topic)).map(|(at, _)| at).collect()
        };
        let named = chosen(&|topic| topic.from.contains(&sub_topology.name));
        if named.is_empty() { chosen(&|topic| topic.from.is_empty()) } else { named }
    }

    /// The number of partitions of a topic, with `"input"` resolved by its first writer; 1 where nobody writes to it.
    pub fn partition_count(&self, topic: usize) -> u32 {
        let count = |partitions| match partitions {
            Partitions::Count(count) => Some(count),
            Partitions::Input => None,
        };
        let of_writer =
            || self.writers_of(topic).first().and_then(|writer| count(self.topics[self.sub_topologies[*writer].input].partitions));
        count(self.topics[topic].partitions).or_else(of_writer).unwrap_or(1)
    }

    /// Indices of the sub-topologies that write to a topic.
    pub fn writers_of(&self, topic: usize) -> Vec<usize> {
        let writes = |sub: &SubTopology| {
            self.topics[topic].records.iter().any(|kind| self.writes(sub, kind) && self.topics_of(sub, kind).contains(&topic))
        };
        (0..self.sub_topologies.len()).filter(|at| writes(&self.sub_topologies[*at])).collect()
    }

    /// Index of the first sub-topology whose input is the topic.
    pub fn reader_of(&self, topic: usize) -> Option<usize> {
        self.sub_topologies.iter().position(|sub| sub.input == topic)
    }

    /// Whether a sub-topology writes records of that type.
    fn writes(&self, sub_topology: &SubTopology, kind: Kind) -> bool {
        sub_topology.processors.iter().any(|processor| processor.writes.contains(kind)) || self.leaves(sub_topology, kind)
    }

    /// Whether the runtime writes records of that type for a sub-topology: audit leaves, for all but the one that seals them.
    fn leaves(&self, sub_topology: &SubTopology, kind: Kind) -> bool {
        kind == Kind::AuditLeaf && !self.topics[sub_topology.input].records.contains(Kind::AuditLeaf)
    }

    fn line(&self, parts: &[&str]) -> usize {
        self.lines.at(&path(parts))
    }
}

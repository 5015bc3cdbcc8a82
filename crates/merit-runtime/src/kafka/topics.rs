//! Every partition that Merit has on Kafka, by one number: those of the layout, and behind them its own.

use super::client::Cluster;
use super::schemas::Schemas;
use crate::layout::Layout;
use merit_core::Key;
use std::collections::BTreeMap;
use std::sync::Arc;

/// Topic of answers to commands; each copy reads the partition of its own name, and leaves what is for others.
pub const ANSWERS: &str = "answers";

/// Its partitions: copies that share one read each other's answers past.
pub const ANSWERS_PARTITIONS: u32 = 16;

/// A topic as Merit wants it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Wanted {
    /// Its name.
    pub name: String,
    /// Its partitions.
    pub partitions: u32,
    /// What it is kept by.
    pub kept: Kept,
}

/// What a topic is kept by.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kept {
    /// Everything, for ever, or as long as the topology says.
    Log,
    /// The last of each key: a changelog.
    Compacted,
    /// An hour: nobody waits longer for an answer.
    Briefly,
}

/// Name of the topic that keeps the state of a sub-topology's tasks, one partition a task.
pub fn changelog(application: &str, sub_topology: &str) -> String {
    format!("{application}-{sub_topology}-changelog")
}

/// The partitions by number.
pub struct Topics {
    places: Vec<(Arc<str>, i32)>,
    numbers: BTreeMap<(Arc<str>, i32), usize>,
    tasks: usize,
    logs: usize,
    /// Number of its topic, by partition of the layout.
    topics: Vec<usize>,
    schemas: Schemas,
}

impl Topics {
    /// Those of a layout.
    pub fn new(cluster: &Cluster, layout: &Layout) -> Topics {
        let logs = layout.partitions.iter().map(|partition| (partition.name.as_str().into(), partition.partition as i32));
        let changelogs = layout.tasks.iter().map(|task| (changelog(&cluster.application, &task.name).into(), task.partition as i32));
        let answers = (0..ANSWERS_PARTITIONS).map(|partition| (ANSWERS.into(), partition as i32));
        let places: Vec<(Arc<str>, i32)> = logs.chain(changelogs).chain(answers).collect();
        let numbers = places.iter().cloned().zip(0..).collect();
        let topics = layout.partitions.iter().map(|partition| partition.topic).collect();
        let (tasks, logs) = (layout.tasks.len(), layout.partitions.len());
        Topics { places, numbers, tasks, logs, topics, schemas: Schemas::default() }
    }

    /// The same with the schemas of a registry.
    pub fn with_schemas(self, schemas: Schemas) -> Topics {
        Topics { schemas, ..self }
    }

    /// The schemas that messages name.
    pub(super) fn schemas(&self) -> &Schemas {
        &self.schemas
    }

    /// Id of the schema of a record type in a partition of the layout.
    pub fn schema(&self, partition: usize, kind: u32) -> u32 {
        self.schemas.id(self.topics[partition], kind)
    }

    /// Every topic, as it has to be.
    pub fn wanted(&self) -> Vec<Wanted> {
        let mut wanted: BTreeMap<Arc<str>, Wanted> = BTreeMap::new();
        for (number, (name, _)) in self.places.iter().enumerate() {
            let kept = match number {
                number if number < self.logs => Kept::Log,
                number if number < self.logs + self.tasks => Kept::Compacted,
                _ => Kept::Briefly,
            };
            let new = || Wanted { name: name.to_string(), partitions: 0, kept };
            wanted.entry(Arc::clone(name)).or_insert_with(new).partitions += 1;
        }
        wanted.into_values().collect()
    }

    /// Topic and partition of a number.
    pub fn place(&self, number: usize) -> (&str, i32) {
        let (name, partition) = &self.places[number];
        (name, *partition)
    }

    /// Number of a topic's partition.
    pub fn number(&self, topic: &str, partition: i32) -> Option<usize> {
        self.numbers.get(&(Arc::<str>::from(topic), partition)).copied()
    }

    /// Number of a task's changelog.
    pub fn changelog(&self, task: usize) -> usize {
        self.logs + task
    }

    /// Partitions of the layout and changelogs.
    pub(super) fn lasting(&self) -> usize {
        self.logs + self.tasks
    }

    /// Number of the partition that answers for a copy go to.
    pub fn answers(&self, copy: &str) -> usize {
        self.logs + self.tasks + Key::new(copy).partition(ANSWERS_PARTITIONS) as usize
    }

    /// Partitions of the layout.
    pub fn logs(&self) -> usize {
        self.logs
    }
}

//! The topology as the runtime uses it: flat partition numbers, routes and streams.

use crate::RuntimeError;
use crate::store::Store;
use merit_core::processor::{DynProcessor, Factory};
use merit_core::record::Kinds;
use merit_core::{Duration, Head, Key, Kind};
use merit_topology::{Partitions, Topic, Topology};

/// A processor that the binary holds.
#[derive(Clone, Copy)]
pub struct Registered {
    /// The sub-topology that it belongs to.
    pub sub_topology: &'static str,
    /// Makes one.
    pub make: Factory,
}

/// One partition of one topic.
#[derive(Clone, Debug)]
pub struct Partition {
    /// Number of the topic.
    pub topic: usize,
    /// The topic's name.
    pub name: String,
    /// The partition in it.
    pub partition: u32,
    /// Number of the task that reads it.
    pub reader: Option<usize>,
    /// How far behind the newest its records may be pruned; none: never.
    pub retention: Option<Duration>,
}

#[derive(Clone, Copy, Debug)]
struct Route {
    first: usize,
    partitions: u32,
    follows_input: bool,
    feedback: bool,
}

/// One sub-topology on one partition.
#[derive(Clone, Debug)]
pub struct TaskLayout {
    /// Number of the sub-topology.
    pub sub_topology: usize,
    /// Its name.
    pub name: String,
    /// The partition.
    pub partition: u32,
    /// The partition that it reads.
    pub input: usize,
    /// Number of the stream of its first processor; the others follow, and behind them its audit chain.
    pub first_stream: u16,
    /// Streams of all tasks. The next lineage of a log goes on with their numbers where this one ends.
    pub streams: u16,
    /// Names of its processors.
    pub processors: Vec<&'static str>,
}

impl TaskLayout {
    /// Number of the stream of its audit chain.
    pub fn audit_stream(&self) -> u16 {
        self.first_stream + self.processors.len() as u16
    }

    /// Whether a stream is one of this task's, in whatever lineage.
    pub fn owns(&self, stream: u32) -> bool {
        let number = stream % u32::from(self.streams);
        stream != u32::from(Head::OUTSIDE) && (u32::from(self.first_stream)..=u32::from(self.audit_stream())).contains(&number)
    }

    /// Number of the stream of its first processor in the lineage of that number, from 0; none where no number is left for one of
    /// the streams.
    pub fn first_stream_of(&self, lineage: usize) -> Option<u16> {
        let end = (lineage + 1).checked_mul(self.streams.into())?;
        u16::try_from(end).ok().map(|end| end - self.streams + self.first_stream)
    }

    /// Whether a stream is that of its audit chain, in whatever lineage.
    pub fn is_audit(&self, stream: u32) -> bool {
        self.owns(stream) && stream % u32::from(self.streams) == u32::from(self.audit_stream())
    }

    /// The name of one of its streams but for the lineage.
    pub fn stream_prefix(&self, stream: u16) -> String {
        let place = usize::from(stream % self.streams - self.first_stream);
        let processor = self.processors.get(place).copied().unwrap_or("audit");
        format!("{}/{processor}/{}", self.name, self.partition)
    }
}

/// Topics, tasks and the ways between them.
pub struct Layout {
    /// Every partition of every topic.
    pub partitions: Vec<Partition>,
    /// Every task, upstream first.
    pub tasks: Vec<TaskLayout>,
    /// Partitions of the first sub-topology's input.
    pub report_partitions: u32,
    /// Whether other programs may send JSON there.
    pub takes_json: bool,
    routes: Vec<Vec<Vec<Route>>>,
    topics: Vec<(String, usize, u32)>,
    registered: Vec<Registered>,
}

impl Layout {
    /// Lays out a topology that was checked.
    pub fn new(topology: &Topology, registered: &[Registered]) -> Layout {
        let mut topics = Vec::new();
        let mut partitions = Vec::new();
        for (topic, spec) in topology.topics.iter().enumerate() {
            let count = topology.partition_count(topic);
            topics.push((spec.name.clone(), partitions.len(), count));
            let Topic { name, retention, .. } = spec;
            let of = |partition| Partition { topic, name: name.clone(), partition, reader: None, retention: *retention };
            partitions.extend((0..count).map(of));
        }
        let mut tasks = Vec::new();
        let mut routes = Vec::new();
        let mut streams = 0;
        for (number, sub_topology) in topology.sub_topologies.iter().enumerate() {
            let chain = chain_of(&sub_topology.name, registered);
            let processors: Vec<&'static str> = chain.iter().map(|processor| processor.name()).collect();
            let feedback = sub_topology.processors.iter().fold(Vec::new(), |mut all, processor| {
                all.extend(processor.feedback.iter());
                all
            });
            let feedback = Kinds::of(&feedback);
            let (_, first, count) = topics[sub_topology.input];
            for partition in 0..count {
                partitions[first + partition as usize].reader = Some(tasks.len());
                let input = first + partition as usize;
                let name = sub_topology.name.clone();
                tasks.push(TaskLayout {
                    sub_topology: number,
                    name,
                    partition,
                    input,
                    first_stream: streams,
                    streams: 0,
                    processors: processors.clone(),
                });
                streams += processors.len() as u16 + 1;
            }
            let to_topics = |kind: Kind| {
                let route = |topic: usize| Route {
                    first: topics[topic].1,
                    partitions: topics[topic].2,
                    follows_input: matches!(topology.topics[topic].partitions, Partitions::Input),
                    feedback: feedback.contains(kind),
                };
                topology.topics_of(sub_topology, kind).into_iter().map(route).collect()
            };
            routes.push((0..64).map(|number| Kind::from_number(number).map_or_else(Vec::new, to_topics)).collect());
        }
        tasks.iter_mut().for_each(|task| task.streams = streams);
        let report_partitions = topology.sub_topologies.first().map_or(1, |first| topology.partition_count(first.input));
        let takes_json = topology.sub_topologies.first().is_some_and(|first| topology.topics[first.input].json);
        Layout { partitions, tasks, report_partitions, takes_json, routes, topics, registered: registered.to_vec() }
    }

    /// What the numbers of partitions and streams depend on, a line a task; a log keeps it, and is read under no other.
    pub fn structure(&self) -> String {
        let line = |task: &TaskLayout| format!("{}/{}: {}\n", task.name, task.partition, task.processors.join(", "));
        self.tasks.iter().map(line).collect()
    }

    /// Finds out whether a log was written under this structure.
    pub fn check(&self, store: &Store) -> Result<(), RuntimeError> {
        self.compare(store.meta("layout")?.as_deref())
    }

    /// Finds out whether a log that says this of its structure was written under this one.
    pub(crate) fn compare(&self, recorded: Option<&[u8]>) -> Result<(), RuntimeError> {
        let Some(recorded) = recorded else { return Ok(()) };
        let (recorded, own) = (String::from_utf8_lossy(recorded), self.structure());
        if recorded == own {
            return Ok(());
        }
        let (mut recorded, mut own) = (recorded.lines(), own.lines());
        let detail = loop {
            match (recorded.next(), own.next()) {
                (Some(recorded), Some(own)) if recorded == own => {}
                (recorded, own) => {
                    break format!("the log has {:?}, the topology {:?}", recorded.unwrap_or("no more"), own.unwrap_or("no more"));
                }
            }
        };
        Err(RuntimeError::Topology { detail })
    }

    /// The processors of a task, new.
    pub fn chain(&self, task: usize) -> Vec<Box<dyn DynProcessor>> {
        chain_of(&self.tasks[task].name, &self.registered)
    }

    /// Number of a partition.
    pub fn find(&self, topic: &str, partition: u32) -> Option<usize> {
        let (_, first, count) = self.topics.iter().find(|(name, ..)| name == topic)?;
        (partition < *count).then_some(first + partition as usize)
    }

    /// Numbers of all partitions of a topic.
    pub fn all_of(&self, topic: &str) -> Option<std::ops::Range<usize>> {
        let (_, first, count) = self.topics.iter().find(|(name, ..)| name == topic)?;
        Some(*first..first + *count as usize)
    }

    /// Names of all topics.
    pub fn topic_names(&self) -> impl Iterator<Item = &str> {
        self.topics.iter().map(|(name, ..)| name.as_str())
    }

    /// Gives each partition that a record of a task is published to, and whether it is fed back.
    #[inline]
    pub fn routes<'l>(&'l self, task: &TaskLayout, kind: Kind, key: &Key<'l>) -> impl Iterator<Item = (usize, bool)> + use<'l> {
        let (partition, key) = (task.partition, *key);
        let everywhere = kind == Kind::Progress;
        self.routes[task.sub_topology][kind as usize].iter().flat_map(move |route| {
            let span = match (route.follows_input, route.partitions, everywhere) {
                (true, ..) => partition..partition + 1,
                (false, 1, _) => 0..1,
                (false, count, true) => 0..count,
                (false, count, false) => {
                    let chosen = key.partition(count);
                    chosen..chosen + 1
                }
            };
            span.map(move |partition| (route.first + partition as usize, route.feedback))
        })
    }

    /// The partitions that a record of a stream is published to, but for those that its key decides.
    pub fn published(&self, stream: u32, kind: Kind) -> Vec<usize> {
        let Some(task) = self.task_of_stream(stream) else { return Vec::new() };
        let routes = self.routes[task.sub_topology][kind as usize].iter();
        let one = |route: &Route| match (route.follows_input, route.partitions) {
            (true, _) => Some(route.first + task.partition as usize),
            (false, 1) => Some(route.first),
            (false, _) => None,
        };
        routes.filter_map(one).collect()
    }

    /// Numbers of all partitions that a task may publish to, sorted.
    pub fn outputs(&self, task: usize) -> Vec<usize> {
        let (written, task) = (self.chain(task), &self.tasks[task]);
        let kinds = written.iter().flat_map(|processor| processor.writes().iter()).chain([Kind::AuditLeaf]);
        let span = |route: &Route| match route.follows_input {
            true => route.first + task.partition as usize..route.first + task.partition as usize + 1,
            false => route.first..route.first + route.partitions as usize,
        };
        let partitions = kinds.flat_map(|kind| &self.routes[task.sub_topology][kind as usize]).flat_map(span);
        partitions.collect::<std::collections::BTreeSet<usize>>().into_iter().collect()
    }

    /// All partitions but those of leaves for the sealer, and those. Where the ends of a copy are taken of sealed leaves first, and of the
    /// second once the first are read to theirs, it has the record of every sealed leaf, and a leaf for every decision.
    pub fn in_order_of_proof(&self) -> [Vec<usize>; 2] {
        let holds = |partition: usize, kind: Kind| {
            let mut routes = self.routes.iter().flat_map(|routes| &routes[kind as usize]);
            routes.any(|route| (route.first..route.first + route.partitions as usize).contains(&partition))
        };
        let (leaves, mut others): (Vec<usize>, Vec<usize>) = (0..self.partitions.len()).partition(|at| holds(*at, Kind::AuditLeaf));
        others.sort_by_key(|at| !holds(*at, Kind::SealedLeaf));
        [others, leaves]
    }

    /// Whether producers of their own write to a partition: it is one of the first sub-topology's input.
    pub fn is_report_partition(&self, partition: usize) -> bool {
        let first = self.tasks[0].input;
        (first..first + self.report_partitions as usize).contains(&partition)
    }

    /// The partition whose first record says whose log this is: the sealer's input, which nothing is ever pruned of.
    pub fn genesis(&self) -> &Partition {
        &self.partitions[self.tasks[self.tasks.len() - 1].input]
    }

    /// The task that a stream is of; none for records from outside.
    pub fn task_of_stream(&self, stream: u32) -> Option<&TaskLayout> {
        self.tasks.iter().find(|task| task.owns(stream))
    }

    /// The whole name of a stream in a log of these lineages; none for records from outside.
    pub fn stream_name(&self, stream: u16, lineages: &[String]) -> Option<String> {
        let task = self.task_of_stream(stream.into())?;
        let lineage = lineages.get(usize::from(stream / task.streams))?;
        Some(format!("{}/{lineage}", task.stream_prefix(stream)))
    }
}

fn chain_of(sub_topology: &str, registered: &[Registered]) -> Vec<Box<dyn DynProcessor>> {
    registered.iter().filter(|processor| processor.sub_topology == sub_topology).map(|processor| (processor.make)()).collect()
}

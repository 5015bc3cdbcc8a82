//! The simulated shell: the tasks and processors of the program over a simulated broker, in virtual time, several copies at once.
//!
//! One seed decides everything: batches, interleavings, duplicates, and what breaks when. The same seed gives the same run, bit
//! for bit. Read in this order: [`copy`] (the loop that a copy runs), [`checkpoint`] and [`recovery`] (what it keeps, and how a
//! task is taken over), [`step`] (where it can be stopped), [`broker`] (what Kafka promises and what it is known to break), [`world`] (who goes on next, and what breaks), [`check`] (what must hold).

mod broker;
mod chance;
mod check;
mod checkpoint;
mod copy;
mod inputs;
mod recovery;
mod step;
mod world;

pub use chance::Fault;
pub use step::Step;

use crate::embedded::step_frame;
use crate::frame::Frame;
use crate::layout::{Layout, Registered};
use crate::task::{Publisher, Task};
use crate::{RuntimeError, store};
use broker::Message;
use checkpoint::Rows;
use merit_audit::Signer;
use merit_core::record::{ConfigEpoch, Parameter};
use merit_core::table::RowMap;
use merit_core::{Datum, Fault as Bug, List};
use merit_topology::Topology;
use std::collections::BTreeMap;
use std::rc::Rc;
use std::sync::Arc;

/// What is switched off in a copy, to see that the simulation finds it. Nothing outside of the simulation can be given one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Sabotage {
    /// A producer is not initialised again after a commit without an answer; it aborts and goes on.
    Initialisation,
    /// A refold is not compared with the log.
    Comparison,
    /// A checkpoint is taken for one of the committed offset, whatever position it has.
    Position,
    /// What a refold computes is written again.
    Suppression,
    /// A changelog is written without asking whether the task is still ours.
    Fence,
    /// A task that belonged to another meanwhile is kept as it was.
    Ownership,
    /// A checkpoint is written behind another end of the changelog than it rests on.
    Epoch,
}

impl Sabotage {
    /// All of them.
    pub const ALL: [Sabotage; 7] = [
        Sabotage::Initialisation,
        Sabotage::Comparison,
        Sabotage::Position,
        Sabotage::Suppression,
        Sabotage::Fence,
        Sabotage::Ownership,
        Sabotage::Epoch,
    ];
}

/// A rule that a run broke.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Broken {
    /// The rule.
    pub invariant: &'static str,
    /// Where, and what was found.
    pub detail: String,
}

/// What one seed led to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Run {
    /// The seed.
    pub seed: u64,
    /// Scheduling events.
    pub steps: u64,
    /// Copies that were told that another has taken over.
    pub fenced: u64,
    /// How long it took in its own time.
    pub virtual_milliseconds: u64,
    /// What broke, and how often.
    pub faults: BTreeMap<Fault, u64>,
    /// Where copies died.
    pub crashes: BTreeMap<Step, u64>,
    /// Stable records by type.
    pub records: BTreeMap<&'static str, u64>,
    /// Hash over every scheduling event.
    pub trace: u64,
    /// The first rule that was broken.
    pub broken: Option<Broken>,
}

/// What all copies of a run share.
struct Setup {
    layout: Arc<Layout>,
    /// The ConfigEpochs that are put in force one behind the other.
    epochs: Arc<[Vec<u8>]>,
    /// Partitions that each task may write to.
    outputs: Arc<[Vec<usize>]>,
    /// The emitter key, in the runs that sign.
    signer: Option<Signer>,
}

impl Setup {
    /// Number of the changelog of a task.
    pub(crate) fn changelog(&self, task: usize) -> usize {
        self.layout.partitions.len() + task
    }

    /// Key of a task's own row.
    pub(crate) fn task_key(&self, number: usize) -> Vec<u8> {
        let task = &self.layout.tasks[number];
        store::state_key(&store::state_prefix(&task.name, task.partition, ""), "", 0)
    }

    /// Key of the row that says where a task's last records are.
    pub(crate) fn last_key(&self, number: usize) -> Vec<u8> {
        let task = &self.layout.tasks[number];
        store::state_key(&store::state_prefix(&task.name, task.partition, ""), "last", 0)
    }

    /// A task as its rows say.
    pub(crate) fn task(&self, number: usize, rows: &Rows) -> Result<Task, RuntimeError> {
        let mut task = Task::new(number, Arc::clone(&self.layout), merit_codec::fingerprint);
        task.restore(&self.row_map(number, rows))?;
        Ok(task)
    }

    /// Runs one record of the log through its task.
    fn step(&self, task: &mut Task, offset: u64, message: &Message, publisher: &mut dyn Publisher) -> Result<(), RuntimeError> {
        match Frame::decode(&message.value) {
            Some(frame) => step_frame(task, offset, &frame, self.signer.as_ref(), publisher),
            None => Err(RuntimeError::Stopped { task: task.name(), offset, fault: Bug("it is no record".into()) }),
        }
    }

    /// The rows of a task by store, key and part.
    fn row_map(&self, number: usize, rows: &Rows) -> Arc<dyn merit_core::Rows> {
        let task = &self.layout.tasks[number];
        let mut map = RowMap::default();
        let prefix = [task.name.as_bytes(), &[0], &task.partition.to_be_bytes()].concat();
        for (key, row) in rows {
            let rest = key.strip_prefix(prefix.as_slice()).unwrap_or_default();
            let store = rest.iter().position(|byte| *byte == 0).map(|end| (String::from_utf8_lossy(&rest[..end]), &rest[end + 1..]));
            if let Some((store, (key, part))) = store.and_then(|(store, rest)| Some((store, store::key_and_part(rest)?))) {
                map.put(&store, key, part, row);
            }
        }
        Arc::new(map)
    }
}

/// What is simulated.
pub struct Simulation {
    key_name: String,
    layout: Arc<Layout>,
    epochs: Arc<[Vec<u8>]>,
    outputs: Arc<[Vec<usize>]>,
}

impl Simulation {
    /// Topologies of one structure that were checked; a run puts them in force one behind the other.
    pub fn new(topologies: &[Topology], registered: &[Registered]) -> Simulation {
        let layout = Arc::new(Layout::new(&topologies[0], registered));
        let epochs = topologies.iter().zip(0..).map(|(topology, number)| epoch(topology, number, layout.report_partitions)).collect();
        let outputs = (0..layout.tasks.len()).map(|task| layout.outputs(task)).collect();
        Simulation { key_name: topologies[0].key_name.clone(), layout, epochs, outputs }
    }

    /// Runs a seed.
    pub fn run(&self, seed: u64, sabotage: Option<Sabotage>) -> Run {
        let (layout, epochs, outputs) = (Arc::clone(&self.layout), Arc::clone(&self.epochs), Arc::clone(&self.outputs));
        let signer = seed.is_multiple_of(SIGNED).then(|| signer(&self.key_name));
        world::run(Rc::new(Setup { layout, epochs, outputs, signer }), seed, sabotage)
    }
}

fn epoch(topology: &Topology, number: u64, partitions: u32) -> Vec<u8> {
    let parameters: Vec<Parameter<'_>> = topology.settings.iter().map(|(path, value)| Parameter { path, value }).collect();
    let (origin, key_name, parameters) = (&topology.origin, &topology.key_name, List::Slice(&parameters));
    let mut bytes = Vec::new();
    ConfigEpoch { number, origin, key_name, emitter_key: signer(key_name).public(), partitions, parameters, lineage: None }.put(&mut bytes);
    bytes
}

/// One in so many seeds signs its leaves and has its audit log verified; such a run takes about twice as long.
const SIGNED: u64 = 10;

/// The emitter key of every simulated log.
fn signer(key_name: &str) -> Signer {
    Signer::new(key_name, &[7; 32])
}

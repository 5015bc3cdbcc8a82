//! The simulated shell: the tasks and processors of the program over a simulated broker, in virtual time, several copies at once.
//!
//! One seed decides everything: batches, interleavings, duplicates, and what breaks when. The same seed gives the same run, bit
//! for bit. Read in this order: [`copy`] (the loop that a copy runs, its steps numbered), [`broker`] (what Kafka promises and what
//! it is known to break), [`world`] (who goes on next, and what breaks), [`check`] (what must hold).

mod broker;
mod chance;
mod check;
mod copy;
mod inputs;
mod refold;
mod world;

pub use chance::Fault;
pub use copy::Step;

use crate::layout::{Layout, Registered};
use merit_audit::Signer;
use merit_core::record::{ConfigEpoch, Parameter};
use merit_core::{Datum, List};
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
}

impl Sabotage {
    /// All of them.
    pub const ALL: [Sabotage; 5] =
        [Sabotage::Initialisation, Sabotage::Comparison, Sabotage::Position, Sabotage::Suppression, Sabotage::Fence];
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
    ConfigEpoch { number, origin, key_name, emitter_key: signer(key_name).public(), partitions, parameters }.put(&mut bytes);
    bytes
}

/// One in so many seeds signs its leaves and has its audit log verified; such a run takes about twice as long.
const SIGNED: u64 = 10;

/// The emitter key of every simulated log.
fn signer(key_name: &str) -> Signer {
    Signer::new(key_name, &[7; 32])
}

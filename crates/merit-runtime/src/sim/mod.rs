//! The simulated shell: the tasks and processors of the program over a simulated broker, in virtual time, several copies at once.
//!
//! One seed decides everything: batches, interleavings, duplicates, and what breaks when. The same seed gives the same run, bit
//! for bit. The loop that a copy runs is that of [`crate::copy`]; here is what it runs on. Read in this order: [`broker`] (what Kafka
//! promises and what it is known to break), [`seat`] (the broker as one copy sees it), [`disk`] (what a copy keeps), [`world`] (who
//! goes on next, and what breaks), [`check`] (what must hold).

mod broker;
pub(crate) mod chance;
mod check;
mod disk;
mod inputs;
mod seat;
mod world;

pub use crate::copy::{Sabotage, Step};
pub use chance::Fault;

use crate::copy::Setup;
use crate::layout::{Layout, Registered};
use merit_audit::Signer;
use merit_core::record::{ConfigEpoch, Parameter};
use merit_core::{Datum, List};
use merit_topology::Topology;
use std::collections::BTreeMap;
use std::rc::Rc;
use std::sync::Arc;

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

/// What is simulated.
pub struct Simulation {
    key_name: String,
    layout: Arc<Layout>,
    /// The ConfigEpochs that are put in force one behind the other.
    epochs: Vec<Vec<u8>>,
}

impl Simulation {
    /// Topologies of one structure that were checked; a run puts them in force one behind the other.
    pub fn new(topologies: &[Topology], registered: &[Registered]) -> Simulation {
        let layout = Arc::new(Layout::new(&topologies[0], registered));
        let epochs = topologies.iter().zip(0..).map(|(topology, number)| epoch(topology, number, layout.report_partitions)).collect();
        Simulation { key_name: topologies[0].key_name.clone(), layout, epochs }
    }

    /// Runs a seed.
    pub fn run(&self, seed: u64, sabotage: Option<Sabotage>) -> Run {
        let signer = seed.is_multiple_of(SIGNED).then(|| signer(&self.key_name));
        world::run(Rc::new(Setup::new(Arc::clone(&self.layout), signer)), &self.epochs, seed, sabotage)
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

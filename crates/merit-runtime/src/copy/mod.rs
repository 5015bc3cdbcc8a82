//! One copy of the program on a log with transactions: it consumes, transforms and produces, and goes on wherever another died.
//!
//! One transaction carries what a batch led to and the offsets behind it. Now and then the changed rows of a task go to its
//! changelog, in a transaction of another producer behind the commit that they stand for, and then to the disk. Whoever takes a
//! task over reads disk and changelog, folds the inputs since then again, and compares what comes out with what the log holds.
//!
//! Every call to the outside is one [`Step`], where the copy may be stopped for a while or for ever. The outside is a
//! [`Transport`] and a [`Disk`]: those of the simulation, where everything fails, or those of Kafka. The loop is the same, so what
//! the simulation proves of it holds there too.
//!
//! Read in this order: [`cycle`] (the loop), [`checkpoint`], [`takeover`] and [`recovery`] (what it
//! keeps, and how a task is taken over),
//! [`outputs`] (what a batch led to), [`transport`] (what it asks for), [`step`] (where it can be stopped).

mod checkpoint;
mod cycle;
mod outputs;
mod recovery;
mod step;
mod takeover;
mod transport;

pub use cycle::Sabotage;
pub use step::Step;

pub(crate) use cycle::{Bounds, Place, Stop, run, step};
pub(crate) use transport::{Disk, Mark, Membership, Refused, Role, Rows, Take, Transport};

use crate::layout::Layout;
use crate::store;
use merit_audit::Signer;
use merit_core::Kind;
use std::sync::Arc;

/// What the copies of an application have in common.
pub(crate) struct Setup {
    pub(crate) layout: Arc<Layout>,
    /// Partitions that each task may write to.
    pub(crate) outputs: Vec<Vec<usize>>,
    /// Partition that the leaves of each task go to.
    pub(crate) leaves: Vec<usize>,
    /// The emitter key; the simulation leaves it out of most runs.
    pub(crate) signer: Option<Signer>,
}

impl Setup {
    /// That of a layout.
    pub(crate) fn new(layout: Arc<Layout>, signer: Option<Signer>) -> Setup {
        let outputs = (0..layout.tasks.len()).map(|task| layout.outputs(task)).collect();
        let leaves = layout.tasks.iter().map(|task| {
            let stream = task.audit_stream().into();
            let published = [Kind::AuditLeaf, Kind::SealedLeaf].into_iter().flat_map(|kind| layout.published(stream, kind));
            // The sealer reads the leaves of all others, and writes its own sealed.
            published.into_iter().find(|partition| *partition != task.input).expect("a topology without a topic for leaves is refused")
        });
        let leaves = leaves.collect();
        Setup { layout, outputs, leaves, signer }
    }

    /// Number of the changelog of a task.
    pub(crate) fn changelog(&self, task: usize) -> usize {
        self.layout.partitions.len() + task
    }

    /// Number of the partition that answers go to in the simulation.
    pub(crate) fn answers(&self) -> usize {
        self.layout.partitions.len() + self.layout.tasks.len()
    }

    /// Key of a task's own row.
    pub(crate) fn task_key(&self, number: usize) -> Vec<u8> {
        self.own_key(number, "")
    }

    /// Key of the row that says where a task's last records are.
    pub(crate) fn last_key(&self, number: usize) -> Vec<u8> {
        self.own_key(number, "last")
    }

    fn own_key(&self, number: usize, key: &str) -> Vec<u8> {
        let task = &self.layout.tasks[number];
        store::state_key(&store::state_prefix(&task.name, task.partition, ""), key, 0)
    }
}

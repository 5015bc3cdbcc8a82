//! What the cluster will say.

use alloc::boxed::Box;
use alloc::collections::BTreeSet;
use alloc::vec::Vec;
use merit_core::{Datum, EventTime, List, Row, Shape, Uuid, datum, datum_enum};

datum_enum! {
    /// What the cluster says about an order.
    Word {
        /// Taken.
        Acked,
        /// In place.
        Observed,
    }
}

/// Something to say at a time; ordered by the time, then by the order it is about.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Due {
    pub at: EventTime,
    pub agent_id: Box<str>,
    pub pool: Box<str>,
    pub fence: u64,
    pub word: Word,
    pub allocation_id: Uuid,
    pub quantity: u64,
}

/// Everything that it has still to say.
#[derive(Default)]
pub(crate) struct Cluster {
    pub due: BTreeSet<Due>,
}

datum! {
    /// A [`Due`] as it is stored.
    DueRow<'a> {
        /// When.
        at: EventTime,
        /// The entity.
        agent_id: &'a str,
        /// The pool.
        pool: &'a str,
        /// The order's fence.
        fence: u64,
        /// What.
        word: Word,
        /// The allocation.
        allocation_id: Uuid,
        /// What the entity shall hold, in milli-GPUs.
        quantity: u64,
    }
}

datum! {
    /// [`Cluster`] as a row.
    ClusterRow<'a> {
        /// In the order in which it will be said.
        due: List<'a, DueRow<'a>>,
    }
}

impl Row for Cluster {
    const STORE: &'static str = "cluster";
    type Shared = ();

    fn shape(_: u32) -> &'static Shape {
        ClusterRow::SHAPE
    }

    fn save(&mut self, scratch: &mut Vec<u8>, put: &mut dyn FnMut(u32, &[u8])) {
        let rows: Vec<DueRow<'_>> = self.due.iter().map(due_row).collect();
        scratch.clear();
        ClusterRow { due: List::Slice(&rows) }.put(scratch);
        put(0, scratch);
    }

    fn load(&mut self, _: u32, bytes: &[u8]) -> Option<()> {
        let read = |row: DueRow<'_>| {
            let DueRow { at, agent_id, pool, fence, word, allocation_id, quantity } = row;
            Due { at, agent_id: agent_id.into(), pool: pool.into(), fence, word, allocation_id, quantity }
        };
        self.due = ClusterRow::decode(bytes)?.due.iter().map(read).collect();
        Some(())
    }
}

fn due_row(due: &Due) -> DueRow<'_> {
    let Due { at, agent_id, pool, fence, word, allocation_id, quantity } = due;
    DueRow { at: *at, agent_id, pool, fence: *fence, word: *word, allocation_id: *allocation_id, quantity: *quantity }
}

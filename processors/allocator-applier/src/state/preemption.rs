//! A preemption that has not ended: units on their way back from allocations that go on without them, or ended.

use alloc::boxed::Box;
use alloc::collections::BTreeMap;
use alloc::vec::Vec;
use merit_core::{List, datum};

/// Units on their way back.
#[derive(Clone, Debug)]
pub(crate) struct Preemption {
    pub agent_id: Box<str>,
    pub pool: Box<str>,
    /// Milli-GPUs by the division that paid for them; none is 0.
    pub units: BTreeMap<Box<str>, u64>,
    pub reason: Box<str>,
    pub requested_by: Box<str>,
    /// Whether the cluster took the order.
    pub acknowledged: bool,
}

datum! {
    /// Units that one division paid for.
    UnitsRow<'a> {
        /// The division.
        division: &'a str,
        /// Milli-GPUs.
        delta: u64,
    }
}

datum! {
    /// A [`Preemption`] as it is stored.
    PreemptionRow<'a> {
        /// The entity.
        agent_id: &'a str,
        /// The pool.
        pool: &'a str,
        /// Sorted by division.
        units: List<'a, UnitsRow<'a>>,
        /// Why.
        reason: &'a str,
        /// Who asked.
        requested_by: &'a str,
        /// Whether the cluster took the order.
        acknowledged: bool,
    }
}

impl Preemption {
    /// All units that it takes back.
    pub(crate) fn delta(&self) -> u64 {
        self.units.values().sum()
    }

    pub(super) fn with_row(&self, then: impl FnOnce(PreemptionRow<'_>)) {
        let units: Vec<UnitsRow<'_>> = self.units.iter().map(|(division, delta)| UnitsRow { division, delta: *delta }).collect();
        let Preemption { agent_id, pool, reason, requested_by, acknowledged, .. } = self;
        then(PreemptionRow { agent_id, pool, units: List::Slice(&units), reason, requested_by, acknowledged: *acknowledged });
    }

    pub(super) fn read(row: &PreemptionRow<'_>) -> Preemption {
        let &PreemptionRow { agent_id, pool, units, reason, requested_by, acknowledged } = row;
        let units = units.iter().map(|row| (row.division.into(), row.delta)).collect();
        let (agent_id, pool, reason, requested_by) = (agent_id.into(), pool.into(), reason.into(), requested_by.into());
        Preemption { agent_id, pool, units, reason, requested_by, acknowledged }
    }
}

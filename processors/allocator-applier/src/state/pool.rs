//! A pool: what it has, who may hold it, and what waits for it.

use alloc::collections::{BTreeMap, BTreeSet};
use alloc::string::String;
use alloc::vec::Vec;
use merit_core::record::PoolState;
use merit_core::{Datum, List, Row, Shape, Uuid, datum};

datum! {
    /// An account of a pool's ledger, in milli-GPUs.
    #[derive(Default)]
    Balance {
        /// Credits less debits, carried out.
        posted: i64,
        /// Reserved to go.
        debits_pending: u64,
        /// Reserved to come.
        credits_pending: u64,
    }
}

impl Balance {
    /// What may still be debited: pending debits count as done, pending credits do not. Below 0 for the source only.
    pub(crate) fn available(&self) -> i64 {
        self.posted - self.debits_pending as i64
    }
}

/// A division's share of a pool.
#[derive(Clone, Debug, Default)]
pub(crate) struct Division {
    /// What it may hold; none where it was never set.
    pub nominal: Option<u64>,
    /// What it holds or has reserved: draining units too.
    pub used: u64,
    /// Its account `LIM`: quota not used.
    pub limit: Balance,
}

/// A pool that was defined.
#[derive(Clone, Debug)]
pub(crate) struct Pool {
    pub capacity: u64,
    pub state: PoolState,
    /// Its account `CAP`: units not used.
    pub free: Balance,
    /// Its account `SRC`, where units and quotas come from.
    pub source: Balance,
    pub divisions: BTreeMap<String, Division>,
    /// Allocations that wait for units. An id starts with its request's sequence, so its order is that of the requests.
    pub waiting: BTreeSet<Uuid>,
}

impl Default for Pool {
    fn default() -> Self {
        let (free, source) = (Balance::default(), Balance::default());
        Pool { capacity: 0, state: PoolState::Open, free, source, divisions: BTreeMap::new(), waiting: BTreeSet::new() }
    }
}

datum! {
    /// A [`Division`] as it is stored.
    DivisionRow<'a> {
        /// Its name.
        division: &'a str,
        /// What it may hold.
        nominal: Option<u64>,
        /// What it holds or has reserved.
        used: u64,
        /// Quota not used.
        limit: Balance,
    }
}

datum! {
    /// A [`Pool`] as a row.
    PoolRow<'a> {
        /// All units.
        capacity: u64,
        /// Whether it gives.
        state: PoolState,
        /// Units not used.
        free: Balance,
        /// Where units and quotas come from.
        source: Balance,
        /// Sorted by name.
        divisions: List<'a, DivisionRow<'a>>,
        /// Allocations that wait for units, in the order of their requests.
        waiting: List<'a, Uuid>,
    }
}

impl Row for Pool {
    const STORE: &'static str = "pools";
    type Shared = ();

    fn shape(_: u32) -> &'static Shape {
        PoolRow::SHAPE
    }

    fn save(&mut self, scratch: &mut Vec<u8>, put: &mut dyn FnMut(u32, &[u8])) {
        let divisions: Vec<DivisionRow<'_>> = self.divisions.iter().map(division_row).collect();
        let waiting: Vec<Uuid> = self.waiting.iter().copied().collect();
        let &mut Pool { capacity, state, free, source, .. } = self;
        scratch.clear();
        PoolRow { capacity, state, free, source, divisions: List::Slice(&divisions), waiting: List::Slice(&waiting) }.put(scratch);
        put(0, scratch);
    }

    fn load(&mut self, _: u32, bytes: &[u8]) -> Option<()> {
        let PoolRow { capacity, state, free, source, divisions, waiting } = PoolRow::decode(bytes)?;
        let division = |row: DivisionRow<'_>| (row.division.into(), Division { nominal: row.nominal, used: row.used, limit: row.limit });
        let divisions = divisions.iter().map(division).collect();
        *self = Pool { capacity, state, free, source, divisions, waiting: waiting.iter().collect() };
        Some(())
    }
}

fn division_row<'a>((division, value): (&'a String, &Division)) -> DivisionRow<'a> {
    DivisionRow { division, nominal: value.nominal, used: value.used, limit: value.limit }
}

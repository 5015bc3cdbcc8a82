//! An entity: where it belongs, what it holds, and what the cluster was told about it.

use crate::state::Balance;
use alloc::boxed::Box;
use alloc::collections::{BTreeMap, VecDeque};
use alloc::string::String;
use alloc::vec::Vec;
use merit_core::{Datum, List, Row, Shape, Uuid, datum};

datum! {
    /// An allocation that has not ended, and the promotion behind it.
    Claim {
        /// The allocation.
        allocation_id: Uuid,
        /// The promotion.
        promotion_id: Option<Uuid>,
    }
}

datum! {
    /// An order that the cluster has to carry out.
    Order {
        /// The allocation that it serves.
        allocation_id: Uuid,
        /// Its fence.
        fence: u64,
        /// What the entity shall hold in the pool, in milli-GPUs.
        quantity: u64,
    }
}

/// What an entity holds in one pool.
#[derive(Clone, Debug, Default)]
pub(crate) struct Target {
    /// Fence of the newest order.
    pub fence: u64,
    /// What was observed last, in milli-GPUs.
    pub quantity: u64,
    /// The order under way: one a time, so that a refused one leaves what was observed last.
    pub order: Option<Order>,
    /// Allocations whose change is to be ordered next.
    pub queue: VecDeque<Uuid>,
    /// Its accounts `OCC`, by the division that pays.
    pub occupied: BTreeMap<String, Balance>,
}

/// An entity.
#[derive(Clone, Debug, Default)]
pub(crate) struct Entity {
    /// Its home; none where it was not heard of.
    pub division: Option<Box<str>>,
    /// Oldest first.
    pub claims: Vec<Claim>,
    pub targets: BTreeMap<String, Target>,
}

impl Entity {
    /// What it holds in a pool.
    pub(crate) fn target(&mut self, pool: &str) -> &mut Target {
        self.targets.entry(pool.into()).or_default()
    }
}

datum! {
    /// Units that an entity occupies on a division's account.
    OccupiedRow<'a> {
        /// The division.
        division: &'a str,
        /// The account.
        balance: Balance,
    }
}

datum! {
    /// A [`Target`] as it is stored.
    TargetRow<'a> {
        /// The pool.
        pool: &'a str,
        /// Fence of the newest order.
        fence: u64,
        /// What was observed last.
        quantity: u64,
        /// The order under way.
        order: Option<Order>,
        /// What is to be ordered next.
        queue: List<'a, Uuid>,
        /// Sorted by division.
        occupied: List<'a, OccupiedRow<'a>>,
    }
}

datum! {
    /// An [`Entity`] as a row.
    EntityRow<'a> {
        /// Its home.
        division: Option<&'a str>,
        /// Allocations that have not ended.
        claims: List<'a, Claim>,
        /// Sorted by pool.
        targets: List<'a, TargetRow<'a>>,
    }
}

impl Row for Entity {
    const STORE: &'static str = "entities";
    type Shared = ();

    fn shape(_: u32) -> &'static Shape {
        EntityRow::SHAPE
    }

    fn save(&mut self, scratch: &mut Vec<u8>, put: &mut dyn FnMut(u32, &[u8])) {
        let lists: Vec<(Vec<Uuid>, Vec<OccupiedRow<'_>>)> = self.targets.values().map(target_lists).collect();
        let targets = self.targets.iter().zip(&lists);
        let targets: Vec<TargetRow<'_>> =
            targets.map(|((pool, target), (queue, occupied))| target_row(pool, target, queue, occupied)).collect();
        scratch.clear();
        let (claims, targets) = (List::Slice(&self.claims), List::Slice(&targets));
        EntityRow { division: self.division.as_deref(), claims, targets }.put(scratch);
        put(0, scratch);
    }

    fn load(&mut self, _: u32, bytes: &[u8]) -> Option<()> {
        let EntityRow { division, claims, targets } = EntityRow::decode(bytes)?;
        let targets = targets.iter().map(|row| (row.pool.into(), target(&row))).collect();
        *self = Entity { division: division.map(Box::from), claims: claims.iter().collect(), targets };
        Some(())
    }
}

fn target_lists(target: &Target) -> (Vec<Uuid>, Vec<OccupiedRow<'_>>) {
    let occupied = target.occupied.iter().map(|(division, balance)| OccupiedRow { division, balance: *balance });
    (target.queue.iter().copied().collect(), occupied.collect())
}

fn target_row<'a>(pool: &'a str, target: &Target, queue: &'a [Uuid], occupied: &'a [OccupiedRow<'a>]) -> TargetRow<'a> {
    let &Target { fence, quantity, order, .. } = target;
    TargetRow { pool, fence, quantity, order, queue: List::Slice(queue), occupied: List::Slice(occupied) }
}

fn target(row: &TargetRow<'_>) -> Target {
    let &TargetRow { fence, quantity, order, queue, occupied, .. } = row;
    let occupied = occupied.iter().map(|row| (row.division.into(), row.balance)).collect();
    Target { fence, quantity, order, queue: queue.iter().collect(), occupied }
}

//! What the allocator remembers: one module a store.

mod allocation;
mod clock;
mod entity;
mod pool;
mod preemption;

pub(crate) use allocation::{Allocation, Live, Phase, Reservation, Return, Wait};
pub(crate) use clock::{Clock, Rules};
pub(crate) use entity::{Claim, Entity, Order, Target};
pub(crate) use pool::{Balance, Division, Pool};
pub(crate) use preemption::Preemption;

use alloc::format;
use alloc::string::String;
use merit_core::table::Single;
use merit_core::{Table, Uuid};

/// Every store.
#[derive(Default)]
pub(crate) struct Books {
    pub pools: Table<Pool>,
    pub allocations: Table<Allocation>,
    pub entities: Table<Entity>,
    pub clock: Single<Clock>,
    pub rules: Single<Rules>,
}

/// The key of an allocation.
pub(crate) fn name(id: Uuid) -> String {
    format!("{id}")
}

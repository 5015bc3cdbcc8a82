//! allocator-applier: who holds which units, and the orders that make it so.
//!
//! | | |
//! |---|---|
//! | Reads | RequestAllocation, Approve, Reject, Release, Preempt; DefinePool, SetQuota, PolicyBundle; EntityAssigned; PolicyDecided of the gate; Acked, Observed, Refused of a cluster; Recheck; Progress, Tick |
//! | Writes | the life of every allocation (`Allocation*`), PoolDefined, QuotaSet, CommandRefused; AllocationOutcome and Recheck, fed back |
//! | State | `pools`: capacity, quotas, ledger accounts, what waits for units; `entities`: home, holdings, orders; `allocations`: those alive, and preemptions under way; `ledger-time`: time and timers; `bundle`: static rules |
//! | Params | none |
//!
//! `task` pairs a command with its verdict, `logic` judges units, `ledger` moves them in double entry, `pools` sizes pools and quotas,
//! `life` takes an allocation through its states
//!
//! ```text
//! request --> waiting --> approved --> applied --> confirmed --> draining --> released
//!                |            |           |
//!                +------------+-----------+--> rejected
//! ```
//!
//! `preemptions` takes units back from confirmed ones,
//! and `orders` talks to the cluster: one order a time for an entity and pool, its quantity absolute, its fence rising.
//!
//! Invariants:
//! - Every transfer debits what it credits, so the posted and the pending column of a pool's ledger each sum to zero.
//! - No account but the source is overdrawn, and a grant needs free units *and* free quota: reserved units count as used.
//! - A reservation is carried out or given up, once. Units that drain stay occupied until they are observed free.
//! - A preemption takes all that it asks for, or is refused; what it leaves an allocation is what that can give back later.
//! - Nothing is granted without a verdict of the gate; what waits is judged again by the static rules of that time.
//! - A duplicate or late Acked or Observed changes nothing. What ended stays as it is.
#![cfg_attr(not(test), no_std)]
#![warn(missing_docs, clippy::wildcard_enum_match_arm)]

extern crate alloc;

mod event;
mod ledger;
mod life;
mod logic;
mod orders;
mod pools;
mod preemptions;
pub mod rule;
mod state;
mod task;
#[cfg(test)]
mod tests;

pub use event::{AllocatorApplierPorts, In, Out};
pub use task::AllocatorApplier;

//! simulated-cluster: a cluster that does what it is told, after a while.
//!
//! | | |
//! |---|---|
//! | Reads | AllocationDispatched; Progress, Tick |
//! | Writes | Acked, Observed; both are fed back through `alloc.requests` |
//! | State | `cluster`: what it will say, and when |
//! | Params | `simulated-cluster.acknowledge_after`, `simulated-cluster.observe_after`, in ledger time; default 0: at once |
//!
//! Invariants:
//! - Every order is acknowledged once and observed once, the acknowledgement first.
//! - Nothing is said before its time, and what is due is said in the order (time, entity, pool, fence).
#![cfg_attr(not(test), no_std)]
#![warn(missing_docs, clippy::wildcard_enum_match_arm)]

extern crate alloc;

mod event;
mod logic;
mod params;
mod state;
mod task;
#[cfg(test)]
mod tests;

pub use event::{In, Out, SimulatedClusterPorts};
pub use params::Params;
pub use task::SimulatedCluster;

//! policy-gate: one verdict on every command that asks for units.
//!
//! | | |
//! |---|---|
//! | Reads | RequestAllocation, Approve; Reject, Release (it forgets what they end); Preempt (its time alone); DefinePool, PolicyBundle; Progress, Tick |
//! | Writes | PolicyDecided |
//! | State | `gate-state`: ledger time, names of pools, bundle in force, requests that wait for a person; `gate-entities`: cooldown |
//! | Params | `policy-gate.request_cooldown`, `policy-gate.confidence` |
//!
//! It judges what needs no ledger: shape, pool known, static rules, trust, cooldown. What it finds is joined by the allocator
//! with what the ledger says.
//!
//! The gate is the first to see a request, so it gives the allocation its name: the id of the verdict on its request.
//! By that name Approve comes back to it, and later signatures will.
//!
//! Invariants:
//! - A RequestAllocation that is not refused by itself has exactly one verdict, and so has the first Approve of what waits for a person; each goes out before
//!   the command itself reaches the allocator.
//! - With manual approval, and where trust is low, a person has to speak first: the rules are judged as they are then.
//! - A verdict that allows names `sentinel-allow` and has no blocker; any other names its most severe blocker.
//! - Two verdicts of one entity that need no person more are at least `request_cooldown` apart, or say when they will be.
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

pub use event::{In, Out, PolicyGatePorts};
pub use params::Params;
pub use task::PolicyGate;

//! Puts the audit leaves of all tasks into one order.
//!
//! **Reads** AuditLeaf; ConfigEpoch, which names an emitter key.
//!
//! **Writes** SealedLeaf, one for each leaf that was not sealed before; AuditIncident right behind a leaf that breaks its chain;
//! StreamHeads every [`HEADS_EVERY`] sealed leaves. The last two are decisions of the seal task: the runtime makes and signs
//! their leaves in that task's own chain and puts them into `audit` where they were emitted.
//!
//! **State** `audit-heads`: the end of each chain. `audit-log`: ids of the keys, leaves since the last heads.
//!
//! **Params** none of its own.
//!
//! **Invariants**
//! - Every leaf that comes is in `audit` once: a leaf that breaks a rule is evidence, so it is sealed too.
//! - What it writes depends on `audit.intake` alone; it holds no key, and of a signature it checks only that its key
//!   is known: the signature itself is for who verifies the log.
#![cfg_attr(not(test), no_std)]
#![warn(missing_docs, clippy::wildcard_enum_match_arm)]

extern crate alloc;

mod event;
mod logic;
mod params;
pub mod rule;
mod state;
mod task;
#[cfg(test)]
mod tests;

pub use event::{AuditSealerPorts, In, Out};
pub use logic::HEADS_EVERY;
pub use task::AuditSealer;

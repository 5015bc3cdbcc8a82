//! Ingest: decides which reports count.
//!
//! Reads: EvalReport, RawReport, ProposePromotion, AssignEntity, AllocationOutcome, Tick, ConfigEpoch.
//! Writes: ReportAccepted; ReportDuplicate, which names the report that counted; Rejected;
//! EntityAssigned where an entity's home is set or changed; EvalReport to the right partition.
//! State: `homes` (division, product and metric names an entity), `recent-reports` (ids of the last reports),
//! `ingest-counts` (inputs by class).
//! Params: `event-time.future`, `ingest.recent_reports`, metric ranges of the profile in force.
//! Invariant: every input is in exactly one class of [`state::Counts`], and
//! in = accepted + duplicate + rejected + rerouted + commands + fed back + control.
//! A command that ingest refuses is one that `Payload::flaw` finds fault with: whoever else reads commands asks the same function.
#![cfg_attr(not(test), no_std)]
#![warn(missing_docs, clippy::wildcard_enum_match_arm)]

extern crate alloc;

pub mod event;
pub mod logic;
pub mod params;
pub mod state;
mod task;
#[cfg(test)]
mod tests;

pub use task::Ingest;

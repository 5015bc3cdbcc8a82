//! retrain-queue: jobs that train a model again, from the wish to the GPUs.
//!
//! | | |
//! |---|---|
//! | Reads | CreateRetrain; AllocationRequested and AllocationOutcome of the entities that are jobs; Progress, Tick |
//! | Writes | RetrainQueued, RetrainUpdated, CommandRefused; RequestAllocation, fed back to the gate |
//! | State | `retrain-jobs`: jobs whose allocation has not ended; `retrain-clock`: ledger time |
//! | Params | `retrain-queue.pool`, `retrain-queue.gpus`, `retrain-queue.gpu_hours`: what a job asks for |
//!
//! A job holds its GPUs as an entity of its own, `retrain:JOB`, so all that is said of agents and GPUs is said of jobs too:
//! a person approves, quotas hold, units come back by Release or Preempt.
//!
//! Invariants:
//! - A job is a RetrainQueued and one request for GPUs behind it, or the command is refused by name.
//! - A job fails once: when its allocation ends, since nothing has run it by then.
//! - What became of other entities changes nothing.
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

pub use event::{In, Out, RetrainQueuePorts};
pub use params::Params;
pub use task::RetrainQueue;

//! Hysteresis-promoter: moves entities between tiers, slowly enough that noise does not.
//!
//! Reads: ScoreUpdated, EntityAssigned, ProposePromotion, AllocationOutcome, Tick.
//! Writes: PromotionProposed with RequestAllocation; DemotionProposed with Release of what the promotion obtained;
//! Held and ReviewRequired, once a crossing.
//! State: `tiers` (tier, open windows, streaks, confidence sequence and grants an entity), `promoter-clock` (the watermark),
//! `armed-windows` (which windows have reports enough, in order).
//! Params: the profile in force: tiers, dwell, window, windows in a row, least reports, alpha, approval, pools.
//! Invariants: a proposal goes with a change of tier and nothing else does; a closed window is never revised;
//! windows close in the order of (window, key).
//!
//! [`AggregatePromoter`] is the same for divisions and products: it reads ScoreUpdated, writes the four kinds of proposals, and
//! asks for no GPUs.
#![cfg_attr(not(test), no_std)]
#![warn(missing_docs, clippy::wildcard_enum_match_arm)]

extern crate alloc;

mod aggregate;
#[cfg(test)]
mod aggregate_tests;
mod armed;
pub mod event;
pub mod interval;
pub mod logic;
pub mod params;
pub mod state;
mod task;
#[cfg(test)]
mod tests;

pub use aggregate::AggregatePromoter;
pub use task::HysteresisPromoter;

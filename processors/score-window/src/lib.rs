//! Score-window: keeps sliding windows of 1 h, 24 h and 7 d an entity, and scores them after every report.
//!
//! Reads: ReportAccepted, Tick.
//! Writes: ScoreUpdated, one a report; ReportLate for a report behind the watermark; Progress to the other sub-topologies.
//! State: `windows` (panes an entity), `score-counts` (watermark and counts of the partition).
//! Params: `event-time.grace`, metrics, weights and decimals of the profile in force.
//! Invariants: accepted = scored + late. A window's totals are the sums of its panes, and its score that of every report
//! whose pane is among the window's panes that end in the entity's newest pane.
#![cfg_attr(not(test), no_std)]
#![warn(missing_docs, clippy::wildcard_enum_match_arm)]

extern crate alloc;

pub mod event;
pub mod logic;
pub mod panes;
pub mod params;
pub mod state;
mod task;
#[cfg(test)]
mod tests;

pub use task::ScoreWindow;

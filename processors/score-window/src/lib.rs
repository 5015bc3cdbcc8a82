//! Score-window: keeps sliding windows of 1 h, 24 h and 7 d an entity, and scores them after every report.
//!
//! Two processors over the same panes: [`ScoreWindow`] for agents, [`AggregateWindow`] for their divisions and products.
//! The first sums what each minute adds to each division and product and hands those sums on; the second folds them.
//!
//! # score-window
//! Reads: ReportAccepted, Tick.
//! Writes: ScoreUpdated, one a report; ReportLate for a report behind the watermark; AggregateDelta, one a division or product
//! and minute touched, behind the ScoreUpdated that makes it due and before the Progress of the same step; Progress to the other
//! sub-topologies.
//! State: `windows` (panes an entity), `score-counts` (watermark and counts of the partition), `open-deltas` (sums not yet handed
//! on).
//! Params: `event-time.grace`, metrics, weights and decimals of the profile in force.
//! Invariants: accepted = scored + late. A window's totals are the sums of its panes, and its score that of every report
//! whose pane is among the window's panes that end in the entity's newest pane. A Progress promises that every delta of a minute
//! before its watermark was written.
//!
//! # aggregate-window
//! Reads: AggregateDelta, Progress.
//! Writes: ScoreUpdated, one an aggregate touched, whenever the lowest Progress of all report partitions enters a new minute.
//! State: `aggregate-windows` (panes an aggregate), `pending-deltas` (sums whose minute is not over), `aggregate-progress`
//! (watermark a report partition).
//! Params: metrics, weights and decimals of the profile in force.
//! Invariants: a partition not heard of holds everything back. Scores do not depend on the order in which deltas of several
//! partitions arrive between two steps. An aggregate knows at most 16 metric names, first come by (minute, name); a report's
//! other metrics count in its observation only.
#![cfg_attr(not(test), no_std)]
#![warn(missing_docs, clippy::wildcard_enum_match_arm)]

extern crate alloc;

mod aggregate;
#[cfg(test)]
mod aggregate_tests;
pub mod deltas;
pub mod event;
pub mod logic;
pub mod panes;
pub mod params;
pub mod state;
mod task;
#[cfg(test)]
mod tests;

pub use aggregate::AggregateWindow;
pub use task::ScoreWindow;

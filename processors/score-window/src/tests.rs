//! Tests of score-window: seed 001's numbers, edges of time, and a naive oracle that keeps every report.
#![allow(clippy::wildcard_enum_match_arm, reason = "a test looks at the records that it expects")]

mod bench;
mod laws;
mod oracle;
mod scores;
mod times;

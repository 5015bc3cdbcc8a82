//! Tests of hysteresis-promoter: stories as tables, laws as properties, and the interval against its formula and its promise.
#![allow(clippy::wildcard_enum_match_arm, reason = "a test looks at the records that it expects")]

mod interval;
mod laws;
mod reports;
mod stage;
mod windows;

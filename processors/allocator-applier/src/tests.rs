//! The whole allocate sub-topology: gate, allocator and simulated cluster in one chain, with feedback.
#![allow(clippy::wildcard_enum_match_arm, reason = "a test looks at the records that it expects")]

mod chain;
mod laws;
mod model;
mod scenarios;

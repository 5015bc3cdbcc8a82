//! Tests of ingest: rules as tables, what it remembers as stories, conservation as a property.
#![allow(clippy::wildcard_enum_match_arm, reason = "a test looks at the records that it expects")]

mod desk;
mod homes;
mod laws;
mod reports;
mod rules;

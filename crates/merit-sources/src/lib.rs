//! Input files read as evaluation reports: JSON lines or CSV, plain or gzip, one file or several merged by event time.
//!
//! It turns bytes into [`merit_core::record::EvalReport`] or into a named rule that they break, and knows exactly which
//! rows were taken, so that a killed import continues at the next one.
//! It reads the machine's clock for one thing: a row that is ahead of it by too much ([`Source::refuse_future`]).
//! It does not know topics, partitions, deduplication or what a score is, and it judges only what must hold for the
//! record to exist: ranges, lengths and names are ingest's.
//! Read in this order: [`report`] (rules), [`json`] and [`csv`] (one row), [`source`] (one file), [`merge`] (several),
//! then [`mapping`] and [`pools`] (the two TOML files).
#![warn(missing_docs)]

pub mod csv;
mod document;
pub mod json;
pub mod mapping;
pub mod merge;
pub mod pools;
pub mod report;
mod rows;
pub mod source;
pub mod time;

pub use csv::CsvReports;
pub use json::JsonReports;
pub use mapping::Mapping;
pub use merge::{Merge, Row};
pub use pools::{Pool, Quota};
pub use report::{MAX_ROW, RULES, Unreadable};
pub use source::{Outcome, Position, Source, SourceError};

#[cfg(test)]
mod tests;

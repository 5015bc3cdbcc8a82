//! The pure core of Merit: values, records, and the shape of a processor.
//!
//! It knows no clock, file, socket or environment, and no encoding library: the compiler keeps it so (`no_std`).
//! Read in this order: [`fixed`] and [`time`] (the two quantities), [`datum`] (what a record is in bytes),
//! [`record`] (every record type), [`processor`] (what a processor is), [`table`] (what it remembers).
#![cfg_attr(not(test), no_std)]
#![warn(missing_docs, clippy::wildcard_enum_match_arm)]

extern crate alloc;

pub mod code;
pub mod datum;
pub mod fixed;
pub mod id;
mod index;
pub mod key;
pub mod prefetch;
pub mod processor;
pub mod profile;
pub mod recent;
pub mod record;
pub mod settings;
pub mod shared;
pub mod table;
pub mod time;
pub mod watermark;

pub use code::Code;
pub use datum::{Datum, List, Shape};
pub use fixed::Fixed;
pub use id::{Digest, Uuid};
pub use key::Key;
pub use processor::{Fault, Head, Outbox, Processor, Record, Sink};
pub use record::{Kind, Payload};
pub use settings::{MAX_NAME, Problem, Settings};
pub use table::{Row, Rows, Store, Table};
pub use time::{Duration, EventTime};

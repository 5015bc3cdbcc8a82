//! Every record type, by area; `schemas/` holds one Avro schema of the same name for each.
//!
//! Record types are facts in the past tense or commands in the imperative.
//! All are `Copy` views: built over borrowed parts, or read in place from the bytes of a log.

mod allocation;
mod audit;
mod control;
mod evaluation;
mod payload;
mod promotion;

pub use allocation::*;
pub use audit::*;
pub use control::*;
pub use evaluation::*;
pub use payload::{Kind, Kinds, Payload};
pub use promotion::*;

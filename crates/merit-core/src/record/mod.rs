//! Every record type, by area; `schemas/` holds one Avro schema of the same name for each.
//!
//! Record types are facts in the past tense or commands in the imperative.
//! All are `Copy` views: built over borrowed parts, or read in place from the bytes of a log.

mod allocation;
mod audit;
mod bounds;
mod control;
mod evaluation;
mod payload;
mod promotion;
mod retrain;

pub use allocation::*;
pub use audit::*;
pub use bounds::{Flaw, MAX_REF, MAX_REFS, MAX_TEXT, name};
pub use control::*;
pub use evaluation::*;
pub use payload::{Kind, Kinds, Payload};
pub use promotion::*;
pub use retrain::*;

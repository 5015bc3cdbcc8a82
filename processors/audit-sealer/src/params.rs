//! What the processor is told.

use alloc::string::String;
use merit_core::processor::Configuration;

/// The audit log that leaves must belong to; the processor has no parameters of its own.
#[derive(Debug, Default)]
pub(crate) struct Params {
    pub(crate) origin: String,
}

impl Params {
    pub(crate) fn new(configuration: &Configuration) -> Params {
        Params { origin: configuration.origin.clone() }
    }
}

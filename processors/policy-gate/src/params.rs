//! Parameters.

use alloc::vec::Vec;
use merit_core::settings::Reader;
use merit_core::{Duration, Fixed, Problem, Settings};

/// What the gate asks of everyone.
#[derive(Clone, Copy, Debug, Default)]
pub struct Params {
    /// Least ledger time between two requests of one entity. Default 0.
    pub request_cooldown: Duration,
    /// Least trust that passes without a person, 0 to 1; a request that states none has less than any. Default 0: no trust is asked for.
    pub confidence: Fixed,
}

impl Params {
    /// Reads them from under `policy-gate`.
    pub fn read(settings: &Settings) -> (Params, Vec<Problem>) {
        let mut reader = Reader::new(settings, "policy-gate");
        let params = Params {
            request_cooldown: reader.duration("request_cooldown", Duration(0)),
            confidence: reader.fixed("confidence", Fixed::ZERO),
        };
        if params.confidence.clamp(Fixed::ZERO, Fixed::ONE) != params.confidence {
            reader.refuse("confidence", "must be 0 to 1");
        }
        (params, reader.problems)
    }
}

//! Parameters.

use alloc::vec::Vec;
use merit_core::settings::Reader;
use merit_core::{Duration, Problem, Settings};

/// How slow the cluster is, in ledger time.
#[derive(Clone, Copy, Debug, Default)]
pub struct Params {
    /// From an order to its acknowledgement. Default 0.
    pub acknowledge_after: Duration,
    /// From an order to its observation, `acknowledge_after` at least. Default 0.
    pub observe_after: Duration,
}

impl Params {
    /// Reads them from under `simulated-cluster`.
    pub fn read(settings: &Settings) -> (Params, Vec<Problem>) {
        let mut reader = Reader::new(settings, "simulated-cluster");
        let params = Params {
            acknowledge_after: reader.duration("acknowledge_after", Duration(0)),
            observe_after: reader.duration("observe_after", Duration(0)),
        };
        if params.observe_after < params.acknowledge_after {
            reader.refuse("observe_after", "must be acknowledge_after at least");
        }
        (params, reader.problems)
    }
}

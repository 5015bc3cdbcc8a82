//! The promoter of divisions and products.

use crate::HysteresisPromoter;
use crate::event::AggregatePorts;
use crate::params::Params;
use alloc::vec::Vec;
use merit_core::processor::Configuration;
use merit_core::record::ScoreUpdated;
use merit_core::{Fault, Head, Outbox, Problem, Processor, Settings, Store};

/// Moves divisions and products between tiers, by the rules for agents; it asks for nothing.
#[derive(Default)]
pub struct AggregatePromoter(HysteresisPromoter);

impl Processor for AggregatePromoter {
    type Ports = AggregatePorts;
    const NAME: &'static str = HysteresisPromoter::NAME;

    fn check(settings: &Settings) -> Vec<Problem> {
        HysteresisPromoter::check(settings)
    }

    fn configure(&mut self, configuration: &Configuration) -> Result<(), Fault> {
        self.0.begin(Params::read(&configuration.settings).0.without_allocation());
        Ok(())
    }

    fn step(&mut self, at: &Head<'_>, score: &ScoreUpdated<'_>, out: &mut Outbox<'_, AggregatePorts>) -> Result<(), Fault> {
        self.0.aggregate(at, score, out)
    }

    fn stores(&mut self, visit: &mut dyn FnMut(&mut dyn Store)) {
        Processor::stores(&mut self.0, visit);
    }
}

//! Every processor that the binary holds, by sub-topology and in order.

use merit_core::Processor;
use merit_core::processor::{DynProcessor, Ports};
use merit_runtime::Registered;
use merit_topology::ProcessorCode;

/// One processor in one sub-topology.
struct Entry {
    registered: Registered,
    code: fn() -> ProcessorCode,
}

macro_rules! processors {
    ($($sub_topology:literal: $($processor:ty),+;)+) => {
        const PROCESSORS: &[Entry] = &[$($(Entry {
            registered: Registered { sub_topology: $sub_topology, make: || Box::<$processor>::default() },
            code: || code::<$processor>($sub_topology),
        }),+),+];
    };
}

processors! {
    "evaluate": ingest::Ingest, score_window::ScoreWindow, hysteresis_promoter::HysteresisPromoter;
    "aggregate": score_window::AggregateWindow, hysteresis_promoter::AggregatePromoter;
    "allocate": policy_gate::PolicyGate, allocator_applier::AllocatorApplier, retrain_queue::RetrainQueue, simulated_cluster::SimulatedCluster;
    "seal": audit_sealer::AuditSealer;
}

fn code<P: Processor + 'static>(sub_topology: &'static str) -> ProcessorCode {
    let mut stores = Vec::new();
    DynProcessor::stores(&mut P::default(), &mut |store| stores.push(store.name()));
    let (reads, writes) = (P::Ports::READS, P::Ports::WRITES);
    ProcessorCode { sub_topology, name: P::NAME, reads, writes, stores, problems: P::check }
}

/// How to make them.
pub fn registered() -> Vec<Registered> {
    PROCESSORS.iter().map(|entry| entry.registered).collect()
}

/// What they read, write and keep.
pub fn codes() -> Vec<ProcessorCode> {
    PROCESSORS.iter().map(|entry| (entry.code)()).collect()
}

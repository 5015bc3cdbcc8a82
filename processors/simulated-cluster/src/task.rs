//! The adapter: keeps what is to be said until it is due.

use crate::event::{In, SimulatedClusterPorts};
use crate::logic::answers;
use crate::params::Params;
use crate::state::{Cluster, Due, Word};
use alloc::format;
use alloc::vec::Vec;
use merit_core::processor::Configuration;
use merit_core::record::{Acked, Observed};
use merit_core::table::Single;
use merit_core::{EventTime, Fault, Head, Key, Outbox, Problem, Processor, Settings, Store};

/// The processor.
#[derive(Default)]
pub struct SimulatedCluster {
    params: Params,
    cluster: Single<Cluster>,
}

impl Processor for SimulatedCluster {
    type Ports = SimulatedClusterPorts;
    const NAME: &'static str = "simulated-cluster";

    fn check(settings: &Settings) -> Vec<Problem> {
        Params::read(settings).1
    }

    fn configure(&mut self, configuration: &Configuration) -> Result<(), Fault> {
        self.params = Params::read(&configuration.settings).0;
        Ok(())
    }

    fn step(&mut self, _: &Head<'_>, input: In<'_>, out: &mut Outbox<'_, SimulatedClusterPorts>) -> Result<(), Fault> {
        match input {
            In::AllocationDispatched(order) => {
                self.cluster.write().due.extend(answers(&self.params, order));
                self.speak(order.timestamp, out)
            }
            In::Progress(progress) => self.speak(progress.watermark, out),
            In::Tick(tick) => self.speak(tick.time, out),
        }
    }

    fn stores(&mut self, visit: &mut dyn FnMut(&mut dyn Store)) {
        visit(&mut self.cluster);
    }
}

impl SimulatedCluster {
    #[inline]
    fn speak(&mut self, now: EventTime, out: &mut Outbox<'_, SimulatedClusterPorts>) -> Result<(), Fault> {
        while self.cluster.read().due.first().is_some_and(|due| due.at <= now) {
            let Some(due) = self.cluster.write().due.pop_first() else { break };
            say(&due, now, out)?;
        }
        Ok(())
    }
}

fn say(due: &Due, now: EventTime, out: &mut Outbox<'_, SimulatedClusterPorts>) -> Result<(), Fault> {
    let Due { agent_id, pool, fence, quantity, allocation_id, .. } = due;
    let (fence, quantity, allocation_id) = (*fence, *quantity, *allocation_id);
    let sequence = match due.word {
        Word::Acked => {
            let external_ref = format!("simulated/{pool}/{agent_id}/{fence}");
            out.emit(Key::new(pool), now, &Acked { allocation_id, agent_id, pool, fence, external_ref: &external_ref })
        }
        Word::Observed => out.emit(Key::new(pool), now, &Observed { agent_id, pool, fence, quantity }),
    };
    sequence.map(|_| ())
}

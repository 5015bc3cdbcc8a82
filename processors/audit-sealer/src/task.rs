//! The processor: hands records to the logic and its findings on.

use crate::event::{AuditSealerPorts, In};
use crate::logic::{self, Finding, HEADS_EVERY};
use crate::params::Params;
use crate::state::{ChainState, LogState};
use alloc::vec::Vec;
use merit_audit::key_id;
use merit_core::processor::Configuration;
use merit_core::record::{AuditIncident, AuditLeaf, SealedLeaf, StreamHead, StreamHeads};
use merit_core::table::Single;
use merit_core::{EventTime, Fault, Head, Key, List, Outbox, Problem, Processor, Settings, Store, Table};

/// The audit sealer.
#[derive(Default)]
pub struct AuditSealer {
    params: Params,
    chains: Table<ChainState>,
    log: Single<LogState>,
}

impl Processor for AuditSealer {
    type Ports = AuditSealerPorts;
    const NAME: &'static str = "audit-sealer";

    fn check(_: &Settings) -> Vec<Problem> {
        Vec::new()
    }

    fn configure(&mut self, configuration: &Configuration) -> Result<(), Fault> {
        self.params = Params::new(configuration);
        Ok(())
    }

    fn step(&mut self, at: &Head<'_>, input: In<'_>, out: &mut Outbox<'_, AuditSealerPorts>) -> Result<(), Fault> {
        match input {
            In::AuditLeaf(record) => self.seal(at.time, record, out),
            In::ConfigEpoch(epoch) => {
                self.log.write().add_key(key_id(epoch.key_name, &epoch.emitter_key));
                Ok(())
            }
        }
    }

    fn stores(&mut self, visit: &mut dyn FnMut(&mut dyn Store)) {
        visit(&mut self.chains);
        visit(&mut self.log);
    }
}

impl AuditSealer {
    fn seal(&mut self, time: EventTime, record: &AuditLeaf<'_>, out: &mut Outbox<'_, AuditSealerPorts>) -> Result<(), Fault> {
        let key = Key::new(record.stream);
        let chain = self.chains.entry(&key)?;
        let finding = logic::judge(&self.params.origin, &self.log.read().keys, chain, record);
        if finding == Finding::Duplicate {
            return Ok(());
        }
        out.emit(key, time, &SealedLeaf { leaf: record.leaf, payload: record.payload })?;
        if let Finding::Broken { rule, detail } = &finding {
            out.emit(key, time, &AuditIncident { stream: record.stream, sequence: record.sequence, rule: rule.name, detail })?;
        }
        let log = self.log.write();
        log.since_heads += 1;
        if log.since_heads >= HEADS_EVERY {
            log.since_heads = 0;
            self.emit_heads(time, out)?;
        }
        Ok(())
    }

    fn emit_heads(&mut self, time: EventTime, out: &mut Outbox<'_, AuditSealerPorts>) -> Result<(), Fault> {
        let ends = self.chains.iter()?.filter_map(|(stream, chain)| Some((stream, chain.next.checked_sub(1)?, *chain.last()?)));
        let mut heads: Vec<StreamHead<'_>> = ends.map(|(stream, sequence, hash)| StreamHead { stream, sequence, hash }).collect();
        heads.sort_unstable_by_key(|head| head.stream);
        out.emit(Key::new(&self.params.origin), time, &StreamHeads { heads: List::Slice(&heads) })?;
        Ok(())
    }
}

//! What a checkpoint keeps of a task, and how it is taken back.

use super::{Node, Output, Sealed, Task};
use crate::{RuntimeError, store};
use merit_audit::{Chain, ChainHead, Running};
use merit_core::record::ConfigEpoch;
use merit_core::{Datum, EventTime, Fault, List, datum};

datum! {
    /// What a checkpoint keeps of a processor beside the rows of its stores.
    ProcessorRow {
        /// Next sequence.
        sequence: u64,
        /// Running digest of what it published.
        published: [u8; 32],
        /// Next sequence at the last seal.
        sealed: u64,
    }
}

datum! {
    /// What a checkpoint keeps of a task beside the rows of its stores.
    TaskRow<'a> {
        /// Offset of the next input.
        position: u64,
        /// One a processor, in order.
        processors: List<'a, ProcessorRow>,
        /// Hex of SHA-256 of the first ConfigEpoch.
        lineage: &'a str,
        /// Next sequence of the audit chain.
        chain_sequence: u64,
        /// Hash of its last leaf.
        chain_hash: [u8; 32],
        /// Running digest of inputs.
        inputs: [u8; 32],
        /// Behind the last sealed input.
        sealed_offset: u64,
        /// Record time at the last seal.
        sealed_time: Option<EventTime>,
        /// Largest record time so far.
        newest: Option<EventTime>,
        /// The ConfigEpoch in force.
        config: &'a [u8],
    }
}

/// Store name of a task's own row.
const TASK_STORE: &str = "";

impl Task {
    /// Writes every changed row.
    pub fn checkpoint(&mut self, put: &mut dyn FnMut(Vec<u8>, &[u8])) {
        let task = self.outside.task();
        let (name, partition) = (task.name.clone(), task.partition);
        for node in &mut self.nodes {
            node.processor.stores(&mut |rows| {
                let prefix = store::state_prefix(&name, partition, rows.name());
                rows.checkpoint(&mut |key, part, row| put(store::state_key(&prefix, key, part), row));
            });
        }
        let outside = &self.outside;
        let processors = self.nodes.iter().zip(&outside.outputs);
        let row =
            |(node, output): (&Node, &Output)| ProcessorRow { sequence: node.sequence, published: output.running.0, sealed: output.sealed };
        let processors: Vec<ProcessorRow> = processors.map(row).collect();
        let head = outside.chain.as_ref().map_or(ChainHead { sequence: 0, hash: [0; 32] }, Chain::head);
        let row = TaskRow {
            position: self.position,
            processors: List::Slice(&processors),
            lineage: &outside.lineage,
            chain_sequence: head.sequence,
            chain_hash: head.hash,
            inputs: outside.inputs.0,
            sealed_offset: outside.sealed.offset,
            sealed_time: outside.sealed.time,
            newest: outside.newest,
            config: &outside.config,
        };
        let mut bytes = Vec::new();
        row.put(&mut bytes);
        put(store::state_key(&store::state_prefix(&name, partition, TASK_STORE), "", 0), &bytes);
    }

    /// Takes back what the last checkpoint wrote, from the rows whose keys begin with `under`: none, or [`store::BASE`].
    pub fn restore(&mut self, from: &store::Store, under: &[u8]) -> Result<(), RuntimeError> {
        let task = self.outside.task();
        let (name, partition, stopped) = (task.name.clone(), task.partition, self.name());
        let broken = |fault: Fault| RuntimeError::Stopped { task: stopped.clone(), offset: 0, fault };
        let mut own = None;
        from.state(&[under, &store::state_prefix(&name, partition, TASK_STORE)].concat(), |key, _, row| {
            if key.is_empty() {
                own = Some(row.to_vec());
            }
            Ok(())
        })?;
        let Some(own) = own else { return Ok(()) };
        for node in &mut self.nodes {
            let mut failed = Ok(());
            node.processor.stores(&mut |rows| {
                let prefix = [under, &store::state_prefix(&name, partition, rows.name())].concat();
                let restored = from.state(&prefix, |key, part, row| rows.restore(key, part, row).map_err(&broken));
                rows.restored();
                if failed.is_ok() {
                    failed = restored;
                }
            });
            failed?;
        }
        let row = TaskRow::decode(&own).ok_or_else(|| broken(Fault("the task's own row cannot be read".into())))?;
        self.position = row.position;
        let outside = &mut self.outside;
        for ((node, output), row) in self.nodes.iter_mut().zip(&mut outside.outputs).zip(row.processors) {
            node.sequence = row.sequence;
            *output = Output { running: Running(row.published), sealed: row.sealed };
        }
        outside.lineage = row.lineage.into();
        outside.inputs = Running(row.inputs);
        outside.sealed = Sealed { offset: row.sealed_offset, time: row.sealed_time };
        outside.newest = row.newest;
        outside.config = row.config.to_vec();
        let epoch = ConfigEpoch::decode(row.config).ok_or_else(|| broken(Fault("the ConfigEpoch in force cannot be read".into())))?;
        let chain = format!("{name}/{partition}/{}", outside.lineage);
        let head = ChainHead { sequence: row.chain_sequence, hash: row.chain_hash };
        outside.chain = Some(Chain::resume(epoch.origin, &chain, head));
        let configuration = outside.configure(&epoch);
        self.nodes.iter_mut().try_for_each(|node| node.processor.configure(&configuration)).map_err(broken)
    }
}

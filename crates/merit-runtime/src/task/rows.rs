//! What a checkpoint keeps of a task, and how it is taken back.

use super::{Output, Sealed, Task};
use crate::{RuntimeError, store};
use merit_audit::{Chain, ChainHead, Running, RunningState};
use merit_core::record::ConfigEpoch;
use merit_core::{Datum, EventTime, Fault, List, Rows, Store, datum};
use std::sync::Arc;

datum! {
    /// What a checkpoint keeps of a processor beside the rows of its stores.
    ProcessorRow<'a> {
        /// Next sequence.
        sequence: u64,
        /// State of the running digest of what it published.
        published: &'a [u8],
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
        processors: List<'a, ProcessorRow<'a>>,
        /// Hex of SHA-256 of the first ConfigEpoch of each lineage so far.
        lineages: List<'a, &'a str>,
        /// Next sequence of the audit chain.
        chain_sequence: u64,
        /// Hash of its last leaf.
        chain_hash: [u8; 32],
        /// State of the running digest of inputs.
        inputs: &'a [u8],
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
    /// Shows every store of its processors and its own, always in the same order.
    fn stores(&mut self, visit: &mut dyn FnMut(&mut dyn Store)) {
        self.nodes.iter_mut().for_each(|node| node.processor.stores(visit));
        self.answers.stores(visit);
    }

    /// Values of its stores that changed since the last checkpoint.
    pub fn changed(&mut self) -> usize {
        self.total(|store| store.changed())
    }

    /// Bytes that its stores keep in memory, about.
    pub fn bytes(&mut self) -> usize {
        self.total(|store| store.bytes())
    }

    fn total(&mut self, of: impl Fn(&dyn Store) -> usize) -> usize {
        let mut total = 0;
        self.stores(&mut |store| total += of(store));
        total
    }

    /// Reads every value of its stores.
    pub fn load(&mut self) -> Result<(), RuntimeError> {
        let (mut loaded, stopped) = (Ok(()), self.name());
        self.stores(&mut |store| {
            if loaded.is_ok() {
                loaded = store.load();
            }
        });
        loaded.map_err(|fault| RuntimeError::Stopped { task: stopped, offset: 0, fault })
    }

    /// Has each store forget values until it keeps its share of `limit` in `bytes`; `rows` are those of the last finished
    /// checkpoint. Returns how many were forgotten.
    pub fn evict(&mut self, limit: usize, bytes: usize, rows: &Arc<dyn Rows>) -> u64 {
        let share = |store: &dyn Store| (store.bytes() as u128 * limit as u128 / bytes.max(1) as u128) as usize;
        let mut forgotten = 0;
        self.stores(&mut |store| forgotten += store.evict(share(store), rows));
        forgotten
    }

    /// Writes every changed row.
    pub fn checkpoint(&mut self, put: &mut dyn FnMut(Vec<u8>, &[u8])) {
        let task = self.outside.task();
        let (name, partition) = (task.name.clone(), task.partition);
        self.stores(&mut |rows| {
            let prefix = store::state_prefix(&name, partition, rows.name());
            rows.checkpoint(&mut |key, part, row| put(store::state_key(&prefix, key, part), row));
        });
        let outside = &self.outside;
        let published: Vec<RunningState> = outside.outputs.iter().map(|output| output.running.state()).collect();
        let processors: Vec<ProcessorRow<'_>> = (self.nodes.iter().zip(&outside.outputs).zip(&published))
            .map(|((node, output), published)| ProcessorRow { sequence: node.sequence, published, sealed: output.sealed })
            .collect();
        let inputs = outside.inputs.state();
        let head = outside.chain.as_ref().map_or(ChainHead { sequence: 0, hash: [0; 32] }, Chain::head);
        let lineages: Vec<&str> = outside.lineages.iter().map(String::as_str).collect();
        let row = TaskRow {
            position: self.position,
            processors: List::Slice(&processors),
            lineages: List::Slice(&lineages),
            chain_sequence: head.sequence,
            chain_hash: head.hash,
            inputs: &inputs,
            sealed_offset: outside.sealed.offset,
            sealed_time: outside.sealed.time,
            newest: outside.newest,
            config: &outside.config,
        };
        let mut bytes = Vec::new();
        row.put(&mut bytes);
        put(store::state_key(&store::state_prefix(&name, partition, TASK_STORE), "", 0), &bytes);
    }

    /// The end of its audit chain; none before the first ConfigEpoch.
    pub(crate) fn chain_head(&self) -> Option<ChainHead> {
        self.outside.chain.as_ref().map(Chain::head)
    }

    /// Goes on from what the last checkpoint wrote. Values come back to memory when they are first used.
    pub fn restore(&mut self, rows: &Arc<dyn Rows>) -> Result<(), RuntimeError> {
        let stopped = self.name();
        let broken = |fault: Fault| RuntimeError::Stopped { task: stopped.clone(), offset: 0, fault };
        let mut own = None;
        rows.of_key(TASK_STORE, "", &mut |_, _, row| {
            own = Some(row.to_vec());
            Ok(())
        })
        .map_err(&broken)?;
        let Some(own) = own else { return Ok(()) };
        let mut restored = Ok(());
        self.stores(&mut |store| {
            if restored.is_ok() {
                restored = store.restore(Arc::clone(rows));
            }
        });
        restored.map_err(&broken)?;
        let unreadable = || broken(Fault("the task's own row cannot be read".into()));
        let row = TaskRow::decode(&own).ok_or_else(unreadable)?;
        self.position = row.position;
        let outside = &mut self.outside;
        for ((node, output), row) in self.nodes.iter_mut().zip(&mut outside.outputs).zip(row.processors) {
            node.sequence = row.sequence;
            *output = Output { running: Running::resume(row.published).ok_or_else(unreadable)?, sealed: row.sealed };
        }
        outside.set_lineages(row.lineages.iter().map(Into::into).collect()).map_err(&broken)?;
        outside.inputs = Running::resume(row.inputs).ok_or_else(unreadable)?;
        outside.sealed = Sealed { offset: row.sealed_offset, time: row.sealed_time };
        outside.newest = row.newest;
        outside.config = row.config.to_vec();
        let epoch = ConfigEpoch::decode(row.config).ok_or_else(|| broken(Fault("the ConfigEpoch in force cannot be read".into())))?;
        let head = ChainHead { sequence: row.chain_sequence, hash: row.chain_hash };
        outside.chain = Some(Chain::resume(epoch.origin, &outside.chain_name(), head));
        let configuration = outside.configure(&epoch);
        self.nodes.iter_mut().try_for_each(|node| node.processor.configure(&configuration)).map_err(broken)
    }
}

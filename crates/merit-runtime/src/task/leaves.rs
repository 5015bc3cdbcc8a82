//! Decisions as leaves of the task's audit chain, and the seals that cover everything else.

use super::{Decision, IN_LEAF_ONLY, Outgoing, Outside, Sealed, Stopping, Task};
use crate::Failpoint;
use merit_audit::{Entry, Signer, Source};
use merit_core::record::{AuditLeaf, SealedLeaf, SealedOutput, StreamSeal};
use merit_core::{Datum, EventTime, Fault, Head, Key, Kind, List, Record};
use std::sync::Arc;

/// Inputs of a task between two of its `stream.seal` leaves, and event time between them, whichever is first.
const SEAL_INPUTS: u64 = 16_384;
const SEAL_TIME: i64 = 24 * 3_600_000;

impl Outside {
    #[cold]
    pub(super) fn decide(&mut self, record: &Record<'_>) {
        let source = Source::Inner { stream: self.stream_name(record.head.stream).into(), sequence: record.head.sequence };
        let mut payload = Vec::new();
        record.payload.put(&mut payload);
        self.decisions.push(Decision {
            kind: record.payload.kind(),
            source,
            time: record.head.time,
            subject: record.head.key.name.into(),
            parents: record.payload.parents().iter().collect(),
            policy: record.payload.policy_id().map(Into::into),
            payload,
        });
    }

    /// Turns what was decided into leaves; the last one is signed and covers the others.
    pub(super) fn leaves(
        &mut self,
        (actor, auth): (&str, &str),
        signer: Option<&Signer>,
        publisher: &mut Stopping<'_>,
    ) -> Result<(), Fault> {
        let decisions = std::mem::take(&mut self.decisions);
        let last = decisions.len().saturating_sub(1);
        for (place, decision) in decisions.iter().enumerate() {
            let entry = Entry {
                kind: decision.kind,
                source: decision.source.clone(),
                time: decision.time,
                actor,
                auth,
                subject: &decision.subject,
                parents: List::Slice(&decision.parents),
                epoch: self.epoch,
                policy: decision.policy.as_deref(),
                schema: (self.fingerprints)(decision.kind),
                payload: &decision.payload,
            };
            let chain = self.chain.as_mut().ok_or_else(|| Fault("a decision before any configuration".into()))?;
            let sequence = chain.head().sequence;
            let mut leaf = chain.append(&entry).map_err(|error| Fault(error.to_string()))?;
            if let Some(signer) = signer.filter(|_| place == last) {
                leaf.sign(signer);
            }
            let stream = chain.stream().to_owned();
            let payload = IN_LEAF_ONLY.contains(decision.kind).then_some(decision.payload.as_slice());
            self.publish_leaf(&stream, sequence, leaf.bytes(), payload, decision.time, publisher)?;
        }
        Ok(())
    }

    /// A leaf goes to the sealer; the sealer's own go straight into the log.
    fn publish_leaf(
        &mut self,
        stream: &str,
        sequence: u64,
        leaf: &[u8],
        payload: Option<&[u8]>,
        time: EventTime,
        publisher: &mut Stopping<'_>,
    ) -> Result<(), Fault> {
        let key = Key::new(stream);
        let head = Head { key, time, stream: self.audit_stream(), sequence, offset: 0, hops: 0, sent: None, headers: None };
        let layout = Arc::clone(&self.layout);
        let task = &layout.tasks[self.number];
        let mut bytes = Vec::with_capacity(leaf.len() + 128);
        let is_sealer =
            layout.routes(task, Kind::AuditLeaf, &key).any(|(partition, _)| layout.partitions[partition].reader == Some(self.number));
        let kind = match is_sealer {
            false => {
                AuditLeaf { stream, sequence, leaf, payload }.put(&mut bytes);
                Kind::AuditLeaf
            }
            true => {
                SealedLeaf { leaf, payload }.put(&mut bytes);
                Kind::SealedLeaf
            }
        };
        for (partition, _) in layout.routes(task, kind, &key) {
            publisher.publish(&Outgoing { partition, head, kind, payload: &bytes })?;
        }
        Ok(())
    }
}

impl Task {
    /// Adds a `stream.seal` where one is due: by inputs or by their time, never by commit or clock.
    #[inline]
    pub(super) fn seal(&mut self, record: &Record<'_>) {
        let Outside { sealed, newest, .. } = self.outside;
        let newest = newest.unwrap_or(record.head.time);
        let since = sealed.time.unwrap_or(newest);
        if sealed.time.is_none() {
            self.outside.sealed.time = Some(newest);
        }
        if self.position - sealed.offset >= SEAL_INPUTS || newest.0.saturating_sub(since.0) >= SEAL_TIME {
            self.make_seal(newest);
        }
    }

    #[cold]
    fn make_seal(&mut self, newest: EventTime) {
        Failpoint::SealDue.pass();
        let outside = &mut self.outside;
        let task = outside.layout.tasks[outside.number].clone();
        let names: Vec<String> = (0..self.nodes.len()).map(|at| outside.stream_name(outside.first_stream + at as u16)).collect();
        let streams: Vec<SealedOutput<'_>> = names
            .iter()
            .zip(self.nodes.iter().zip(&mut outside.outputs))
            .map(|(stream, (node, output))| SealedOutput {
                stream,
                from_sequence: output.sealed,
                to_sequence: node.sequence,
                digest: output.running.seal(),
            })
            .collect();
        let seal = StreamSeal {
            topic: &outside.layout.partitions[task.input].name,
            partition: task.partition,
            from_offset: outside.sealed.offset,
            to_offset: self.position,
            inputs: outside.inputs.seal(),
            streams: List::Slice(&streams),
        };
        let mut payload = Vec::new();
        seal.put(&mut payload);
        let place = outside.decisions.len() as u64 + outside.chain.as_ref().map_or(0, |chain| chain.head().sequence);
        outside.decisions.push(Decision {
            kind: Kind::StreamSeal,
            source: Source::Inner { stream: outside.stream_name(outside.audit_stream()).into(), sequence: place },
            time: newest,
            subject: task.name.clone(),
            parents: Vec::new(),
            policy: None,
            payload,
        });
        outside.sealed = Sealed { offset: self.position, time: Some(newest) };
        outside.outputs.iter_mut().zip(&self.nodes).for_each(|(output, node)| output.sealed = node.sequence);
        Failpoint::SealMade.pass();
    }
}

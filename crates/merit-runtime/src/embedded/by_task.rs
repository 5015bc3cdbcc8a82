//! A log on Kafka computed again: each task alone, from its first input, against what it wrote.

use super::log::Log;
use super::recovery::{Gap, Unheard, gaps};
use super::replay::{Comparison, Replayed};
use super::step_frame;
use crate::RuntimeError;
use crate::layout::{Layout, Partition};
use crate::processed::{Processed, Span};
use crate::store::Store;
use crate::task::{Publisher, Task};
use merit_audit::Signer;
use merit_core::Kind;
use std::sync::Arc;

/// Computes every task again and compares all that it wrote. Where it is known how far its inputs had been processed when the log
/// was copied, what they led to must be there, and nothing else.
pub(super) fn replay_tasks(
    store: &Arc<Store>,
    layout: &Arc<Layout>,
    signer: Option<&Signer>,
    mut progress: impl FnMut(u64),
) -> Result<Replayed, RuntimeError> {
    let gaps = gaps(store, layout, &Log::new(layout, None))?;
    let processed = Processed::of(store, layout)?;
    let mut replayed = Replayed::default();
    let outputs: Vec<Vec<usize>> = (0..layout.tasks.len()).map(|task| layout.outputs(task)).collect();
    for (number, span) in processed.0.iter().enumerate() {
        let comparison = Comparison::of_whole_task(store, layout, number, outputs[number].clone());
        let task = Task::new(number, Arc::clone(layout), merit_codec::fingerprint);
        let mut alone = Alone { store, layout, number, task, comparison, signer, span: *span, inputs: 0, outside: 0 };
        alone.run(&gaps, &mut |inputs| progress(replayed.inputs + inputs)).map_err(|error| store.cause(error))?;
        replayed.inputs += alone.outside;
        replayed.lacking += alone.comparison.lacking;
        let (compared, ahead) = alone.finish()?;
        replayed.compared += compared;
        replayed.ahead += ahead;
    }
    expect_writers(store, layout, &outputs)?;
    replayed.compared += replayed.inputs;
    replayed.gaps = gaps.into_iter().map(|gap| gap.cause).collect();
    Ok(replayed)
}

/// One task on its way.
struct Alone<'s> {
    store: &'s Store,
    layout: &'s Layout,
    number: usize,
    task: Task,
    comparison: Comparison<'s>,
    signer: Option<&'s Signer>,
    span: Span,
    /// Inputs so far, and those of them that are from outside.
    inputs: u64,
    outside: u64,
}

impl Alone<'_> {
    fn run(&mut self, gaps: &[Gap], progress: &mut dyn FnMut(u64)) -> Result<(), RuntimeError> {
        let input = self.layout.tasks[self.number].input;
        for gap in gaps {
            self.fold(gap.base.end(input), true, progress)?;
            self.comparison.pass(gap)?;
            let compared = (self.inputs, self.outside);
            self.fold(gap.ends.end(input), false, progress)?;
            (self.inputs, self.outside) = compared;
        }
        self.fold(u64::MAX, true, progress)
    }

    /// Runs the inputs before an offset.
    fn fold(&mut self, to: u64, compare: bool, progress: &mut dyn FnMut(u64)) -> Result<(), RuntimeError> {
        let mut inputs = self.store.read(&self.layout.partitions[self.layout.tasks[self.number].input], self.task.position);
        while let Some((offset, frame)) = inputs.next()?.filter(|(offset, _)| *offset < to) {
            if frame.kind() == Some(Kind::ConfigEpoch) {
                self.comparison.configure(frame.payload);
            }
            self.comparison.may_lack = self.span.from.is_none_or(|from| from <= offset);
            let publisher: &mut dyn Publisher = if compare { &mut self.comparison } else { &mut Unheard };
            step_frame(&mut self.task, offset, &frame, self.signer, publisher)?;
            self.inputs += 1;
            self.outside += u64::from(frame.is_outside());
            if self.inputs.is_multiple_of(10_000) {
                progress(self.outside);
            }
        }
        Ok(())
    }

    /// Gives how many records were compared, and how many may come of inputs that are not here.
    fn finish(mut self) -> Result<(u64, u64), RuntimeError> {
        if self.span.from.is_some_and(|from| self.task.position < from) {
            let Partition { name, partition, .. } = &self.layout.partitions[self.layout.tasks[self.number].input];
            let (topic, offset, cause) = (name.clone(), self.task.position, "inputs that were processed are not there".into());
            return Err(RuntimeError::Corrupt { topic, partition: *partition, offset, cause });
        }
        let may_be_ahead = self.span.to.is_none_or(|to| self.task.position < to);
        let compared = self.comparison.compared;
        match may_be_ahead {
            true => Ok((compared, self.comparison.count_left()?)),
            false => self.comparison.finish().map(|compared| (compared, 0)),
        }
    }
}

/// Refuses a record in a partition that its task does not write to: no comparison looked there.
fn expect_writers(store: &Store, layout: &Layout, outputs: &[Vec<usize>]) -> Result<(), RuntimeError> {
    for (at, partition) in layout.partitions.iter().enumerate() {
        let mut records = store.records(partition);
        while let Some((offset, frame)) = records.next()? {
            let writer = layout.tasks.iter().position(|task| task.owns(frame.stream));
            if !frame.is_outside() && writer.is_none_or(|writer| outputs[writer].binary_search(&at).is_err()) {
                let (topic, cause) = (partition.name.clone(), format!("no task writes a record of stream {} there", frame.stream));
                return Err(RuntimeError::Corrupt { topic, partition: partition.partition, offset, cause });
            }
        }
    }
    Ok(())
}

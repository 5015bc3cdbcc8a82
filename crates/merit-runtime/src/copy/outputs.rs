//! What a batch led to, on its way out.

use super::Setup;
use crate::RuntimeError;
use crate::frame::Frame;
use crate::task::{Answered, Outgoing, Publisher};
use merit_core::Datum;
use std::ops::Range;

/// A record on its way to a partition.
pub(super) struct Output {
    pub(super) task: usize,
    pub(super) partition: usize,
    /// Whether it is a leaf of the task's audit chain.
    pub(super) is_leaf: bool,
    /// Where its frame lies.
    place: Range<usize>,
}

/// An answer on its way to whoever waits for it.
struct Answer {
    copy: String,
    place: Range<usize>,
}

/// Records and answers in the order in which they were published.
#[derive(Default)]
pub(super) struct Outputs {
    records: Vec<Output>,
    answers: Vec<Answer>,
    bytes: Vec<u8>,
}

impl Outputs {
    /// Takes a record of a task.
    pub(super) fn push(&mut self, setup: &Setup, task: usize, record: &Outgoing<'_>) {
        let start = self.bytes.len();
        record.frame().put(&mut self.bytes);
        // Streams of another lineage have other numbers.
        let is_leaf = setup.layout.tasks[task].is_audit(record.head.stream.into());
        self.records.push(Output { task, partition: record.partition, is_leaf, place: start..self.bytes.len() });
    }

    /// Takes what `other` holds behind what is there.
    pub(super) fn append(&mut self, other: &mut Outputs) {
        let base = self.bytes.len();
        let moved = |place: Range<usize>| base + place.start..base + place.end;
        self.bytes.append(&mut other.bytes);
        self.records.extend(other.records.drain(..).map(|output| Output { place: moved(output.place.clone()), ..output }));
        self.answers.extend(other.answers.drain(..).map(|answer| Answer { place: moved(answer.place.clone()), ..answer }));
    }

    /// Empties it, and keeps its room.
    pub(super) fn clear(&mut self) {
        let Outputs { records, answers, bytes } = self;
        records.clear();
        answers.clear();
        bytes.clear();
    }

    /// The records.
    pub(super) fn records(&self) -> &[Output] {
        &self.records
    }

    /// A record as the log keeps it.
    pub(super) fn frame(&self, output: &Output) -> Frame<'_> {
        Frame::decode(&self.bytes[output.place.clone()]).expect("it was written by its own encoder")
    }

    /// Whom each answer goes to, and its encoding.
    pub(super) fn answers(&self) -> impl Iterator<Item = (&str, &[u8])> {
        self.answers.iter().map(|answer| (answer.copy.as_str(), &self.bytes[answer.place.clone()]))
    }
}

/// Gathers what one task publishes.
pub(super) struct Collector<'b> {
    pub(super) setup: &'b Setup,
    pub(super) task: usize,
    pub(super) outputs: &'b mut Outputs,
}

impl Publisher for Collector<'_> {
    fn publish(&mut self, record: &Outgoing<'_>) -> Result<(), RuntimeError> {
        self.outputs.push(self.setup, self.task, record);
        Ok(())
    }

    fn answer(&mut self, answered: &Answered<'_>) {
        let Outputs { answers, bytes, .. } = self.outputs;
        let start = bytes.len();
        answered.put(bytes);
        answers.push(Answer { copy: answered.reply_to.copy.into(), place: start..bytes.len() });
    }
}

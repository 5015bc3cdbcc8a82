//! How far the inputs of a copied log had been processed when it was copied.
//!
//! What a log on Kafka holds is cut at one moment, and its tasks are at work meanwhile: some inputs at its end are not processed
//! yet, and some outputs at its end may come of inputs behind it. Where every input before an offset was processed, and none from
//! another on, all outputs can be told to be there or not.

use crate::RuntimeError;
use crate::layout::Layout;
use crate::store::Store;
use merit_core::{Datum, List, datum};

datum! {
    /// The inputs of one task.
    SpanRow<'a> {
        /// The topic.
        topic: &'a str,
        /// The partition.
        partition: u32,
        /// All before it are processed, and what they led to is in the log; none where that is not known.
        from: Option<u64>,
        /// None from it on is processed; none where that is not known.
        to: Option<u64>,
    }
}

datum! {
    /// That row.
    ProcessedRow<'a> {
        /// A task each.
        spans: List<'a, SpanRow<'a>>,
    }
}

/// How far the inputs of one task were processed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Span {
    /// All before this offset are, and what they led to is in the log; none where that is not known.
    pub from: Option<u64>,
    /// None from this offset on is; none where that is not known.
    pub to: Option<u64>,
}

/// How far those of each task were, by its number.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Processed(pub Vec<Span>);

impl Processed {
    /// The row of the meta family that says so.
    pub(crate) const ROW: &str = "processed";

    /// Nothing is known of any task.
    pub fn unknown(layout: &Layout) -> Processed {
        Processed(vec![Span::default(); layout.tasks.len()])
    }

    /// What a directory says.
    pub fn of(store: &Store, layout: &Layout) -> Result<Processed, RuntimeError> {
        Processed::decode(store.meta(Processed::ROW)?.as_deref(), layout)
    }

    /// What its row says, if there is one.
    pub(crate) fn decode(row: Option<&[u8]>, layout: &Layout) -> Result<Processed, RuntimeError> {
        let mut processed = Processed::unknown(layout);
        let Some(row) = row else { return Ok(processed) };
        let unreadable = || RuntimeError::Store { attempt: "read", cause: "the row of what was processed is not one".into() };
        for SpanRow { topic, partition, from, to } in ProcessedRow::decode(row).ok_or_else(unreadable)?.spans.iter() {
            let task = layout.find(topic, partition).and_then(|at| layout.partitions[at].reader);
            if let Some(span) = task.and_then(|task| processed.0.get_mut(task)) {
                *span = Span { from, to };
            }
        }
        Ok(processed)
    }

    /// The row of the meta family.
    pub fn row(&self, layout: &Layout) -> (String, Vec<u8>) {
        let spans = layout.tasks.iter().zip(&self.0).map(|(task, Span { from, to })| {
            let input = &layout.partitions[task.input];
            SpanRow { topic: &input.name, partition: input.partition, from: *from, to: *to }
        });
        let spans: Vec<SpanRow<'_>> = spans.collect();
        let mut bytes = Vec::new();
        ProcessedRow { spans: List::Slice(&spans) }.put(&mut bytes);
        (Processed::ROW.into(), bytes)
    }
}

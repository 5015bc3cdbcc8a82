//! Several sources as one stream of rows by event time.

use crate::source::{Outcome, Position, Source, SourceError};

/// Sources merged by event time, ties by their order. One source alone keeps the order of its file.
/// A source whose own rows are not in order is followed as it is; [`Source::sort`] it first where that matters.
pub struct Merge {
    sources: Vec<Source>,
}

/// A row that was taken.
pub struct Row<'a> {
    /// Index of its source.
    pub source: usize,
    /// What it holds.
    pub report: Outcome<'a>,
}

impl Merge {
    /// Merges sources; those that have a position go on behind it.
    pub fn new(mut sources: Vec<Source>, positions: &[Position]) -> Result<Merge, SourceError> {
        for index in 0..sources.len() {
            let (before, rest) = sources.split_at_mut(index);
            let source = &mut rest[0];
            let empty = source.peek()?.is_none();
            let name = source.name();
            if let Some(other) = before.iter().find(|other| other.name() == name && !empty) {
                return Err(SourceError::NameTaken { name: name.into(), path: source.path().into(), other: other.path().into() });
            }
            if let Some(position) = positions.iter().find(|position| position.name == name) {
                source.resume(position)?;
            }
        }
        Ok(Merge { sources })
    }

    /// The sources in their order.
    pub fn sources(&self) -> &[Source] {
        &self.sources
    }

    /// How far each source was taken, in their order: with the last row that was given, and no row behind it.
    pub fn positions(&self) -> Vec<Position> {
        self.sources.iter().map(Source::position).collect()
    }

    /// Takes the next row. `None` behind the last. After an error the positions stand where they stood.
    pub fn take(&mut self) -> Result<Option<Row<'_>>, SourceError> {
        let mut earliest = None;
        for (index, source) in self.sources.iter_mut().enumerate() {
            if let Some(time) = source.peek()?
                && earliest.is_none_or(|(least, _)| time < least)
            {
                earliest = Some((time, index));
            }
        }
        let Some((_, source)) = earliest else { return Ok(None) };
        Ok(self.sources[source].take()?.map(|report| Row { source, report }))
    }
}

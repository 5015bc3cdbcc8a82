//! What a command led to: for whoever waits for it, and for the same command when it comes again.
//!
//! A command with [`Once`] takes effect the first time. Its effects are kept in state, so in the transaction that made them, and
//! answer every copy that follows; the last [`KEPT`] of a partition are known.

use super::{Outside, Stopping, Task};
use crate::RuntimeError;
use crate::layout::TaskLayout;
use crate::store::state_prefix;
use merit_core::recent::{CHUNK, Known, Recent, StoreName};
use merit_core::record::{Headers, Kinds, Once, ReplyTo};
use merit_core::table::Single;
use merit_core::{Datum, Fault, Key, Kind, List, Record, Row, Shape, Store, Table, Uuid, datum, datum_enum, datum_row};

/// Commands of a partition that are known when they come again; the design's horizon.
const KEPT: usize = 16 * CHUNK;

/// Record types that tell nothing to whoever sent the command.
const SILENT: Kinds = Kinds::of(&[
    Kind::EvalReport,
    Kind::ReportAccepted,
    Kind::AggregateDelta,
    Kind::Progress,
    Kind::EntityAssigned,
    Kind::AllocationOutcome,
    Kind::Recheck,
    Kind::Acked,
    Kind::Observed,
    Kind::StreamSeal,
]);

datum_enum! {
    /// How a command was taken.
    Outcome {
        /// It ran.
        Ran,
        /// It ran before; this is what it led to then.
        Again,
        /// Another one came under its key before; it did not run.
        OtherContent,
    }
}

datum! {
    /// One record that a command led to.
    AnsweredRecord<'a> {
        /// Number of its type.
        kind: u32,
        /// Its id.
        id: Uuid,
        /// Number of its stream.
        stream: u32,
        /// Its place in that stream.
        sequence: u64,
        /// Its encoding.
        payload: &'a [u8],
    }
}

datum! {
    /// The answer to a command.
    Answered<'a> {
        /// Who waits for it.
        reply_to: ReplyTo<'a>,
        /// How the command was taken.
        outcome: Outcome,
        /// What it led to in its own step, in order.
        records: List<'a, AnsweredRecord<'a>>,
    }
}

datum! {
    /// What a command led to, as it is kept.
    KeptRow<'a> {
        /// Encoding of the list of [`AnsweredRecord`]s.
        records: &'a [u8],
    }
}

#[derive(Default)]
struct Kept(Vec<u8>);

impl Row for Kept {
    const STORE: &'static str = "answers";
    type Shared = ();

    fn shape(_: u32) -> &'static Shape {
        KeptRow::SHAPE
    }

    fn save(&mut self, scratch: &mut Vec<u8>, put: &mut dyn FnMut(u32, &[u8])) {
        scratch.clear();
        KeptRow { records: &self.0 }.put(scratch);
        put(0, scratch);
    }

    fn load(&mut self, _: u32, bytes: &[u8]) -> Option<()> {
        self.0 = KeptRow::decode(bytes)?.records.to_vec();
        Some(())
    }

    fn heap(&self) -> usize {
        self.0.capacity()
    }
}

/// Name of the store of keys.
#[derive(Debug)]
struct Keys;

impl StoreName for Keys {
    const NAME: &'static str = "answered-keys";
}

datum! {
    /// Inputs that did not run.
    #[derive(Default)]
    AnswerCounts {
        /// Commands that came again, or under the key of another.
        again: u64,
    }
}

datum_row!(AnswerCounts in "answer-counts");

/// Commands of a task that did not run, since they or others under their key had come before; as of its last checkpoint.
pub fn repeated(store: &crate::store::Store, task: &TaskLayout) -> Result<u64, RuntimeError> {
    let mut again = 0;
    store.state(&state_prefix(&task.name, task.partition, AnswerCounts::STORE), |_, _, row| {
        again = AnswerCounts::decode(row).map_or(0, |counts| counts.again);
        Ok(())
    })?;
    Ok(again)
}

/// The commands that are known when they come again.
#[derive(Default)]
pub(super) struct Answers {
    keys: Single<Recent<Keys>>,
    /// Effects by the place of the key in the ring.
    kept: Table<Kept>,
    counts: Single<AnswerCounts>,
}

impl Answers {
    pub(super) fn stores(&mut self, visit: &mut dyn FnMut(&mut dyn Store)) {
        visit(&mut self.keys);
        visit(&mut self.kept);
        visit(&mut self.counts);
    }

    /// What a command led to that came before; none where it did not.
    fn before(&mut self, once: &Once) -> Result<Option<(Outcome, &[u8])>, Fault> {
        let Some((place, known)) = self.keys.read().find(&once.key) else { return Ok(None) };
        let same = known.content == once.content;
        self.counts.write().again += 1;
        if !same {
            return Ok(Some((Outcome::OtherContent, NOTHING)));
        }
        let kept = self.kept.read(&Key::new(&place.to_string()))?;
        let kept = kept.ok_or_else(|| Fault(format!("the answer in place {place} is not there")))?;
        Ok(Some((Outcome::Again, &kept.0)))
    }

    fn keep(&mut self, once: &Once, offset: u64, records: &[u8]) -> Result<(), Fault> {
        let keys = self.keys.write();
        keys.resize(KEPT);
        let place = keys.insert(Known { id: once.key, content: once.content, offset });
        self.kept.entry(&Key::new(&place.to_string()))?.0 = records.to_vec();
        Ok(())
    }
}

/// The encoding of no records.
const NOTHING: &[u8] = &[0];

/// A record that the command at work led to.
pub(super) struct Effect {
    kind: Kind,
    id: Uuid,
    stream: u16,
    sequence: u64,
    payload: Vec<u8>,
}

impl Effect {
    fn record(&self) -> AnsweredRecord<'_> {
        let Effect { kind, id, stream, sequence, ref payload } = *self;
        AnsweredRecord { kind: kind as u32, id, stream: stream.into(), sequence, payload }
    }
}

impl Outside {
    /// Notes what the command at work led to.
    #[cold]
    pub(super) fn note(&mut self, record: &Record<'_>) {
        let kind = record.payload.kind();
        let (stream, sequence) = (record.head.stream, record.head.sequence);
        if SILENT.contains(kind) {
            return;
        }
        // An id costs a hash, and nobody asks for that of a score.
        let id = if kind == Kind::ScoreUpdated { Uuid([0; 16]) } else { Uuid::of_record(&self.stream_name(stream), sequence) };
        let mut payload = Vec::new();
        record.payload.put(&mut payload);
        self.answer.get_or_insert_default().push(Effect { kind, id, stream, sequence, payload });
    }
}

impl Task {
    /// Runs a command whose effects are asked for, unless it ran before.
    #[cold]
    pub(super) fn answer(&mut self, record: &Record<'_>, headers: &Headers<'_>, publisher: &mut Stopping<'_>) -> Result<(), Fault> {
        if let Some(once) = &headers.once
            && let Some((outcome, records)) = self.answers.before(once)?
        {
            let unreadable = || Fault("a kept answer cannot be read".into());
            return tell(headers, outcome, List::decode(records).ok_or_else(unreadable)?, publisher);
        }
        self.outside.answer = Some(Vec::new());
        self.deliver(record, publisher)?;
        let effects = self.outside.answer.take().unwrap_or_default();
        let records: Vec<AnsweredRecord<'_>> = effects.iter().map(Effect::record).collect();
        let records = List::Slice(&records);
        if let Some(once) = &headers.once {
            let mut bytes = Vec::new();
            records.put(&mut bytes);
            self.answers.keep(once, record.head.offset, &bytes)?;
        }
        tell(headers, Outcome::Ran, records, publisher)
    }
}

fn tell(headers: &Headers<'_>, outcome: Outcome, records: List<'_, AnsweredRecord<'_>>, publisher: &mut Stopping<'_>) -> Result<(), Fault> {
    if let Some(reply_to) = headers.reply_to {
        publisher.publisher.answer(&Answered { reply_to, outcome, records });
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn once(number: u64, content: u8) -> Once {
        let mut key = [0; 16];
        key[..8].copy_from_slice(&number.to_be_bytes());
        Once { key, content: [content; 8] }
    }

    fn before(answers: &mut Answers, number: u64, content: u8) -> Option<(Outcome, Vec<u8>)> {
        let found = answers.before(&once(number, content)).expect("readable");
        found.map(|(outcome, records)| (outcome, records.to_vec()))
    }

    /// The horizon that docs/api.md names.
    #[test]
    fn the_last_65_536_keys_are_known_and_the_oldest_gives_way() {
        let mut answers = Answers::default();
        let last = 65_536;
        for number in 0..last {
            answers.keep(&once(number, 1), number, &number.to_be_bytes()).expect("kept");
        }
        assert_eq!(before(&mut answers, 0, 1), Some((Outcome::Again, 0_u64.to_be_bytes().to_vec())), "as many as are kept");
        answers.keep(&once(last, 1), last, &last.to_be_bytes()).expect("kept");
        assert_eq!(before(&mut answers, 0, 1), None, "the oldest gave way");
        for number in [1, 2, 4_096, last - 1, last] {
            assert_eq!(before(&mut answers, number, 1), Some((Outcome::Again, number.to_be_bytes().to_vec())), "{number}");
            assert_eq!(before(&mut answers, number, 2), Some((Outcome::OtherContent, NOTHING.to_vec())), "{number}");
        }
        assert_eq!(before(&mut answers, last + 1, 1), None);
    }
}

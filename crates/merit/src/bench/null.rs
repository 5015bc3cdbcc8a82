//! The pipeline without logic: what decoding, encoding, appending and committing the same records cost by themselves.
//!
//! The records are those that the real run left in its log, so that they compress as real ones do. Scores, all but a few per
//! cent of them, are encoded again from structs in memory; the rest is appended as it was read, which favours this pipeline.

use super::Task;
use super::load::{Bodies, CHUNK, Decoder};
use super::measure::{Measured, Stopwatch};
use crate::failure::Failure;
use crate::registry;
use merit_core::record::{Component, ScoreUpdated, WindowScore};
use merit_core::{Datum, Head, Key, Kind, List};
use merit_runtime::frame::Frame;
use merit_runtime::layout::Layout;
use merit_runtime::store::{Commit, Cursor, Store};
use merit_runtime::task::Outgoing;
use merit_runtime::{Appender, Options, RuntimeError};
use std::ops::Range;

/// Writes what the real run wrote, on a new directory.
pub(super) fn run(task: &Task) -> Result<Measured, Failure> {
    let topology = &task.topology;
    let real = Store::open_to_read(&task.real_directory())?;
    let directory = task.directory()?;
    let mut watch = Stopwatch::start();
    let mut appender = Appender::open(&directory, topology, &registry::registered(), Options::default())?;
    let layout = appender.layout().clone();
    let first = layout.tasks[0].input;
    let mut written = watch.leave_out(|| Written::new(&real, &layout))?;
    let mut decoder = Decoder::new(task.format);
    let mut bodies = Bodies::default();
    let mut scratch = Vec::new();
    let mut taken = 0;
    while taken < task.reports {
        let numbers = taken..(taken + CHUNK).min(task.reports);
        watch.leave_out(|| bodies.fill(numbers.clone(), task.agents, task.format));
        let copies = watch.leave_out(|| written.next(numbers.end, task.reports))?;
        let decoded = watch.leave_out(|| copies.decode())?;
        let windows = watch.leave_out(|| decoded.windows());
        let outputs = watch.leave_out(|| decoded.outputs(&windows));
        let count = bodies.iter().len();
        for (at, body) in bodies.iter().enumerate() {
            let report = decoder.read(body)?;
            let key = Key::new(report.agent_id);
            let partition = first + key.partition(layout.report_partitions) as usize;
            scratch.clear();
            report.put(&mut scratch);
            let head =
                Head { key, time: report.timestamp, stream: Head::OUTSIDE, sequence: taken, offset: 0, hops: 0, sent: None, headers: None };
            appender.append(&Outgoing { partition, head, kind: Kind::EvalReport, payload: &scratch });
            for output in &outputs[at * outputs.len() / count..(at + 1) * outputs.len() / count] {
                output.append(&mut appender, &mut scratch);
            }
            taken += 1;
            if appender.commit_due(0) {
                appender.commit(Commit::default())?;
            }
        }
        watch.leave_out(|| drop(outputs));
    }
    let store = appender.close()?;
    super::measured(&watch, &store, &layout)
}

/// What the real run wrote beside the reports, partition by partition.
struct Written<'s> {
    partitions: Vec<(Cursor<'s>, u64, u64)>,
}

/// Some of it: frames one behind the other, and where each belongs.
#[derive(Default)]
struct Copies {
    bytes: Vec<u8>,
    places: Vec<(usize, Range<usize>, u64)>,
}

impl<'s> Written<'s> {
    fn new(store: &'s Store, layout: &Layout) -> Result<Written<'s>, RuntimeError> {
        let partitions = layout.partitions.iter().map(|partition| Ok((store.records(partition), 0, store.end(partition)?)));
        Ok(Written { partitions: partitions.collect::<Result<_, RuntimeError>>()? })
    }

    /// The next records of every partition, up to the same share of each, in the order in which such shares were reached.
    fn next(&mut self, done: u64, of: u64) -> Result<Copies, RuntimeError> {
        let mut copies = Copies::default();
        for (partition, (cursor, read, end)) in self.partitions.iter_mut().enumerate() {
            while *read < (u128::from(*end) * u128::from(done) / u128::from(of)) as u64 {
                let Some((offset, frame)) = cursor.next()? else { break };
                *read = offset + 1;
                if frame.kind() != Some(Kind::EvalReport) {
                    let start = copies.bytes.len();
                    frame.put(&mut copies.bytes);
                    copies.places.push((partition, start..copies.bytes.len(), (offset << 24) / *end));
                }
            }
        }
        copies.places.sort_by_key(|(.., share)| *share);
        Ok(copies)
    }
}

/// Records in memory, and what their scores are made of.
struct Decoded<'a> {
    frames: Vec<(usize, Kind, Frame<'a>)>,
    scores: Vec<ScoreUpdated<'a>>,
    names: Vec<&'a str>,
    components: Vec<Option<Component>>,
}

impl Copies {
    fn decode(&self) -> Result<Decoded<'_>, RuntimeError> {
        let unreadable = || RuntimeError::Store { attempt: "read", cause: "a record cannot be read".into() };
        let mut decoded = Decoded { frames: Vec::new(), scores: Vec::new(), names: Vec::new(), components: Vec::new() };
        for (partition, place, _) in &self.places {
            let frame = Frame::decode(&self.bytes[place.clone()]).ok_or_else(unreadable)?;
            let kind = frame.kind().ok_or_else(unreadable)?;
            if kind == Kind::ScoreUpdated {
                let score = ScoreUpdated::decode(frame.payload).ok_or_else(unreadable)?;
                decoded.names.extend(score.metrics);
                score.windows.iter().for_each(|window| decoded.components.extend(window.components));
                decoded.scores.push(score);
            }
            decoded.frames.push((*partition, kind, frame));
        }
        Ok(decoded)
    }
}

/// One record to append.
struct Output<'a> {
    partition: usize,
    kind: Kind,
    frame: Frame<'a>,
    score: Option<ScoreUpdated<'a>>,
}

impl<'a> Decoded<'a> {
    /// The windows of all scores, with their components as slices: encoding them costs what it cost the real run.
    fn windows(&'a self) -> Vec<WindowScore<'a>> {
        let mut components = self.components.as_slice();
        let windows = self.scores.iter().flat_map(|score| score.windows.iter());
        windows.map(|window| WindowScore { components: List::Slice(take(&mut components, window.components.len())), ..window }).collect()
    }

    fn outputs(&'a self, mut windows: &'a [WindowScore<'a>]) -> Vec<Output<'a>> {
        let mut names = self.names.as_slice();
        let mut scores = self.scores.iter().map(|score| ScoreUpdated {
            metrics: List::Slice(take(&mut names, score.metrics.len())),
            windows: List::Slice(take(&mut windows, score.windows.len())),
            ..*score
        });
        let frames = self.frames.iter().copied();
        frames
            .map(|(partition, kind, frame)| Output {
                partition,
                kind,
                frame,
                score: if kind == Kind::ScoreUpdated { scores.next() } else { None },
            })
            .collect()
    }
}

/// Takes the first items off.
fn take<'a, T>(items: &mut &'a [T], count: usize) -> &'a [T] {
    let (taken, rest) = items.split_at(count.min(items.len()));
    *items = rest;
    taken
}

impl Output<'_> {
    #[inline]
    fn append(&self, appender: &mut Appender, scratch: &mut Vec<u8>) {
        let Frame { hops, stream, sequence, time, key: name, payload, .. } = self.frame;
        let payload = match &self.score {
            None => payload,
            Some(score) => {
                scratch.clear();
                score.put(scratch);
                scratch.as_slice()
            }
        };
        let key = Key { name, hash: 0 };
        let head = Head { key, time, stream: stream as u16, sequence, offset: 0, hops: hops as u8, sent: None, headers: None };
        appender.append(&Outgoing { partition: self.partition, head, kind: self.kind, payload });
    }
}

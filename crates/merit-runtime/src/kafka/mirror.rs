//! The log of a cluster, copied at the offsets that its records have there.
//!
//! A copy is cut anywhere: Kafka ends a transaction in one partition after the other, and each partition is read by itself. So it
//! keeps beside the log how far the group had come ([`Processed`]), which tells what must be in it and what cannot be; and its ends are
//! taken in an order that puts proofs before what they prove, so that a copy of a log that grows can be verified.

use super::client::Cluster;
use super::error::{ClusterError, patiently};
use super::foreign::Intake;
use super::gathered::Gathered;
use super::group::Group;
use super::native::Fetched;
use super::reader::{LastError, Reader};
use super::topics::Topics;
use crate::embedded::{BATCH_BYTES, Batches, Committed};
use crate::layout::Layout;
use crate::processed::{Processed, Span};
use crate::store::{Commit, Mirrored, Store};
use crate::{RuntimeError, archive};
use std::ops::ControlFlow;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

/// Bytes that a commit gathers at most, about.
const COMMIT_BYTES: usize = 1 << 20;

/// Messages that are taken of a partition before the next is looked at.
const TURN: usize = 512;

/// Between two looks at a log that does not grow.
pub(super) const IDLE: Duration = Duration::from_millis(2);

/// How long nothing comes of a log that is not at its end: longer than a transaction may be open, and than a broker takes to start.
const STALL: Duration = Duration::from_secs(60);

/// Rows of the meta family that go with a commit.
pub type MetaRows = Vec<(String, Vec<u8>)>;

/// Takes what was copied: batches, and the rows that belong to the log up to there.
type Write<'w> = &'w mut dyn FnMut(Batches, MetaRows) -> Result<(), RuntimeError>;

/// Is told how many offsets were passed, and of how many, and says whether to go on.
type Progress<'p> = &'p mut dyn FnMut(u64, u64) -> ControlFlow<()>;

/// A cluster's log on its way somewhere.
pub(super) struct Source {
    pub(super) reader: Reader,
    pub(super) gathered: Gathered,
    intake: Intake,
    layout: Arc<Layout>,
    group: Group,
    inputs: Vec<usize>,
    processed: Processed,
    /// The partition to begin with.
    first: usize,
    last_error: LastError,
}

impl Source {
    /// Begins with the first record.
    pub(super) fn new(cluster: &Cluster, layout: &Arc<Layout>, topics: &Arc<Topics>) -> Result<Source, ClusterError> {
        let last_error = LastError::default();
        Ok(Source {
            reader: Reader::new(cluster, topics, &last_error)?,
            gathered: Gathered::new(layout),
            intake: Intake::new(layout, topics, &last_error),
            layout: Arc::clone(layout),
            group: Group::new(cluster, topics)?,
            inputs: layout.tasks.iter().map(|task| task.input).collect(),
            processed: Processed::unknown(layout),
            first: 0,
            last_error,
        })
    }

    /// Copies all that the log holds as it is called, or less where `progress` breaks it off.
    pub(super) fn catch_up(&mut self, write: Write<'_>, progress: Progress<'_>) -> Result<ControlFlow<()>, RuntimeError> {
        self.go_on();
        // Asked for before the ends: what these inputs led to lies before them.
        let from = self.group.processed(&self.inputs)?;
        for partitions in self.layout.in_order_of_proof() {
            if self.read_on(&partitions, write, progress)?.is_break() {
                return Ok(ControlFlow::Break(()));
            }
        }
        // Asked for behind them: whatever an output before them comes of is decided, and counted.
        let to = self.group.processed(&self.inputs)?;
        self.processed = Processed(from.into_iter().zip(to).map(|(from, to)| Span { from, to }).collect());
        self.write(write)?;
        Ok(ControlFlow::Continue(()))
    }

    /// The copy is at no end from here: it is cut where nobody knows.
    fn go_on(&mut self) {
        self.processed.0.iter_mut().for_each(|span| span.to = None);
    }

    /// Reads partitions to the ends that they have now.
    fn read_on(&mut self, partitions: &[usize], write: Write<'_>, progress: Progress<'_>) -> Result<ControlFlow<()>, RuntimeError> {
        let end = |at: &usize| Ok((*at, patiently(|| self.reader.end(*at))?));
        let ends = partitions.iter().map(end).collect::<Result<Vec<(usize, u64)>, ClusterError>>()?;
        if let Some((at, end)) = ends.iter().find(|(at, end)| *end < self.gathered.next(*at)) {
            return Err(self.shorter(*at, *end).into());
        }
        let left = |gathered: &Gathered| ends.iter().map(|(at, end)| end.saturating_sub(gathered.next(*at))).sum::<u64>();
        let of = left(&self.gathered);
        let mut moved = Instant::now();
        loop {
            let before = left(&self.gathered);
            if progress(of - before, of).is_break() {
                return Ok(ControlFlow::Break(()));
            }
            if before == 0 {
                return Ok(ControlFlow::Continue(()));
            }
            for (at, end) in &ends {
                self.read_towards(*at, *end)?;
                if self.gathered.bytes >= COMMIT_BYTES {
                    self.write(write)?;
                }
            }
            if left(&self.gathered) < before {
                moved = Instant::now();
            } else if moved.elapsed() > STALL {
                return Err(self.stalled(&ends).into());
            } else {
                std::thread::sleep(IDLE);
            }
        }
    }

    fn read_towards(&mut self, at: usize, end: u64) -> Result<(), ClusterError> {
        let Source { reader, gathered, intake, .. } = self;
        if intake.is_held(at) {
            return Ok(());
        }
        let (from, mut is_held) = (gathered.next(at), false);
        let read = reader.read(at, from, end, TURN, |offset, message| {
            is_held = is_held || !intake.give(at, offset, message, |frame| gathered.take(at, offset, frame));
        });
        match read {
            Ok(Some(next)) if !is_held => gathered.pass(at, next.min(end)),
            Ok(_) => {}
            Err(error) if error.is_passing() => {}
            Err(error) => return Err(error),
        }
        Ok(())
    }

    fn shorter(&self, at: usize, end: u64) -> ClusterError {
        let (partition, next) = (&self.layout.partitions[at], self.gathered.next(at));
        let how = format!("it ends at offset {end}, and was read up to {next}");
        ClusterError::Replaced { topic: partition.name.clone(), partition: partition.partition as i32, how }
    }

    fn stalled(&self, ends: &[(usize, u64)]) -> ClusterError {
        let behind = ends.iter().find(|(at, end)| self.gathered.next(*at) < *end);
        let place = behind.map_or(String::new(), |(at, end)| {
            let partition = &self.layout.partitions[*at];
            format!("{}/{} stands at offset {} before {end}", partition.name, partition.partition, self.gathered.next(*at))
        });
        let last = self.last_error.take().unwrap_or_else(|| "a transaction may be open there".into());
        ClusterError::Call { attempt: "read the log to its end", cause: format!("{place}, and nothing came for {STALL:?}: {last}") }
    }

    /// Takes what is there, as far as a commit goes; the next one begins behind the partition that filled this one.
    fn gather(&mut self) -> Result<(), ClusterError> {
        let partitions = self.layout.partitions.len();
        for at in (self.first..partitions).chain(0..self.first) {
            self.first = at;
            if self.gathered.bytes >= COMMIT_BYTES {
                break;
            }
            let Source { reader, gathered, intake, .. } = self;
            while gathered.bytes < COMMIT_BYTES && gathered.open_bytes(at) < BATCH_BYTES && !intake.is_held(at) {
                let from = gathered.next(at);
                let mut is_held = false;
                let take = |offset, message: &Fetched| {
                    is_held = is_held || !intake.give(at, offset, message, |frame| gathered.take(at, offset, frame));
                };
                if reader.poll(at, from, TURN, take)? < TURN {
                    break;
                }
            }
        }
        Ok(())
    }

    fn write(&mut self, write: Write<'_>) -> Result<(), RuntimeError> {
        let batches = self.gathered.drain();
        let mut rows = self.gathered.rows(&self.layout);
        rows.push(self.processed.row(&self.layout));
        write(batches, rows)
    }
}

/// The log of a cluster, as a directory names it.
pub(super) fn name(cluster: &Cluster, reader: &Reader) -> Result<Mirrored, ClusterError> {
    Ok(Mirrored { cluster: patiently(|| reader.cluster_id())?, application: cluster.application.clone() })
}

/// Fails where the cluster does not answer, or has not every partition.
pub fn reach(cluster: &Cluster, topics: &Arc<Topics>) -> Result<(), RuntimeError> {
    let reader = Reader::new(cluster, topics, &LastError::default())?;
    Ok((0..topics.logs()).try_for_each(|at| patiently(|| reader.end(at)).map(drop))?)
}

/// Copies the log of a cluster, as it is now, into a file that is not there yet. `progress` is told how many offsets were passed, and
/// of how many.
pub fn export(
    cluster: &Cluster,
    layout: &Arc<Layout>,
    topics: &Arc<Topics>,
    path: &Path,
    mut progress: impl FnMut(u64, u64),
) -> Result<(), RuntimeError> {
    let mut source = Source::new(cluster, layout, topics)?;
    let of = name(cluster, &source.reader)?;
    archive::write(path, |writer| {
        let mut ends = MetaRows::new();
        let mut write = |batches: Batches, rows| {
            ends = rows;
            writer.batches(&batches, &layout.partitions)
        };
        // It is never broken off.
        let _ = source.catch_up(&mut write, &mut |done, of| {
            progress(done, of);
            ControlFlow::Continue(())
        })?;
        writer.mirrored(&of, layout, ends)
    })
}

/// A copy in a directory.
pub struct Mirror {
    pub(super) source: Source,
    store: Arc<Store>,
}

impl Mirror {
    /// Goes on where the directory ends; refused where it holds another log.
    pub fn open(cluster: &Cluster, layout: &Arc<Layout>, topics: &Arc<Topics>, store: &Arc<Store>) -> Result<Mirror, RuntimeError> {
        let mut source = Source::new(cluster, layout, topics)?;
        store.mirror(&name(cluster, &source.reader)?, layout)?;
        source.gathered = Gathered::behind(store, layout)?;
        source.processed = Processed::of(store, layout)?;
        Ok(Mirror { source, store: Arc::clone(store) })
    }

    /// Copies all that the log holds as it is called. `progress` is told how many offsets were passed, and of how many; where it breaks
    /// the work off, the directory holds less.
    pub fn catch_up(&mut self, mut progress: impl FnMut(u64, u64) -> ControlFlow<()>) -> Result<ControlFlow<()>, RuntimeError> {
        let Mirror { source, store } = self;
        let layout = Arc::clone(&source.layout);
        let mut write = |batches, meta| store.commit(&mut Commit { batches, meta, ..Commit::default() }, &layout.partitions);
        source.catch_up(&mut write, &mut progress)
    }

    /// Copies what has come since it was called last, as far as a commit goes; none where nothing has.
    pub fn step(&mut self) -> Result<Option<Committed>, RuntimeError> {
        let Mirror { source, store } = self;
        source.gather()?;
        if source.gathered.bytes == 0 {
            return Ok(None);
        }
        source.go_on();
        let (layout, begun) = (Arc::clone(&source.layout), Instant::now());
        let mut written = Batches::new();
        source.write(&mut |batches, meta| {
            let mut commit = Commit { batches, meta, ..Commit::default() };
            store.commit(&mut commit, &layout.partitions)?;
            written = commit.batches;
            Ok(())
        })?;
        Ok(Some(Committed { batches: written, answers: Vec::new(), took: begun.elapsed() }))
    }

    /// Whether a record of a stream is in the copy of a partition; asked behind a step, what is there is written.
    pub fn holds(&self, partition: usize, stream: u32, sequence: u64) -> bool {
        self.source.gathered.holds(partition, stream, sequence)
    }

    /// Gives what has come of a partition that is not copied.
    pub(super) fn poll(
        &mut self,
        partition: usize,
        from: u64,
        most: usize,
        each: impl FnMut(u64, &Fetched),
    ) -> Result<usize, ClusterError> {
        self.source.reader.poll(partition, from, most, each)
    }

    /// Offset behind the last record of a partition.
    pub(super) fn end_of(&self, partition: usize) -> Result<u64, ClusterError> {
        patiently(|| self.source.reader.end(partition))
    }

    /// What librdkafka had to say last, once: told where nothing else moves.
    pub fn last_error(&self) -> Option<String> {
        self.source.last_error.take()
    }
}

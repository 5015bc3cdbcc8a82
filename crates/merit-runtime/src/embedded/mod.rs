//! The embedded shell: one process, one directory that is log and state.
//!
//! One worker takes an outside record, gives it its offset and its place among all outside records, and runs it to completion
//! through every sub-topology before the next; what is fed back runs right behind its cause. Commits gather many such runs, so
//! neither their size nor a crash between them can change a record.

mod appender;
mod by_task;
mod committer;
pub mod live;
mod log;
mod prune;
mod recovery;
mod replay;
mod silence;

pub(crate) use log::{BATCH_BYTES, ends_row};
pub(crate) use replay::{Differing, describe, first_difference};
pub(crate) use silence::Silence;

pub use appender::Appender;
pub use committer::{Committed, Follower};
pub use log::Batches;
pub use prune::{Cut, prune};
pub use replay::{Replayed, replay};

use crate::layout::{Layout, Registered};
use crate::lineage::Cause;
use crate::store::{Commit, Rows, Store, Sync};
use crate::task::{Outgoing, Publisher, Task, sent_of};
use crate::{Difference, Failpoint, RuntimeError, epoch, frame};
use merit_audit::Signer;
use merit_core::processor::{Depth, Sent};
use merit_core::record::{Headers, Lineage, LogEnds, Progress};
use merit_core::{Datum, EventTime, Fault, Head, Key, Kind, Payload, Record};
use merit_topology::Topology;
use recovery::Gap;
use std::path::Path;
use std::sync::Arc;

/// The version of everything that computes records. It is raised when a record would be another than before, and only then.
pub const LOGIC_VERSION: u32 = 2;

/// How the engine commits and checkpoints; no setting changes a record.
#[derive(Clone, Copy, Debug)]
pub struct Options {
    /// When a commit counts as done.
    pub sync: Sync,
    /// Where set, a commit holds exactly so many outside records.
    pub commit_records: Option<u64>,
    /// Where set, instead of the topology's.
    pub checkpoint_inputs: Option<u64>,
    /// The version that checkpoints are marked with: what lies behind one is refolded by no other. Default [`LOGIC_VERSION`].
    pub logic_version: u32,
}

impl Default for Options {
    fn default() -> Self {
        Options { sync: Sync::Disk, commit_records: None, checkpoint_inputs: None, logic_version: LOGIC_VERSION }
    }
}

/// A record that no processor wrote.
#[derive(Clone, Copy, Debug)]
pub struct Input<'a> {
    /// Number of the partition that it goes to.
    pub partition: usize,
    /// Its key.
    pub key: Key<'a>,
    /// Its timestamp: for a report, when it was received.
    pub time: EventTime,
    /// What it says.
    pub payload: Payload<'a>,
    /// What travels beside it.
    pub headers: Option<Headers<'a>>,
}

impl<'a> Input<'a> {
    /// Itself as a log stores it. `payload` is the encoding of its payload.
    pub fn frame(&self, payload: &'a [u8]) -> frame::Frame<'a> {
        let Input { key, time, headers, payload: of, .. } = *self;
        let (kind, stream) = (of.kind() as u32, Head::OUTSIDE.into());
        frame::Frame { kind, hops: 0, stream, sequence: 0, time, key: key.name, headers, payload }
    }
}

/// A lineage that began.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Begun {
    /// Its name.
    pub name: String,
    /// Why it began.
    pub cause: Cause,
    /// The first record that differed.
    pub difference: Difference,
}

/// Records that are taken before the first of them runs.
const LOOK_AHEAD: usize = 32;

/// Inputs that are computed again in the time in which one value is read, about: 6 microseconds, and 20.
const INPUTS_A_READ: u64 = 3;

/// A record that was taken and has not run.
struct Waiting {
    partition: usize,
    kind: Kind,
    time: EventTime,
    sent: Option<Sent>,
    /// Hash of the key, which ends there among the keys of those that wait; it begins where the one before ends.
    hash: u64,
    key_end: usize,
    /// The same for its encoding, and for that of its headers behind it, which is empty where it has none.
    payload_end: usize,
    headers_end: usize,
}

/// Records that were taken and have not run.
#[derive(Default)]
struct Taken {
    records: Vec<Waiting>,
    keys: String,
    payloads: Vec<u8>,
}

/// A record that was taken, as it lies among the others.
struct Lying<'t> {
    at: &'t Waiting,
    key: Key<'t>,
    payload: &'t [u8],
    headers: &'t [u8],
}

impl Taken {
    #[inline]
    fn push(&mut self, input: &Input<'_>) {
        let Input { partition, key, time, payload, headers } = *input;
        self.keys.push_str(key.name);
        let start = self.payloads.len();
        payload.put(&mut self.payloads);
        let (key_end, payload_end) = (self.keys.len(), self.payloads.len());
        let sent = sent_of(payload.kind(), &self.payloads[start..]);
        if let Some(headers) = headers {
            headers.put(&mut self.payloads);
        }
        let headers_end = self.payloads.len();
        self.records.push(Waiting { partition, kind: payload.kind(), time, sent, hash: key.hash, key_end, payload_end, headers_end });
    }

    /// Each record, in order.
    fn iter(&self) -> impl Iterator<Item = Lying<'_>> {
        let (mut key_start, mut payload_start) = (0, 0);
        self.records.iter().map(move |at| {
            let key = Key { name: &self.keys[key_start..at.key_end], hash: at.hash };
            let payload = &self.payloads[payload_start..at.payload_end];
            let headers = &self.payloads[at.payload_end..at.headers_end];
            (key_start, payload_start) = (at.key_end, at.headers_end);
            Lying { at, key, payload, headers }
        })
    }

    fn clear(&mut self) {
        self.records.clear();
        self.keys.clear();
        self.payloads.clear();
    }
}

/// The pipeline on a data directory.
pub struct Engine {
    tasks: Vec<Task>,
    appender: Appender,
    signer: Signer,
    taken: Taken,
    newest: EventTime,
    checkpoint_inputs: u64,
    look_ahead: usize,
    /// Inputs since the last checkpoint.
    unsaved: u64,
    checkpoint_due: bool,
    state_bytes: usize,
    /// Whether a checkpoint was made since state was last weighed.
    saved: bool,
    /// Values of state that were left on disk to stay within the bound of memory.
    pub evicted: u64,
    /// What the refold at the start took.
    pub refolded: u64,
    /// Progress records since the start, by partition of `eval.reports`.
    progress: Vec<u64>,
}

impl Engine {
    /// Opens a directory, recovers, and puts the configuration in force where it changed.
    pub fn open(
        path: &Path,
        topology: &Topology,
        registered: &[Registered],
        signer: Signer,
        options: Options,
    ) -> Result<Engine, RuntimeError> {
        let layout = Arc::new(Layout::new(topology, registered));
        let store = Arc::new(Store::open_own(path, options.sync)?);
        let is_upgraded = recovery::is_upgraded(&store, options.logic_version)?;
        let recovered = recovery::recover(&store, &layout, &signer, None).map_err(|error| store.cause(error))?;
        Failpoint::Recovered.pass();
        let mut engine = Engine::new(layout, store, recovered, topology, signer, options);
        engine.checkpoint_due |= is_upgraded;
        engine.put_in_force(topology, None)?;
        engine.commit_epoch()?;
        Ok(engine)
    }

    /// Goes on in a new lineage from a log that a start refuses, since what lies behind the last checkpoint differs from what is
    /// computed again. Every record stays as it is; each task folds its recorded inputs, and then every stream begins anew.
    ///
    /// `partition` is the one that differs, as the refusal names it; refused where another differs, or none.
    pub fn begin_lineage(
        path: &Path,
        topology: &Topology,
        registered: &[Registered],
        signer: Signer,
        partition: &str,
        reason: &str,
    ) -> Result<Begun, RuntimeError> {
        let layout = Arc::new(Layout::new(topology, registered));
        let options = Options::default();
        let store = Arc::new(Store::open_own(path, options.sync)?);
        recovery::is_upgraded(&store, options.logic_version)?;
        let difference = match recovery::recover(&store, &layout, &signer, None) {
            Err(RuntimeError::Difference(found)) if format!("{}/{}", found.topic, found.partition) == partition => *found,
            Err(other) => return Err(store.cause(other)),
            Ok(_) => return Err(RuntimeError::LineageNotNeeded),
        };
        let base = recovery::log_at(&store, &layout, "checkpoint")?;
        let (base, ends) = (base.ends_row(&layout), recovery::found_ends(&store, &layout, &base)?);
        let read = |row| LogEnds::decode(row).expect("it was just written");
        let mut lineage = Lineage { partition, reason, parent: "", base: read(&base), ends: read(&ends) };
        let folded = recovery::recover(&store, &layout, &signer, Some(Gap::of(&layout, &lineage)));
        let (tasks, _, refolded) = folded.map_err(|error| store.cause(error))?;
        Failpoint::Recovered.pass();
        let log = log::Log::new(&layout, Some(lineage.ends));
        let mut engine = Engine::new(layout, store, (tasks, log, refolded), topology, signer, options);
        let cause = Cause::of(&lineage);
        let parent = engine.lineage();
        lineage.parent = &parent;
        engine.put_in_force(topology, Some(lineage))?;
        engine.commit_epoch()?;
        let name = engine.lineage();
        engine.close(Vec::new())?;
        Ok(Begun { name, cause, difference })
    }

    fn new(
        layout: Arc<Layout>,
        store: Arc<Store>,
        (tasks, log, refolded): (Vec<Task>, log::Log, u64),
        topology: &Topology,
        signer: Signer,
        options: Options,
    ) -> Engine {
        Engine {
            tasks,
            progress: vec![0; layout.report_partitions as usize],
            appender: Appender::new(layout, store, log, topology.runtime, options),
            signer,
            taken: Taken::default(),
            newest: EventTime::MIN,
            checkpoint_inputs: options.checkpoint_inputs.unwrap_or(topology.runtime.checkpoint_inputs),
            look_ahead: options.commit_records.map_or(LOOK_AHEAD, |records| LOOK_AHEAD.min(records.max(1) as usize)),
            unsaved: refolded,
            checkpoint_due: false,
            state_bytes: usize::try_from(topology.runtime.state_bytes).unwrap_or(usize::MAX),
            saved: false,
            evicted: 0,
            refolded,
        }
    }

    /// Name of the lineage in force.
    fn lineage(&self) -> String {
        self.tasks[0].lineages().last().cloned().unwrap_or_default()
    }

    /// Commits and checkpoints what an opening changed.
    fn commit_epoch(&mut self) -> Result<(), RuntimeError> {
        if self.checkpoint_due {
            Failpoint::EpochUncommitted.pass();
            let structure = self.layout().structure().into_bytes();
            self.commit(vec![("layout".into(), structure)])?;
            self.settle()?;
        }
        Ok(())
    }

    /// Appends a ConfigEpoch to every input partition where the configuration is not the one in force, or a lineage begins.
    fn put_in_force(&mut self, topology: &Topology, lineage: Option<Lineage<'_>>) -> Result<(), RuntimeError> {
        let parameters = epoch::parameters(topology);
        let (partitions, emitter_key) = (self.appender.layout.report_partitions, self.signer.public());
        let wanted = epoch::Wanted { topology, parameters: &parameters, partitions, emitter_key };
        let Some(epoch) = wanted.behind(self.tasks[0].config(), lineage)? else { return Ok(()) };
        let time = self.appender.log.newest.max(EventTime::EPOCH);
        // The last sub-topology first: what an epoch decides upstream reaches tasks that have begun theirs.
        for task in (0..self.tasks.len()).rev() {
            let partition = self.appender.layout.tasks[task].input;
            self.take(&Input { partition, key: Key::new("config"), time, payload: Payload::ConfigEpoch(&epoch), headers: None })?;
            Failpoint::EpochTaken.pass();
        }
        self.checkpoint_due = true;
        Ok(())
    }

    /// The topology as it is laid out.
    pub fn layout(&self) -> &Arc<Layout> {
        &self.appender.layout
    }

    /// The directory, to read what was committed.
    pub fn store(&self) -> &Arc<Store> {
        &self.appender.store
    }

    /// Number of the partition of `eval.reports` that a key belongs to.
    #[inline]
    pub fn report_partition(&self, key: &Key<'_>) -> usize {
        self.appender.layout.tasks[0].input + key.partition(self.appender.layout.report_partitions) as usize
    }

    /// Takes a record, to run it, and all that follows from it, to completion before the next one. It runs once some more were
    /// taken, or at [`Engine::flush`]: by then the memory that it needs has been asked for together with theirs.
    #[inline]
    pub fn take(&mut self, input: &Input<'_>) -> Result<(), RuntimeError> {
        self.taken.push(input);
        self.newest = self.newest.max(input.time);
        if self.taken.records.len() >= self.look_ahead { self.flush() } else { Ok(()) }
    }

    /// Runs every record that was taken.
    pub fn flush(&mut self) -> Result<(), RuntimeError> {
        let taken = std::mem::take(&mut self.taken);
        for depth in [Depth::Index, Depth::Value, Depth::Pointed] {
            for lying in taken.iter() {
                if let Some(task) = self.appender.layout.partitions[lying.at.partition].reader {
                    self.tasks[task].warm(&lying.key, lying.at.sent.as_ref(), depth);
                }
            }
        }
        for lying in taken.iter() {
            self.run(&lying).map_err(|error| self.appender.store.cause(error))?;
        }
        self.taken = taken;
        self.taken.clear();
        Ok(())
    }

    #[inline]
    fn run(&mut self, lying: &Lying<'_>) -> Result<(), RuntimeError> {
        let (&Waiting { partition, kind, time, .. }, key, payload) = (lying.at, lying.key, lying.payload);
        let sequence = self.appender.log.outside;
        let headers = Headers::decode(lying.headers);
        let (sent, headers) = (lying.at.sent.as_ref(), headers.as_ref());
        let head = Head { key, time, stream: Head::OUTSIDE, sequence, offset: 0, hops: 0, sent, headers };
        let offset = self.appender.append(&Outgoing { partition, head, kind, payload });
        if let Some(task) = self.appender.layout.partitions[partition].reader {
            step(&mut self.tasks[task], Head { offset, ..head }, kind, payload, Some(&self.signer), &mut self.appender.log)?;
            self.unsaved += 1;
        }
        self.run_queue()
    }

    fn run_queue(&mut self) -> Result<(), RuntimeError> {
        while let Some(queued) = self.appender.log.queue.pop_front() {
            queued.run(&mut self.tasks, Some(&self.signer), &mut self.appender.log)?;
            self.unsaved += 1;
            let progress = (queued.kind == Kind::Progress).then(|| Progress::decode(&queued.payload)).flatten();
            if let Some(count) = progress.and_then(|progress| self.progress.get_mut(progress.partition as usize)) {
                *count += 1;
            }
        }
        Ok(())
    }

    /// Whether the driver should commit now.
    #[inline]
    pub fn commit_due(&mut self) -> bool {
        self.appender.commit_due(self.taken.records.len() as u64)
    }

    /// Has every commit from here on told to `follower`, once it is on disk and on the committing thread.
    pub fn follow(&mut self, follower: Follower) -> Result<(), RuntimeError> {
        self.appender.follow(follower)
    }

    /// Hears whether the last commit failed, where it has ended.
    pub fn heed(&mut self) -> Result<(), RuntimeError> {
        self.appender.heed()
    }

    /// Whether something waits for a commit, and none is under way.
    pub fn may_commit(&mut self) -> bool {
        self.appender.may_commit()
    }

    /// Commits everything taken so far, with `meta` beside it; waits for the commit before this one.
    pub fn commit(&mut self, mut meta: Vec<(String, Vec<u8>)>) -> Result<(), RuntimeError> {
        self.flush()?;
        self.evict()?;
        self.checkpoint_due |= self.tail_is_long();
        let checkpoint = self.checkpoint_due.then(|| self.checkpoint());
        if checkpoint.is_some() {
            // With the records, not with the state: who refolds them must be who computed them.
            meta.push(("logic".into(), self.appender.options.logic_version.to_string().into()));
        }
        self.appender.commit(Commit { meta, checkpoint, ..Commit::default() })
    }

    /// Whether a start would take about as long as it may. A value that changed is read from disk then, which takes as long as
    /// some inputs: few inputs of many entities are as long a tail as many inputs of few.
    fn tail_is_long(&mut self) -> bool {
        let most = self.checkpoint_inputs;
        let mut changed = || self.tasks.iter_mut().map(Task::changed).sum::<usize>() as u64;
        self.unsaved >= most || (self.unsaved >= most / 8 && self.unsaved + INPUTS_A_READ * changed() >= most + most / 2)
    }

    /// Keeps state within its bounds. Only what a finished checkpoint holds can be read again.
    fn evict(&mut self) -> Result<(), RuntimeError> {
        if !std::mem::take(&mut self.saved) {
            return Ok(());
        }
        let bytes = self.tasks.iter_mut().map(Task::bytes).sum();
        if bytes > self.state_bytes {
            self.settle()?;
            for (number, task) in self.tasks.iter_mut().enumerate() {
                let rows = recovery::rows_of(&self.appender.store, &self.appender.layout, number, &[]);
                self.evicted += task.evict(self.state_bytes, bytes, &rows);
            }
        }
        Ok(())
    }

    /// Changed rows, and the position that they stand for.
    fn checkpoint(&mut self) -> (Rows, Vec<u8>) {
        Failpoint::CheckpointBegins.pass();
        let mut rows = Rows::new();
        for task in &mut self.tasks {
            task.checkpoint(&mut |key, row| rows.push((key, row.to_vec())));
            Failpoint::CheckpointTask.pass();
        }
        let position = self.appender.log.ends_row(&self.appender.layout);
        (self.unsaved, self.checkpoint_due, self.saved) = (0, false, true);
        Failpoint::CheckpointGathered.pass();
        (rows, position)
    }

    /// Waits until what was committed is on disk.
    pub fn settle(&mut self) -> Result<(), RuntimeError> {
        self.appender.settle()
    }

    /// Ends cleanly: commits and checkpoints what is left.
    pub fn close(mut self, meta: Vec<(String, Vec<u8>)>) -> Result<Arc<Store>, RuntimeError> {
        self.flush()?;
        if self.unsaved > 0 || self.checkpoint_due || !meta.is_empty() || self.appender.log.bytes > 0 {
            self.checkpoint_due = true;
            self.commit(meta)?;
        }
        self.settle()?;
        Ok(self.appender.store)
    }

    /// Outside records so far.
    pub fn outside_records(&self) -> u64 {
        self.appender.log.outside
    }

    /// The largest record time so far.
    pub fn newest(&self) -> EventTime {
        self.newest.max(self.appender.log.newest)
    }
}

/// A record that a task wrote for another.
struct Queued {
    task: usize,
    offset: u64,
    kind: Kind,
    hops: u8,
    stream: u16,
    sequence: u64,
    time: EventTime,
    key: Box<str>,
    payload: Vec<u8>,
    /// Encoding of its headers; empty where it has none.
    headers: Vec<u8>,
}

impl Queued {
    fn of(task: usize, offset: u64, record: &Outgoing<'_>) -> Queued {
        let Head { key, time, stream, sequence, hops, headers, .. } = record.head;
        let mut encoded = Vec::new();
        headers.inspect(|headers| headers.put(&mut encoded));
        let (key, payload) = (key.name.into(), record.payload.into());
        Queued { task, offset, kind: record.kind, hops, stream, sequence, time, key, payload, headers: encoded }
    }

    fn run(&self, tasks: &mut [Task], signer: Option<&Signer>, publisher: &mut dyn Publisher) -> Result<(), RuntimeError> {
        let Queued { task, offset, kind, hops, stream, sequence, time, .. } = *self;
        let headers = Headers::decode(&self.headers);
        let (key, sent) = (Key::new(&self.key), sent_of(kind, &self.payload));
        let head = Head { key, time, stream, sequence, offset, hops, sent: sent.as_ref(), headers: headers.as_ref() };
        step(&mut tasks[task], head, kind, &self.payload, signer, publisher)
    }
}

/// Runs one input through its task.
#[inline]
fn step(
    task: &mut Task,
    head: Head<'_>,
    kind: Kind,
    encoding: &[u8],
    signer: Option<&Signer>,
    publisher: &mut dyn Publisher,
) -> Result<(), RuntimeError> {
    let done = Payload::decode(kind, encoding, |payload| task.step(&Record { head, payload }, encoding, signer, publisher));
    done.unwrap_or_else(|| {
        let fault = Fault(format!("{} cannot be read", kind.name()));
        Err(RuntimeError::Stopped { task: task.name(), offset: head.offset, fault })
    })
}

/// Runs one record of the log through its task.
pub(crate) fn step_frame(
    task: &mut Task,
    offset: u64,
    frame: &frame::Frame<'_>,
    signer: Option<&Signer>,
    publisher: &mut dyn Publisher,
) -> Result<(), RuntimeError> {
    let unknown = || RuntimeError::Stopped { task: String::new(), offset, fault: Fault(format!("unknown record type {}", frame.kind)) };
    let kind = frame.kind().ok_or_else(unknown)?;
    let sent = sent_of(kind, frame.payload);
    let head = Head {
        key: Key::new(frame.key),
        time: frame.time,
        stream: frame.stream as u16,
        sequence: frame.sequence,
        offset,
        hops: frame.hops as u8,
        sent: sent.as_ref(),
        headers: frame.headers.as_ref(),
    };
    step(task, head, kind, frame.payload, signer, publisher)
}

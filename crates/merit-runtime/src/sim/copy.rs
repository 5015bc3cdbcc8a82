//! One copy of the program: it consumes, transforms and produces, and goes on wherever another died.
//!
//! One transaction carries what a batch led to and the offsets behind it. Now and then the changed rows of a task go to its
//! changelog, in a transaction of a second producer behind the commit that they stand for, and then to the disk. Whoever takes a
//! task over reads disk and changelog, folds the inputs since then again, and compares what comes out with what the log holds.
//!
//! Every call to the outside is one [`Step`], where the copy may be stopped for a while or for ever.

use super::broker::{Broker, Membership, Message, Producer, Refused};
use super::refold::Refold;
use super::{Sabotage, Setup};
use crate::RuntimeError;
use crate::embedded::step_frame;
use crate::frame::Frame;
use crate::store;
use crate::task::{Outgoing, Publisher, Task};
use merit_core::table::RowMap;
use merit_core::{Datum, List};
use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;
use std::future::poll_fn;
use std::rc::Rc;
use std::sync::Arc;
use std::task::Poll;

/// Where a copy stands: before that call.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Step {
    /// Taking over the transactional id of the outputs.
    InitialiseProducer,
    /// Taking over that of the changelog.
    InitialiseChangelog,
    /// Asking which tasks are ours.
    Join,
    /// Reading how far a task's input was committed.
    ReadCommitted,
    /// Reading whether a changelog lost its end.
    ReadChangelogEpoch,
    /// Reading how long a changelog is.
    ReadChangelogEnd,
    /// Reading rows of a changelog.
    ReadChangelog,
    /// Writing restored rows to the disk.
    StoreRestored,
    /// Reading what a task wrote.
    ReadOutputs,
    /// Reading inputs to fold again.
    ReadInputs,
    /// Reading new inputs.
    Poll,
    /// Sending outputs.
    Produce,
    /// Sending the offsets behind the inputs.
    SendOffsets,
    /// Committing both.
    Commit,
    /// Aborting instead.
    Abort,
    /// Sending rows of a checkpoint.
    ProduceChangelog,
    /// Sending an offset, so that a copy that lost the task is refused.
    FenceChangelog,
    /// Committing both.
    CommitChangelog,
    /// Aborting instead.
    AbortChangelog,
    /// Writing rows of a checkpoint to the disk.
    StoreCheckpoint,
}

impl Step {
    /// All of them.
    pub const ALL: [Step; 20] = [
        Step::InitialiseProducer,
        Step::InitialiseChangelog,
        Step::Join,
        Step::ReadCommitted,
        Step::ReadChangelogEpoch,
        Step::ReadChangelogEnd,
        Step::ReadChangelog,
        Step::StoreRestored,
        Step::ReadOutputs,
        Step::ReadInputs,
        Step::Poll,
        Step::Produce,
        Step::SendOffsets,
        Step::Commit,
        Step::Abort,
        Step::ProduceChangelog,
        Step::FenceChangelog,
        Step::CommitChangelog,
        Step::AbortChangelog,
        Step::StoreCheckpoint,
    ];
}

/// Why a copy ended.
#[derive(Debug)]
pub(crate) enum Stop {
    /// It was asked to, and everything is in the changelogs.
    Clean,
    /// Another has taken over.
    Fenced,
    /// A task failed, or what it computes again is not what the log holds.
    Task(usize, RuntimeError),
}

/// Rows by key, as the changelog and the disk keep them; an empty one is deleted.
pub(crate) type Rows = BTreeMap<Vec<u8>, Vec<u8>>;

/// What the disk of a copy holds of a task: its state as of some place in the changelog.
#[derive(Clone, Default)]
pub(crate) struct Base {
    pub(crate) rows: Rows,
    next: u64,
    epoch: u64,
}

/// The disk of a copy.
#[derive(Default)]
pub(crate) struct Disk {
    bases: BTreeMap<usize, Base>,
    pub(crate) full: bool,
}

impl Disk {
    /// Gives up what is there of a task.
    pub(crate) fn forget(&mut self, task: usize) {
        self.bases.remove(&task);
    }

    fn write(&mut self, task: usize, base: &Base) -> Result<(), Refused> {
        match self.full {
            true => Err(Refused::Retry),
            false => {
                self.bases.insert(task, base.clone());
                Ok(())
            }
        }
    }
}

/// Where a task's last records are.
#[derive(Clone, Default)]
pub(crate) struct Last {
    /// Offset of the last one, a partition.
    pub(crate) records: BTreeMap<usize, u64>,
    /// Partition and offset of the last leaf of its audit chain.
    pub(crate) leaf: Option<(usize, u64)>,
}

impl Last {
    /// Takes note of the next record.
    pub(crate) fn note(&mut self, partition: usize, offset: u64, is_leaf: bool) {
        self.records.insert(partition, offset);
        if is_leaf {
            self.leaf = Some((partition, offset));
        }
    }

    fn row(&self) -> Vec<u8> {
        let places = self.records.iter().map(|(partition, offset)| (*partition, *offset)).chain(self.leaf);
        let numbers: Vec<u64> = places.flat_map(|(partition, offset)| [partition as u64, offset]).collect();
        let mut row = Vec::new();
        self.leaf.is_some().put(&mut row);
        List::Slice(&numbers).put(&mut row);
        row
    }

    fn from_row(mut row: &[u8]) -> Option<Last> {
        let has_leaf = bool::get(&mut row)?;
        let numbers: Vec<u64> = List::<u64>::get(&mut row)?.iter().collect();
        let mut places: Vec<(usize, u64)> =
            numbers.as_chunks().0.iter().map(|[partition, offset]| (*partition as usize, *offset)).collect();
        let leaf = if has_leaf { places.pop() } else { None };
        Some(Last { records: places.into_iter().collect(), leaf })
    }
}

/// A task that this copy runs.
struct Running {
    task: Task,
    /// The generation since which it is ours.
    since: u64,
    /// Rows that are not on the disk yet.
    rows: Rows,
    last: Last,
    /// Inputs since the last checkpoint.
    unsaved: u64,
    /// What a refold did not suppress; empty but under sabotage.
    unsent: Vec<Output>,
}

/// A record on its way to a partition.
pub(crate) struct Output {
    task: usize,
    partition: usize,
    message: Rc<Message>,
    is_leaf: bool,
    offset: u64,
}

impl Output {
    pub(crate) fn new(setup: &Setup, task: usize, record: &Outgoing<'_>) -> Output {
        let mut value = Vec::new();
        record.frame().put(&mut value);
        let message = Rc::new(Message { key: Vec::new(), value });
        let is_leaf = record.head.stream == setup.layout.tasks[task].audit_stream();
        Output { task, partition: record.partition, message, is_leaf, offset: 0 }
    }
}

/// What goes into one transaction.
#[derive(Default)]
struct Batch {
    outputs: Vec<Output>,
    /// Offsets behind the inputs, by task.
    positions: BTreeMap<usize, u64>,
}

struct Collector<'b> {
    setup: &'b Setup,
    task: usize,
    outputs: &'b mut Vec<Output>,
}

impl Publisher for Collector<'_> {
    fn publish(&mut self, record: &Outgoing<'_>) -> Result<(), RuntimeError> {
        self.outputs.push(Output::new(self.setup, self.task, record));
        Ok(())
    }
}

/// What the world lends to a copy.
pub(crate) struct Place {
    pub(crate) broker: Rc<RefCell<Broker>>,
    pub(crate) disk: Rc<RefCell<Disk>>,
    pub(crate) step: Rc<Cell<Step>>,
    /// Set where the copy shall end cleanly.
    pub(crate) stopping: Rc<Cell<bool>>,
}

/// A running copy.
pub(crate) struct Copy {
    setup: Rc<Setup>,
    place: Place,
    slot: usize,
    instance: u64,
    producer: Producer,
    changelog: Producer,
    tasks: BTreeMap<usize, Running>,
    checkpoint_inputs: u64,
    sabotage: Option<Sabotage>,
}

impl Place {
    /// One call to the outside: waits for its turn, and calls again where it is told to.
    pub(crate) async fn ask<T>(&self, step: Step, mut call: impl FnMut(&mut Broker) -> Result<T, Refused>) -> Result<T, Refused> {
        loop {
            self.step.set(step);
            let mut waited = false;
            poll_fn(|_| if std::mem::replace(&mut waited, true) { Poll::Ready(()) } else { Poll::Pending }).await;
            match call(&mut self.broker.borrow_mut()) {
                Err(Refused::Retry) => {}
                answer => return answer,
            }
        }
    }

    /// The same for what is never refused for good.
    pub(crate) async fn read<T>(&self, step: Step, call: impl FnMut(&mut Broker) -> Result<T, Refused>) -> Result<T, Stop> {
        self.ask(step, call).await.map_err(|_| Stop::Fenced)
    }
}

/// Runs a copy until it ends.
pub(crate) async fn run(setup: Rc<Setup>, place: Place, slot: usize, instance: u64, sabotage: Option<Sabotage>) -> Stop {
    let checkpoint_inputs = 1 + place.broker.borrow_mut().chance.below(60);
    let started = async {
        let producer = place.read(Step::InitialiseProducer, |broker| broker.initialise(2 * slot)).await?;
        let changelog = place.read(Step::InitialiseChangelog, |broker| broker.initialise(2 * slot + 1)).await?;
        Ok((producer, changelog))
    };
    let (producer, changelog) = match started.await {
        Ok(producers) => producers,
        Err(stop) => return stop,
    };
    let mut copy = Copy { setup, place, slot, instance, producer, changelog, tasks: BTreeMap::new(), checkpoint_inputs, sabotage };
    loop {
        if let Err(stop) = copy.cycle().await {
            return stop;
        }
    }
}

impl Copy {
    async fn cycle(&mut self) -> Result<(), Stop> {
        let of = self.join().await?;
        self.tasks.retain(|task, running| of.tasks.get(task) == Some(&running.since));
        for (task, since) in &of.tasks {
            if !self.tasks.contains_key(task) {
                let taken = self.take_over(*task, *since).await;
                // Who lost the task meanwhile has read what its next owner wrote.
                if self.join().await?.tasks.get(task) != Some(since) {
                    return Ok(());
                }
                self.tasks.insert(*task, taken?);
            }
        }
        let mut batch = self.transform().await?;
        let idle = batch.positions.is_empty();
        if !idle {
            self.commit(&of, &mut batch).await?;
        }
        let stopping = idle && self.place.stopping.get();
        let least = if stopping { 1 } else { self.checkpoint_inputs };
        let due = |running: &Running| running.unsaved >= least || (stopping && !running.rows.is_empty());
        let due: Vec<usize> = self.tasks.iter().filter(|(_, running)| due(running)).map(|(task, _)| *task).collect();
        if stopping && due.is_empty() {
            return Err(Stop::Clean);
        }
        for task in due {
            self.checkpoint(&of, task).await?;
        }
        Ok(())
    }

    async fn join(&self) -> Result<Membership, Stop> {
        self.place.read(Step::Join, |broker| broker.join(self.slot, self.instance)).await
    }

    fn input(&self, task: usize) -> usize {
        self.setup.layout.tasks[task].input
    }

    fn is_sabotaged(&self, sabotage: Sabotage) -> bool {
        self.sabotage == Some(sabotage)
    }
}

/// Consume, transform, produce.
impl Copy {
    /// Runs what came in through its tasks.
    async fn transform(&mut self) -> Result<Batch, Stop> {
        let mut batch = Batch::default();
        let numbers: Vec<usize> = self.tasks.keys().copied().collect();
        for number in numbers {
            let (input, setup) = (self.input(number), Rc::clone(&self.setup));
            let Some(Running { task, unsaved, unsent, .. }) = self.tasks.get_mut(&number) else { continue };
            let from = task.position;
            let records = self.place.read(Step::Poll, |broker| Ok(broker.poll(input, from))).await?;
            batch.outputs.append(unsent);
            let mut collector = Collector { setup: &setup, task: number, outputs: &mut batch.outputs };
            for (offset, message) in &records {
                step(&setup, number, task, *offset, message, &mut collector)?;
            }
            if !records.is_empty() {
                *unsaved += records.len() as u64;
                batch.positions.insert(number, task.position);
            }
        }
        Ok(batch)
    }

    /// Commits a batch, or gives up the tasks that computed it: they are taken over again from what is committed.
    async fn commit(&mut self, of: &Membership, batch: &mut Batch) -> Result<(), Stop> {
        let committed = match self.transact(of, batch).await {
            Ok(()) => true,
            Err(Refused::Fenced) => return Err(Stop::Fenced),
            Err(Refused::Unknown) => self.find_out(&batch.positions).await?,
            Err(Refused::Abort | Refused::Retry) => {
                self.abort().await?;
                false
            }
        };
        if !committed {
            self.tasks.retain(|task, _| !batch.positions.contains_key(task));
        }
        for output in &batch.outputs {
            if let Some(running) = self.tasks.get_mut(&output.task) {
                running.last.note(output.partition, output.offset, output.is_leaf);
            }
        }
        Ok(())
    }

    async fn transact(&self, of: &Membership, batch: &mut Batch) -> Result<(), Refused> {
        let producer = self.producer;
        for outputs in batch.outputs.chunks_mut(8) {
            let mut left = outputs.iter_mut().peekable();
            let send = |broker: &mut Broker| {
                while let Some(output) = left.peek_mut() {
                    output.offset = broker.send(producer, output.partition, &output.message)?;
                    left.next();
                }
                Ok(())
            };
            self.place.ask(Step::Produce, send).await?;
        }
        let offsets = batch.positions.iter().map(|(task, position)| (self.input(*task), *position)).collect();
        self.place.ask(Step::SendOffsets, |broker| broker.send_offsets(producer, of, &offsets)).await?;
        self.place.ask(Step::Commit, |broker| broker.end(producer, true)).await
    }

    async fn abort(&mut self) -> Result<(), Stop> {
        let producer = self.producer;
        match self.place.ask(Step::Abort, |broker| broker.end(producer, false)).await {
            Err(Refused::Fenced) => Err(Stop::Fenced),
            Err(Refused::Unknown) => self.initialise().await,
            Ok(()) | Err(Refused::Abort | Refused::Retry) => Ok(()),
        }
    }

    async fn initialise(&mut self) -> Result<(), Stop> {
        let id = self.producer.id;
        if !self.is_sabotaged(Sabotage::Initialisation) {
            self.producer = self.place.read(Step::InitialiseProducer, |broker| broker.initialise(id)).await?;
        }
        Ok(())
    }

    /// Whether a transaction without an answer was committed. Once the producer is initialised again it cannot be any more.
    async fn find_out(&mut self, positions: &BTreeMap<usize, u64>) -> Result<bool, Stop> {
        match self.is_sabotaged(Sabotage::Initialisation) {
            true => self.abort().await?,
            false => self.initialise().await?,
        }
        for (task, position) in positions {
            let input = self.input(*task);
            if self.place.read(Step::ReadCommitted, |broker| broker.committed(input)).await? != *position {
                return Ok(false);
            }
        }
        Ok(true)
    }
}

/// Checkpoints.
impl Copy {
    /// Writes what changed in a task to its changelog, then to the disk. Where the changelog fails, the task is taken over again
    /// from what is there; where the disk does, it gets these rows with the next checkpoint.
    async fn checkpoint(&mut self, of: &Membership, number: usize) -> Result<(), Stop> {
        let setup = Rc::clone(&self.setup);
        let Some(running) = self.tasks.get_mut(&number) else { return Ok(()) };
        running.gather(&setup, number);
        let (rows, position) = (running.rows.clone(), running.task.position);
        let mut base = self.place.disk.borrow().bases.get(&number).cloned().unwrap_or_default();
        match self.write_changelog(of, number, &rows, position, base.epoch).await {
            Ok(next) => base.next = next,
            Err(Refused::Fenced) => return Err(Stop::Fenced),
            Err(refused) => {
                self.tasks.remove(&number);
                return if refused == Refused::Unknown { self.initialise_changelog().await } else { self.abort_changelog().await };
            }
        }
        base.take(rows);
        let stored = self.place.read(Step::StoreCheckpoint, |_| Ok(self.place.disk.borrow_mut().write(number, &base))).await?;
        if let Some(running) = self.tasks.get_mut(&number).filter(|_| stored.is_ok()) {
            running.rows.clear();
            // Everything is on the disk now; what is used again is read again.
            let bytes = running.task.bytes();
            running.task.evict(0, bytes, &setup.row_map(number, &base.rows));
        }
        Ok(())
    }

    /// Gives the offset behind the last row. `epoch` is that of the changelog when the task was taken over.
    async fn write_changelog(&self, of: &Membership, number: usize, rows: &Rows, position: u64, epoch: u64) -> Result<u64, Refused> {
        let (producer, partition) = (self.changelog, self.setup.changelog(number));
        let next = self.send_rows(partition, rows).await?;
        // Nothing is lost behind an open transaction: a changelog that is whole now is so when this is committed.
        if self.place.ask(Step::ReadChangelogEpoch, |broker| Ok(broker.epoch_of(partition))).await? != epoch {
            return Err(Refused::Abort);
        }
        if !self.is_sabotaged(Sabotage::Fence) {
            let offsets = BTreeMap::from([(partition, position)]);
            self.place.ask(Step::FenceChangelog, |broker| broker.send_offsets(producer, of, &offsets)).await?;
        }
        self.place.ask(Step::CommitChangelog, |broker| broker.end(producer, true)).await?;
        Ok(next)
    }

    async fn send_rows(&self, partition: usize, rows: &Rows) -> Result<u64, Refused> {
        let producer = self.changelog;
        let mut next = 0;
        for (at, (key, row)) in rows.iter().enumerate() {
            let message = Rc::new(Message { key: key.clone(), value: row.clone() });
            let sent = if at % 8 == 0 {
                self.place.ask(Step::ProduceChangelog, |broker| broker.send(producer, partition, &message)).await
            } else {
                self.place.broker.borrow_mut().send(producer, partition, &message)
            };
            next = sent? + 1;
        }
        Ok(next)
    }

    async fn initialise_changelog(&mut self) -> Result<(), Stop> {
        let id = self.changelog.id;
        self.changelog = self.place.read(Step::InitialiseChangelog, |broker| broker.initialise(id)).await?;
        Ok(())
    }

    async fn abort_changelog(&mut self) -> Result<(), Stop> {
        let producer = self.changelog;
        match self.place.ask(Step::AbortChangelog, |broker| broker.end(producer, false)).await {
            Err(Refused::Fenced) => Err(Stop::Fenced),
            Err(Refused::Unknown) => self.initialise_changelog().await,
            Ok(()) | Err(Refused::Abort | Refused::Retry) => Ok(()),
        }
    }
}

impl Running {
    /// Takes the changed rows out of the task.
    fn gather(&mut self, setup: &Setup, number: usize) {
        let rows = &mut self.rows;
        self.task.checkpoint(&mut |key, row| {
            rows.insert(key, row.to_vec());
        });
        rows.insert(setup.last_key(number), self.last.row());
        self.unsaved = 0;
    }
}

impl Base {
    /// Lays newer rows over those that are there.
    fn take(&mut self, rows: Rows) {
        self.rows.extend(rows);
        self.rows.retain(|_, row| !row.is_empty());
    }
}

/// Recovery.
impl Copy {
    /// Restores a task and folds its inputs since the checkpoint again.
    async fn take_over(&self, number: usize, since: u64) -> Result<Running, Stop> {
        let input = self.input(number);
        let committed = self.place.read(Step::ReadCommitted, |broker| broker.committed(input)).await?;
        let base = self.restore(number).await?;
        let mut task = self.setup.task(number, &base.rows).map_err(|error| Stop::Task(number, error))?;
        if self.is_sabotaged(Sabotage::Position) {
            task.position = committed;
        }
        let last = base.rows.get(&self.setup.last_key(number)).and_then(|row| Last::from_row(row)).unwrap_or_default();
        let mut refold = Refold::new(&self.setup, number, last, self.sabotage);
        refold.read_outputs(&self.place).await?;
        let mut unsaved = 0;
        while task.position < committed {
            let from = task.position;
            let (records, _) = self.place.read(Step::ReadInputs, |broker| broker.read(input, from, 32)).await?;
            let records = records.iter().filter(|(offset, _)| *offset < committed);
            for (offset, message) in records {
                step(&self.setup, number, &mut task, *offset, message, &mut refold)?;
                unsaved += 1;
            }
        }
        let (last, unsent) = refold.finish(&task).map_err(|error| Stop::Task(number, error))?;
        Ok(Running { task, since, rows: Rows::new(), last, unsaved, unsent })
    }

    /// Brings the disk to the end of the changelog.
    async fn restore(&self, number: usize) -> Result<Base, Stop> {
        let partition = self.setup.changelog(number);
        loop {
            let epoch = self.place.read(Step::ReadChangelogEpoch, |broker| Ok(broker.epoch_of(partition))).await?;
            let stored = self.place.disk.borrow().bases.get(&number).filter(|base| base.epoch == epoch).cloned();
            let mut base = stored.unwrap_or(Base { epoch, ..Base::default() });
            // Whoever was refused since we own the task wrote before this end or not at all.
            let end = self.place.read(Step::ReadChangelogEnd, |broker| Ok(broker.end_of(partition))).await?;
            while base.next < end {
                let from = base.next;
                let read = |broker: &mut Broker| match broker.epoch_of(partition) == epoch {
                    true => broker.read(partition, from, 64).map(Some),
                    false => Ok(None),
                };
                let Some((records, next)) = self.place.read(Step::ReadChangelog, read).await? else { break };
                base.take(records.into_iter().map(|(_, message)| (message.key.clone(), message.value.clone())).collect());
                base.next = next;
            }
            let store = |broker: &mut Broker| match broker.epoch_of(partition) == epoch {
                true => self.place.disk.borrow_mut().write(number, &base).map(|()| true),
                false => Ok(false),
            };
            if self.place.read(Step::StoreRestored, store).await? {
                return Ok(base);
            }
        }
    }
}

fn step(setup: &Setup, number: usize, task: &mut Task, offset: u64, message: &Message, publisher: &mut dyn Publisher) -> Result<(), Stop> {
    let frame = Frame::decode(&message.value);
    let corrupt = || RuntimeError::Corrupt {
        topic: task_topic(setup, number),
        partition: setup.layout.tasks[number].partition,
        offset,
        cause: "the record is not in its canonical form".into(),
    };
    let stepped = match frame {
        Some(frame) => step_frame(task, offset, &frame, setup.signer.as_ref(), publisher),
        None => Err(corrupt()),
    };
    stepped.map_err(|error| Stop::Task(number, error))
}

fn task_topic(setup: &Setup, number: usize) -> String {
    setup.layout.partitions[setup.layout.tasks[number].input].name.clone()
}

impl Setup {
    /// Number of the changelog of a task.
    pub(crate) fn changelog(&self, task: usize) -> usize {
        self.layout.partitions.len() + task
    }

    /// Key of a task's own row.
    pub(crate) fn task_key(&self, number: usize) -> Vec<u8> {
        let task = &self.layout.tasks[number];
        store::state_key(&store::state_prefix(&task.name, task.partition, ""), "", 0)
    }

    /// Key of the row that says where a task's last records are.
    pub(crate) fn last_key(&self, number: usize) -> Vec<u8> {
        let task = &self.layout.tasks[number];
        store::state_key(&store::state_prefix(&task.name, task.partition, ""), "last", 0)
    }

    /// A task as its rows say.
    pub(crate) fn task(&self, number: usize, rows: &Rows) -> Result<Task, RuntimeError> {
        let mut task = Task::new(number, Arc::clone(&self.layout), merit_codec::fingerprint);
        task.restore(&self.row_map(number, rows))?;
        Ok(task)
    }

    /// The rows of a task by store, key and part.
    fn row_map(&self, number: usize, rows: &Rows) -> Arc<dyn merit_core::Rows> {
        let task = &self.layout.tasks[number];
        let mut map = RowMap::default();
        let prefix = [task.name.as_bytes(), &[0], &task.partition.to_be_bytes()].concat();
        for (key, row) in rows {
            let rest = key.strip_prefix(prefix.as_slice()).unwrap_or_default();
            let store = rest.iter().position(|byte| *byte == 0).map(|end| (String::from_utf8_lossy(&rest[..end]), &rest[end + 1..]));
            if let Some((store, (key, part))) = store.and_then(|(store, rest)| Some((store, store::key_and_part(rest)?))) {
                map.put(&store, key, part, row);
            }
        }
        Arc::new(map)
    }
}

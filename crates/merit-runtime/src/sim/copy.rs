//! One copy of the program: it consumes, transforms and produces, and goes on wherever another died.
//!
//! One transaction carries what a batch led to and the offsets behind it. Now and then the changed rows of a task go to its
//! changelog, in a transaction of a second producer behind the commit that they stand for, and then to the disk. Whoever takes a
//! task over reads disk and changelog, folds the inputs since then again, and compares what comes out with what the log holds.
//!
//! Every call to the outside is one [`Step`], where the copy may be stopped for a while or for ever.

use super::broker::{Broker, Membership, Message, Producer, Refused};
use super::checkpoint::{Disk, Last, Rows};
use super::step::Step;
use super::{Sabotage, Setup};
use crate::RuntimeError;
use crate::task::{Outgoing, Publisher, Task};
use merit_core::Datum;
use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;
use std::future::poll_fn;
use std::rc::Rc;
use std::task::Poll;

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

/// A task that this copy runs.
pub(super) struct Running {
    pub(super) task: Task,
    /// The generation since which it is ours.
    pub(super) since: u64,
    /// Rows that are not on the disk yet.
    pub(super) rows: Rows,
    pub(super) last: Last,
    /// Inputs since the last checkpoint.
    pub(super) unsaved: u64,
    /// What a refold did not suppress; empty but under sabotage.
    pub(super) unsent: Vec<Output>,
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
pub(super) struct Copy {
    pub(super) setup: Rc<Setup>,
    pub(super) place: Place,
    pub(super) slot: usize,
    pub(super) instance: u64,
    pub(super) producer: Producer,
    pub(super) changelog: Producer,
    pub(super) tasks: BTreeMap<usize, Running>,
    pub(super) checkpoint_inputs: u64,
    pub(super) sabotage: Option<Sabotage>,
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
        let kept = |since, known: &Running| known.since == since || self.sabotage == Some(Sabotage::Ownership);
        self.tasks.retain(|task, running| of.tasks.get(task).is_some_and(|since| kept(*since, running)));
        if let Some((task, since)) = of.tasks.iter().find(|(task, _)| !self.tasks.contains_key(*task)) {
            let taken = self.take_over(*task, *since).await;
            // Who lost the task meanwhile has read what its next owner wrote.
            if self.join().await?.tasks.get(task) == Some(since) {
                self.tasks.insert(*task, taken?);
            }
            return Ok(());
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

    pub(super) async fn join(&self) -> Result<Membership, Stop> {
        self.place.read(Step::Join, |broker| broker.join(self.slot, self.instance)).await
    }

    pub(super) fn input(&self, task: usize) -> usize {
        self.setup.layout.tasks[task].input
    }

    pub(super) fn is_sabotaged(&self, sabotage: Sabotage) -> bool {
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
                setup.step(task, *offset, message, &mut collector).map_err(|error| Stop::Task(number, error))?;
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
        self.place.ask(Step::Begin, |_| Ok(())).await?;
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

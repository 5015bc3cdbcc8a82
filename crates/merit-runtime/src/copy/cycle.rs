//! The loop: consume, transform, produce; now and then a checkpoint.

use super::Setup;
use super::checkpoint::{Last, Saving};
use super::outputs::{Collector, Outputs};
use super::step::Step;
use super::takeover::Taking;
use super::transport::{Disk, Membership, Refused, Role, Rows, Transport, Turn};
use crate::RuntimeError;
use crate::embedded::step_frame;
use crate::task::Task;
use merit_core::Fault;
use std::cell::{Cell, RefCell};
use std::collections::{BTreeMap, VecDeque};
use std::future::poll_fn;
use std::pin::Pin;
use std::rc::Rc;
use std::task::Poll;

/// What is switched off in a copy, to see that the simulation finds it. Nothing outside of the simulation can be given one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Sabotage {
    /// A producer is not initialised again after a commit without an answer; it aborts and goes on.
    Initialisation,
    /// A refold is not compared with the log.
    Comparison,
    /// A checkpoint is taken for one of the committed offset, whatever position it has.
    Position,
    /// What a refold computes is written again.
    Suppression,
    /// A changelog is written without asking whether the task is still ours.
    Fence,
    /// A task that belonged to another meanwhile is kept as it was.
    Ownership,
    /// A checkpoint is written behind another end of the changelog than it rests on.
    Epoch,
    /// A checkpoint is written to its end although its task was lost meanwhile.
    Loss,
}

impl Sabotage {
    /// All of them.
    pub const ALL: [Sabotage; 8] = [
        Sabotage::Initialisation,
        Sabotage::Comparison,
        Sabotage::Position,
        Sabotage::Suppression,
        Sabotage::Fence,
        Sabotage::Ownership,
        Sabotage::Epoch,
        Sabotage::Loss,
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
    /// The outside is not as it has to be.
    Failed(RuntimeError),
}

impl From<Refused> for Stop {
    fn from(refused: Refused) -> Stop {
        match refused {
            Refused::Failed(error) => Stop::Failed(error),
            Refused::Fenced | Refused::Abort | Refused::Unknown | Refused::Retry => Stop::Fenced,
        }
    }
}

/// How much a copy keeps, and how far it lets its state fall behind the log; no record depends on it.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Bounds {
    /// Inputs of all tasks that a start may have to fold again, and leaves that it looks through, [`LEAVES_AN_INPUT`] for one; twice as
    /// many while a checkpoint is being written.
    pub(crate) checkpoint_inputs: u64,
    /// Bytes of state in memory.
    pub(crate) state_bytes: usize,
    /// Calls of a checkpoint that are made behind each batch, at least.
    pub(crate) calls_beside: usize,
    /// Records up to which reading on is sooner done than reading from elsewhere.
    pub(crate) leap: u64,
    /// Bytes of restored rows that are a table of their own on the disk.
    pub(crate) table_bytes: usize,
}

/// A task that this copy runs.
pub(super) struct Running {
    pub(super) task: Task,
    /// What said that it is ours; another value says that it was another's meanwhile.
    pub(super) since: u64,
    /// Rows that are not on the disk yet.
    pub(super) rows: Rows,
    pub(super) last: Last,
    /// Inputs since the last checkpoint.
    pub(super) unsaved: u64,
    /// What a refold did not suppress; empty but under sabotage.
    pub(super) unsent: Outputs,
}

/// What goes into one transaction.
struct Batch {
    outputs: Outputs,
    /// Offsets behind the inputs, by task.
    positions: BTreeMap<usize, u64>,
}

/// By what the tail of a copy that has nothing to do is shorter: 5,000 inputs instead of 25,000 are folded again in a fifth of the
/// time, and written down about once a second at 5,000 reports a second.
const AT_REST: u64 = 5;

/// Leaves of any task that are looked through in the time in which one input is folded again, about: 0.35 s for 400,000 that were
/// another's, and some 30 microseconds an input, on two cores of the benchmarks.
const LEAVES_AN_INPUT: u64 = 32;

/// Where a copy runs.
pub(crate) struct Place<T, D> {
    pub(crate) transport: RefCell<T>,
    pub(crate) disk: Rc<RefCell<D>>,
    pub(crate) step: Rc<Cell<Step>>,
    /// How often the call at hand was told to be made again.
    pub(crate) again: Rc<Cell<u32>>,
    /// What the tasks wait for that are being taken over, where none of them moves.
    pub(crate) held_up: Rc<Cell<Option<Step>>>,
    /// Set where the copy shall end cleanly.
    pub(crate) stopping: Rc<Cell<bool>>,
    /// What the group said last.
    pub(crate) heard: RefCell<Membership>,
}

/// A running copy.
pub(super) struct Copy<T, D> {
    pub(super) setup: Rc<Setup>,
    pub(super) place: Rc<Place<T, D>>,
    pub(super) tasks: BTreeMap<usize, Running>,
    /// Those that are being taken over.
    pub(super) taking: Option<Taking>,
    /// The checkpoint that is being written.
    pub(super) saving: Option<Saving>,
    /// Offset behind the last leaf of this copy, by partition.
    leaf_ends: BTreeMap<usize, u64>,
    pub(super) bounds: Bounds,
    /// Room of the batch before.
    room: Outputs,
    /// Whose turn the next transaction is.
    turn: Turn,
    pub(super) sabotage: Option<Sabotage>,
}

/// What ends with an answer, or ends the copy.
pub(super) type Work<'w, A> = Pin<Box<dyn Future<Output = Result<A, Stop>> + 'w>>;

impl<T: Transport, D: Disk> Place<T, D> {
    /// One call to the outside: waits for its turn, and calls again where it is told to.
    pub(super) async fn ask<A>(&self, step: Step, mut call: impl FnMut(&mut T) -> Result<A, Refused>) -> Result<A, Refused> {
        self.again.set(0);
        loop {
            self.stand_before(step).await;
            match call(&mut self.transport.borrow_mut()) {
                Err(Refused::Retry) => self.again.set(self.again.get() + 1),
                answer => return answer,
            }
        }
    }

    /// Runs some at once, a call of each in turn, until all are done or one fails. None of them wakes anybody.
    pub(super) async fn all<A>(&self, work: Vec<Work<'_, A>>) -> Result<Vec<A>, Stop> {
        let mut left: VecDeque<(usize, Step, Work<'_, A>)> =
            work.into_iter().enumerate().map(|(at, work)| (at, self.step.get(), work)).collect();
        let mut done = BTreeMap::new();
        while let Some((at, step, mut work)) = left.pop_front() {
            self.step.set(step);
            match poll_fn(|context| Poll::Ready(work.as_mut().poll(context))).await {
                Poll::Ready(answer) => drop(done.insert(at, answer?)),
                Poll::Pending => left.push_back((at, self.step.get(), work)),
            }
            if let Some((_, next, _)) = left.front() {
                self.stand_before(*next).await;
            }
        }
        Ok(done.into_values().collect())
    }

    /// Waits for the next turn.
    pub(super) async fn stand_before(&self, step: Step) {
        self.step.set(step);
        let mut waited = false;
        poll_fn(|_| if std::mem::replace(&mut waited, true) { Poll::Ready(()) } else { Poll::Pending }).await;
    }

    /// The same for what is never refused for good.
    pub(super) async fn read<A>(&self, step: Step, call: impl FnMut(&mut T) -> Result<A, Refused>) -> Result<A, Stop> {
        self.ask(step, call).await.map_err(Stop::from)
    }
}

/// Runs a copy until it ends.
pub(crate) async fn run<T, D>(setup: Rc<Setup>, place: Place<T, D>, bounds: Bounds, sabotage: Option<Sabotage>) -> Stop
where
    T: Transport + 'static,
    D: Disk + 'static,
{
    let place = Rc::new(place);
    let (tasks, leaf_ends, room) = (BTreeMap::new(), BTreeMap::new(), Outputs::default());
    let mut copy = Copy { setup, place, tasks, taking: None, saving: None, leaf_ends, bounds, room, turn: Turn::First, sabotage };
    let run = async {
        for turn in Turn::ALL {
            copy.place.read(Step::InitialiseProducer, |transport| transport.initialise(Role::Outputs(turn))).await?;
        }
        copy.place.read(Step::InitialiseChangelog, |transport| transport.initialise(Role::Changelog)).await?;
        loop {
            copy.cycle().await?;
        }
    };
    let Err(stop): Result<std::convert::Infallible, Stop> = run.await;
    stop
}

impl<T: Transport + 'static, D: Disk + 'static> Copy<T, D> {
    async fn cycle(&mut self) -> Result<(), Stop> {
        let of = self.join().await?;
        let kept = |since, known: &Running| known.since == since || self.sabotage == Some(Sabotage::Ownership);
        self.tasks.retain(|task, running| of.tasks.get(task).is_some_and(|since| kept(*since, running)));
        let is_lost = |saving: &Saving| of.tasks.get(&saving.task) != Some(&saving.since);
        if self.saving.as_ref().is_some_and(is_lost) && !self.is_sabotaged(Sabotage::Loss) {
            self.give_up_saving().await?;
        }
        let stopping = self.place.stopping.get();
        if stopping || self.saving.as_ref().is_some_and(|saving| !self.tasks.contains_key(&saving.task)) {
            // What is taken over is read to its end, and a changelog has none while it is written.
            self.finish_saving().await?;
        }
        if stopping {
            self.leave_untaken();
            let due = self.tasks.iter().find(|(_, running)| running.unsaved > 0 || !running.rows.is_empty());
            let Some((task, _)) = due else { return Err(Stop::Clean) };
            return self.begin_checkpoint(*task).await;
        }
        self.take_over(&of).await?;
        let mut batch = self.transform().await?;
        let is_at_rest = batch.positions.is_empty();
        if !is_at_rest {
            self.commit(&batch).await?;
        }
        batch.outputs.clear();
        self.room = batch.outputs;
        if let Some(task) = self.due(is_at_rest && self.saving.is_none()) {
            // Where the tails have grown as long as they may meanwhile, the batches wait.
            self.finish_saving().await?;
            self.begin_checkpoint(task).await?;
        }
        self.go_on_saving().await
    }

    /// The task with the longest tail, where the tails together are as long as a start may fold again. A copy that keeps pace with its
    /// input has the time for more checkpoints, and so is ready sooner.
    fn due(&self, is_at_rest: bool) -> Option<usize> {
        let most = self.bounds.checkpoint_inputs.div_ceil(if is_at_rest { AT_REST } else { 1 });
        let tails = || self.tasks.iter().map(|(task, running)| (self.tail(*task, running), *task));
        let longest = tails().max().filter(|_| tails().map(|(tail, _)| tail).sum::<u64>() >= most);
        longest.map(|(_, task)| task)
    }

    /// What whoever takes the task over has to do again, in inputs. A task that decides seldom has few of these, and behind its last
    /// checkpoint ever more leaves of others.
    fn tail(&self, number: usize, running: &Running) -> u64 {
        let end = self.leaf_ends.get(&self.setup.leaves[number]).copied().unwrap_or(0);
        running.unsaved + end.saturating_sub(running.last.next) / LEAVES_AN_INPUT
    }

    pub(super) async fn join(&self) -> Result<Membership, Stop> {
        let heard = self.place.read(Step::Join, |transport| transport.join()).await?;
        self.place.heard.replace(heard.clone());
        Ok(heard)
    }

    pub(super) fn input(&self, task: usize) -> usize {
        self.setup.layout.tasks[task].input
    }

    pub(super) fn is_sabotaged(&self, sabotage: Sabotage) -> bool {
        self.sabotage == Some(sabotage)
    }

    /// Runs what came in through its tasks.
    async fn transform(&mut self) -> Result<Batch, Stop> {
        let mut batch = Batch { outputs: std::mem::take(&mut self.room), positions: BTreeMap::new() };
        let numbers: Vec<usize> = self.tasks.keys().copied().collect();
        for number in numbers {
            let (input, setup) = (self.input(number), Rc::clone(&self.setup));
            let Some(Running { task, unsaved, unsent, .. }) = self.tasks.get_mut(&number) else { continue };
            batch.outputs.append(unsent);
            let (from, mut records, mut ran) = (task.position, 0, Ok(()));
            let mut collector = Collector { setup: &setup, task: number, outputs: &mut batch.outputs };
            let mut take = |offset, frame: Option<crate::frame::Frame<'_>>| {
                if ran.is_ok() {
                    ran = step(&setup, task, offset, frame.as_ref(), &mut collector);
                    records += 1;
                }
            };
            self.place.read(Step::Poll, |transport| transport.poll(input, from, &mut take)).await?;
            ran.map_err(|error| Stop::Task(number, error))?;
            if records > 0 {
                *unsaved += records;
                batch.positions.insert(number, task.position);
            }
        }
        Ok(batch)
    }

    /// Commits a batch, or gives up the tasks that computed it: they are taken over again from what is committed.
    async fn commit(&mut self, batch: &Batch) -> Result<(), Stop> {
        let offsets = match self.transact(batch).await {
            Ok(offsets) => offsets,
            Err(refused) => {
                match refused {
                    // Committed or not: a refold finds out.
                    Refused::Unknown if !self.is_sabotaged(Sabotage::Initialisation) => self.initialise().await?,
                    Refused::Unknown | Refused::Abort | Refused::Retry => self.abort().await?,
                    Refused::Fenced | Refused::Failed(_) => return Err(refused.into()),
                }
                self.tasks.retain(|task, _| !batch.positions.contains_key(task));
                return Ok(());
            }
        };
        self.turn = self.turn.next();
        for (leaf, offset) in batch.outputs.records().iter().zip(offsets).filter(|(output, _)| output.is_leaf) {
            if let Some(running) = self.tasks.get_mut(&leaf.task) {
                running.last.leaf = Some(offset);
            }
            self.leaf_ends.insert(leaf.partition, offset + 1);
        }
        Ok(())
    }

    /// Gives the offset of each record.
    async fn transact(&self, batch: &Batch) -> Result<Vec<u64>, Refused> {
        let (role, outputs) = (Role::Outputs(self.turn), &batch.outputs);
        self.place.ask(Step::Begin, |transport| transport.begin(role)).await?;
        for some in outputs.records().chunks(SENT_AT_ONCE) {
            let mut left = some.iter().peekable();
            let send = |transport: &mut T| {
                while let Some(output) = left.peek() {
                    transport.send(role, output.partition, &outputs.frame(output))?;
                    left.next();
                }
                Ok(())
            };
            self.place.ask(Step::Produce, send).await?;
        }
        let mut answers = outputs.answers().peekable();
        if answers.peek().is_some() {
            let send = |transport: &mut T| {
                while let Some((copy, answer)) = answers.peek() {
                    transport.send_answer(role, copy, answer)?;
                    answers.next();
                }
                Ok(())
            };
            self.place.ask(Step::Answer, send).await?;
        }
        // Beside the records: until this transaction ends, nobody reads an offset that it commits.
        let offsets = batch.positions.iter().map(|(task, position)| (self.input(*task), *position)).collect();
        self.place.ask(Step::SendOffsets, |transport| transport.send_offsets(role, &self.place.heard.borrow(), &offsets)).await?;
        let delivered = self.place.ask(Step::Deliver, |transport| transport.delivered(role)).await?;
        self.place.ask(Step::Commit, |transport| transport.end(role, true)).await?;
        Ok(delivered)
    }

    async fn abort(&mut self) -> Result<(), Stop> {
        match self.place.ask(Step::Abort, |transport| transport.end(Role::Outputs(self.turn), false)).await {
            Err(Refused::Unknown) => self.initialise().await,
            Ok(()) | Err(Refused::Abort | Refused::Retry) => Ok(()),
            Err(refused) => Err(refused.into()),
        }
    }

    /// Once a producer is initialised again, what it had open is decided.
    async fn initialise(&mut self) -> Result<(), Stop> {
        match self.is_sabotaged(Sabotage::Initialisation) {
            true => Ok(()),
            false => self.place.read(Step::InitialiseProducer, |transport| transport.initialise(Role::Outputs(self.turn))).await,
        }
    }
}

/// Runs one record of the log through its task.
pub(crate) fn step(
    setup: &Setup,
    task: &mut Task,
    offset: u64,
    frame: Option<&crate::frame::Frame<'_>>,
    publisher: &mut dyn crate::task::Publisher,
) -> Result<(), RuntimeError> {
    match frame {
        Some(frame) => step_frame(task, offset, frame, setup.signer.as_ref(), publisher),
        None => Err(RuntimeError::Stopped { task: task.name(), offset, fault: Fault("it is no record".into()) }),
    }
}

/// Records between two places where a copy can be stopped.
const SENT_AT_ONCE: usize = 8;

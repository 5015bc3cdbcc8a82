//! The world of one seed: it gives turns to copies, lets time pass, sends inputs, and breaks things.

use super::broker::{Broker, Who};
use super::chance::{Chance, Fault};
use super::check::Checker;
use super::disk::Disk;
use super::inputs::Inputs;
use super::seat::Seat;
use super::{Broken, Run, Sabotage, Step};
use crate::RuntimeError;
use crate::copy::{self, Bounds, Disk as _, Place, Role, Setup, Stop};
use crate::task::TaskRow;
use merit_core::Datum;
use std::cell::{Cell, RefCell};
use std::collections::{BTreeMap, BTreeSet};
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll, Waker};

/// Copies that share the work.
const COPIES: usize = 3;
/// Turns after which a run that nothing disturbs any more has to be at its end.
const DRAIN: u64 = 30_000;

/// A process.
struct Process {
    slot: usize,
    instance: u64,
    running: Pin<Box<dyn Future<Output = Stop>>>,
    disk: Rc<RefCell<Disk>>,
    step: Rc<Cell<Step>>,
    stopping: Rc<Cell<bool>>,
    /// It stands still until then.
    paused: u64,
}

/// The place of a copy: its disk stays, its processes come and go.
struct Slot {
    disk: Rc<RefCell<Disk>>,
    /// The process that is there and was not replaced, by its instance.
    occupant: Option<u64>,
    /// When the next one starts.
    starts: u64,
    /// Until when the disk is full.
    full: u64,
}

struct World<'e> {
    setup: Rc<Setup>,
    epochs: &'e [Vec<u8>],
    sabotage: Option<Sabotage>,
    broker: Rc<RefCell<Broker>>,
    slots: Vec<Slot>,
    processes: Vec<Process>,
    instances: u64,
    inputs: Inputs,
    checker: Checker,
    /// Whether changelogs are damaged in this run.
    damaging: bool,
    /// Tasks whose changelog was: what a copy finds then is no fault of ours.
    damaged: BTreeSet<usize>,
    steps: u64,
    fenced: u64,
    crashes: BTreeMap<Step, u64>,
    trace: u64,
}

/// Runs one seed.
pub(super) fn run(setup: Rc<Setup>, epochs: &[Vec<u8>], seed: u64, sabotage: Option<Sabotage>) -> Run {
    let mut chance = Chance::new(seed);
    let inputs = Inputs::new(300 + chance.below(200));
    let damaging = chance.one_in(3);
    let tasks = setup.layout.tasks.len();
    let broker = Broker::new(chance, setup.layout.partitions.len() + tasks + 1, Role::COUNT * COPIES, tasks);
    let checker = Checker::new(&setup);
    let slot = |_| Slot { disk: new_disk(&setup), occupant: None, starts: 0, full: 0 };
    let slots = (0..COPIES).map(slot).collect();
    let mut world = World {
        setup,
        epochs,
        sabotage,
        broker: Rc::new(RefCell::new(broker)),
        slots,
        processes: Vec::new(),
        instances: 0,
        inputs,
        checker,
        damaging,
        damaged: BTreeSet::new(),
        steps: 0,
        fenced: 0,
        crashes: BTreeMap::new(),
        trace: seed,
    };
    let broken = world.live().err();
    let broker = world.broker.borrow();
    Run {
        seed,
        steps: world.steps,
        fenced: world.fenced,
        virtual_milliseconds: broker.now,
        faults: broker.chance.faults.clone(),
        crashes: world.crashes,
        records: world.checker.records,
        trace: world.trace,
        broken,
    }
}

impl World<'_> {
    fn live(&mut self) -> Result<(), Broken> {
        let wanted = 24 + self.broker.borrow_mut().chance.below(16);
        let (all, epochs) = (self.inputs.left, self.epochs.len() as u64);
        let mut begun = 0;
        while self.inputs.left > 0 || self.broken_so_far() < wanted {
            if begun < epochs && self.inputs.left <= all - all / epochs * begun {
                self.inputs.configure(&mut self.broker.borrow_mut(), &self.setup.layout, &self.epochs[begun as usize]);
                begun += 1;
            }
            self.break_something();
            self.turn()?;
        }
        self.heal();
        self.drain(|world| world.is_drained())?;
        self.processes.iter().for_each(|process| process.stopping.set(true));
        self.drain(|world| world.processes.is_empty())?;
        let broker = self.broker.borrow();
        self.checker.finish(&broker, &self.inputs.acknowledged, &self.damaged)
    }

    /// Faults of the machinery; what producers do is not counted.
    fn broken_so_far(&self) -> u64 {
        let faults = &self.broker.borrow().chance.faults;
        faults.iter().filter(|(fault, _)| !matches!(fault, Fault::SentTwice | Fault::ClockJump)).map(|(_, count)| count).sum()
    }

    fn drain(&mut self, done: impl Fn(&Self) -> bool) -> Result<(), Broken> {
        let until = self.steps + DRAIN;
        while !done(self) {
            if self.steps > until {
                let stands: Vec<Step> = self.processes.iter().map(|process| process.step.get()).collect();
                return Err(Broken { invariant: "drain", detail: format!("{DRAIN} turns did not do; copies stand at {stands:?}") });
            }
            self.turn()?;
        }
        Ok(())
    }

    /// One event: something happens, and everything that it made stable is looked at.
    fn turn(&mut self) -> Result<(), Broken> {
        self.steps += 1;
        let (event, of) = self.choose();
        let now = {
            let mut broker = self.broker.borrow_mut();
            let milliseconds = 10 + broker.chance.below(990);
            broker.pass(milliseconds);
            broker.now
        };
        self.trace = fold(self.trace, &[event as u64, of as u64, now]);
        match event {
            Event::Turn => self.go_on(of)?,
            Event::Start => self.start(of),
            Event::Input => self.inputs.send(&mut self.broker.borrow_mut(), &self.setup.layout),
            Event::Marker => self.broker.borrow_mut().write_marker(),
            Event::Late => self.broker.borrow_mut().deliver_late(),
            Event::Compaction => self.broker.borrow_mut().compact(self.setup.changelog(of)),
            Event::Nothing => {}
        }
        self.processes.iter().for_each(|process| process.disk.borrow_mut().full = false);
        self.slots.iter().for_each(|slot| slot.disk.borrow_mut().full = slot.full > now);
        self.checker.observe(&self.broker.borrow())
    }

    /// What happens next, and to whom.
    fn choose(&self) -> (Event, usize) {
        let mut broker = self.broker.borrow_mut();
        let now = broker.now;
        let ready = |process: &&Process| process.paused <= now;
        let runnable: Vec<usize> = self.processes.iter().enumerate().filter(|(_, process)| ready(process)).map(|(at, _)| at).collect();
        let stopping = self.processes.iter().any(|process| process.stopping.get());
        let startable = |slot: &&usize| self.slots[**slot].occupant.is_none() && self.slots[**slot].starts <= now && !stopping;
        let startable: Vec<usize> = (0..COPIES).collect::<Vec<_>>().iter().filter(startable).copied().collect();
        let weights = [
            (Event::Turn, 14 * u64::from(!runnable.is_empty())),
            (Event::Start, 2 * u64::from(!startable.is_empty())),
            (Event::Input, u64::from(broker.chance.faulty)),
            (Event::Marker, 8 * u64::from(broker.markers() > 0)),
            (Event::Late, if broker.late_at_open() { 4 } else { u64::from(broker.late() > 0 && broker.chance.one_in(40)) }),
            (Event::Compaction, u64::from(broker.chance.one_in(20))),
            (Event::Nothing, u64::from(runnable.is_empty())),
        ];
        let mut at = broker.chance.below(weights.iter().map(|(_, weight)| weight).sum::<u64>().max(1));
        let chosen = weights.iter().find(|(_, weight)| match at < *weight {
            true => true,
            false => {
                at -= weight;
                false
            }
        });
        let event = chosen.map_or(Event::Nothing, |(event, _)| *event);
        let of = match event {
            Event::Turn => runnable[broker.chance.place(runnable.len())],
            Event::Start => startable[broker.chance.place(startable.len())],
            Event::Compaction => broker.chance.place(self.setup.layout.tasks.len()),
            Event::Input | Event::Marker | Event::Late | Event::Nothing => 0,
        };
        (event, of)
    }

    fn start(&mut self, slot: usize) {
        self.instances += 1;
        self.slots[slot].occupant = Some(self.instances);
        let disk = Rc::clone(&self.slots[slot].disk);
        let (step, stopping) = (Rc::new(Cell::new(Step::InitialiseProducer)), Rc::new(Cell::new(false)));
        let seat = Seat::new(Rc::clone(&self.broker), Who { slot, instance: self.instances }, self.setup.answers());
        let place = Place {
            transport: RefCell::new(seat),
            disk: Rc::clone(&disk),
            step: Rc::clone(&step),
            again: Rc::default(),
            held_up: Rc::default(),
            stopping: Rc::clone(&stopping),
            heard: RefCell::default(),
        };
        // Everything is left on the disk once it is there, so that what is used again is read again.
        let below = |most| 1 + self.broker.borrow_mut().chance.below(most);
        let bounds = Bounds {
            checkpoint_inputs: below(60),
            state_bytes: 0,
            calls_beside: below(30) as usize,
            leap: below(12),
            table_bytes: below(3_000) as usize,
        };
        let running = Box::pin(copy::run(Rc::clone(&self.setup), place, bounds, self.sabotage));
        self.processes.push(Process { slot, instance: self.instances, running, disk, step, stopping, paused: 0 });
    }

    /// Gives a process its turn, and takes note where it ends.
    fn go_on(&mut self, at: usize) -> Result<(), Broken> {
        let process = &mut self.processes[at];
        self.broker.borrow_mut().heartbeat(process.slot, process.instance);
        let stop = match process.running.as_mut().poll(&mut Context::from_waker(Waker::noop())) {
            Poll::Pending => {
                self.trace = fold(self.trace, &[process.step.get() as u64]);
                return Ok(());
            }
            Poll::Ready(stop) => stop,
        };
        self.trace = fold(self.trace, &[u64::MAX]);
        self.end(at);
        match stop {
            Stop::Clean => Ok(()),
            Stop::Fenced => {
                self.fenced += 1;
                Ok(())
            }
            Stop::Task(task, RuntimeError::Difference(_)) if self.damaged.contains(&task) => {
                self.discard(task);
                Ok(())
            }
            Stop::Task(_, error) | Stop::Failed(error) => Err(Broken { invariant: "refold", detail: error.to_string() }),
        }
    }

    /// Takes a process away; its slot gets another unless that has one.
    fn end(&mut self, at: usize) {
        let ended = self.processes.swap_remove(at);
        let (slot, now) = (&mut self.slots[ended.slot], self.broker.borrow().now);
        if slot.occupant == Some(ended.instance) {
            (slot.occupant, slot.starts) = (None, now + 1_000);
        }
    }

    /// What a person does about a state that does not lead to what the log holds: the log is the truth.
    fn discard(&mut self, task: usize) {
        for slot in &self.slots {
            // It takes nothing but memory, so it cannot fail.
            let _ = slot.disk.borrow_mut().clear(task);
        }
        self.broker.borrow_mut().lose(self.setup.changelog(task), true);
    }

    fn break_something(&mut self) {
        self.break_outside();
        if !self.processes.is_empty() {
            let at = self.broker.borrow_mut().chance.place(self.processes.len());
            self.break_process(at);
        }
    }

    fn break_outside(&mut self) {
        let mut broker = self.broker.borrow_mut();
        let (task, slot) = (broker.chance.place(self.setup.layout.tasks.len()), broker.chance.place(COPIES));
        if broker.chance.breaks(Fault::ClockJump, 400) {
            let most = if broker.chance.one_in(40) { 3_600_000 } else { 60_000 };
            self.inputs.clock = broker.chance.below(2 * most) as i64 - most as i64;
        } else if broker.chance.one_in(400) {
            self.inputs.clock = 0;
        }
        if broker.chance.breaks(Fault::Rebalance, 250) {
            broker.rebalance(2);
        }
        if broker.chance.one_in(300) && broker.lose(self.setup.changelog(task), false) {
            broker.chance.count(Fault::ChangelogLost);
        }
        if self.damaging && broker.chance.one_in(150) && broker.damage(self.setup.changelog(task), &self.setup.task_key(task), damage) {
            broker.chance.count(Fault::ChangelogDamaged);
            self.damaged.insert(task);
        }
        if broker.chance.breaks(Fault::DiskFull, 400) {
            self.slots[slot].full = broker.now + 30_000;
        }
    }

    fn break_process(&mut self, at: usize) {
        let mut broker = self.broker.borrow_mut();
        let process = &mut self.processes[at];
        let slot = &mut self.slots[process.slot];
        // Late rows do most harm, and they are rare otherwise.
        let times = if process.step.get() == Step::BeginChangelog { 8 } else { 300 };
        if broker.chance.breaks(Fault::Pause, times) {
            process.paused = broker.now + 5_000 + broker.chance.below(150_000);
        }
        if slot.occupant == Some(process.instance) && broker.chance.breaks(Fault::Replaced, 600) {
            // The new one starts on another machine.
            process.paused = broker.now + broker.chance.below(60_000);
            (slot.disk, slot.occupant) = (new_disk(&self.setup), None);
        }
        if broker.chance.breaks(Fault::Crash, 300) {
            *self.crashes.entry(process.step.get()).or_default() += 1;
            if slot.occupant == Some(process.instance) && broker.chance.breaks(Fault::DiskLost, 6) {
                slot.disk = new_disk(&self.setup);
            }
            drop(broker);
            self.trace = fold(self.trace, &[at as u64]);
            self.end(at);
        }
    }

    /// Nothing breaks any more, and what is broken is mended.
    fn heal(&mut self) {
        self.broker.borrow_mut().chance.faulty = false;
        self.slots.iter_mut().for_each(|slot| slot.full = 0);
        self.processes.iter_mut().for_each(|process| process.paused = 0);
    }

    /// Whether every input was consumed and committed, and nothing is open.
    fn is_drained(&self) -> bool {
        let broker = self.broker.borrow();
        let consumed = self.setup.layout.tasks.iter().all(|task| {
            let committed = broker.committed(task.input);
            committed.is_ok_and(|committed| {
                broker.stable(task.input) == broker.end_of(task.input) && broker.fetch(task.input, committed, 1).0.is_empty()
            })
        });
        consumed && broker.markers() == 0
    }
}

fn new_disk(setup: &Rc<Setup>) -> Rc<RefCell<Disk>> {
    Rc::new(RefCell::new(Disk::new(setup)))
}

/// What the world does next.
#[derive(Clone, Copy)]
enum Event {
    Turn,
    Start,
    Input,
    Marker,
    Late,
    Compaction,
    Nothing,
}

fn fold(trace: u64, event: &[u64]) -> u64 {
    event.iter().fold(trace, |trace, value| xxhash_rust::xxh3::xxh3_64_with_seed(&value.to_le_bytes(), trace))
}

/// The row of a task with another end of its audit chain.
fn damage(row: &[u8]) -> Vec<u8> {
    let Some(task) = TaskRow::decode(row) else { return row.to_vec() };
    let mut chain_hash = task.chain_hash;
    chain_hash[0] ^= 1;
    let mut bytes = Vec::new();
    TaskRow { chain_hash, ..task }.put(&mut bytes);
    bytes
}

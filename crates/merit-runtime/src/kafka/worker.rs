//! The thread that runs a copy on Kafka.

use super::client::Cluster;
use super::connection::Connection;
use super::disk::Disk;
use super::error::ClusterError;
use super::pulse::{self, Pulse};
use super::reader::LastError;
use super::topics::Topics;
use super::watch::Watch;
use crate::RuntimeError;
use crate::copy::{self, Bounds, Place, Setup, Step, Stop};
use crate::layout::Layout;
use crate::store::Store;
use merit_audit::Signer;
use std::cell::{Cell, RefCell};
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::sync::mpsc::channel;
use std::task::{Context, Poll, Waker};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

/// After how long without progress a copy says what it waits for, and how often from there on.
pub const SAID_AFTER: Duration = Duration::from_secs(5);

/// A call that takes longer is no progress: its client waited for a broker.
const SLOW_CALL: Duration = Duration::from_secs(1);

/// How many inputs of the embedded log are folded again while one of a cluster is, which has to be fetched and taken apart first. A
/// checkpoint is one transaction, too, and has to end before that times out.
const REFOLD_COST: u64 = 4;

/// Calls of a checkpoint behind each batch: 4,096 rows, which take some milliseconds.
const CALLS_BESIDE: usize = 512;

/// As many records are read in some 20 ms; about as long a partition takes until it gives the first from elsewhere.
const LEAP: u64 = 16_384;

/// Restored rows that are laid as one table. Larger ones leave less to merge, behind smaller ones the batches beside it wait less.
const TABLE_BYTES: usize = 16 << 20;

/// How long a copy that was told to end waits for a cluster that does not move, and how long for one that moves and never takes all:
/// nothing is lost by an end without a checkpoint.
const STOP_PATIENCE: Duration = Duration::from_secs(20);
const STOP_LIMIT: Duration = Duration::from_secs(60);

/// How often a copy says that it waits before it ends: after five minutes. librdkafka up to 2.13 may never find its brokers again,
/// once they have told it of none (<https://github.com/confluentinc/librdkafka/issues/5301>); a start does.
pub const SAID_ENOUGH: u32 = 60;

/// The longest that a call waits before it is made again.
const LONGEST_WAIT: Duration = Duration::from_millis(50);

/// What a copy has to say.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Event {
    /// The group gave it these tasks.
    Assigned {
        /// Their numbers.
        tasks: Vec<usize>,
    },
    /// A task is being restored from its changelog.
    Restoring {
        /// The changelog.
        topic: String,
        /// Its partition.
        partition: i32,
        /// Offset that it stands at.
        next: u64,
        /// Offset that it goes to.
        end: u64,
    },
    /// It makes no progress.
    Waiting {
        /// Before this call.
        step: Step,
        /// For so long.
        since: Duration,
        /// What Kafka had to say meanwhile.
        cause: Option<String>,
    },
    /// Kafka had something to say that its client gets over by itself.
    Trouble {
        /// What.
        cause: String,
    },
    /// It makes progress again.
    Resumed {
        /// After so long.
        after: Duration,
    },
}

/// A copy at work; dropped, it ends like one that is told to.
pub struct Worker {
    /// Ends with the copy, or where a call of it hangs.
    thread: Option<JoinHandle<Result<(), RuntimeError>>>,
    stop: Arc<AtomicBool>,
}

/// What a copy is made of.
pub struct Parts {
    /// Where it works.
    pub cluster: Cluster,
    /// Its name in the group, for ever.
    pub instance: String,
    /// Encoding of the ConfigEpoch in force, which is that of its topology and key.
    pub in_force: Vec<u8>,
    /// The topology.
    pub layout: Arc<Layout>,
    /// Where everything lies.
    pub topics: Arc<Topics>,
    /// The emitter key.
    pub signer: Signer,
    /// Its data directory.
    pub store: Arc<Store>,
    /// Bounds of state and of what a start folds again.
    pub runtime: merit_topology::Runtime,
}

impl Worker {
    /// Starts a copy; `observe` hears what it has to say, on its thread, and `ended` that it ends.
    pub fn start(
        parts: Parts,
        observe: impl Fn(Event) + Send + Sync + 'static,
        ended: impl FnOnce() + Send + 'static,
    ) -> Result<Worker, RuntimeError> {
        let stop = Arc::new(AtomicBool::new(false));
        let stopping = Arc::clone(&stop);
        let observe: Arc<dyn Fn(Event) + Send + Sync> = Arc::new(observe);
        let (pulse, last_error) = (Pulse::default(), LastError::default());
        let (tell, copy) = channel();
        let (hear, beats, errors) = (Arc::clone(&observe), pulse.clone(), last_error.clone());
        let work = move || {
            // Nobody listens any more where a call hung.
            let _ = tell.send(work(parts, hear, &beats, &errors, &stopping));
        };
        let told = move |step, since| observe(Event::Waiting { step, since, cause: last_error.take() });
        let watch = move || {
            let done = pulse.watch(&copy, pulse::LOOKS, told);
            ended();
            done
        };
        let failed = |error: std::io::Error| RuntimeError::Store { attempt: "start a thread for", cause: error.to_string() };
        std::thread::Builder::new().name("copy".into()).spawn(work).map_err(failed)?;
        let thread = std::thread::Builder::new().name("pulse".into()).spawn(watch).map_err(failed)?;
        Ok(Worker { thread: Some(thread), stop })
    }

    /// Ends cleanly: what was computed is committed and checkpointed. Gives the reason where it had stopped before.
    pub fn stop(mut self) -> Result<(), RuntimeError> {
        self.end()
    }

    fn end(&mut self) -> Result<(), RuntimeError> {
        self.stop.store(true, Relaxed);
        let panicked = |_| Err(RuntimeError::Store { attempt: "go on with", cause: "the copy panicked".into() });
        self.thread.take().map_or(Ok(()), |thread| thread.join().unwrap_or_else(panicked))
    }
}

impl Drop for Worker {
    fn drop(&mut self) {
        // Whoever drops it has a reason of its own.
        let _ = self.end();
    }
}

fn work(
    parts: Parts,
    observe: Arc<dyn Fn(Event) + Send + Sync>,
    pulse: &Pulse,
    last_error: &LastError,
    stop: &AtomicBool,
) -> Result<(), RuntimeError> {
    let Parts { cluster, instance, in_force, layout, topics, signer, store, runtime } = parts;
    let setup = Rc::new(Setup::new(layout, Some(signer)));
    let connection = Connection::open(&cluster, &setup, &topics, &instance, in_force, Arc::clone(&observe), last_error)?;
    let watch = Watch::start(&cluster, &topics, &setup.layout, &store)?;
    // Tasks come and go: no moment is the end of a start.
    store.begin_merges()?;
    let disk = Rc::new(RefCell::new(Disk::new(&setup, &store)));
    let (step, again, stopping) = (Rc::new(Cell::new(Step::Join)), Rc::new(Cell::new(0)), Rc::new(Cell::new(false)));
    let held_up = Rc::new(Cell::new(None));
    let place = Place {
        transport: RefCell::new(connection),
        disk,
        step: Rc::clone(&step),
        again: Rc::clone(&again),
        held_up: Rc::clone(&held_up),
        stopping: Rc::clone(&stopping),
        heard: RefCell::default(),
    };
    let state_bytes = usize::try_from(runtime.state_bytes).unwrap_or(usize::MAX);
    let checkpoint_inputs = runtime.checkpoint_inputs.div_ceil(REFOLD_COST);
    let bounds = Bounds { checkpoint_inputs, state_bytes, calls_beside: CALLS_BESIDE, leap: LEAP, table_bytes: TABLE_BYTES };
    let mut copy = Box::pin(copy::run(Rc::clone(&setup), place, bounds, None));
    let (mut stall, mut ordered) = (Stall::default(), None);
    loop {
        stopping.set(stop.load(Relaxed));
        ordered = ordered.or_else(|| stopping.get().then(Instant::now));
        if let Some(error) = watch.found() {
            return Err(error);
        }
        let begun = Instant::now();
        pulse.begin(step.get());
        let polled = copy.as_mut().poll(&mut Context::from_waker(Waker::noop()));
        pulse.end();
        match polled {
            Poll::Ready(Stop::Clean) => return Ok(()),
            Poll::Ready(Stop::Fenced) => return Err(ClusterError::Fenced { instance }.into()),
            Poll::Ready(Stop::Task(_, error) | Stop::Failed(error)) => return Err(store.cause(error)),
            Poll::Pending => {
                let is_refused = again.get() > 0 || begun.elapsed() >= SLOW_CALL;
                let waits_before = is_refused.then(|| step.get()).or(held_up.get());
                stall.note(begun, waits_before, last_error, &*observe);
                // A call that was only slow is followed by the next at once.
                std::thread::sleep(Duration::from_millis(again.get().into()).min(LONGEST_WAIT));
                let is_over = |since: Option<Instant>, limit| since.is_some_and(|since| since.elapsed() > limit);
                let attempt = if stall.told >= SAID_ENOUGH {
                    "go on for minutes"
                } else if stopping.get() && (is_over(stall.since, STOP_PATIENCE) || is_over(ordered, STOP_LIMIT)) {
                    "end cleanly; what was not committed is computed again by whoever takes the tasks over"
                } else {
                    continue;
                };
                let cause = stall.cause.take().unwrap_or_else(|| "Kafka says nothing".into());
                return Err(ClusterError::Call { attempt, cause }.into());
            }
        }
    }
}

/// How long a call was told to be made again.
#[derive(Default)]
struct Stall {
    since: Option<Instant>,
    said: Option<Instant>,
    /// How often: a process that was held says it once.
    told: u32,
    /// When trouble was last asked for.
    asked: Option<Instant>,
    /// What Kafka said last of it.
    cause: Option<String>,
}

impl Stall {
    /// Notes what is waited for behind the call that began at `begun`, if anything, and says so where it takes long.
    fn note(&mut self, begun: Instant, waits_before: Option<Step>, last_error: &LastError, observe: &dyn Fn(Event)) {
        let Some(step) = waits_before else {
            (self.cause, self.told) = (None, 0);
            if let (Some(since), Some(_)) = (self.since.take(), self.said.take()) {
                observe(Event::Resumed { after: since.elapsed() });
            }
            if self.asked.is_none_or(|asked| asked.elapsed() >= SAID_AFTER) {
                self.asked = Some(Instant::now());
                if let Some(cause) = last_error.take() {
                    observe(Event::Trouble { cause });
                }
            }
            return;
        };
        let since = *self.since.get_or_insert(begun);
        if self.said.unwrap_or(since).elapsed() >= SAID_AFTER {
            (self.said, self.told) = (Some(Instant::now()), self.told + 1);
            self.cause = last_error.take().or(self.cause.take());
            observe(Event::Waiting { step, since: since.elapsed(), cause: self.cause.clone() });
        }
    }
}

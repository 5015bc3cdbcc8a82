//! The pipeline while it is live: one thread owns the engine, takes commands as they come, and commits as fast as the disk syncs.
//!
//! Nothing is decided here. Who sends commands gets [`Committed`] batches of every topic back, and the answers to commands with
//! them: a shell on Kafka offers the same two ends.

use super::committer::{Committed, Follower};
use super::silence::Silence;
use super::{Engine, Input};
use crate::RuntimeError;
use crate::frame::Frame;
use crate::store::Store;
use merit_core::record::Tick;
use merit_core::{Datum, EventTime, Fault, Key, Payload};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::sync::mpsc::{Receiver, RecvTimeoutError, SyncSender, TrySendError, sync_channel};
use std::thread::JoinHandle;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

/// Commands that wait for the worker; who comes behind is told that the log stalls.
pub const INBOX: usize = 8_192;

/// Time between two Ticks of `alloc.requests`; design 4.
pub(crate) const TICK: Duration = Duration::from_secs(10);

/// A record for a partition: the encoding of a [`Frame`] from outside.
#[derive(Debug)]
pub struct Command {
    /// Number of the partition.
    pub partition: usize,
    /// The record; its time is when it was received.
    pub frame: Vec<u8>,
}

enum Message {
    Command(Command),
    /// The next commit may come.
    Free,
    Stop,
}

/// Where commands go.
#[derive(Clone)]
pub struct Inbox {
    end: End,
    /// Commands sent, less those that were taken out again.
    waiting: Arc<AtomicU64>,
}

/// Who takes them out.
#[derive(Clone)]
enum End {
    /// The worker of this process.
    Worker(SyncSender<Message>),
    /// Who sends them to a cluster.
    Cluster(SyncSender<Command>),
}

/// Why a command was not taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NotTaken {
    /// [`INBOX`] others wait already.
    Full,
    /// The pipeline stopped.
    Stopped,
}

impl<T> From<TrySendError<T>> for NotTaken {
    fn from(error: TrySendError<T>) -> NotTaken {
        match error {
            TrySendError::Full(_) => NotTaken::Full,
            TrySendError::Disconnected(_) => NotTaken::Stopped,
        }
    }
}

impl Inbox {
    /// Hands a command over; never waits.
    pub fn send(&self, command: Command) -> Result<(), NotTaken> {
        // Before it is sent, or the worker would take off what was not added.
        self.waiting.fetch_add(1, Relaxed);
        let sent = match &self.end {
            End::Worker(worker) => worker.try_send(Message::Command(command)).map_err(NotTaken::from),
            End::Cluster(sender) => sender.try_send(command).map_err(NotTaken::from),
        };
        sent.inspect_err(|_| {
            self.waiting.fetch_sub(1, Relaxed);
        })
    }

    /// One whose commands go to a cluster: itself, its other end, and its count of what waits.
    pub(crate) fn of_cluster() -> (Inbox, Receiver<Command>, Arc<AtomicU64>) {
        let (send, receive) = sync_channel(INBOX);
        let inbox = Inbox { end: End::Cluster(send), waiting: Arc::default() };
        let waiting = Arc::clone(&inbox.waiting);
        (inbox, receive, waiting)
    }

    /// Commands that wait for the worker.
    pub fn waiting(&self) -> u64 {
        self.waiting.load(Relaxed)
    }
}

/// The clock of this machine.
pub fn now() -> EventTime {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    EventTime(i64::try_from(since.as_millis()).unwrap_or(i64::MAX).min(EventTime::LATEST.0))
}

/// A pipeline at work.
pub struct Live {
    inbox: Inbox,
    stop: SyncSender<Message>,
    worker: JoinHandle<Result<Arc<Store>, RuntimeError>>,
}

impl Live {
    /// Starts the worker. `follower` is given every commit once it is on disk, in order, and is dropped when the worker ends.
    pub fn start(mut engine: Engine, follower: impl FnMut(Committed) + Send + 'static) -> Result<Live, RuntimeError> {
        let (send, messages) = sync_channel(INBOX);
        let inbox = Inbox { end: End::Worker(send.clone()), waiting: Arc::default() };
        let (waker, stop, waiting) = (send.clone(), send, Arc::clone(&inbox.waiting));
        let follower = Follower {
            committed: Box::new(follower),
            // A worker whose inbox is full is awake.
            free: Box::new(move || drop(waker.try_send(Message::Free))),
        };
        engine.follow(follower)?;
        let worker = std::thread::Builder::new().name("pipeline".into()).spawn(move || Worker::new(engine, messages, waiting).work());
        let worker = worker.map_err(|error| RuntimeError::Store { attempt: "start a thread for", cause: error.to_string() })?;
        Ok(Live { inbox, stop, worker })
    }

    /// Where commands go.
    pub fn inbox(&self) -> Inbox {
        self.inbox.clone()
    }

    /// Ends cleanly: what was taken is run, committed and checkpointed. Gives the reason where the worker had stopped before.
    pub fn stop(self) -> Result<Arc<Store>, RuntimeError> {
        // A worker that is gone says why below.
        let _ = self.stop.send(Message::Stop);
        self.worker.join().unwrap_or_else(|_| Err(RuntimeError::Store { attempt: "go on with", cause: "the worker panicked".into() }))
    }
}

struct Worker {
    engine: Engine,
    inbox: Receiver<Message>,
    waiting: Arc<AtomicU64>,
    ticked: Instant,
    silence: Silence,
    /// Number of the first partition of `eval.reports`.
    reports: usize,
}

impl Worker {
    fn new(engine: Engine, inbox: Receiver<Message>, waiting: Arc<AtomicU64>) -> Worker {
        let at = Instant::now();
        let silence = Silence::new(&engine.progress, at);
        let reports = engine.layout().tasks[0].input;
        Worker { engine, inbox, waiting, ticked: at, silence, reports }
    }

    fn work(mut self) -> Result<Arc<Store>, RuntimeError> {
        loop {
            let wait = (self.ticked + TICK).saturating_duration_since(Instant::now());
            let mut next = match self.inbox.recv_timeout(wait) {
                Ok(message) => Some(message),
                Err(RecvTimeoutError::Timeout) => None,
                Err(RecvTimeoutError::Disconnected) => Some(Message::Stop),
            };
            let mut stopping = false;
            while let Some(message) = next {
                match message {
                    Message::Command(command) => self.take(&command)?,
                    Message::Free => self.engine.heed()?,
                    Message::Stop => stopping = true,
                }
                next = if self.engine.commit_due() { None } else { self.inbox.try_recv().ok() };
            }
            if stopping {
                return self.engine.close(Vec::new());
            }
            self.tick()?;
            self.engine.flush()?;
            if self.engine.may_commit() || self.engine.commit_due() {
                self.engine.commit(Vec::new())?;
            }
        }
    }

    fn take(&mut self, command: &Command) -> Result<(), RuntimeError> {
        self.waiting.fetch_sub(1, Relaxed);
        let unreadable = || {
            let fault = Fault("a command that was handed over cannot be read".into());
            RuntimeError::Stopped { task: "live".into(), offset: 0, fault }
        };
        let frame = Frame::decode(&command.frame).ok_or_else(unreadable)?;
        let kind = frame.kind().ok_or_else(unreadable)?;
        let (partition, time, headers) = (command.partition, frame.time, frame.headers);
        let taken = Payload::decode(kind, frame.payload, |payload| {
            if let Payload::EvalReport(report) = payload {
                self.silence.report(partition - self.reports, report.timestamp.min(time), Instant::now());
            }
            self.engine.take(&Input { partition, key: Key::new(frame.key), time, payload, headers })
        });
        taken.ok_or_else(unreadable)?
    }

    /// Tells the ledger the time of this machine, and a silent partition of reports that of the others.
    fn tick(&mut self) -> Result<(), RuntimeError> {
        let at = Instant::now();
        if at < self.ticked + TICK {
            return Ok(());
        }
        self.ticked = at;
        let requests = self.engine.layout().all_of("alloc.requests").unwrap_or_default();
        requests.into_iter().try_for_each(|partition| self.send_tick(partition, now()))?;
        self.engine.flush()?;
        self.silence.progress(&self.engine.progress, at);
        for (partition, newest) in self.silence.due(at) {
            self.send_tick(self.reports + partition, newest)?;
        }
        self.engine.flush()?;
        self.silence.progress(&self.engine.progress, at);
        Ok(())
    }

    fn send_tick(&mut self, partition: usize, time: EventTime) -> Result<(), RuntimeError> {
        self.engine.take(&Input { partition, key: Key::new("tick"), time, payload: Payload::Tick(&Tick { time }), headers: None })
    }
}

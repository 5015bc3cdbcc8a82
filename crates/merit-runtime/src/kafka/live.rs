//! The two ends of a copy that services work with: commands go to the cluster, and every committed record comes back from it, with
//! the answers for this copy behind what they tell of.

use super::commands::Commands;
use super::error::ClusterError;
use super::mirror::{IDLE, Mirror};
use super::topics::Topics;
use crate::RuntimeError;
use crate::embedded::{Committed, Silence};
use crate::frame::{Frame, frames};
use crate::layout::Layout;
use crate::live::{Command, INBOX, Inbox, TICK, now};
use crate::task::{Answered, AnsweredRecord};
use merit_core::record::{EvalReport, Tick};
use merit_core::{Datum, EventTime, Head, Kind};
use rdkafka::message::Message;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::Relaxed};
use std::sync::mpsc::{Receiver, RecvTimeoutError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

/// Answers that are read at once.
const ANSWERS: usize = 1_000;

/// How long what was sent is waited for at the end.
const FAREWELL: Duration = Duration::from_secs(6);

/// What the ends belong to.
pub struct Parts {
    /// The copy of the log, up to date as of a moment ago.
    pub mirror: Mirror,
    /// Sends commands.
    pub commands: Commands,
    /// The topology.
    pub layout: Arc<Layout>,
    /// Where everything lies.
    pub topics: Arc<Topics>,
    /// The name that answers come under.
    pub copy: String,
    /// Whether this copy owns the ledger, whose owner tells the time.
    pub owns_ledger: Arc<AtomicBool>,
    /// Set once the copy's tasks are gone: then both ends end, too.
    pub gone: Arc<AtomicBool>,
}

/// Both ends at work.
pub struct Live {
    inbox: Inbox,
    stop: Arc<AtomicBool>,
    reader: JoinHandle<Result<(), RuntimeError>>,
    sender: JoinHandle<()>,
}

impl Live {
    /// Starts them. `follower` is given every commit in order; `trouble` hears of commands that did not arrive as far as is known.
    pub fn start(
        parts: Parts,
        follower: impl FnMut(Committed) + Send + 'static,
        trouble: impl Fn(ClusterError) + Send + 'static,
    ) -> Result<Live, RuntimeError> {
        let Parts { mirror, commands, layout, topics, copy, owns_ledger, gone } = parts;
        let failed = |error: std::io::Error| RuntimeError::Store { attempt: "start a thread for", cause: error.to_string() };
        let stop = gone;
        let (inbox, receiver, waiting) = Inbox::of_cluster();
        let sending = Arc::clone(&stop);
        let sender = std::thread::Builder::new().name("commands".into());
        let sender = sender.spawn(move || send(commands, &receiver, &waiting, &sending, &trouble)).map_err(failed)?;
        let at = topics.answers(&copy);
        let from = mirror.end_of(at)?;
        let clock = Clock::new(&layout, inbox.clone(), owns_ledger);
        let mut following = Following { mirror, layout, copy, answers: at, from, waiting: Vec::new(), clock, follower: Box::new(follower) };
        let reading = Arc::clone(&stop);
        let reader = std::thread::Builder::new().name("mirror".into());
        let reader = reader.spawn(move || following.follow(&reading)).map_err(failed)?;
        Ok(Live { inbox, stop, reader, sender })
    }

    /// Where commands go.
    pub fn inbox(&self) -> Inbox {
        self.inbox.clone()
    }

    /// Ends both; gives the reason where they had stopped before.
    pub fn stop(self) -> Result<(), RuntimeError> {
        self.stop.store(true, Relaxed);
        // A sender that panicked leaves nothing to be told.
        let _ = self.sender.join();
        let panicked = |_| Err(RuntimeError::Store { attempt: "follow", cause: "the reader panicked".into() });
        self.reader.join().unwrap_or_else(panicked)
    }
}

/// Sends what comes until it is told to stop; no more are on their way than [`INBOX`].
fn send(mut commands: Commands, inbox: &Receiver<Command>, waiting: &AtomicU64, stop: &AtomicBool, trouble: &dyn Fn(ClusterError)) {
    loop {
        if commands.in_flight() >= INBOX {
            std::thread::sleep(Duration::from_millis(1));
        } else {
            match inbox.recv_timeout(IDLE) {
                Ok(command) => {
                    waiting.fetch_sub(1, Relaxed);
                    if let Some(frame) = Frame::decode(&command.frame)
                        && let Err(error) = commands.send(command.partition, &frame)
                    {
                        trouble(error);
                    }
                }
                Err(RecvTimeoutError::Timeout) if stop.load(Relaxed) => break,
                Err(RecvTimeoutError::Timeout) => {}
                Err(RecvTimeoutError::Disconnected) => break,
            }
        }
        commands.lost().into_iter().for_each(trouble);
    }
    if let Err(error) = commands.flush(FAREWELL) {
        trouble(error);
    }
}

struct Following {
    mirror: Mirror,
    layout: Arc<Layout>,
    copy: String,
    /// Number of the partition that answers come in, and the offset to read on from.
    answers: usize,
    from: u64,
    /// Answers whose records are not here yet.
    waiting: Vec<Vec<u8>>,
    clock: Clock,
    follower: Box<dyn FnMut(Committed) + Send>,
}

impl Following {
    fn follow(&mut self, stop: &AtomicBool) -> Result<(), RuntimeError> {
        while !stop.load(Relaxed) {
            self.read_answers()?;
            let commit = self.mirror.step()?;
            if let Some(commit) = &commit {
                self.clock.hear(&self.layout, commit);
            }
            let (mirror, layout) = (&self.mirror, &self.layout);
            let answers: Vec<Vec<u8>> = self.waiting.extract_if(.., |answer| is_due(mirror, layout, answer)).collect();
            match commit {
                Some(commit) => (self.follower)(Committed { answers, ..commit }),
                None if !answers.is_empty() => (self.follower)(Committed { batches: Vec::new(), answers, took: Duration::ZERO }),
                None => std::thread::sleep(IDLE),
            }
            self.clock.tick();
        }
        Ok(())
    }

    fn read_answers(&mut self) -> Result<(), RuntimeError> {
        let Following { mirror, answers, from, waiting, copy, .. } = self;
        let mut next = *from;
        mirror.poll(*answers, *from, ANSWERS, |offset, message| {
            next = offset + 1;
            if let Some(answer) = message.payload().filter(|_| message.key() == Some(copy.as_bytes())) {
                waiting.push(answer.into());
            }
        })?;
        *from = next;
        Ok(())
    }
}

/// Whether everything that an answer names is in the mirror, as far as it is in topics.
fn is_due(mirror: &Mirror, layout: &Layout, answer: &[u8]) -> bool {
    let here = |record: AnsweredRecord<'_>| {
        let kind = u8::try_from(record.kind).ok().and_then(Kind::from_number);
        let partitions = kind.map(|kind| layout.published(record.stream, kind)).unwrap_or_default();
        partitions.into_iter().all(|partition| mirror.holds(partition, record.stream, record.sequence))
    };
    Answered::decode(answer).is_none_or(|answered| answered.records.iter().all(here))
}

/// Ticks of the copy that owns the ledger; design 4, Time.
struct Clock {
    inbox: Inbox,
    owns_ledger: Arc<AtomicBool>,
    ticked: Instant,
    silence: Silence,
    /// Progress records of each partition of reports.
    progress: Vec<u64>,
    reports: usize,
    ledger: Option<usize>,
}

impl Clock {
    fn new(layout: &Layout, inbox: Inbox, owns_ledger: Arc<AtomicBool>) -> Clock {
        let at = Instant::now();
        let progress = vec![0; layout.report_partitions as usize];
        let (silence, reports) = (Silence::new(&progress, at), layout.tasks[0].input);
        Clock { inbox, owns_ledger, ticked: at, silence, progress, reports, ledger: layout.find("alloc.requests", 0) }
    }

    /// Notes which partitions of reports moved.
    fn hear(&mut self, layout: &Layout, commit: &Committed) {
        let at = Instant::now();
        for (partition, _, _, body) in &commit.batches {
            let report = partition.checked_sub(self.reports).filter(|_| layout.is_report_partition(*partition));
            if report.is_none() && Some(*partition) != self.ledger {
                continue;
            }
            for frame in frames(body).flatten() {
                match (frame.kind(), report) {
                    (Some(Kind::EvalReport), Some(report)) => {
                        let timestamp = EvalReport::decode(frame.payload).map(|report| report.timestamp);
                        timestamp
                            .map(|timestamp| timestamp.min(frame.time))
                            .into_iter()
                            .for_each(|time| self.silence.report(report, time, at));
                    }
                    (Some(Kind::Progress), None) => {
                        let of = layout.task_of_stream(frame.stream).map(|task| task.partition as usize);
                        of.and_then(|of| self.progress.get_mut(of)).into_iter().for_each(|count| *count += 1);
                    }
                    _ => {}
                }
            }
        }
        self.silence.progress(&self.progress, at);
    }

    fn tick(&mut self) {
        let at = Instant::now();
        if at < self.ticked + TICK {
            return;
        }
        self.ticked = at;
        if !self.owns_ledger.load(Relaxed) {
            return;
        }
        let due = self.silence.due(at).into_iter().map(|(partition, time)| (self.reports + partition, time));
        for (partition, time) in self.ledger.map(|ledger| (ledger, now())).into_iter().chain(due) {
            // An inbox that is full lets time stand still until the next one.
            let _ = self.inbox.send(Command { partition, frame: tick(time) });
        }
    }
}

fn tick(time: EventTime) -> Vec<u8> {
    let (mut payload, mut bytes) = (Vec::new(), Vec::new());
    Tick { time }.put(&mut payload);
    let (kind, stream) = (Kind::Tick as u32, Head::OUTSIDE.into());
    Frame { kind, hops: 0, stream, sequence: 0, time, key: "tick", headers: None, payload: &payload }.put(&mut bytes);
    bytes
}

//! The two ends of a copy beside its tasks: commands go to the cluster, and every committed record comes back from it, with the answers
//! for this copy behind what they tell of. A headless copy has no services: only ticks leave it, and only the clock listens.

use super::client::Cluster;
use super::clock::{Clock, Listener};
use super::commands::Commands;
use super::error::ClusterError;
use super::mirror::{IDLE, Mirror};
use super::topics::Topics;
use crate::RuntimeError;
use crate::embedded::Committed;
use crate::frame::{Frame, frames};
use crate::layout::Layout;
use crate::live::{Command, INBOX, Inbox};
use crate::task::{Answered, AnsweredRecord};
use merit_core::{Datum, Kind};
use rdkafka::message::Message;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::Relaxed};
use std::sync::mpsc::{Receiver, RecvTimeoutError};
use std::thread::JoinHandle;
use std::time::Duration;

/// Answers that are read at once.
const ANSWERS: usize = 1_000;

/// How long what was sent is waited for at the end.
const FAREWELL: Duration = Duration::from_secs(6);

/// What the ends belong to.
pub struct Parts {
    /// Where it works.
    pub cluster: Cluster,
    /// The topology.
    pub layout: Arc<Layout>,
    /// Where everything lies.
    pub topics: Arc<Topics>,
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
    /// Starts both for services, of which answers come under a name. `follower` is given every commit of the mirror in order, which is
    /// up to date as of a moment ago; `trouble` hears of commands that did not arrive as far as is known.
    pub fn start(
        parts: Parts,
        mirror: Mirror,
        copy: String,
        follower: impl FnMut(Committed) + Send + 'static,
        trouble: impl Fn(ClusterError) + Send + 'static,
    ) -> Result<Live, RuntimeError> {
        let (layout, answers) = (Arc::clone(&parts.layout), parts.topics.answers(&copy));
        let from = mirror.end_of(answers)?;
        let follow = move |clock, stop: &AtomicBool| {
            let (waiting, follower) = (Vec::new(), Box::new(follower));
            Following { mirror, layout, copy, answers, from, waiting, clock, follower }.follow(stop)
        };
        Live::begin(parts, "mirror", follow, trouble)
    }

    /// Starts both for the clock alone.
    pub fn headless(
        parts: Parts,
        mut listener: Listener,
        ended: impl FnOnce() + Send + 'static,
        trouble: impl Fn(ClusterError) + Send + 'static,
    ) -> Result<Live, RuntimeError> {
        let listen = move |mut clock, stop: &AtomicBool| {
            let listened = listener.listen(&mut clock, stop);
            ended();
            listened
        };
        Live::begin(parts, "clock", listen, trouble)
    }

    fn begin(
        parts: Parts,
        name: &str,
        read: impl FnOnce(Clock, &AtomicBool) -> Result<(), RuntimeError> + Send + 'static,
        trouble: impl Fn(ClusterError) + Send + 'static,
    ) -> Result<Live, RuntimeError> {
        let Parts { cluster, layout, topics, owns_ledger, gone: stop } = parts;
        let failed = |error: std::io::Error| RuntimeError::Store { attempt: "start a thread for", cause: error.to_string() };
        let (commands, (inbox, receiver, waiting)) = (Commands::new(&cluster, &topics)?, Inbox::of_cluster());
        let sending = Arc::clone(&stop);
        let sender = std::thread::Builder::new().name("commands".into());
        let sender = sender.spawn(move || send(commands, &receiver, &waiting, &sending, &trouble)).map_err(failed)?;
        let (clock, reading) = (Clock::new(layout, inbox.clone(), owns_ledger), Arc::clone(&stop));
        let reader = std::thread::Builder::new().name(name.into());
        let reader = reader.spawn(move || read(clock, &reading)).map_err(failed)?;
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
            for (partition, _, _, body) in commit.iter().flat_map(|commit| &commit.batches) {
                if self.clock.heeds(*partition) {
                    frames(body).flatten().for_each(|frame| self.clock.hear(*partition, &frame));
                }
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

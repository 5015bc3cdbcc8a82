//! The time of a cluster: Ticks by the copy that owns the ledger; design 4, Time.

use super::client::Cluster;
use super::error::ClusterError;
use super::foreign::Intake;
use super::mirror;
use super::reader::{LastError, Reader};
use super::topics::Topics;
use crate::RuntimeError;
use crate::embedded::Silence;
use crate::frame::Frame;
use crate::layout::Layout;
use crate::live::{Command, Inbox, TICK, now};
use crate::store::Store;
use merit_core::record::{EvalReport, Tick};
use merit_core::{Datum, EventTime, Head, Kind};
use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::time::{Duration, Instant};

/// Between two looks of a listener: much less than between two Ticks.
const LOOKS: Duration = Duration::from_millis(100);

/// Messages of a partition that one look takes.
const LOOK: usize = 16_384;

/// Gives Ticks, by what is heard of the log.
pub(super) struct Clock {
    layout: Arc<Layout>,
    inbox: Inbox,
    owns_ledger: Arc<AtomicBool>,
    ticked: Instant,
    silence: Silence,
    /// Progress records of each partition of reports.
    progress: Vec<u64>,
    /// Number of the first partition of reports.
    reports: usize,
    ledger: Option<usize>,
}

impl Clock {
    pub(super) fn new(layout: Arc<Layout>, inbox: Inbox, owns_ledger: Arc<AtomicBool>) -> Clock {
        let (at, progress) = (Instant::now(), vec![0; layout.report_partitions as usize]);
        let (silence, reports, ledger) = (Silence::new(&progress, at), layout.tasks[0].input, layout.find("alloc.requests", 0));
        Clock { layout, inbox, owns_ledger, ticked: at, silence, progress, reports, ledger }
    }

    /// Whether it goes by what is in a partition.
    pub(super) fn heeds(&self, partition: usize) -> bool {
        self.layout.is_report_partition(partition) || Some(partition) == self.ledger
    }

    /// Hears a record of such a partition.
    pub(super) fn hear(&mut self, partition: usize, frame: &Frame<'_>) {
        match frame.kind() {
            Some(Kind::EvalReport) if self.layout.is_report_partition(partition) => {
                if let Some(report) = EvalReport::decode(frame.payload) {
                    self.silence.report(partition - self.reports, report.timestamp.min(frame.time), Instant::now());
                }
            }
            Some(Kind::Progress) if Some(partition) == self.ledger => {
                let of = self.layout.task_of_stream(frame.stream).map(|task| task.partition as usize);
                of.and_then(|of| self.progress.get_mut(of)).into_iter().for_each(|count| *count += 1);
            }
            _ => {}
        }
    }

    /// Gives the Ticks that are due.
    pub(super) fn tick(&mut self) {
        let at = Instant::now();
        self.silence.progress(&self.progress, at);
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

/// Hears the partitions that the clock goes by where nothing else of the copy does, as long as it owns the ledger.
pub struct Listener {
    reader: Reader,
    intake: Intake,
    layout: Arc<Layout>,
    /// Offset to go on from, of each partition that is listened to.
    next: BTreeMap<usize, u64>,
}

impl Listener {
    /// One for a directory that is marked as of that log; refused where it is of another.
    pub fn open(cluster: &Cluster, layout: &Arc<Layout>, topics: &Arc<Topics>, store: &Store) -> Result<Listener, RuntimeError> {
        let last_error = LastError::default();
        let reader = Reader::new(cluster, topics, &last_error)?;
        store.mirror(&mirror::name(cluster, &reader)?, layout)?;
        Ok(Listener { reader, intake: Intake::new(layout, topics, &last_error), layout: Arc::clone(layout), next: BTreeMap::new() })
    }

    /// Listens until it is told to stop.
    pub(super) fn listen(&mut self, clock: &mut Clock, stop: &AtomicBool) -> Result<(), RuntimeError> {
        while !stop.load(Relaxed) {
            let heard = match (clock.owns_ledger.load(Relaxed), self.next.is_empty()) {
                (true, true) => self.begin(clock),
                (true, false) => self.look(clock),
                (false, _) => {
                    self.reader.close_all();
                    self.next.clear();
                    Ok(())
                }
            };
            match heard {
                Err(error) if !error.is_passing() => return Err(error.into()),
                _ => clock.tick(),
            }
            std::thread::sleep(LOOKS);
        }
        Ok(())
    }

    /// Hears everything from here on; what the clock heard before is long ago.
    fn begin(&mut self, clock: &mut Clock) -> Result<(), ClusterError> {
        let partitions = (0..self.layout.partitions.len()).filter(|at| clock.heeds(*at));
        self.next = partitions.map(|at| Ok((at, self.reader.end(at)?))).collect::<Result<_, ClusterError>>()?;
        clock.silence = Silence::new(&clock.progress, Instant::now());
        Ok(())
    }

    /// Hears what has come.
    fn look(&mut self, clock: &mut Clock) -> Result<(), ClusterError> {
        let Listener { reader, intake, next, .. } = self;
        for (at, next) in next {
            if intake.is_held(*at) {
                continue;
            }
            let mut is_held = false;
            reader.poll(*at, *next, LOOK, |offset, message| {
                let hear = |frame: Option<&Frame<'_>>| frame.into_iter().for_each(|frame| clock.hear(*at, frame));
                is_held = is_held || !intake.give(*at, offset, message, hear);
                if !is_held {
                    *next = offset + 1;
                }
            })?;
        }
        Ok(())
    }
}

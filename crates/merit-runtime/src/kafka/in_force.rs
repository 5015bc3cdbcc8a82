//! What is in force on a cluster: the last checkpoint of a task, as its changelog has it, and the inputs behind that.

use super::client::Cluster;
use super::error::{ClusterError, patiently};
use super::native::Fetched;
use super::reader::{LastError, Reader};
use super::topics::Topics;
use super::wire::{self, Read};
use crate::frame::Frame;
use crate::layout::Layout;
use crate::task::TaskRow;
use crate::{RuntimeError, store};
use merit_core::{Datum, EventTime, Kind};
use rdkafka::message::Message;
use std::sync::Arc;
use std::thread;
use std::time::{Duration, Instant};

/// How long nothing may come of what is there; a copy that died holds what is behind its last transaction up for ten seconds.
const STILL: Duration = Duration::from_secs(20);

/// Messages that are read in one go.
const MESSAGES: usize = 10_000;

/// The configuration in force.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Configuration {
    /// Encoding of its ConfigEpoch; empty before the first.
    pub epoch: Vec<u8>,
    /// Time of the newest decision, or 1970: what the next ConfigEpoch is dated.
    pub newest: EventTime,
}

/// Reads what is in force.
pub struct InForce {
    reader: Reader,
    topics: Arc<Topics>,
    layout: Arc<Layout>,
    /// Topics that are not there: nothing is in them.
    absent: Vec<String>,
    /// Whether it waits for open transactions.
    waits: bool,
    last_error: LastError,
}

impl InForce {
    /// On a cluster that has every topic but those that are `absent`.
    pub fn new(cluster: &Cluster, topics: &Arc<Topics>, layout: &Arc<Layout>, absent: Vec<String>) -> Result<InForce, ClusterError> {
        let last_error = LastError::default();
        let reader = Reader::new(cluster, topics, &last_error)?;
        Ok(InForce { reader, topics: Arc::clone(topics), layout: Arc::clone(layout), absent, waits: true, last_error })
    }

    /// What is decided at once: what an open transaction holds up is left for later.
    pub fn so_far(self) -> InForce {
        InForce { waits: false, ..self }
    }

    /// The configuration: every task is given the same, so it is read where least is to be read, at the sealer.
    pub fn configuration(&mut self) -> Result<Configuration, RuntimeError> {
        let sealer = self.layout.tasks.len() - 1;
        let mut found = Configuration { epoch: Vec::new(), newest: EventTime::EPOCH };
        let [own] = self.rows(sealer, [""])?;
        let mut position = 0;
        if let Some(own) = own {
            let row = self.decode::<TaskRow<'_>>(sealer, &own)?;
            (found.epoch, position) = (row.config.to_vec(), row.position);
            found.newest = found.newest.max(row.newest.unwrap_or(EventTime::MIN));
        }
        self.inputs(sealer, position, |frame| {
            found.newest = found.newest.max(frame.time);
            if frame.kind() == Some(Kind::ConfigEpoch) {
                found.epoch = frame.payload.to_vec();
            }
        })?;
        Ok(found)
    }

    /// Encoding of the last record of a type that a task took, where a store of the task keeps just that; none before the first.
    pub fn last(&mut self, topic: &str, store: &str, kind: Kind) -> Result<Option<Vec<u8>>, RuntimeError> {
        let task = self.layout.find(topic, 0).and_then(|partition| self.layout.partitions[partition].reader);
        let Some(task) = task else { return Ok(None) };
        let [own, mut last] = self.rows(task, ["", store])?;
        let position = own.map_or(Ok(0), |own| self.decode::<TaskRow<'_>>(task, &own).map(|row| row.position))?;
        self.inputs(task, position, |frame| {
            if frame.kind() == Some(kind) {
                last = Some(frame.payload.to_vec());
            }
        })?;
        Ok(last)
    }

    /// Refuses records in an input of any task: what comes before the first configuration can be given to no processor.
    pub fn refuse_records(&mut self) -> Result<(), RuntimeError> {
        for task in 0..self.layout.tasks.len() {
            let (mut records, input) = (0, self.layout.tasks[task].input);
            self.read(input, 0, |_| records += 1)?;
            if records > 0 {
                let (topic, partition) = self.topics.place(input);
                return Err(ClusterError::NotEmpty { topic: topic.into(), partition }.into());
            }
        }
        Ok(())
    }

    /// The one row of each of these stores, as of the last checkpoint of a task.
    fn rows<const N: usize>(&mut self, task: usize, stores: [&str; N]) -> Result<[Option<Vec<u8>>; N], ClusterError> {
        let of = &self.layout.tasks[task];
        let keys = stores.map(|name| store::state_key(&store::state_prefix(&of.name, of.partition, name), "", 0));
        let mut rows = [const { None }; N];
        self.read(self.topics.changelog(task), 0, |message| {
            if let Some(place) = keys.iter().position(|key| message.key() == Some(key)) {
                rows[place] = message.payload().filter(|row| !row.is_empty()).map(<[u8]>::to_vec);
            }
        })?;
        Ok(rows)
    }

    /// Gives the inputs of a task from an offset on.
    fn inputs(&mut self, task: usize, from: u64, mut each: impl FnMut(&Frame<'_>)) -> Result<(), ClusterError> {
        self.read(self.layout.tasks[task].input, from, |message| {
            if let Read::Record(frame) = wire::read(message) {
                each(&frame);
            }
        })
    }

    /// Gives what is left of a partition from an offset on to its present end, or to where it is decided.
    fn read(&mut self, partition: usize, from: u64, mut each: impl FnMut(&Fetched)) -> Result<(), ClusterError> {
        let (topic, number) = self.topics.place(partition);
        if self.absent.iter().any(|absent| absent == topic) {
            return Ok(());
        }
        let end = patiently(|| if self.waits { self.reader.end(partition) } else { self.reader.stable_end(partition) })?;
        let mut next = from.max(patiently(|| self.reader.start(partition))?);
        let mut moved = Instant::now();
        while next < end {
            match self.reader.read(partition, next, end, MESSAGES, |_, message| each(message)) {
                Ok(Some(behind)) => (next, moved) = (behind, Instant::now()),
                Err(error) if !error.is_passing() => return Err(error),
                _ if moved.elapsed() < STILL => thread::sleep(Duration::from_millis(2)),
                _ => {
                    let cause = self.last_error.take().unwrap_or_else(|| "nothing comes, and an open transaction does not end".into());
                    return Err(ClusterError::Call { attempt: "read what is in force", cause: format!("{topic}/{number}: {cause}") });
                }
            }
        }
        self.reader.close(partition);
        Ok(())
    }

    fn decode<'r, T: Datum<'r>>(&self, task: usize, row: &'r [u8]) -> Result<T, RuntimeError> {
        T::decode(row).ok_or_else(|| {
            let (topic, partition) = self.topics.place(self.topics.changelog(task));
            let cause = "the task's own row is of no kind that this program knows".into();
            RuntimeError::Corrupt { topic: topic.into(), partition: partition as u32, offset: 0, cause }
        })
    }
}

//! Whether the topics of a cluster still are those that a copy has read.
//!
//! Its clients do not tell: a topic that was deleted is waited for like one whose broker is on its way, and one that was made anew is
//! read on from where the old one stood. So the last records of the copy's directory are compared with the cluster's once, and the
//! cluster is asked for its partitions and their ends again and again.

use super::client::Cluster;
use super::error::ClusterError;
use super::reader::{LastError, Reader};
use super::topics::{Kept, Topics};
use super::wire::{self, Read};
use crate::RuntimeError;
use crate::frame::Frame;
use crate::layout::Layout;
use crate::store::Store;
use merit_core::Datum;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel};
use std::time::{Duration, Instant};

/// Between two looks.
pub const LOOKS: Duration = Duration::from_secs(3);

/// In how many looks in a row something is wrong before it is told: a broker that has just started may not know everything.
pub const SURE: u32 = 3;

/// How long a record is waited for, which an open transaction may hide.
const RECORD: Duration = Duration::from_secs(20);

/// A thread that looks.
pub(super) struct Watch {
    found: Receiver<ClusterError>,
    /// The thread ends with its other end.
    _until: Sender<()>,
}

impl Watch {
    /// Begins to look at the topics of a cluster, and at what the directory has of them.
    pub(super) fn start(cluster: &Cluster, topics: &Arc<Topics>, layout: &Layout, store: &Store) -> Result<Watch, RuntimeError> {
        // A thread that may outlive the copy holds nothing of the directory: a process ends with its database closed.
        let known = last_records(layout, store)?;
        let reader = Reader::new(cluster, topics, &LastError::default())?;
        let topics = Arc::clone(topics);
        let (tell, found) = channel();
        let (until, ended) = channel();
        let mut looking = Looking { ends: vec![0; topics.lasting()], reader, topics };
        let watch = move || {
            if let Err(error) = looking.compare(known).and_then(|()| looking.look_until(&ended)) {
                // Who listened has ended.
                let _ = tell.send(error);
            }
        };
        let started = std::thread::Builder::new().name("watch".into()).spawn(watch);
        started.map_err(|error| RuntimeError::Store { attempt: "start a thread for", cause: error.to_string() })?;
        Ok(Watch { found, _until: until })
    }

    /// What is wrong, once it is found.
    pub(super) fn found(&self) -> Option<RuntimeError> {
        self.found.try_recv().ok().map(RuntimeError::from)
    }
}

/// Number of each partition that the directory has records of, offset of the last one, and its frame.
fn last_records(layout: &Layout, store: &Store) -> Result<Vec<(usize, u64, Vec<u8>)>, RuntimeError> {
    let mut known = Vec::new();
    for (at, partition) in layout.partitions.iter().enumerate() {
        let Some(last) = store.end(partition)?.checked_sub(1) else { continue };
        if let Some((offset, frame)) = store.read(partition, last).next()? {
            let mut bytes = Vec::new();
            frame.put(&mut bytes);
            known.push((at, offset, bytes));
        }
    }
    Ok(known)
}

struct Looking {
    reader: Reader,
    topics: Arc<Topics>,
    /// The farthest end of each partition so far.
    ends: Vec<u64>,
}

impl Looking {
    /// Refuses a partition that does not hold the last record that the directory has of it.
    fn compare(&mut self, known: Vec<(usize, u64, Vec<u8>)>) -> Result<(), ClusterError> {
        known.iter().try_for_each(|(at, offset, frame)| {
            let frame = Frame::decode(frame).expect("it was just encoded");
            self.expect(*at, *offset, &frame)
        })
    }

    fn expect(&mut self, at: usize, offset: u64, own: &Frame<'_>) -> Result<(), ClusterError> {
        let (mut is_same, mut next, begun) = (false, None, Instant::now());
        while next.is_none() && begun.elapsed() < RECORD {
            // Brokers that do not answer, and records that a retention removed, are no other records.
            let (Ok(start), Ok(end)) = (self.reader.start(at), self.reader.end(at)) else { return Ok(()) };
            if offset < start {
                return Ok(());
            }
            if end <= offset {
                return Err(self.replaced(at, format!("it ends at offset {end}, and {offset} was read of it")));
            }
            let read = self.reader.read(at, offset, offset + 1, 1, |found, message| {
                is_same |= found == offset && is_record(&wire::read(message), own);
            });
            next = read.unwrap_or(None);
            std::thread::sleep(Duration::from_millis(2));
        }
        self.reader.close(at);
        let differs = next.is_some() && !is_same;
        if differs { Err(self.replaced(at, format!("it holds another record at offset {offset} than was read of it"))) } else { Ok(()) }
    }

    fn look_until(&mut self, ended: &Receiver<()>) -> Result<(), ClusterError> {
        let mut wrong = 0;
        while ended.recv_timeout(LOOKS) == Err(RecvTimeoutError::Timeout) {
            match self.look() {
                Err(error) if wrong + 1 == SURE => return Err(error),
                Err(_) => wrong += 1,
                Ok(()) => wrong = 0,
            }
        }
        Ok(())
    }

    /// Fails where a topic is gone, has another number of partitions, or ends before where it ended.
    fn look(&mut self) -> Result<(), ClusterError> {
        // Without an answer there is nothing to be seen: whoever needs the brokers says so.
        let Ok(found) = self.reader.partitions() else { return Ok(()) };
        for wanted in self.topics.wanted().iter().filter(|wanted| wanted.kept != Kept::Briefly) {
            match found.get(&wanted.name) {
                None => {
                    let how = "it is not there any more".into();
                    return Err(ClusterError::Replaced { topic: wanted.name.clone(), partition: 0, how });
                }
                Some(partitions) if *partitions != wanted.partitions => {
                    let line = format!("{} has {partitions} partitions, not {}", wanted.name, wanted.partitions);
                    return Err(ClusterError::PartitionsDiffer { differences: vec![line] });
                }
                Some(_) => {}
            }
        }
        for at in 0..self.ends.len() {
            let Ok(end) = self.reader.end(at) else { continue };
            if end < self.ends[at] {
                return Err(self.replaced(at, format!("it ends at offset {end}, and it ended at {}", self.ends[at])));
            }
            self.ends[at] = end;
        }
        Ok(())
    }

    fn replaced(&self, at: usize, how: String) -> ClusterError {
        let (topic, partition) = self.topics.place(at);
        ClusterError::Replaced { topic: topic.into(), partition, how }
    }
}

fn is_record(read: &Read<'_>, own: &Frame<'_>) -> bool {
    match read {
        Read::Record(frame) => frame == own,
        // What it became may need a schema that is not known here.
        Read::Foreign(foreign) => own.is_outside() && (foreign.key, foreign.time) == (own.key, own.time),
        Read::Gap => false,
    }
}

//! The cluster as one copy sees it.

use super::client::Cluster;
use super::error::ClusterError;
use super::foreign::Intake;
use super::member::{Member, Owned};
use super::native::Fetched;
use super::producer::Producer;
use super::reader::{LastError, Reader};
use super::topics::Topics;
use super::wire::{self, Read, Writer};
use super::worker::Event;
use crate::copy::{Membership, Refused, Role, Setup, Take, Transport};
use crate::frame::Frame;
use merit_core::record::ConfigEpoch;
use merit_core::{Datum, Kind};
use rdkafka::message::Message;
use rdkafka::{Offset, TopicPartitionList};
use std::collections::BTreeMap;
use std::rc::Rc;
use std::sync::Arc;
use std::time::{Duration, Instant};

/// Messages of a partition that one transaction takes in at most.
const POLLED: usize = 4_096;

/// Messages, or rows of a changelog, that are read at once.
const READ: usize = 16_384;

/// By how much longer a copy sleeps each time that nothing came in, and the longest that it does.
const NAP: Duration = Duration::from_micros(100);
const LONGEST_NAP: Duration = Duration::from_millis(2);

/// How long one wait for what a batch led to lasts before the copy looks about.
const PATIENCE: Duration = Duration::from_millis(100);

/// Between two reports of how far a task is restored.
const REPORTS: Duration = Duration::from_secs(1);

/// A copy's connection.
pub(super) struct Connection {
    setup: Rc<Setup>,
    topics: Arc<Topics>,
    door: Door,
    reader: Reader,
    /// Reads leaves and changelogs, wherever `reader` stands.
    past: Reader,
    member: Member,
    producers: [Producer; Role::COUNT],
    writer: Writer,
    owned: Owned,
    /// How often in a row nothing came in, and whether something did since the group was heard.
    idle: u32,
    busy: bool,
    observe: Arc<dyn Fn(Event) + Send + Sync>,
    reported: Instant,
}

impl Connection {
    /// Joins the group as an instance.
    pub(super) fn open(
        cluster: &Cluster,
        setup: &Rc<Setup>,
        topics: &Arc<Topics>,
        instance: &str,
        in_force: Vec<u8>,
        observe: Arc<dyn Fn(Event) + Send + Sync>,
        last_error: &LastError,
    ) -> Result<Connection, ClusterError> {
        let id = format!("{}-{instance}", cluster.application);
        let ids = [id.clone(), format!("{id}-second"), format!("{id}-changelog")];
        let producers = ids.map(|id| Producer::new(cluster, id, topics.place(0).0, last_error));
        let inputs: std::collections::BTreeSet<&str> = setup.layout.tasks.iter().map(|task| topics.place(task.input).0).collect();
        let inputs: Vec<&str> = inputs.into_iter().collect();
        let member = Member::join(cluster, instance, &inputs, topics, last_error)?;
        let reader = Reader::new(cluster, topics, last_error)?;
        let past = reader.beside(cluster)?;
        Ok(Connection {
            setup: Rc::clone(setup),
            topics: Arc::clone(topics),
            door: Door { setup: Rc::clone(setup), in_force, intake: Intake::new(&setup.layout, topics, last_error) },
            reader,
            past,
            member,
            producers,
            writer: Writer::default(),
            owned: Owned::default(),
            idle: 0,
            busy: false,
            observe,
            reported: Instant::now(),
        })
    }

    /// Where to read on, if anything came.
    fn moved(&mut self, next: Result<Option<u64>, Refused>) -> Result<u64, Refused> {
        let next = next?.ok_or(Refused::Retry)?;
        self.busy = true;
        Ok(next)
    }

    fn producer(&self, role: Role) -> &Producer {
        &self.producers[role.number()]
    }

    /// Sleeps a little longer each time that nothing came in.
    fn rest(&mut self) {
        self.idle = if std::mem::take(&mut self.busy) { 0 } else { self.idle.saturating_add(1) };
        if self.idle > 0 {
            std::thread::sleep((NAP * self.idle.min(100)).min(LONGEST_NAP));
        }
    }

    fn report(&mut self, event: impl FnOnce(&Topics) -> Event) {
        if self.reported.elapsed() >= REPORTS {
            self.reported = Instant::now();
            (self.observe)(event(&self.topics));
        }
    }
}

fn failed(error: ClusterError) -> Refused {
    match error {
        // librdkafka gave up after some seconds, or does not know where a partition is now; the broker may be back any moment.
        ClusterError::Call { .. } | ClusterError::PartitionMissing { .. } => Refused::Retry,
        error => Refused::Failed(error.into()),
    }
}

/// What may reach a task, as the topology and the configuration in force say.
struct Door {
    setup: Rc<Setup>,
    /// Encoding of the ConfigEpoch that this copy was started with.
    in_force: Vec<u8>,
    intake: Intake,
}

impl Door {
    /// Hands a message to a task, unless what stands there is none of its inputs. False where the partition has to wait before it.
    fn give(&mut self, partition: usize, message: &Fetched, offset: u64, take: Take<'_>) -> Result<bool, ClusterError> {
        match wire::read(message) {
            Read::Record(frame) => {
                self.check_epoch(&frame)?;
                take(offset, Some(frame));
            }
            Read::Foreign(foreign) if self.setup.layout.is_report_partition(partition) => {
                match self.intake.frame(partition, offset, &foreign) {
                    Some(frame) => take(offset, Some(frame)),
                    None => return Ok(false),
                }
            }
            Read::Foreign(foreign) => {
                let (topic, partition) = (message.topic().to_owned(), message.partition());
                let cause = foreign.fault.unwrap_or("the header `merit` is missing");
                return Err(ClusterError::NoRecord { topic, partition, offset, cause });
            }
            Read::Gap => {}
        }
        Ok(true)
    }

    /// Hands on what lies before `end`; gives the offset to go on from, or none where nothing came or the partition has to wait.
    fn read(&mut self, reader: &mut Reader, partition: usize, from: u64, end: u64, take: Take<'_>) -> Result<Option<u64>, Refused> {
        let (mut given, mut held) = (Ok(true), from);
        let next = reader.read(partition, from, end, READ, |offset, message| {
            if matches!(given, Ok(true)) {
                held = offset;
                given = self.give(partition, message, offset, take);
            }
        });
        match given.map_err(|error| Refused::Failed(error.into()))? {
            true => next.map_err(failed),
            false => Ok(Some(held).filter(|held| *held > from)),
        }
    }

    /// Refuses a configuration that came into force since the start and is not this copy's own.
    fn check_epoch(&self, frame: &Frame<'_>) -> Result<(), ClusterError> {
        if frame.kind() != Some(Kind::ConfigEpoch) {
            return Ok(());
        }
        match (ConfigEpoch::decode(frame.payload), ConfigEpoch::decode(&self.in_force)) {
            (Some(found), Some(own))
                if found.number > own.number && (ConfigEpoch { number: own.number, lineage: own.lineage, ..found }) != own =>
            {
                Err(ClusterError::ConfigMismatch { number: found.number })
            }
            _ => Ok(()),
        }
    }
}

impl Transport for Connection {
    fn initialise(&mut self, role: Role) -> Result<(), Refused> {
        self.producers[role.number()].initialise()
    }

    fn join(&mut self) -> Result<Membership, Refused> {
        self.rest();
        let owned = self.member.hear()?;
        // Not while it joins: librdkafka 2.12 may wait for ever for the end of a member that leaves before its first assignment.
        if owned.generation > 0
            && let Some(fault) = self.topics.schemas().fault()
        {
            return Err(Refused::Failed(fault.into()));
        }
        if owned.generation != self.owned.generation {
            for lost in self.owned.partitions.keys().filter(|partition| !owned.partitions.contains_key(*partition)) {
                self.reader.close(*lost);
            }
            self.owned = owned;
            let tasks = self.owned.partitions.keys().filter_map(|partition| self.setup.layout.partitions[*partition].reader);
            (self.observe)(Event::Assigned { tasks: tasks.collect() });
        }
        let reader = |partition: &usize| self.setup.layout.partitions[*partition].reader;
        let tasks = self.owned.partitions.iter().filter_map(|(partition, since)| Some((reader(partition)?, *since)));
        Ok(Membership { generation: self.owned.generation, tasks: tasks.collect() })
    }

    fn committed(&mut self, partition: usize) -> Result<u64, Refused> {
        let (topic, partition) = self.topics.place(partition);
        self.member.committed(topic, partition)
    }

    fn end_of(&mut self, partition: usize) -> Result<u64, Refused> {
        self.reader.end(partition).map_err(failed)
    }

    fn epoch_of(&mut self, _: usize) -> Result<u64, Refused> {
        // No client of today tells it. A changelog that lost its end is found by being shorter than what was read of it, and by
        // rows that land before that; `merit topology apply` sees to it that no such leader is elected.
        Ok(0)
    }

    fn poll(&mut self, partition: usize, from: u64, take: Take<'_>) -> Result<(), Refused> {
        if self.door.intake.is_held(partition) {
            return Ok(());
        }
        let mut given = Ok(true);
        let polled = self.reader.poll(partition, from, POLLED, |offset, message| {
            if matches!(given, Ok(true)) {
                given = self.door.give(partition, message, offset, take);
            }
        });
        self.busy |= polled.map_err(failed)? > 0;
        given.map(drop).map_err(|error| Refused::Failed(error.into()))
    }

    fn read(&mut self, partition: usize, from: u64, end: u64, take: Take<'_>) -> Result<u64, Refused> {
        if self.door.intake.is_held(partition) {
            return Err(Refused::Retry);
        }
        let next = self.door.read(&mut self.reader, partition, from, end, take);
        self.moved(next)
    }

    fn read_past(&mut self, partition: usize, from: u64, end: u64, take: Take<'_>) -> Result<u64, Refused> {
        let next = self.door.read(&mut self.past, partition, from, end, take);
        self.moved(next)
    }

    fn read_rows(&mut self, partition: usize, from: u64, end: u64, take: &mut dyn FnMut(&[u8], &[u8])) -> Result<u64, Refused> {
        let next = self.past.read(partition, from, end, READ, |_, message| {
            take(message.key().unwrap_or_default(), message.payload().unwrap_or_default());
        });
        let next = self.moved(next.map_err(failed))?;
        self.report(|topics| Event::Restoring { topic: topics.place(partition).0.into(), partition: topics.place(partition).1, next, end });
        Ok(next)
    }

    fn close_past(&mut self) {
        self.past.close_all();
    }

    fn begin(&mut self, role: Role) -> Result<(), Refused> {
        self.producer(role).begin()
    }

    fn send(&mut self, role: Role, partition: usize, frame: &Frame<'_>) -> Result<(), Refused> {
        let (value, headers) = self.writer.write(frame, self.topics.schema(partition, frame.kind));
        let place = self.topics.place(partition);
        self.producers[role.number()].send(place, frame.key.as_bytes(), Some(value), Some(wire::timestamp(frame.time)), Some(headers))
    }

    fn send_row(&mut self, role: Role, partition: usize, key: &[u8], row: &[u8]) -> Result<(), Refused> {
        let row = Some(row).filter(|row| !row.is_empty());
        self.producer(role).send(self.topics.place(partition), key, row, None, None)
    }

    fn send_answer(&mut self, role: Role, copy: &str, answer: &[u8]) -> Result<(), Refused> {
        self.producer(role).send_unasked(self.topics.place(self.topics.answers(copy)), copy.as_bytes(), answer)
    }

    fn delivered(&mut self, role: Role) -> Result<Vec<u64>, Refused> {
        // A checkpoint is on its way beside the batches, so nobody waits for it.
        self.producers[role.number()].delivered(if role == Role::Changelog { Duration::ZERO } else { PATIENCE })
    }

    fn send_offsets(&mut self, role: Role, _: &Membership, offsets: &BTreeMap<usize, u64>) -> Result<(), Refused> {
        // The group is heard between batches alone, and then it is asked whose each task is: so the metadata is as new as that answer.
        let Some(metadata) = self.member.metadata() else { return Err(Refused::Abort) };
        let mut list = TopicPartitionList::with_capacity(offsets.len());
        for (partition, offset) in offsets {
            let (topic, partition) = self.topics.place(*partition);
            if list.add_partition_offset(topic, partition, Offset::Offset(*offset as i64)).is_err() {
                return Err(Refused::Abort);
            }
        }
        self.producers[role.number()].send_offsets(list, metadata)
    }

    fn end(&mut self, role: Role, commit: bool) -> Result<(), Refused> {
        let producer = &mut self.producers[role.number()];
        if commit { producer.commit() } else { producer.abort() }
    }
}

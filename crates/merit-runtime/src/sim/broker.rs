//! What Kafka promises, and what it is known to break.
//!
//! - A transaction of a producer is all or nothing over several partitions. What decides it is one write at its coordinator;
//!   markers reach each partition later, one by one, and take an offset there.
//! - Readers see no record behind the first open transaction of a partition (the last stable offset), and none that was aborted.
//! - A producer that is initialised again gets a new epoch; what was open is aborted, and what the old one sends is refused.
//! - Offsets are committed inside a transaction, for the generation of the group that the sender knows; another one is refused.
//!   While such a transaction is open, the offset cannot be read. Of two transactions, that whose offset was sent later stays,
//!   whichever ends later.
//! - A transaction that is open for too long is aborted, and its producer fenced.
//! - The end of a transaction may be lost, its answer may be lost, or it may arrive late: then it ends whatever transaction the
//!   same epoch of the producer has open by then (the anomaly that Jepsen found and KIP-890 mends).

use super::chance::{Chance, Fault};
use crate::copy::{Membership, Refused};
use std::collections::{BTreeMap, BTreeSet};
use std::rc::Rc;

/// Milliseconds after which an open transaction is aborted: the default of `transaction.timeout.ms`.
const TRANSACTION_TIMEOUT: u64 = 60_000;
/// Milliseconds after which a silent member leaves its group: the default of `session.timeout.ms`.
const SESSION_TIMEOUT: u64 = 45_000;

/// A record as the broker keeps it.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Message {
    /// Empty where compaction means nothing.
    pub(crate) key: Vec<u8>,
    pub(crate) value: Vec<u8>,
}

/// Records with their offsets.
pub(crate) type Records = Vec<(u64, Rc<Message>)>;

/// One initialised producer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Producer {
    /// Its transactional id.
    pub(crate) id: usize,
    epoch: u64,
}

/// A process in the group.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Who {
    /// Its place in the group, for ever (`group.instance.id`).
    pub(crate) slot: usize,
    /// Which process has that place, newer ones higher.
    pub(crate) instance: u64,
}

enum Place {
    Record {
        message: Rc<Message>,
        transaction: u64,
    },
    Aborted,
    /// The end of that transaction.
    Marker(u64),
    Compacted,
}

/// Number of no transaction.
const NONE: u64 = 0;
/// Stands for the partition that committed offsets are kept in: its marker comes in no order with the others.
const OFFSETS: usize = usize::MAX;

#[derive(Default)]
struct Log {
    places: Vec<Place>,
    /// Open transactions and where they begin here.
    open: BTreeMap<u64, usize>,
    /// Moves whenever the end of the log was lost.
    epoch: u64,
}

impl Log {
    fn stable(&self) -> usize {
        self.open.values().min().copied().unwrap_or(self.places.len())
    }
}

/// A committed offset.
#[derive(Clone, Copy)]
struct Offset {
    offset: u64,
    /// What was sent later, has a higher one.
    sent: u64,
}

struct Transaction {
    number: u64,
    since: u64,
    partitions: BTreeSet<usize>,
    offsets: BTreeMap<usize, Offset>,
    /// Whether it was committed, once that is decided; it is over when no partition is left without its marker.
    decided: Option<bool>,
}

#[derive(Default)]
struct Coordinator {
    epoch: u64,
    transaction: Option<Transaction>,
}

struct Member {
    instance: u64,
    seen: u64,
}

/// The cluster and the network before it.
pub(crate) struct Broker {
    /// What the seed decides next.
    pub(crate) chance: Chance,
    /// Milliseconds since the beginning.
    pub(crate) now: u64,
    logs: Vec<Log>,
    coordinators: Vec<Coordinator>,
    transactions: u64,
    /// Ends of transactions that are under way: producer and whether to commit.
    late: Vec<(Producer, bool)>,
    offsets: BTreeMap<usize, Offset>,
    /// Offsets that were sent.
    sent: u64,
    generation: u64,
    members: BTreeMap<usize, Member>,
    /// Slot of the owner a task, and the generation since which it owns it.
    owners: Vec<Option<(usize, u64)>>,
}

impl Broker {
    /// An empty cluster for one group.
    pub(crate) fn new(chance: Chance, partitions: usize, producers: usize, tasks: usize) -> Broker {
        Broker {
            chance,
            now: 0,
            logs: (0..partitions).map(|_| Log::default()).collect(),
            coordinators: (0..producers).map(|_| Coordinator::default()).collect(),
            transactions: NONE,
            late: Vec::new(),
            offsets: BTreeMap::new(),
            sent: 0,
            generation: 0,
            members: BTreeMap::new(),
            owners: vec![None; tasks],
        }
    }
}

/// What a producer asks for.
impl Broker {
    /// Appends a record outside of any transaction.
    pub(crate) fn append(&mut self, partition: usize, message: &Rc<Message>) -> u64 {
        self.push(partition, Place::Record { message: Rc::clone(message), transaction: NONE })
    }

    /// Takes over a transactional id: aborts what is open and fences whoever had it.
    pub(crate) fn initialise(&mut self, id: usize) -> Result<Producer, Refused> {
        match &self.coordinators[id].transaction {
            Some(Transaction { decided: Some(_), .. }) => Err(Refused::Retry),
            Some(_) => {
                self.coordinators[id].epoch += 1;
                self.decide(id, false);
                Err(Refused::Retry)
            }
            None => {
                self.coordinators[id].epoch += 1;
                Ok(Producer { id, epoch: self.coordinators[id].epoch })
            }
        }
    }

    /// Appends a record in the open transaction of a producer, or in a new one.
    pub(crate) fn send(&mut self, producer: Producer, partition: usize, message: &Rc<Message>) -> Result<u64, Refused> {
        if self.chance.breaks(Fault::Undelivered, 800) {
            return Err(Refused::Abort);
        }
        let transaction = self.open(producer)?;
        transaction.partitions.insert(partition);
        let number = transaction.number;
        let end = self.logs[partition].places.len();
        self.logs[partition].open.entry(number).or_insert(end);
        Ok(self.push(partition, Place::Record { message: Rc::clone(message), transaction: number }))
    }

    /// Commits offsets with the open transaction of a producer, if the group still is as the sender knows it.
    pub(crate) fn send_offsets(
        &mut self,
        producer: Producer,
        who: Who,
        generation: u64,
        offsets: &BTreeMap<usize, u64>,
    ) -> Result<(), Refused> {
        let member = self.members.get(&who.slot);
        match member {
            Some(member) if member.instance > who.instance => return Err(Refused::Fenced),
            Some(_) if self.generation == generation => {}
            Some(_) | None => return Err(Refused::Abort),
        }
        let sent = self.sent + 1;
        let transaction = self.open(producer)?;
        transaction.partitions.insert(OFFSETS);
        transaction.offsets.extend(offsets.iter().map(|(partition, offset)| (*partition, Offset { offset: *offset, sent })));
        self.sent = sent;
        Ok(())
    }

    /// Ends the open transaction of a producer.
    pub(crate) fn end(&mut self, producer: Producer, commit: bool) -> Result<(), Refused> {
        if self.coordinators[producer.id].epoch != producer.epoch {
            return Err(Refused::Fenced);
        }
        if self.chance.breaks(Fault::EndLost, 30) {
            return Err(Refused::Unknown);
        }
        if self.chance.breaks(Fault::EndLate, 10) {
            self.late.push((producer, commit));
            return Err(Refused::Unknown);
        }
        match self.coordinators[producer.id].transaction.as_ref().map(|open| open.decided) {
            Some(None) => self.decide(producer.id, commit),
            Some(Some(decided)) if decided == commit => {}
            Some(Some(_)) => return Err(Refused::Abort),
            None => {}
        }
        match self.chance.breaks(Fault::AnswerLost, 30) {
            true => Err(Refused::Unknown),
            false => Ok(()),
        }
    }

    fn open(&mut self, producer: Producer) -> Result<&mut Transaction, Refused> {
        let coordinator = &mut self.coordinators[producer.id];
        if coordinator.epoch != producer.epoch {
            return Err(Refused::Fenced);
        }
        if coordinator.transaction.as_ref().is_some_and(|open| open.decided.is_some()) {
            return Err(Refused::Retry);
        }
        let (since, number) = (self.now, self.transactions + 1);
        Ok(coordinator.transaction.get_or_insert_with(|| {
            self.transactions = number;
            Transaction { number, since, partitions: BTreeSet::new(), offsets: BTreeMap::new(), decided: None }
        }))
    }

    fn decide(&mut self, id: usize, commit: bool) {
        if let Some(open) = &mut self.coordinators[id].transaction {
            open.decided = Some(commit);
        }
        self.settle(id);
    }

    /// Ends a decided transaction whose markers are all written.
    fn settle(&mut self, id: usize) {
        let over = |open: &mut Transaction| open.decided.is_some() && open.partitions.is_empty();
        self.coordinators[id].transaction.take_if(over);
    }

    fn push(&mut self, partition: usize, place: Place) -> u64 {
        let places = &mut self.logs[partition].places;
        places.push(place);
        places.len() as u64 - 1
    }
}

/// What a reader asks for.
impl Broker {
    /// Records of a partition from an offset on that are stable, `most` at most, and the offset to go on from.
    pub(crate) fn fetch(&self, partition: usize, from: u64, most: usize) -> (Records, u64) {
        let log = &self.logs[partition];
        let mut found = Records::new();
        let mut next = from as usize;
        while next < log.stable() && found.len() < most {
            if let Place::Record { message, .. } = &log.places[next] {
                found.push((next as u64, Rc::clone(message)));
            }
            next += 1;
        }
        (found, next as u64)
    }

    /// A batch as the network brings it: some records or none.
    pub(crate) fn poll(&mut self, partition: usize, from: u64) -> Records {
        let most = self.chance.place(24);
        self.fetch(partition, from, most).0
    }

    /// Records where there must be some: waits for open transactions.
    pub(crate) fn read(&self, partition: usize, from: u64, most: usize) -> Result<(Records, u64), Refused> {
        match self.fetch(partition, from, most) {
            (_, next) if next == from => Err(Refused::Retry),
            found => Ok(found),
        }
    }

    /// The offset behind the last record, open transactions included.
    pub(crate) fn end_of(&self, partition: usize) -> u64 {
        self.logs[partition].places.len() as u64
    }

    /// The offset before which everything is decided.
    pub(crate) fn stable(&self, partition: usize) -> u64 {
        self.logs[partition].stable() as u64
    }

    /// Moves whenever the end of a partition was lost (the leader epoch).
    pub(crate) fn epoch_of(&self, partition: usize) -> u64 {
        self.logs[partition].epoch
    }

    /// The offset that the group committed for a partition.
    pub(crate) fn committed(&self, partition: usize) -> Result<u64, Refused> {
        let mut open = self.coordinators.iter().filter_map(|coordinator| coordinator.transaction.as_ref());
        match open.any(|open| open.partitions.contains(&OFFSETS) && open.offsets.contains_key(&partition)) {
            true => Err(Refused::Retry),
            false => Ok(self.offsets.get(&partition).map_or(0, |known| known.offset)),
        }
    }
}

/// The group.
impl Broker {
    /// Joins, or asks how the group stands.
    pub(crate) fn join(&mut self, who: Who) -> Result<Membership, Refused> {
        let Who { slot, instance } = who;
        match self.members.get_mut(&slot) {
            Some(member) if member.instance > instance => return Err(Refused::Fenced),
            Some(member) => member.instance = instance,
            None => {
                self.members.insert(slot, Member { instance, seen: self.now });
                self.rebalance(4);
            }
        }
        let owned = self.owners.iter().enumerate().filter_map(|(task, owner)| Some((task, (*owner)?)));
        let tasks = owned.filter(|(_, (owner, _))| *owner == slot).map(|(task, (_, since))| (task, since)).collect();
        Ok(Membership { generation: self.generation, tasks })
    }

    /// Hears from a process.
    pub(crate) fn heartbeat(&mut self, slot: usize, instance: u64) {
        if let Some(member) = self.members.get_mut(&slot).filter(|member| member.instance == instance) {
            member.seen = self.now;
        }
    }

    /// Begins a new generation; a partition moves one time in `times`, and always where its owner is gone.
    pub(crate) fn rebalance(&mut self, times: u64) {
        self.generation += 1;
        let slots: Vec<usize> = self.members.keys().copied().collect();
        for owner in &mut self.owners {
            let stays = owner.is_some_and(|(slot, _)| self.members.contains_key(&slot));
            if stays && !self.chance.one_in(times) {
                continue;
            }
            let next = (!slots.is_empty()).then(|| slots[self.chance.place(slots.len())]);
            if !stays || owner.map(|(slot, _)| slot) != next {
                *owner = next.map(|slot| (slot, self.generation));
            }
        }
    }
}

/// What the broker does by itself, and what befalls it.
impl Broker {
    /// Lets time pass: silent members and old transactions are given up.
    pub(crate) fn pass(&mut self, milliseconds: u64) {
        self.now += milliseconds;
        let before = self.members.len();
        self.members.retain(|_, member| member.seen + SESSION_TIMEOUT >= self.now);
        if self.members.len() < before {
            self.rebalance(4);
        }
        for id in 0..self.coordinators.len() {
            let old = |open: &Transaction| open.decided.is_none() && open.since + TRANSACTION_TIMEOUT < self.now;
            if self.coordinators[id].transaction.as_ref().is_some_and(old) {
                self.coordinators[id].epoch += 1;
                self.decide(id, false);
            }
        }
    }

    /// Markers that are still to be written.
    pub(crate) fn markers(&self) -> usize {
        let decided = self.coordinators.iter().filter_map(|coordinator| coordinator.transaction.as_ref());
        decided.filter(|open| open.decided.is_some()).map(|open| open.partitions.len()).sum()
    }

    /// Writes one of them.
    pub(crate) fn write_marker(&mut self) {
        let mut at = self.chance.place(self.markers());
        for id in 0..self.coordinators.len() {
            let Some(open) = self.coordinators[id].transaction.as_mut().filter(|open| open.decided.is_some()) else { continue };
            let Some(&partition) = open.partitions.iter().nth(at) else {
                at -= open.partitions.len();
                continue;
            };
            open.partitions.remove(&partition);
            let (number, committed) = (open.number, open.decided == Some(true));
            match partition {
                OFFSETS if committed => {
                    for (at, new) in &open.offsets {
                        let known = self.offsets.entry(*at).or_insert(*new);
                        if known.sent < new.sent {
                            *known = *new;
                        }
                    }
                }
                OFFSETS => {}
                partition => self.mark(partition, number, committed),
            }
            return self.settle(id);
        }
    }

    fn mark(&mut self, partition: usize, number: u64, committed: bool) {
        let log = &mut self.logs[partition];
        let from = log.open.remove(&number).unwrap_or(log.places.len());
        if !committed {
            abort(&mut log.places[from..], number);
        }
        log.places.push(Place::Marker(number));
    }

    /// Ends of transactions that are under way.
    pub(crate) fn late(&self) -> usize {
        self.late.len()
    }

    /// Whether one of them would end a transaction now.
    pub(crate) fn late_at_open(&self) -> bool {
        self.late.iter().any(|(producer, _)| {
            let coordinator = &self.coordinators[producer.id];
            coordinator.epoch == producer.epoch && coordinator.transaction.as_ref().is_some_and(|open| open.decided.is_none())
        })
    }

    /// Delivers one of them, to whatever its producer has open by now.
    pub(crate) fn deliver_late(&mut self) {
        let at = self.chance.place(self.late.len());
        let (producer, commit) = self.late.swap_remove(at);
        let coordinator = &self.coordinators[producer.id];
        if coordinator.epoch == producer.epoch && coordinator.transaction.as_ref().is_some_and(|open| open.decided.is_none()) {
            self.decide(producer.id, commit);
        }
    }

    /// Keeps of a partition only the last record of each key.
    pub(crate) fn compact(&mut self, partition: usize) {
        let stable = self.stable(partition) as usize;
        let mut seen = BTreeSet::new();
        for place in self.logs[partition].places[..stable].iter_mut().rev() {
            if let Place::Record { message, .. } = place
                && !seen.insert(message.key.clone())
            {
                *place = Place::Compacted;
            }
        }
    }

    /// Loses the end of a partition, from a marker or from the beginning on; gives whether there was one to lose.
    pub(crate) fn lose(&mut self, partition: usize, whole: bool) -> bool {
        let log = &mut self.logs[partition];
        if !log.open.is_empty() || log.places.is_empty() {
            return false;
        }
        let markers = (0..log.places.len()).filter(|at| matches!(log.places[*at], Place::Marker(_)));
        let mut ends: Vec<usize> = if whole { Vec::new() } else { markers.map(|at| at + 1).collect() };
        ends.insert(0, 0);
        let end = ends[self.chance.place(ends.len())];
        let lost = self.logs[partition].places.split_off(end);
        for place in lost {
            // What has no marker any more was never committed.
            if let Place::Marker(number) = place {
                abort(&mut self.logs[partition].places, number);
            }
        }
        self.logs[partition].epoch += 1;
        true
    }

    /// Changes the last record of that key; gives whether there is one.
    pub(crate) fn damage(&mut self, partition: usize, key: &[u8], change: impl FnOnce(&[u8]) -> Vec<u8>) -> bool {
        let stable = self.stable(partition) as usize;
        let places = self.logs[partition].places[..stable].iter_mut().rev();
        let mut records = places.filter_map(|place| match place {
            Place::Record { message, .. } if message.key == key => Some(message),
            _ => None,
        });
        let Some(message) = records.next() else { return false };
        *message = Rc::new(Message { key: key.into(), value: change(&message.value) });
        true
    }
}

fn abort(places: &mut [Place], number: u64) {
    let of_it = |place: &&mut Place| matches!(place, Place::Record { transaction, .. } if *transaction == number);
    places.iter_mut().filter(of_it).for_each(|place| *place = Place::Aborted);
}

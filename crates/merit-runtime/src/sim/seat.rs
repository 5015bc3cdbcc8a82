//! The broker as one copy sees it.

use super::broker::{Broker, Message, Producer, Who};
use crate::copy::{Membership, Refused, Role, Take, Transport};
use crate::frame::Frame;
use merit_core::Datum;
use std::cell::RefCell;
use std::collections::BTreeMap;
use std::rc::Rc;

/// A copy's connection.
pub(super) struct Seat {
    broker: Rc<RefCell<Broker>>,
    who: Who,
    /// Partition of the answers.
    answers: usize,
    /// By role; none before it was initialised.
    producers: [Option<Producer>; Role::COUNT],
    /// Offsets of what was sent since they were last asked for, by role.
    sent: [Vec<u64>; Role::COUNT],
}

impl Seat {
    pub(super) fn new(broker: Rc<RefCell<Broker>>, who: Who, answers: usize) -> Seat {
        Seat { broker, who, answers, producers: [None; Role::COUNT], sent: Default::default() }
    }

    fn producer(&self, role: Role) -> Producer {
        self.producers[role.number()].expect("a copy initialises its producers first")
    }

    fn append(&mut self, role: Role, partition: usize, key: &[u8], value: Vec<u8>) -> Result<u64, Refused> {
        let message = Rc::new(Message { key: key.into(), value });
        self.broker.borrow_mut().send(self.producer(role), partition, &message)
    }
}

/// Records that are read at once: so few that one that should be passed over is not read by chance, nor the other way round.
const READ: usize = 4;

impl Transport for Seat {
    fn initialise(&mut self, role: Role) -> Result<(), Refused> {
        let id = Role::COUNT * self.who.slot + role.number();
        self.producers[role.number()] = Some(self.broker.borrow_mut().initialise(id)?);
        self.sent[role.number()].clear();
        Ok(())
    }

    fn join(&mut self) -> Result<Membership, Refused> {
        self.broker.borrow_mut().join(self.who)
    }

    fn committed(&mut self, partition: usize) -> Result<u64, Refused> {
        self.broker.borrow().committed(partition)
    }

    fn end_of(&mut self, partition: usize) -> Result<u64, Refused> {
        Ok(self.broker.borrow().end_of(partition))
    }

    fn epoch_of(&mut self, partition: usize) -> Result<u64, Refused> {
        Ok(self.broker.borrow().epoch_of(partition))
    }

    fn poll(&mut self, partition: usize, from: u64, take: Take<'_>) -> Result<(), Refused> {
        let records = self.broker.borrow_mut().poll(partition, from);
        records.iter().for_each(|(offset, message)| take(*offset, Frame::decode(&message.value)));
        Ok(())
    }

    fn read(&mut self, partition: usize, from: u64, _: u64, take: Take<'_>) -> Result<u64, Refused> {
        let (records, next) = self.broker.borrow().read(partition, from, READ)?;
        records.iter().for_each(|(offset, message)| take(*offset, Frame::decode(&message.value)));
        Ok(next)
    }

    fn read_past(&mut self, partition: usize, from: u64, end: u64, take: Take<'_>) -> Result<u64, Refused> {
        self.read(partition, from, end, take)
    }

    fn close_past(&mut self) {}

    fn read_rows(&mut self, partition: usize, from: u64, _: u64, take: &mut dyn FnMut(&[u8], &[u8])) -> Result<u64, Refused> {
        let (records, next) = self.broker.borrow().read(partition, from, 64)?;
        records.iter().for_each(|(_, message)| take(&message.key, &message.value));
        Ok(next)
    }

    fn begin(&mut self, role: Role) -> Result<(), Refused> {
        self.sent[role.number()].clear();
        Ok(())
    }

    fn send(&mut self, role: Role, partition: usize, frame: &Frame<'_>) -> Result<(), Refused> {
        let mut value = Vec::new();
        frame.put(&mut value);
        let offset = self.append(role, partition, &[], value)?;
        self.sent[role.number()].push(offset);
        Ok(())
    }

    fn send_row(&mut self, role: Role, partition: usize, key: &[u8], row: &[u8]) -> Result<(), Refused> {
        let offset = self.append(role, partition, key, row.into())?;
        self.sent[role.number()].push(offset);
        Ok(())
    }

    fn send_answer(&mut self, role: Role, _: &str, answer: &[u8]) -> Result<(), Refused> {
        self.append(role, self.answers, &[], answer.into()).map(drop)
    }

    fn delivered(&mut self, role: Role) -> Result<Vec<u64>, Refused> {
        Ok(std::mem::take(&mut self.sent[role.number()]))
    }

    fn send_offsets(&mut self, role: Role, of: &Membership, offsets: &BTreeMap<usize, u64>) -> Result<(), Refused> {
        self.broker.borrow_mut().send_offsets(self.producer(role), self.who, of.generation, offsets)
    }

    fn end(&mut self, role: Role, commit: bool) -> Result<(), Refused> {
        self.broker.borrow_mut().end(self.producer(role), commit)
    }
}

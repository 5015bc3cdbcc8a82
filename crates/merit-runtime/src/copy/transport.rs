//! What a copy asks of the outside: the log with its transactions and its group, and a disk.

use crate::RuntimeError;
use crate::frame::Frame;
use std::collections::BTreeMap;
use std::sync::Arc;

/// One of the producers of a copy.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Role {
    /// Writes what batches led to.
    Outputs(Turn),
    /// Writes checkpoints, behind the commits that they stand for.
    Changelog,
}

/// Two producers write outputs in turns: a producer begins no transaction before the last marker of its own before is written, and the
/// other's need not wait for that.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Turn {
    /// The one that begins.
    First,
    /// The other.
    Second,
}

impl Role {
    /// How many there are.
    pub(crate) const COUNT: usize = 3;

    /// Its place among them.
    pub(crate) fn number(self) -> usize {
        match self {
            Role::Outputs(turn) => turn as usize,
            Role::Changelog => 2,
        }
    }
}

impl Turn {
    /// Both.
    pub(crate) const ALL: [Turn; 2] = [Turn::First, Turn::Second];

    /// Whose turn it is behind this one.
    pub(crate) fn next(self) -> Turn {
        match self {
            Turn::First => Turn::Second,
            Turn::Second => Turn::First,
        }
    }
}

/// Why a call did not do what it was asked to; the classes of Kafka's errors.
#[derive(Debug)]
pub(crate) enum Refused {
    /// Not now: call again.
    Retry,
    /// The transaction has to be aborted.
    Abort,
    /// No answer came: it happened or not.
    Unknown,
    /// Another has taken over.
    Fenced,
    /// The outside is not as it has to be; calling again does not mend it.
    Failed(RuntimeError),
}

/// What a copy knows of its group.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Membership {
    pub(crate) generation: u64,
    /// The tasks whose input it owns, and what changes whenever it owned them not for a moment.
    pub(crate) tasks: BTreeMap<usize, u64>,
}

/// Takes records with their offsets; none for what is no record.
pub(crate) type Take<'t> = &'t mut dyn FnMut(u64, Option<Frame<'_>>);

/// The log as one copy sees it. Partitions go by number: those of the layout, and behind them a changelog a task.
///
/// A call that is refused with [`Refused::Retry`] has done nothing, or goes on where it stood when it is made again.
pub(crate) trait Transport {
    /// Takes over a transactional id: aborts what is open, and fences whoever had it.
    fn initialise(&mut self, role: Role) -> Result<(), Refused>;
    /// Hears how the group stands.
    fn join(&mut self) -> Result<Membership, Refused>;
    /// The offset that the group committed for a partition; waits for one that is being committed.
    fn committed(&mut self, partition: usize) -> Result<u64, Refused>;
    /// The offset behind the last record, open transactions included.
    fn end_of(&mut self, partition: usize) -> Result<u64, Refused>;
    /// Moves whenever the end of a partition was lost.
    fn epoch_of(&mut self, partition: usize) -> Result<u64, Refused>;
    /// Gives what came in from an offset on, and waits for nothing.
    fn poll(&mut self, partition: usize, from: u64, take: Take<'_>) -> Result<(), Refused>;
    /// Gives some of what lies before `end`, which is waited for, and the offset to go on from. Of an input: [`Transport::poll`] goes on
    /// behind it.
    fn read(&mut self, partition: usize, from: u64, end: u64, take: Take<'_>) -> Result<u64, Refused>;
    /// The same of any partition, of an input that is polled too.
    fn read_past(&mut self, partition: usize, from: u64, end: u64, take: Take<'_>) -> Result<u64, Refused>;
    /// The same of a changelog: keys and rows.
    fn read_rows(&mut self, partition: usize, from: u64, end: u64, take: &mut dyn FnMut(&[u8], &[u8])) -> Result<u64, Refused>;
    /// Nothing is read of what is past for now.
    fn close_past(&mut self);
    /// Begins a transaction.
    fn begin(&mut self, role: Role) -> Result<(), Refused>;
    /// Sends a record in the open transaction.
    fn send(&mut self, role: Role, partition: usize, frame: &Frame<'_>) -> Result<(), Refused>;
    /// Sends a row of a changelog in the open transaction; an empty one deletes.
    fn send_row(&mut self, role: Role, partition: usize, key: &[u8], row: &[u8]) -> Result<(), Refused>;
    /// Sends the encoding of an [`Answered`](crate::task::Answered) to the copy of that name.
    fn send_answer(&mut self, role: Role, copy: &str, answer: &[u8]) -> Result<(), Refused>;
    /// Waits until everything that was sent is there, offsets too; gives the offset of each record and row, in order. Answers have none.
    fn delivered(&mut self, role: Role) -> Result<Vec<u64>, Refused>;
    /// Commits offsets with the open transaction, by partition, if the group still is as `of` says; [`Transport::delivered`] tells of it.
    fn send_offsets(&mut self, role: Role, of: &Membership, offsets: &BTreeMap<usize, u64>) -> Result<(), Refused>;
    /// Ends the open transaction.
    fn end(&mut self, role: Role, commit: bool) -> Result<(), Refused>;
}

/// Rows by key, as the changelog and the disk keep them; an empty one is deleted.
pub(crate) type Rows = BTreeMap<Vec<u8>, Vec<u8>>;

/// How far the disk followed a changelog.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Mark {
    /// Offset of the next row.
    pub(crate) next: u64,
    /// The epoch of the changelog that it was read from.
    pub(crate) epoch: u64,
}

/// The disk of a copy: it follows the changelogs and never leads them, so it may be lost.
pub(crate) trait Disk {
    /// How far it followed the changelog of a task.
    fn mark(&self, task: usize) -> Result<Mark, Refused>;
    /// Whether the changelog of a task may have forgotten what it deleted behind that: rows on the disk that are no more.
    fn is_outdated(&self, task: usize) -> Result<bool, Refused>;
    /// One row of a task, by its whole key.
    fn row(&self, task: usize, key: &[u8]) -> Result<Option<Vec<u8>>, Refused>;
    /// The rows of a task, as its stores read them.
    fn rows(&self, task: usize) -> Arc<dyn merit_core::Rows>;
    /// Whole keys of every row of a task.
    fn keys(&self, task: usize) -> Result<Vec<Vec<u8>>, Refused>;
    /// Lays rows over those of a task, all or nothing; refused with [`Refused::Retry`] while the disk is full.
    fn write(&mut self, task: usize, rows: &Rows, mark: Mark) -> Result<(), Refused>;
    /// Lays rows over those of a task, all or nothing, and leaves the mark: they are laid again by whoever reads on from there.
    fn lay(&mut self, task: usize, rows: &Rows) -> Result<(), Refused>;
    /// Removes what is there of a task.
    fn clear(&mut self, task: usize) -> Result<(), Refused>;
}

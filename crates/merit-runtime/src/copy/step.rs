//! Where a copy can be stopped.

/// Where a copy stands: before that call.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Step {
    /// Taking over a transactional id of the outputs.
    InitialiseProducer,
    /// Taking over that of the changelog.
    InitialiseChangelog,
    /// Asking which tasks are ours.
    Join,
    /// Reading how far a task's input was committed.
    ReadCommitted,
    /// Reading whether a changelog lost its end.
    ReadChangelogEpoch,
    /// Reading how long a changelog is.
    ReadChangelogEnd,
    /// Reading rows of a changelog.
    ReadChangelog,
    /// Writing restored rows to the disk, or removing those of another changelog.
    StoreRestored,
    /// Reading what a task wrote.
    ReadOutputs,
    /// Reading inputs to fold again.
    ReadInputs,
    /// Reading new inputs.
    Poll,
    /// Beginning a transaction.
    Begin,
    /// Sending outputs.
    Produce,
    /// Sending answers to commands.
    Answer,
    /// Waiting until what was sent is there.
    Deliver,
    /// Sending the offsets behind the inputs.
    SendOffsets,
    /// Committing both.
    Commit,
    /// Aborting instead.
    Abort,
    /// Beginning the transaction of a checkpoint.
    BeginChangelog,
    /// Sending rows of a checkpoint.
    ProduceChangelog,
    /// Waiting until they are there.
    DeliverChangelog,
    /// Sending an offset, so that a copy that lost the task is refused.
    FenceChangelog,
    /// Committing both.
    CommitChangelog,
    /// Aborting instead.
    AbortChangelog,
    /// Writing rows of a checkpoint to the disk.
    StoreCheckpoint,
}

impl Step {
    /// All of them.
    pub const ALL: [Step; 25] = [
        Step::InitialiseProducer,
        Step::InitialiseChangelog,
        Step::Join,
        Step::ReadCommitted,
        Step::ReadChangelogEpoch,
        Step::ReadChangelogEnd,
        Step::ReadChangelog,
        Step::StoreRestored,
        Step::ReadOutputs,
        Step::ReadInputs,
        Step::Poll,
        Step::Begin,
        Step::Produce,
        Step::Answer,
        Step::Deliver,
        Step::SendOffsets,
        Step::Commit,
        Step::Abort,
        Step::BeginChangelog,
        Step::ProduceChangelog,
        Step::DeliverChangelog,
        Step::FenceChangelog,
        Step::CommitChangelog,
        Step::AbortChangelog,
        Step::StoreCheckpoint,
    ];
}

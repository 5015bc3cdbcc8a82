//! Named places at which a test lets the process die.
//!
//! `MERIT_FAILPOINT=NAME:COUNT` ends the process at the COUNT-th passage of that place, at once: nothing is flushed, no destructor
//! runs. What is tested is what ships, so they are compiled in always; a passage costs one relaxed load, and none lies on the way
//! of a single record.

use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};

macro_rules! failpoints {
    ($($(#[doc = $doc:literal])* $variant:ident $name:literal)*) => {
        /// A place at which the process can be told to die.
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        pub enum Failpoint {
            $($(#[doc = $doc])* $variant),*
        }

        impl Failpoint {
            /// Every one.
            pub const ALL: &[Failpoint] = &[$(Failpoint::$variant),*];

            /// Its name in `MERIT_FAILPOINT`.
            pub fn name(self) -> &'static str {
                match self {
                    $(Failpoint::$variant => $name),*
                }
            }
        }
    };
}

failpoints! {
    /// A new key is written whole, under another name.
    KeyWritten "key.written"
    /// The key has its name.
    KeyLinked "key.linked"
    /// The store is made or opened, and its format not looked at.
    StoreOpened "store.opened"
    /// A task is restored and its tail refolded.
    TaskRecovered "recovery.task"
    /// Every task is recovered; the configuration is not compared yet.
    Recovered "recovery.done"
    /// A ConfigEpoch was taken by one task.
    EpochTaken "epoch.taken"
    /// The configuration is in force in memory alone.
    EpochUncommitted "epoch.uncommitted"
    /// An import knows where its sources stand.
    ImportPositioned "import.positioned"
    /// Ticks were taken and are in memory alone.
    ImportTicked "import.ticked"
    /// A commit is due; its source position is not gathered.
    ImportCommits "import.commits"
    /// Every row was taken; the end is not told.
    ImportTaken "import.taken"
    /// The source position says finished, in memory alone.
    ImportFinished "import.finished"
    /// Everything is on disk and nothing was printed.
    ImportClosed "import.closed"
    /// A `stream.seal` is due.
    SealDue "seal.due"
    /// The seal is a decision in memory alone.
    SealMade "seal.made"
    /// A checkpoint is due.
    CheckpointBegins "checkpoint.begins"
    /// The rows of one task are gathered.
    CheckpointTask "checkpoint.task"
    /// Every row and the position are gathered.
    CheckpointGathered "checkpoint.gathered"
    /// A commit with a checkpoint is written; of the checkpoint nothing is.
    CheckpointDue "checkpoint.due"
    /// The rows of a checkpoint are in a table that the store does not know.
    CheckpointBuilt "checkpoint.built"
    /// The checkpoint is in the store, and nobody was told.
    CheckpointWritten "checkpoint.written"
    /// The records of a commit are still in the log's buffers.
    CommitBegins "commit.begins"
    /// The commit is handed over.
    CommitSent "commit.sent"
    /// The commit arrived at its thread; no batch is built.
    CommitPacking "commit.packing"
    /// The batch is built and not written.
    CommitPacked "commit.packed"
    /// The store synced the commit; `ACKNOWLEDGED` does not say so.
    CommitSynced "commit.synced"
    /// The commit is written and synced, and the worker was not told.
    CommitWritten "commit.written"
    /// The directory is open to be pruned.
    PruneBegins "prune.begins"
    /// The log was computed again up to the cut.
    PruneComputed "prune.computed"
    /// The base is gathered and nothing written.
    PruneGathered "prune.gathered"
    /// Base and cut are on disk; the place is not given back.
    PruneWritten "prune.written"
    /// The place is given back, and nobody was told.
    PruneReclaimed "prune.reclaimed"
    /// The worker was told.
    CommitAcknowledged "commit.acknowledged"
}

/// Number of the armed one, from 1; 0 where none is.
static ARMED: AtomicU32 = AtomicU32::new(0);
/// Passages left.
static LEFT: AtomicU64 = AtomicU64::new(0);

impl Failpoint {
    /// Arms one, as `NAME:COUNT` says; `None` where that is no failpoint or no count from 1 on.
    pub fn arm(text: &str) -> Option<()> {
        let (name, count) = text.split_once(':')?;
        let point = Failpoint::ALL.iter().find(|point| point.name() == name)?;
        let count = count.parse().ok().filter(|count| *count > 0)?;
        LEFT.store(count, Ordering::Relaxed);
        ARMED.store(*point as u32 + 1, Ordering::Relaxed);
        Some(())
    }

    /// Passes here, or dies.
    #[inline]
    pub fn pass(self) {
        if ARMED.load(Ordering::Relaxed) == self as u32 + 1 && LEFT.fetch_sub(1, Ordering::Relaxed) == 1 {
            std::process::abort();
        }
    }
}

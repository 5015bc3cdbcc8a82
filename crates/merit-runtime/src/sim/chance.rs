//! Everything that a seed decides, and the count of what it broke.

use std::collections::BTreeMap;

/// What can go wrong.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Fault {
    /// A copy dies between two steps.
    Crash,
    /// A copy stands still, and goes on after its partitions may have moved.
    Pause,
    /// A copy is replaced under its name while it still runs.
    Replaced,
    /// Partitions move between living copies.
    Rebalance,
    /// A record is not delivered, so that its transaction has to be aborted.
    Undelivered,
    /// The end of a transaction is carried out, and its answer is lost.
    AnswerLost,
    /// The end of a transaction is lost.
    EndLost,
    /// The end of a transaction arrives late: at that transaction, at the next one of its producer, or at none.
    EndLate,
    /// The disk of a copy that died is gone.
    DiskLost,
    /// The disk of a copy is full for a while.
    DiskFull,
    /// A changelog loses its end, or all of it.
    ChangelogLost,
    /// A changelog gives back another row than was written.
    ChangelogDamaged,
    /// A producer sends a report twice.
    SentTwice,
    /// The clock of a producer jumps.
    ClockJump,
}

impl Fault {
    /// All of them.
    pub const ALL: [Fault; 14] = [
        Fault::Crash,
        Fault::Pause,
        Fault::Replaced,
        Fault::Rebalance,
        Fault::Undelivered,
        Fault::AnswerLost,
        Fault::EndLost,
        Fault::EndLate,
        Fault::DiskLost,
        Fault::DiskFull,
        Fault::ChangelogLost,
        Fault::ChangelogDamaged,
        Fault::SentTwice,
        Fault::ClockJump,
    ];

    /// Its name in words.
    pub fn name(self) -> &'static str {
        match self {
            Fault::Crash => "crash",
            Fault::Pause => "pause",
            Fault::Replaced => "replaced",
            Fault::Rebalance => "rebalance",
            Fault::Undelivered => "undelivered",
            Fault::AnswerLost => "answer lost",
            Fault::EndLost => "end lost",
            Fault::EndLate => "end late",
            Fault::DiskLost => "disk lost",
            Fault::DiskFull => "disk full",
            Fault::ChangelogLost => "changelog lost",
            Fault::ChangelogDamaged => "changelog damaged",
            Fault::SentTwice => "sent twice",
            Fault::ClockJump => "clock jump",
        }
    }
}

/// Draws from a seed.
pub(crate) struct Chance {
    state: u64,
    /// Whether anything may break.
    pub(crate) faulty: bool,
    /// What broke so far.
    pub(crate) faults: BTreeMap<Fault, u64>,
}

impl Chance {
    pub(crate) fn new(seed: u64) -> Chance {
        Chance { state: seed, faulty: true, faults: BTreeMap::new() }
    }

    /// A number in `0..below`; `below` is not 0. SplitMix64 (Steele, Lea and Flood, 2014).
    pub(crate) fn below(&mut self, below: u64) -> u64 {
        self.state = self.state.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.state;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        (mixed ^ (mixed >> 31)) % below
    }

    /// A place in a list of that length.
    pub(crate) fn place(&mut self, length: usize) -> usize {
        self.below(length as u64) as usize
    }

    /// Whether it is this one time in `times`.
    pub(crate) fn one_in(&mut self, times: u64) -> bool {
        self.below(times) == 0
    }

    /// Whether this breaks now, as it does one time in `times` while anything may break.
    pub(crate) fn breaks(&mut self, fault: Fault, times: u64) -> bool {
        let broken = self.faulty && self.one_in(times);
        if broken {
            self.count(fault);
        }
        broken
    }

    /// Counts what was broken.
    pub(crate) fn count(&mut self, fault: Fault) {
        *self.faults.entry(fault).or_default() += 1;
    }
}

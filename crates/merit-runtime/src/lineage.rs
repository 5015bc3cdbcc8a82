//! The lineages of a log: the first, and one more for each time that it went on from what differed.

use crate::RuntimeError;
use crate::layout::Layout;
use crate::store::Store;
use merit_core::id::Hex;
use merit_core::record::{self, ConfigEpoch, LogEnds};
use merit_core::{Datum, Kind};
use sha2::{Digest as _, Sha256};

/// Why a lineage began.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Cause {
    /// What differed: `topic/partition`.
    pub partition: String,
    /// Why the log goes on all the same, in a person's words.
    pub reason: String,
    /// Records right before it that no computing again is compared with.
    pub uncompared: u64,
}

impl Cause {
    pub(crate) fn of(lineage: &record::Lineage<'_>) -> Cause {
        let records = |ends: &LogEnds<'_>| ends.ends.iter().map(|at| at.end).sum::<u64>();
        let uncompared = records(&lineage.ends).saturating_sub(records(&lineage.base));
        Cause { partition: lineage.partition.into(), reason: lineage.reason.into(), uncompared }
    }
}

/// One lineage.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Lineage {
    /// Hex of SHA-256 of its first ConfigEpoch.
    pub name: String,
    /// Why it began; none for the first.
    pub cause: Option<Cause>,
}

/// Every lineage of a log, in order.
pub fn lineages(store: &Store, layout: &Layout) -> Result<Vec<Lineage>, RuntimeError> {
    let mut all = Vec::new();
    each_epoch(store, layout, 0, |bytes, epoch| {
        if all.is_empty() || epoch.lineage.is_some() {
            all.push(Lineage { name: Hex(&Sha256::digest(bytes)).to_string(), cause: epoch.lineage.as_ref().map(Cause::of) });
        }
    })?;
    Ok(all)
}

/// Gives every ConfigEpoch of the partition that none is missing from, from an offset on.
pub(crate) fn each_epoch(
    store: &Store,
    layout: &Layout,
    from: u64,
    mut each: impl FnMut(&[u8], &ConfigEpoch<'_>),
) -> Result<(), RuntimeError> {
    let mut records = store.read(layout.genesis(), from);
    while let Some((_, frame)) = records.next()? {
        if let Some(epoch) = (frame.kind() == Some(Kind::ConfigEpoch)).then(|| ConfigEpoch::decode(frame.payload)).flatten() {
            each(frame.payload, &epoch);
        }
    }
    Ok(())
}

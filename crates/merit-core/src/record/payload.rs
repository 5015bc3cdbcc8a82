//! The closed set of record types.

use super::*;
use crate::{Datum, List, Shape, Uuid};
use alloc::vec::Vec;

/// A set of record types.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Kinds(u64);

impl Kinds {
    /// A set of these.
    pub const fn of(kinds: &[Kind]) -> Kinds {
        let mut bits = 0;
        let mut at = 0;
        while at < kinds.len() {
            bits |= 1 << kinds[at] as u64;
            at += 1;
        }
        Kinds(bits)
    }

    /// Whether the set holds `kind`.
    pub const fn contains(self, kind: Kind) -> bool {
        self.0 & 1 << kind as u64 != 0
    }

    /// The members in the order of their numbers.
    pub fn iter(self) -> impl Iterator<Item = Kind> {
        Kind::ALL.iter().copied().filter(move |kind| self.contains(*kind))
    }
}

macro_rules! payloads {
    ($($number:literal $name:ident $(<$life:lifetime>)?),* $(,)?) => {
        /// A record type; its number stands in the embedded log and never changes.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
        #[repr(u8)]
        pub enum Kind { $(#[doc = concat!("[`", stringify!($name), "`]")] $name = $number),* }

        impl Kind {
            /// Every record type.
            pub const ALL: &'static [Kind] = &[$(Kind::$name),*];

            /// The type's name, that of its schema too.
            pub const fn name(self) -> &'static str {
                match self { $(Kind::$name => stringify!($name)),* }
            }

            /// The type of that number.
            pub const fn from_number(number: u8) -> Option<Kind> {
                match number { $($number => Some(Kind::$name),)* _ => None }
            }

            /// The type's shape.
            pub fn shape(self) -> &'static Shape {
                match self { $(Kind::$name => <$name as Datum>::SHAPE),* }
            }
        }

        /// A record of any type, by reference.
        #[derive(Clone, Copy, Debug, PartialEq)]
        pub enum Payload<'a> { $(#[doc = concat!("[`", stringify!($name), "`]")] $name(&'a $name $(<$life>)?)),* }

        impl<'a> Payload<'a> {
            /// Its type.
            pub const fn kind(&self) -> Kind {
                match self { $(Payload::$name(_) => Kind::$name),* }
            }

            /// Appends its encoding.
            #[inline]
            pub fn put(&self, out: &mut Vec<u8>) {
                match self { $(Payload::$name(value) => value.put(out)),* }
            }

            /// Reads a record of `kind` and hands it on; `None` where the bytes are not its canonical encoding.
            pub fn decode<R>(kind: Kind, bytes: &[u8], then: impl FnOnce(Payload<'_>) -> R) -> Option<R> {
                match kind { $(Kind::$name => $name::decode(bytes).map(|value| then(Payload::$name(&value)))),* }
            }
        }

        $(impl<'a> From<&'a $name $(<$life>)?> for Payload<'a> {
            fn from(value: &'a $name $(<$life>)?) -> Payload<'a> { Payload::$name(value) }
        })*
    };
}

payloads! {
    0 ConfigEpoch<'a>, 1 Tick, 2 Progress,
    3 EvalReport<'a>, 4 RawReport<'a>, 5 ProposePromotion<'a>, 6 AssignEntity<'a>, 7 AllocationOutcome<'a>,
    8 ReportAccepted<'a>, 9 Rejected<'a>, 10 ReportLate<'a>, 11 ScoreUpdated<'a>, 12 AggregateDelta<'a>,
    13 PromotionProposed<'a>, 14 DemotionProposed<'a>, 15 Held<'a>, 16 ReviewRequired<'a>, 17 EntityAssigned<'a>,
    18 RequestAllocation<'a>, 19 Approve<'a>, 20 Reject<'a>, 21 Release<'a>,
    22 DefinePool<'a>, 23 SetQuota<'a>, 24 PolicyBundle<'a>, 25 Recheck<'a>,
    26 Acked<'a>, 27 Observed<'a>, 28 Refused<'a>,
    29 PolicyDecided<'a>, 30 PoolDefined<'a>, 31 QuotaSet<'a>, 32 CommandRefused<'a>,
    33 AllocationRequested<'a>, 34 AllocationPended<'a>, 35 AllocationApproved<'a>, 36 AllocationDispatched<'a>,
    37 AllocationApplied<'a>, 38 AllocationConfirmed<'a>, 39 AllocationRejected<'a>,
    40 AllocationDraining<'a>, 41 AllocationReleased<'a>,
    42 AuditLeaf<'a>, 43 SealedLeaf<'a>, 44 StreamSeal<'a>, 45 StreamHeads<'a>, 46 AuditIncident<'a>,
    47 ReportDuplicate<'a>, 48 Preempt<'a>, 49 AllocationPreempted<'a>,
    50 CreateRetrain<'a>, 51 RetrainQueued<'a>, 52 RetrainUpdated<'a>,
}

#[allow(clippy::wildcard_enum_match_arm, reason = "most record types have none of these")]
impl<'a> Payload<'a> {
    /// Ids of the records that a decision rests on.
    pub fn parents(&self) -> List<'a, Uuid> {
        match self {
            Payload::PromotionProposed(record) => record.evidence.parents,
            Payload::DemotionProposed(record) => record.evidence.parents,
            Payload::Held(record) => record.evidence.parents,
            Payload::ReviewRequired(record) => record.evidence.parents,
            Payload::AllocationRequested(record) => record.parents,
            Payload::AllocationPended(record) => record.parents,
            Payload::AllocationApproved(record) => record.parents,
            Payload::AllocationApplied(record) => record.parents,
            Payload::AllocationConfirmed(record) => record.parents,
            Payload::AllocationRejected(record) => record.parents,
            Payload::AllocationDraining(record) => record.parents,
            Payload::AllocationReleased(record) => record.parents,
            Payload::AllocationPreempted(record) => record.parents,
            Payload::RetrainQueued(record) => record.parents,
            Payload::RetrainUpdated(record) => record.parents,
            _ => List::EMPTY,
        }
    }

    /// The policy that a decision names.
    pub fn policy_id(&self) -> Option<&'a str> {
        match self {
            Payload::PolicyDecided(record) => Some(record.policy_id),
            Payload::AllocationRejected(record) => Some(record.policy_id),
            _ => None,
        }
    }
}

impl Kind {
    /// The record types that are decisions: each gets an audit leaf in the transaction that makes it.
    pub const DECISIONS: Kinds = Kinds::of(&[
        Kind::ConfigEpoch,
        Kind::PromotionProposed,
        Kind::DemotionProposed,
        Kind::Held,
        Kind::ReviewRequired,
        Kind::PolicyDecided,
        Kind::PoolDefined,
        Kind::QuotaSet,
        Kind::CommandRefused,
        Kind::AllocationRequested,
        Kind::AllocationPended,
        Kind::AllocationApproved,
        Kind::AllocationDispatched,
        Kind::AllocationApplied,
        Kind::AllocationConfirmed,
        Kind::AllocationRejected,
        Kind::AllocationDraining,
        Kind::AllocationReleased,
        Kind::AllocationPreempted,
        Kind::RetrainQueued,
        Kind::RetrainUpdated,
    ]);

    /// The type of that name.
    pub fn from_name(name: &str) -> Option<Kind> {
        Kind::ALL.iter().copied().find(|kind| kind.name() == name)
    }
}

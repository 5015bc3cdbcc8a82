//! What reaches hysteresis-promoter and what leaves it.

use merit_core::processor::Ports;
use merit_core::record::{Kinds, ScoreUpdated};
use merit_core::{Kind, Payload, ports};

ports! {
    /// Ports of hysteresis-promoter.
    PromoterPorts
    reads { ScoreUpdated<'a>, EntityAssigned<'a>, ProposePromotion<'a>, AllocationOutcome<'a>, Tick }
    writes { PromotionProposed<'a>, DemotionProposed<'a>, Held<'a>, ReviewRequired<'a>, RequestAllocation<'a>, Release<'a> }
}

/// Ports of the promoter of divisions and products: these hold no GPUs, so nothing that moves GPUs reaches it or leaves it.
#[derive(Clone, Copy, Debug)]
pub struct AggregatePorts;

impl Ports for AggregatePorts {
    type In<'a> = &'a ScoreUpdated<'a>;
    type Out<'a> = Out<'a>;
    const READS: Kinds = Kinds::of(&[Kind::ScoreUpdated]);
    const WRITES: Kinds = Kinds::of(&[Kind::PromotionProposed, Kind::DemotionProposed, Kind::Held, Kind::ReviewRequired]);

    #[allow(clippy::wildcard_enum_match_arm, reason = "every other record type is not for this processor")]
    fn accept(payload: Payload<'_>) -> Option<&ScoreUpdated<'_>> {
        match payload {
            Payload::ScoreUpdated(score) => Some(score),
            _ => None,
        }
    }
}

/// The ports of either promoter.
pub(crate) trait Promotes: for<'a> Ports<Out<'a> = Out<'a>> {}

impl Promotes for PromoterPorts {}
impl Promotes for AggregatePorts {}

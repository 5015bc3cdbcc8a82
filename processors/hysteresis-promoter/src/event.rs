//! What reaches hysteresis-promoter and what leaves it.

use merit_core::ports;

ports! {
    /// Ports of hysteresis-promoter.
    PromoterPorts
    reads { ScoreUpdated<'a>, EntityAssigned<'a>, ProposePromotion<'a>, AllocationOutcome<'a>, Tick }
    writes { PromotionProposed<'a>, DemotionProposed<'a>, Held<'a>, ReviewRequired<'a>, RequestAllocation<'a>, Release<'a> }
}

//! Proposals to move an entity between tiers.

use crate::{EventTime, Fixed, List, Uuid, datum, datum_enum};

datum_enum! {
    /// A change of tier.
    Action {
        /// To a higher tier.
        Promote,
        /// To a lower tier.
        Demote,
    }
}

datum! {
    /// A person's proposal; it overrides threshold, tier and dwell.
    ProposePromotion<'a> {
        /// The entity.
        agent_id: &'a str,
        /// Up or down.
        action: Action,
        /// Why.
        rationale: &'a str,
        /// The proposer's trust, 0 to 1.
        confidence: Option<Fixed>,
        /// A claim, kept beside the authenticated actor.
        requested_by: &'a str,
        /// Where to allocate; none allocates nothing.
        pool: Option<&'a str>,
        /// Milli-GPUs to allocate.
        delta: Option<u64>,
    }
}

datum! {
    /// Sets an entity's home.
    AssignEntity<'a> {
        /// The entity.
        agent_id: &'a str,
        /// Its division.
        division_id: &'a str,
        /// Its product.
        product_id: Option<&'a str>,
    }
}

datum! {
    /// An entity's home was set or changed.
    EntityAssigned<'a> {
        /// The entity.
        agent_id: &'a str,
        /// Its division.
        division_id: &'a str,
        /// Its product.
        product_id: Option<&'a str>,
    }
}

datum! {
    /// Anytime-valid confidence interval of the mean observation since the last change of tier or profile.
    Interval {
        /// Lower bound.
        low: Fixed,
        /// Upper bound.
        high: Fixed,
        /// Observations behind it.
        n: u64,
    }
}

datum! {
    /// What a proposal rests on.
    Evidence<'a> {
        /// The window that was evaluated.
        window: &'a str,
        /// Its score; none for a proposal by hand or by outcome.
        score: Option<Fixed>,
        /// The threshold it was compared with.
        threshold: Option<Fixed>,
        /// Trust, 0 to 1.
        confidence: Fixed,
        /// Closed windows in a row beyond the threshold.
        windows_in_row: u64,
        /// Interval of the mean observation.
        interval: Option<Interval>,
        /// First 8 bytes of the profile's digest.
        profile: [u8; 8],
        /// The records that led here.
        parents: List<'a, Uuid>,
    }
}

datum! {
    /// An entity earned a higher tier.
    PromotionProposed<'a> {
        /// The entity.
        agent_id: &'a str,
        /// Its division.
        division_id: &'a str,
        /// The tier it leaves.
        from_tier: &'a str,
        /// The tier it takes.
        to_tier: &'a str,
        /// In words.
        rationale: &'a str,
        /// Who asked.
        requested_by: &'a str,
        /// When, in event time.
        timestamp: EventTime,
        /// Why.
        evidence: Evidence<'a>,
    }
}

datum! {
    /// An entity lost its tier.
    DemotionProposed<'a> {
        /// The entity.
        agent_id: &'a str,
        /// Its division.
        division_id: &'a str,
        /// The tier it leaves.
        from_tier: &'a str,
        /// The tier it takes.
        to_tier: &'a str,
        /// In words.
        rationale: &'a str,
        /// Who asked.
        requested_by: &'a str,
        /// When, in event time.
        timestamp: EventTime,
        /// Why.
        evidence: Evidence<'a>,
    }
}

datum! {
    /// A threshold was crossed and a guard suppressed the change; once a crossing.
    Held<'a> {
        /// The entity.
        agent_id: &'a str,
        /// Its division.
        division_id: &'a str,
        /// The tier it keeps.
        tier: &'a str,
        /// The guard: `dwell`, `cooldown` or `rate`.
        guard: &'a str,
        /// In words.
        rationale: &'a str,
        /// When, in event time.
        timestamp: EventTime,
        /// What was seen.
        evidence: Evidence<'a>,
    }
}

datum! {
    /// The windows say promote and the evidence is too thin; a person decides. Once a crossing.
    ReviewRequired<'a> {
        /// The entity.
        agent_id: &'a str,
        /// Its division.
        division_id: &'a str,
        /// The tier it keeps until then.
        tier: &'a str,
        /// In words.
        rationale: &'a str,
        /// When, in event time.
        timestamp: EventTime,
        /// What was seen.
        evidence: Evidence<'a>,
    }
}

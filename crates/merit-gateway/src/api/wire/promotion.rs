//! Proposals in JSON.

use super::*;
use crate::model::row::Lifecycle;
use merit_core::record::Evidence;
use merit_core::{Datum, EventTime, Kind, Uuid};
use schemars::JsonSchema;
use serde::Serialize;

/// Interval of the mean observation since the last change of tier.
#[derive(Serialize, JsonSchema)]
pub(crate) struct Ci {
    low: Decimal,
    high: Decimal,
    n: u64,
}

/// What a proposal asks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Action {
    Promote,
    Demote,
    Hold,
}

impl Action {
    pub(crate) fn name(self) -> &'static str {
        match self {
            Action::Promote => "promote",
            Action::Demote => "demote",
            Action::Hold => "hold",
        }
    }
}

/// A proposal to change the tier of an entity.
#[derive(Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub(crate) struct PromotionEvent<'a> {
    id: Id,
    agent_id: &'a str,
    entity_id: &'a str,
    division_id: &'a str,
    pub(crate) action: Action,
    pub(crate) status: Status,
    rationale: &'a str,
    confidence: Decimal,
    #[serde(skip_serializing_if = "Option::is_none")]
    requested_by: Option<&'a str>,
    /// In event time.
    created_at: Time,
    ts: Time,
    #[serde(skip_serializing_if = "Option::is_none")]
    from_tier: Option<&'a str>,
    /// The tier that the entity has behind it.
    tier: &'a str,
    /// The guard that holds a change back.
    #[serde(skip_serializing_if = "Option::is_none")]
    guard: Option<&'a str>,
    /// The window that was evaluated; `manual` where a person proposed.
    window: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    score: Option<Decimal>,
    #[serde(skip_serializing_if = "Option::is_none")]
    threshold: Option<Decimal>,
    windows_in_row: u64,
    #[serde(skip_serializing_if = "Option::is_none")]
    ci: Option<Ci>,
    /// What it asked for.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) allocation_id: Option<Id>,
}

/// What all proposals say.
struct Proposal<'a> {
    agent_id: &'a str,
    division_id: &'a str,
    action: Action,
    status: Status,
    rationale: &'a str,
    requested_by: Option<&'a str>,
    from_tier: Option<&'a str>,
    tier: &'a str,
    guard: Option<&'a str>,
    timestamp: EventTime,
    evidence: Evidence<'a>,
}

impl<'a> PromotionEvent<'a> {
    /// A proposal as it was made; none for another record.
    pub(crate) fn of(id: Uuid, kind: Kind, payload: &'a [u8]) -> Option<PromotionEvent<'a>> {
        let Proposal { agent_id, division_id, action, status, rationale, requested_by, from_tier, tier, guard, timestamp, evidence } =
            proposal(kind, payload)?;
        let Evidence { window, score, threshold, confidence, windows_in_row, interval, .. } = evidence;
        Some(PromotionEvent {
            id: Id(id),
            agent_id,
            entity_id: agent_id,
            division_id,
            action,
            status,
            rationale,
            confidence: Decimal(confidence),
            requested_by,
            created_at: Time(timestamp),
            ts: Time(timestamp),
            from_tier,
            tier,
            guard,
            window,
            score: score.map(Decimal),
            threshold: threshold.map(Decimal),
            windows_in_row,
            ci: interval.map(|interval| Ci { low: Decimal(interval.low), high: Decimal(interval.high), n: interval.n }),
            allocation_id: None,
        })
    }

    /// The entity.
    pub(crate) fn agent_id(&self) -> &'a str {
        self.agent_id
    }

    /// With what became of the allocation that it asked for.
    pub(crate) fn with(mut self, allocation: Option<(Uuid, Lifecycle)>) -> Self {
        if let Some((id, lifecycle)) = allocation {
            (self.allocation_id, self.status) = (Some(Id(id)), status_of_promotion(lifecycle));
        }
        self
    }
}

#[allow(clippy::wildcard_enum_match_arm, reason = "every other record is no proposal")]
fn proposal(kind: Kind, payload: &[u8]) -> Option<Proposal<'_>> {
    use merit_core::record::{DemotionProposed, Held, PromotionProposed, ReviewRequired};
    match kind {
        Kind::PromotionProposed => {
            let record = PromotionProposed::decode(payload)?;
            let PromotionProposed { agent_id, division_id, from_tier, to_tier, rationale, requested_by, timestamp, evidence } = record;
            let (action, status) = (Action::Promote, Status::Pending);
            let (requested_by, from_tier) = (Some(requested_by), Some(from_tier));
            let tier = to_tier;
            Some(Proposal {
                agent_id,
                division_id,
                action,
                status,
                rationale,
                requested_by,
                from_tier,
                tier,
                guard: None,
                timestamp,
                evidence,
            })
        }
        Kind::DemotionProposed => {
            let record = DemotionProposed::decode(payload)?;
            let DemotionProposed { agent_id, division_id, from_tier, to_tier, rationale, requested_by, timestamp, evidence } = record;
            let (action, status) = (Action::Demote, Status::Applied);
            let (requested_by, from_tier) = (Some(requested_by), Some(from_tier));
            let tier = to_tier;
            Some(Proposal {
                agent_id,
                division_id,
                action,
                status,
                rationale,
                requested_by,
                from_tier,
                tier,
                guard: None,
                timestamp,
                evidence,
            })
        }
        Kind::Held => {
            let Held { agent_id, division_id, tier, guard, rationale, timestamp, evidence } = Held::decode(payload)?;
            let (action, status, guard) = (Action::Hold, Status::Applied, Some(guard));
            let (requested_by, from_tier) = (None, None);
            Some(Proposal { agent_id, division_id, action, status, rationale, requested_by, from_tier, tier, guard, timestamp, evidence })
        }
        Kind::ReviewRequired => {
            let ReviewRequired { agent_id, division_id, tier, rationale, timestamp, evidence } = ReviewRequired::decode(payload)?;
            let (action, status, guard) = (Action::Hold, Status::Pending, Some("review"));
            let (requested_by, from_tier) = (None, None);
            Some(Proposal { agent_id, division_id, action, status, rationale, requested_by, from_tier, tier, guard, timestamp, evidence })
        }
        _ => None,
    }
}

fn status_of_promotion(lifecycle: Lifecycle) -> Status {
    match lifecycle {
        Lifecycle::Approved | Lifecycle::Dispatched => Status::Approved,
        other => status_of(other),
    }
}

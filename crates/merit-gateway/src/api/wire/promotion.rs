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

impl<'a> PromotionEvent<'a> {
    /// A proposal as it was made; none for another record.
    #[allow(clippy::wildcard_enum_match_arm, reason = "every other record is no proposal")]
    pub(crate) fn of(id: Uuid, kind: Kind, payload: &'a [u8]) -> Option<PromotionEvent<'a>> {
        use merit_core::record::{DemotionProposed, Held, PromotionProposed, ReviewRequired};
        Some(match kind {
            Kind::PromotionProposed => {
                let PromotionProposed { agent_id, division_id, from_tier, to_tier, rationale, requested_by, timestamp, evidence } =
                    PromotionProposed::decode(payload)?;
                let event = PromotionEvent::held(id, (agent_id, division_id), to_tier, rationale, timestamp, evidence);
                let (action, status) = (Action::Promote, Status::Pending);
                PromotionEvent { action, status, from_tier: Some(from_tier), requested_by: Some(requested_by), ..event }
            }
            Kind::DemotionProposed => {
                let DemotionProposed { agent_id, division_id, from_tier, to_tier, rationale, requested_by, timestamp, evidence } =
                    DemotionProposed::decode(payload)?;
                let event = PromotionEvent::held(id, (agent_id, division_id), to_tier, rationale, timestamp, evidence);
                PromotionEvent { action: Action::Demote, from_tier: Some(from_tier), requested_by: Some(requested_by), ..event }
            }
            Kind::Held => {
                let Held { agent_id, division_id, tier, guard, rationale, timestamp, evidence } = Held::decode(payload)?;
                let event = PromotionEvent::held(id, (agent_id, division_id), tier, rationale, timestamp, evidence);
                PromotionEvent { guard: Some(guard), ..event }
            }
            Kind::ReviewRequired => {
                let ReviewRequired { agent_id, division_id, tier, rationale, timestamp, evidence } = ReviewRequired::decode(payload)?;
                let event = PromotionEvent::held(id, (agent_id, division_id), tier, rationale, timestamp, evidence);
                PromotionEvent { status: Status::Pending, guard: Some("review"), ..event }
            }
            _ => return None,
        })
    }

    /// What all proposals say, as one that keeps the tier says it.
    fn held(
        id: Uuid,
        (agent_id, division_id): (&'a str, &'a str),
        tier: &'a str,
        rationale: &'a str,
        timestamp: EventTime,
        evidence: Evidence<'a>,
    ) -> PromotionEvent<'a> {
        let Evidence { window, score, threshold, confidence, windows_in_row, interval, .. } = evidence;
        PromotionEvent {
            id: Id(id),
            agent_id,
            entity_id: agent_id,
            division_id,
            action: Action::Hold,
            status: Status::Applied,
            rationale,
            confidence: Decimal(confidence),
            requested_by: None,
            created_at: Time(timestamp),
            ts: Time(timestamp),
            from_tier: None,
            tier,
            guard: None,
            window,
            score: score.map(Decimal),
            threshold: threshold.map(Decimal),
            windows_in_row,
            ci: interval.map(|interval| Ci { low: Decimal(interval.low), high: Decimal(interval.high), n: interval.n }),
            allocation_id: None,
        }
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

fn status_of_promotion(lifecycle: Lifecycle) -> Status {
    match lifecycle {
        Lifecycle::Approved | Lifecycle::Dispatched => Status::Approved,
        other => status_of(other),
    }
}

//! What the services say in JSON: seed 001's fields by their names, with what Merit knows beside them.

use crate::model::row::{AllocationRow, JobRow, Lifecycle, PoolRow};
use merit_core::record::{Blocker, Evidence, PoolState, RetrainQueued, RetrainStatus, ScoreUpdated};
use merit_core::{Datum, EventTime, Fixed, Kind, List, Uuid};
use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Deserialize, Serialize, Serializer};
use std::borrow::Cow;

/// A decimal of at most six places, exact in JSON up to 2^53 millionths.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Decimal(pub(crate) Fixed);

impl Serialize for Decimal {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_f64(self.0.0 as f64 / 1e6)
    }
}

impl JsonSchema for Decimal {
    fn schema_name() -> Cow<'static, str> {
        "Decimal".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({ "type": "number", "description": "A decimal of at most six places." })
    }
}

/// GPUs from milli-GPUs: an integer where they are whole.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Gpus(pub(crate) i64);

impl Gpus {
    fn of(milli: u64) -> Gpus {
        Gpus(i64::try_from(milli).unwrap_or(i64::MAX))
    }
}

impl Serialize for Gpus {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self.0 % 1_000 {
            0 => serializer.serialize_i64(self.0 / 1_000),
            _ => serializer.serialize_f64(self.0 as f64 / 1e3),
        }
    }
}

impl JsonSchema for Gpus {
    fn schema_name() -> Cow<'static, str> {
        "Gpus".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({ "type": "number", "description": "GPUs; fewer than none where they are taken back." })
    }
}

/// A time as RFC 3339 with milliseconds, in UTC.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Time(pub(crate) EventTime);

impl Serialize for Time {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(&self.0)
    }
}

impl JsonSchema for Time {
    fn schema_name() -> Cow<'static, str> {
        "Time".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({ "type": "string", "format": "date-time" })
    }
}

/// An id in its text form.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Id(pub(crate) Uuid);

impl Serialize for Id {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(&self.0)
    }
}

impl<'de> Deserialize<'de> for Id {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Id, D::Error> {
        let text = Cow::<'de, str>::deserialize(deserializer)?;
        Uuid::parse(&text).map(Id).ok_or_else(|| serde::de::Error::custom("is not an id as Merit gives them, a UUID"))
    }
}

impl JsonSchema for Id {
    fn schema_name() -> Cow<'static, str> {
        "Id".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({ "type": "string", "format": "uuid" })
    }
}

/// A whole number from 0 on. JSON has one kind of number: `1.0` is 1.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Whole(pub(crate) u64);

impl<'de> Deserialize<'de> for Whole {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Whole, D::Error> {
        let number = serde_json::Number::deserialize(deserializer)?;
        // Up to 2^53 every whole number is a double of its own.
        let exact = |float: &f64| float.fract() == 0.0 && (0.0..=9_007_199_254_740_992.0).contains(float);
        let whole = number.as_u64().or_else(|| number.as_f64().filter(exact).map(|float| float as u64));
        whole.map(Whole).ok_or_else(|| serde::de::Error::custom(format_args!("{number} is no whole number from 0 on")))
    }
}

/// What one metric gives to a score.
#[derive(Serialize, JsonSchema)]
pub(crate) struct Component<'a> {
    metric: &'a str,
    /// Mean over the window, normalised by the profile.
    value: Decimal,
    /// Its part of the raw score.
    contribution: Decimal,
}

#[derive(Serialize, JsonSchema)]
pub(crate) struct Components<'a> {
    components: Vec<Component<'a>>,
}

/// A score at a time in the past.
#[derive(Serialize, JsonSchema)]
pub(crate) struct PastScore {
    pub(crate) timestamp: Time,
    pub(crate) score: Decimal,
    /// Reports in the window.
    pub(crate) n: u64,
}

/// The score of an agent, division or product over one window.
#[derive(Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub(crate) struct AgentScore<'a> {
    agent_id: &'a str,
    /// Rounded to the profile's decimals; thresholds compare this.
    score: Decimal,
    /// Trust in the window that the last report asked about, 0 to 1; none for another window.
    #[serde(skip_serializing_if = "Option::is_none")]
    confidence: Option<Decimal>,
    components: Components<'a>,
    window: &'a str,
    /// When the report behind it was received.
    computed_at: Time,
    /// Sum of the contributions.
    raw_score: Decimal,
    /// Reports in the window.
    n: u64,
    #[serde(skip_serializing_if = "Option::is_none")]
    standard_error: Option<Decimal>,
    division_id: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    product_id: Option<&'a str>,
    /// When the report behind it was measured.
    timestamp: Time,
    /// Scores of this window in the time that was asked for, the latest of each minute, from the earliest.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) history: Option<Vec<PastScore>>,
    /// Where the history goes on; none at its end.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) next_cursor: Option<String>,
}

impl<'a> AgentScore<'a> {
    /// The score of a window; none where it has none.
    pub(crate) fn of(score: &ScoreUpdated<'a>, window: &str) -> Option<AgentScore<'a>> {
        let found = score.windows.iter().find(|known| known.name == window)?;
        let components = score.metrics.iter().zip(found.components).filter_map(|(metric, component)| {
            component.map(|part| Component { metric, value: Decimal(part.value), contribution: Decimal(part.contribution) })
        });
        Some(AgentScore {
            agent_id: score.agent_id,
            score: Decimal(found.score),
            confidence: (found.name == score.window).then_some(Decimal(score.confidence)),
            components: Components { components: components.collect() },
            window: found.name,
            computed_at: Time(score.received_at),
            raw_score: Decimal(found.raw_score),
            n: found.n,
            standard_error: found.standard_error.map(Decimal),
            division_id: score.division_id,
            product_id: score.product_id,
            timestamp: Time(score.timestamp),
            history: None,
            next_cursor: None,
        })
    }
}

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

/// Where a proposal, or an allocation, stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Status {
    Pending,
    Approved,
    Applied,
    Rejected,
}

impl Status {
    pub(crate) fn name(self) -> &'static str {
        match self {
            Status::Pending => "pending",
            Status::Approved => "approved",
            Status::Applied => "applied",
            Status::Rejected => "rejected",
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

/// K10: the public status of an allocation.
pub(crate) fn status_of(lifecycle: Lifecycle) -> Status {
    match lifecycle {
        Lifecycle::Requested | Lifecycle::Pending | Lifecycle::Approved | Lifecycle::Dispatched => Status::Pending,
        Lifecycle::Applied | Lifecycle::Confirmed | Lifecycle::Draining | Lifecycle::Released => Status::Applied,
        Lifecycle::Rejected => Status::Rejected,
    }
}

fn status_of_promotion(lifecycle: Lifecycle) -> Status {
    match lifecycle {
        Lifecycle::Approved | Lifecycle::Dispatched => Status::Approved,
        other => status_of(other),
    }
}

fn lifecycle_name(lifecycle: Lifecycle) -> &'static str {
    match lifecycle {
        Lifecycle::Requested => "requested",
        Lifecycle::Pending => "pending",
        Lifecycle::Approved => "approved",
        Lifecycle::Dispatched => "dispatched",
        Lifecycle::Applied => "applied",
        Lifecycle::Confirmed => "confirmed",
        Lifecycle::Draining => "draining",
        Lifecycle::Released => "released",
        Lifecycle::Rejected => "rejected",
    }
}

/// What policy says of an allocation.
#[derive(Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub(crate) struct SentinelDecision<'a> {
    allowed: bool,
    policy_id: &'a str,
    reason: &'a str,
}

/// One reason why an allocation waits, or ended.
#[derive(Serialize, JsonSchema)]
pub(crate) struct BlockedBy<'a> {
    rule: &'a str,
    detail: &'a str,
}

/// An allocation, or a preemption, as it stands.
#[derive(Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub(crate) struct AllocationRecord<'a> {
    id: Id,
    #[serde(skip_serializing_if = "Option::is_none")]
    promotion_id: Option<Id>,
    agent_id: &'a str,
    entity_id: &'a str,
    division_id: &'a str,
    pool: &'a str,
    delta: Gpus,
    reason: &'a str,
    requested_by: &'a str,
    pub(crate) status: Status,
    /// Where it stands in full: requested, pending, approved, dispatched, applied, confirmed, draining, released, rejected.
    lifecycle: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    sentinel_decision: Option<SentinelDecision<'a>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    approved_by: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    applied_by: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    applied_at: Option<Time>,
    #[serde(skip_serializing_if = "Option::is_none")]
    rejected_by: Option<&'a str>,
    /// Most severe first.
    blockers: Vec<BlockedBy<'a>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    not_before: Option<Time>,
    /// What the entity holds in the pool since its last step.
    #[serde(skip_serializing_if = "Option::is_none")]
    holds: Option<Gpus>,
    /// In ledger time.
    created_at: Time,
    ts: Time,
    updated_at: Time,
}

impl<'a> AllocationRecord<'a> {
    pub(crate) fn of(id: Uuid, row: &AllocationRow<'a>) -> AllocationRecord<'a> {
        let decided = row.policy_id.map(|policy_id| SentinelDecision {
            allowed: row.lifecycle != Lifecycle::Rejected,
            policy_id,
            reason: row.policy_reason,
        });
        AllocationRecord {
            id: Id(id),
            promotion_id: row.promotion_id.map(Id),
            agent_id: row.agent_id,
            entity_id: row.agent_id,
            division_id: row.division_id,
            pool: row.pool,
            delta: Gpus(row.delta),
            reason: row.reason,
            requested_by: row.requested_by,
            status: status_of(row.lifecycle),
            lifecycle: lifecycle_name(row.lifecycle),
            sentinel_decision: decided,
            approved_by: row.approved_by,
            applied_by: row.applied_by,
            applied_at: row.applied_at.map(Time),
            rejected_by: row.rejected_by,
            blockers: blocked_by(row.blockers),
            not_before: row.not_before.map(Time),
            holds: row.quantity.map(Gpus::of),
            created_at: Time(row.requested_at),
            ts: Time(row.requested_at),
            updated_at: Time(row.updated_at),
        }
    }
}

fn blocked_by<'a>(blockers: List<'a, Blocker<'a>>) -> Vec<BlockedBy<'a>> {
    blockers.iter().map(|Blocker { rule, detail }| BlockedBy { rule, detail }).collect()
}

/// A job that trains a model again.
#[derive(Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub(crate) struct RetrainJob<'a> {
    id: Id,
    model_family: &'a str,
    dataset_refs: Vec<&'a str>,
    /// A larger number is more urgent.
    priority: u32,
    status: JobStatus,
    /// What is known of the status, in words.
    #[serde(skip_serializing_if = "str::is_empty")]
    detail: &'a str,
    /// None before it ended well.
    result_metrics: Option<std::collections::BTreeMap<String, f64>>,
    requested_by: &'a str,
    /// The entity that holds its GPUs.
    entity_id: &'a str,
    pool: &'a str,
    gpus: Gpus,
    /// GPU hours that it is expected to take.
    gpu_hours: Gpus,
    /// The allocation of its GPUs, once it was asked for.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) allocation_id: Option<Id>,
    /// In ledger time.
    created_at: Time,
    ts: Time,
    updated_at: Time,
}

/// How far a job came.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
enum JobStatus {
    Queued,
    Running,
    Done,
    Failed,
}

impl<'a> RetrainJob<'a> {
    pub(crate) fn of(row: &JobRow<'a>) -> Option<RetrainJob<'a>> {
        let queued = RetrainQueued::decode(row.queued)?;
        let RetrainQueued {
            job_id, model_family, dataset_refs, priority, requested_by, entity_id, pool, gpus, gpu_hours, timestamp, ..
        } = queued;
        let status = match row.status {
            RetrainStatus::Queued => JobStatus::Queued,
            RetrainStatus::Running => JobStatus::Running,
            RetrainStatus::Done => JobStatus::Done,
            RetrainStatus::Failed => JobStatus::Failed,
        };
        Some(RetrainJob {
            id: Id(job_id),
            model_family,
            dataset_refs: dataset_refs.iter().collect(),
            priority,
            status,
            detail: row.detail,
            result_metrics: None,
            requested_by,
            entity_id,
            pool,
            gpus: Gpus::of(gpus),
            gpu_hours: Gpus::of(gpu_hours),
            allocation_id: row.allocation_id.map(Id),
            created_at: Time(timestamp),
            ts: Time(timestamp),
            updated_at: Time(row.updated_at),
        })
    }
}

/// A division's share of a pool.
#[derive(Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Quota {
    pub(crate) division_id: String,
    nominal: Gpus,
}

impl Quota {
    pub(crate) fn of(division_id: String, nominal: u64) -> Quota {
        Quota { division_id, nominal: Gpus::of(nominal) }
    }
}

/// Whether a pool gives.
#[derive(Serialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
enum Gives {
    Open,
    Hold,
}

/// A pool as it stands.
#[derive(Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Pool {
    name: String,
    capacity: Gpus,
    /// Units in place.
    used: Gpus,
    /// Units that are approved and not yet in place.
    reserved: Gpus,
    /// Units that nobody has.
    available: Gpus,
    /// `hold`: it keeps what is given and gives no more.
    state: Gives,
    quotas: Vec<Quota>,
}

impl Pool {
    pub(crate) fn of(name: String, row: &PoolRow, quotas: Vec<Quota>) -> Pool {
        let PoolRow { capacity, state, reserved, held } = *row;
        let state = match state {
            PoolState::Open => Gives::Open,
            PoolState::Hold => Gives::Hold,
        };
        let available = Gpus::of(capacity.saturating_sub(held).saturating_sub(reserved));
        Pool { name, capacity: Gpus::of(capacity), used: Gpus::of(held), reserved: Gpus::of(reserved), available, state, quotas }
    }
}

/// A record's value as JSON, by its schema.
pub(crate) fn value_of(kind: Kind, payload: &[u8]) -> serde_json::Value {
    let mut text = String::new();
    let written = merit_codec::write_json(kind.shape(), payload, &mut text);
    written.and_then(|()| serde_json::from_str(&text).ok()).unwrap_or_default()
}

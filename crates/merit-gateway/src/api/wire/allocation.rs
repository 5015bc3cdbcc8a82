//! Allocations and pools in JSON.

use super::*;
use crate::model::row::{AllocationRow, Lifecycle, PoolRow};
use merit_core::record::{Blocker, PoolState};
use merit_core::{List, Uuid};
use schemars::JsonSchema;
use serde::Serialize;

/// K10: the public status of an allocation.
pub(crate) fn status_of(lifecycle: Lifecycle) -> Status {
    match lifecycle {
        Lifecycle::Requested | Lifecycle::Pending | Lifecycle::Approved | Lifecycle::Dispatched => Status::Pending,
        Lifecycle::Applied | Lifecycle::Confirmed | Lifecycle::Draining | Lifecycle::Released => Status::Applied,
        Lifecycle::Rejected => Status::Rejected,
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
    /// What preemptions took back of it.
    #[serde(skip_serializing_if = "Option::is_none")]
    taken: Option<Gpus>,
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
            taken: (row.taken > 0).then(|| Gpus::of(row.taken)),
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

//! Asking for GPUs, and taking them back.

use super::{left_by, unknown};
use crate::api::app::{App, Order, once};
use crate::api::code;
use crate::api::command::{agent_or_entity, later, milli_gpus, one_of, replayed};
use crate::api::wire::{AllocationRecord, Id, Status, Whole};
use crate::call::{Call, is_idempotency_key};
use crate::model::row::AllocationRow;
use crate::operation::Answer;
use crate::refusal::Refusal;
use crate::reply::Reply;
use crate::strict;
use hyper::StatusCode;
use merit_core::record::{AllocationRequested, Approval, MAX_TEXT, Preempt, RequestAllocation};
use merit_core::{Datum, Kind, MAX_NAME, Payload};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use std::sync::Arc;

pub(super) const PREEMPT: &str = r#"{
  "agentId": "agent-123",
  "pool": "gpus-us-east",
  "delta": 1,
  "reason": "needed elsewhere",
  "requestedBy": "ops"
}"#;

/// Takes GPUs back.
#[derive(Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
#[schemars(transform = agent_or_entity)]
pub(super) struct Preemption {
    /// The entity that gives back; exactly one of `agentId` and `entityId` is there.
    #[schemars(length(min = 1, max = MAX_NAME))]
    agent_id: Option<String>,
    /// The same by seed 000's name.
    #[schemars(length(min = 1, max = MAX_NAME))]
    entity_id: Option<String>,
    #[schemars(length(min = 1, max = MAX_NAME))]
    pool: String,
    /// Whole GPUs.
    #[schemars(with = "u64", range(min = 1, max = 1_000_000))]
    delta: Whole,
    #[schemars(length(max = MAX_TEXT))]
    reason: String,
    /// A claim, kept beside who is authenticated; by default the same.
    #[schemars(length(max = MAX_NAME))]
    requested_by: Option<String>,
}

pub(super) fn preempt(app: Arc<App>, call: Call) -> Answer {
    Box::pin(async move {
        let asked: Preemption = strict::read(&call.body)?;
        let agent_id = one_of("agentId", [asked.agent_id, asked.entity_id])?;
        let command = Preempt {
            agent_id: &agent_id,
            pool: &asked.pool,
            delta: milli_gpus("delta", asked.delta.0)?,
            reason: &asked.reason,
            requested_by: asked.requested_by.as_deref().unwrap_or(call.principal.name()),
        };
        let once = once(&call, call.idempotency_key.as_deref(), &agent_id);
        let order = Order { topic: "alloc.requests", key: &asked.pool, payload: Payload::Preempt(&command), once };
        let Some(led) = app.run(&call, &order).await? else { return later("/alloc/requests") };
        let Some((id, _)) = led.first(Kind::AllocationPreempted) else {
            return Err(Refusal::new(StatusCode::CONFLICT, code::COMMAND_REFUSED, "nothing was taken back"));
        };
        let Some(row) = app.settled(id).await? else { return later(&format!("/alloc/{id}")) };
        let row = AllocationRow::decode(&row).ok_or_else(|| unknown(&app))?;
        Ok(replayed(Reply::json(StatusCode::ACCEPTED, &AllocationRecord::of(id, &left_by(row, &led)))?, &led))
    })
}

pub(super) const REQUEST: &str = r#"{
  "agentId": "agent-123",
  "pool": "gpus-us-east",
  "delta": 1,
  "reason": "promotion threshold met",
  "requestedBy": "eval-engine"
}"#;

/// A request for GPUs.
#[derive(Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
#[schemars(transform = agent_or_entity)]
pub(super) struct Request {
    /// The promotion behind it.
    promotion_id: Option<Id>,
    /// The entity that gets them; exactly one of `agentId` and `entityId` is there.
    #[schemars(length(min = 1, max = MAX_NAME))]
    agent_id: Option<String>,
    /// The same by seed 000's name.
    #[schemars(length(min = 1, max = MAX_NAME))]
    entity_id: Option<String>,
    /// The division that pays; else the entity's home.
    #[schemars(length(min = 1, max = MAX_NAME))]
    division_id: Option<String>,
    #[schemars(length(min = 1, max = MAX_NAME))]
    pool: String,
    /// Whole GPUs.
    #[schemars(with = "u64", range(min = 1, max = 1_000_000))]
    delta: Whole,
    #[schemars(length(max = MAX_TEXT))]
    reason: String,
    /// A claim, kept beside who is authenticated; by default the same.
    #[schemars(length(max = MAX_NAME))]
    requested_by: Option<String>,
    /// Seed 000's place of the `Idempotency-Key`, which comes first.
    #[schemars(length(min = 1, max = 255), regex(pattern = "^[!-~]+$"))]
    idempotency_key: Option<String>,
}

/// A request that was taken.
#[derive(Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub(super) struct Requested {
    request_id: Id,
    status: Status,
}

pub(super) fn request(app: Arc<App>, call: Call) -> Answer {
    Box::pin(async move {
        let asked: Request = strict::read(&call.body)?;
        let agent_id = one_of("agentId", [asked.agent_id, asked.entity_id])?;
        let pool = &asked.pool;
        let command = RequestAllocation {
            promotion_id: asked.promotion_id.map(|id| id.0),
            agent_id: &agent_id,
            division_id: asked.division_id.as_deref(),
            pool,
            delta: milli_gpus("delta", asked.delta.0)?,
            reason: &asked.reason,
            requested_by: asked.requested_by.as_deref().unwrap_or(call.principal.name()),
            confidence: None,
            approval: Approval::Manual,
        };
        let in_body = asked.idempotency_key.as_deref();
        if in_body.is_some_and(|key| !is_idempotency_key(key)) {
            return Err(Refusal::value("idempotencyKey", "is not 1 to 255 visible ASCII characters"));
        }
        let once = once(&call, call.idempotency_key.as_deref().or(in_body), &agent_id);
        let order = Order { topic: "alloc.requests", key: pool, payload: Payload::RequestAllocation(&command), once };
        let Some(led) = app.run(&call, &order).await? else { return later("/alloc/requests") };
        let opened = led.first(Kind::AllocationRequested).and_then(|(_, payload)| AllocationRequested::decode(payload));
        let opened = opened.ok_or_else(|| Refusal::new(StatusCode::CONFLICT, code::COMMAND_REFUSED, "no allocation was opened"))?;
        let answer = Requested { request_id: Id(opened.allocation_id), status: Status::Pending };
        Ok(replayed(Reply::json(StatusCode::CREATED, &answer)?, &led))
    })
}

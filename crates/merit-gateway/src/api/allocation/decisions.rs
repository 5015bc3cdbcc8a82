//! What people decide on requests.

use super::{left_by, unknown};
use crate::api::app::{Answer as Led, App};
use crate::api::code;
use crate::api::command::{later, replayed};
use crate::api::wire::{AllocationRecord, Id, Status};
use crate::call::Call;
use crate::model::row::AllocationRow;
use crate::operation::Answer;
use crate::refusal::Refusal;
use crate::reply::Reply;
use crate::strict;
use hyper::StatusCode;
use merit_core::record::{Approve, MAX_TEXT, Reject};
use merit_core::{Datum, MAX_NAME, Payload, Uuid};
use schemars::JsonSchema;
use serde::Deserialize;
use std::sync::Arc;

pub(super) const APPROVE: &str = r#"{ "requestId": "00000000-0000-8000-8000-000000000000", "approvedBy": "allocator-bot" }"#;

pub(super) const REJECT: &str = r#"{
  "requestId": "00000000-0000-8000-8000-000000000000",
  "rationale": "budget is spent",
  "policyId": "finance-budget",
  "rejectedBy": "finance"
}"#;

/// An approval.
#[derive(Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(super) struct Approved {
    request_id: Id,
    /// A claim, kept beside who is authenticated; by default the same.
    #[schemars(length(max = MAX_NAME))]
    approved_by: Option<String>,
}

pub(super) fn approve(app: Arc<App>, call: Call) -> Answer {
    Box::pin(async move {
        let asked: Approved = strict::read(&call.body)?;
        let id = asked.request_id.0;
        let command = Approve { allocation_id: id, approved_by: asked.approved_by.as_deref().unwrap_or(call.principal.name()) };
        let Some(led) = app.about(&call, id, Payload::Approve(&command)).await? else {
            return later(&format!("/alloc/{id}"));
        };
        let settled = app.settled(id).await?;
        settled.map_or_else(|| later(&format!("/alloc/{id}")), |row| shown(&app, &call, id, &row, &led))
    })
}

/// The allocation behind an approval: 403 where policy rejected it, unless the caller prefers the record itself (K1).
fn shown(app: &App, call: &Call, id: Uuid, row: &[u8], led: &Led) -> Result<Reply, Refusal> {
    let row = left_by(AllocationRow::decode(row).ok_or_else(|| unknown(app))?, led);
    let record = AllocationRecord::of(id, &row);
    if record.status != Status::Rejected || call.prefer_representation {
        return Ok(replayed(Reply::json(StatusCode::OK, &record)?, led));
    }
    let policy = row.policy_id.unwrap_or_default();
    let message = format!("{policy}: {}", row.policy_reason);
    let refusal = Refusal::new(StatusCode::FORBIDDEN, code::ALLOCATION_BLOCKED, message).with("policyId", policy).record(&record);
    Err(Refusal { replayed: led.is_again(), ..refusal })
}

/// A rejection.
#[derive(Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(super) struct Rejection {
    request_id: Id,
    #[schemars(length(max = MAX_TEXT))]
    rationale: String,
    /// The policy that speaks.
    #[schemars(length(max = MAX_NAME))]
    policy_id: Option<String>,
    /// A claim, kept beside who is authenticated; by default the same.
    #[schemars(length(max = MAX_NAME))]
    rejected_by: Option<String>,
}

pub(super) fn reject(app: Arc<App>, call: Call) -> Answer {
    Box::pin(async move {
        let asked: Rejection = strict::read(&call.body)?;
        let id = asked.request_id.0;
        let command = Reject {
            allocation_id: id,
            rationale: &asked.rationale,
            policy_id: asked.policy_id.as_deref(),
            rejected_by: Some(asked.rejected_by.as_deref().unwrap_or(call.principal.name())),
        };
        let Some(led) = app.about(&call, id, Payload::Reject(&command)).await? else {
            return later(&format!("/alloc/{id}"));
        };
        let row = app.allocation(id)?.unwrap_or_default();
        let row = AllocationRow::decode(&row).ok_or_else(|| unknown(&app))?;
        Ok(replayed(Reply::json(StatusCode::OK, &AllocationRecord::of(id, &row))?, &led))
    })
}

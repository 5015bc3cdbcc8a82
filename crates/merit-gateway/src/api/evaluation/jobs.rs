//! Jobs that train a model again.

use crate::api::app::{App, Order, once};
use crate::api::code;
use crate::api::command::{later, replayed};
use crate::api::list::Range;
use crate::api::wire::{RetrainJob, Whole};
use crate::call::Call;
use crate::model::key::{Key, Table};
use crate::model::row::JobRow;
use crate::operation::Answer;
use crate::refusal::Refusal;
use crate::reply::Reply;
use crate::strict;
use hyper::StatusCode;
use merit_core::record::{CreateRetrain, MAX_REF, MAX_REFS, RetrainStatus};
use merit_core::{Datum, Kind, List, MAX_NAME, Payload, Uuid};
use merit_runtime::tables::Direction;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use std::sync::Arc;

pub(super) const RETRAIN: &str = r#"{
  "modelFamily": "vision-transformer",
  "datasetRefs": ["s3://datasets/v1"],
  "priority": 5
}"#;

/// A job that trains a model family again.
#[derive(Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(super) struct Retrain {
    #[schemars(length(min = 1, max = MAX_NAME))]
    model_family: String,
    /// What it learns from.
    #[serde(default)]
    #[schemars(length(max = MAX_REFS), inner(length(min = 1, max = MAX_REF)))]
    dataset_refs: Vec<String>,
    /// A larger number is more urgent; 0 by default.
    #[serde(default)]
    #[schemars(with = "u32", range(max = u32::MAX))]
    priority: Whole,
    /// The division that pays; else `default`.
    #[schemars(length(min = 1, max = MAX_NAME))]
    division_id: Option<String>,
    /// A claim, kept beside who is authenticated; by default the same.
    #[schemars(length(max = MAX_NAME))]
    requested_by: Option<String>,
}

pub(super) fn retrain(app: Arc<App>, call: Call) -> Answer {
    Box::pin(async move {
        let asked: Retrain = strict::read(&call.body)?;
        let refs: Vec<&str> = asked.dataset_refs.iter().map(String::as_str).collect();
        let command = CreateRetrain {
            model_family: &asked.model_family,
            dataset_refs: List::Slice(&refs),
            priority: u32::try_from(asked.priority.0).map_err(|_| Refusal::value("priority", "is over 4294967295"))?,
            division_id: asked.division_id.as_deref(),
            requested_by: asked.requested_by.as_deref().unwrap_or(call.principal.name()),
        };
        let payload = Payload::CreateRetrain(&command);
        let once = once(&call, call.idempotency_key.as_deref(), &asked.model_family);
        let order = Order { topic: "alloc.requests", key: &asked.model_family, payload, once };
        let Some(led) = app.run(&call, &order).await? else { return later("/eval/jobs") };
        let Some((id, _)) = led.first(Kind::RetrainQueued) else {
            return Err(Refusal::new(StatusCode::CONFLICT, code::COMMAND_REFUSED, "no job was queued"));
        };
        // Its request for GPUs is fed back: the answer names the allocation, once there is one.
        let asked_for = |row: JobRow<'_>| row.allocation_id.is_some() || row.status != RetrainStatus::Queued;
        let found = app.wait_for(|| Ok(app.job(id)?.filter(|row| JobRow::decode(row).is_some_and(asked_for)))).await?;
        let Some(row) = found else { return later(&format!("/eval/jobs/{id}")) };
        Ok(replayed(Reply::json(StatusCode::CREATED, &JobRow::decode(&row).as_ref().and_then(RetrainJob::of))?, &led))
    })
}

/// A page of jobs.
#[derive(Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub(super) struct Jobs<T> {
    jobs: Vec<T>,
    /// Where the next page begins; none behind the last one.
    #[serde(skip_serializing_if = "Option::is_none")]
    next_cursor: Option<String>,
}

pub(super) fn jobs(app: Arc<App>, call: Call) -> Answer {
    Box::pin(async move {
        // An id begins with the number of its record: the last ones of a lineage are the latest.
        let range = Range { prefix: Key::of(Table::Job).end(), from: None, to: None, direction: Direction::Reverse };
        let page = app.page(&call, &range, |_, row| {
            let row = JobRow::decode(row);
            Ok(row.as_ref().and_then(RetrainJob::of).and_then(|job| serde_json::to_value(job).ok()))
        })?;
        Reply::json(StatusCode::OK, &Jobs { jobs: page.items, next_cursor: page.next_cursor })
    })
}

pub(super) fn job(app: Arc<App>, call: Call) -> Answer {
    Box::pin(async move {
        let unknown = || Refusal::new(StatusCode::NOT_FOUND, code::JOB_UNKNOWN, "there is no such job");
        let id = call.text("id").and_then(Uuid::parse).ok_or_else(unknown)?;
        let row = app.job(id)?.ok_or_else(unknown)?;
        Reply::json(StatusCode::OK, &JobRow::decode(&row).as_ref().and_then(RetrainJob::of).ok_or_else(unknown)?)
    })
}

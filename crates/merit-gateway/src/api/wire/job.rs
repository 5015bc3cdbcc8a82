//! Retrain jobs in JSON.

use super::*;
use crate::model::row::JobRow;
use merit_core::Datum;
use merit_core::record::{RetrainQueued, RetrainStatus};
use schemars::JsonSchema;
use serde::Serialize;

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

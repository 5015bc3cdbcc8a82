//! Allocations and pools as they stand.

use super::unknown;
use crate::api::app::App;
use crate::api::list::Range;
use crate::api::wire::{AllocationRecord, Pool, Quota};
use crate::call::Call;
use crate::model::key::{Key, Table, last_id, take_name};
use crate::model::row::{AllocationRow, PoolRow, QuotaRow};
use crate::operation::Answer;
use crate::refusal::Refusal;
use crate::reply::Reply;
use hyper::StatusCode;
use merit_core::{Datum, Uuid};
use merit_runtime::tables::Direction;
use schemars::JsonSchema;
use serde::Serialize;
use std::sync::Arc;

pub(super) fn allocation_by_id(app: Arc<App>, call: Call) -> Answer {
    Box::pin(async move {
        let text = call.text("id").unwrap_or_default();
        let unknown = || unknown(&app);
        let id = Uuid::parse(text).ok_or_else(unknown)?;
        let row = app.allocation(id)?.ok_or_else(unknown)?;
        let row = AllocationRow::decode(&row).ok_or_else(unknown)?;
        Reply::json(StatusCode::OK, &AllocationRecord::of(id, &row))
    })
}

/// A page of allocations.
#[derive(Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub(super) struct Requests<T> {
    requests: Vec<T>,
    /// Where the next page begins; none behind the last one.
    #[serde(skip_serializing_if = "Option::is_none")]
    next_cursor: Option<String>,
}

pub(super) fn requests(app: Arc<App>, call: Call) -> Answer {
    Box::pin(async move {
        let prefix = Key::of(Table::AllocationTime).end();
        let range = Range { prefix, from: None, to: None, direction: Direction::Reverse };
        let (agent, pool, status) = (call.text("agentId"), call.text("pool"), call.text("status"));
        let page = app.page(&call, &range, |key, _| {
            let Some(id) = last_id(key) else { return Ok(None) };
            let row = app.allocation(id)?;
            let Some(row) = row.as_deref().and_then(AllocationRow::decode) else { return Ok(None) };
            let record = AllocationRecord::of(id, &row);
            let wanted = agent.is_none_or(|agent| agent == row.agent_id)
                && pool.is_none_or(|pool| pool == row.pool)
                && status.is_none_or(|status| status == record.status.name());
            Ok(wanted.then(|| serde_json::to_value(record).ok()).flatten())
        })?;
        Reply::json(StatusCode::OK, &Requests { requests: page.items, next_cursor: page.next_cursor })
    })
}

/// Every pool.
#[derive(Serialize, JsonSchema)]
pub(super) struct Pools {
    pools: Vec<Pool>,
}

pub(super) fn pools(app: Arc<App>, _: Call) -> Answer {
    Box::pin(async move {
        let mut pools = Vec::new();
        app.each(Key::of(Table::Pool), |mut rest, row| {
            pools.extend(take_name(&mut rest).zip(PoolRow::decode(row)));
        })?;
        let shown: Result<Vec<Pool>, Refusal> = pools
            .into_iter()
            .map(|(name, row)| {
                let mut quotas = Vec::new();
                app.each(Key::of(Table::Quota).name(&name), |mut rest, row| {
                    let quota = take_name(&mut rest).zip(QuotaRow::decode(row));
                    quotas.extend(quota.map(|(division, row)| Quota::of(division, row.nominal)));
                })?;
                Ok(Pool::of(name, &row, quotas))
            })
            .collect();
        Reply::json(StatusCode::OK, &Pools { pools: shown? })
    })
}

//! Allocations, pools and what entities hold, from the life of every allocation.

use super::fold::Folded;
use super::key::{Key, Table};
use super::row::{AllocationRow, IdRow, JobRow, Lifecycle, PoolRow, QuotaRow};
use merit_core::record::{
    AllocationApplied, AllocationApproved, AllocationConfirmed, AllocationPended, AllocationPreempted, AllocationRejected,
    AllocationReleased, AllocationRequested, PoolState, RetrainStatus, RetrainUpdated,
};
use merit_core::{Datum, EventTime, List, Payload, Uuid};
use merit_runtime::RuntimeError;
use merit_runtime::tables::Changes;

pub(super) fn fold(record: &Folded<'_>, rows: &mut Changes<'_>) -> Result<(), RuntimeError> {
    Payload::decode(record.kind, record.frame.payload, |payload| apply(payload, rows)).unwrap_or(Ok(()))
}

#[allow(clippy::wildcard_enum_match_arm, reason = "every other record of the topic says nothing of an allocation or a pool")]
fn apply(payload: Payload<'_>, rows: &mut Changes<'_>) -> Result<(), RuntimeError> {
    match payload {
        Payload::PoolDefined(defined) => {
            change_pool(rows, defined.pool, |pool| (pool.capacity, pool.state) = (defined.capacity, defined.state))
        }
        Payload::QuotaSet(set) => {
            rows.put(&Key::of(Table::Quota).name(set.pool).name(set.division_id).end(), &QuotaRow { nominal: set.nominal });
            Ok(())
        }
        Payload::AllocationRequested(requested) => {
            open(requested, rows);
            Ok(())
        }
        Payload::AllocationPended(pended) => pend(pended, rows),
        Payload::AllocationApproved(approved) => approve(approved, rows),
        Payload::AllocationDispatched(dispatched) => step(rows, dispatched.allocation_id, Lifecycle::Dispatched, dispatched.timestamp),
        Payload::AllocationApplied(applied) => applied_by(applied, rows),
        Payload::AllocationConfirmed(confirmed) => confirm(confirmed, rows),
        Payload::AllocationRejected(rejected) => reject(rejected, rows),
        Payload::AllocationDraining(draining) => step(rows, draining.allocation_id, Lifecycle::Draining, draining.timestamp),
        Payload::AllocationReleased(released) => release(released, rows),
        Payload::AllocationPreempted(preempted) => preempt(preempted, rows),
        Payload::RetrainQueued(queued) => {
            let mut bytes = Vec::new();
            queued.put(&mut bytes);
            let (allocation_id, status, updated_at) = (None, RetrainStatus::Queued, queued.timestamp);
            rows.put(&job_key(queued.job_id), &JobRow { queued: &bytes, allocation_id, status, detail: "", updated_at });
            Ok(())
        }
        Payload::RetrainUpdated(updated) => update_job(updated, rows),
        _ => Ok(()),
    }
}

fn open(requested: &AllocationRequested<'_>, rows: &mut Changes<'_>) {
    let &AllocationRequested { allocation_id, promotion_id, agent_id, division_id, pool, delta, reason, requested_by, timestamp, .. } =
        requested;
    let row = AllocationRow {
        promotion_id,
        delta: i64::try_from(delta).unwrap_or(i64::MAX),
        ..AllocationRow::new(agent_id, division_id, pool, reason, requested_by, timestamp)
    };
    rows.put(&allocation_key(allocation_id), &row);
    rows.mark(&Key::of(Table::AllocationTime).time(timestamp).id(allocation_id).end());
    if let Some(promotion) = promotion_id {
        rows.put(&Key::of(Table::AllocationOf).id(promotion).end(), &IdRow { id: allocation_id });
    }
}

/// A preemption lives as an allocation does, and takes back instead of giving.
fn preempt(preempted: &AllocationPreempted<'_>, rows: &mut Changes<'_>) -> Result<(), RuntimeError> {
    let &AllocationPreempted { allocation_id, agent_id, division_id, pool, delta, reason, requested_by, timestamp, .. } = preempted;
    let row = AllocationRow {
        delta: i64::try_from(delta).map_or(i64::MIN, |delta| -delta),
        lifecycle: Lifecycle::Dispatched,
        ..AllocationRow::new(agent_id, division_id.unwrap_or_default(), pool, reason, requested_by, timestamp)
    };
    rows.put(&allocation_key(allocation_id), &row);
    rows.mark(&Key::of(Table::AllocationTime).time(timestamp).id(allocation_id).end());
    preempted.taken.iter().try_for_each(|part| {
        change(rows, &mut Vec::new(), part.allocation_id, |row| {
            let taken = row.taken + part.delta;
            let is_whole = i64::try_from(taken).is_ok_and(|taken| row.delta <= taken);
            let lifecycle = if is_whole { Lifecycle::Released } else { row.lifecycle };
            AllocationRow { taken, lifecycle, updated_at: timestamp, ..row }
        })
        .map(drop)
    })
}

fn update_job(updated: &RetrainUpdated<'_>, rows: &mut Changes<'_>) -> Result<(), RuntimeError> {
    let key = job_key(updated.job_id);
    let before = rows.get(&key)?;
    if let Some(row) = before.as_deref().and_then(JobRow::decode) {
        let &RetrainUpdated { allocation_id, status, detail, timestamp, .. } = updated;
        rows.put(&key, &JobRow { allocation_id: Some(allocation_id), status, detail, updated_at: timestamp.max(row.updated_at), ..row });
    }
    Ok(())
}

fn job_key(id: Uuid) -> Vec<u8> {
    Key::of(Table::Job).id(id).end()
}

fn pend(pended: &AllocationPended<'_>, rows: &mut Changes<'_>) -> Result<(), RuntimeError> {
    change(rows, &mut Vec::new(), pended.allocation_id, |row| AllocationRow {
        lifecycle: Lifecycle::Pending,
        updated_at: pended.timestamp,
        blockers: pended.blockers,
        not_before: pended.not_before,
        ..row
    })
    .map(drop)
}

fn approve(approved: &AllocationApproved<'_>, rows: &mut Changes<'_>) -> Result<(), RuntimeError> {
    change(rows, &mut Vec::new(), approved.allocation_id, |row| AllocationRow {
        lifecycle: Lifecycle::Approved,
        updated_at: approved.timestamp,
        approved_by: Some(approved.approved_by),
        blockers: List::EMPTY,
        not_before: None,
        ..row
    })?;
    change_pool(rows, approved.pool, |pool| pool.reserved += approved.delta)
}

fn applied_by(applied: &AllocationApplied<'_>, rows: &mut Changes<'_>) -> Result<(), RuntimeError> {
    change(rows, &mut Vec::new(), applied.allocation_id, |row| AllocationRow {
        lifecycle: Lifecycle::Applied,
        updated_at: applied.timestamp,
        applied_by: Some(applied.applied_by),
        applied_at: Some(applied.timestamp),
        policy_id: Some(applied.policy_id),
        policy_reason: applied.reason,
        external_ref: applied.external_ref,
        ..row
    })
    .map(drop)
}

fn confirm(confirmed: &AllocationConfirmed<'_>, rows: &mut Changes<'_>) -> Result<(), RuntimeError> {
    change(rows, &mut Vec::new(), confirmed.allocation_id, |row| AllocationRow {
        lifecycle: Lifecycle::Confirmed,
        updated_at: confirmed.timestamp,
        quantity: Some(confirmed.quantity),
        ..row
    })?;
    change_pool(rows, confirmed.pool, |pool| {
        pool.reserved = pool.reserved.saturating_sub(confirmed.delta);
        pool.held += confirmed.delta;
    })
}

fn reject(rejected: &AllocationRejected<'_>, rows: &mut Changes<'_>) -> Result<(), RuntimeError> {
    let was = change(rows, &mut Vec::new(), rejected.allocation_id, |row| AllocationRow {
        lifecycle: Lifecycle::Rejected,
        updated_at: rejected.timestamp,
        rejected_by: Some(rejected.rejected_by),
        policy_id: Some(rejected.policy_id),
        policy_reason: rejected.reason,
        blockers: rejected.blockers,
        not_before: None,
        ..row
    })?;
    let reserved = [Lifecycle::Approved, Lifecycle::Dispatched, Lifecycle::Applied];
    match was.is_some_and(|was| reserved.contains(&was)) {
        true => change_pool(rows, rejected.pool, |pool| pool.reserved = pool.reserved.saturating_sub(rejected.delta)),
        false => Ok(()),
    }
}

fn release(released: &AllocationReleased<'_>, rows: &mut Changes<'_>) -> Result<(), RuntimeError> {
    change(rows, &mut Vec::new(), released.allocation_id, |row| AllocationRow {
        lifecycle: Lifecycle::Released,
        updated_at: released.timestamp,
        quantity: Some(released.quantity),
        ..row
    })?;
    change_pool(rows, released.pool, |pool| pool.held = pool.held.saturating_sub(released.delta))
}

fn allocation_key(id: Uuid) -> Vec<u8> {
    Key::of(Table::Allocation).id(id).end()
}

/// Changes an allocation that is there, with `scratch` for the row as it was; gives where it stood.
fn change<'a>(
    rows: &mut Changes<'_>,
    scratch: &'a mut Vec<u8>,
    id: Uuid,
    to: impl FnOnce(AllocationRow<'a>) -> AllocationRow<'a>,
) -> Result<Option<Lifecycle>, RuntimeError> {
    let key = allocation_key(id);
    *scratch = rows.get(&key)?.unwrap_or_default();
    let Some(row) = AllocationRow::decode(scratch) else { return Ok(None) };
    rows.put(&key, &to(row));
    Ok(Some(row.lifecycle))
}

fn step(rows: &mut Changes<'_>, id: Uuid, lifecycle: Lifecycle, updated_at: EventTime) -> Result<(), RuntimeError> {
    change(rows, &mut Vec::new(), id, |row| AllocationRow { lifecycle, updated_at, ..row }).map(drop)
}

fn change_pool(rows: &mut Changes<'_>, name: &str, change: impl FnOnce(&mut PoolRow)) -> Result<(), RuntimeError> {
    let key = Key::of(Table::Pool).name(name).end();
    let before = rows.get(&key)?;
    let empty = PoolRow { capacity: 0, state: PoolState::Open, reserved: 0, held: 0 };
    let mut pool = before.as_deref().and_then(PoolRow::decode).unwrap_or(empty);
    change(&mut pool);
    rows.put(&key, &pool);
    Ok(())
}

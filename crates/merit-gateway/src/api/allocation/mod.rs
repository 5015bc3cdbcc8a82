//! The allocation service: requests for GPUs, and what becomes of them.

mod decisions;
mod reading;
mod requests;

use super::app::{Answer as Led, App, Order, failed, once};
use super::list::{CURSOR, LIMIT};
use super::wire::AllocationRecord;
use super::{code, trace};
use crate::api::command::LATER;
use crate::call::Call;
use crate::model::key::Key;
use crate::model::row::{AllocationRow, Lifecycle};
use crate::operation::{Handle, Operation, Response, json, schema_of};
use crate::parameter::{Kind as ParameterKind, Parameter, Place};
use crate::refusal::Refusal;
use decisions::{APPROVE, Approved, REJECT, Rejection, approve, reject};
use hyper::{Method, StatusCode};
use merit_core::record::AllocationPended;
use merit_core::{Datum, Kind, MAX_NAME, Payload, Uuid};
use merit_runtime::tables::Direction;
use reading::{Pools, Requests, allocation_by_id, pools, requests};
use requests::{PREEMPT, Preemption, REQUEST, Request, Requested, preempt, request};
use std::ops::ControlFlow;

const ID: Parameter = Parameter {
    name: "id",
    place: Place::Path,
    required: true,
    kind: ParameterKind::Text { longest: 64 },
    description: "The allocation's id.",
};

const fn name(name: &'static str, description: &'static str) -> Parameter {
    Parameter { name, place: Place::Query, required: false, kind: ParameterKind::Text { longest: MAX_NAME }, description }
}

/// The operations on port 8052.
pub fn allocation() -> Vec<Operation<App>> {
    vec![
        Operation {
            method: Method::POST,
            path: "/alloc/request",
            id: "request",
            summary: "Ask for GPUs",
            description: "Opens an allocation that waits for approval. What policy says is found out when it is approved.",
            parameters: &[],
            body: Some(json(schema_of::<Request>, REQUEST)),
            responses: &const {
                [
                    Response::json(201, "It waits for approval.", schema_of::<Requested>),
                    LATER,
                    Response::refusal(409, "The request cannot be taken as things stand."),
                ]
            },
            handle: Handle::Call(request),
        },
        Operation {
            method: Method::GET,
            path: "/alloc/requests",
            id: "requests",
            summary: "Allocations, the latest first",
            description: "By the time of their request.",
            parameters: &const {
                [
                    name("agentId", "Of this entity alone."),
                    name("pool", "Of this pool alone."),
                    Parameter {
                        name: "status",
                        place: Place::Query,
                        required: false,
                        kind: ParameterKind::Choice(&["pending", "applied", "rejected"]),
                        description: "With this status alone.",
                    },
                    LIMIT,
                    CURSOR,
                ]
            },
            body: None,
            responses: &const { [Response::json(200, "A page.", schema_of::<Requests<AllocationRecord<'static>>>)] },
            handle: Handle::Call(requests),
        },
        Operation {
            method: Method::GET,
            path: "/alloc/pools",
            id: "pools",
            summary: "Pools, what is used of them, and quotas",
            description: "By name.",
            parameters: &[],
            body: None,
            responses: &const { [Response::json(200, "Every pool.", schema_of::<Pools>)] },
            handle: Handle::Call(pools),
        },
        Operation {
            method: Method::GET,
            path: "/alloc/{id}",
            id: "allocation",
            summary: "An allocation",
            description: "With its times and what policy said.",
            parameters: &const { [ID] },
            body: None,
            responses: &const {
                [
                    Response::json(200, "The allocation.", schema_of::<AllocationRecord<'static>>),
                    Response::refusal(404, "There is no such allocation."),
                ]
            },
            handle: Handle::Call(allocation_by_id),
        },
        Operation {
            method: Method::POST,
            path: "/alloc/approve",
            id: "approve",
            summary: "Approve an allocation",
            description: "Policy is asked, then quota and capacity. What passes is applied; what policy blocks is rejected and answered 403 \
                with the whole record, or 200 with `Prefer: return=representation`; what only has to wait for units stays pending, with \
                its blockers.",
            parameters: &[],
            body: Some(json(schema_of::<Approved>, APPROVE)),
            responses: &const {
                [
                    Response::json(200, "The allocation as it stands then.", schema_of::<AllocationRecord<'static>>),
                    LATER,
                    Response::refusal(403, "Policy blocks it: the record with `policyId`, `sentinelDecision` and `error`."),
                    Response::refusal(404, "There is no such allocation."),
                    Response::refusal(409, "The allocation waits for nobody."),
                ]
            },
            handle: Handle::Call(approve),
        },
        Operation {
            method: Method::POST,
            path: "/alloc/reject",
            id: "reject",
            summary: "Reject an allocation",
            description: "Ends an allocation that waits.",
            parameters: &[],
            body: Some(json(schema_of::<Rejection>, REJECT)),
            responses: &const {
                [
                    Response::json(200, "The allocation, rejected.", schema_of::<AllocationRecord<'static>>),
                    LATER,
                    Response::refusal(404, "There is no such allocation."),
                    Response::refusal(409, "The allocation waits for nobody."),
                ]
            },
            handle: Handle::Call(reject),
        },
        Operation {
            method: Method::POST,
            path: "/alloc/preempt",
            id: "preempt",
            summary: "Take GPUs back",
            description: "Shrinks what an entity holds of a pool, its newest allocations first. A preemption is a record of its own with a \
                delta below nothing; it is answered once the cluster acknowledged it.",
            parameters: &[],
            body: Some(json(schema_of::<Preemption>, PREEMPT)),
            responses: &const {
                [
                    Response::json(
                        202,
                        "The preemption; or, where it takes longer than a call waits, where to look for it.",
                        |generator| {
                            let record = schema_of::<AllocationRecord<'static>>(generator);
                            schemars::json_schema!({ "anyOf": [record, { "type": "object", "required": ["location"] }] })
                        },
                    ),
                    Response::refusal(404, "There is no such pool."),
                    Response::refusal(409, "The entity holds less than that."),
                ]
            },
            handle: Handle::Call(preempt),
        },
        trace::operation(),
    ]
}

impl App {
    /// Sends a command about an allocation and waits until it ran; none where that takes longer than a call waits.
    async fn about(&self, call: &Call, id: Uuid, payload: Payload<'_>) -> Result<Option<Led>, Refusal> {
        let row = self.allocation(id)?;
        // One that is not known here may be elsewhere: the single writer of commands decides. Its key is only where it goes.
        let pool = row.as_deref().and_then(AllocationRow::decode).map_or("", |row| row.pool).to_owned();
        let once = once(call, call.idempotency_key.as_deref(), &id.to_string());
        self.run(call, &Order { topic: "alloc.requests", key: &pool, payload, once }).await
    }

    /// The row of an allocation once the cluster has nothing more to say about it now; none where that takes too long.
    pub(super) async fn settled(&self, id: Uuid) -> Result<Option<Vec<u8>>, Refusal> {
        self.wait_for(|| {
            let row = self.allocation(id)?;
            let waits = |row: AllocationRow<'_>| matches!(row.lifecycle, Lifecycle::Approved | Lifecycle::Dispatched);
            Ok(row.filter(|row| AllocationRow::decode(row).is_some_and(|row| !waits(row))))
        })
        .await
    }

    /// Every row whose key begins so: what is behind that, and the row.
    fn each(&self, prefix: Key, mut each: impl FnMut(&[u8], &[u8])) -> Result<(), Refusal> {
        let walked = self.tables.under(&prefix.end(), None, Direction::Forward, |rest, row| {
            each(rest, row);
            ControlFlow::Continue(())
        });
        walked.map_err(|error| failed(&error))
    }
}

/// An allocation as a command left it. What came later is no part of the command's answer: when it comes again, it has the same.
fn left_by<'a>(row: AllocationRow<'a>, led: &'a Led) -> AllocationRow<'a> {
    let pended = led.first(Kind::AllocationPended).and_then(|(_, payload)| AllocationPended::decode(payload));
    if let Some(AllocationPended { blockers, not_before, timestamp, .. }) = pended {
        let &AllocationRow { promotion_id, agent_id, division_id, pool, delta, reason, requested_by, requested_at, .. } = &row;
        let request =
            AllocationRow { promotion_id, delta, ..AllocationRow::new(agent_id, division_id, pool, reason, requested_by, requested_at) };
        return AllocationRow { lifecycle: Lifecycle::Pending, updated_at: timestamp, blockers, not_before, ..request };
    }
    match row.applied_at {
        Some(applied) => AllocationRow { lifecycle: Lifecycle::Applied, updated_at: applied, quantity: None, taken: 0, ..row },
        None => row,
    }
}

fn unknown(app: &App) -> Refusal {
    Refusal::new(StatusCode::NOT_FOUND, app.rule("allocation_unknown", code::COMMAND_REFUSED), "there is no such allocation")
}

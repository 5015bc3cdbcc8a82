//! The allocation service: requests for GPUs, and what becomes of them.

use super::app::{Answer as Led, App, Order, Taken, failed, once};
use super::evaluation::{LATER, agent_or_entity, later, one_of, replayed};
use super::list::{CURSOR, LIMIT, Range};
use super::wire::{AllocationRecord, Id, Pool, Quota, Status, Whole};
use super::{code, trace};
use crate::call::{Call, is_idempotency_key};
use crate::model::key::{Key, Table, behind, last_id, take_name};
use crate::model::row::{AllocationRow, Lifecycle, PoolRow, QuotaRow};
use crate::operation::{Answer, Handle, Operation, Response, json, schema_of};
use crate::parameter::{Kind as ParameterKind, Parameter, Place};
use crate::refusal::Refusal;
use crate::reply::Reply;
use crate::strict;
use hyper::{Method, StatusCode};
use merit_core::record::{AllocationRequested, Approval, Approve, CommandRefused, MAX_TEXT, Preempt, Reject, RequestAllocation};
use merit_core::{Datum, Kind, MAX_NAME, Payload, Uuid};
use merit_runtime::tables::Direction;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use std::ops::ControlFlow;
use std::sync::Arc;

/// The most whole GPUs of one request: far beyond any pool, and far within 64 bits of milli-GPUs.
const MOST_GPUS: u64 = 1_000_000;

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

const PREEMPT: &str = r#"{
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
struct Preemption {
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

fn preempt(app: Arc<App>, call: Call) -> Answer {
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
        let once = once(&call, call.idempotency_key.as_deref(), "/alloc/preempt", &agent_id);
        let order = Order { topic: "alloc.requests", key: &asked.pool, payload: Payload::Preempt(&command), once };
        let led = match app.taken(app.post(&call, &order)?).await? {
            Taken::Answered(led) => led,
            Taken::Later => return later("/alloc/requests"),
        };
        check(&app, &led)?;
        let Some((id, _)) = led.first(Kind::AllocationPreempted) else {
            return Err(Refusal::new(StatusCode::CONFLICT, code::COMMAND_REFUSED, "nothing was taken back"));
        };
        let Some(row) = app.settled(id).await? else { return later(&format!("/alloc/{id}")) };
        let row = AllocationRow::decode(&row).ok_or_else(|| unknown(&app))?;
        Ok(replayed(Reply::json(StatusCode::ACCEPTED, &AllocationRecord::of(id, &row))?, &led))
    })
}

const REQUEST: &str = r#"{
  "agentId": "agent-123",
  "pool": "gpus-us-east",
  "delta": 1,
  "reason": "promotion threshold met",
  "requestedBy": "eval-engine"
}"#;

const APPROVE: &str = r#"{ "requestId": "00000000-0000-8000-8000-000000000000", "approvedBy": "allocator-bot" }"#;

const REJECT: &str = r#"{
  "requestId": "00000000-0000-8000-8000-000000000000",
  "rationale": "budget is spent",
  "policyId": "finance-budget",
  "rejectedBy": "finance"
}"#;

/// A request for GPUs.
#[derive(Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
#[schemars(transform = agent_or_entity)]
struct Request {
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
struct Requested {
    request_id: Id,
    status: Status,
}

fn request(app: Arc<App>, call: Call) -> Answer {
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
        let once = once(&call, call.idempotency_key.as_deref().or(in_body), "/alloc/request", &agent_id);
        let order = Order { topic: "alloc.requests", key: pool, payload: Payload::RequestAllocation(&command), once };
        let led = match app.taken(app.post(&call, &order)?).await? {
            Taken::Answered(led) => led,
            Taken::Later => return later("/alloc/requests"),
        };
        check(&app, &led)?;
        let opened = led.first(Kind::AllocationRequested).and_then(|(_, payload)| AllocationRequested::decode(payload));
        let opened = opened.ok_or_else(|| Refusal::new(StatusCode::CONFLICT, code::COMMAND_REFUSED, "no allocation was opened"))?;
        let answer = Requested { request_id: Id(opened.allocation_id), status: Status::Pending };
        Ok(replayed(Reply::json(StatusCode::CREATED, &answer)?, &led))
    })
}

/// An approval.
#[derive(Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct Approved {
    request_id: Id,
    /// A claim, kept beside who is authenticated; by default the same.
    #[schemars(length(max = MAX_NAME))]
    approved_by: Option<String>,
}

fn approve(app: Arc<App>, call: Call) -> Answer {
    Box::pin(async move {
        let asked: Approved = strict::read(&call.body)?;
        let id = asked.request_id.0;
        let command = Approve { allocation_id: id, approved_by: asked.approved_by.as_deref().unwrap_or(call.principal.name()) };
        let Some(led) = app.about(&call, id, "/alloc/approve", Payload::Approve(&command)).await? else {
            return later(&format!("/alloc/{id}"));
        };
        let settled = app.settled(id).await?;
        settled.map_or_else(|| later(&format!("/alloc/{id}")), |row| shown(&app, &call, id, &row).map(|reply| replayed(reply, &led)))
    })
}

/// The allocation behind an approval: 403 where policy rejected it, unless the caller prefers the record itself (K1).
fn shown(app: &App, call: &Call, id: Uuid, row: &[u8]) -> Result<Reply, Refusal> {
    let row = AllocationRow::decode(row).ok_or_else(|| unknown(app))?;
    let record = AllocationRecord::of(id, &row);
    if record.status != Status::Rejected || call.prefer_representation {
        return Reply::json(StatusCode::OK, &record);
    }
    let policy = row.policy_id.unwrap_or_default();
    let message = format!("{policy}: {}", row.policy_reason);
    Err(Refusal::new(StatusCode::FORBIDDEN, code::ALLOCATION_BLOCKED, message).with("policyId", policy).record(&record))
}

/// A rejection.
#[derive(Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct Rejection {
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

fn reject(app: Arc<App>, call: Call) -> Answer {
    Box::pin(async move {
        let asked: Rejection = strict::read(&call.body)?;
        let id = asked.request_id.0;
        let command = Reject {
            allocation_id: id,
            rationale: &asked.rationale,
            policy_id: asked.policy_id.as_deref(),
            rejected_by: Some(asked.rejected_by.as_deref().unwrap_or(call.principal.name())),
        };
        let Some(led) = app.about(&call, id, "/alloc/reject", Payload::Reject(&command)).await? else {
            return later(&format!("/alloc/{id}"));
        };
        let row = app.allocation(id)?.unwrap_or_default();
        let row = AllocationRow::decode(&row).ok_or_else(|| unknown(&app))?;
        Ok(replayed(Reply::json(StatusCode::OK, &AllocationRecord::of(id, &row))?, &led))
    })
}

fn allocation_by_id(app: Arc<App>, call: Call) -> Answer {
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
struct Requests<T> {
    requests: Vec<T>,
    /// Where the next page begins; none behind the last one.
    #[serde(skip_serializing_if = "Option::is_none")]
    next_cursor: Option<String>,
}

fn requests(app: Arc<App>, call: Call) -> Answer {
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
struct Pools {
    pools: Vec<Pool>,
}

fn pools(app: Arc<App>, _: Call) -> Answer {
    Box::pin(async move {
        let mut pools = Vec::new();
        app.each(Table::Pool, Vec::new(), |mut rest, row| {
            pools.extend(take_name(&mut rest).zip(PoolRow::decode(row)));
        })?;
        let shown: Result<Vec<Pool>, Refusal> = pools
            .into_iter()
            .map(|(name, row)| {
                let mut quotas = Vec::new();
                let of_pool = Key::of(Table::Quota).name(&name).end();
                app.each(Table::Quota, of_pool[1..].to_vec(), |mut rest, row| {
                    let quota = take_name(&mut rest).zip(QuotaRow::decode(row));
                    quotas.extend(quota.map(|(division, row)| Quota::of(division, row.nominal)));
                })?;
                Ok(Pool::of(name, &row, quotas))
            })
            .collect();
        Reply::json(StatusCode::OK, &Pools { pools: shown? })
    })
}

impl App {
    /// Sends a command about an allocation and waits until it ran; none where that takes longer than a call waits.
    async fn about(&self, call: &Call, id: Uuid, operation: &str, payload: Payload<'_>) -> Result<Option<Led>, Refusal> {
        let row = self.allocation(id)?;
        // One that is not known here may be elsewhere: the single writer of commands decides. Its key is only where it goes.
        let pool = row.as_deref().and_then(AllocationRow::decode).map_or("", |row| row.pool).to_owned();
        let once = once(call, call.idempotency_key.as_deref(), operation, &id.to_string());
        let posted = self.post(call, &Order { topic: "alloc.requests", key: &pool, payload, once })?;
        match self.taken(posted).await? {
            Taken::Answered(led) => {
                check(self, &led)?;
                Ok(Some(led))
            }
            Taken::Later => Ok(None),
        }
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

    /// Every row of a table whose key goes on with `with`: what is behind that, and the row.
    fn each(&self, table: Table, with: Vec<u8>, mut each: impl FnMut(&[u8], &[u8])) -> Result<(), Refusal> {
        let prefix: Vec<u8> = Key::of(table).end().into_iter().chain(with).collect();
        let end = behind(prefix.clone());
        let scanned = self.tables.scan(&prefix, Direction::Forward, |key, row| {
            if *key >= *end {
                return ControlFlow::Break(());
            }
            each(&key[prefix.len()..], row);
            ControlFlow::Continue(())
        });
        scanned.map_err(|error| failed(&error))
    }
}

/// What the allocator refused.
pub(super) fn check(app: &App, led: &Led) -> Result<(), Refusal> {
    let Some(refused) = led.first(Kind::CommandRefused).and_then(|(_, payload)| CommandRefused::decode(payload)) else { return Ok(()) };
    let rule = app.rule(refused.rule, code::COMMAND_REFUSED);
    let status = if refused.rule.ends_with("_unknown") { StatusCode::NOT_FOUND } else { StatusCode::CONFLICT };
    Err(Refusal::new(status, rule, format!("{}: {}", rule.happened, refused.detail)))
}

fn unknown(app: &App) -> Refusal {
    Refusal::new(StatusCode::NOT_FOUND, app.rule("allocation_unknown", code::COMMAND_REFUSED), "there is no such allocation")
}

/// Milli-GPUs of whole GPUs.
pub(super) fn milli_gpus(field: &str, gpus: u64) -> Result<u64, Refusal> {
    match (1..=MOST_GPUS).contains(&gpus) {
        true => Ok(gpus * 1_000),
        false => Err(Refusal::value(field, format_args!("is not 1 to {MOST_GPUS} whole GPUs"))),
    }
}

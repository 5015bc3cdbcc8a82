//! Promotions by hand, and every proposal.

use crate::api::app::{App, Order, once, record_in};
use crate::api::code;
use crate::api::command::{later, milli_gpus, named, one_named, one_of, replayed};
use crate::api::list::Range;
use crate::api::wire::{PromotionEvent, Whole};
use crate::call::Call;
use crate::model::key::{Key, Table, last_id};
use crate::operation::Answer;
use crate::refusal::Refusal;
use crate::reply::Reply;
use crate::strict;
use hyper::StatusCode;
use merit_core::record::{Action, MAX_TEXT, ProposePromotion};
use merit_core::{Fixed, MAX_NAME, Payload};
use merit_runtime::tables::Direction;
use schemars::{JsonSchema, Schema};
use serde::{Deserialize, Serialize};
use serde_json::Value;
use std::sync::Arc;

pub(super) const PROMOTE: &str = r#"{
  "agentId": "agent-123",
  "rationale": "manual override",
  "confidence": 0.9,
  "requestedBy": "ops",
  "pool": "gpus-us-east",
  "delta": 1
}"#;

/// A proposal by hand.
#[derive(Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
#[schemars(transform = of_one_and_from_a_pool)]
pub(super) struct Promote {
    /// The agent; exactly one of `agentId`, `entityId` and `divisionId` is there.
    #[schemars(length(min = 1, max = MAX_NAME))]
    agent_id: Option<String>,
    /// The same by seed 000's name.
    #[schemars(length(min = 1, max = MAX_NAME))]
    entity_id: Option<String>,
    /// A division, promoted as the entity `division:ID`.
    #[schemars(length(max = MAX_NAME - "division:".len()))]
    division_id: Option<String>,
    /// Promote by default.
    #[serde(default)]
    action: ByHand,
    #[schemars(length(max = MAX_TEXT))]
    rationale: String,
    /// Trust, 0 to 1; 1 by default.
    #[schemars(range(min = 0.0, max = 1.0))]
    confidence: Option<f64>,
    /// A claim, kept beside who is authenticated; by default the same.
    #[schemars(length(max = MAX_NAME))]
    requested_by: Option<String>,
    /// The pool to ask for GPUs from; none asks for nothing.
    #[schemars(length(min = 1, max = MAX_NAME))]
    pool: Option<String>,
    /// Whole GPUs; 1 by default where a pool is named.
    #[schemars(with = "Option<u64>", range(min = 1, max = 1_000_000))]
    delta: Option<Whole>,
}

#[derive(Clone, Copy, Default, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
enum ByHand {
    #[default]
    Promote,
    Demote,
}

/// GPUs come from a pool that is named.
fn of_one_and_from_a_pool(schema: &mut Schema) {
    let of_one = one_named(&["agentId", "entityId", "divisionId"]);
    let from_a_pool = serde_json::json!({ "anyOf": [{ "properties": { "delta": { "type": "null" } } }, named("pool")] });
    schema.insert("allOf".to_owned(), Value::from(vec![of_one, from_a_pool]));
}

pub(super) fn promote(app: Arc<App>, call: Call) -> Answer {
    Box::pin(async move {
        let asked: Promote = strict::read(&call.body)?;
        let division = asked.division_id.map(|division| format!("division:{division}"));
        let agent_id = one_of("agentId", [asked.agent_id, asked.entity_id, division])?;
        let confidence = asked.confidence.map(|confidence| share("confidence", confidence)).transpose()?;
        let delta = asked.delta.map(|delta| milli_gpus("delta", delta.0)).transpose()?;
        if asked.pool.is_none() && delta.is_some() {
            return Err(Refusal::value("delta", "GPUs come from a pool: name one in `pool`"));
        }
        let proposal = ProposePromotion {
            agent_id: &agent_id,
            action: match asked.action {
                ByHand::Promote => Action::Promote,
                ByHand::Demote => Action::Demote,
            },
            rationale: &asked.rationale,
            confidence,
            requested_by: asked.requested_by.as_deref().unwrap_or(call.principal.name()),
            pool: asked.pool.as_deref(),
            delta: asked.pool.is_some().then(|| delta.unwrap_or(1_000)),
        };
        let once = once(&call, call.idempotency_key.as_deref(), &agent_id);
        let order = Order { topic: "eval.reports", key: &agent_id, payload: Payload::ProposePromotion(&proposal), once };
        let Some(led) = app.run(&call, &order).await? else { return later("/eval/promotions") };
        let event = led.records().find_map(|(kind, id, payload)| PromotionEvent::of(id, kind, payload));
        let event = event.ok_or_else(|| Refusal::new(StatusCode::CONFLICT, code::COMMAND_REFUSED, "nothing was proposed"))?;
        Ok(replayed(Reply::json(StatusCode::CREATED, &event)?, &led))
    })
}

fn share(field: &str, value: f64) -> Result<Fixed, Refusal> {
    if !(0.0..=1.0).contains(&value) {
        return Err(Refusal::value(field, "is not from 0 to 1"));
    }
    Ok(Fixed((value * 1e6).round() as i64))
}

/// A page of proposals.
#[derive(Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub(super) struct Promotions<T> {
    promotions: Vec<T>,
    /// Where the next page begins; none behind the last one.
    #[serde(skip_serializing_if = "Option::is_none")]
    next_cursor: Option<String>,
}

pub(super) fn promotions(app: Arc<App>, call: Call) -> Answer {
    Box::pin(async move {
        let prefix = Key::of(Table::PromotionTime).end();
        let range = Range { prefix, from: None, to: None, direction: Direction::Reverse };
        let (agent, action) = (call.text("agentId"), call.text("action"));
        let page = app.page(&call, &range, |key, _| {
            let Some(id) = last_id(key) else { return Ok(None) };
            let row = app.promotion(id)?;
            let Some((kind, record)) = row.as_deref().and_then(record_in) else { return Ok(None) };
            let Some(event) = PromotionEvent::of(id, kind, record.payload) else { return Ok(None) };
            let wanted = agent.is_none_or(|agent| agent == event.agent_id()) && action.is_none_or(|action| action == event.action.name());
            if !wanted {
                return Ok(None);
            }
            let event = event.with(app.allocation_of(id)?);
            Ok(serde_json::to_value(event).ok())
        })?;
        Reply::json(StatusCode::OK, &Promotions { promotions: page.items, next_cursor: page.next_cursor })
    })
}

//! Reports in.

use crate::api::app::{Answer as Led, App, Order, Posted, digest, failed, key_reused};
use crate::api::code;
use crate::api::command::{check, later};
use crate::api::wire::{AgentScore, PromotionEvent};
use crate::call::Call;
use crate::model::scores::score_in;
use crate::operation::Answer;
use crate::refusal::Refusal;
use crate::reply::Reply;
use hyper::StatusCode;
use merit_core::id::Hex;
use merit_core::record::name as name_flaw;
use merit_core::record::{EvalReport, ReportDuplicate, ReportLate, ScoreUpdated};
use merit_core::{Datum, Kind, MAX_NAME, Payload};
use merit_sources::{JsonReports, Unreadable};
use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::Serialize;
use std::borrow::Cow;
use std::cell::RefCell;
use std::sync::Arc;

/// Body of a report, in bytes: sixteen metrics and 64 tags of 256 bytes, with room.
pub(super) const REPORT_BYTES: usize = 256 << 10;

pub(super) const REPORT: &str = r#"{
  "agentId": "agent-123",
  "metrics": { "successRate": 0.93, "latencyScore": 0.9 },
  "source": "agent-manager",
  "timestamp": "2025-01-17T18:00:00Z",
  "tags": { "window": "1h" }
}"#;

/// The schema of a report, which is read by a parser of its own.
pub(super) enum Report {}

impl JsonSchema for Report {
    fn schema_name() -> Cow<'static, str> {
        "EvalReport".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        let name = |least: usize, description: &str| {
            serde_json::json!({ "type": if least == 0 { vec!["string", "null"] } else { vec!["string"] },
            "minLength": least, "maxLength": MAX_NAME, "description": description })
        };
        let metrics = |description: &str| {
            serde_json::json!({ "type": "object", "minProperties": 1, "maxProperties": 16, "description": description,
                "propertyNames": { "minLength": 1, "maxLength": MAX_NAME },
                "additionalProperties": { "type": "number", "minimum": -1_000_000, "maximum": 1_000_000 } })
        };
        let windows = serde_json::json!(["1h", "24h", "7d", "", null]);
        json_schema!({
            "type": "object",
            "required": ["timestamp"],
            "allOf": [
                { "oneOf": [{ "required": ["agentId"] }, { "required": ["entityId"] }] },
                { "oneOf": [{ "required": ["metrics"] }, { "required": ["metricSet"] }] },
            ],
            "additionalProperties": false,
            "description": "What is null or empty and may be absent is absent. The profile in force may give a metric a narrower range.",
            "properties": {
                "id": name(0, "The producer's own id; reports of one id count once. An `Idempotency-Key` takes its place."),
                "agentId": name(1, "The agent, model version or other entity."),
                "entityId": name(1, "The same by seed 000's name."),
                "divisionId": name(0, "The division it counts for; else its entity's home."),
                "productId": name(0, "The product it counts for; else its entity's home."),
                "metrics": metrics("By name."),
                "metricSet": metrics("The same by seed 000's name."),
                "source": { "type": ["string", "null"], "description": "Who measured." },
                "timestamp": { "type": "string", "format": "date-time",
                    "description": "When it was measured, from 1970 on; at most five minutes ahead of its receipt." },
                "window": { "enum": windows, "description": "The window asked about; `tags.window` says the same." },
                "tags": { "type": ["object", "null"], "maxProperties": 64, "additionalProperties": { "type": "string" },
                    "properties": { "window": { "enum": ["1h", "24h", "7d", ""] } }, "description": "Free labels." },
            },
        })
    }
}

/// What became of a report.
#[derive(Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub(super) struct Submitted<'a> {
    report_id: Cow<'a, str>,
    /// None for a late report of an agent that has no score.
    #[serde(skip_serializing_if = "Option::is_none")]
    score: Option<AgentScore<'a>>,
    /// What was proposed since a threshold was met.
    #[serde(skip_serializing_if = "Option::is_none")]
    promotion: Option<PromotionEvent<'a>>,
    /// The report came after its time had been closed; it counts in no window, and the score is the last one.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    late: bool,
}

thread_local! {
    static READER: RefCell<JsonReports> = RefCell::default();
}

pub(super) fn submit(app: Arc<App>, call: Call) -> Answer {
    Box::pin(async move {
        let (posted, location) = READER.with_borrow_mut(|reader| post_report(&app, &call, reader))?;
        match app.led(posted).await? {
            Some(led) => submitted(&app, &led, call.idempotency_key.is_some()),
            None => later(&location()),
        }
    })
}

/// Where to look for the score, where the answer takes too long.
type Location = Box<dyn FnOnce() -> String + Send>;

fn post_report(app: &App, call: &Call, reader: &mut JsonReports) -> Result<(Posted, Location), Refusal> {
    let report = reader.parse(&call.body).map_err(unreadable)?;
    let id = call.idempotency_key.as_deref().map(|key| report_id(call, key));
    // Its own id gives way to the key, and has to be one all the same.
    if let Some(flaw) = report.id.and_then(|own| name_flaw("id", own)) {
        return Err(Refusal::new(StatusCode::UNPROCESSABLE_ENTITY, app.rule("id_invalid", code::REPORT_REFUSED), flaw.to_string()));
    }
    let report = EvalReport { id: id.as_deref().or(report.id), ..report };
    let order = Order { topic: "eval.reports", key: report.agent_id, payload: Payload::EvalReport(&report), once: None };
    let agent: Box<str> = report.agent_id.into();
    Ok((app.post(call, &order)?, Box::new(move || score_path(&agent))))
}

/// The id of a report that was sent under a key: the ring of reports knows it when it comes again.
fn report_id(call: &Call, key: &str) -> String {
    Hex(&digest(&["merit report key v1", call.principal.name(), key])).to_string()
}

fn unreadable(unreadable: Unreadable) -> Refusal {
    let malformed = ["json_invalid", "utf8_invalid", "key_duplicate"].contains(&unreadable.rule.name);
    let status = if malformed { StatusCode::BAD_REQUEST } else { StatusCode::UNPROCESSABLE_ENTITY };
    Refusal::new(status, unreadable.rule, unreadable.detail)
}

/// The answer to a report; `by_key`: its id is an `Idempotency-Key`.
fn submitted(app: &App, led: &Led, by_key: bool) -> Result<Reply, Refusal> {
    check(app, led).map_err(|refusal| if by_key && refusal.code.name == "id_reused" { key_reused() } else { refusal })?;
    let promotion = led.records().find_map(|(kind, id, payload)| PromotionEvent::of(id, kind, payload));
    if let Some(score) = led.first(Kind::ScoreUpdated).and_then(|(_, payload)| ScoreUpdated::decode(payload)) {
        let shown = AgentScore::of(&score, score.window);
        return Reply::json(StatusCode::OK, &Submitted { report_id: score.report_id.into(), score: shown, promotion, late: false });
    }
    if let Some(duplicate) = led.first(Kind::ReportDuplicate).and_then(|(_, payload)| ReportDuplicate::decode(payload)) {
        return first_answer(app, &duplicate);
    }
    let late = led.first(Kind::ReportLate).and_then(|(_, payload)| ReportLate::decode(payload));
    let Some(late) = late else { return Err(Refusal::overloaded("the report is in the log and its score is not known yet", 1)) };
    with_last_score(app, late.report_id.into(), late.agent_id)
}

/// What was answered when a report came first: the log tells its score, and what was proposed on it.
fn first_answer(app: &App, duplicate: &ReportDuplicate<'_>) -> Result<Reply, Refusal> {
    let report_id = Cow::Borrowed(duplicate.report_id);
    let found = app.graph().score_of_report(duplicate.agent_id, duplicate.offset).map_err(|error| failed(&error))?;
    let Some((id, payload)) = found else {
        // It counts in no window, as it did not then.
        return Ok(with_last_score(app, report_id, duplicate.agent_id)?.replayed());
    };
    let score = ScoreUpdated::decode(&payload);
    let proposals = app.graph().resting_on(id).map_err(|error| failed(&error))?;
    let promotion = proposals.iter().find_map(|node| PromotionEvent::of(node.id, node.kind, &node.payload));
    let shown = score.as_ref().and_then(|score| AgentScore::of(score, score.window));
    let reply = Reply::json(StatusCode::OK, &Submitted { report_id, score: shown, promotion, late: false })?;
    Ok(reply.replayed())
}

/// The answer to a report that came too late to count in a window.
fn with_last_score(app: &App, report_id: Cow<'_, str>, agent_id: &str) -> Result<Reply, Refusal> {
    let row = app.score(agent_id)?;
    let last = score_in(row.as_deref());
    let score = last.as_ref().and_then(|score| AgentScore::of(score, score.window));
    Reply::json(StatusCode::OK, &Submitted { report_id, score, promotion: None, late: true })
}

fn score_path(agent: &str) -> String {
    format!("/eval/agent/{}/score", percent_encoding::utf8_percent_encode(agent, percent_encoding::NON_ALPHANUMERIC))
}

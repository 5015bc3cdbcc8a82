//! The evaluation service: reports in, scores and promotions out.

use super::allocation::{check, milli_gpus};
use super::app::{Answer as Led, App, Order, Posted, Taken, digest, failed, key_reused, once, record_in};
use super::list::{CURSOR, LIMIT, Page, Range};
use super::wire::{AgentScore, Decimal, PastScore, PromotionEvent, RetrainJob, Time, Whole};
use super::{code, trace};
use crate::call::Call;
use crate::model::key::{Key, Table, last_id, take_name};
use crate::model::row::{HistoryRow, JobRow, RecordRow};
use crate::operation::{Answer, Body, Handle, Operation, Response, json, schema_of};
use crate::parameter::{Kind as ParameterKind, Parameter, Place};
use crate::refusal::Refusal;
use crate::reply::Reply;
use crate::strict;
use hyper::header::{HeaderName, HeaderValue, LOCATION};
use hyper::{Method, StatusCode};
use merit_core::id::Hex;
use merit_core::record::name as name_flaw;
use merit_core::record::{
    Action, CreateRetrain, EvalReport, MAX_REF, MAX_REFS, MAX_TEXT, ProposePromotion, Rejected, ReportDuplicate, ReportLate, RetrainStatus,
    ScoreUpdated,
};
use merit_core::{Datum, EventTime, Fixed, Kind, List, MAX_NAME, Payload, Uuid};
use merit_runtime::tables::Direction;
use merit_sources::{JsonReports, Unreadable};
use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Deserialize, Serialize};
use serde_json::Value;
use std::borrow::Cow;
use std::cell::RefCell;
use std::sync::Arc;

/// Body of a report, in bytes: sixteen metrics and 64 tags of 256 bytes, with room.
const REPORT_BYTES: usize = 256 << 10;

const AGENT: Parameter = Parameter {
    name: "id",
    place: Place::Path,
    required: true,
    kind: ParameterKind::Text { longest: MAX_NAME },
    description: "The agent; `division:ID` and `product:ID` have scores too.",
};

const WINDOW: Parameter = Parameter {
    name: "window",
    place: Place::Query,
    required: false,
    kind: ParameterKind::Choice(&["1h", "24h", "7d"]),
    description: "The window; by default that of the agent's last report, else 1h.",
};

const fn moment(name: &'static str, description: &'static str) -> Parameter {
    Parameter { name, place: Place::Query, required: false, kind: ParameterKind::Time, description }
}

const fn name(name: &'static str, description: &'static str) -> Parameter {
    Parameter { name, place: Place::Query, required: false, kind: ParameterKind::Text { longest: MAX_NAME }, description }
}

/// The operations on port 8051.
pub fn evaluation() -> Vec<Operation<App>> {
    vec![
        Operation {
            method: Method::POST,
            path: "/eval/submit",
            id: "submit",
            summary: "Send a report",
            description: "Ingests an evaluation report, scores its agent, and, where a threshold is met, proposes a promotion and asks for \
                its GPUs. It is answered once the report is on disk and scored. With an `Idempotency-Key`, which becomes the report's id, \
                a report that comes again counts once and has the same answer.",
            parameters: &[],
            body: Some(Body { schema: schema_of::<Report>, limit: REPORT_BYTES, example: REPORT }),
            responses: &const {
                [
                    Response::json(
                        200,
                        "The report counts; its score and, where one was made, its promotion.",
                        schema_of::<Submitted<'static>>,
                    ),
                    LATER,
                    Response::refusal(
                        422,
                        "The report breaks a rule; `code` names it. It is kept in `eval.rejected` where it could be read.",
                    ),
                ]
            },
            handle: Handle::Call(submit),
        },
        Operation {
            method: Method::GET,
            path: "/eval/agent/{id}/score",
            id: "score",
            summary: "The score of an agent",
            description: "The last score and, with `from` or `to`, the scores of that time, the latest of each minute.",
            parameters: &const {
                [
                    AGENT,
                    WINDOW,
                    moment("from", "Scores from here on, RFC 3339."),
                    moment("to", "Scores up to here, RFC 3339."),
                    LIMIT,
                    CURSOR,
                ]
            },
            body: None,
            responses: &const {
                [
                    Response::json(200, "The score.", schema_of::<AgentScore<'static>>),
                    Response::refusal(404, "Nothing of that agent was scored, or not in that window."),
                ]
            },
            handle: Handle::Call(score),
        },
        Operation {
            method: Method::GET,
            path: "/eval/scoreboard",
            id: "scoreboard",
            summary: "The best agents of a division, or of all",
            description: "From the highest score down, each agent by the window of its last report; equal scores by id.",
            parameters: &const {
                [
                    name("divisionId", "The division; by default all."),
                    Parameter {
                        name: "topK",
                        place: Place::Query,
                        required: false,
                        kind: ParameterKind::Count { least: 1, most: 1_000 },
                        description: "How many, 10 by default.",
                    },
                ]
            },
            body: None,
            responses: &const { [Response::json(200, "The board; empty for a division without agents.", schema_of::<Scoreboard>)] },
            handle: Handle::Call(scoreboard),
        },
        Operation {
            method: Method::POST,
            path: "/eval/promote",
            id: "promote",
            summary: "Promote by hand",
            description: "A person's proposal: no threshold, tier or dwell stands against it. With `pool` and `delta` it asks for GPUs too.",
            parameters: &[],
            body: Some(json(schema_of::<Promote>, PROMOTE)),
            responses: &const { [Response::json(201, "The proposal.", schema_of::<PromotionEvent<'static>>), LATER] },
            handle: Handle::Call(promote),
        },
        Operation {
            method: Method::GET,
            path: "/eval/promotions",
            id: "promotions",
            summary: "Proposals, the latest first",
            description: "Promotions, demotions and what was held back, by the time of their evidence.",
            parameters: &const {
                [
                    name("agentId", "Of this agent alone."),
                    Parameter {
                        name: "action",
                        place: Place::Query,
                        required: false,
                        kind: ParameterKind::Choice(&["promote", "demote", "hold"]),
                        description: "Of this kind alone.",
                    },
                    LIMIT,
                    CURSOR,
                ]
            },
            body: None,
            responses: &const { [Response::json(200, "A page.", schema_of::<Promotions<PromotionEvent<'static>>>)] },
            handle: Handle::Call(promotions),
        },
        Operation {
            method: Method::POST,
            path: "/eval/retrain",
            id: "retrain",
            summary: "Train a model family again",
            description: "Queues a job and asks for its GPU hours; the request waits for approval as any other. Running jobs comes later.",
            parameters: &[],
            body: Some(json(schema_of::<Retrain>, RETRAIN)),
            responses: &const {
                [
                    Response::json(201, "The job, queued.", schema_of::<RetrainJob<'static>>),
                    LATER,
                    Response::refusal(409, "The job cannot be queued as things stand."),
                ]
            },
            handle: Handle::Call(retrain),
        },
        Operation {
            method: Method::GET,
            path: "/eval/jobs/{id}",
            id: "job",
            summary: "A retrain job",
            description: "With the allocation of its GPUs.",
            parameters: &const { [JOB] },
            body: None,
            responses: &const {
                [Response::json(200, "The job.", schema_of::<RetrainJob<'static>>), Response::refusal(404, "There is no such job.")]
            },
            handle: Handle::Call(job),
        },
        trace::operation(),
    ]
}

const JOB: Parameter =
    Parameter { name: "id", place: Place::Path, required: true, kind: ParameterKind::Text { longest: 64 }, description: "The job's id." };

const RETRAIN: &str = r#"{
  "modelFamily": "vision-transformer",
  "datasetRefs": ["s3://datasets/v1"],
  "priority": 5
}"#;

/// A job that trains a model family again.
#[derive(Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct Retrain {
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

fn retrain(app: Arc<App>, call: Call) -> Answer {
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
        let once = once(&call, call.idempotency_key.as_deref(), "/eval/retrain", &asked.model_family);
        let order = Order { topic: "alloc.requests", key: &asked.model_family, payload, once };
        let led = match app.taken(app.post(&call, &order)?).await? {
            Taken::Answered(led) => led,
            Taken::Later => return later("/eval/jobs"),
        };
        check(&app, &led)?;
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

fn job(app: Arc<App>, call: Call) -> Answer {
    Box::pin(async move {
        let unknown = || Refusal::new(StatusCode::NOT_FOUND, code::JOB_UNKNOWN, "there is no such job");
        let id = call.text("id").and_then(Uuid::parse).ok_or_else(unknown)?;
        let row = app.job(id)?.ok_or_else(unknown)?;
        Reply::json(StatusCode::OK, &JobRow::decode(&row).as_ref().and_then(RetrainJob::of).ok_or_else(unknown)?)
    })
}

/// What every command is told whose answer takes longer than a call waits.
pub(super) const LATER: Response = Response::json(
    202,
    "It is in the log, and takes longer than a call waits; `Location` says where to look.",
    |_| json_schema!({ "type": "object" }),
);

/// Says that an answer is that of an earlier call.
const REPLAYED: HeaderName = HeaderName::from_static("idempotency-replayed");

const REPORT: &str = r#"{
  "agentId": "agent-123",
  "metrics": { "successRate": 0.93, "latencyScore": 0.9 },
  "source": "agent-manager",
  "timestamp": "2025-01-17T18:00:00Z",
  "tags": { "window": "1h" }
}"#;

const PROMOTE: &str = r#"{
  "agentId": "agent-123",
  "rationale": "manual override",
  "confidence": 0.9,
  "requestedBy": "ops",
  "pool": "gpus-us-east",
  "delta": 1
}"#;

/// The schema of a report, which is read by a parser of its own.
enum Report {}

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
struct Submitted<'a> {
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

fn submit(app: Arc<App>, call: Call) -> Answer {
    Box::pin(async move {
        let (posted, location) = READER.with_borrow_mut(|reader| post_report(&app, &call, reader))?;
        match app.taken(posted).await? {
            Taken::Answered(led) => submitted(&app, &led, call.idempotency_key.is_some()),
            Taken::Later => later(&location()),
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
    if let Some(rejected) = led.first(Kind::Rejected).and_then(|(_, payload)| Rejected::decode(payload)) {
        if by_key && rejected.rule == "id_reused" {
            return Err(key_reused());
        }
        let rule = app.rule(rejected.rule, code::REPORT_REFUSED);
        return Err(Refusal::new(StatusCode::UNPROCESSABLE_ENTITY, rule, rejected.detail.to_owned()));
    }
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
        return Ok(with_last_score(app, report_id, duplicate.agent_id)?.with(REPLAYED, HeaderValue::from_static("true")));
    };
    let score = ScoreUpdated::decode(&payload);
    let proposals = app.graph().resting_on(id).map_err(|error| failed(&error))?;
    let promotion = proposals.iter().find_map(|node| PromotionEvent::of(node.id, node.kind, &node.payload));
    let shown = score.as_ref().and_then(|score| AgentScore::of(score, score.window));
    let reply = Reply::json(StatusCode::OK, &Submitted { report_id, score: shown, promotion, late: false })?;
    Ok(reply.with(REPLAYED, HeaderValue::from_static("true")))
}

/// The answer to a report that came too late to count in a window.
fn with_last_score(app: &App, report_id: Cow<'_, str>, agent_id: &str) -> Result<Reply, Refusal> {
    let row = app.score(agent_id)?;
    let last = row.as_deref().and_then(RecordRow::decode).and_then(|row| ScoreUpdated::decode(row.payload));
    let score = last.as_ref().and_then(|score| AgentScore::of(score, score.window));
    Reply::json(StatusCode::OK, &Submitted { report_id, score, promotion: None, late: true })
}

/// 202: the command is in the log.
pub(super) fn later(location: &str) -> Result<Reply, Refusal> {
    let reply = Reply::json(StatusCode::ACCEPTED, &serde_json::json!({ "location": location }))?;
    Ok(match HeaderValue::try_from(location) {
        Ok(location) => reply.with(LOCATION, location),
        Err(_) => reply,
    })
}

fn score_path(agent: &str) -> String {
    format!("/eval/agent/{}/score", percent_encoding::utf8_percent_encode(agent, percent_encoding::NON_ALPHANUMERIC))
}

fn score(app: Arc<App>, call: Call) -> Answer {
    Box::pin(async move {
        let agent = call.text("id").unwrap_or_default();
        let row = app.score(agent)?;
        let score = row.as_deref().and_then(record_in).and_then(|(_, row)| ScoreUpdated::decode(row.payload));
        let unknown = || Refusal::new(StatusCode::NOT_FOUND, code::ENTITY_UNKNOWN, "nothing of that agent was scored");
        let score = score.ok_or_else(unknown)?;
        let window = call.text("window").unwrap_or(score.window);
        let empty = || Refusal::new(StatusCode::NOT_FOUND, code::WINDOW_EMPTY, "the agent has no score of that window");
        let mut shown = AgentScore::of(&score, window).ok_or_else(empty)?;
        if call.text("from").is_some() || call.text("to").is_some() {
            let Page { items, next_cursor } = history(&app, &call, agent, window)?;
            (shown.history, shown.next_cursor) = (Some(items), next_cursor);
        }
        Reply::json(StatusCode::OK, &shown)
    })
}

fn history(app: &App, call: &Call, agent: &str, window: &str) -> Result<Page<PastScore>, Refusal> {
    let time = |name: &str| call.text(name).and_then(merit_sources::time::rfc3339);
    let (from, to) = (time("from"), time("to"));
    let key = |time: EventTime| Key::of(Table::History).name(agent).number(time.0.div_euclid(60_000).max(0) as u64).end();
    let range = Range {
        prefix: Key::of(Table::History).name(agent).end(),
        from: from.map(key),
        to: to.map(|to| key(EventTime(to.0.saturating_add(60_000)))),
        direction: Direction::Forward,
    };
    app.page(call, &range, |_, row| {
        let within = |time: EventTime| from.is_none_or(|from| from <= time) && to.is_none_or(|to| time <= to);
        let row = HistoryRow::decode(row).filter(|row| within(row.timestamp));
        Ok(row.and_then(|row| {
            let past = row.windows.iter().find(|past| past.name == window)?;
            Some(PastScore { timestamp: Time(row.timestamp), score: Decimal(past.score), n: past.n })
        }))
    })
}

/// An agent's place on the board.
#[derive(Serialize, JsonSchema)]
struct Placed<T> {
    /// From 1.
    rank: u64,
    #[serde(flatten)]
    score: T,
}

/// The best agents.
#[derive(Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
struct Scoreboard {
    #[serde(skip_serializing_if = "Option::is_none")]
    division_id: Option<String>,
    #[schemars(with = "Vec<Placed<AgentScore<'static>>>")]
    entries: Vec<Value>,
}

fn scoreboard(app: Arc<App>, call: Call) -> Answer {
    Box::pin(async move {
        let division = call.text("divisionId");
        let prefix = Key::of(Table::Board).name(division.unwrap_or_default()).end();
        let most = call.count("topK").unwrap_or(10) as usize;
        let mut agents = Vec::new();
        let end = crate::model::key::behind(prefix.clone());
        let scanned = app.tables.scan(&prefix, Direction::Forward, |key, _| {
            if *key >= *end || agents.len() >= most {
                return std::ops::ControlFlow::Break(());
            }
            let mut rest = &key[prefix.len() + size_of::<u64>()..];
            agents.extend(take_name(&mut rest));
            std::ops::ControlFlow::Continue(())
        });
        scanned.map_err(|error| failed(&error))?;
        let mut entries = Vec::with_capacity(agents.len());
        for (agent, rank) in agents.iter().zip(1..) {
            let row = app.score(agent)?;
            let score = row.as_deref().and_then(record_in).and_then(|(_, row)| ScoreUpdated::decode(row.payload));
            if let Some(score) = score.as_ref().and_then(|score| AgentScore::of(score, score.window)) {
                entries.extend(serde_json::to_value(Placed { rank, score }));
            }
        }
        Reply::json(StatusCode::OK, &Scoreboard { division_id: division.map(str::to_owned), entries })
    })
}

/// A proposal by hand.
#[derive(Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
#[schemars(transform = of_one_and_from_a_pool)]
struct Promote {
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

fn promote(app: Arc<App>, call: Call) -> Answer {
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
        let once = once(&call, call.idempotency_key.as_deref(), "/eval/promote", &agent_id);
        let order = Order { topic: "eval.reports", key: &agent_id, payload: Payload::ProposePromotion(&proposal), once };
        match app.taken(app.post(&call, &order)?).await? {
            Taken::Answered(led) => promoted(&app, &led),
            Taken::Later => later("/eval/promotions"),
        }
    })
}

fn promoted(app: &App, led: &Led) -> Result<Reply, Refusal> {
    if let Some(rejected) = led.first(Kind::Rejected).and_then(|(_, payload)| Rejected::decode(payload)) {
        let rule = app.rule(rejected.rule, code::COMMAND_REFUSED);
        return Err(Refusal::new(StatusCode::UNPROCESSABLE_ENTITY, rule, rejected.detail.to_owned()));
    }
    let event = led.records().find_map(|(kind, id, payload)| PromotionEvent::of(id, kind, payload));
    let event = event.ok_or_else(|| Refusal::new(StatusCode::CONFLICT, code::COMMAND_REFUSED, "nothing was proposed"))?;
    Ok(replayed(Reply::json(StatusCode::CREATED, &event)?, led))
}

/// Says that an answer is that of an earlier call.
pub(super) fn replayed(reply: Reply, led: &Led) -> Reply {
    match led.is_again() {
        true => reply.with(REPLAYED, HeaderValue::from_static("true")),
        false => reply,
    }
}

/// A field that is there and not null.
fn named(field: &str) -> Value {
    serde_json::json!({ "required": [field], "properties": { field: { "type": "string" } } })
}

/// Exactly one of some fields is there and not null.
fn one_named(fields: &[&str]) -> Value {
    serde_json::json!({ "oneOf": fields.iter().map(|field| named(field)).collect::<Vec<Value>>() })
}

/// Says in a schema that exactly one of `agentId` and `entityId` is there.
pub(super) fn agent_or_entity(schema: &mut Schema) {
    schema.insert("allOf".to_owned(), Value::from(vec![one_named(&["agentId", "entityId"])]));
}

/// The one name of several that is there.
pub(super) fn one_of<const N: usize>(field: &str, names: [Option<String>; N]) -> Result<String, Refusal> {
    let mut given = names.into_iter().flatten();
    match (given.next(), given.next()) {
        (Some(name), None) if (1..=MAX_NAME).contains(&name.len()) => Ok(name),
        (Some(_), None) => Err(Refusal::value(field, format_args!("is not 1 to {MAX_NAME} bytes"))),
        (Some(_), Some(_)) => Err(Refusal::value(field, "is there by two names")),
        (None, _) => Err(Refusal::value(field, "is missing")),
    }
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
struct Promotions<T> {
    promotions: Vec<T>,
    /// Where the next page begins; none behind the last one.
    #[serde(skip_serializing_if = "Option::is_none")]
    next_cursor: Option<String>,
}

fn promotions(app: Arc<App>, call: Call) -> Answer {
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

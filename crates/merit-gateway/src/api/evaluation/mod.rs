//! The evaluation service: reports in, scores and promotions out.

mod jobs;
mod promotions;
mod scores;
mod submit;

use super::app::App;
use super::list::{CURSOR, LIMIT};
use super::trace;
use super::wire::{AgentScore, PromotionEvent, RetrainJob};
use crate::api::command::LATER;
use crate::operation::{Body, Handle, Operation, Response, json, schema_of};
use crate::parameter::{Kind as ParameterKind, Parameter, Place};
use hyper::Method;
use jobs::{Jobs, RETRAIN, Retrain, job, jobs, retrain};
use merit_core::MAX_NAME;
use promotions::{PROMOTE, Promote, Promotions, promote, promotions};
use scores::{Scoreboard, score, scoreboard};
use submit::{REPORT, REPORT_BYTES, Report, Submitted, submit};

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
            path: "/eval/jobs",
            id: "jobs",
            summary: "Retrain jobs, the latest first",
            description: "Each with the allocation of its GPUs.",
            parameters: &const { [LIMIT, CURSOR] },
            body: None,
            responses: &const { [Response::json(200, "A page.", schema_of::<Jobs<RetrainJob<'static>>>)] },
            handle: Handle::Call(jobs),
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

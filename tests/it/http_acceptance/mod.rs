//! The services from outside, against the released program: seeds 000 and 001 as their callers read them.

mod fields;
mod lists;
mod refusals;
mod starts;
mod trace;

use merit_tests::directory::{Directory, Profile};
use merit_tests::process::Call;
use merit_tests::server::{Server, assert_has};
use merit_tests::{repository, text, write};
use serde_json::{Value, json};

/// The services on an empty directory with the parameters of seed 001.
fn served() -> (Directory, Server) {
    let directory = Directory::new(Profile::Default);
    let server = Server::start(&directory);
    (directory, server)
}

/// Ends the services, and checks what they left behind.
fn ended(directory: &Directory, server: Server) {
    server.stop();
    directory.is_whole();
}

/// Seed 001's policies in the environment.
fn policies(call: Call, deny_pools: &str, max_delta: &str) -> Call {
    call.env("RESOURCE_ALLOCATOR_DENY_POOLS", deny_pools).env("RESOURCE_ALLOCATOR_MAX_DELTA", max_delta)
}

/// Seed 001's report.
fn sample() -> Value {
    json!({
        "agentId": "agent-123",
        "metrics": { "successRate": 0.93, "latencyScore": 0.9 },
        "source": "agent-manager",
        "timestamp": "2025-01-17T18:00:00Z",
        "tags": { "window": "1h" }
    })
}

/// Seed 001's request for an agent, a pool and so many GPUs.
fn request(agent: &str, pool: &str, delta: u64) -> Value {
    json!({ "agentId": agent, "pool": pool, "delta": delta, "reason": "promotion threshold met", "requestedBy": "eval-engine" })
}

/// Opens an allocation and gives its id.
fn requested(server: &Server, agent: &str, pool: &str, delta: u64) -> Value {
    let answer = server.post("/alloc/request", &request(agent, pool, delta)).is(201);
    assert_has(&answer, &json!({ "status": "pending" }));
    answer["requestId"].clone()
}

fn approval(id: &Value) -> Value {
    json!({ "requestId": id, "approvedBy": "allocator-bot" })
}

/// The path of something by its id.
fn at(path: &str, id: &Value) -> String {
    format!("{path}/{}", id.as_str().expect("an id is text"))
}

/// Whether it is RFC 3339 with milliseconds in UTC.
fn is_time(value: &Value) -> bool {
    value.as_str().is_some_and(|text| text.len() == 24 && text.ends_with('Z') && text.as_bytes()[10] == b'T')
}

/// Seed 001's response, to the digit, the letter and the order of its components.
#[test]
fn a_report_is_scored_and_promoted_as_seed_001_shows_it() {
    let (directory, server) = served();
    let answer = server.post("/eval/submit", &sample()).is(200);
    let score = json!({
        "agentId": "agent-123",
        "score": 0.92,
        "confidence": 0.7,
        "components": { "components": [{ "metric": "successRate", "value": 0.93 }, { "metric": "latencyScore", "value": 0.9 }] },
        "window": "1h"
    });
    let promotion = json!({
        "agentId": "agent-123",
        "action": "promote",
        "status": "pending",
        "rationale": "score 0.92 >= threshold 0.85",
        "confidence": 0.7
    });
    assert_has(&answer, &json!({ "score": score, "promotion": promotion }));
    assert!(is_time(&answer["score"]["computedAt"]) && is_time(&answer["promotion"]["createdAt"]), "{answer:#}");
    assert!(answer["reportId"].as_str().is_some_and(|id| id.len() == 36), "{answer:#}");
    assert_eq!(server.get("/eval/agent/agent-123/score").is(200), answer["score"]);
    ended(&directory, server);
}

#[test]
fn a_promotion_asks_for_its_gpus_and_approval_applies_them() {
    let (directory, server) = served();
    let promotion = server.post("/eval/submit", &sample()).is(200)["promotion"]["id"].clone();
    let waiting = server.get("/alloc/requests").is(200);
    let wanted = json!({ "promotionId": promotion, "agentId": "agent-123", "pool": "gpus-us-east", "delta": 1,
        "reason": "promotion threshold met", "requestedBy": "eval-engine", "status": "pending" });
    assert_has(&waiting["requests"], &json!([wanted]));
    let id = &waiting["requests"][0]["id"];
    let applied = server.post("/alloc/approve", &approval(id)).is(200);
    let wanted = json!({
        "id": id,
        "agentId": "agent-123",
        "pool": "gpus-us-east",
        "delta": 1,
        "status": "applied",
        "sentinelDecision": { "allowed": true, "policyId": "sentinel-allow", "reason": "approved" },
        "appliedBy": "allocator-bot"
    });
    assert_has(&applied, &wanted);
    assert!(is_time(&applied["appliedAt"]), "{applied:#}");
    assert_has(&server.get(&at("/alloc", id)).is(200), &wanted);
    let promoted = json!({ "promotions": [{ "id": promotion, "status": "applied", "allocationId": id }] });
    assert_has(&server.get("/eval/promotions").is(200), &promoted);
    assert_has(&server.get("/alloc/pools").is(200), &json!({ "pools": [{ "name": "gpus-us-east", "capacity": 10, "used": 1 }] }));
    ended(&directory, server);
}

/// K1: 000's 403 with `policyId` around 001's record; the record alone for who prefers it.
#[test]
fn policy_blocks_an_approval_by_403_with_the_policy_or_by_the_record_for_who_prefers_it() {
    let directory = Directory::new(Profile::Default);
    write(
        &directory.file("pools.toml"),
        "[[pools]]\nname = \"gpus-us-east\"\ncapacity = 10\n[[pools]]\nname = \"gpus-denied\"\ncapacity = 10\n",
    );
    directory.pools(&directory.file("pools.toml"));
    let server = Server::of(policies(directory.serve(), "gpus-denied, other", "2"));
    for (pool, delta, policy) in
        [("gpus-denied", 1, "sentinel-deny-pool"), ("gpus-us-east", 3, "sentinel-max-delta"), ("gpus-denied", 3, "sentinel-deny-pool")]
    {
        for preferred in [false, true] {
            let id = requested(&server, "agent-1", pool, delta);
            let headers: &[(&str, &str)] = if preferred { &[("Prefer", "return=representation")] } else { &[] };
            let answer = server.post_with("/alloc/approve", headers, &approval(&id));
            let body = if preferred { answer.is(200) } else { answer.refused(403, "allocation_blocked") };
            let decision = json!({ "allowed": false, "policyId": policy });
            let record =
                json!({ "id": id, "agentId": "agent-1", "pool": pool, "delta": delta, "status": "rejected", "sentinelDecision": decision });
            assert_has(&body, &record);
            assert_eq!(
                (body.get("policyId"), body.get("error").is_some()),
                ((!preferred).then_some(&json!(policy)), !preferred),
                "{body:#}"
            );
            assert_has(&server.get(&at("/alloc", &id)).is(200), &record);
        }
    }
    let id = requested(&server, "agent-1", "gpus-us-east", 2);
    assert_has(&server.post("/alloc/approve", &approval(&id)).is(200), &json!({ "status": "applied" }));
    ended(&directory, server);
}

#[test]
fn approval_without_capacity_stays_pending_with_its_blockers_until_units_come_free() {
    let (directory, server) = served();
    let (first, second) = (requested(&server, "agent-1", "gpus-us-east", 7), requested(&server, "agent-2", "gpus-us-east", 4));
    assert_has(&server.post("/alloc/approve", &approval(&first)).is(200), &json!({ "status": "applied" }));
    let waits = server.post("/alloc/approve", &approval(&second)).is(200);
    assert_has(&waits, &json!({ "id": second, "status": "pending", "lifecycle": "pending" }));
    assert!(waits["blockers"].as_array().is_some_and(|blockers| !blockers.is_empty()), "{waits:#}");
    assert!(waits["blockers"][0]["rule"] == "waiting_for_capacity", "{waits:#}");
    let preempted = json!({ "agentId": "agent-1", "pool": "gpus-us-east", "delta": 1, "reason": "needed elsewhere", "requestedBy": "ops" });
    let taken_back = server.post("/alloc/preempt", &preempted).is(202);
    assert_has(&taken_back, &json!({ "delta": -1, "status": "applied" }));
    assert_has(&server.get(&at("/alloc", &taken_back["id"])).is(200), &json!({ "lifecycle": "released", "holds": 6 }));
    assert_has(&server.get(&at("/alloc", &first)).is(200), &json!({ "lifecycle": "confirmed", "taken": 1 }));
    server.post("/alloc/approve", &approval(&second));
    let freed = server.get(&at("/alloc", &second)).is(200);
    assert_has(&freed, &json!({ "status": "applied", "blockers": [] }));
    assert_has(&server.get("/alloc/pools").is(200), &json!({ "pools": [{ "capacity": 10, "used": 10, "available": 0 }] }));
    ended(&directory, server);
}

/// The reference test of seed 001, `promotion_allocation_test.go`, by checklist 001.19.
#[test]
fn the_reference_flow_of_seed_001() {
    let mut directory = Directory::new(Profile::Default);
    directory.topology = directory.file("topology.toml");
    write(&directory.topology, text(&repository("topology.toml")).replace("enter = 0.85", "enter = 0.8"));
    write(
        &directory.file("pools.toml"),
        "[[pools]]\nname = \"gpus-us-east\"\ncapacity = 10\n[[pools]]\nname = \"blocked-pool\"\ncapacity = 2\n",
    );
    directory.pools(&directory.file("pools.toml"));
    let server = Server::of(policies(directory.serve(), "blocked-pool", "1"));

    let report = json!({ "agentId": "agent-1", "divisionId": "division-1", "metrics": { "successRate": 0.9, "latencyScore": 0.95 },
        "source": "agent-manager", "timestamp": "2025-01-17T18:00:00Z" });
    let submitted = server.post("/eval/submit", &report).is(200);
    assert_has(&submitted, &json!({ "promotion": { "action": "promote", "rationale": "score 0.93 >= threshold 0.8" } }));
    let waiting = server.get("/alloc/requests?status=pending").is(200);
    let allocation = &waiting["requests"][0]["id"];
    assert_has(&waiting, &json!({ "requests": [{ "promotionId": submitted["promotion"]["id"], "delta": 1 }] }));
    assert_has(&server.post("/alloc/approve", &approval(allocation)).is(200), &json!({ "status": "applied" }));

    let blocked = requested(&server, "agent-1", "blocked-pool", 2);
    assert_has(&server.post("/alloc/approve", &approval(&blocked)).refused(403, "allocation_blocked"), &json!({ "status": "rejected" }));

    let preempt = json!({ "agentId": "agent-1", "pool": "gpus-us-east", "delta": 1, "reason": "rebalance", "requestedBy": "ops" });
    assert_has(&server.post("/alloc/preempt", &preempt).is(202), &json!({ "delta": -1, "status": "applied", "agentId": "agent-1" }));

    let rejected = requested(&server, "agent-1", "gpus-us-east", 1);
    let reject = json!({ "requestId": rejected, "rationale": "budget is spent", "policyId": "finance-budget", "rejectedBy": "finance" });
    let decision = json!({ "allowed": false, "policyId": "finance-budget", "reason": "budget is spent" });
    let wanted = json!({ "id": rejected, "status": "rejected", "rejectedBy": "finance", "sentinelDecision": decision });
    assert_has(&server.post("/alloc/reject", &reject).is(200), &wanted);

    let board = server.get("/eval/scoreboard?divisionId=division-1").is(200);
    assert_has(&board, &json!({ "divisionId": "division-1", "entries": [{ "rank": 1, "agentId": "agent-1", "score": 0.93 }] }));

    let retrain = json!({ "modelFamily": "vision-transformer", "datasetRefs": ["s3://datasets/v1"], "priority": 5 });
    let job = server.post("/eval/retrain", &retrain).is(201);
    assert_has(&server.get(&at("/alloc", &job["allocationId"])).is(200), &json!({ "agentId": job["entityId"], "status": "pending" }));
    ended(&directory, server);
}

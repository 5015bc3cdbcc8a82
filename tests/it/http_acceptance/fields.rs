//! Every endpoint by its fields, and the names that seeds 000 and 001 have for one thing.

use super::{approval, at, ended, is_time, request, requested, sample, served};
use merit_tests::directory::{Directory, Profile};
use merit_tests::server::{Answer, Server, assert_has};
use serde_json::{Value, json};

/// Names of the fields of an answer that stand in these lists: each has to be there.
fn has_fields(body: &Value, fields: &[&str]) {
    for field in fields {
        assert!(body.get(field).is_some(), "no {field} in {body:#}");
    }
}

/// 000.28 to 000.32 with 001's beside them (K9: `ts` and `createdAt`).
#[test]
fn every_model_of_seed_000_has_its_fields() {
    let (directory, server) = served();
    let submitted = server.post("/eval/submit", &sample()).is(200);
    has_fields(&submitted["score"], &["agentId", "score", "components", "computedAt", "window", "confidence"]);
    let promotion = &submitted["promotion"];
    has_fields(promotion, &["id", "entityId", "agentId", "action", "rationale", "confidence", "requestedBy", "status", "ts", "createdAt"]);
    assert_eq!((&promotion["ts"], &promotion["entityId"]), (&promotion["createdAt"], &promotion["agentId"]));
    let retrain = json!({ "modelFamily": "vision-transformer", "datasetRefs": ["s3://a", "s3://b"], "priority": 5 });
    let job = server.post("/eval/retrain", &retrain).is(201);
    has_fields(
        &job,
        &["id", "modelFamily", "datasetRefs", "priority", "status", "resultMetrics", "ts", "createdAt", "gpuHours", "allocationId"],
    );
    assert_has(
        &job,
        &json!({ "modelFamily": "vision-transformer", "datasetRefs": ["s3://a", "s3://b"], "priority": 5, "status": "queued" }),
    );
    assert_eq!(server.get(&at("/eval/jobs", &job["id"])).is(200), job);
    let id = requested(&server, "agent-123", "gpus-us-east", 1);
    let applied = server.post("/alloc/approve", &approval(&id)).is(200);
    let fields =
        ["id", "entityId", "agentId", "pool", "delta", "reason", "requestedBy", "status", "ts", "appliedBy", "appliedAt", "createdAt"];
    has_fields(&applied, &fields);
    assert_eq!(applied["lifecycle"], "applied", "the answer tells what the approval led to");
    let stands = server.get(&at("/alloc", &id)).is(200);
    assert_eq!(stands["lifecycle"], "confirmed", "K10: the whole life stands beside the status");
    let pools = server.get("/alloc/pools").is(200);
    has_fields(&pools["pools"][0], &["name", "capacity", "used", "reserved", "available", "state", "quotas"]);
    ended(&directory, server);
}

/// K2, K3, K8.
#[test]
fn a_report_reads_by_the_names_of_either_seed() {
    let (directory, server) = served();
    let by_000 = json!({ "entityId": "a", "metricSet": { "x": 0.5 }, "source": "s", "timestamp": "2025-01-17T18:00:00Z", "window": "24h" });
    let by_001 = json!({ "agentId": "b", "metrics": { "x": 0.5 }, "source": "s", "timestamp": "2025-01-17T18:00:00Z",
        "tags": { "window": "24h" } });
    for (agent, report) in [("a", &by_000), ("b", &by_001)] {
        let score = server.post("/eval/submit", report).is(200)["score"].clone();
        assert_has(&score, &json!({ "agentId": agent, "score": 0.5, "window": "24h", "n": 1 }));
    }
    ended(&directory, server);
}

/// K3 where something is commanded, and divisions as entities of their own.
#[test]
fn commands_take_an_entity_by_either_name_and_by_one_alone() {
    let (directory, server) = served();
    server.post("/eval/submit", &sample()).is(200);
    let named = |path: &str, names: Value| {
        let mut body = match path {
            "/eval/promote" => json!({ "rationale": "by hand" }),
            "/alloc/request" | "/alloc/preempt" => json!({ "pool": "gpus-us-east", "delta": 1, "reason": "needed" }),
            other => panic!("{other}"),
        };
        let fields = body.as_object_mut().expect("an object");
        fields.extend(names.as_object().expect("an object").clone());
        server.post(path, &body)
    };
    let wanted = |path: &str, answer: &Answer| match path {
        "/alloc/preempt" => answer.refused(409, "nothing_to_preempt"),
        _ => answer.is(201),
    };
    for path in ["/eval/promote", "/alloc/request", "/alloc/preempt"] {
        wanted(path, &named(path, json!({ "agentId": "agent-123" })));
        wanted(path, &named(path, json!({ "entityId": "agent-123" })));
        named(path, json!({ "agentId": "agent-123", "entityId": "agent-123" })).refused(422, "value_invalid");
        named(path, json!({})).refused(422, "value_invalid");
    }
    let division = named("/eval/promote", json!({ "divisionId": "default" })).is(201);
    assert_eq!(division["entityId"], "division:default");
    ended(&directory, server);
}

/// 001.10: the sample, which asks for GPUs; and one that asks for none.
#[test]
fn a_promotion_by_hand_is_created_and_asks_for_gpus_where_it_names_a_pool() {
    let (directory, server) = served();
    server
        .post(
            "/eval/submit",
            &json!({ "agentId": "agent-123", "metrics": { "x": 0.1 }, "source": "s", "timestamp": "2025-01-17T18:00:00Z" }),
        )
        .is(200);
    let by_hand = json!({ "agentId": "agent-123", "rationale": "manual override", "confidence": 0.9, "requestedBy": "ops" });
    let mut with_pool = by_hand.clone();
    with_pool["pool"] = json!("gpus-us-east");
    with_pool["delta"] = json!(1);
    let event = json!({ "agentId": "agent-123", "action": "promote", "status": "pending", "rationale": "manual override", "confidence": 0.9,
        "requestedBy": "ops" });
    let promoted = server.post("/eval/promote", &with_pool).is(201);
    assert_has(&promoted, &event);
    assert!(is_time(&promoted["createdAt"]), "{promoted:#}");
    let requests = json!({ "requests": [{ "promotionId": promoted["id"], "pool": "gpus-us-east", "delta": 1, "requestedBy": "ops" }] });
    assert_has(&server.get("/alloc/requests").is(200), &requests);
    assert_has(&server.post("/eval/promote", &by_hand).is(201), &event);
    assert_has(&server.get("/alloc/requests").is(200), &requests);
    ended(&directory, server);
}

/// K4: in the header, in the body as 000 has it; the header wins.
#[test]
fn the_idempotency_key_of_the_header_comes_before_that_of_the_body() {
    let (directory, server) = served();
    let mut body = request("agent-1", "gpus-us-east", 1);
    body["idempotencyKey"] = json!("body-key");
    let by_body = server.post("/alloc/request", &body);
    let again = server.post("/alloc/request", &body);
    assert_eq!((by_body.status, &by_body.text, again.header("idempotency-replayed")), (201, &again.text, Some("true")));
    let by_header = server.post_with("/alloc/request", &[("Idempotency-Key", "header-key")], &body);
    assert_ne!(by_header.is(201), by_body.json());
    // The key of the body stands for nothing beside the header.
    let again = server.post_with("/alloc/request", &[("Idempotency-Key", "body-key")], &body);
    assert_eq!(again.is(201), by_body.json());
    ended(&directory, server);
    assert_eq!(directory.records_of("alloc.applied", "AllocationRequested").len(), 2);
}

/// 000.34 to 000.36: means, weights that are equal, contributions that make up the score, several windows.
#[test]
fn scores_of_synthetic_reports_are_those_of_the_book() {
    let (directory, server) = served();
    let report = |hour: u32, x: f64, y: f64| json!({ "agentId": "a", "divisionId": "d", "metrics": { "y": y, "x": x }, "source": "s", "timestamp": format!("2025-01-17T{hour:02}:30:00Z") });
    for (hour, x, y) in [(1, 0.0, 0.2), (5, 0.4, 0.6), (5, 0.6, 0.8)] {
        server.post("/eval/submit", &report(hour, x, y)).is(200);
    }
    // The last hour: x is 0.5, y is 0.7; n = 4 metric values.
    let hour = server.get("/eval/agent/a/score").is(200);
    let components = json!([{ "metric": "y", "value": 0.7, "contribution": 0.35 }, { "metric": "x", "value": 0.5, "contribution": 0.25 }]);
    assert_has(
        &hour,
        &json!({ "score": 0.6, "rawScore": 0.6, "confidence": 0.9, "window": "1h", "n": 2, "components": { "components": components } }),
    );
    // The day: x is 1/3, y is 1.6/3.
    let day = server.get("/eval/agent/a/score?window=24h").is(200);
    let components = json!([{ "metric": "y", "value": 0.533333, "contribution": 0.266667 }, { "metric": "x", "value": 0.333333, "contribution": 0.166667 }]);
    assert_has(&day, &json!({ "score": 0.43, "rawScore": 0.433334, "window": "24h", "n": 3, "components": { "components": components } }));
    assert_eq!(day.get("confidence"), None, "it is that of the window that the report asked about");
    ended(&directory, server);
}

/// 000.35 and 000.55, in the recommended profile: a high score has to last, and the interval has to lie above the threshold.
#[test]
fn the_sustained_profile_promotes_only_behind_windows_in_a_row() {
    let directory = Directory::new(Profile::Example);
    directory.pools(&merit_tests::repository("examples/pools.toml"));
    let server = Server::start(&directory);
    let mut promoted = None;
    for report in 0..400_u32 {
        let (hours, minutes) = (report / 4, report % 4 * 15);
        let timestamp = format!("2025-01-{:02}T{:02}:{minutes:02}:00Z", 1 + hours / 24, hours % 24);
        let body = json!({ "agentId": "a", "divisionId": "TXT_2_IMG", "metrics": { "success": 1, "latency": 1 }, "source": "s", "timestamp": timestamp });
        let answer = server.post("/eval/submit", &body).is(200);
        if let Some(promotion) = answer.get("promotion").filter(|promotion| promotion["action"] == "promote") {
            promoted = Some((hours, promotion.clone()));
            break;
        }
    }
    let (hours, promotion) = promoted.expect("a perfect agent is promoted");
    assert!(hours >= 24, "after {hours} hours: {promotion:#}");
    assert_eq!(promotion["windowsInRow"], 2);
    let (low, threshold) = (promotion["ci"]["low"].as_f64(), promotion["threshold"].as_f64());
    assert!(low >= threshold && low.is_some(), "{promotion:#}");
    ended(&directory, server);
}

//! What the services refuse: by the status, in the one shape, with no effect.

use super::{approval, ended, request, requested, sample, served};
use merit_tests::server::{Server, assert_has};
use serde_json::{Value, json};

/// A value with another at a field; null removes it.
fn with(value: &Value, field: &str, other: Value) -> Value {
    let mut value = value.clone();
    let fields = value.as_object_mut().expect("an object");
    match other {
        Value::Null => drop(fields.remove(field)),
        other => drop(fields.insert(field.into(), other)),
    }
    value
}

/// Method, path, content type, body; status and code.
type Row<'r> = (&'r str, &'r str, &'r str, &'r str, u16, &'r str);

fn check(server: &Server, rows: &[Row<'_>]) {
    for (method, path, content_type, body, status, code) in rows {
        let headers: &[(&str, &str)] = if content_type.is_empty() { &[] } else { &[("Content-Type", content_type)] };
        let answer = server.send(method, path, headers, body);
        assert_eq!((answer.status, &answer.json()["code"]), (*status, &json!(code)), "{method} {path} {body:.200}: {answer:#?}");
        answer.refused(*status, code);
        if *status == 405 {
            assert!(answer.header("allow").is_some(), "{answer:#?}");
        }
    }
}

#[test]
fn what_is_no_request_for_a_service_is_refused_in_one_shape() {
    let (directory, server) = served();
    let json = "application/json";
    let nobody = "00000000-0000-8000-8000-000000000000";
    let unknown = [format!("/alloc/{nobody}"), format!("/eval/jobs/{nobody}"), format!("/trace/{nobody}")];
    let large = format!(r#"{{"agentId":"{}"}}"#, "a".repeat(300 << 10));
    let over = format!(r#"{{"requestId":"{}"}}"#, "a".repeat(65 << 10));
    let approve = format!(r#"{{"requestId":"{nobody}","approvedBy":"ops"}}"#);
    let reject = format!(r#"{{"requestId":"{nobody}","rationale":"no"}}"#);
    check(
        &server,
        &[
            ("GET", "/", "", "", 404, "route_unknown"),
            ("GET", "/eval/agent/a%2Fb/score", "", "", 404, "entity_unknown"),
            ("POST", "/alloc", json, "{}", 404, "route_unknown"),
            ("GET", "/eval/agent/nobody/score", "", "", 404, "entity_unknown"),
            ("GET", &unknown[0], "", "", 404, "allocation_unknown"),
            ("GET", &unknown[1], "", "", 404, "job_unknown"),
            ("GET", &unknown[2], "", "", 404, "decision_unknown"),
            ("GET", "/alloc/x", "", "", 404, "allocation_unknown"),
            ("POST", "/alloc/approve", json, &approve, 404, "allocation_unknown"),
            ("POST", "/alloc/reject", json, &reject, 404, "allocation_unknown"),
            ("GET", "/eval/submit", "", "", 405, "method_not_allowed"),
            ("DELETE", "/alloc/approve", "", "", 405, "method_not_allowed"),
            ("PUT", "/eval/scoreboard", json, "{}", 405, "method_not_allowed"),
            ("POST", "/eval/submit", "text/plain", "{}", 415, "content_type"),
            ("POST", "/alloc/request", "application/x-www-form-urlencoded", "a=b", 415, "content_type"),
            ("POST", "/eval/submit", json, &large, 413, "body_too_large"),
            ("POST", "/alloc/approve", json, &over, 413, "body_too_large"),
            ("POST", "/eval/submit", json, "{", 400, "json_invalid"),
            ("POST", "/eval/submit", json, r#"{"agentId":"a","agentId":"b"}"#, 400, "key_duplicate"),
            ("POST", "/alloc/request", json, r#"{"pool":"a","pool":"b"}"#, 400, "json_invalid"),
            ("POST", "/alloc/request", json, r#"{"delta":NaN}"#, 400, "json_invalid"),
            ("POST", "/alloc/approve", json, r#"{"requestId":"x"}"#, 422, "value_invalid"),
            ("POST", "/alloc/approve", json, "[]", 422, "value_invalid"),
            ("GET", "/eval/scoreboard?topK=0", "", "", 400, "parameter_invalid"),
            ("GET", "/eval/scoreboard?topk=1", "", "", 400, "parameter_invalid"),
            ("GET", "/eval/promotions?limit=1001", "", "", 400, "parameter_invalid"),
            ("GET", "/eval/promotions?cursor=x", "", "", 400, "parameter_invalid"),
            ("GET", "/alloc/requests?cursor=abc", "", "", 400, "parameter_invalid"),
            ("GET", "/alloc/requests?status=lost", "", "", 400, "parameter_invalid"),
            ("GET", "/eval/agent/a/score?window=2h", "", "", 400, "parameter_invalid"),
        ],
    );
    ended(&directory, server);
    assert!(directory.records("eval.scores").is_empty(), "a refused request has no effect");
}

/// Each row changes one field of seed 001's report.
#[test]
fn a_report_that_breaks_a_rule_is_refused_by_its_name() {
    let (directory, server) = served();
    let long = "a".repeat(257);
    let metrics: Value = (0..17).map(|at| (format!("m{at}"), json!(0.5))).collect::<serde_json::Map<_, _>>().into();
    for (field, value, code) in [
        ("agentId", Value::Null, "agent_id_missing"),
        ("metrics", Value::Null, "metrics_missing"),
        ("metrics", json!({}), "metrics_missing"),
        ("metrics", json!({ "x": "1" }), "metric_not_a_number"),
        ("metrics", json!({ "x": 1_000_001 }), "metric_range"),
        ("metrics", json!({ "x": 1.5 }), "metric_range"),
        ("metrics", metrics, "metric_count"),
        ("timestamp", Value::Null, "timestamp_missing"),
        ("timestamp", json!("yesterday"), "timestamp_invalid"),
        ("timestamp", json!("2999-01-01T00:00:00Z"), "timestamp_future"),
        ("agentId", json!(long), "agent_id_invalid"),
        ("agentId", json!(5), "field_type"),
        ("window", json!("2h"), "window_unknown"),
        ("color", json!("blue"), "field_unknown"),
    ] {
        let answer = server.post("/eval/submit", &with(&sample(), field, value.clone()));
        assert_eq!((answer.status, &answer.json()["code"]), (422, &json!(code)), "{field}: {value} {answer:#?}");
        answer.refused(422, code);
    }
    server.get("/eval/agent/agent-123/score").refused(404, "entity_unknown");
    ended(&directory, server);
}

#[test]
fn a_command_with_a_value_out_of_its_range_is_refused() {
    let (directory, server) = served();
    let wanted = request("agent-1", "gpus-us-east", 1);
    let long = "a".repeat(257);
    for (field, value, code) in [
        ("delta", json!(0), "value_invalid"),
        ("delta", json!(1_000_001), "value_invalid"),
        ("delta", json!(-1), "value_invalid"),
        ("delta", json!(1.5), "value_invalid"),
        ("delta", Value::Null, "value_invalid"),
        ("pool", Value::Null, "value_invalid"),
        ("pool", json!(long), "value_invalid"),
        ("agentId", json!(""), "value_invalid"),
        ("agentId", json!(long), "value_invalid"),
        ("promotionId", json!("x"), "value_invalid"),
        ("id", json!("x"), "field_unknown"),
    ] {
        let answer = server.post("/alloc/request", &with(&wanted, field, value.clone()));
        assert_eq!((answer.status, &answer.json()["code"]), (422, &json!(code)), "{field}: {value} {answer:#?}");
        answer.refused(422, code);
    }
    assert_eq!(server.get("/alloc/requests").is(200), json!({ "requests": [] }));
    ended(&directory, server);
}

#[test]
fn what_does_not_stand_as_the_command_needs_it_is_a_conflict() {
    let (directory, server) = served();
    let id = requested(&server, "agent-1", "gpus-us-east", 1);
    server.post("/alloc/approve", &approval(&id)).is(200);
    server.post("/alloc/approve", &approval(&id)).refused(409, "allocation_not_pending");
    let reject = json!({ "requestId": id, "rationale": "too late" });
    server.post("/alloc/reject", &reject).refused(409, "allocation_not_pending");
    let preempt = |pool: &str, delta: u64| json!({ "agentId": "agent-1", "pool": pool, "delta": delta, "reason": "needed" });
    server.post("/alloc/preempt", &preempt("gpus-us-east", 2)).refused(409, "nothing_to_preempt");
    server.post("/alloc/preempt", &preempt("nowhere", 1)).refused(404, "pool_unknown");
    assert_has(&server.get("/alloc/pools").is(200), &json!({ "pools": [{ "used": 1 }] }));
    ended(&directory, server);
}

/// A pool that nobody knows is policy's to judge, when the request is approved.
#[test]
fn a_request_for_an_unknown_pool_is_blocked() {
    let (directory, server) = served();
    let answer = server.post("/alloc/request", &request("agent-1", "nowhere", 1));
    if answer.status == 201 {
        let id = answer.json()["requestId"].clone();
        server.post("/alloc/approve", &approval(&id)).refused(403, "allocation_blocked");
    } else {
        answer.refused(404, "pool_unknown");
    }
    ended(&directory, server);
}

#[test]
fn a_request_has_a_name_and_gets_it_back_on_every_answer() {
    let (directory, server) = served();
    for (path, status) in [("/eval/scoreboard", 200), ("/eval/agent/nobody/score", 404), ("/nowhere", 404)] {
        let answer = server.send("GET", path, &[("X-Request-Id", "mine.1-2_3")], "");
        assert_eq!((answer.status, answer.header("x-request-id")), (status, Some("mine.1-2_3")), "{answer:#?}");
        assert!(server.get(path).header("x-request-id").is_some());
    }
    ended(&directory, server);
}

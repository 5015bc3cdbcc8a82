//! The reasoning graph of a decision, and the trace of a call through every record.

use super::{approval, at, ended, sample, served};
use merit_tests::directory::Directory;
use merit_tests::server::Server;
use serde_json::{Value, json};
use std::collections::BTreeMap;

const TRACE: &str = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";

/// A report that was promoted and whose GPUs were approved: the promotion and the allocation.
fn promoted(server: &Server, headers: &[(&str, &str)]) -> (Value, Value) {
    let promotion = server.post_with("/eval/submit", headers, &sample()).is(200)["promotion"]["id"].clone();
    let allocation = server.get("/alloc/requests").is(200)["requests"][0]["id"].clone();
    server.post_with("/alloc/approve", headers, &approval(&allocation)).is(200);
    (promotion, allocation)
}

/// The record at a node's place.
fn record_at(directory: &Directory, node: &Value) -> Value {
    let topic = node["topic"].as_str().expect("a topic");
    let numbers = ["partition", "offset"].map(|name| node[name].to_string());
    let call = directory.call(["log", "cat", topic]).with(["--partition", &numbers[0], "--from", &numbers[1], "--limit", "1"]);
    call.ok().json()
}

#[test]
fn a_trace_leads_from_the_report_to_the_confirmed_allocation_with_every_record_where_the_log_has_it() {
    let (directory, server) = served();
    let (promotion, allocation) = promoted(&server, &[]);
    let trace = server.get(&at("/trace", &promotion)).is(200);
    let nodes = trace["nodes"].as_array().expect("nodes");
    let by_id: BTreeMap<&str, &Value> = nodes.iter().map(|node| (node["id"].as_str().expect("an id"), node)).collect();
    assert_eq!(by_id.len(), nodes.len(), "a node is there once: {trace:#}");
    let edges: Vec<(&str, &str)> = trace["edges"]
        .as_array()
        .expect("edges")
        .iter()
        .map(|edge| (edge["from"].as_str().expect("an id"), edge["to"].as_str().expect("an id")))
        .collect();
    let names = |id: &str| by_id[id]["type"].as_str().expect("a type");
    let places = |id: &str| nodes.iter().position(|node| node["id"] == id).expect("known");
    for (from, to) in &edges {
        assert!(places(from) < places(to), "{} stands behind what rests on it", names(from));
    }
    let linked: Vec<(&str, &str)> = edges.iter().map(|(from, to)| (names(from), names(to))).collect();
    // 000.8 and 000.39-45: report, score, promotion, request, verdict, approval, application, confirmation.
    for link in [
        ("EvalReport", "ScoreUpdated"),
        ("ScoreUpdated", "PromotionProposed"),
        ("PromotionProposed", "AllocationRequested"),
        ("AllocationRequested", "AllocationApproved"),
        ("PolicyDecided", "AllocationApproved"),
        ("AllocationApproved", "AllocationApplied"),
        ("AllocationApproved", "AllocationConfirmed"),
    ] {
        assert!(linked.contains(&link), "no {link:?} in {linked:?}");
    }
    for start in [&allocation, &promotion] {
        let requested = nodes.iter().find(|node| node["value"]["allocationId"] == *start || node["id"] == *start);
        let id = &requested.expect("it is one of the nodes")["id"];
        let other = server.get(&at("/trace", id)).is(200);
        assert_eq!((&other["nodes"], &other["edges"]), (&trace["nodes"], &trace["edges"]), "one graph, whoever of it is asked about");
    }
    server.stop();
    for node in nodes {
        let record = record_at(&directory, node);
        let of = |value: &Value| ["id", "type", "timestamp", "value", "topic", "partition", "offset"].map(|name| value[name].clone());
        assert_eq!(of(&record), of(node));
    }
    directory.is_whole();
}

#[test]
fn a_traceparent_comes_back_and_is_in_every_record_down_to_the_last() {
    let (directory, server) = served();
    let answer = server.send("GET", "/eval/scoreboard", &[("traceparent", TRACE)], "");
    assert_eq!(answer.header("traceparent"), Some(TRACE));
    assert_eq!(server.get("/eval/scoreboard").header("traceparent"), None);
    assert_eq!(server.send("GET", "/eval/scoreboard", &[("traceparent", "00-0-0-01")], "").header("traceparent"), None);
    promoted(&server, &[("traceparent", TRACE)]);
    ended(&directory, server);
    // Who configured the log sent no trace; what came by the two calls has it, fed back or not.
    let own = ["ConfigEpoch", "DefinePool", "PoolDefined", "Tick", "Progress", "AggregateDelta", "EntityAssigned"];
    let mut found = BTreeMap::new();
    for topic in ["eval.reports", "eval.scores", "eval.promotions", "alloc.requests", "alloc.decisions", "alloc.applied"] {
        for record in directory.records(topic) {
            let kind = record["type"].as_str().expect("a type").to_owned();
            if own.contains(&kind.as_str()) || record["value"]["command"] == "DefinePool" {
                continue;
            }
            // The pools of an empty directory are judged, too, and by nobody's call.
            if kind == "PolicyDecided" && record["headers"].is_null() && record["value"]["allocationId"].is_null() {
                continue;
            }
            assert_eq!(record["headers"]["trace"], json!(TRACE), "{record:#}");
            *found.entry(kind).or_insert(0) += 1;
        }
    }
    for kind in [
        "EvalReport",
        "ScoreUpdated",
        "PromotionProposed",
        "RequestAllocation",
        "PolicyDecided",
        "AllocationRequested",
        "AllocationApproved",
        "AllocationApplied",
        "AllocationConfirmed",
    ] {
        assert!(found.contains_key(kind), "no {kind} among {found:?}");
    }
}

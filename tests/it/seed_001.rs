//! The example of seed 001, to the digit and to the letter.

use merit_tests::directory::{Directory, Profile, with_pools};
use serde_json::{Value, json};

const BODY: &str = r#"{
  "agentId": "agent-123",
  "metrics": { "successRate": 0.93, "latencyScore": 0.9 },
  "source": "agent-manager",
  "timestamp": "2025-01-17T18:00:00Z",
  "tags": { "window": "1h" }
}"#;

fn imported() -> Directory {
    let directory = with_pools(Profile::Default);
    directory.import(["-"]).input(BODY.replace('\n', " ")).ok();
    directory
}

/// The values of a type in a topic, with their ids.
fn values(directory: &Directory, topic: &str, kind: &str) -> Vec<(Value, Value)> {
    let records = directory.call(["log", "cat", topic]).ok().lines();
    records.into_iter().filter(|record| record["type"] == kind).map(|record| (record["id"].clone(), record["value"].clone())).collect()
}

fn one(directory: &Directory, topic: &str, kind: &str) -> (Value, Value) {
    let mut found = values(directory, topic, kind);
    assert_eq!(found.len(), 1, "{kind} in {topic}: {found:?}");
    found.remove(0)
}

#[test]
fn the_score_is_0_92_from_a_raw_score_of_0_915() {
    let (_, score) = one(&imported(), "eval.scores", "ScoreUpdated");
    let window = &score["windows"][0];
    assert_eq!((&window["name"], &window["n"]), (&json!("1h"), &json!(1)));
    assert_eq!((&window["rawScore"], &window["score"]), (&json!(0.915), &json!(0.92)));
    assert_eq!((&score["agentId"], &score["window"], &score["confidence"]), (&json!("agent-123"), &json!("1h"), &json!(0.7)));
    assert_eq!(score["metrics"], json!(["successRate", "latencyScore"]));
    assert_eq!(window["components"], json!([{ "value": 0.93, "contribution": 0.465 }, { "value": 0.9, "contribution": 0.45 }]));
}

#[test]
fn the_promotion_says_why_in_the_seeds_words() {
    let directory = imported();
    let (score, _) = one(&directory, "eval.scores", "ScoreUpdated");
    let (_, promotion) = one(&directory, "eval.promotions", "PromotionProposed");
    assert_eq!(promotion["rationale"], "score 0.92 >= threshold 0.85");
    assert_eq!((&promotion["agentId"], &promotion["toTier"]), (&json!("agent-123"), &json!("promoted")));
    assert_eq!((&promotion["requestedBy"], &promotion["evidence"]["confidence"]), (&json!("eval-engine"), &json!(0.7)));
    assert_eq!(promotion["evidence"]["parents"], json!([score]), "the promotion leads to its score");
}

#[test]
fn the_allocation_is_requested_and_waits_for_a_person() {
    let directory = imported();
    let (promotion, _) = one(&directory, "eval.promotions", "PromotionProposed");
    let (_, request) = one(&directory, "alloc.requests", "RequestAllocation");
    let wanted = json!({ "promotionId": promotion, "agentId": "agent-123", "divisionId": null, "pool": "gpus-us-east", "delta": 1000,
        "reason": "promotion threshold met", "requestedBy": "eval-engine", "confidence": 0.7, "approval": "Manual" });
    assert_eq!(request, wanted);
    let (_, requested) = one(&directory, "alloc.applied", "AllocationRequested");
    let (_, pended) = one(&directory, "alloc.applied", "AllocationPended");
    assert_eq!((&requested["promotionId"], &requested["delta"]), (&promotion, &json!(1000)));
    assert_eq!((&pended["allocationId"], &pended["reason"]), (&requested["allocationId"], &json!("awaiting_approval")));
    for kind in ["AllocationApproved", "AllocationDispatched", "AllocationApplied", "AllocationRejected"] {
        assert_eq!(values(&directory, "alloc.applied", kind), [], "nobody approved");
    }
}

/// Just under the threshold as it is rounded: 0.845 rounds to 0.85, 0.844999 to 0.84.
#[test]
fn the_rounded_score_is_what_meets_the_threshold() {
    for (success, promotions) in [("0.845", 1), ("0.844999", 0)] {
        let directory = with_pools(Profile::Default);
        let body = format!(r#"{{"agentId":"a","metrics":{{"successRate":{success}}},"source":"s","timestamp":"2025-01-17T18:00:00Z"}}"#);
        directory.import(["-"]).input(body).ok();
        assert_eq!(values(&directory, "eval.promotions", "PromotionProposed").len(), promotions, "{success}");
    }
}

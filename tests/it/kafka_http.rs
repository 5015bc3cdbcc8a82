//! The services of two copies on one cluster: calls go to either, and one of them dies in the middle.

use merit_core::record::{EvalReport, Metric, Tick};
use merit_core::{Datum, EventTime, Fixed, Kind, List};
use merit_tests::copies::Application;
use merit_tests::directory::{Directory, Profile};
use merit_tests::kafka::Kafka;
use merit_tests::process::{HANG, merit, wait_until};
use merit_tests::server::{Answer, Client, Server, assert_has, has};
use serde_json::{Value, json};
use std::time::{Duration, Instant};

fn report(agent: &str, number: u64) -> Value {
    json!({
        "id": format!("{agent}-{number}"),
        "agentId": agent,
        "metrics": { "successRate": 0.93, "latencyScore": 0.9 },
        "source": "agent-manager",
        "timestamp": format!("2025-01-17T18:{:02}:00Z", number % 60),
        "tags": { "window": "1h" }
    })
}

/// Reads until the answer has that; a copy that did not take the call reads the log a little later.
fn wait(client: &Client, path: &str, wanted: &Value) -> Value {
    let begun = Instant::now();
    loop {
        let answer = client.get(path);
        match answer.status {
            200 if has(&answer.json(), wanted) => return answer.json(),
            _ if begun.elapsed() < HANG => std::thread::sleep(Duration::from_millis(20)),
            _ => panic!("{path} does not come to have {wanted:#}: {answer:#?}"),
        }
    }
}

/// Sends until it is answered as its sender wants it: while a task changes hands, calls may be told to wait or to come again.
fn until_answered(client: &Client, path: &str, key: &str, body: &Value, status: u16) -> Answer {
    let begun = Instant::now();
    loop {
        let answer = client.post_with(path, &[("Idempotency-Key", key)], body);
        match answer.status {
            found if found == status => return answer,
            202 | 503 if begun.elapsed() < HANG => std::thread::sleep(Duration::from_millis(200)),
            _ => panic!("{answer:#?}"),
        }
    }
}

#[test]
fn calls_spread_over_two_copies_are_answered_and_one_may_die() {
    let kafka = Kafka::start(1);
    let application = Application::begin(&kafka, Directory::new(Profile::Default));
    let [first, second] = ["a", "b"].map(|name| Server::of(application.run(name)));
    let answer = until_answered(&first, "/eval/submit", "first", &report("agent-123", 0), 200).json();
    let score = json!({
        "agentId": "agent-123",
        "score": 0.92,
        "confidence": 0.7,
        "components": { "components": [{ "metric": "successRate", "value": 0.93 }, { "metric": "latencyScore", "value": 0.9 }] },
        "window": "1h"
    });
    let promotion = json!({ "agentId": "agent-123", "action": "promote", "status": "pending",
        "rationale": "score 0.92 >= threshold 0.85", "confidence": 0.7 });
    assert_has(&answer, &json!({ "score": score, "promotion": promotion }));
    // Who takes a call has read what it led to.
    assert_eq!(first.get("/eval/agent/agent-123/score").is(200), answer["score"]);
    assert_eq!(wait(&second, "/eval/agent/agent-123/score", &score), answer["score"]);
    let promotion = &answer["promotion"]["id"];
    let waiting = wait(&second, "/alloc/requests", &json!({ "requests": [{ "promotionId": promotion, "status": "pending" }] }));
    let id = waiting["requests"][0]["id"].clone();
    let approval = json!({ "requestId": id, "approvedBy": "allocator-bot" });
    let applied = second.post("/alloc/approve", &approval).is(200);
    assert_has(&applied, &json!({ "id": id, "status": "applied", "appliedBy": "allocator-bot" }));
    let path = format!("/alloc/{}", id.as_str().expect("an id is text"));
    assert_has(&second.get(&path).is(200), &json!({ "id": id, "status": "applied", "appliedAt": applied["appliedAt"] }));
    wait(&first, &path, &json!({ "status": "applied", "lifecycle": "confirmed", "appliedAt": applied["appliedAt"] }));
    wait(&first, "/eval/promotions", &json!({ "promotions": [{ "id": promotion, "status": "applied", "allocationId": id }] }));
    // The same call to the other copy is the same call.
    let again = second.post_with("/eval/submit", &[("Idempotency-Key", "first")], &report("agent-123", 0)).is(200);
    assert_eq!(again["reportId"], answer["reportId"]);

    let copies = [&first, &second];
    for number in 0..40 {
        let (client, agent) = (copies[number % 2], format!("agent-{}", number % 7));
        until_answered(client, "/eval/submit", &format!("spread-{number}"), &report(&agent, number as u64), 200);
    }
    first.kill();
    for number in 40..80 {
        let agent = format!("agent-{}", number % 7);
        until_answered(&second, "/eval/submit", &format!("spread-{number}"), &report(&agent, number), 200);
    }
    let request = json!({ "agentId": "agent-9", "pool": "gpus-us-east", "delta": 2, "reason": "more", "requestedBy": "ops" });
    let opened = until_answered(&second, "/alloc/request", "open", &request, 201).json();
    assert_has(&opened, &json!({ "status": "pending" }));
    // It comes back as it was, and knows what happened meanwhile.
    let first = Server::of(application.run("a"));
    wait(&first, &format!("/alloc/{}", opened["requestId"].as_str().expect("an id")), &json!({ "status": "pending", "delta": 2 }));
    for agent in 0..7 {
        let path = format!("/eval/agent/agent-{agent}/score");
        assert_eq!(first.get(&path).is(200), second.get(&path).is(200));
    }
    application.wait_drained();
    first.stop();
    second.stop();
    let exported = application.export();
    exported.is_whole();
    let mut taken = 0;
    application.each_record(&exported, &["eval.scores", "eval.late"], |_| taken += 1);
    assert_eq!(taken, 81, "each report is scored or late, once");
}

#[test]
fn a_headless_copy_computes_for_one_that_answers_and_tells_the_time_without_it() {
    let kafka = Kafka::start(1);
    let application = Application::begin(&kafka, Directory::new(Profile::Default));
    let (headless, said) = application.headless("b").up().unwrap_or_else(|done| panic!("it ended: {done:#?}"));
    let doors: serde_json::Map<String, Value> = serde_json::from_str(&said).expect("an object");
    assert_eq!(doors.keys().collect::<Vec<_>>(), ["operations"], "{said}");
    let ready = format!("http://{}/readyz", doors["operations"].as_str().expect("an address"));
    wait_until("it is ready", || ureq::get(&ready).call().is_ok());
    let answering = Server::of(application.run("a"));
    for number in 0..16 {
        until_answered(&answering, "/eval/submit", &format!("call-{number}"), &report(&format!("agent-{number}"), number), 200);
    }
    answering.kill();
    // From here on the ledger is the headless copy's, and so is its time.
    let ledger = || application.committed("alloc.requests", 0);
    let before = ledger();
    wait_until("the ledger ticks", || ledger() > before);
    let partitions = || [0, 1, 2, 3].map(|partition| application.committed("eval.reports", partition));
    let before = partitions();
    let timestamp = EventTime(1_740_000_000_000);
    let metrics = [Metric { name: "successRate", value: Fixed(930_000) }];
    let last = EvalReport {
        id: Some("last"),
        agent_id: "agent-0",
        division_id: None,
        product_id: None,
        metrics: List::Slice(&metrics),
        source: "test",
        timestamp,
        window: None,
        tags: List::EMPTY,
    };
    application.send(&[application.report(&last)], Duration::ZERO);
    wait_until("silent partitions are told the time", || partitions().iter().zip(before).all(|(now, before)| *now > before));
    application.wait_drained();
    let done = headless.terminate();
    assert_eq!(done.code, Some(0), "{done:#?}");
    // What reads the log says why it cannot; what the copy keeps is there.
    let of_b = |words: &[&str]| merit(words).with(["--json", "--data-dir"]).with([application.data("b")]).run();
    let file = application.data("b.merit");
    let export = ["log", "export", "--output", file.to_str().expect("a path")];
    for reads in [
        &["log", "cat", "eval.scores"][..],
        &["rejected", "list"],
        &["audit", "verify"],
        &["replay", "--assert-equal"],
        &["explain", "agent-0"],
        &export,
    ] {
        of_b(reads).refused(1, "directory_without_log");
    }
    let windows = of_b(&["state", "get", "windows", "agent-0"]);
    assert!(windows.code == Some(0) && windows.out.contains(r#""key":"agent-0""#), "{windows:#?}");
    // Its directory is one to answer from as well.
    let answering = Server::of(application.run("b"));
    wait(&answering, "/eval/agent/agent-0/score", &json!({ "agentId": "agent-0" }));
    answering.stop();
    let exported = application.export();
    exported.is_whole();
    let (mut taken, mut told) = (0, 0);
    application.each_record(&exported, &["eval.scores"], |_| taken += 1);
    application.each_record(&exported, &["eval.reports"], |frame| {
        told += u32::from(frame.kind() == Some(Kind::Tick) && Tick::decode(frame.payload).is_some_and(|tick| tick.time == timestamp));
    });
    assert_eq!((taken, told), (17, 3));
}

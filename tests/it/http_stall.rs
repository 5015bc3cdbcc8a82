//! What callers are told while the disk stalls, and what is there once it goes on.

use merit_tests::directory::{Directory, Profile};
use merit_tests::process::HANG;
use merit_tests::server::{Answer, Client, Server, assert_has, has};
use serde_json::{Value, json};
use std::time::{Duration, Instant};

/// The disk stalls from this sync of a thread on: a start makes some thirty, and a test some ten before it wants the stall.
const STALLS_FROM: u32 = 100;

/// How long a call waits for its answer.
const PATIENCE: Duration = Duration::from_secs(5);

fn report(agent: &str, id: &str) -> Value {
    json!({ "id": id, "agentId": agent, "metrics": { "x": 0.5 }, "source": "test", "timestamp": "2025-01-17T18:00:00Z" })
}

/// Sends reports until the disk stalls under one, and gives its id.
fn stall(server: &Server) -> String {
    let mut ids = (0..2 * STALLS_FROM).map(|number| format!("before-{number}"));
    ids.find(|id| server.post("/eval/submit", &report("filler", id)).status == 202).expect("each report waits for a sync")
}

/// Whether it is an answer with those fields, or a list with one of them.
fn tells(found: &Value, wanted: &Value) -> bool {
    let lists = found.as_object().into_iter().flat_map(|fields| fields.values().filter_map(Value::as_array));
    has(found, wanted) || lists.flatten().any(|entry| has(entry, wanted))
}

/// Reads from where an answer said that the rest would be, until it is there.
fn later(server: &Server, location: &str, wanted: &Value) {
    let begun = Instant::now();
    loop {
        let found = server.get(location);
        if found.status == 200 && tells(&found.json(), wanted) {
            return;
        }
        assert!(begun.elapsed() < HANG, "{location} never has {wanted}: {found:#?}");
        std::thread::sleep(Duration::from_millis(20));
    }
}

#[test]
fn an_answer_that_takes_longer_than_a_call_waits_is_found_where_it_says() {
    let directory = Directory::new(Profile::Default);
    let server = Server::of(directory.serve().stalling_from(STALLS_FROM));
    let request = |agent: &str| json!({ "agentId": agent, "pool": "gpus-us-east", "delta": 1, "reason": "test", "requestedBy": "test" });
    let [applied, approved, rejected] = ["holds", "approved", "rejected"].map(|agent| {
        let id = server.post("/alloc/request", &request(agent)).is(201)["requestId"].clone();
        id.as_str().expect("an id").to_owned()
    });
    assert_has(&server.post("/alloc/approve", &json!({ "requestId": applied })).is(200), &json!({ "status": "applied" }));
    stall(&server);
    let by_hand = json!({ "agentId": "filler", "rationale": "late" });
    let preemption = json!({ "agentId": "holds", "pool": "gpus-us-east", "delta": 1, "reason": "late", "requestedBy": "test" });
    let calls = [
        ("/eval/submit", report("late", "late"), "/eval/agent/late/score".into(), json!({ "agentId": "late", "score": 0.5 })),
        ("/eval/promote", by_hand.clone(), "/eval/promotions".into(), by_hand),
        ("/alloc/request", request("late"), "/alloc/requests".into(), request("late")),
        ("/alloc/approve", json!({ "requestId": approved }), format!("/alloc/{approved}"), json!({ "status": "applied" })),
        (
            "/alloc/reject",
            json!({ "requestId": rejected, "rationale": "late" }),
            format!("/alloc/{rejected}"),
            json!({ "status": "rejected" }),
        ),
        ("/alloc/preempt", preemption, "/alloc/requests".into(), json!({ "agentId": "holds", "delta": -1, "status": "applied" })),
    ];
    let (begun, client): (Instant, &Client) = (Instant::now(), &server);
    let answers: Vec<Answer> = std::thread::scope(|scope| {
        let threads = calls.each_ref().map(|(path, body, ..)| scope.spawn(|| client.post(path, body)));
        threads.into_iter().map(|thread| thread.join().expect("a call that fails says why")).collect()
    });
    assert!(begun.elapsed() >= PATIENCE, "{:?}", begun.elapsed());
    for ((path, _, location, _), answer) in calls.iter().zip(&answers) {
        assert_eq!((answer.is(202), answer.header("location")), (json!({ "location": location }), Some(location.as_str())), "{path}");
    }
    server.relieve();
    for (_, _, location, wanted) in &calls {
        later(&server, location, wanted);
    }
    server.stop();
    directory.is_whole();
}

//! `Idempotency-Key`: one effect and one answer, however often a command comes, and wherever the process dies.

use merit_runtime::Failpoint;
use merit_tests::directory::{Directory, Profile};
use merit_tests::server::{Answer, Server};
use serde_json::{Value, json};

/// A command under a key of its own.
struct Command {
    path: &'static str,
    body: Value,
    /// The same about another entity, or of another kind.
    other: Value,
    /// Topic, type, and what its one effect says.
    effect: (&'static str, &'static str, Value),
}

impl Command {
    fn send(&self, server: &Server, body: &Value) -> Answer {
        server.post_with(self.path, &[("Idempotency-Key", self.key())], body)
    }

    /// The same command again.
    fn again(&self, server: &Server) -> Answer {
        self.send(server, &self.body)
    }

    /// The same to a process that may die.
    fn try_send(&self, server: &Server) -> Option<Answer> {
        server.try_send("POST", self.path, &[("Idempotency-Key", self.key())], &self.body.to_string()).ok()
    }

    /// The same for all: they differ in route and entity.
    fn key(&self) -> &'static str {
        "one-key"
    }

    fn effects(&self, directory: &Directory) -> usize {
        let (topic, kind, says) = &self.effect;
        let records = directory.records_of(topic, kind);
        records.iter().filter(|record| merit_tests::server::has(&record["value"], says)).count()
    }
}

/// Status and body, but for the name of the request.
fn said(answer: &Answer) -> (u16, Value) {
    let mut body = answer.json();
    if body.get("error").is_some() {
        body.as_object_mut().expect("an object").remove("requestId");
    }
    (answer.status, body)
}

fn opened(server: &Server, agent: &str, pool: &str) -> Value {
    let body = json!({ "agentId": agent, "pool": pool, "delta": 1, "reason": "prepared" });
    server.post("/alloc/request", &body).is(201)["requestId"].clone()
}

/// A directory in which every command can be carried out, and a command of each kind.
fn prepared() -> (Directory, Vec<Command>) {
    let directory = Directory::new(Profile::Default);
    let server = Server::start(&directory);
    let [to_approve, to_approve_too, to_reject, to_reject_too, held] =
        ["a", "b", "c", "d", "holder"].map(|agent| opened(&server, agent, "gpus-us-east"));
    let to_block = opened(&server, "e", "nowhere");
    server.post("/alloc/approve", &json!({ "requestId": held })).is(200);
    let held_too = opened(&server, "holder-too", "gpus-us-east");
    server.post("/alloc/approve", &json!({ "requestId": held_too })).is(200);
    server.stop();
    let report = |agent: &str, value: f64| json!({ "agentId": agent, "metrics": { "x": value }, "source": "s", "timestamp": "2025-01-17T18:00:00Z" });
    let promote = |agent: &str| json!({ "agentId": agent, "rationale": "under a key", "pool": "gpus-us-east" });
    let retrain = |family: &str| json!({ "modelFamily": family, "datasetRefs": ["s3://a"] });
    let request = |agent: &str| json!({ "agentId": agent, "pool": "gpus-us-east", "delta": 1, "reason": "under a key" });
    let preempt = |agent: &str| json!({ "agentId": agent, "pool": "gpus-us-east", "delta": 1, "reason": "under a key" });
    let approve = |id: &Value| json!({ "requestId": id, "approvedBy": "ops" });
    let reject = |id: &Value| json!({ "requestId": id, "rationale": "under a key" });
    let command = |path, body, other, topic, kind, says| Command { path, body, other, effect: (topic, kind, says) };
    let commands = vec![
        command(
            "/eval/submit",
            report("reported", 0.95),
            report("reported", 0.94),
            "eval.scores",
            "ScoreUpdated",
            json!({ "agentId": "reported" }),
        ),
        command(
            "/eval/promote",
            promote("promoted"),
            promote("other"),
            "eval.promotions",
            "PromotionProposed",
            json!({ "agentId": "promoted" }),
        ),
        command("/eval/retrain", retrain("family"), retrain("other"), "alloc.applied", "RetrainQueued", json!({ "modelFamily": "family" })),
        command("/alloc/request", request("asks"), request("other"), "alloc.applied", "AllocationRequested", json!({ "agentId": "asks" })),
        command(
            "/alloc/approve",
            approve(&to_approve),
            approve(&to_approve_too),
            "alloc.applied",
            "AllocationApproved",
            json!({ "allocationId": to_approve }),
        ),
        command(
            "/alloc/reject",
            reject(&to_reject),
            reject(&to_reject_too),
            "alloc.applied",
            "AllocationRejected",
            json!({ "allocationId": to_reject }),
        ),
        command(
            "/alloc/approve",
            approve(&to_block),
            approve(&held),
            "alloc.applied",
            "AllocationRejected",
            json!({ "allocationId": to_block }),
        ),
        command(
            "/alloc/preempt",
            preempt("holder"),
            preempt("holder-too"),
            "alloc.applied",
            "AllocationPreempted",
            json!({ "agentId": "holder" }),
        ),
    ];
    (directory, commands)
}

#[test]
fn a_key_gives_the_same_answer_to_the_same_command_and_refuses_another() {
    let (directory, commands) = prepared();
    let server = Server::start(&directory);
    for command in &commands {
        let first = command.again(&server);
        assert!([200, 201, 202, 403].contains(&first.status), "{} {first:#?}", command.path);
        assert_eq!(first.header("idempotency-replayed"), None, "{}", command.path);
        let again = command.again(&server);
        assert_eq!(said(&again), said(&first), "{}", command.path);
        assert!(again.header("idempotency-replayed").is_some(), "{} {again:#?}", command.path);
        let mut changed = command.body.clone();
        let claim = match command.path {
            "/alloc/approve" => "approvedBy",
            "/alloc/reject" => "rejectedBy",
            "/eval/submit" => "source",
            _ => "requestedBy",
        };
        changed[claim] = json!("somebody else");
        command.send(&server, &changed).refused(422, "idempotency_key_reused");
        assert_eq!(said(&command.again(&server)), said(&first), "what was refused changed nothing");
    }
    server.stop();
    for command in &commands {
        assert_eq!(command.effects(&directory), 1, "{} {:?}", command.path, command.effect);
    }
    directory.is_whole();
}

/// An approval that waits for units is answered so again, when they were given since; one that was applied, when it was taken back.
#[test]
fn an_answer_tells_what_its_command_led_to_whatever_came_since() {
    let directory = Directory::new(Profile::Default);
    let server = Server::start(&directory);
    let key = [("Idempotency-Key", "first")];
    let approve = |id: &Value| server.post_with("/alloc/approve", &key, &json!({ "requestId": id }));
    let request = |agent: &str, delta: u64| {
        let body = json!({ "agentId": agent, "pool": "gpus-us-east", "delta": delta, "reason": "prepared" });
        server.post("/alloc/request", &body).is(201)["requestId"].clone()
    };
    let (whole, waits) = (request("holder", 10), request("waiting", 1));
    let (applied, pending) = (approve(&whole), approve(&waits));
    assert_eq!((&applied.json()["status"], &pending.json()["status"]), (&json!("applied"), &json!("pending")));
    server.post("/alloc/preempt", &json!({ "agentId": "holder", "pool": "gpus-us-east", "delta": 10, "reason": "for others" })).is(202);
    let stands = |id: &Value| server.get(&format!("/alloc/{}", id.as_str().expect("text"))).is(200)["lifecycle"].clone();
    assert_eq!((stands(&whole), stands(&waits)), (json!("released"), json!("confirmed")));
    assert_eq!((said(&approve(&whole)), said(&approve(&waits))), (said(&applied), said(&pending)));
    server.stop();
    directory.is_whole();
}

/// The key of a report is its id whoever it is about; every other one belongs to a route and an entity.
#[test]
fn another_route_or_entity_is_another_scope() {
    let (directory, commands) = prepared();
    let server = Server::start(&directory);
    for command in &commands {
        command.again(&server);
        let other = command.send(&server, &command.other);
        match command.path {
            "/eval/submit" => drop(other.refused(422, "idempotency_key_reused")),
            // What was approved before is another matter than the key.
            "/alloc/approve" if other.status == 409 => drop(other.refused(409, "allocation_not_pending")),
            _ => assert!([200, 201, 202].contains(&other.status) && other.header("idempotency-replayed").is_none(), "{other:#?}"),
        }
    }
    server.stop();
    directory.is_whole();
}

#[test]
fn a_report_that_comes_again_under_its_key_has_its_promotion_again() {
    let directory = Directory::new(Profile::Default);
    let server = Server::start(&directory);
    let send = |at: usize, value: f64| {
        let body = json!({ "agentId": "a", "metrics": { "x": value }, "source": "s", "timestamp": format!("2025-01-17T18:{at:02}:00Z") });
        server.post_with("/eval/submit", &[("Idempotency-Key", &format!("key-{at}"))], &body)
    };
    let values = [0.5, 0.99, 1.0, 1.0, 1.0, 0.9, 0.1, 0.2, 0.0];
    let first: Vec<Answer> = (0..values.len()).map(|at| send(at, values[at])).collect();
    let promoted = first.iter().filter(|answer| answer.json().get("promotion").is_some()).count();
    assert!(promoted >= 2, "the scores promote and demote: {first:#?}");
    for (at, first) in first.iter().enumerate() {
        let again = send(at, values[at]);
        assert_eq!((said(&again), again.header("idempotency-replayed")), (said(first), Some("true")));
    }
    // One that was late counts in no window, as it did then.
    let late = || {
        let body = json!({ "agentId": "a", "metrics": { "x": 0 }, "source": "s", "timestamp": "2025-01-10T00:00:00Z" });
        server.post_with("/eval/submit", &[("Idempotency-Key", "late")], &body)
    };
    let (was_late, again) = (late(), late());
    assert_eq!((was_late.json()["late"].clone(), was_late.header("idempotency-replayed")), (json!(true), None));
    assert_eq!((said(&again), again.header("idempotency-replayed")), (said(&was_late), Some("true")));
    server.stop();
    assert_eq!(directory.records_of("eval.scores", "ScoreUpdated").len(), values.len());
    directory.is_whole();
}

/// The places on the way of a command to the disk, and those of the checkpoint behind it.
fn points() -> Vec<Failpoint> {
    let on_the_way = |point: &Failpoint| point.name().starts_with("commit.") || point.name().starts_with("checkpoint.");
    Failpoint::ALL.iter().copied().filter(on_the_way).collect()
}

/// Starts services that will die at a place, from the COUNT-th passage on at which they live to listen; none where they never do.
fn doomed(directory: &Directory, point: Failpoint, from: u64) -> Option<(Server, u64)> {
    (from..from + 12).find_map(|count| {
        let call = directory.serve().env("MERIT_FAILPOINT", format!("{}:{count}", point.name()));
        Server::begun(call).ok().map(|server| (server, count))
    })
}

/// One life: commands until the process dies, or until it is stopped and dies then; whether it did.
fn live(commands: &[Command], directory: &Directory, point: Failpoint, passages: u64) -> bool {
    let Some((server, _)) = doomed(directory, point, 1).and_then(|(server, count)| match passages {
        0 => Some((server, count)),
        _ => {
            drop(server);
            doomed(directory, point, count + passages)
        }
    }) else {
        return false;
    };
    let given: Vec<Option<Answer>> = commands.iter().map(|command| command.try_send(&server)).collect();
    let died = server.end().code.is_none();
    let server = Server::start(directory);
    for (at, command) in commands.iter().enumerate() {
        let answer = command.again(&server);
        assert!([200, 201, 202, 403].contains(&answer.status), "{} behind {}: {answer:#?}", command.path, point.name());
        if let Some(Some(first)) = given.get(at) {
            assert_eq!(said(&answer), said(first), "{} behind {}:{passages}", command.path, point.name());
        }
        assert_eq!(said(&command.again(&server)), said(&answer), "{} behind {}:{passages}", command.path, point.name());
    }
    server.stop();
    for command in commands {
        assert_eq!(command.effects(directory), 1, "{} {:?} behind {}:{passages}", command.path, command.effect, point.name());
    }
    directory.is_whole();
    died
}

#[test]
fn wherever_the_process_dies_a_command_has_one_effect_and_one_answer() {
    let (directory, commands) = prepared();
    let (directory, commands) = (&directory, &commands);
    let lives: Vec<(Failpoint, u64)> = points().into_iter().flat_map(|point| [0, 3, 6].map(|passages| (point, passages))).collect();
    let lives = &lives;
    let deaths: Vec<Failpoint> = std::thread::scope(|scope| {
        let part = |first: usize| {
            move || {
                let lives = lives.iter().skip(first).step_by(4);
                lives
                    .filter(|(point, passages)| live(commands, &directory.copy(), *point, *passages))
                    .map(|(point, _)| *point)
                    .collect::<Vec<_>>()
            }
        };
        let threads: Vec<_> = (0..4).map(|first| scope.spawn(part(first))).collect();
        threads.into_iter().flat_map(|thread| thread.join().expect("a life that failed says why")).collect()
    });
    for point in points() {
        assert!(deaths.contains(&point), "no process died at {}: {deaths:?}", point.name());
    }
}

//! What callers are told while the disk stalls, and what is there once it goes on.

use merit_core::Kind;
use merit_core::record::EvalReport;
use merit_runtime::live::INBOX;
use merit_tests::directory::{Directory, Profile};
use merit_tests::dump;
use merit_tests::process::HANG;
use merit_tests::server::{Answer, Client, Server, assert_has, has};
use merit_tests::{repository, text, write};
use serde_json::{Value, json};
use std::collections::BTreeSet;
use std::io::Write;
use std::net::TcpStream;
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
        ("/eval/retrain", json!({ "modelFamily": "late" }), "/eval/jobs".into(), json!({ "modelFamily": "late", "status": "queued" })),
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

/// Streams that Merit lets one connection have open.
const STREAMS: u32 = 128;

/// A frame of HTTP/2: length (3 bytes), type, flags, stream (4 bytes), payload.
fn frame(kind: u8, flags: u8, stream: u32, payload: &[u8]) -> Vec<u8> {
    let length = u32::try_from(payload.len()).expect("a frame is short").to_be_bytes();
    [&length[1..], &[kind, flags], &stream.to_be_bytes(), payload].concat()
}

/// A connection that sends reports all at once and reads no answer: as many calls wait as it has streams.
fn many(address: &str, connection: u32) -> TcpStream {
    let literal = |name: &[u8], value: &str| [name, &[u8::try_from(value.len()).expect("it is short")], value.as_bytes()].concat();
    // HPACK: POST and http of the static table; path, authority and content-type by their names in it.
    let head =
        [vec![0x83, 0x86], literal(&[0x04], "/eval/submit"), literal(&[0x01], "localhost"), literal(&[0x0f, 31 - 15], "application/json")];
    let mut bytes = [b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n".as_slice(), &frame(4, 0, 0, &[])].concat();
    for number in 0..STREAMS {
        let body = report("flood", &format!("flood-{connection}-{number}")).to_string();
        bytes.extend(frame(1, 4, 2 * number + 1, &head.concat()));
        bytes.extend(frame(0, 1, 2 * number + 1, body.as_bytes()));
    }
    let mut stream = TcpStream::connect(address).unwrap_or_else(|error| panic!("could not connect to {address}: {error}"));
    stream.write_all(&bytes).expect("it reads");
    stream
}

/// Commands that wait for the pipeline, as it tells itself.
fn waiting(client: &Client) -> usize {
    let samples = client.get_from(&client.operations, "/metrics").text;
    let line = samples.lines().find_map(|line| line.strip_prefix("merit_inbox_commands ")).expect("it is told");
    line.parse().unwrap_or_else(|error| panic!("{line:?}: {error}"))
}

#[test]
fn a_log_that_stalls_takes_what_it_can_hold_and_sends_the_rest_away_until_it_goes_on() {
    // The worker waits for the disk as early as it can be told to.
    let early = text(&repository("topology.toml"))
        .replace("commit = \"1MiB\" ", "commit = \"64KiB\"")
        .replace("pending = \"16MiB\"", "pending = \"1MiB\"");
    let mut directory = Directory::new(Profile::Default);
    directory.topology = directory.file("topology.toml");
    write(&directory.topology, early);
    let server = Server::of(directory.serve().stalling_from(STALLS_FROM));
    let taken = stall(&server);
    let address = server.evaluation.strip_prefix("http://").expect("plain HTTP");
    let begun = Instant::now();
    let mut held = Vec::new();
    // The worker holds what the log may have pending, some 4,000 of them, and the inbox the rest.
    while waiting(&server) < INBOX {
        assert!(begun.elapsed() < HANG, "{} connections wait", held.len());
        held.push(many(address, held.len() as u32));
    }
    let refused: BTreeSet<String> = (0..10).map(|number| format!("refused-{number}")).collect();
    for id in &refused {
        let answer = server.post("/eval/submit", &report("refused", id));
        answer.refused(503, "log_stalled");
        assert_eq!(answer.header("retry-after"), Some("1"), "{answer:#?}");
    }
    server.relieve();
    server.post("/eval/submit", &report("behind", "behind"));
    server.stop();
    let records = directory.dump();
    let reports = dump::of_topic(&records, "eval.reports").filter(|entry| entry.kind == Kind::EvalReport);
    let ids = reports
        .filter_map(|entry| <EvalReport<'_> as merit_core::Datum>::decode(&entry.payload).and_then(|report| report.id.map(Into::into)));
    let in_log: BTreeSet<String> = ids.collect();
    assert!(in_log.contains(&taken), "what was told to come later is there");
    assert!(in_log.len() > INBOX, "what waited is there: {}", in_log.len());
    assert_eq!(in_log.intersection(&refused).collect::<Vec<_>>(), Vec::<&String>::new(), "what was refused had no effect");
    directory.is_whole();
}

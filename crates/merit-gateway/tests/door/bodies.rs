//! Bodies: their forms, their limits, and what becomes of the connection.

use merit_gateway::Limits;

use crate::wire::{Door, GET, post};

const NOTE: &str = r#"{"agentId": "a", "value": 0.5}"#;

/// Longer than an operation takes, by one byte.
fn over() -> String {
    " ".repeat((64 << 10) + 1)
}

fn head(header: &str) -> String {
    format!("POST /notes HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n{header}\r\n\r\n")
}

fn chunks(body: &str, size: usize) -> String {
    let chunks = body.as_bytes().chunks(size).map(|chunk| format!("{:x}\r\n{}\r\n", chunk.len(), String::from_utf8_lossy(chunk)));
    chunks.chain(["0\r\n\r\n".to_owned()]).collect()
}

#[tokio::test]
async fn a_body_in_chunks_is_the_same_body() {
    let door = Door::open(Limits::default());
    for size in [1, 7, NOTE.len()] {
        let got = door.ask(&(head("Transfer-Encoding: chunked") + &chunks(NOTE, size))).await;
        assert_eq!((got.status, got.json()["bytes"].as_u64()), (201, Some(30)), "chunks of {size}");
    }
}

#[tokio::test]
async fn chunks_that_are_none_are_refused() {
    let door = Door::open(Limits::default());
    let mut wire = door.wire().await;
    wire.send(head("Transfer-Encoding: chunked") + "zz\r\n{}\r\n0\r\n\r\n").await;
    let got = wire.answer().await;
    assert_eq!((got.status, got.code().as_str()), (400, "body_broken"));
    assert!(wire.closed().await);
}

#[tokio::test]
async fn a_body_of_the_limit_is_taken_and_one_byte_more_is_refused_on_a_connection_that_lives_on() {
    let door = Door::open(Limits::default());
    let mut wire = door.wire().await;
    let whole = NOTE.to_owned() + &over()[NOTE.len() + 1..];
    for (why, request, status) in [
        ("the limit", post("/notes", &whole), 201),
        ("one more", post("/notes", &over()), 413),
        ("the limit in chunks", head("Transfer-Encoding: chunked") + &chunks(&whole, 5000), 201),
        ("one more in chunks", head("Transfer-Encoding: chunked") + &chunks(&over(), 5000), 413),
        ("a body for a path that is none", post("/nothing", &over()), 404),
        ("a note", post("/notes", NOTE), 201),
    ] {
        wire.send(request).await;
        let got = wire.answer().await;
        assert_eq!(got.status, status, "{why}: {got:?}");
        assert_eq!(got.header("connection"), None, "{why}");
    }
}

#[tokio::test]
async fn a_body_over_what_is_drained_ends_the_connection() {
    let door = Door::open(Limits { drain_bytes: 1 << 20, ..Limits::default() });
    let far_over = " ".repeat((1 << 20) + 1);
    for (why, sent) in [
        ("announced, and not read", head(&format!("Content-Length: {}", far_over.len()))),
        ("in chunks", head("Transfer-Encoding: chunked") + &chunks(&far_over, 100_000)),
    ] {
        let mut wire = door.wire().await;
        wire.send(sent).await;
        let got = wire.answer().await;
        assert_eq!((got.status, got.code().as_str(), got.header("connection")), (413, "body_too_large", Some("close")), "{why}");
        assert!(wire.closed().await, "{why}");
    }
}

#[tokio::test]
async fn who_waits_for_100_continue_gets_it_or_the_refusal() {
    let door = Door::open(Limits::default());
    let mut wire = door.wire().await;
    wire.send(head("Expect: 100-continue\r\nContent-Length: 30")).await;
    assert_eq!(wire.answer().await.status, 100);
    wire.send(NOTE).await;
    assert_eq!(wire.answer().await.status, 201);

    for (why, request, status) in [
        ("too large", head("Expect: 100-continue\r\nContent-Length: 70000"), 413),
        ("no such path", head("Expect: 100-continue\r\nContent-Length: 30").replace("/notes", "/nothing"), 404),
    ] {
        let mut wire = door.wire().await;
        wire.send(request).await;
        assert_eq!(wire.answer().await.status, status, "{why}");
        assert!(wire.closed().await, "{why}");
    }
}

#[tokio::test]
async fn bodies_in_memory_are_bounded_over_all_connections() {
    let door = Door::open(Limits { held_bytes: 1000, ..Limits::default() });
    let got = door.ask(&post("/notes", &format!("{NOTE}{}", " ".repeat(1000)))).await;
    assert_eq!((got.status, got.code().as_str(), got.header("retry-after")), (503, "overloaded", Some("1")));
    assert_eq!(door.ask(&post("/notes", NOTE)).await.status, 201, "what was held is free again");
    assert_eq!(door.ask(GET).await.status, 200);
}

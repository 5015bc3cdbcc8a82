//! What a request's head is judged by.

use std::num::NonZeroU32;

use merit_gateway::Limits;

use crate::wire::{Door, GET, post};

const NOTE: &str = r#"{"agentId": "a", "value": 0.5}"#;

#[tokio::test]
async fn each_refusal_has_its_status_and_its_code() {
    let door = Door::open(Limits::default());
    let get = |target: &str| format!("GET {target} HTTP/1.1\r\nHost: localhost\r\n\r\n");
    let with = |header: &str| post("/notes", NOTE).replacen("Host", &format!("{header}\r\nHost"), 1);
    let typed = |value: &str| post("/notes", NOTE).replace("application/json", value);
    for (why, request, status, code) in [
        ("no such path", get("/nothing"), 404, "route_unknown"),
        ("a slash too many", get("/notes/a/"), 404, "route_unknown"),
        ("a part of a path that is empty", get("/notes/"), 404, "route_unknown"),
        ("another method", get("/notes"), 405, "method_not_allowed"),
        ("OPTIONS is a method like others", GET.replace("GET", "OPTIONS"), 405, "method_not_allowed"),
        ("a parameter that is none", get("/notes/a?other=1"), 400, "parameter_invalid"),
        ("a parameter twice", get("/notes/a?limit=1&limit=1"), 400, "parameter_invalid"),
        ("a parameter below its least", get("/notes/a?limit=0"), 400, "parameter_invalid"),
        ("a choice that is none", get("/notes/a?window=2h"), 400, "parameter_invalid"),
        ("a path that is no UTF-8", get("/notes/%ff"), 400, "parameter_invalid"),
        ("a path with a control character", get("/notes/%0a"), 400, "parameter_invalid"),
        ("a query that is no UTF-8", get("/notes/a?window=%ff"), 400, "parameter_invalid"),
        ("a path over its length", get(&format!("/notes/{}", "x".repeat(101))), 400, "parameter_invalid"),
        ("a body where none is wanted", post("/panic", "{}"), 400, "body_unexpected"),
        ("an empty idempotency key", with("Idempotency-Key: "), 400, "parameter_invalid"),
        ("an idempotency key over its length", with(&format!("Idempotency-Key: {}", "k".repeat(256))), 400, "parameter_invalid"),
        ("an idempotency key with a space", with("Idempotency-Key: a b"), 400, "parameter_invalid"),
        ("two idempotency keys", with("Idempotency-Key: a\r\nIdempotency-Key: a"), 400, "parameter_invalid"),
        ("text", typed("text/plain"), 415, "content_type"),
        ("a longer word", typed("application/jsonp"), 415, "content_type"),
        ("no type", post("/notes", NOTE).replace("Content-Type: application/json\r\n", ""), 415, "content_type"),
        ("compressed", with("Content-Encoding: gzip"), 415, "content_type"),
        ("no JSON", post("/notes", "{"), 400, "json_invalid"),
        ("an unknown field", post("/notes", r#"{"agentId": "a", "value": 0.5, "score": 1}"#), 422, "field_unknown"),
        ("a wrong value", post("/notes", r#"{"agentId": "a", "value": 2}"#), 422, "value_invalid"),
        ("a missing value", post("/notes", "{}"), 422, "value_invalid"),
        ("another host", GET.replace("localhost", "evil.example"), 421, "host_unknown"),
        ("a host that begins like this one", GET.replace("localhost", "localhost.evil.example"), 421, "host_unknown"),
        ("no host", GET.replace("Host: localhost\r\n", ""), 421, "host_unknown"),
        ("two hosts", GET.replace("\r\n\r\n", "\r\nHost: localhost\r\n\r\n"), 400, "parameter_invalid"),
        ("a handler that refuses", get("/notes/none"), 404, "route_unknown"),
        ("a log that stalls", post("/stalled", ""), 503, "overloaded"),
    ] {
        let got = door.ask(&request).await;
        assert_eq!(got.status, status, "{why}: {got:?}");
        assert_eq!(got.code(), code, "{why}: {got:?}");
        assert_eq!(got.json()["requestId"], got.header("x-request-id").expect("every answer has one"), "{why}");
        assert!(got.json()["error"].as_str().is_some_and(|message| !message.is_empty()), "{why}: {got:?}");
    }
}

#[tokio::test]
async fn what_is_within_its_bounds_is_taken() {
    let door = Door::open(Limits::default());
    let with = |header: &str| post("/notes", NOTE).replacen("Host", &format!("{header}\r\nHost"), 1);
    let get = |target: &str| format!("GET {target} HTTP/1.1\r\nHost: localhost\r\n\r\n");
    for (why, request, field, value) in [
        ("a path is decoded", get("/notes/a%2Fb%20%C3%A4"), "id", "a/b ä".into()),
        ("a query is decoded", get("/notes/a?%6cimit=1%30&"), "limit", 10.into()),
        ("a type with a charset", with("X: y").replace("json\r", "JSON; charset=utf-8\r"), "id", "a".into()),
        (
            "an idempotency key of its length",
            with(&format!("Idempotency-Key: {}", "k".repeat(255))),
            "idempotencyKey",
            "k".repeat(255).into(),
        ),
        ("a wish for the whole", with("Prefer: return=representation"), "representation", true.into()),
        ("whoever reaches loopback", GET.into(), "principal", "local".into()),
        ("an address for a host", GET.replace("localhost", "127.0.0.1:8051"), "id", "a".into()),
        ("another address for a host", GET.replace("localhost", "[::1]:8051"), "id", "a".into()),
        ("HTTP/1.0 without a host", GET.replace("1.1", "1.0").replace("Host: localhost\r\n", ""), "id", "a".into()),
        ("an absolute target", GET.replace("/notes", "http://localhost/notes"), "id", "a".into()),
    ] {
        let got = door.ask(&request).await;
        assert!(got.status < 300, "{why}: {got:?}");
        let value: serde_json::Value = value;
        assert_eq!(got.json()[field], value, "{why}");
    }
}

#[tokio::test]
async fn ids_of_requests_and_traces_come_back() {
    let door = Door::open(Limits::default());
    let trace = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";
    let long = "i".repeat(129);
    for (name, sent, back) in [
        ("X-Request-Id", "my.request_1-x", true),
        ("X-Request-Id", "with space", false),
        ("X-Request-Id", "<script>", false),
        ("X-Request-Id", long.as_str(), false),
        ("X-Request-Id", &long[..128], true),
        ("traceparent", trace, true),
        ("traceparent", &trace[..54], false),
    ] {
        let got = door.ask(&GET.replace("Host", &format!("{name}: {sent}\r\nHost"))).await;
        assert_eq!(got.header(name) == Some(sent), back, "{name}: {sent}: {got:?}");
        assert!(got.header("x-request-id").is_some_and(|id| !id.is_empty()));
    }
    let (first, second) = (door.ask(GET).await, door.ask(GET).await);
    assert_ne!(first.header("x-request-id"), second.header("x-request-id"));
}

#[tokio::test]
async fn a_path_says_which_methods_it_takes() {
    let door = Door::open(Limits::default());
    for (path, allow) in [("/notes", "POST"), ("/notes/a", "GET, HEAD")] {
        let got = door.ask(&format!("DELETE {path} HTTP/1.1\r\nHost: localhost\r\n\r\n")).await;
        assert_eq!(got.header("allow"), Some(allow), "{path}");
    }
}

#[tokio::test]
async fn head_is_get_without_its_body() {
    let door = Door::open(Limits::default());
    let size = door.ask(GET).await.body.len();
    let mut wire = door.wire().await;
    wire.send(GET.replace("GET", "HEAD")).await;
    wire.stream.readable().await.expect("it answers");
    let mut read = vec![0; 4096];
    let count = wire.stream.try_read(&mut read).expect("it answered");
    let head = String::from_utf8_lossy(&read[..count]);
    assert!(head.contains(&format!("content-length: {size}\r\n")), "{head}");
    assert!(head.ends_with("\r\n\r\n"), "{head}");
    wire.send(GET).await;
    assert_eq!(wire.answer().await.status, 200, "the connection lives on");
}

#[tokio::test]
async fn a_handler_that_panics_answers_500_and_the_connection_lives_on() {
    let door = Door::open(Limits::default());
    let mut wire = door.wire().await;
    wire.send(post("/panic", "")).await;
    let got = wire.answer().await;
    assert_eq!((got.status, got.code().as_str()), (500, "internal"));
    wire.send(GET).await;
    assert_eq!(wire.answer().await.status, 200);
    assert_eq!(door.service.counters().panics.get(), 1);
}

#[tokio::test]
async fn one_over_the_rate_is_refused_and_told_when_to_come_again() {
    let door = Door::open(Limits { rate: NonZeroU32::MIN, ..Limits::default() });
    assert_eq!(door.ask(GET).await.status, 200);
    let got = door.ask(GET).await;
    assert_eq!((got.status, got.code().as_str(), got.header("retry-after")), (429, "rate_limited", Some("1")));
}

#[tokio::test]
async fn bytes_that_are_no_request_end_the_connection() {
    let door = Door::open(Limits::default());
    let long = "x".repeat(20 << 10);
    for (why, bytes, status) in [
        ("no method", "\u{1}\u{2}\u{3} / HTTP/1.1\r\n\r\n".to_owned(), 400),
        ("another protocol", "SSH-2.0-OpenSSH_9.6\r\n\r\n".to_owned(), 400),
        ("another version", "GET / HTTP/9.9\r\n\r\n".to_owned(), 400),
        ("a header without a name", "GET / HTTP/1.1\r\n: x\r\n\r\n".to_owned(), 400),
        ("a space before the colon", "GET / HTTP/1.1\r\nHost : x\r\n\r\n".to_owned(), 400),
        ("a folded header", "GET / HTTP/1.1\r\nHost: a\r\n b\r\n\r\n".to_owned(), 400),
        ("a header over the limit", format!("GET / HTTP/1.1\r\nX: {long}\r\n\r\n"), 431),
        ("a head that does not end", format!("GET / HTTP/1.1\r\n{}", "X: y\r\n".repeat(4000)), 431),
        ("more headers than anyone needs", format!("GET / HTTP/1.1\r\n{}\r\n", "X: y\r\n".repeat(101)), 431),
        ("a target over the limit", format!("GET /{} HTTP/1.1\r\n\r\n", long), 431),
        // Shapes by which two readers of one connection could disagree about where a request ends.
        ("two lengths", post("/notes", NOTE).replacen("Content-Length", "Content-Length: 5\r\nContent-Length", 1), 400),
        ("a length that is none", post("/notes", NOTE).replacen("Content-Length: ", "Content-Length: +", 1), 400),
        ("a list of lengths", post("/notes", NOTE).replacen("Content-Length: ", "Content-Length: 30, ", 1), 400),
        (
            "a coding that is not the last",
            post("/notes", NOTE).replacen("Content-Length: 30", "Transfer-Encoding: chunked, identity", 1),
            400,
        ),
        ("a coding that is none", post("/notes", NOTE).replacen("Content-Length: 30", "Transfer-Encoding: xchunked", 1), 400),
        (
            "chunks in HTTP/1.0",
            post("/notes", NOTE).replacen("Content-Length: 30", "Transfer-Encoding: chunked", 1).replace("1.1", "1.0"),
            400,
        ),
    ] {
        let mut wire = door.wire().await;
        // A head over the limit may be refused before its end.
        let _ = tokio::io::AsyncWriteExt::write_all(&mut wire.stream, bytes.as_bytes()).await;
        let got = wire.answer().await;
        assert_eq!(got.status, status, "{why}: {got:?}");
        assert_eq!(got.code(), if status == 400 { "request_invalid" } else { "head_too_large" }, "{why}");
        assert!(wire.closed().await, "{why}");
    }
    assert_eq!(door.ask(GET).await.status, 200);
}

#[tokio::test]
async fn a_request_with_a_length_and_chunks_goes_by_its_chunks_and_is_the_last() {
    let door = Door::open(Limits::default());
    let hidden = "GET /hidden HTTP/1.1\r\nHost: localhost\r\n\r\n";
    for both in ["Content-Length: 4\r\nTransfer-Encoding: chunked", "Transfer-Encoding: chunked\r\nContent-Length: 4"] {
        let mut wire = door.wire().await;
        let chunked = format!("{:x}\r\n{NOTE}\r\n0\r\n\r\n", NOTE.len());
        wire.send(format!("POST /notes HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n{both}\r\n\r\n{chunked}{hidden}"))
            .await;
        assert_eq!(wire.answer().await.status, 201, "{both}");
        assert!(wire.closed().await, "{both}");
    }
}

#[tokio::test]
async fn requests_sent_at_once_are_answered_in_their_order() {
    let door = Door::open(Limits::default());
    let mut wire = door.wire().await;
    let requests: String = (0..50).map(|id| GET.replace("/a", &format!("/{id}"))).collect();
    wire.send(requests).await;
    for id in 0..50 {
        assert_eq!(wire.answer().await.json()["id"], id.to_string());
    }
}

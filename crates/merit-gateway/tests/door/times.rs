//! Each phase of a connection ends, whatever a client does or does not.

use std::time::Duration;

use merit_gateway::Limits;
use tokio::io::AsyncWriteExt;
use tokio::time::{interval, timeout};

use crate::frames;
use crate::wire::{Door, GET, HANG, Wire, post};

const SHORT: Duration = Duration::from_millis(200);

/// Sends a byte each 20 ms until the door closes.
async fn dribble(wire: &mut Wire, bytes: impl Iterator<Item = u8>) {
    let mut pace = interval(Duration::from_millis(20));
    for byte in bytes {
        pace.tick().await;
        if wire.stream.write_all(&[byte]).await.is_err() {
            return;
        }
        let mut nothing = [0; 1];
        if wire.stream.try_read(&mut nothing).is_ok_and(|read| read == 0) {
            return;
        }
    }
    panic!("the door went on reading");
}

/// A head that never ends.
fn endless() -> impl Iterator<Item = u8> {
    let lines = std::iter::repeat(b"X: y\r\n").flatten().take(4000);
    b"GET / HTTP/1.1\r\n".iter().chain(lines).copied()
}

#[tokio::test]
async fn a_head_that_takes_too_long_ends_the_connection() {
    let door = Door::open(Limits { header: SHORT, ..Limits::default() });
    let timeouts = || door.service.counters().header_timeouts.get();

    assert!(door.wire().await.closed().await, "nothing is sent");
    assert_eq!(timeouts(), 1);

    for part in ["P", "PRI", "GET /notes/a HTTP/1.1\r\n"] {
        let mut wire = door.wire().await;
        wire.send(part).await;
        assert!(timeout(HANG, drained(&mut wire)).await.is_ok(), "{part:?} and no more");
    }
    assert_eq!(timeouts(), 4);

    timeout(HANG, dribble(&mut door.wire().await, endless())).await.expect("a byte at a time");
    assert_eq!(timeouts(), 5);

    let mut wire = door.wire().await;
    wire.send(GET).await;
    assert_eq!(wire.answer().await.status, 200);
    timeout(HANG, dribble(&mut wire, endless())).await.expect("a byte at a time, in a later request");
    assert_eq!(timeouts(), 6);
}

/// Reads until the door closes; HTTP/2 says its settings first.
async fn drained(wire: &mut Wire) {
    let mut read = Vec::new();
    let _ = tokio::io::AsyncReadExt::read_to_end(&mut wire.stream, &mut read).await;
}

#[tokio::test]
async fn between_requests_the_idle_limit_counts_and_not_that_of_heads() {
    let door = Door::open(Limits { header: Duration::from_millis(50), ..Limits::default() });
    let mut wire = door.wire().await;
    wire.send(GET).await;
    assert_eq!(wire.answer().await.status, 200);
    assert!(timeout(SHORT, wire.closed()).await.is_err(), "it is open four times the header limit later");
    wire.send(GET).await;
    assert_eq!(wire.answer().await.status, 200);

    let door = Door::open(Limits { idle: SHORT, ..Limits::default() });
    let mut wire = door.wire().await;
    wire.send(GET).await;
    assert_eq!(wire.answer().await.status, 200);
    assert!(wire.closed().await);
    assert_eq!(door.service.counters().idle_timeouts.get(), 1);
}

#[tokio::test]
async fn pings_are_no_requests() {
    let door = Door::open(Limits { header: SHORT, ..Limits::default() });
    let mut wire = door.wire().await;
    wire.send(frames::hello()).await;
    let pings = async {
        let mut pace = interval(Duration::from_millis(20));
        while wire.stream.write_all(&frames::frame(frames::PING, 0, 0, &[0; 8])).await.is_ok() {
            pace.tick().await;
        }
    };
    timeout(HANG, pings).await.expect("the door closes");
    assert_eq!(door.service.counters().header_timeouts.get(), 1);
}

#[tokio::test]
async fn who_does_not_take_the_answers_is_idle() {
    let door = Door::open(Limits { idle: SHORT, ..Limits::default() });
    let mut wire = door.wire().await;
    let asked = async { while wire.stream.write_all(GET.repeat(100).as_bytes()).await.is_ok() {} };
    timeout(HANG, asked).await.expect("the door closes");
    assert_eq!(door.service.counters().idle_timeouts.get(), 1);
}

#[tokio::test]
async fn a_body_that_takes_too_long_is_answered_408() {
    let door = Door::open(Limits { body: SHORT, ..Limits::default() });
    let whole = post("/notes", r#"{"agentId": "a", "value": 0.5}"#);
    let mut wire = door.wire().await;
    wire.send(&whole[..whole.len() - 1]).await;
    let got = wire.answer().await;
    assert_eq!((got.status, got.code().as_str(), got.header("connection")), (408, "body_timeout", Some("close")));
    assert!(wire.closed().await);
    assert_eq!(door.service.counters().body_timeouts.get(), 1);

    let mut wire = door.wire().await;
    wire.send(post("/nothing", &" ".repeat(100)).trim_end_matches(' ')).await;
    assert_eq!(wire.answer().await.status, 404, "what is refused anyway is refused as it was");
    assert!(wire.closed().await);
}

#[tokio::test]
async fn a_handler_that_takes_too_long_is_answered_503() {
    let door = Door::open(Limits { request: SHORT, ..Limits::default() });
    let mut wire = door.wire().await;
    wire.send(post("/waiting", "")).await;
    let got = wire.answer().await;
    assert_eq!((got.status, got.code().as_str()), (503, "request_timeout"));
    wire.send(GET).await;
    assert_eq!(wire.answer().await.status, 200, "the connection lives on");
    assert_eq!(door.service.counters().request_timeouts.get(), 1);
}

#[tokio::test]
async fn a_door_that_closes_lets_requests_in_flight_end() {
    let door = Door::open(Limits::default());
    let (mut busy, mut idle) = (door.wire().await, door.wire().await);
    idle.send(GET).await;
    assert_eq!(idle.answer().await.status, 200);
    busy.send(post("/waiting", "")).await;
    let app = door.app.clone();
    app.waiting.acquire().await.expect("it is never closed").forget();
    let (address, served) = (door.address, door.close());
    assert!(idle.closed().await, "who asks nothing is let go at once");
    assert!(tokio::net::TcpStream::connect(address).await.is_err(), "nobody new is let in");
    app.gate.add_permits(1);
    assert_eq!(busy.answer().await.status, 204);
    assert!(busy.closed().await);
    timeout(HANG, served).await.expect("it ends").expect("it ends well");
}

#[tokio::test]
async fn a_door_that_closes_waits_no_longer_than_its_limit() {
    let door = Door::open(Limits { shutdown: SHORT, ..Limits::default() });
    let mut busy = door.wire().await;
    busy.send(post("/waiting", "")).await;
    door.app.waiting.acquire().await.expect("it is never closed").forget();
    timeout(HANG, door.close()).await.expect("it ends").expect("it ends well");
    assert!(busy.closed().await);
}

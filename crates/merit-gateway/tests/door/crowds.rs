//! Honest requests beside those who mean harm: all are answered, and memory stays flat.

use std::sync::Arc;
use std::time::Duration;

use merit_gateway::Limits;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::sync::Semaphore;
use tokio::time::{interval, timeout};

use crate::frames::{self, CONTINUATION, END_HEADERS, END_STREAM, HEADERS, RST_STREAM, WINDOW_UPDATE, frame};
use crate::wire::{Door, GET, HANG, honest, resident, tell};

/// What a crowd may cost once it was there for a while, in bytes; it is this process's clients too, and other tests beside it.
const FLAT: usize = 64 << 20;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_thousand_slow_clients_keep_nobody_out() {
    let door = Door::open(Limits { header: Duration::from_millis(500), ..Limits::default() });
    let slow: Vec<_> = (0..1000).map(|_| tokio::spawn(dribbles(door.address))).collect();
    // As many were cut off as there are: so all were there, and came again.
    let cut_off = |count| move |door: &Door| count <= door.service.counters().header_timeouts.get();
    let first = timeout(HANG, honest(&door, cut_off(1000))).await.expect("they are cut off");
    let before = resident();
    let then = timeout(HANG, honest(&door, cut_off(4000))).await.expect("they are cut off");
    let grown = resident().saturating_sub(before);
    slow.iter().for_each(|client| client.abort());
    tell("while 1,000 slow clients come", &first);
    tell("beside 1,000 slow clients", &then);
    assert!(grown < FLAT, "grew by {grown} bytes");
}

/// A head a byte at a time, on one connection after the other.
async fn dribbles(address: std::net::SocketAddr) {
    let mut pace = interval(Duration::from_millis(100));
    loop {
        let Ok(mut stream) = TcpStream::connect(address).await else { continue };
        for byte in GET.bytes().cycle().filter(|byte| *byte != b'\n') {
            pace.tick().await;
            if stream.write_all(&[byte]).await.is_err() {
                break;
            }
        }
    }
}

#[tokio::test]
async fn one_connection_over_the_limit_is_told_so_and_one_that_ends_makes_room() {
    let door = Door::open(Limits { connections: 50, ..Limits::default() });
    let mut wires = Vec::new();
    for _ in 0..50 {
        let mut wire = door.wire().await;
        wire.send(GET).await;
        assert_eq!(wire.answer().await.status, 200);
        wires.push(wire);
    }
    for _ in 0..100 {
        let mut wire = door.wire().await;
        let got = wire.answer().await;
        assert_eq!((got.status, got.code().as_str(), got.header("retry-after")), (503, "connections_full", Some("1")));
        assert!(wire.closed().await);
    }
    assert_eq!((door.service.counters().refused.get(), door.service.counters().open.get()), (100, 50));
    wires[7].send(GET).await;
    assert_eq!(wires[7].answer().await.status, 200, "those within go on");

    wires.pop();
    let room = async { while door.wire_status().await != 200 {} };
    timeout(HANG, room).await.expect("there is room again");
}

impl Door {
    async fn wire_status(&self) -> u16 {
        let mut wire = self.wire().await;
        // It may be closed before it is written to.
        let _ = wire.stream.write_all(GET.as_bytes()).await;
        wire.answer().await.status
    }
}

/// Sends frames until the door closes, and reads what it says.
async fn flood(address: std::net::SocketAddr, frames: impl Iterator<Item = Vec<u8>> + Send + 'static) {
    let (mut read, mut write) = TcpStream::connect(address).await.expect("the door listens").into_split();
    let reader = tokio::spawn(async move {
        let mut bytes = [0; 4096];
        while read.read(&mut bytes).await.is_ok_and(|read| 0 < read) {}
    });
    let writer = async {
        let mut batch = frames::hello();
        for frame in frames {
            batch.extend(frame);
            if (16 << 10) < batch.len() {
                if write.write_all(&batch).await.is_err() {
                    return;
                }
                batch.clear();
            }
        }
        panic!("the door took every frame");
    };
    timeout(HANG, writer).await.expect("the door closes");
    drop(reader.await);
}

async fn holds(what: &str, frames: impl Iterator<Item = Vec<u8>> + Send + Clone + 'static) {
    let door = Door::open(Limits::default());
    let floods = |count| {
        let (address, frames) = (door.address, frames.clone());
        tokio::spawn(async move {
            for _ in 0..count {
                flood(address, frames.clone()).await;
            }
        })
    };
    let first = floods(20);
    honest(&door, |_| first.is_finished()).await;
    let before = resident();
    let then = floods(100);
    let took = honest(&door, |_| then.is_finished()).await;
    let grown = resident().saturating_sub(before);
    first.await.expect("each connection was ended");
    then.await.expect("each connection was ended");
    tell(what, &took);
    assert!(grown < FLAT, "grew by {grown} bytes");
}

fn opened(stream: u32) -> Vec<u8> {
    frame(HEADERS, END_HEADERS | END_STREAM, stream, &frames::get())
}

/// CVE-2023-44487.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_flood_of_resets_ends_its_connection_and_no_other() {
    const CANCEL: [u8; 4] = 8_u32.to_be_bytes();
    let reset = frames::streams().map(|stream| [opened(stream), frame(RST_STREAM, 0, stream, &CANCEL)].concat());
    holds("beside a flood of resets", reset).await;
}

/// CVE-2025-8671: the client's faults let the server reset.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_flood_of_faults_that_want_resets_ends_its_connection_and_no_other() {
    let faulty = frames::streams().map(|stream| [opened(stream), frame(WINDOW_UPDATE, 0, stream, &[0; 4])].concat());
    holds("beside a flood of faults", faulty).await;
}

/// CVE-2024-27316: headers that never end.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_flood_of_continuations_ends_its_connection_and_no_other() {
    let first = frame(HEADERS, END_STREAM, 1, &frames::get());
    let more = std::iter::repeat_with(|| frame(CONTINUATION, 0, 1, b"\x00\x01x\x01y"));
    holds("beside a flood of continuations", std::iter::once(first).chain(more)).await;
}

#[tokio::test]
async fn who_abandons_requests_that_were_begun_is_let_go() {
    let door = Door::open(Limits { abandoned: 10, ..Limits::default() });
    let mut wire = door.wire().await;
    wire.send(frames::hello()).await;
    let waiting = [vec![0x83, 0x86], b"\x04\x08/waiting".to_vec(), b"\x01\x09localhost".to_vec()].concat();
    for stream in frames::streams().take(11) {
        wire.send(frame(HEADERS, END_HEADERS | END_STREAM, stream, &waiting)).await;
        door.app.waiting.acquire().await.expect("it is never closed").forget();
        wire.send(frame(RST_STREAM, 0, stream, &8_u32.to_be_bytes())).await;
    }
    let mut read = Vec::new();
    let ended = wire.stream.read_to_end(&mut read);
    drop(timeout(HANG, ended).await.expect("the door closes"));
    assert_eq!(door.service.counters().abused.get(), 1);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn many_requests_on_one_http2_connection_are_all_answered() {
    let door = Door::open(Limits::default());
    let stream = TcpStream::connect(door.address).await.expect("the door listens");
    let (client, connection) = h2::client::handshake(stream).await.expect("it speaks HTTP/2");
    let driver = tokio::spawn(connection);
    // An answer ends at the client before its stream does at the server, which refuses what is over its limit: half of it leaves room.
    let at_once = Arc::new(Semaphore::new(Limits::default().streams as usize / 2));
    let asked: Vec<_> = (0..1000)
        .map(|_| {
            let (client, at_once) = (client.clone(), Arc::clone(&at_once));
            tokio::spawn(async move {
                let _turn = at_once.acquire().await.expect("it is never closed");
                let mut client = client.ready().await.expect("a stream comes free");
                let request = http::Request::post("http://localhost/notes").header("content-type", "application/json");
                let (answer, mut body) = client.send_request(request.body(()).expect("a request"), false).expect("it is sent");
                let note = r#"{"agentId": "a", "value": 0.5}"#;
                body.send_data(note.into(), true).expect("it is sent");
                let mut answer = answer.await.expect("an answer");
                while let Some(data) = answer.body_mut().data().await {
                    data.expect("the rest of it");
                }
                answer.status().as_u16()
            })
        })
        .collect();
    for answer in asked {
        assert_eq!(timeout(HANG, answer).await.expect("an answer").expect("no panic"), 201);
    }
    driver.abort();
}

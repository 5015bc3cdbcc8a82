//! A door on a free port, and a client that sends bytes as a test wants them.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use merit_gateway::{Limits, Service, bind, raise_file_limit, serve};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::sync::{Semaphore, oneshot};
use tokio::task::JoinHandle;
use tokio::time::timeout;

use crate::app::{ABOUT, App, FAULTS, NOTES};

/// Longer than anything here takes on a busy machine.
pub(crate) const HANG: Duration = Duration::from_secs(20);

pub(crate) struct Door {
    pub(crate) address: SocketAddr,
    pub(crate) service: Arc<Service<App>>,
    pub(crate) app: Arc<App>,
    stop: oneshot::Sender<()>,
    served: JoinHandle<()>,
}

impl Door {
    pub(crate) fn open(limits: Limits) -> Door {
        raise_file_limit().expect("the hard limit may be taken");
        let listener = bind(SocketAddr::from(([127, 0, 0, 1], 0))).expect("there is a free port");
        let address = listener.local_addr().expect("it listens");
        let app = Arc::new(App { gate: Semaphore::new(0), waiting: Semaphore::new(0) });
        let service = Arc::new(Service::new(app.clone(), &ABOUT, NOTES.into_iter().chain(FAULTS), limits));
        let (stop, stopped) = oneshot::channel();
        let served = tokio::spawn(serve(listener, service.clone(), async { drop(stopped.await) }));
        Door { address, service, app, stop, served }
    }

    pub(crate) async fn wire(&self) -> Wire {
        let stream = TcpStream::connect(self.address).await.expect("the door listens");
        Wire { stream, read: Vec::new() }
    }

    /// Asks once, on a connection of its own.
    pub(crate) async fn ask(&self, request: &str) -> Got {
        let mut wire = self.wire().await;
        wire.send(request).await;
        wire.answer().await
    }

    /// Begins to close; the handle ends when the door has closed.
    pub(crate) fn close(self) -> JoinHandle<()> {
        drop(self.stop);
        self.served
    }
}

pub(crate) struct Wire {
    pub(crate) stream: TcpStream,
    read: Vec<u8>,
}

/// An answer.
#[derive(Debug)]
pub(crate) struct Got {
    pub(crate) status: u16,
    pub(crate) head: String,
    pub(crate) body: String,
}

impl Got {
    pub(crate) fn json(&self) -> serde_json::Value {
        serde_json::from_str(&self.body).unwrap_or_else(|error| panic!("{error} in {self:?}"))
    }

    pub(crate) fn code(&self) -> String {
        self.json()["code"].as_str().unwrap_or_default().to_owned()
    }

    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        let lines = self.head.lines().filter_map(|line| line.split_once(": "));
        lines.into_iter().find(|(known, _)| known.eq_ignore_ascii_case(name)).map(|(_, value)| value)
    }
}

impl Wire {
    pub(crate) async fn send(&mut self, bytes: impl AsRef<[u8]>) {
        timeout(HANG, self.stream.write_all(bytes.as_ref())).await.expect("the door reads").expect("the connection holds");
    }

    /// Reads one answer with a `Content-Length`, or an interim one.
    pub(crate) async fn answer(&mut self) -> Got {
        let head_end = loop {
            if let Some(at) = self.read.windows(4).position(|window| window == b"\r\n\r\n") {
                break at;
            }
            assert!(self.more().await, "closed within a head: {:?}", String::from_utf8_lossy(&self.read));
        };
        let head = String::from_utf8(self.read.drain(..head_end + 4).collect()).expect("heads are ASCII");
        let mut got = Got { status: head[9..12].parse().expect("a status"), head, body: String::new() };
        let size = got.header("content-length").map_or(0, |size| size.parse().expect("a length"));
        while self.read.len() < size {
            assert!(self.more().await, "closed within a body");
        }
        got.body = String::from_utf8(self.read.drain(..size).collect()).expect("bodies are UTF-8");
        got
    }

    /// Whether the door closes without another byte.
    pub(crate) async fn closed(&mut self) -> bool {
        self.read.is_empty() && !self.more().await
    }

    async fn more(&mut self) -> bool {
        let read = timeout(HANG, self.stream.read_buf(&mut self.read)).await.expect("the door does something");
        read.is_ok_and(|read| 0 < read)
    }
}

pub(crate) const GET: &str = "GET /notes/a HTTP/1.1\r\nHost: localhost\r\n\r\n";

/// A POST with a JSON body.
pub(crate) fn post(path: &str, body: &str) -> String {
    let size = body.len();
    format!("POST {path} HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\nContent-Length: {size}\r\n\r\n{body}")
}

/// Resident memory of this process, in bytes.
pub(crate) fn resident() -> usize {
    let status = std::fs::read_to_string("/proc/self/status").expect("this is Linux");
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).expect("it has a line for it");
    line.trim().trim_end_matches(" kB").parse::<usize>().expect("it is a number") << 10
}

/// Asks one after another as honest clients do, each second time on a new connection, until it is over; how long each took.
pub(crate) async fn honest(door: &Door, over: impl Fn(&Door) -> bool) -> Vec<Duration> {
    let mut kept = door.wire().await;
    let mut took = Vec::new();
    while !over(door) {
        for fresh in [false, true] {
            let began = std::time::Instant::now();
            let mut new = if fresh { Some(door.wire().await) } else { None };
            let wire = new.as_mut().unwrap_or(&mut kept);
            wire.send(GET).await;
            let got = wire.answer().await;
            assert_eq!(got.status, 200, "{got:?}");
            took.push(began.elapsed());
        }
    }
    took.sort_unstable();
    took
}

/// Shown with `--nocapture`; what is asserted is that each was answered.
pub(crate) fn tell(what: &str, took: &[Duration]) {
    let at = |part: usize| took[(took.len() - 1) * part / 100];
    let line = format!("{what}: {} answered, p50 {:?}, p99 {:?}, longest {:?}", took.len(), at(50), at(99), at(100));
    // libtest shows it with the test, and only then.
    #[expect(clippy::print_stdout, reason = "a figure for whoever runs the test")]
    {
        println!("{line}");
    }
}

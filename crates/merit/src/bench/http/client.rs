//! The load: kept connections, requests that are written in place, answers read by their length.

use crate::code;
use crate::failure::Failure;
use merit_runtime::live::now;
use std::cell::Cell;
use std::io::Write;
use std::net::SocketAddr;
use std::rc::Rc;
use std::time::{Duration, Instant};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::runtime::Runtime;
use tokio::task::LocalSet;

/// A load from one address: reports never repeat an id.
pub(super) struct Client {
    address: SocketAddr,
    connections: u64,
    agents: u64,
    /// The next report.
    next: Rc<Cell<u64>>,
}

/// What became of a load.
#[derive(Default)]
pub(super) struct Told {
    /// Answered 200.
    pub(super) acknowledged: u64,
    /// Answered otherwise.
    pub(super) refused: u64,
    /// From the intended time of sending to the whole answer, in microseconds, ascending.
    micros: Vec<u32>,
    took: Duration,
}

impl Told {
    /// Acknowledged a second.
    pub(super) fn rate(&self) -> f64 {
        self.acknowledged as f64 / self.took.as_secs_f64()
    }

    /// Milliseconds that a share of the calls took at most.
    pub(super) fn quantile(&self, share: f64) -> f64 {
        let last = self.micros.len().saturating_sub(1);
        self.micros.get((share * last as f64).ceil() as usize).map_or(f64::NAN, |micros| f64::from(*micros) / 1e3)
    }

    fn add(&mut self, other: Told) {
        self.acknowledged += other.acknowledged;
        self.refused += other.refused;
        self.micros.extend(other.micros);
    }
}

/// When requests go out.
#[derive(Clone)]
enum Pace {
    /// Each when the answer before is there.
    AnswerByAnswer,
    /// At times that no answer changes: the number of the next, and the time between two.
    Fixed(Rc<Cell<u64>>, Duration),
}

/// One thread does all: what drives the load must not take the cores of what it loads.
pub(super) fn runtime() -> Result<Runtime, Failure> {
    Ok(tokio::runtime::Builder::new_current_thread().enable_all().build()?)
}

impl Client {
    pub(super) fn new(address: SocketAddr, connections: u64, agents: u64) -> Client {
        Client { address, connections, agents, next: Rc::default() }
    }

    /// Every connection sends its next report when the last was answered.
    pub(super) async fn as_fast_as_it_goes(&self, time: Duration) -> Result<Told, Failure> {
        self.load(&Pace::AnswerByAnswer, time).await
    }

    /// Reports go out at times that are fixed before; one that finds every connection taken waits, and that counts.
    pub(super) async fn at_rate(&self, rate: f64, time: Duration) -> Result<Told, Failure> {
        self.load(&Pace::Fixed(Rc::default(), Duration::from_secs_f64(1.0 / rate)), time).await
    }

    async fn load(&self, pace: &Pace, time: Duration) -> Result<Told, Failure> {
        let local = LocalSet::new();
        let mut streams = Vec::new();
        for _ in 0..self.connections {
            let stream = TcpStream::connect(self.address).await?;
            stream.set_nodelay(true)?;
            streams.push(stream);
        }
        let begin = Instant::now();
        let lanes: Vec<_> = streams
            .into_iter()
            .map(|stream| {
                let lane = Lane { stream, next: Rc::clone(&self.next), agents: self.agents, request: Vec::new(), answer: Vec::new() };
                local.spawn_local(lane.run(pace.clone(), begin, begin + time))
            })
            .collect();
        let mut told = Told::default();
        local
            .run_until(async {
                for lane in lanes {
                    let panicked = |_| Failure::new(code::BENCH_RUN, "the load of the bench panicked");
                    told.add(lane.await.map_err(panicked)??);
                }
                Ok::<(), Failure>(())
            })
            .await?;
        told.took = begin.elapsed();
        told.micros.sort_unstable();
        Ok(told)
    }
}

/// One connection.
struct Lane {
    stream: TcpStream,
    next: Rc<Cell<u64>>,
    agents: u64,
    request: Vec<u8>,
    answer: Vec<u8>,
}

impl Lane {
    async fn run(mut self, pace: Pace, begin: Instant, end: Instant) -> Result<Told, Failure> {
        let mut told = Told::default();
        loop {
            let due = match &pace {
                Pace::AnswerByAnswer => Instant::now(),
                Pace::Fixed(next, between) => {
                    let number = next.replace(next.get() + 1);
                    let due = begin + Duration::from_secs_f64(between.as_secs_f64() * number as f64);
                    tokio::time::sleep_until(due.min(end).into()).await;
                    due
                }
            };
            if end <= due {
                return Ok(told);
            }
            let status = self.call().await?;
            told.micros.push(u32::try_from(due.elapsed().as_micros()).unwrap_or(u32::MAX));
            match status {
                200 => told.acknowledged += 1,
                _ => told.refused += 1,
            }
        }
    }

    /// Sends one report and reads the answer; gives its status.
    async fn call(&mut self) -> Result<u16, Failure> {
        let number = self.next.replace(self.next.get() + 1);
        write_request(&mut self.request, number, self.agents)?;
        self.stream.write_all(&self.request).await?;
        self.answer.clear();
        loop {
            if self.stream.read_buf(&mut self.answer).await? == 0 {
                return Err(Failure::new(code::BENCH_RUN, "the server closed a connection under load"));
            }
            if let Some(status) = status(&self.answer) {
                return Ok(status);
            }
        }
    }
}

/// A report of seed 001, with an id. Each agent has a level of its own and moves little around it, so that few cross a threshold.
fn write_request(request: &mut Vec<u8>, number: u64, agents: u64) -> Result<(), Failure> {
    let mix = |value: u64| value.wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 32;
    let agent = mix(number) % agents;
    let level = 400 + mix(agent) % 500;
    let (first, second) = (level + number % 40, level + mix(number ^ 7) % 40);
    let mut body = [0; 192];
    let mut rest = &mut body[..];
    write!(
        rest,
        r#"{{"id":"r-{number:012}","agentId":"agent-{agent:07}","metrics":{{"successRate":0.{first:03},"latencyScore":0.{second:03}}},"source":"bench","timestamp":"{}"}}"#,
        now()
    )?;
    let left = rest.len();
    let body = &body[..body.len() - left];
    request.clear();
    write!(
        request,
        "POST /eval/submit HTTP/1.1\r\nhost: localhost\r\ncontent-type: application/json\r\ncontent-length: {}\r\n\r\n",
        body.len()
    )?;
    request.extend_from_slice(body);
    Ok(())
}

/// The status of an answer that is whole.
fn status(answer: &[u8]) -> Option<u16> {
    const LENGTH: &[u8] = b"content-length: ";
    let head = answer.windows(4).position(|bytes| bytes == b"\r\n\r\n")? + 4;
    let at = answer[..head].windows(LENGTH.len()).position(|bytes| bytes.eq_ignore_ascii_case(LENGTH))? + LENGTH.len();
    let number =
        |digits: &[u8]| digits.iter().take_while(|byte| byte.is_ascii_digit()).fold(0, |sum, digit| sum * 10 + usize::from(digit - b'0'));
    if answer.len() < head + number(&answer[at..head]) {
        return None;
    }
    u16::try_from(number(&answer[b"HTTP/1.1 ".len()..head])).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_answer_counts_once_it_is_whole() {
        let whole = b"HTTP/1.1 200 OK\r\nContent-Length: 3\r\ndate: x\r\n\r\nabc";
        assert_eq!(status(whole), Some(200));
        for cut in 0..whole.len() {
            assert_eq!(status(&whole[..cut]), None, "{cut}");
        }
    }

    #[test]
    fn requests_are_reports_that_never_repeat_an_id() {
        let mut ids = std::collections::BTreeSet::new();
        for number in [0, 1, 2, 1_000_000, 999_999_999_999] {
            let mut request = Vec::new();
            write_request(&mut request, number, 10_000).expect("it fits");
            let text = String::from_utf8(request).expect("text");
            let (head, body) = text.split_once("\r\n\r\n").expect("a head");
            assert!(head.ends_with(&format!("content-length: {}", body.len())), "{head}");
            let mut reader = merit_sources::JsonReports::default();
            let report = reader.parse(body.as_bytes()).unwrap_or_else(|error| panic!("{}: {body}", error.detail));
            assert!(ids.insert(report.id.expect("an id").to_owned()));
        }
    }

    #[test]
    fn a_quantile_is_the_latency_that_so_many_calls_did_not_exceed() {
        let told = Told { micros: (1..=1_001).map(|millis| millis * 1_000).collect(), ..Told::default() };
        assert_eq!([0.0, 0.5, 0.99, 1.0].map(|share| told.quantile(share)), [1.0, 501.0, 991.0, 1001.0]);
    }
}

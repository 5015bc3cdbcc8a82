//! What the door lets in at most.

use std::num::NonZeroU32;
use std::time::Duration;

/// Body of an operation that says nothing else, in bytes: 64 KiB, some 100 times the longest command.
pub const BODY_BYTES: usize = 64 << 10;

/// Limits of one listener.
///
/// The times follow what slow clients need and slow attacks do not get: each names the phase that it ends. No phase is without one.
#[derive(Clone, Debug)]
pub struct Limits {
    /// Connections open at once; one more is answered 503 and closed. Default 4,096: each with a head begun
    /// holds some 23 KiB, all of them 96 MiB.
    pub connections: usize,
    /// From the first byte of a head (of a connection: from its beginning) to the end of the head. Default 5 s.
    pub header: Duration,
    /// From the end of the head to the end of the body; then 408. Default 10 s.
    pub body: Duration,
    /// What the handler may take; then 503, and the outcome is unknown. Default 30 s.
    pub request: Duration,
    /// Between two requests, the time in which the client takes its answer included. Default 60 s.
    pub idle: Duration,
    /// After the shutdown began, for requests in flight. Default 10 s.
    pub shutdown: Duration,
    /// A request line and its headers, in bytes, at least 8,192. Default 16 KiB, HTTP/2's customary list size; then 431.
    pub head_bytes: usize,
    /// What is read and thrown away of a body that nobody wants, in bytes, so that the connection lives on. Default 8 MiB.
    pub drain_bytes: usize,
    /// Bodies in memory at once over all connections, in bytes; then 503. Default 256 MiB.
    pub held_bytes: usize,
    /// Streams open at once on one HTTP/2 connection. Default 128, above the 100 that RFC 9113 advises as a minimum.
    pub streams: u32,
    /// Requests that one HTTP/2 connection may abandon over those it let finish; then it is closed (CVE-2023-44487). Default 128.
    pub abandoned: u64,
    /// Requests a second of one principal, with a burst of one second's worth; then 429.
    /// Default 100,000: over what two cores take in of reports, so it stops only what would starve all others.
    pub rate: NonZeroU32,
}

impl Default for Limits {
    fn default() -> Limits {
        Limits {
            connections: 4096,
            header: Duration::from_secs(5),
            body: Duration::from_secs(10),
            request: Duration::from_secs(30),
            idle: Duration::from_secs(60),
            shutdown: Duration::from_secs(10),
            head_bytes: 16 << 10,
            drain_bytes: 8 << 20,
            held_bytes: 256 << 20,
            streams: 128,
            abandoned: 128,
            rate: const { NonZeroU32::new(100_000).expect("it is not 0") },
        }
    }
}

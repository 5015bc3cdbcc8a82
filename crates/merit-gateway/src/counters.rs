//! What the door counts.

use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

use hyper::StatusCode;

/// A number that only grows, or a gauge; read with [`Count::get`].
#[derive(Debug, Default)]
pub struct Count(AtomicU64);

impl Count {
    pub fn get(&self) -> u64 {
        self.0.load(Relaxed)
    }

    pub(crate) fn add(&self) {
        self.0.fetch_add(1, Relaxed);
    }

    fn sub(&self) {
        self.0.fetch_sub(1, Relaxed);
    }
}

/// Counts of one service since its start.
#[derive(Debug, Default)]
pub struct Counters {
    /// Connections open now.
    pub open: Count,
    /// Connections accepted, those refused included.
    pub accepted: Count,
    /// Connections over the limit.
    pub refused: Count,
    /// Errors of `accept`, as when the process has no file descriptor left.
    pub accept_errors: Count,
    /// Connections closed because a head took too long.
    pub header_timeouts: Count,
    /// Connections closed because no request came.
    pub idle_timeouts: Count,
    /// Requests answered 408.
    pub body_timeouts: Count,
    /// Requests answered 503 because the handler took too long.
    pub request_timeouts: Count,
    /// Connections closed because their client abandoned its requests.
    pub abused: Count,
    /// Requests answered 429.
    pub rate_limited: Count,
    /// Handlers that panicked.
    pub panics: Count,
    operations: Vec<&'static str>,
    requests: Vec<[Count; 5]>,
}

impl Counters {
    pub(crate) fn new(operations: Vec<&'static str>) -> Counters {
        Counters { requests: (0..=operations.len()).map(|_| Default::default()).collect(), operations, ..Counters::default() }
    }

    /// Ids of the operations of the service's table.
    pub fn operations(&self) -> &[&'static str] {
        &self.operations
    }

    /// Requests answered by the operation at `index` of the service's table, by the first digit of the status less one.
    /// The index behind the last is that of requests that met no operation.
    pub fn requests(&self, index: usize) -> Option<[u64; 5]> {
        Some(self.requests.get(index)?.each_ref().map(Count::get))
    }

    pub(crate) fn answered(&self, operation: Option<usize>, status: StatusCode) {
        let index = operation.unwrap_or(self.requests.len() - 1);
        let class = usize::from(status.as_u16() / 100).clamp(1, 5) - 1;
        self.requests[index][class].add();
    }

    pub(crate) fn connection(&self) -> Open<'_> {
        self.open.add();
        Open(self)
    }
}

/// One open connection.
pub(crate) struct Open<'a>(&'a Counters);

impl Drop for Open<'_> {
    fn drop(&mut self) {
        self.0.open.sub();
    }
}

//! How long a connection may take: one deadline a connection, from marks that requests leave.
//!
//! Marks are two atomics, so a request pays for no timer: the connection's one timer looks at them now and then and goes on sleeping
//! until the moment at which they would be too old.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering::Relaxed, Ordering::SeqCst};
use std::time::{Duration, Instant};

use tokio::sync::Notify;

use crate::limits::Limits;

/// What a connection waits for while no request is in flight.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Wait {
    /// For the rest of a head.
    Head,
    /// For the first byte of the next.
    Idle,
}

/// Marks of one connection.
#[derive(Debug)]
pub(crate) struct Pace {
    born: Instant,
    /// Milliseconds since `born`, shifted by one; the lowest bit is set for [`Wait::Idle`].
    mark: AtomicU64,
    in_flight: AtomicUsize,
    answered: AtomicU64,
    abandoned: AtomicU64,
    abandoned_most: u64,
    /// The client abandons what it asks for.
    pub(crate) abused: Notify,
}

impl Pace {
    pub(crate) fn new(limits: &Limits) -> Pace {
        Pace {
            born: Instant::now(),
            mark: AtomicU64::new(0),
            in_flight: AtomicUsize::new(0),
            answered: AtomicU64::new(0),
            abandoned: AtomicU64::new(0),
            abandoned_most: limits.abandoned,
            abused: Notify::new(),
        }
    }

    /// Bytes arrived on a connection whose requests come one after the other.
    pub(crate) fn bytes_arrived(&self) {
        if self.mark.load(Relaxed) & 1 == 1 && self.in_flight.load(Relaxed) == 0 {
            self.set(Wait::Head);
        }
    }

    /// A head is whole.
    pub(crate) fn begin(self: Arc<Pace>) -> InFlight {
        self.in_flight.fetch_add(1, SeqCst);
        InFlight { pace: self, answered: false }
    }

    /// What the connection waited for too long, or when to look again.
    pub(crate) fn check(&self, limits: &Limits) -> Result<Instant, Wait> {
        let now = Instant::now();
        // A phase that begins right behind this look is over no sooner than this.
        let look_again = now + limits.header.min(limits.idle);
        if self.in_flight.load(SeqCst) > 0 {
            return Ok(look_again);
        }
        let mark = self.mark.load(SeqCst);
        let (wait, limit) = if mark & 1 == 1 { (Wait::Idle, limits.idle) } else { (Wait::Head, limits.header) };
        let over = self.born + Duration::from_millis(mark >> 1) + limit;
        if over <= now { Err(wait) } else { Ok(over.min(look_again)) }
    }

    fn set(&self, wait: Wait) {
        let millis = u64::try_from(self.born.elapsed().as_millis()).unwrap_or(u64::MAX >> 1);
        self.mark.store(millis << 1 | u64::from(wait == Wait::Idle), SeqCst);
    }
}

/// One request between the end of its head and its answer.
#[derive(Debug)]
pub(crate) struct InFlight {
    pace: Arc<Pace>,
    answered: bool,
}

impl InFlight {
    pub(crate) fn answered(mut self) {
        self.answered = true;
    }
}

/// Dropped unanswered, the client abandoned it: it reset the stream or went away.
impl Drop for InFlight {
    fn drop(&mut self) {
        let pace = &self.pace;
        if self.answered {
            pace.answered.fetch_add(1, Relaxed);
        } else if pace.abandoned.fetch_add(1, Relaxed) + 1 > pace.abandoned_most + pace.answered.load(Relaxed) {
            pace.abused.notify_one();
        }
        // The mark first: without a request in flight it is always that of the last.
        pace.set(Wait::Idle);
        pace.in_flight.fetch_sub(1, SeqCst);
    }
}

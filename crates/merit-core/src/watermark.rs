//! How far a partition has closed.

use crate::{Duration, EventTime};

/// The watermark of a partition: the largest min(timestamp, receivedAt) of its accepted reports and Ticks, less grace.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Watermark {
    /// The largest time so far.
    pub newest: EventTime,
}

impl Default for Watermark {
    fn default() -> Self {
        Watermark { newest: EventTime::MIN }
    }
}

impl Watermark {
    /// Takes a report that was accepted.
    pub fn report(&mut self, timestamp: EventTime, received_at: EventTime) {
        self.newest = self.newest.max(timestamp.min(received_at));
    }

    /// Takes a Tick.
    pub fn tick(&mut self, time: EventTime) {
        self.newest = self.newest.max(time);
    }

    /// Reports before this time are late.
    pub fn time(&self, grace: Duration) -> EventTime {
        self.newest.before(grace)
    }
}

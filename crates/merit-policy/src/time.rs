//! The clock of the ledger.

use merit_core::{EventTime, Head};

/// Ledger time: the running maximum of Progress, Tick and the receipt of live commands.
///
/// Commands that were applied offline carry [`EventTime::MIN`]; what a processor wrote takes the time as it stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LedgerTime {
    /// The maximum so far; [`EventTime::MIN`] before anything was heard.
    pub now: EventTime,
}

impl Default for LedgerTime {
    fn default() -> Self {
        LedgerTime { now: EventTime::MIN }
    }
}

impl LedgerTime {
    /// Takes the time of a Progress or a Tick.
    #[inline]
    pub fn pass(&mut self, to: EventTime) {
        self.now = self.now.max(to);
    }

    /// Takes the receipt of a command.
    pub fn hear(&mut self, command: &Head<'_>) {
        if command.stream == Head::OUTSIDE {
            self.pass(command.time);
        }
    }

    /// The time that records about `input` carry: before anything was heard, the input's own, else 1970.
    pub fn stamp(&self, input: &Head<'_>) -> EventTime {
        let heard = [self.now, input.time].into_iter().find(|time| *time > EventTime::MIN);
        heard.unwrap_or(EventTime::EPOCH)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use merit_core::Key;

    #[test]
    fn only_live_commands_and_progress_move_the_time() {
        let head = |stream, time| Head {
            key: Key::new("p"),
            time: EventTime(time),
            stream,
            sequence: 0,
            offset: 0,
            hops: 0,
            sent: None,
            headers: None,
        };
        let mut time = LedgerTime::default();
        assert_eq!(time.stamp(&head(Head::OUTSIDE, i64::MIN)), EventTime(0));
        assert_eq!(time.stamp(&head(2, 70)), EventTime(70));
        for (stream, at, expected) in [
            (Head::OUTSIDE, i64::MIN, i64::MIN), // offline
            (2, 70, i64::MIN),                   // a processor's
            (Head::OUTSIDE, 50, 50),
            (Head::OUTSIDE, 40, 50),
        ] {
            time.hear(&head(stream, at));
            assert_eq!(time.now, EventTime(expected), "{stream} {at}");
        }
        time.pass(EventTime(60));
        assert_eq!(time.stamp(&head(2, 70)), EventTime(60));
    }
}

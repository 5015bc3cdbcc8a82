//! How far the process is between its start and its end.

use std::sync::{Mutex, PoisonError};

/// A stretch of the life of the process.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Phase {
    /// The log is opened, and what lies behind its last checkpoint computed again.
    #[default]
    Recovering,
    /// The read models catch up with the log.
    Folding {
        /// Records folded.
        done: u64,
        /// Records to fold.
        of: u64,
    },
    /// Calls are answered.
    Ready,
    /// The process was asked to end.
    Ending,
    /// The pipeline or the read models stopped, and why.
    Stopped(String),
}

/// The phase that the process is in.
#[derive(Debug, Default)]
pub struct Health(Mutex<Phase>);

impl Health {
    /// Goes on to a phase; who has stopped stays so, for the first reason.
    pub fn enter(&self, next: Phase) {
        self.enter_from(|_| true, next);
    }

    /// Goes on to a phase if the one now is such; nobody enters another between the look and the step.
    pub fn enter_from(&self, is_such: impl FnOnce(&Phase) -> bool, next: Phase) {
        let mut phase = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if !matches!(*phase, Phase::Stopped(_)) && is_such(&phase) {
            *phase = next;
        }
    }

    /// Notes that the pipeline ended, which is a fault where it was not asked to.
    pub fn pipeline_ended(&self) {
        self.enter_from(|phase| *phase != Phase::Ending, Phase::Stopped("the pipeline stopped".into()));
    }

    /// The phase now.
    pub fn phase(&self) -> Phase {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_stopped_does_not_come_back_and_keeps_its_first_reason() {
        let health = Health::default();
        assert_eq!(health.phase(), Phase::Recovering);
        health.enter(Phase::Stopped("the disk is full".into()));
        health.enter(Phase::Ready);
        health.enter(Phase::Stopped("asked to".into()));
        assert_eq!(health.phase(), Phase::Stopped("the disk is full".into()));
    }

    #[test]
    fn an_end_that_was_asked_for_is_no_fault_and_does_not_become_ready() {
        let (asked, unasked) = (Health::default(), Health::default());
        asked.enter(Phase::Ending);
        asked.enter_from(|phase| *phase == Phase::Recovering, Phase::Ready);
        [&asked, &unasked].into_iter().for_each(Health::pipeline_ended);
        assert_eq!(asked.phase(), Phase::Ending);
        assert_eq!(unasked.phase(), Phase::Stopped("the pipeline stopped".into()));
    }
}

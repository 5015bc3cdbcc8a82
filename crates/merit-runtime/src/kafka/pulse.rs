//! Whether the calls of a copy come back: one that does not leaves the copy's own thread unable to say so, or to end.

use super::error::ClusterError;
use super::worker::SAID_AFTER;
use crate::RuntimeError;
use crate::copy::Step;
use std::sync::mpsc::{Receiver, RecvTimeoutError};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

/// Between two looks. They are counted, not timed: a process that was held for a while has made no call that hangs.
pub(super) const LOOKS: Duration = Duration::from_secs(1);

/// After how many looks at one call it is told, and as often again.
const SAID: u32 = SAID_AFTER.as_secs() as u32;

/// After how many it hangs: far more than the calls of a slow cluster take, each of which has a limit of its own.
const HANGS: u32 = 60;

/// The call that a copy makes.
#[derive(Clone, Default)]
pub(super) struct Pulse(Arc<Mutex<(u64, Option<Step>)>>);

impl Pulse {
    /// A call begins.
    pub(super) fn begin(&self, step: Step) {
        let mut call = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        *call = (call.0 + 1, Some(step));
    }

    /// It came back.
    pub(super) fn end(&self) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).1 = None;
    }

    /// Waits for what the copy comes to, and tells of a call that is not back after [`SAID`] looks; fails after [`HANGS`].
    pub(super) fn watch(
        &self,
        copy: &Receiver<Result<(), RuntimeError>>,
        looks: Duration,
        told: impl Fn(Step, Duration),
    ) -> Result<(), RuntimeError> {
        let (mut seen, mut times) = (0, 0);
        loop {
            match copy.recv_timeout(looks) {
                Ok(done) => return done,
                Err(RecvTimeoutError::Disconnected) => {
                    return Err(RuntimeError::Store { attempt: "go on with", cause: "the copy panicked".into() });
                }
                Err(RecvTimeoutError::Timeout) => {}
            }
            let (call, step) = *self.0.lock().unwrap_or_else(PoisonError::into_inner);
            times = if call == seen { times + 1 } else { 0 };
            seen = call;
            match step {
                Some(step) if times >= HANGS => {
                    let cause = format!("its client did not come back from {step:?}, looked at {times} times");
                    return Err(ClusterError::Call { attempt: "go on", cause }.into());
                }
                Some(step) if times > 0 && times % SAID == 0 => told(step, looks * times),
                _ => {}
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::cell::Cell;
    use std::sync::mpsc::channel;

    #[test]
    fn a_call_that_does_not_come_back_is_told_and_ends_the_copy() {
        let (pulse, told) = (Pulse::default(), Cell::new(0));
        let (_copy, done) = channel();
        pulse.begin(Step::SendOffsets);
        let watched = pulse.watch(&done, Duration::from_millis(1), |step, since| {
            assert_eq!((step, since), (Step::SendOffsets, Duration::from_millis(5 * (told.get() + 1))));
            told.set(told.get() + 1);
        });
        assert_eq!(told.get(), 11);
        let error = watched.expect_err("it hangs").to_string();
        assert!(error.contains("SendOffsets"), "{error}");
    }

    #[test]
    fn calls_that_come_back_are_let_alone() {
        let pulse = Pulse::default();
        let (copy, done) = channel();
        let (calling, resting) = (pulse.clone(), Duration::from_millis(1));
        let thread = std::thread::spawn(move || {
            for _ in 0..200 {
                calling.begin(Step::Poll);
                std::thread::sleep(resting);
            }
            // A copy that rests makes none.
            calling.end();
            std::thread::sleep(200 * resting);
            copy.send(Ok(()))
        });
        pulse.watch(&done, resting, |_, _| {}).expect("it goes on");
        thread.join().expect("it ends").expect("it is heard");
    }
}

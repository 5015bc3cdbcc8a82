//! What the queue remembers.

use alloc::vec::Vec;
use merit_core::{Datum, EventTime, Row, Shape, Uuid, datum, datum_row};
use merit_policy::LedgerTime;

datum! {
    /// The allocation of a job's GPUs.
    Asked {
        /// Its id.
        allocation_id: Uuid,
        /// Its AllocationRequested.
        request: Uuid,
    }
}

datum! {
    /// A job whose allocation has not ended.
    Open {
        /// Its id, that of its RetrainQueued.
        job_id: Uuid,
        /// None until the request for its GPUs came back.
        asked: Option<Asked>,
    }
}

/// A job, by the entity that holds its GPUs; none once its allocation ended, and its row goes with it.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Job(pub Option<Open>);

impl Row for Job {
    const STORE: &'static str = "retrain-jobs";
    type Shared = ();

    fn shape(_: u32) -> &'static Shape {
        Open::SHAPE
    }

    fn save(&mut self, scratch: &mut Vec<u8>, put: &mut dyn FnMut(u32, &[u8])) {
        scratch.clear();
        if let Job(Some(open)) = self {
            open.put(scratch);
        }
        put(0, scratch);
    }

    fn load(&mut self, _: u32, bytes: &[u8]) -> Option<()> {
        self.0 = Some(Open::decode(bytes)?);
        Some(())
    }
}

datum! {
    /// [`LedgerTime`] as a row.
    Clock {
        /// Ledger time.
        now: EventTime,
    }
}

impl Default for Clock {
    fn default() -> Self {
        Clock { now: LedgerTime::default().now }
    }
}

datum_row!(Clock in "retrain-clock");

//! Ledger time, its timers, and the static rules in force.

use alloc::collections::BTreeSet;
use alloc::vec::Vec;
use merit_core::record::PolicyBundle;
use merit_core::{Datum, EventTime, List, Row, Shape, Uuid, datum};
use merit_policy::{Bundle, LedgerTime};

/// Ledger time and what waits for it.
#[derive(Clone, Debug, Default)]
pub(crate) struct Clock {
    pub time: LedgerTime,
    /// When which allocation is looked at again, in the order in which they are.
    pub timers: BTreeSet<(EventTime, Uuid)>,
}

datum! {
    /// One timer.
    TimerRow {
        /// When.
        due: EventTime,
        /// The allocation.
        allocation_id: Uuid,
    }
}

datum! {
    /// [`Clock`] as a row.
    ClockRow<'a> {
        /// Ledger time.
        now: EventTime,
        /// In the order in which they are due.
        timers: List<'a, TimerRow>,
    }
}

impl Row for Clock {
    const STORE: &'static str = "ledger-time";
    type Shared = ();

    fn shape(_: u32) -> &'static Shape {
        ClockRow::SHAPE
    }

    fn save(&mut self, scratch: &mut Vec<u8>, put: &mut dyn FnMut(u32, &[u8])) {
        let timers: Vec<TimerRow> = self.timers.iter().map(|&(due, allocation_id)| TimerRow { due, allocation_id }).collect();
        scratch.clear();
        ClockRow { now: self.time.now, timers: List::Slice(&timers) }.put(scratch);
        put(0, scratch);
    }

    fn load(&mut self, _: u32, bytes: &[u8]) -> Option<()> {
        let ClockRow { now, timers } = ClockRow::decode(bytes)?;
        self.time.now = now;
        self.timers = timers.iter().map(|row| (row.due, row.allocation_id)).collect();
        Some(())
    }
}

/// The static rules in force, for what waited while they changed.
#[derive(Clone, Debug, Default)]
pub(crate) struct Rules {
    pub bundle: Bundle,
}

impl Row for Rules {
    const STORE: &'static str = "bundle";
    type Shared = ();

    fn shape(_: u32) -> &'static Shape {
        PolicyBundle::SHAPE
    }

    fn save(&mut self, scratch: &mut Vec<u8>, put: &mut dyn FnMut(u32, &[u8])) {
        scratch.clear();
        self.bundle.with_record(|record| record.put(scratch));
        put(0, scratch);
    }

    fn load(&mut self, _: u32, bytes: &[u8]) -> Option<()> {
        self.bundle = Bundle::read(&PolicyBundle::decode(bytes)?);
        Some(())
    }
}

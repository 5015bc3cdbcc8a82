//! What the gate remembers.

use alloc::boxed::Box;
use alloc::collections::{BTreeMap, BTreeSet};
use alloc::string::String;
use alloc::vec::Vec;
use merit_core::record::{PolicyBundle, Release};
use merit_core::{Datum, EventTime, List, Row, Shape, Uuid, datum};
use merit_policy::{Bundle, LedgerTime};

/// An entity's place in the cooldown.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Entity {
    /// When its next request may pass.
    pub next_free: EventTime,
}

impl Default for Entity {
    fn default() -> Self {
        Entity { next_free: EventTime::MIN }
    }
}

datum! {
    /// An [`Entity`] as a row.
    EntityRow {
        /// When its next request may pass.
        next_free: EventTime,
    }
}

impl Row for Entity {
    const STORE: &'static str = "gate-entities";
    type Shared = ();

    fn shape(_: u32) -> &'static Shape {
        EntityRow::SHAPE
    }

    fn save(&mut self, scratch: &mut Vec<u8>, put: &mut dyn FnMut(u32, &[u8])) {
        scratch.clear();
        EntityRow { next_free: self.next_free }.put(scratch);
        put(0, scratch);
    }

    fn load(&mut self, _: u32, bytes: &[u8]) -> Option<()> {
        self.next_free = EntityRow::decode(bytes)?.next_free;
        Some(())
    }
}

/// A request that waits for a person.
#[derive(Clone, Debug)]
pub(crate) struct Waiting {
    pub promotion_id: Option<Uuid>,
    pub agent_id: Box<str>,
    pub pool: Box<str>,
    pub delta: u64,
}

/// Everything about the partition.
#[derive(Default)]
pub(crate) struct Gate {
    pub time: LedgerTime,
    pub pools: BTreeSet<String>,
    pub bundle: Bundle,
    waiting: BTreeMap<Uuid, Waiting>,
    /// (promotion, allocation) of what waits; not stored.
    promotions: BTreeSet<(Uuid, Uuid)>,
    /// Whether `waiting` changed since it was saved: time passes more often than requests come.
    waiting_changed: bool,
}

impl Gate {
    /// Remembers a request until a person speaks.
    pub(crate) fn wait(&mut self, id: Uuid, request: Waiting) {
        self.waiting_changed = true;
        self.promotions.extend(request.promotion_id.map(|promotion| (promotion, id)));
        self.waiting.insert(id, request);
    }

    /// Forgets a request, because a person spoke.
    pub(crate) fn take(&mut self, id: Uuid) -> Option<Waiting> {
        let request = self.waiting.remove(&id)?;
        self.waiting_changed = true;
        if let Some(promotion) = request.promotion_id {
            self.promotions.remove(&(promotion, id));
        }
        Some(request)
    }

    /// Forgets what is given back before anyone approved it.
    pub(crate) fn release(&mut self, release: &Release<'_>) {
        for id in self.released(release) {
            if self.waiting.get(&id).is_some_and(|request| &*request.agent_id == release.agent_id) {
                self.take(id);
            }
        }
    }

    fn released(&self, release: &Release<'_>) -> Vec<Uuid> {
        match (release.allocation_id, release.promotion_id) {
            (Some(id), _) => [id].into(),
            (None, Some(promotion)) => {
                let all = (promotion, Uuid([0; 16]))..=(promotion, Uuid([u8::MAX; 16]));
                self.promotions.range(all).map(|(_, id)| *id).collect()
            }
            (None, None) => Vec::new(),
        }
    }
}

datum! {
    /// Row 0 of [`Gate`].
    GateRow<'a> {
        /// Ledger time.
        time: EventTime,
        /// Names of the pools that are there.
        pools: List<'a, &'a str>,
        /// Static rules in force.
        bundle: PolicyBundle<'a>,
    }
}

datum! {
    /// A request that waits for a person.
    WaitingRow<'a> {
        /// The allocation.
        allocation_id: Uuid,
        /// The promotion behind it.
        promotion_id: Option<Uuid>,
        /// The entity.
        agent_id: &'a str,
        /// The pool.
        pool: &'a str,
        /// Milli-GPUs.
        delta: u64,
    }
}

datum! {
    /// Row 1 of [`Gate`].
    WaitingRows<'a> {
        /// In the order of their ids.
        waiting: List<'a, WaitingRow<'a>>,
    }
}

impl Row for Gate {
    const STORE: &'static str = "gate-state";
    type Shared = ();

    fn shape(part: u32) -> &'static Shape {
        if part == 0 { GateRow::SHAPE } else { WaitingRows::SHAPE }
    }

    fn save(&mut self, scratch: &mut Vec<u8>, put: &mut dyn FnMut(u32, &[u8])) {
        let pools: Vec<&str> = self.pools.iter().map(String::as_str).collect();
        scratch.clear();
        self.bundle.with_record(|bundle| GateRow { time: self.time.now, pools: List::Slice(&pools), bundle: *bundle }.put(scratch));
        put(0, scratch);
        if core::mem::take(&mut self.waiting_changed) {
            let waiting: Vec<WaitingRow<'_>> = self.waiting.iter().map(|(id, request)| waiting_row(*id, request)).collect();
            scratch.clear();
            WaitingRows { waiting: List::Slice(&waiting) }.put(scratch);
            put(1, scratch);
        }
    }

    fn load(&mut self, part: u32, bytes: &[u8]) -> Option<()> {
        if part == 0 {
            let row = GateRow::decode(bytes)?;
            self.time.now = row.time;
            self.pools = row.pools.iter().map(String::from).collect();
            self.bundle = Bundle::read(&row.bundle);
        } else {
            for row in WaitingRows::decode(bytes)?.waiting {
                let WaitingRow { promotion_id, agent_id, pool, delta, .. } = row;
                self.wait(row.allocation_id, Waiting { promotion_id, agent_id: agent_id.into(), pool: pool.into(), delta });
            }
            self.waiting_changed = false;
        }
        Some(())
    }
}

fn waiting_row(allocation_id: Uuid, request: &Waiting) -> WaitingRow<'_> {
    let Waiting { promotion_id, agent_id, pool, delta } = request;
    WaitingRow { allocation_id, promotion_id: *promotion_id, agent_id, pool, delta: *delta }
}

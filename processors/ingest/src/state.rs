//! What ingest remembers.

use crate::params::Params;
use alloc::boxed::Box;
use alloc::string::String;
use alloc::sync::Arc;
use alloc::vec::Vec;
use hashbrown::HashTable;
use merit_core::shared::{Names, Shared};
use merit_core::{Datum, List, Row, Shape, datum, datum_row};

datum! {
    /// Row of an entity's home.
    HomeRow<'a> {
        /// Whether a home was set.
        known: bool,
        /// Division.
        division_id: &'a str,
        /// Product.
        product_id: Option<&'a str>,
        /// Every metric name the entity ever sent.
        metrics: List<'a, &'a str>,
    }
}

/// Where an entity's reports count, unless they say otherwise.
#[derive(Debug, Default)]
pub struct Home {
    /// Whether it was set.
    pub known: bool,
    /// Division.
    pub division_id: Arc<str>,
    /// Product.
    pub product_id: Option<String>,
    /// Every metric name the entity ever sent; 16 at most, so that its windows stay bounded.
    pub metrics: Names,
}

impl Row for Home {
    const STORE: &'static str = "homes";
    type Shared = (Shared<[Box<str>]>, Shared<str>);

    fn shape(_: u32) -> &'static Shape {
        HomeRow::SHAPE
    }

    fn save(&mut self, scratch: &mut Vec<u8>, put: &mut dyn FnMut(u32, &[u8])) {
        scratch.clear();
        let metrics: Vec<&str> = self.metrics.iter().map(|name| &**name).collect();
        let product_id = self.product_id.as_deref();
        HomeRow { known: self.known, division_id: &self.division_id, product_id, metrics: List::Slice(&metrics) }.put(scratch);
        put(0, scratch);
    }

    fn load(&mut self, _: u32, bytes: &[u8]) -> Option<()> {
        let row = HomeRow::decode(bytes)?;
        *self = Home {
            known: row.known,
            division_id: row.division_id.into(),
            product_id: row.product_id.map(Into::into),
            metrics: row.metrics.iter().map(Into::into).collect(),
        };
        Some(())
    }

    fn loaded(&mut self, shared: &mut Self::Shared) {
        shared.0.share(&mut self.metrics);
        shared.1.share(&mut self.division_id);
    }

    fn heap(&self) -> usize {
        self.product_id.as_ref().map_or(0, String::capacity)
    }
}

datum! {
    /// A report that was accepted under an id of its producer.
    RecentReport {
        /// First 16 bytes of SHA-256 of the id.
        id: [u8; 16],
        /// XXH3-64 of the report's encoding.
        content: [u8; 8],
        /// Its offset, which its ScoreUpdated carries too.
        offset: u64,
    }
}

/// The last reports by id: a ring in order of acceptance, and an index into it.
#[derive(Debug)]
pub struct RecentReports {
    ring: Vec<RecentReport>,
    capacity: usize,
    /// Reports that ever entered; the next one goes to this place modulo the capacity.
    entered: u64,
    index: HashTable<u32>,
    /// Rows that changed, by chunk.
    dirty: Vec<bool>,
}

impl Default for RecentReports {
    fn default() -> Self {
        RecentReports { ring: Vec::new(), capacity: Params::CHUNK, entered: 0, index: HashTable::new(), dirty: Vec::new() }
    }
}

fn hash_of(id: &[u8; 16]) -> u64 {
    id.iter().take(8).fold(0, |value, byte| value << 8 | u64::from(*byte))
}

impl RecentReports {
    /// The report of that id, while it is remembered.
    #[inline]
    pub fn find(&self, id: &[u8; 16]) -> Option<&RecentReport> {
        let at = self.index.find(hash_of(id), |at| self.ring[*at as usize].id == *id)?;
        Some(&self.ring[*at as usize])
    }

    /// Remembers a report whose id is not in the ring; the oldest gives way.
    #[inline]
    pub fn insert(&mut self, report: RecentReport) {
        let at = (self.entered % self.capacity as u64) as usize;
        self.entered += 1;
        if at < self.ring.len() {
            let old = hash_of(&self.ring[at].id);
            if let Ok(entry) = self.index.find_entry(old, |found| *found as usize == at) {
                entry.remove();
            }
            self.ring[at] = report;
        } else {
            self.ring.push(report);
        }
        self.mark(at);
        let ring = &self.ring;
        self.index.insert_unique(hash_of(&report.id), at as u32, |found| hash_of(&ring[*found as usize].id));
    }

    /// Keeps the newest `capacity` reports from here on.
    pub fn resize(&mut self, capacity: usize) {
        if capacity == self.capacity {
            return;
        }
        let oldest = self.entered.saturating_sub(self.ring.len() as u64);
        let kept = (self.ring.len()).min(capacity) as u64;
        let reports: Vec<RecentReport> =
            (self.entered - kept..self.entered).map(|at| self.ring[(at % self.capacity as u64) as usize]).collect();
        debug_assert!(oldest <= self.entered - kept);
        let chunks = self.dirty.len();
        *self = RecentReports { capacity, ..RecentReports::default() };
        self.dirty = alloc::vec![true; chunks];
        reports.into_iter().for_each(|report| self.insert(report));
    }

    fn mark(&mut self, at: usize) {
        let chunk = at / Params::CHUNK;
        if self.dirty.len() <= chunk {
            self.dirty.resize(chunk + 1, false);
        }
        self.dirty[chunk] = true;
    }
}

datum! {
    /// Row 0 of the ring.
    RingRow {
        /// Reports that ever entered.
        entered: u64,
        /// Places in the ring.
        capacity: u64,
    }
}

/// Row 0 tells where the ring stands; row 1 + n holds places n * 4,096 and on.
impl Row for RecentReports {
    const STORE: &'static str = "recent-reports";
    type Shared = ();

    fn shape(part: u32) -> &'static Shape {
        if part == 0 { RingRow::SHAPE } else { List::<RecentReport>::SHAPE }
    }

    fn save(&mut self, scratch: &mut Vec<u8>, put: &mut dyn FnMut(u32, &[u8])) {
        scratch.clear();
        RingRow { entered: self.entered, capacity: self.capacity as u64 }.put(scratch);
        put(0, scratch);
        for (chunk, dirty) in self.dirty.iter_mut().enumerate().filter(|(_, dirty)| **dirty) {
            *dirty = false;
            scratch.clear();
            let end = self.ring.len().min((chunk + 1) * Params::CHUNK);
            if let Some(places) = self.ring.get(chunk * Params::CHUNK..end) {
                List::Slice(places).put(scratch);
            }
            put(chunk as u32 + 1, scratch);
        }
    }

    fn load(&mut self, part: u32, bytes: &[u8]) -> Option<()> {
        if part == 0 {
            let row = RingRow::decode(bytes)?;
            (self.entered, self.capacity) = (row.entered, usize::try_from(row.capacity).ok()?);
        } else {
            let start = (part as usize - 1) * Params::CHUNK;
            let places = List::<RecentReport>::decode(bytes)?;
            self.ring.resize(self.ring.len().max(start + places.len()), RecentReport { id: [0; 16], content: [0; 8], offset: 0 });
            self.ring[start..].iter_mut().zip(places.iter()).for_each(|(place, report)| *place = report);
        }
        Some(())
    }

    fn loaded(&mut self, _: &mut ()) {
        self.dirty = alloc::vec![false; self.ring.len().div_ceil(Params::CHUNK)];
        self.index.clear();
        let ring = &self.ring;
        for (at, report) in ring.iter().enumerate() {
            self.index.insert_unique(hash_of(&report.id), at as u32, |found| hash_of(&ring[*found as usize].id));
        }
    }

    fn heap(&self) -> usize {
        self.ring.capacity() * size_of::<RecentReport>() + self.index.capacity() * 5
    }
}

datum! {
    /// Inputs of a partition of `eval.reports` by class; their sum is the number of inputs.
    #[derive(Default)]
    Counts {
        /// Reports that count.
        accepted: u64,
        /// Reports known by id, with the same content.
        duplicate: u64,
        /// Inputs that break a rule.
        rejected: u64,
        /// Reports sent on to their own partition.
        rerouted: u64,
        /// ProposePromotion and AssignEntity that break no rule.
        commands: u64,
        /// AllocationOutcome.
        fed_back: u64,
        /// Tick and ConfigEpoch.
        control: u64,
    }
}

datum_row!(Counts in "ingest-counts");

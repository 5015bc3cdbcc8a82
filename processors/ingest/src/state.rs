//! What ingest remembers.

use alloc::boxed::Box;
use alloc::string::String;
use alloc::sync::Arc;
use alloc::vec::Vec;
use merit_core::recent::{Recent, StoreName};
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
    const IS_ONE_ROW: bool = true;
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

/// Name of the store of report ids.
#[derive(Debug)]
pub struct ReportIds;

impl StoreName for ReportIds {
    const NAME: &'static str = "recent-reports";
}

/// The last reports by the ids of their producers: first 16 bytes of SHA-256 of the id, XXH3-64 of the report's encoding, and the
/// offset that its ScoreUpdated carries too.
pub type RecentReports = Recent<ReportIds>;

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

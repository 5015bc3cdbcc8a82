//! Sums of divisions and products by minute, on their way from the partitions of reports to the windows of aggregates.
//!
//! Score-window keeps what its reports added since it last handed sums on, aggregate-window what waits for the watermark.
//! Both forget metrics by the same rule: a minute of an aggregate keeps 16 names, the first by name. A name that goes has 16
//! before it, and still has them after any merge; so the names kept, and their sums, do not depend on the order of merging.

use crate::panes::MAX_METRICS;
use alloc::string::String;
use alloc::vec::Vec;
use core::cmp::Ordering;
use merit_core::profile::MAX_METRIC;
use merit_core::record::{AggregateDelta, MetricSum, ReportAccepted};
use merit_core::{Datum, Duration, EventTime, Fault, Fixed, Key, List, Row, Shape, datum, datum_enum};

/// Reports after which sums are handed on, whatever the watermark; design 4. The sum of squares of so many fits 64 bits.
const FULL: u64 = 4_096;
const _: () = assert!(FULL as i64 <= i64::MAX / MAX_METRIC.0, "nor a metric's");

datum_enum! {
    /// What an aggregate is. In the order of their prefixes, so that sums sort as their aggregates' ids do.
    Level {
        /// `division:ID`
        Division,
        /// `product:ID`
        Product,
    }
}

impl Level {
    const fn prefix(self) -> &'static str {
        match self {
            Level::Division => "division:",
            Level::Product => "product:",
        }
    }

    /// Level and id of `division:ID` or `product:ID`.
    pub fn parse(aggregate_id: &str) -> Option<(Level, &str)> {
        Level::ALL.iter().find_map(|level| Some((*level, aggregate_id.strip_prefix(level.prefix())?)))
    }
}

/// Sum and number of values of one metric.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct MetricGain {
    /// The metric.
    pub name: String,
    /// Sum of its values, 1e-6.
    pub sum: i128,
    /// Number of its values.
    pub count: u64,
}

/// What one minute of one aggregate gained.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Gain {
    /// Event time divided by a minute.
    pub minute: i64,
    /// Division or product.
    pub level: Level,
    /// Its id.
    pub id: String,
    /// Reports.
    pub n: u64,
    /// Sum of their observations, 1e-6.
    pub observations: i64,
    /// Sum of the squares of their observations, 1e-12.
    pub squares: u128,
    /// At most [`MAX_METRICS`], in the order in which they came.
    pub metrics: Vec<MetricGain>,
}

impl Gain {
    /// `division:ID` or `product:ID`.
    pub fn aggregate_id(&self) -> String {
        [self.level.prefix(), &self.id].concat()
    }

    fn compare(&self, minute: i64, level: Level, id: &str) -> Ordering {
        self.minute.cmp(&minute).then(self.level.cmp(&level)).then_with(|| (*self.id).cmp(id))
    }

    #[inline]
    fn is(&self, minute: i64, level: Level, id: &str) -> bool {
        self.minute == minute && self.level == level && self.id == id
    }

    #[inline]
    fn add_report(&mut self, report: &ReportAccepted<'_>, observation: Fixed) {
        self.n += 1;
        self.observations += observation.0;
        self.squares += u128::from(observation.0.unsigned_abs()).pow(2);
        for (place, metric) in report.metrics.iter().enumerate() {
            self.add_metric(place, metric.name, metric.value.0.into(), 1);
        }
    }

    fn add_delta(&mut self, delta: &AggregateDelta<'_>) {
        self.n += delta.n;
        self.observations += delta.observations.0;
        self.squares += u128::from(delta.squares);
        for (place, metric) in delta.metrics.iter().enumerate() {
            self.add_metric(place, metric.name, metric.sum.0.into(), metric.count);
        }
    }

    #[inline]
    fn add_metric(&mut self, guess: usize, name: &str, sum: i128, count: u64) {
        let guessed = self.metrics.get(guess).is_some_and(|known| known.name == name);
        let place = if guessed { Some(guess) } else { self.place(name) };
        if let Some(metric) = place.and_then(|place| self.metrics.get_mut(place)) {
            metric.sum += sum;
            metric.count += count;
        }
    }

    /// The place of a metric, made where there is none; none where 16 names come before it.
    #[cold]
    fn place(&mut self, name: &str) -> Option<usize> {
        if let Some(place) = self.metrics.iter().position(|known| known.name == name) {
            return Some(place);
        }
        let new = MetricGain { name: name.into(), sum: 0, count: 0 };
        if self.metrics.len() < MAX_METRICS {
            self.metrics.push(new);
            return Some(self.metrics.len() - 1);
        }
        let (place, last) = self.metrics.iter_mut().enumerate().max_by(|left, right| left.1.name.cmp(&right.1.name))?;
        if *last.name < *name {
            return None;
        }
        *last = new;
        Some(place)
    }
}

/// Gains in the order of (minute, aggregate id).
#[derive(Clone, Debug, Default)]
pub struct Gains {
    list: Vec<Gain>,
    /// Where a gain was last found, by hash; so that most reports need no search.
    places: Vec<u32>,
}

/// Length of the places: more than the aggregates and minutes that a partition mostly has open. A power of 2.
const PLACES: usize = 256;

impl Gains {
    /// All of them, in order.
    pub fn list(&self) -> &[Gain] {
        &self.list
    }

    /// Those of minutes before one, in order.
    pub fn before(&self, minute: i64) -> &[Gain] {
        &self.list[..self.list.partition_point(|gain| gain.minute < minute)]
    }

    /// Forgets the first `count`.
    pub fn forget(&mut self, count: usize) {
        self.list.drain(..count);
    }

    /// Adds a delta to its minute.
    pub fn add(&mut self, delta: &AggregateDelta<'_>) -> Result<(), Fault> {
        let unknown = || Fault(alloc::format!("aggregate {:?} is neither a division nor a product", delta.aggregate_id));
        let (level, id) = Level::parse(delta.aggregate_id).ok_or_else(unknown)?;
        self.entry(delta.timestamp.pane(Duration::MINUTE), level, id).add_delta(delta);
        Ok(())
    }

    #[inline]
    fn entry(&mut self, minute: i64, level: Level, id: &str) -> &mut Gain {
        let slot = (Key::new(id).hash as usize).wrapping_add(minute as usize * 2 + level as usize) % PLACES;
        let place = self.places.get(slot).map_or(0, |place| *place as usize);
        let found = self.list.get(place).is_some_and(|gain| gain.is(minute, level, id));
        let at = if found { place } else { self.find(slot, minute, level, id) };
        &mut self.list[at]
    }

    #[cold]
    fn find(&mut self, slot: usize, minute: i64, level: Level, id: &str) -> usize {
        let found = self.list.binary_search_by(|gain| gain.compare(minute, level, id));
        let at = found.unwrap_or_else(|at| {
            let new = Gain { minute, level, id: id.into(), n: 0, observations: 0, squares: 0, metrics: Vec::new() };
            self.list.insert(at, new);
            at
        });
        self.places.resize(PLACES, 0);
        self.places[slot] = at as u32;
        at
    }
}

/// What reports added to divisions and products since sums were last handed on.
#[derive(Clone, Debug, Default)]
pub struct OpenDeltas {
    gains: Gains,
    /// Minute of the watermark when that was.
    minute: Option<i64>,
    /// Reports since.
    scored: u64,
}

impl OpenDeltas {
    /// Adds a scored report to its division and product.
    #[inline]
    pub fn add(&mut self, report: &ReportAccepted<'_>, observation: Fixed) {
        let minute = report.timestamp.pane(Duration::MINUTE);
        self.gains.entry(minute, Level::Division, report.division_id).add_report(report, observation);
        if let Some(product) = report.product_id {
            self.gains.entry(minute, Level::Product, product).add_report(report, observation);
        }
        self.scored += 1;
    }

    /// Whether sums are to be handed on with the watermark in that minute.
    #[inline]
    pub fn due(&self, minute: i64) -> bool {
        self.minute != Some(minute) || self.scored >= FULL
    }

    /// Hands every sum on, in the order of (minute, aggregate id), and begins anew.
    pub fn flush(&mut self, minute: i64, mut then: impl FnMut(&AggregateDelta<'_>) -> Result<(), Fault>) -> Result<(), Fault> {
        for gain in self.gains.list() {
            let mut metrics = [MetricSum { name: "", sum: Fixed::ZERO, count: 0 }; MAX_METRICS];
            for (slot, MetricGain { name, sum, count }) in metrics.iter_mut().zip(&gain.metrics) {
                let sum = i64::try_from(*sum).map_err(|_| Fault("a delta's sum exceeds 64 bits".into()))?;
                *slot = MetricSum { name, sum: Fixed(sum), count: *count };
            }
            then(&AggregateDelta {
                aggregate_id: &gain.aggregate_id(),
                timestamp: EventTime(gain.minute * Duration::MINUTE.0),
                n: gain.n,
                observations: Fixed(gain.observations),
                squares: u64::try_from(gain.squares).map_err(|_| Fault("a delta's squares exceed 64 bits".into()))?,
                metrics: List::Slice(&metrics[..gain.metrics.len()]),
            })?;
        }
        self.gains.forget(self.gains.list().len());
        (self.minute, self.scored) = (Some(minute), 0);
        Ok(())
    }
}

/// Deltas that wait until the watermark has passed their minute, merged by minute and aggregate: as many as aggregates were
/// touched in the minutes between the lowest Progress and the newest report.
#[derive(Clone, Debug, Default)]
pub struct PendingDeltas(pub Gains);

datum! {
    /// Row of a [`MetricGain`].
    MetricRow<'a> {
        /// The metric.
        name: &'a str,
        /// Sum of its values, 1e-6, big-endian.
        sum: [u8; 16],
        /// Number of its values.
        count: u64,
    }
}

impl<'a> From<&'a MetricGain> for MetricRow<'a> {
    fn from(metric: &'a MetricGain) -> Self {
        MetricRow { name: &metric.name, sum: metric.sum.to_be_bytes(), count: metric.count }
    }
}

datum! {
    /// Row of a [`Gain`].
    GainRow<'a> {
        /// Event time divided by a minute.
        minute: i64,
        /// Division or product.
        level: Level,
        /// Its id.
        id: &'a str,
        /// Reports.
        n: u64,
        /// Sum of observations, 1e-6.
        observations: i64,
        /// Sum of squared observations, 1e-12, big-endian.
        squares: [u8; 16],
        /// In the order in which they came.
        metrics: List<'a, MetricRow<'a>>,
    }
}

datum! {
    /// Row of [`OpenDeltas`].
    OpenRow<'a> {
        /// Minute of the watermark when sums were last handed on.
        minute: Option<i64>,
        /// Reports since.
        scored: u64,
        /// By (minute, aggregate id).
        gains: List<'a, GainRow<'a>>,
    }
}

fn with_rows<R>(gains: &Gains, then: impl FnOnce(List<'_, GainRow<'_>>) -> R) -> R {
    let metrics: Vec<Vec<MetricRow<'_>>> = gains.list().iter().map(|gain| gain.metrics.iter().map(Into::into).collect()).collect();
    let rows = gains.list().iter().zip(&metrics).map(|(gain, metrics)| GainRow {
        minute: gain.minute,
        level: gain.level,
        id: &gain.id,
        n: gain.n,
        observations: gain.observations,
        squares: gain.squares.to_be_bytes(),
        metrics: List::Slice(metrics),
    });
    then(List::Slice(&rows.collect::<Vec<_>>()))
}

impl From<List<'_, GainRow<'_>>> for Gains {
    fn from(rows: List<'_, GainRow<'_>>) -> Gains {
        let metric = |row: MetricRow<'_>| MetricGain { name: row.name.into(), sum: i128::from_be_bytes(row.sum), count: row.count };
        let gain = |row: GainRow<'_>| Gain {
            minute: row.minute,
            level: row.level,
            id: row.id.into(),
            n: row.n,
            observations: row.observations,
            squares: u128::from_be_bytes(row.squares),
            metrics: row.metrics.iter().map(metric).collect(),
        };
        Gains { list: rows.iter().map(gain).collect(), places: Vec::new() }
    }
}

impl Row for OpenDeltas {
    const STORE: &'static str = "open-deltas";
    type Shared = ();

    fn shape(_: u32) -> &'static Shape {
        OpenRow::SHAPE
    }

    fn save(&mut self, scratch: &mut Vec<u8>, put: &mut dyn FnMut(u32, &[u8])) {
        scratch.clear();
        with_rows(&self.gains, |gains| OpenRow { minute: self.minute, scored: self.scored, gains }.put(scratch));
        put(0, scratch);
    }

    fn load(&mut self, _: u32, bytes: &[u8]) -> Option<()> {
        let row = OpenRow::decode(bytes)?;
        *self = OpenDeltas { gains: row.gains.into(), minute: row.minute, scored: row.scored };
        Some(())
    }
}

impl Row for PendingDeltas {
    const STORE: &'static str = "pending-deltas";
    type Shared = ();

    fn shape(_: u32) -> &'static Shape {
        List::<GainRow>::SHAPE
    }

    fn save(&mut self, scratch: &mut Vec<u8>, put: &mut dyn FnMut(u32, &[u8])) {
        scratch.clear();
        with_rows(&self.0, |gains| gains.put(scratch));
        put(0, scratch);
    }

    fn load(&mut self, _: u32, bytes: &[u8]) -> Option<()> {
        self.0 = List::<GainRow>::decode(bytes)?.into();
        Some(())
    }
}

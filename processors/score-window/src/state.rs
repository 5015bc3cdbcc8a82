//! What score-window remembers.

use crate::panes::{MAX_METRICS, MetricTotal, Run, Sums};
use alloc::boxed::Box;
use alloc::collections::BTreeMap;
use alloc::vec::Vec;
use merit_core::record::Progress;
use merit_core::shared::{self, Names, Shared};
use merit_core::watermark::Watermark;
use merit_core::{Datum, Duration, EventTime, List, Row, Shape, datum, datum_row, prefetch};

/// One window: so many panes of one width.
#[derive(Clone, Copy, Debug)]
pub struct Window {
    /// As reports and records name it.
    pub name: &'static str,
    /// Width of a pane.
    pub width: Duration,
    /// Number of panes.
    pub panes: i64,
}

/// The windows of design 4, shortest first: panes that leave one are merged into those of the next.
pub const WINDOWS: [Window; 3] = [
    Window { name: "1h", width: Duration(60_000), panes: 60 },
    Window { name: "24h", width: Duration(15 * 60_000), panes: 96 },
    Window { name: "7d", width: Duration(2 * 3_600_000), panes: 84 },
];

/// The span of event time whose panes share a row.
const BUCKET: Duration = Duration(4 * WINDOWS[2].width.0);

/// Rows of buckets an entity has; its panes span 22 buckets at most.
const SLOTS: i64 = 32;

/// Sums over a whole window.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Totals {
    /// Reports.
    pub n: u64,
    /// Sum of observations, 1e-6.
    pub observations: i128,
    /// Sum of squared observations, 1e-12.
    pub squares: u128,
}

/// The windows of one entity.
#[derive(Clone, Debug, Default)]
pub struct Windows {
    names: Names,
    newest: Option<EventTime>,
    runs: [Run; 3],
    /// Number of each run's oldest pane, so that a report that makes none leave touches no old pane.
    oldest: [i64; 3],
    totals: [Totals; 3],
    /// Window by window, metric by metric.
    metric_totals: Vec<MetricTotal>,
    /// Buckets that reports were added to, by bucket number modulo [`SLOTS`].
    dirty: u32,
    /// Whether there are names that were not saved.
    renamed: bool,
}

impl Windows {
    /// Metric names in the order in which they first appeared.
    pub fn names(&self) -> &[Box<str>] {
        &self.names
    }

    /// Shares the names with every entity that has the same.
    pub fn share(&mut self, names: &mut Shared<[Box<str>]>) {
        names.share(&mut self.names);
    }

    /// Whether there are names that no checkpoint holds yet; they may not be shared yet either.
    pub fn renamed(&self) -> bool {
        self.renamed
    }

    /// The place of a metric, made where there is none. Ingest admits at most [`MAX_METRICS`] names an entity.
    #[inline]
    pub fn metric(&mut self, name: &str, guess: usize) -> Option<usize> {
        if self.names.get(guess).is_some_and(|known| **known == *name) {
            return Some(guess);
        }
        self.names.iter().position(|known| **known == *name).or_else(|| self.learn(name))
    }

    #[cold]
    fn learn(&mut self, name: &str) -> Option<usize> {
        let place = self.names.len();
        if place == MAX_METRICS {
            return None;
        }
        self.names = shared::with(&self.names, name);
        self.renamed = true;
        self.widen();
        Some(place)
    }

    /// Fits runs and totals to the number of names.
    fn widen(&mut self) {
        let (old, new) = (self.metric_totals.len() / 3, self.names.len());
        self.runs.iter_mut().for_each(|run| run.widen(new));
        let widened = (0..3 * new).map(|at| if at % new < old { self.metric_totals[at / new * old + at % new] } else { (0, 0) });
        self.metric_totals = widened.collect();
    }

    /// Adds a report at `time` and moves the windows there if that is the entity's newest time.
    #[inline]
    pub fn add(&mut self, time: EventTime, sums: &Sums<'_>) {
        let newest = self.newest.map_or(time, |newest| newest.max(time));
        if self.newest != Some(newest) {
            self.newest = Some(newest);
            self.advance(newest);
        }
        let holds = |window: usize| time.pane(WINDOWS[window].width) > newest.pane(WINDOWS[window].width) - WINDOWS[window].panes;
        let Some(finest) = (0..3).find(|window| holds(*window)) else { return };
        let place = self.runs[finest].place(time.pane(WINDOWS[finest].width));
        self.runs[finest].add(place, sums);
        if place == 0 {
            self.oldest[finest] = self.runs[finest].oldest();
        }
        self.dirty |= 1 << time.pane(BUCKET).rem_euclid(SLOTS);
        for window in finest..3 {
            self.gain(window, sums.n, sums.observations, sums.squares, sums.metrics.iter().copied());
        }
    }

    /// Takes panes out of the windows that they left, each into the next coarser one.
    #[inline]
    fn advance(&mut self, newest: EventTime) {
        for (window, Window { width, panes, .. }) in WINDOWS.into_iter().enumerate() {
            let first = newest.pane(width) - panes + 1;
            while !self.runs[window].is_empty() && self.oldest[window] < first {
                self.leave(window);
            }
        }
    }

    /// Its row stays as it is: finer panes than needed are merged again when they are loaded.
    fn leave(&mut self, window: usize) {
        let (finer, coarser) = self.runs.split_at_mut(window + 1);
        let pane = finer[window].pane(0);
        let totals = &mut self.totals[window];
        totals.n -= u64::from(pane.n());
        totals.observations -= i128::from(pane.observations());
        totals.squares -= pane.squares();
        let metrics = self.names.len();
        for ((total, count), (sum, values)) in self.metric_totals[window * metrics..].iter_mut().zip(pane.metrics()) {
            *total -= sum;
            *count -= values;
        }
        if let Some(coarser) = coarser.first_mut() {
            let time = EventTime(pane.number() * WINDOWS[window].width.0);
            let place = coarser.place(time.pane(WINDOWS[window + 1].width));
            coarser.absorb(place, &pane);
            self.oldest[window + 1] = coarser.oldest();
        }
        finer[window].pop();
        self.oldest[window] = finer[window].oldest();
    }

    #[inline]
    fn gain(&mut self, window: usize, n: u32, observations: i64, squares: u128, metrics: impl Iterator<Item = MetricTotal>) {
        let total = &mut self.totals[window];
        total.n += u64::from(n);
        total.observations += i128::from(observations);
        total.squares += squares;
        let first = window * self.names.len();
        for ((total, count), (sum, values)) in self.metric_totals[first..].iter_mut().zip(metrics) {
            *total += sum;
            *count += values;
        }
    }

    /// The sums of a window and of its metrics.
    #[inline]
    pub fn window(&self, window: usize) -> (&Totals, &[MetricTotal]) {
        let metrics = self.names.len();
        (&self.totals[window], &self.metric_totals[window * metrics..(window + 1) * metrics])
    }
}

datum! {
    /// Row 0 of an entity's windows.
    WindowsRow<'a> {
        /// Metric names in the order in which they first appeared.
        names: List<'a, &'a str>,
    }
}

datum! {
    /// Sum of a metric in a pane.
    PaneMetric {
        /// Sum of values, 1e-6, in units of 2^62.
        sum_high: i64,
        /// The rest of it, below 2^62.
        sum_low: u64,
        /// Number of values.
        count: u64,
    }
}

datum! {
    /// One pane.
    PaneRow<'a> {
        /// Window whose panes it is one of: 0, 1 or 2.
        window: u32,
        /// Pane number: event time divided by the width.
        number: i64,
        /// Reports.
        n: u32,
        /// Sum of observations, 1e-6.
        observations: i64,
        /// Sum of squared observations, 1e-12, in units of 2^62.
        squares_high: u64,
        /// The rest of it, below 2^62.
        squares_low: u64,
        /// By the entity's order of metrics, up to the last that has values.
        metrics: List<'a, PaneMetric>,
    }
}

/// Bits of the low part of a sum: so many are a long in Avro.
const LOW: u32 = 62;
const LOW_MASK: u64 = (1 << LOW) - 1;

/// Row 0 holds the names; row 1 + b the panes of the bucket whose number modulo [`SLOTS`] is b, as fine as they were when the
/// last report was added to it. A row of panes that left the longest window is overwritten by the bucket [`SLOTS`] later.
impl Row for Windows {
    const STORE: &'static str = "windows";
    type Shared = Shared<[Box<str>]>;

    fn shape(part: u32) -> &'static Shape {
        if part == 0 { WindowsRow::SHAPE } else { List::<PaneRow>::SHAPE }
    }

    fn save(&mut self, scratch: &mut Vec<u8>, put: &mut dyn FnMut(u32, &[u8])) {
        if core::mem::take(&mut self.renamed) {
            scratch.clear();
            let names: Vec<&str> = self.names.iter().map(|name| &**name).collect();
            WindowsRow { names: List::Slice(&names) }.put(scratch);
            put(0, scratch);
        }
        let newest = self.newest.map_or(0, |newest| newest.pane(BUCKET));
        while self.dirty != 0 {
            let slot = self.dirty.trailing_zeros();
            self.dirty &= self.dirty - 1;
            // The one bucket of this slot among those that end with the newest.
            let bucket = newest - (newest - i64::from(slot)).rem_euclid(SLOTS);
            scratch.clear();
            self.put_bucket(bucket, scratch);
            put(slot + 1, scratch);
        }
    }

    fn load(&mut self, part: u32, bytes: &[u8]) -> Option<()> {
        if part == 0 {
            self.names = WindowsRow::decode(bytes)?.names.iter().map(Into::into).collect();
            self.widen();
            return Some(());
        }
        datum::each_item(bytes, |row: PaneRow<'_>| {
            let run = self.runs.get_mut(row.window as usize)?;
            let mut metrics = [(0, 0); MAX_METRICS];
            metrics.iter_mut().zip(row.metrics).for_each(|(slot, metric)| *slot = metric.total());
            let sums = Sums {
                n: row.n,
                observations: row.observations,
                squares: u128::from(row.squares_high) << LOW | u128::from(row.squares_low),
                metrics: metrics.get(..row.metrics.len().min(self.names.len()))?,
            };
            run.push(row.number, &sums);
            Some(())
        })
    }

    /// Adds the totals up and moves the windows to the newest pane; a minute is as exact as windows need it.
    fn loaded(&mut self, names: &mut Self::Shared) {
        names.share(&mut self.names);
        let mut newest = None;
        let mut runs = core::mem::take(&mut self.runs);
        // Buckets come in the order of their slots.
        runs.iter_mut().for_each(Run::sort);
        for (run, panes) in runs.iter().enumerate() {
            self.oldest[run] = panes.oldest();
            for pane in (0..panes.len()).map(|at| panes.pane(at)) {
                newest = newest.max(Some(EventTime(pane.number() * WINDOWS[run].width.0)));
                for window in run..3 {
                    self.gain(window, pane.n(), pane.observations(), pane.squares(), pane.metrics());
                }
            }
        }
        self.runs = runs;
        self.newest = newest;
        if let Some(newest) = newest {
            self.advance(newest);
        }
    }

    fn heap(&self) -> usize {
        let runs: usize = self.runs.iter().map(Run::heap).sum();
        runs + self.metric_totals.capacity() * size_of::<MetricTotal>()
    }

    /// The totals and both ends of each run.
    #[inline]
    fn warm(&self) {
        prefetch::value(&*self.metric_totals);
        self.runs.iter().for_each(Run::warm);
    }
}

impl PaneMetric {
    fn of((sum, count): MetricTotal) -> PaneMetric {
        PaneMetric { sum_high: (sum >> LOW) as i64, sum_low: sum as u64 & LOW_MASK, count }
    }

    fn total(self) -> MetricTotal {
        (i128::from(self.sum_high) << LOW | i128::from(self.sum_low), self.count)
    }
}

impl Windows {
    fn put_bucket(&self, bucket: i64, out: &mut Vec<u8>) {
        let of_run = |window: usize| {
            let width = BUCKET.0 / WINDOWS[window].width.0;
            self.runs[window].between(bucket * width, (bucket + 1) * width)
        };
        let places = [of_run(0), of_run(1), of_run(2)];
        let count = places.iter().map(|places| places.len()).sum();
        let mut metrics = [PaneMetric::of((0, 0)); MAX_METRICS];
        datum::put_list(count, out, |out| {
            for (window, places) in places.into_iter().enumerate() {
                for pane in places.map(|at| self.runs[window].pane(at)) {
                    metrics.iter_mut().zip(pane.metrics()).for_each(|(slot, total)| *slot = PaneMetric::of(total));
                    let row = PaneRow {
                        window: window as u32,
                        number: pane.number(),
                        n: pane.n(),
                        observations: pane.observations(),
                        squares_high: (pane.squares() >> LOW) as u64,
                        squares_low: pane.squares() as u64 & LOW_MASK,
                        metrics: List::Slice(&metrics[..self.names.len()]),
                    };
                    row.put(out);
                }
            }
        });
    }
}

datum! {
    /// Watermark and counts of the partition.
    #[derive(Default)]
    Counts {
        /// Largest min(timestamp, receivedAt) of accepted reports and Ticks; none before the first.
        newest: Option<EventTime>,
        /// Reports that count in windows.
        scored: u64,
        /// Reports that came behind the watermark.
        late: u64,
        /// Watermark of the last Progress.
        progress: Option<EventTime>,
        /// Reports scored since the last Progress.
        scored_since: u64,
    }
}

impl Counts {
    /// The partition's watermark before grace.
    pub fn watermark(&self) -> Watermark {
        self.newest.map_or_else(Watermark::default, |newest| Watermark { newest })
    }
}

datum_row!(Counts in "score-counts");

/// The windows of one division or product.
#[derive(Clone, Debug, Default)]
pub struct AggregateWindows(pub Windows);

/// Rows of [`Windows`] in a store of another name.
impl Row for AggregateWindows {
    const STORE: &'static str = "aggregate-windows";
    type Shared = Shared<[Box<str>]>;

    fn shape(part: u32) -> &'static Shape {
        Windows::shape(part)
    }

    fn save(&mut self, scratch: &mut Vec<u8>, put: &mut dyn FnMut(u32, &[u8])) {
        self.0.save(scratch, put);
    }

    fn load(&mut self, part: u32, bytes: &[u8]) -> Option<()> {
        self.0.load(part, bytes)
    }

    fn loaded(&mut self, names: &mut Self::Shared) {
        self.0.loaded(names);
    }

    fn heap(&self) -> usize {
        self.0.heap()
    }

    fn warm(&self) {
        self.0.warm();
    }
}

/// The last Progress of each partition of reports.
#[derive(Clone, Debug, Default)]
pub struct Heard(pub BTreeMap<u32, EventTime>);

impl Heard {
    /// The lowest watermark of that many partitions; none where one was not heard of.
    pub fn lowest(&self, partitions: u32) -> Option<EventTime> {
        (0..partitions).map(|partition| self.0.get(&partition).copied()).min().flatten()
    }
}

impl Row for Heard {
    const STORE: &'static str = "aggregate-progress";
    type Shared = ();

    fn shape(_: u32) -> &'static Shape {
        List::<Progress>::SHAPE
    }

    fn save(&mut self, scratch: &mut Vec<u8>, put: &mut dyn FnMut(u32, &[u8])) {
        scratch.clear();
        let rows: Vec<Progress> =
            self.0.iter().map(|(partition, watermark)| Progress { partition: *partition, watermark: *watermark }).collect();
        List::Slice(&rows).put(scratch);
        put(0, scratch);
    }

    fn load(&mut self, _: u32, bytes: &[u8]) -> Option<()> {
        self.0 = List::<Progress>::decode(bytes)?.iter().map(|row| (row.partition, row.watermark)).collect();
        Some(())
    }
}

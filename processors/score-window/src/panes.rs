//! Runs of panes: sums of reports by time, in flat words so that a report touches few cache lines.
//!
//! A pane of m metrics is 4 + 2m words of 64 bits:
//!
//! | words | meaning |
//! |---|---|
//! | 0 | pane number (high 32 bits), reports (low 32 bits) |
//! | 1 | sum of observations, 1e-6 |
//! | 2, 3 | sum of squared observations, 1e-12, low and high half |
//! | 4 + 2i | sum of metric i, 1e-6, low 64 bits |
//! | 5 + 2i | the sum's high 32 bits, and the number of the metric's values |
//!
//! 2^32 reports of any values fit.

use alloc::vec::Vec;
use merit_core::prefetch;

/// What one report, or one pane, adds to a window.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Sums<'a> {
    /// Reports.
    pub n: u32,
    /// Sum of observations, 1e-6.
    pub observations: i64,
    /// Sum of squared observations, 1e-12.
    pub squares: u128,
    /// By the entity's order of metrics; may be shorter than that.
    pub metrics: &'a [MetricTotal],
}

/// A metric's sum, 1e-6, and the number of its values.
pub type MetricTotal = (i128, u64);

/// Panes of one width, in order of time.
#[derive(Clone, Debug, Default)]
pub struct Run {
    words: Vec<u64>,
    /// Where the oldest pane starts; what lies before it is spent.
    start: usize,
    metrics: usize,
}

const HEAD: usize = 4;

/// One pane of a run.
#[derive(Clone, Copy, Debug)]
pub struct Pane<'a>(&'a [u64]);

impl<'a> Pane<'a> {
    /// Event time divided by the width.
    pub fn number(&self) -> i64 {
        (self.0[0] >> 32) as i64
    }

    /// Reports.
    pub fn n(&self) -> u32 {
        self.0[0] as u32
    }

    /// Sum of observations, 1e-6.
    pub fn observations(&self) -> i64 {
        self.0[1] as i64
    }

    /// Sum of squared observations, 1e-12.
    pub fn squares(&self) -> u128 {
        u128::from(self.0[2]) | u128::from(self.0[3]) << 64
    }

    /// Its total of each metric, by the entity's order.
    #[inline]
    pub fn metrics(&self) -> impl ExactSizeIterator<Item = MetricTotal> + use<'a> {
        self.0[HEAD..].as_chunks().0.iter().map(metric_total)
    }
}

impl Run {
    /// Bytes outside of itself.
    pub(crate) fn heap(&self) -> usize {
        self.words.capacity() * size_of::<u64>()
    }

    fn stride(&self) -> usize {
        HEAD + 2 * self.metrics
    }

    /// Asks memory for the oldest pane, the newest, and the place of the next.
    #[inline]
    pub(crate) fn warm(&self) {
        let words = self.words.as_ptr();
        for at in [self.start, self.start + self.stride() - 1] {
            prefetch::line(words.wrapping_add(at));
        }
        for at in [self.words.len().saturating_sub(self.stride()), self.words.len(), self.words.len() + self.stride() - 1] {
            prefetch::line(words.wrapping_add(at));
        }
    }

    /// The number of panes.
    pub fn len(&self) -> usize {
        (self.words.len() - self.start) / self.stride()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.words.len() == self.start
    }

    /// The pane at a place.
    #[inline]
    pub fn pane(&self, at: usize) -> Pane<'_> {
        let stride = self.stride();
        let start = self.start + at * stride;
        Pane(&self.words[start..start + stride])
    }

    /// Pane number of the pane at a place.
    #[inline]
    pub fn number(&self, at: usize) -> i64 {
        (self.words[self.start + at * self.stride()] >> 32) as i64
    }

    /// Number of the oldest pane; beyond all others where there is none.
    pub fn oldest(&self) -> i64 {
        if self.is_empty() { i64::MAX } else { self.number(0) }
    }

    /// Makes room for more metrics.
    pub fn widen(&mut self, metrics: usize) {
        if metrics == self.metrics {
            return;
        }
        let missing = 2 * (metrics - self.metrics);
        let mut words = Vec::with_capacity(self.len() * (self.stride() + missing));
        for pane in self.words[self.start..].chunks(self.stride()) {
            words.extend_from_slice(pane);
            words.extend(core::iter::repeat_n(0, missing));
        }
        *self = Run { words, start: 0, metrics };
    }

    /// The place of the pane of that number, made where there is none.
    #[inline]
    pub fn place(&mut self, number: i64) -> usize {
        let at = self.first_from(self.len(), number + 1);
        if at > 0 && self.number(at - 1) == number {
            return at - 1;
        }
        self.reclaim();
        let (start, stride) = (self.start + at * self.stride(), self.stride());
        if start == self.words.len() {
            self.append(number);
        } else {
            self.words.splice(start..start, core::iter::repeat_n(0, stride));
            self.words[start] = first_word(number);
        }
        at
    }

    /// Makes a pane behind all others.
    #[inline]
    fn append(&mut self, number: i64) {
        let start = self.words.len();
        self.words.resize(start + self.stride(), 0);
        self.words[start] = first_word(number);
    }

    /// Adds a pane that is not there yet behind all others, whatever its number: [`Run::sort`] comes behind the last.
    #[inline]
    pub fn push(&mut self, number: i64, sums: &Sums<'_>) {
        self.append(number);
        self.add(self.len() - 1, sums);
    }

    /// Puts panes that were pushed in order of time.
    pub fn sort(&mut self) {
        if !(1..self.len()).all(|at| self.number(at - 1) < self.number(at)) {
            let mut panes: Vec<&[u64]> = self.words[self.start..].chunks(self.stride()).collect();
            panes.sort_unstable_by_key(|pane| Pane(pane).number());
            (self.words, self.start) = (panes.concat(), 0);
        }
    }

    /// Takes back what popped panes left, instead of growing, where that is a quarter of the run: a word moves four times at most.
    fn reclaim(&mut self) {
        if self.words.len() + self.stride() > self.words.capacity() && self.start * 4 >= self.words.len() {
            self.words.drain(..self.start);
            self.start = 0;
        }
    }

    /// Adds sums to the pane at a place.
    #[inline]
    pub fn add(&mut self, at: usize, sums: &Sums<'_>) {
        let words = self.head(at, sums.n, sums.observations, sums.squares);
        words[HEAD..].as_chunks_mut().0.iter_mut().zip(sums.metrics).for_each(|(metric, total)| gain(metric, *total));
    }

    /// Adds a pane of another run to the pane at a place.
    #[inline]
    pub fn absorb(&mut self, at: usize, pane: &Pane<'_>) {
        let words = self.head(at, pane.n(), pane.observations(), pane.squares());
        words[HEAD..].as_chunks_mut().0.iter_mut().zip(pane.metrics()).for_each(|(metric, total)| gain(metric, total));
    }

    #[inline]
    fn head(&mut self, at: usize, n: u32, observations: i64, squares: u128) -> &mut [u64] {
        let stride = self.stride();
        let start = self.start + at * stride;
        let words = &mut self.words[start..start + stride];
        let pane = Pane(words);
        let (first, squares) = (first_word(pane.number()) | u64::from(pane.n() + n), pane.squares() + squares);
        words[0] = first;
        words[1] = (words[1] as i64 + observations) as u64;
        words[2] = squares as u64;
        words[3] = (squares >> 64) as u64;
        words
    }

    /// Removes the oldest pane.
    #[inline]
    pub fn pop(&mut self) {
        self.start += self.stride();
        if self.is_empty() {
            self.words.clear();
            self.start = 0;
        }
    }

    /// Places of the panes with numbers in `from..to`.
    pub fn between(&self, from: i64, to: i64) -> core::ops::Range<usize> {
        let end = self.first_from(self.len(), to);
        self.first_from(end, from)..end
    }

    /// The first place before `end` whose pane has that number or a larger one; `end` where there is none. Searches from there
    /// back: reports are added near the newest pane.
    #[inline]
    fn first_from(&self, end: usize, number: i64) -> usize {
        let mut at = end;
        while at > 0 && self.number(at - 1) >= number {
            at -= 1;
        }
        at
    }
}

fn metric_total([low, high]: &[u64; 2]) -> MetricTotal {
    (i128::from((*high as i64) >> 32) << 64 | i128::from(*low), *high & u64::from(u32::MAX))
}

#[inline]
fn gain(metric: &mut [u64; 2], (sum, count): MetricTotal) {
    let (old_sum, old_count) = metric_total(metric);
    let sum = old_sum + sum;
    *metric = [sum as u64, ((sum >> 64) as u64) << 32 | (old_count + count)];
}

/// The first word of a pane of no reports.
fn first_word(number: i64) -> u64 {
    (number as u64) << 32
}

pub use merit_core::profile::MAX_METRICS;

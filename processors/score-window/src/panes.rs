//! Runs of panes: sums of reports by time, in flat words so that a report touches few cache lines.
//!
//! A pane of m metrics is 4 + 2m words of 64 bits:
//!
//! | words | meaning |
//! |---|---|
//! | 0 | pane number (high 32 bits), reports (low 32 bits) |
//! | 1 | sum of observations, 1e-6 |
//! | 2, 3 | sum of squared observations, 1e-12, low and high half |
//! | 4 + 2i, 5 + 2i | sum of metric i, 1e-6; number of its values |

use alloc::collections::VecDeque;

/// What one report, or one pane, adds to a window.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Sums<'a> {
    /// Reports.
    pub n: u32,
    /// Sum of observations, 1e-6.
    pub observations: i64,
    /// Sum of squared observations, 1e-12.
    pub squares: u128,
    /// A metric's sum and number of values, by the entity's order of metrics; may be shorter than that.
    pub metrics: &'a [(i64, u64)],
}

/// Panes of one width, in order of time.
#[derive(Clone, Debug, Default)]
pub struct Run {
    words: VecDeque<u64>,
    metrics: usize,
}

const HEAD: usize = 4;

impl Run {
    fn stride(&self) -> usize {
        HEAD + 2 * self.metrics
    }

    /// The number of panes.
    pub fn len(&self) -> usize {
        self.words.len() / self.stride()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.words.is_empty()
    }

    /// Pane number of the pane at a place.
    pub fn number(&self, at: usize) -> i64 {
        (self.words[at * self.stride()] >> 32) as i64
    }

    /// Makes room for more metrics.
    pub fn widen(&mut self, metrics: usize) {
        if metrics == self.metrics {
            return;
        }
        let old = self.stride();
        let panes = self.len();
        let missing = 2 * (metrics - self.metrics);
        let mut words = VecDeque::with_capacity(panes * (old + missing));
        for pane in 0..panes {
            words.extend(self.words.range(pane * old..(pane + 1) * old));
            words.extend(core::iter::repeat_n(0, missing));
        }
        (self.words, self.metrics) = (words, metrics);
    }

    /// The place of the pane of that number, made where there is none. Searches from the newest.
    pub fn place(&mut self, number: i64) -> usize {
        let mut at = self.len();
        while at > 0 && self.number(at - 1) > number {
            at -= 1;
        }
        if at > 0 && self.number(at - 1) == number {
            return at - 1;
        }
        let (start, stride) = (at * self.stride(), self.stride());
        if at == self.len() {
            self.words.push_back((number as u64) << 32);
            self.words.extend(core::iter::repeat_n(0, stride - 1));
        } else {
            for word in 0..stride {
                self.words.insert(start + word, if word == 0 { (number as u64) << 32 } else { 0 });
            }
        }
        at
    }

    /// Adds sums to the pane at a place.
    #[inline]
    pub fn add(&mut self, at: usize, sums: &Sums<'_>) {
        let start = at * self.stride();
        let squares = self.squares(start) + sums.squares;
        self.words[start] += u64::from(sums.n);
        self.words[start + 1] = (self.words[start + 1] as i64 + sums.observations) as u64;
        self.words[start + 2] = squares as u64;
        self.words[start + 3] = (squares >> 64) as u64;
        for (metric, (sum, count)) in sums.metrics.iter().enumerate() {
            let word = start + HEAD + 2 * metric;
            self.words[word] = (self.words[word] as i64 + sum) as u64;
            self.words[word + 1] += count;
        }
    }

    fn squares(&self, start: usize) -> u128 {
        u128::from(self.words[start + 2]) | u128::from(self.words[start + 3]) << 64
    }

    /// Shows the sums of the pane at a place.
    #[inline]
    pub fn read<R>(&self, at: usize, then: impl FnOnce(&Sums<'_>) -> R) -> R {
        let start = at * self.stride();
        let mut metrics = [(0, 0); MAX_METRICS];
        for (metric, slot) in metrics.iter_mut().enumerate().take(self.metrics) {
            let word = start + HEAD + 2 * metric;
            *slot = (self.words[word] as i64, self.words[word + 1]);
        }
        then(&Sums {
            n: self.words[start] as u32,
            observations: self.words[start + 1] as i64,
            squares: self.squares(start),
            metrics: &metrics[..self.metrics],
        })
    }

    /// Removes the oldest pane.
    pub fn pop(&mut self) {
        let stride = self.stride();
        self.words.drain(..stride);
    }

    /// Places of the panes with numbers in `from..to`.
    pub fn between(&self, from: i64, to: i64) -> core::ops::Range<usize> {
        let first = |bound: i64| {
            let (mut low, mut high) = (0, self.len());
            while low < high {
                let middle = (low + high) / 2;
                if self.number(middle) < bound { low = middle + 1 } else { high = middle }
            }
            low
        };
        first(from)..first(to)
    }
}

/// The most metrics of an entity; ingest sees to it.
pub const MAX_METRICS: usize = 16;

//! Anytime-valid confidence sequence of a bounded mean.
//!
//! Predictable plug-in empirical-Bernstein sequence: Waudby-Smith and Ramdas, "Estimating means of bounded random variables by
//! betting", JRSS B 86(1), 2024, theorem 2. It may be looked at after every observation and still errs with probability alpha at
//! most, all looks together. The one place with floating point: + - * / and square root, logarithms of crate `libm`, so equal
//! observations give equal bits on every machine; bounds are rounded outward to 1e-6 when they leave.

use merit_core::record::Interval;
use merit_core::{Fixed, datum};

datum! {
    /// The sequence so far; observations lie in 0..=1.
    Sequence {
        /// Observations.
        n: u64,
        /// Sum of observations.
        sum: f64,
        /// Sum of squared distances from the running mean.
        squares: f64,
        /// Sum of bets.
        bets: f64,
        /// Sum of bets times observations.
        weighted: f64,
        /// Sum of the variance terms.
        penalty: f64,
        /// Largest lower bound so far.
        low: f64,
        /// Smallest upper bound so far.
        high: f64,
    }
}

impl Default for Sequence {
    fn default() -> Self {
        Sequence { n: 0, sum: 0.0, squares: 0.0, bets: 0.0, weighted: 0.0, penalty: 0.0, low: 0.0, high: 1.0 }
    }
}

impl Sequence {
    /// Takes one observation. `log_two_over_alpha` is ln(2 / alpha).
    #[inline]
    pub fn observe(&mut self, observation: Fixed, log_two_over_alpha: f64) {
        let x = observation.0 as f64 / 1e6;
        let t = (self.n + 1) as f64;
        let (mean, variance) = ((0.5 + self.sum) / t, (0.25 + self.squares) / t);
        let bet = libm::sqrt(2.0 * log_two_over_alpha / (variance * t * libm::log(1.0 + t)));
        let bet = if bet < 0.5 { bet } else { 0.5 };
        let distance = x - mean;
        self.n += 1;
        self.sum += x;
        let mean_after = (0.5 + self.sum) / (t + 1.0);
        self.squares += (x - mean_after) * (x - mean_after);
        self.bets += bet;
        self.weighted += bet * x;
        self.penalty += distance * distance * (-libm::log(1.0 - bet) - bet);
        let (centre, radius) = (self.weighted / self.bets, (log_two_over_alpha + self.penalty) / self.bets);
        if centre - radius > self.low {
            self.low = centre - radius;
        }
        if centre + radius < self.high {
            self.high = centre + radius;
        }
    }

    /// The interval, rounded outward to 1e-6; none before the first observation.
    pub fn interval(&self) -> Option<Interval> {
        let bound = |value: f64| Fixed(value as i64).clamp(Fixed::ZERO, Fixed::ONE);
        (self.n > 0).then(|| Interval { low: bound(libm::floor(self.low * 1e6)), high: bound(libm::ceil(self.high * 1e6)), n: self.n })
    }
}

/// ln(2 / alpha) for an error of alpha.
pub fn log_two_over(alpha: Fixed) -> f64 {
    libm::log(2e6 / alpha.0 as f64)
}

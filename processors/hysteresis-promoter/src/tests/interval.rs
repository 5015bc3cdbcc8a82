//! The confidence sequence against its formula and its two promises: it rarely errs, and it decides in the end.

use super::stage::fixed;
use crate::interval::{Sequence, log_two_over};
use merit_core::record::Interval;
use merit_core::{Datum, Fixed};
use proptest::prelude::*;
use std::vec::Vec;

/// Numbers that look random and are the same in every run: SplitMix64 (Steele, Lea and Flood, OOPSLA 2014).
struct Random(u64);

impl Random {
    /// At least 0, below 1.
    fn unit(&mut self) -> f64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let z = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        ((z ^ (z >> 31)) >> 11) as f64 / (1_u64 << 53) as f64
    }
}

/// The intervals after each observation, straight from the formula: every mean and variance anew from all observations.
///
/// lambda_t = min(sqrt(2 ln(2/alpha) / (variance_{t-1} t ln(1+t))), 1/2)
/// C_t = sum(lambda x) / sum(lambda) +- (ln(2/alpha) + sum 4 (x - mean_{t-1})^2 (-ln(1-lambda) - lambda) / 4) / sum(lambda)
/// with priors 1/2 for the mean and 1/4 for the variance, and each bound the best so far.
fn formula(observations: &[f64], alpha: f64) -> Vec<(f64, f64)> {
    let mean = |t: usize| (0.5 + observations[..t].iter().sum::<f64>()) / (t as f64 + 1.0);
    let variance = |t: usize| (0.25 + (1..=t).map(|i| (observations[i - 1] - mean(i)).powi(2)).sum::<f64>()) / (t as f64 + 1.0);
    let lambda = |t: usize| {
        let t_real = t as f64;
        (2.0 * (2.0 / alpha).ln() / (variance(t - 1) * t_real * (1.0 + t_real).ln())).sqrt().min(0.5)
    };
    let lambdas: Vec<f64> = (1..=observations.len()).map(lambda).collect();
    let terms: Vec<f64> = (1..=observations.len())
        .map(|t| 4.0 * (observations[t - 1] - mean(t - 1)).powi(2) * (-(1.0 - lambdas[t - 1]).ln() - lambdas[t - 1]) / 4.0)
        .collect();
    let (mut low, mut high) = (0.0_f64, 1.0_f64);
    (1..=observations.len())
        .map(|t| {
            let bets: f64 = lambdas[..t].iter().sum();
            let centre = observations[..t].iter().zip(&lambdas).map(|(x, bet)| x * bet).sum::<f64>() / bets;
            let radius = ((2.0 / alpha).ln() + terms[..t].iter().sum::<f64>()) / bets;
            (low, high) = (low.max(centre - radius), high.min(centre + radius));
            (low, high)
        })
        .collect()
}

fn intervals(observations: &[Fixed], alpha: Fixed) -> Vec<Interval> {
    let (mut sequence, log) = (Sequence::default(), log_two_over(alpha));
    let observed = observations.iter().map(|observation| {
        sequence.observe(*observation, log);
        sequence.interval().expect("an observation")
    });
    observed.collect()
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 200, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn the_sequence_is_its_formula_rounded_outward(
        observations in proptest::collection::vec(prop_oneof![0..=1_000_000_i64, Just(0_i64), Just(1_000_000_i64), 900_000..=950_000_i64], 1..150),
        alpha in prop_oneof![Just(50_000_i64), 1..1_000_000_i64],
    ) {
        let exact: Vec<f64> = observations.iter().map(|x| *x as f64 / 1e6).collect();
        let fixed: Vec<Fixed> = observations.iter().copied().map(Fixed).collect();
        let formula = formula(&exact, alpha as f64 / 1e6);
        for (at, (interval, (low, high))) in intervals(&fixed, Fixed(alpha)).iter().zip(formula).enumerate() {
            // Outward by less than one unit, and floating point may differ by a hair.
            let (out_low, out_high) = (low * 1e6 - interval.low.0 as f64, interval.high.0 as f64 - high * 1e6);
            let inside = |value: f64| (0.0..=1.0).contains(&value);
            prop_assert_eq!(interval.n, at as u64 + 1);
            prop_assert!(!inside(low) || (-1e-4..1.0 + 1e-4).contains(&out_low), "{interval:?} but {low} after {at}");
            prop_assert!(!inside(high) || (-1e-4..1.0 + 1e-4).contains(&out_high), "{interval:?} but {high} after {at}");
        }
    }

    #[test]
    fn a_stored_sequence_goes_on_to_the_bit(observations in proptest::collection::vec(0..=1_000_000_i64, 1..100), cut in 0..100_usize) {
        let log = log_two_over(Fixed(50_000));
        let (mut straight, mut stored) = (Sequence::default(), Sequence::default());
        for (at, observation) in observations.iter().enumerate() {
            if at == cut {
                let mut row = Vec::new();
                stored.put(&mut row);
                stored = Sequence::decode(&row).expect("canonical");
            }
            straight.observe(Fixed(*observation), log);
            stored.observe(Fixed(*observation), log);
            prop_assert_eq!(straight, stored);
        }
    }
}

#[test]
fn there_is_no_interval_without_observations() {
    assert_eq!(Sequence::default().interval(), None);
    // And one observation says almost nothing.
    let first = intervals(&[fixed("0.99")], Fixed(50_000))[0];
    assert_eq!((first.low, first.high, first.n), (Fixed::ZERO, Fixed::ONE, 1));
}

/// Runs in which the true mean is outside at any time.
fn errors(runs: u64, length: usize, alpha: Fixed, mean: Fixed, draw: impl Fn(&mut Random) -> f64) -> usize {
    let outside = |run: &u64| {
        let mut random = Random(*run);
        let observations: Vec<Fixed> = (0..length).map(|_| Fixed((draw(&mut random) * 1e6).round() as i64)).collect();
        intervals(&observations, alpha).iter().any(|interval| mean < interval.low || interval.high < mean)
    };
    (0..runs).filter(outside).count()
}

/// All looks together err in a share alpha of the runs at most, whatever the distribution. It is a little conservative, so a
/// bound that is too tight shows: without the penalty, or with ln(1/alpha), some of these rows fail.
#[test]
fn the_true_mean_is_outside_at_any_time_in_at_most_alpha_of_the_runs() {
    let coin = |mean: f64| move |random: &mut Random| f64::from(random.unit() < mean);
    for alpha in ["0.05", "0.2", "0.5"] {
        let most = |runs: u64| (runs as i64 * fixed(alpha).0 / 1_000_000) as usize;
        for mean in ["0.85", "0.5", "0.02"] {
            let found = errors(2_000, 500, fixed(alpha), fixed(mean), coin(fixed(mean).0 as f64 / 1e6));
            assert!(found <= most(2_000), "coin {mean}: {found} of 2000 at {alpha}");
        }
        let found = errors(2_000, 500, fixed(alpha), fixed("0.5"), Random::unit);
        assert!(found <= most(2_000), "uniform: {found} of 2000 at {alpha}");
        let found = errors(2_000, 500, fixed(alpha), fixed("0.8"), |random| 0.6 + 0.4 * random.unit());
        assert!(found <= most(2_000), "narrow: {found} of 2000 at {alpha}");
    }
}

/// `reference`: a good agent is proven good within 1,000 observations, in the median after some 125.
#[test]
fn an_agent_of_93_percent_is_proven_above_85_in_the_end_and_one_of_80_is_not() {
    let proven = |mean: f64, run: u64| {
        let mut random = Random(run);
        let observations: Vec<Fixed> = (0..1_000).map(|_| if random.unit() < mean { Fixed::ONE } else { Fixed::ZERO }).collect();
        intervals(&observations, Fixed(50_000)).iter().position(|interval| interval.low > fixed("0.85"))
    };
    let mut good: Vec<usize> = (0..500).map(|run| proven(0.93, run).expect("proven within 1,000")).collect();
    good.sort_unstable();
    assert!((90..160).contains(&good[250]), "median {}", good[250]);
    let bad = (0..500).filter(|run| proven(0.80, *run).is_some()).count();
    assert!(bad <= 5, "{bad} of 500 bad agents");
}

//! How metrics become a score: the part of a profile that ingest, windows and promotion share.

use crate::settings::{Reader, join};
use crate::{Digest, Fixed, Problem, Settings};
use alloc::collections::BTreeMap;
use alloc::format;
use alloc::string::String;
use alloc::vec::Vec;
use sha2::{Digest as _, Sha256};

/// The most metrics of a report, and the most metric names of an entity; design 4.
pub const MAX_METRICS: usize = 16;

/// The farthest from 0 that a profile's range may reach, so the largest metric either way; design 4.
pub const MAX_METRIC: Fixed = Fixed(1_000_000 * Fixed::ONE.0);

/// The largest weight: those of all metrics together fit 64 bits.
pub const MAX_WEIGHT: Fixed = Fixed(1_000_000 * Fixed::ONE.0);
const _: () = assert!(MAX_METRICS as i64 <= i64::MAX / MAX_WEIGHT.0);

/// Trust in a window, seed 001: clamp(0.5 + n / 10, 0, 1), n its metric values.
pub fn confidence(values: u64) -> Fixed {
    Fixed(500_000 + 100_000 * values.min(5) as i64)
}

/// How one metric counts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct MetricRule {
    /// Its weight among the metrics present.
    pub weight: Fixed,
    /// The value that is worth 0.
    pub from: Fixed,
    /// The value that is worth 1.
    pub to: Fixed,
    /// Whether less is better: `from` is worth 1 then.
    pub invert: bool,
}

/// Design 4: weight 1, values from 0 to 1, more is better.
impl Default for MetricRule {
    fn default() -> Self {
        MetricRule { weight: Fixed::ONE, from: Fixed::ZERO, to: Fixed::ONE, invert: false }
    }
}

impl MetricRule {
    /// Whether a profile can judge this value.
    pub fn admits(&self, value: Fixed) -> bool {
        self.from <= value && value <= self.to
    }

    /// Mean of `count` values that sum to `sum`, mapped to 0..=1 and rounded half away from zero to 1e-6. `count` is not 0.
    #[inline]
    pub fn mean(&self, sum: i128, count: u64) -> Fixed {
        self.narrow_mean(sum, count).unwrap_or_else(|| {
            let count = i128::from(count);
            let above = if self.invert { count * i128::from(self.to.0) - sum } else { sum - count * i128::from(self.from.0) };
            Fixed::ratio(above, count * i128::from(self.to.0 - self.from.0))
        })
    }

    /// The same where 64 bits are enough: many times as fast as 128.
    #[inline]
    fn narrow_mean(&self, sum: i128, count: u64) -> Option<Fixed> {
        let (sum, count) = (i64::try_from(sum).ok()?, i64::try_from(count).ok()?);
        let bound = count.checked_mul(if self.invert { self.to.0 } else { self.from.0 })?;
        let above = if self.invert { bound.checked_sub(sum)? } else { sum.checked_sub(bound)? };
        Some(Fixed(above).scaled(Fixed::ONE.0, count.checked_mul(self.to.0 - self.from.0)?))
    }
}

fn read_weight(reader: &mut Reader<'_>, name: &str) -> Fixed {
    let weight = reader.fixed(name, Fixed::ONE);
    if weight <= Fixed::ZERO || MAX_WEIGHT < weight {
        reader.refuse(name, format!("must be above 0 and at most {MAX_WEIGHT}"));
    }
    weight
}

fn read_bound(reader: &mut Reader<'_>, name: &str, default: Fixed) -> Fixed {
    let bound = reader.fixed(name, default);
    if bound != bound.clamp(Fixed(-MAX_METRIC.0), MAX_METRIC) {
        reader.refuse(name, format!("must be -{MAX_METRIC} to {MAX_METRIC}"));
    }
    bound
}

/// Weights and ranges by name, with the digest that scores carry.
#[derive(Clone, Debug, Default)]
pub struct ScoreProfile {
    /// Its name.
    pub name: String,
    /// SHA-256 over its sorted `path=value` lines.
    pub digest: Digest,
    /// Digits that a score is rounded to.
    pub decimals: u32,
    metrics: BTreeMap<String, MetricRule>,
    /// By division, window and metric.
    weights: BTreeMap<String, BTreeMap<String, BTreeMap<String, Fixed>>>,
}

/// The path of the profile in force, where parameters of it lie.
pub fn path(settings: &Settings) -> String {
    join("profiles", settings.get("profile").unwrap_or("default"))
}

impl ScoreProfile {
    /// Reads the profile in force.
    pub fn read(settings: &Settings) -> (ScoreProfile, Vec<Problem>) {
        let path = path(settings);
        let mut problems = Vec::new();
        let mut reader = Reader::new(settings, &path);
        let decimals = reader.whole("decimals", 2);
        if decimals > u64::from(Fixed::DECIMALS) {
            reader.refuse("decimals", "must be 0 to 6");
        }
        problems.append(&mut reader.problems);
        let metrics = settings.children(&format!("{path}.metrics")).into_iter().map(|name| {
            let mut reader = Reader::new(settings, &join(&format!("{path}.metrics"), &name));
            let rule = MetricRule {
                weight: read_weight(&mut reader, "weight"),
                from: read_bound(&mut reader, "from", Fixed::ZERO),
                to: read_bound(&mut reader, "to", Fixed::ONE),
                invert: reader.flag("invert", false),
            };
            if rule.to <= rule.from {
                reader.refuse("to", "must be above from");
            }
            problems.append(&mut reader.problems);
            (name, rule)
        });
        let metrics: BTreeMap<String, MetricRule> = metrics.collect();
        let mut weights = BTreeMap::<String, BTreeMap<_, _>>::new();
        for division in settings.children(&format!("{path}.weights")) {
            let division_path = join(&format!("{path}.weights"), &division);
            for window in settings.children(&division_path) {
                let window_path = join(&division_path, &window);
                let mut reader = Reader::new(settings, &window_path);
                let mut of_window = BTreeMap::new();
                for metric in settings.children(&window_path) {
                    let weight = read_weight(&mut reader, &metric);
                    of_window.insert(metric, weight);
                }
                problems.append(&mut reader.problems);
                weights.entry(division.clone()).or_default().insert(window, of_window);
            }
        }
        let mut digest = Sha256::new();
        for (at, value) in settings.under(&path) {
            digest.update(format!("{at}={value}\n"));
        }
        let name = settings.get("profile").unwrap_or("default").into();
        (ScoreProfile { name, digest: digest.finalize().into(), decimals: decimals.min(6) as u32, metrics, weights }, problems)
    }

    /// The rule of a metric.
    #[inline]
    pub fn rule(&self, metric: &str) -> MetricRule {
        self.metrics.get(metric).copied().unwrap_or_default()
    }

    /// The weight of a metric in a division's window.
    #[inline]
    pub fn weight(&self, division: &str, window: &str, metric: &str, rule: &MetricRule) -> Fixed {
        let own = || self.weights.get(division)?.get(window)?.get(metric);
        own().copied().unwrap_or(rule.weight)
    }

    /// The short digest that records carry.
    pub fn tag(&self) -> [u8; 8] {
        let mut tag = [0; 8];
        tag.copy_from_slice(&self.digest[..8]);
        tag
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// Of any size, small ones as often as large ones.
    fn sized(most: i64) -> impl Strategy<Value = i64> {
        (0..62_u32, -most..=most).prop_map(|(bits, value)| value >> bits)
    }

    proptest! {
        /// Half away from zero in 128 bits, by twice the magnitudes.
        #[test]
        fn a_mean_is_the_same_in_64_bits_and_in_128(
            (from, span) in (sized(MAX_METRIC.0), sized(MAX_METRIC.0)),
            (sum, count) in (sized(i64::MAX), sized(1 << 40)),
            more in 0..3_u32,
            invert: bool,
        ) {
            let rule = MetricRule { from: Fixed(from), to: Fixed(from + span.abs() + 1), invert, ..MetricRule::default() };
            let (sum, count) = (i128::from(sum) << more, count.unsigned_abs() + 1);
            let (from, to, values) = (i128::from(rule.from.0), i128::from(rule.to.0), i128::from(count));
            let above = if invert { values * to - sum } else { sum - values * from };
            let (share, whole) = (2 * above.abs() * 1_000_000, 2 * values * (to - from));
            let rounded = above.signum() * ((share + whole / 2) / whole);
            let mean = i64::try_from(rounded).unwrap_or(if rounded < 0 { i64::MIN } else { i64::MAX });
            prop_assert_eq!(rule.mean(sum, count), Fixed(mean));
        }
    }

    #[test]
    fn ranges_and_weights_that_sums_could_not_hold_are_refused() {
        let problems = |path: &str, value: &str| {
            let settings: Settings = [(format!("profiles.default.{path}"), String::from(value))].into_iter().collect();
            ScoreProfile::read(&settings).1.len()
        };
        for (path, value, refused) in [
            ("metrics.far.to", "1000000", 0),
            ("metrics.far.to", "1000000.000001", 1),
            ("metrics.far.from", "-1000000", 0),
            ("metrics.far.from", "-1000000.000001", 1),
            ("metrics.far.from", "1", 1),
            ("metrics.heavy.weight", "1000000", 0),
            ("metrics.heavy.weight", "1000000.000001", 1),
            ("metrics.heavy.weight", "0", 1),
            ("weights.red.1h.heavy", "1000000", 0),
            ("weights.red.1h.heavy", "1000000.000001", 1),
            ("weights.red.1h.heavy", "-1", 1),
        ] {
            assert_eq!(problems(path, value), refused, "{path} = {value}");
        }
    }
}

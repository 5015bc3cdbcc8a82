//! Pure scoring.

use crate::panes::MAX_METRICS;
use crate::state::{Counts, MetricTotal, Totals};
use merit_core::fixed::divide_rounded;
use merit_core::profile::MetricRule;
use merit_core::record::Component;
use merit_core::{Duration, EventTime, Fixed};

/// How a metric counts in one window of one division.
#[derive(Clone, Copy, Debug, Default)]
pub struct Weighted {
    /// Range and direction.
    pub rule: MetricRule,
    /// Weight in this window.
    pub weight: Fixed,
}

/// The parts of a score and their sum: value = the metric's mean, contribution = round(value x weight / weights present).
/// A metric without values has no part and its weight does not count. No values at all score 0.
#[inline]
pub fn components(totals: &[MetricTotal], weights: &[Weighted]) -> ([Option<Component>; MAX_METRICS], Fixed) {
    let mut parts = [None; MAX_METRICS];
    let present: i64 = totals.iter().zip(weights).filter(|((_, count), _)| *count > 0).map(|(_, weighted)| weighted.weight.0).sum();
    let mut score = 0;
    for (part, ((sum, count), weighted)) in parts.iter_mut().zip(totals.iter().zip(weights)) {
        if *count > 0 {
            let value = weighted.rule.mean(*sum, *count);
            let contribution = Fixed(divide_rounded(i128::from(value.0) * i128::from(weighted.weight.0), i128::from(present)) as i64);
            score += contribution.0;
            *part = Some(Component { value, contribution });
        }
    }
    (parts, Fixed(score))
}

/// Standard error of the mean of a window's observations, rounded down to 1e-6; none under two reports.
/// s^2 / n with s^2 = (sum of squares - (sum)^2 / n) / (n - 1), in integers.
#[inline]
pub fn standard_error(totals: &Totals) -> Option<Fixed> {
    if totals.n < 2 {
        return None;
    }
    let n = u128::from(totals.n);
    let spread = (n * totals.squares).saturating_sub(totals.observations.unsigned_abs().pow(2));
    let variance_of_mean = spread / (n * n * (n - 1));
    let root = u64::try_from(variance_of_mean).unwrap_or(u64::MAX).isqrt();
    Some(Fixed(root as i64))
}

/// Seed 001: clamp(0.5 + n / 10, 0, 1), n the metric values in the window.
pub fn confidence(values: u64) -> Fixed {
    Fixed(500_000 + 100_000 * values.min(5) as i64).clamp(Fixed::ZERO, Fixed::ONE)
}

/// The watermark to announce, where it is time to: at a Tick, and when it is in a new minute and 64 reports were scored, or an
/// hour passed, since the last.
pub fn progress_due(counts: &Counts, grace: Duration, at_tick: bool) -> Option<EventTime> {
    let watermark = counts.newest?.before(grace);
    let Some(last) = counts.progress else { return Some(watermark) };
    let new_minute = watermark.pane(Duration::MINUTE) > last.pane(Duration::MINUTE);
    let enough = counts.scored_since >= 64 || watermark - last >= Duration::HOUR;
    (at_tick || (new_minute && enough)).then_some(watermark)
}

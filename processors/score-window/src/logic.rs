//! Pure scoring.

use crate::panes::{MAX_METRICS, MetricTotal};
use crate::state::{Counts, Totals, WINDOWS, Windows};
use alloc::boxed::Box;
use merit_core::profile::{MetricRule, ScoreProfile, confidence};
use merit_core::record::{Component, WindowScore};
use merit_core::{Duration, EventTime, Fixed, List};

/// How a metric counts in one window of one division.
#[derive(Clone, Copy, Debug, Default)]
pub struct Weighted {
    /// Range and direction.
    pub rule: MetricRule,
    /// Weight in this window.
    pub weight: Fixed,
}

/// How an entity's metrics count in one division, by its order of metrics.
#[derive(Debug)]
pub struct Rules<'a> {
    rules: [MetricRule; MAX_METRICS],
    profile: &'a ScoreProfile,
    division: &'a str,
}

impl<'a> Rules<'a> {
    /// Looks the rules of these metrics up.
    #[inline]
    pub fn new(profile: &'a ScoreProfile, names: &[Box<str>], division: &'a str) -> Rules<'a> {
        let mut rules = [MetricRule::default(); MAX_METRICS];
        names.iter().zip(&mut rules).for_each(|(name, rule)| *rule = profile.rule(name));
        Rules { rules, profile, division }
    }

    /// The rule of a metric and its weight in one window; `names` are those that the rules were looked up for.
    #[inline]
    pub fn weighted(&self, names: &[Box<str>], metric: usize, window: &str) -> Weighted {
        let rule = self.rules[metric];
        Weighted { rule, weight: self.profile.weight(self.division, window, &names[metric], &rule) }
    }
}

/// What a ScoreUpdated says of an entity's windows.
#[derive(Clone, Copy, Debug)]
pub struct Scores<'a> {
    /// Metric names in the order in which they first appeared.
    pub metrics: List<'a, &'a str>,
    /// One score a window, shortest first.
    pub windows: List<'a, WindowScore<'a>>,
    /// Trust in the window asked for.
    pub confidence: Fixed,
}

/// Scores all windows as they stand and hands the scores on; `asked` is the window that the confidence is of.
#[inline]
pub fn scores<R>(windows: &Windows, rules: &Rules<'_>, asked: &str, then: impl FnOnce(&Scores<'_>) -> R) -> R {
    let count = windows.names().len();
    let mut parts = [None; 3 * MAX_METRICS];
    let mut scores = [WindowScore {
        name: "",
        raw_score: Default::default(),
        score: Default::default(),
        n: 0,
        standard_error: None,
        components: List::EMPTY,
    }; 3];
    let mut values = 0;
    for (at, window) in WINDOWS.iter().enumerate() {
        let (totals, metrics) = windows.window(at);
        let weighted = |metric: usize| rules.weighted(windows.names(), metric, window.name);
        let raw_score = components(metrics, weighted, &mut parts[at * count..(at + 1) * count]);
        if window.name == asked {
            values = metrics.iter().map(|(_, count)| count).sum();
        }
        scores[at] = WindowScore {
            name: window.name,
            raw_score,
            score: raw_score.round_to(rules.profile.decimals),
            n: totals.n,
            standard_error: standard_error(totals),
            components: List::EMPTY,
        };
    }
    for (at, score) in scores.iter_mut().enumerate() {
        score.components = List::Slice(&parts[at * count..(at + 1) * count]);
    }
    let mut names = [""; MAX_METRICS];
    names.iter_mut().zip(windows.names()).for_each(|(slot, name)| *slot = name);
    then(&Scores { metrics: List::Slice(&names[..count]), windows: List::Slice(&scores), confidence: confidence(values) })
}

/// The sum of the parts of a score: value = the metric's mean, contribution = round(value x weight / weights present).
/// A metric without values has no part and its weight does not count. No values at all score 0. `parts` is as long as `totals`.
#[inline]
pub fn components(totals: &[MetricTotal], weighted: impl Fn(usize) -> Weighted, parts: &mut [Option<Component>]) -> Fixed {
    let mut present = 0;
    for (metric, ((sum, count), part)) in totals.iter().zip(&mut *parts).enumerate() {
        *part = (*count > 0).then(|| {
            let Weighted { rule, weight } = weighted(metric);
            present += weight.0;
            Component { value: rule.mean(*sum, *count), contribution: weight }
        });
    }
    let mut score = 0;
    for Component { value, contribution } in parts.iter_mut().flatten() {
        *contribution = value.scaled(contribution.0, present);
        score += contribution.0;
    }
    Fixed(score)
}

/// Standard error of the mean of a window's observations, rounded down to 1e-6; none under two reports.
/// s^2 / n with s^2 = (sum of squares - (sum)^2 / n) / (n - 1), in integers.
#[inline]
pub fn standard_error(totals: &Totals) -> Option<Fixed> {
    if totals.n < 2 {
        return None;
    }
    let variance_of_mean = narrow_variance_of_mean(totals).unwrap_or_else(|| {
        let n = u128::from(totals.n);
        let spread = (n * totals.squares).saturating_sub(totals.observations.unsigned_abs().pow(2));
        u64::try_from(spread / (n * n * (n - 1))).unwrap_or(u64::MAX)
    });
    Some(Fixed(variance_of_mean.isqrt() as i64))
}

/// The same where 64 bits are enough: many times as fast as 128.
#[inline]
fn narrow_variance_of_mean(totals: &Totals) -> Option<u64> {
    let (n, squares) = (totals.n, u64::try_from(totals.squares).ok()?);
    let sum = u64::try_from(totals.observations.unsigned_abs()).ok()?;
    let spread = n.checked_mul(squares)?.saturating_sub(sum.checked_mul(sum)?);
    Some(spread / n.checked_mul(n)?.checked_mul(n - 1)?)
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

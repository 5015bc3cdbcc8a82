//! The definition of design 4, word by word: every report is kept, and each score is computed from all of them. No panes, no
//! running sums, and none of the crate's arithmetic.

use std::collections::BTreeMap;
use std::string::String;
use std::vec::Vec;

/// How a metric counts: weight, from and to in 1e-6, and whether less is better.
#[derive(Clone, Copy, Debug)]
pub(super) struct Rule {
    pub weight: i128,
    pub from: i128,
    pub to: i128,
    pub invert: bool,
}

/// A profile, as the test reads its own settings.
#[derive(Clone, Debug)]
pub(super) struct Profile {
    pub decimals: u32,
    pub rules: BTreeMap<&'static str, Rule>,
    /// By division, window and metric.
    pub weights: BTreeMap<(&'static str, &'static str, &'static str), i128>,
}

impl Profile {
    fn rule(&self, metric: &str) -> Rule {
        self.rules.get(metric).copied().unwrap_or(Rule { weight: 1_000_000, from: 0, to: 1_000_000, invert: false })
    }

    fn weight(&self, division: &str, window: &str, metric: &str) -> i128 {
        let own = self.weights.iter().find(|((d, w, m), _)| (*d, *w, *m) == (division, window, metric));
        own.map_or(self.rule(metric).weight, |(_, weight)| *weight)
    }
}

/// A report as the oracle keeps it.
#[derive(Clone, Debug)]
pub(super) struct Kept {
    pub timestamp: i64,
    pub received_at: i64,
    pub division: &'static str,
    pub window: &'static str,
    pub metrics: Vec<(&'static str, i64)>,
    observation: i128,
}

impl Kept {
    pub(super) fn new(
        timestamp: i64,
        received_at: i64,
        division: &'static str,
        window: &'static str,
        metrics: Vec<(&'static str, i64)>,
    ) -> Kept {
        Kept { timestamp, received_at, division, window, metrics, observation: 0 }
    }
}

/// A window's score.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Score {
    pub raw: i128,
    pub score: i128,
    pub n: u64,
    /// Value and contribution by the entity's metrics; none without values.
    pub components: Vec<Option<(i128, i128)>>,
    pub standard_error: Option<f64>,
}

/// What a report leads to.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Answer {
    Late { watermark: i64 },
    Scored { names: Vec<&'static str>, observation: i128, values: usize, windows: Vec<(&'static str, Score)> },
}

/// Name, width of a pane in ms, number of panes.
const WINDOWS: [(&str, i64, i64); 3] = [("1h", 60_000, 60), ("24h", 900_000, 96), ("7d", 7_200_000, 84)];

/// A partition that remembers everything.
pub(super) struct Oracle {
    profile: Profile,
    grace: i64,
    newest: Option<i64>,
    announced: Option<i64>,
    since: u64,
    entities: BTreeMap<String, Vec<Kept>>,
}

/// Rounds numerator / denominator half away from zero; the denominator is above 0.
fn rounded(numerator: i128, denominator: i128) -> i128 {
    let magnitude = (2 * numerator.abs() + denominator) / (2 * denominator);
    if numerator < 0 { -magnitude } else { magnitude }
}

impl Oracle {
    pub(super) fn new(profile: Profile, grace: i64) -> Oracle {
        Oracle { profile, grace, newest: None, announced: None, since: 0, entities: BTreeMap::new() }
    }

    pub(super) fn tick(&mut self, time: i64) -> i64 {
        self.newest = self.newest.max(Some(time));
        self.announce()
    }

    fn announce(&mut self) -> i64 {
        let watermark = self.newest.expect("time stands") - self.grace;
        (self.announced, self.since) = (Some(watermark), 0);
        watermark
    }

    /// What a report leads to, and the watermark to announce with it.
    pub(super) fn report(&mut self, agent: &str, mut report: Kept) -> (Answer, Option<i64>) {
        let watermark = self.newest.map(|newest| newest - self.grace);
        if let Some(watermark) = watermark.filter(|watermark| report.timestamp < *watermark) {
            return (Answer::Late { watermark }, None);
        }
        self.newest = self.newest.max(Some(report.timestamp.min(report.received_at)));
        self.since += 1;
        report.observation = self.observation(&report);
        self.entities.entry(agent.into()).or_default().push(report);
        let answer = self.score(agent);
        (answer, self.progress())
    }

    fn progress(&mut self) -> Option<i64> {
        let watermark = self.newest.expect("time stands") - self.grace;
        let due = self.announced.is_none_or(|last| {
            let new_minute = watermark.div_euclid(60_000) > last.div_euclid(60_000);
            new_minute && (self.since >= 64 || watermark - last >= 3_600_000)
        });
        due.then(|| self.announce())
    }

    fn observation(&self, report: &Kept) -> i128 {
        let weight = |name| self.profile.weight(report.division, report.window, name);
        let present: i128 = report.metrics.iter().map(|(name, _)| weight(name)).sum();
        let part = |(name, value): &(&'static str, i64)| rounded(self.mean(name, &[*value]) * weight(name), present);
        report.metrics.iter().map(part).sum()
    }

    /// The mean of values, as a share of the metric's range.
    fn mean(&self, name: &str, values: &[i64]) -> i128 {
        let Rule { from, to, invert, .. } = self.profile.rule(name);
        let count = values.len() as i128;
        let sum: i128 = values.iter().map(|value| if invert { to - i128::from(*value) } else { i128::from(*value) - from }).sum();
        rounded(sum * 1_000_000, count * (to - from))
    }

    fn score(&self, agent: &str) -> Answer {
        let history = &self.entities[agent];
        let newest = history.iter().map(|report| report.timestamp).max().expect("a report");
        let last = history.last().expect("a report");
        let mut names: Vec<&'static str> = Vec::new();
        for (name, _) in history.iter().flat_map(|report| &report.metrics) {
            if !names.contains(name) {
                names.push(name);
            }
        }
        let inside = |width: i64, panes: i64| {
            let end = newest.div_euclid(width);
            history.iter().filter(move |report| (end - panes + 1..=end).contains(&report.timestamp.div_euclid(width)))
        };
        let windows = WINDOWS.map(|(window, width, panes)| {
            let reports: Vec<&Kept> = inside(width, panes).collect();
            (window, self.window(window, last.division, &names, &reports))
        });
        let (_, width, panes) = WINDOWS.into_iter().find(|(window, _, _)| *window == last.window).expect("a window");
        let values = inside(width, panes).map(|report| report.metrics.len()).sum();
        Answer::Scored { names, observation: last.observation, values, windows: windows.into() }
    }

    fn window(&self, window: &str, division: &str, names: &[&'static str], reports: &[&Kept]) -> Score {
        let values = |name: &str| -> Vec<i64> {
            let all = reports.iter().flat_map(|report| &report.metrics);
            all.filter(|(metric, _)| *metric == name).map(|(_, value)| *value).collect()
        };
        let weight = |name: &str| self.profile.weight(division, window, name);
        let present: i128 = names.iter().filter(|name| !values(name).is_empty()).map(|name| weight(name)).sum();
        let component = |name: &&'static str| {
            let values = values(name);
            let mean = (!values.is_empty()).then(|| self.mean(name, &values))?;
            Some((mean, rounded(mean * weight(name), present)))
        };
        let components: Vec<_> = names.iter().map(component).collect();
        let raw = components.iter().flatten().map(|(_, contribution)| contribution).sum();
        let step = 10_i128.pow(6 - self.profile.decimals);
        let n = reports.len() as f64;
        let mean = reports.iter().map(|report| report.observation as f64).sum::<f64>() / n;
        let squares: f64 = reports.iter().map(|report| (report.observation as f64 - mean).powi(2)).sum();
        let standard_error = (reports.len() > 1).then(|| (squares / (n - 1.0) / n).sqrt());
        Score { raw, score: rounded(raw, step) * step, n: reports.len() as u64, components, standard_error }
    }
}

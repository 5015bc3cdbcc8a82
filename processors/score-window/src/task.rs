//! Score-window as a processor.

use crate::event::{In, ScorePorts};
use crate::logic::{self, Weighted};
use crate::panes::{MAX_METRICS, Sums};
use crate::params::Params;
use crate::state::{Counts, WINDOWS, Windows};
use alloc::format;
use alloc::vec::Vec;
use merit_core::processor::{Configuration, Ports};
use merit_core::record::{Component, Progress, ReportAccepted, ReportLate, ScoreUpdated, Tick, WindowScore};
use merit_core::table::Single;
use merit_core::{Fault, Head, List, Outbox, Problem, Processor, Settings, Store, Table};

type Out<'o> = Outbox<'o, ScorePorts>;

/// Keeps windows and scores them.
#[derive(Default)]
pub struct ScoreWindow {
    params: Option<Params>,
    partition: u32,
    windows: Table<Windows>,
    counts: Single<Counts>,
}

impl Processor for ScoreWindow {
    type Ports = ScorePorts;
    const NAME: &'static str = "score-window";

    fn check(settings: &Settings) -> Vec<Problem> {
        Params::read(settings).1
    }

    fn configure(&mut self, configuration: &Configuration) -> Result<(), Fault> {
        self.params = Some(Params::read(&configuration.settings).0);
        self.partition = configuration.partition;
        Ok(())
    }

    fn step(&mut self, at: &Head<'_>, input: <ScorePorts as Ports>::In<'_>, out: &mut Out<'_>) -> Result<(), Fault> {
        match input {
            In::ReportAccepted(report) => self.report(at, report, out),
            In::Tick(tick) => self.tick(at, tick, out),
        }
    }

    fn stores(&mut self, visit: &mut dyn FnMut(&mut dyn Store)) {
        visit(&mut self.windows);
        visit(&mut self.counts);
    }
}

impl ScoreWindow {
    fn report(&mut self, at: &Head<'_>, report: &ReportAccepted<'_>, out: &mut Out<'_>) -> Result<(), Fault> {
        let params = self.params.as_ref().ok_or_else(|| Fault("a report before any configuration".into()))?;
        let counts = self.counts.write();
        let mut watermark = counts.watermark();
        let closed = watermark.time(params.grace);
        if report.timestamp < closed {
            counts.late += 1;
            let late =
                ReportLate { report_id: report.report_id, agent_id: report.agent_id, timestamp: report.timestamp, watermark: closed };
            return out.emit(at.key, report.timestamp, &late).map(drop);
        }
        watermark.report(report.timestamp, report.received_at);
        counts.newest = Some(watermark.newest);
        counts.scored += 1;
        counts.scored_since += 1;
        score(self.windows.entry(&at.key), params, at, report, out)?;
        self.progress(at, false, out)
    }

    fn tick(&mut self, at: &Head<'_>, tick: &Tick, out: &mut Out<'_>) -> Result<(), Fault> {
        let counts = self.counts.write();
        let mut watermark = counts.watermark();
        watermark.tick(tick.time);
        counts.newest = Some(watermark.newest);
        self.progress(at, true, out)
    }

    fn progress(&mut self, at: &Head<'_>, at_tick: bool, out: &mut Out<'_>) -> Result<(), Fault> {
        let grace = self.params.as_ref().map_or(Default::default(), |params| params.grace);
        if let Some(watermark) = logic::progress_due(self.counts.read(), grace, at_tick) {
            let counts = self.counts.write();
            (counts.progress, counts.scored_since) = (Some(watermark), 0);
            out.emit(at.key, watermark, &Progress { partition: self.partition, watermark })?;
        }
        Ok(())
    }
}

/// Adds a report to its entity's windows and emits their scores.
#[inline]
fn score(windows: &mut Windows, params: &Params, at: &Head<'_>, report: &ReportAccepted<'_>, out: &mut Out<'_>) -> Result<(), Fault> {
    let mut own = [(0, 0); MAX_METRICS];
    for (place, metric) in report.metrics.iter().enumerate() {
        let Some(place) = windows.metric(metric.name, place) else {
            return Err(Fault(format!("entity {:?} has more than {MAX_METRICS} metrics", report.agent_id)));
        };
        own[place] = (metric.value.0, 1);
    }
    let count = windows.names().len();
    let mut rules = [Default::default(); MAX_METRICS];
    windows.names().iter().zip(&mut rules).for_each(|(name, rule)| *rule = params.profile.rule(name));
    let weigh = |window: &str, weights: &mut [Weighted; MAX_METRICS], windows: &Windows| {
        for ((name, rule), slot) in windows.names().iter().zip(&rules).zip(weights) {
            *slot = Weighted { rule: *rule, weight: params.profile.weight(report.division_id, window, name, rule) };
        }
    };
    let mut weights = [Weighted::default(); MAX_METRICS];
    weigh(report.window, &mut weights, windows);
    let totals = own.map(|(sum, count)| (i128::from(sum), count));
    let observation = logic::components(&totals[..count], &weights[..count]).1;
    let squares = u128::from(observation.0.unsigned_abs()).pow(2);
    windows.add(report.timestamp, &Sums { n: 1, observations: observation.0, squares, metrics: &own[..count] });

    let mut parts: [[Option<Component>; MAX_METRICS]; 3] = Default::default();
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
        weigh(window.name, &mut weights, windows);
        let (components, raw_score) = logic::components(metrics, &weights[..count]);
        parts[at] = components;
        if window.name == report.window {
            values = metrics.iter().map(|(_, count)| count).sum();
        }
        scores[at] = WindowScore {
            name: window.name,
            raw_score,
            score: raw_score.round_to(params.profile.decimals),
            n: totals.n,
            standard_error: logic::standard_error(totals),
            components: List::EMPTY,
        };
    }
    for (score, parts) in scores.iter_mut().zip(&parts) {
        score.components = List::Slice(&parts[..count]);
    }
    let mut names = [""; MAX_METRICS];
    names.iter_mut().zip(windows.names()).for_each(|(slot, name)| *slot = name);
    let updated = ScoreUpdated {
        report_id: report.report_id,
        agent_id: report.agent_id,
        division_id: report.division_id,
        product_id: report.product_id,
        window: report.window,
        timestamp: report.timestamp,
        received_at: report.received_at,
        observation,
        metrics: List::Slice(&names[..count]),
        windows: List::Slice(&scores),
        confidence: logic::confidence(values),
        profile: params.profile.tag(),
        offset: report.offset,
    };
    out.emit(at.key, report.timestamp, &updated).map(drop)
}

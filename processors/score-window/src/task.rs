//! Score-window as a processor.

use crate::deltas::OpenDeltas;
use crate::event::{In, ScorePorts};
use crate::logic::{self, Rules};
use crate::panes::{MAX_METRICS, Sums};
use crate::params::Params;
use crate::state::{Counts, Windows};
use alloc::format;
use alloc::vec::Vec;
use merit_core::processor::{Configuration, Depth, Ports, Sent};
use merit_core::record::{Progress, ReportAccepted, ReportLate, ScoreUpdated, Tick};
use merit_core::table::Single;
use merit_core::{Duration, Fault, Fixed, Head, Key, Outbox, Problem, Processor, Settings, Store, Table};

type Out<'o> = Outbox<'o, ScorePorts>;

/// Keeps windows of agents, scores them, and hands on what their divisions and products gained.
#[derive(Default)]
pub struct ScoreWindow {
    params: Option<Params>,
    partition: u32,
    windows: Table<Windows>,
    counts: Single<Counts>,
    deltas: Single<OpenDeltas>,
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
        visit(&mut self.deltas);
    }

    #[inline]
    fn warm(&self, key: &Key<'_>, _: Option<&Sent>, depth: Depth) {
        self.windows.warm(key, depth);
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
        let (windows, names) = self.windows.entry_and_shared(&at.key)?;
        let observation = score(windows, params, at, report, out)?;
        if windows.renamed() {
            windows.share(names);
        }
        self.deltas.write().add(report, observation);
        self.announce(at, false, out)
    }

    fn tick(&mut self, at: &Head<'_>, tick: &Tick, out: &mut Out<'_>) -> Result<(), Fault> {
        let counts = self.counts.write();
        let mut watermark = counts.watermark();
        watermark.tick(tick.time);
        counts.newest = Some(watermark.newest);
        self.announce(at, true, out)
    }

    /// Emits the deltas that are due and then the Progress that promises them.
    #[inline]
    fn announce(&mut self, at: &Head<'_>, at_tick: bool, out: &mut Out<'_>) -> Result<(), Fault> {
        let grace = self.params.as_ref().map_or(Default::default(), |params| params.grace);
        let minute = self.counts.read().watermark().time(grace).pane(Duration::MINUTE);
        if at_tick || self.deltas.read().due(minute) {
            let deltas = self.deltas.write();
            deltas.flush(minute, |delta| out.emit(Key::new(delta.aggregate_id), delta.timestamp, delta).map(drop))?;
        }
        if let Some(watermark) = logic::progress_due(self.counts.read(), grace, at_tick) {
            let counts = self.counts.write();
            (counts.progress, counts.scored_since) = (Some(watermark), 0);
            out.emit(at.key, watermark, &Progress { partition: self.partition, watermark })?;
        }
        Ok(())
    }
}

/// Adds a report to its entity's windows and emits their scores; returns the report's own.
#[inline]
fn score(windows: &mut Windows, params: &Params, at: &Head<'_>, report: &ReportAccepted<'_>, out: &mut Out<'_>) -> Result<Fixed, Fault> {
    let mut own = [(0, 0); MAX_METRICS];
    for (place, metric) in report.metrics.iter().enumerate() {
        let Some(place) = windows.metric(metric.name, place) else {
            return Err(Fault(format!("entity {:?} has more than {MAX_METRICS} metrics", report.agent_id)));
        };
        own[place] = (metric.value.0.into(), 1);
    }
    let count = windows.names().len();
    let rules = Rules::new(&params.profile, windows.names(), report.division_id);
    let observation = {
        let weighted = |metric: usize| rules.weighted(windows.names(), metric, report.window);
        logic::components(&own[..count], weighted, &mut [None; MAX_METRICS][..count])
    };
    let squares = u128::from(observation.0.unsigned_abs()).pow(2);
    windows.add(report.timestamp, &Sums { n: 1, observations: observation.0, squares, metrics: &own[..count] });
    logic::scores(windows, &rules, report.window, |scores| {
        let updated = ScoreUpdated {
            report_id: report.report_id,
            agent_id: report.agent_id,
            division_id: report.division_id,
            product_id: report.product_id,
            window: report.window,
            timestamp: report.timestamp,
            received_at: report.received_at,
            observation,
            metrics: scores.metrics,
            windows: scores.windows,
            confidence: scores.confidence,
            profile: params.profile.tag(),
            offset: report.offset,
        };
        out.emit(at.key, report.timestamp, &updated)
    })?;
    Ok(observation)
}

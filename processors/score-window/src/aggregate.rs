//! Aggregate-window as a processor.

use crate::deltas::{Gain, Level, PendingDeltas};
use crate::event::aggregate::{AggregatePorts, In};
use crate::logic::{self, Rules};
use crate::panes::{MAX_METRICS, Sums};
use crate::params::Params;
use crate::state::{AggregateWindows, Heard, WINDOWS, Windows};
use alloc::collections::BTreeMap;
use alloc::format;
use alloc::string::String;
use alloc::vec::Vec;
use merit_core::fixed::divide_rounded;
use merit_core::processor::{Configuration, Ports};
use merit_core::profile::ScoreProfile;
use merit_core::record::{Progress, ScoreUpdated};
use merit_core::table::Single;
use merit_core::{Duration, EventTime, Fault, Fixed, Head, Key, Outbox, Problem, Processor, Settings, Store, Table};

type Out<'o> = Outbox<'o, AggregatePorts>;

/// Keeps windows of divisions and products and scores them, minute by minute.
#[derive(Default)]
pub struct AggregateWindow {
    profile: Option<ScoreProfile>,
    /// Partitions of reports.
    partitions: u32,
    windows: Table<AggregateWindows>,
    pending: Single<PendingDeltas>,
    heard: Single<Heard>,
}

impl Processor for AggregateWindow {
    type Ports = AggregatePorts;
    const NAME: &'static str = "aggregate-window";

    fn check(settings: &Settings) -> Vec<Problem> {
        Params::read(settings).1
    }

    fn configure(&mut self, configuration: &Configuration) -> Result<(), Fault> {
        self.profile = Some(Params::read(&configuration.settings).0.profile);
        self.partitions = configuration.partitions;
        Ok(())
    }

    fn step(&mut self, at: &Head<'_>, input: <AggregatePorts as Ports>::In<'_>, out: &mut Out<'_>) -> Result<(), Fault> {
        match input {
            In::AggregateDelta(delta) => self.pending.write().0.add(delta),
            In::Progress(progress) => self.progress(at, progress, out),
        }
    }

    fn stores(&mut self, visit: &mut dyn FnMut(&mut dyn Store)) {
        visit(&mut self.windows);
        visit(&mut self.pending);
        visit(&mut self.heard);
    }
}

/// What one aggregate gained in one step.
#[derive(Default)]
struct Step {
    n: u64,
    observations: i64,
    /// The last minute folded.
    minute: i64,
}

impl AggregateWindow {
    fn progress(&mut self, at: &Head<'_>, progress: &Progress, out: &mut Out<'_>) -> Result<(), Fault> {
        let heard = &mut self.heard.write().0;
        heard.insert(progress.partition, progress.watermark);
        match self.heard.read().lowest(self.partitions) {
            Some(lowest) => self.fold(lowest.pane(Duration::MINUTE), at, out),
            None => Ok(()),
        }
    }

    /// Folds every minute before this one and emits the scores of the aggregates that gained, by (last minute, id): so time does
    /// not go back from one ScoreUpdated to the next, and no window downstream closes before all of its scores are in.
    fn fold(&mut self, minute: i64, at: &Head<'_>, out: &mut Out<'_>) -> Result<(), Fault> {
        let over = self.pending.read().0.before(minute);
        if over.is_empty() {
            return Ok(());
        }
        let profile = self.profile.as_ref().ok_or_else(|| Fault("progress before any configuration".into()))?;
        let mut steps: BTreeMap<String, Step> = BTreeMap::new();
        for gain in over {
            let aggregate_id = gain.aggregate_id();
            add(&mut self.windows.entry(&Key::new(&aggregate_id))?.0, gain)?;
            let step = steps.entry(aggregate_id).or_default();
            (step.n, step.observations, step.minute) = (step.n + gain.n, step.observations + gain.observations, gain.minute);
        }
        let count = over.len();
        let mut steps: Vec<(String, Step)> = steps.into_iter().collect();
        steps.sort_by_key(|(_, step)| step.minute);
        for (aggregate_id, step) in &steps {
            let key = Key::new(aggregate_id);
            score(&self.windows.entry(&key)?.0, profile, key, step, at.offset, out)?;
        }
        self.pending.write().0.forget(count);
        Ok(())
    }
}

/// Adds a minute to its aggregate's windows. New metrics are learnt by name, whatever order the deltas came in.
fn add(windows: &mut Windows, gain: &Gain) -> Result<(), Fault> {
    let mut metrics: Vec<_> = gain.metrics.iter().collect();
    metrics.sort_unstable_by(|left, right| left.name.cmp(&right.name));
    let mut sums = [(0, 0); MAX_METRICS];
    for (guess, metric) in metrics.into_iter().enumerate() {
        if let Some(place) = windows.metric(&metric.name, guess) {
            sums[place] = (metric.sum, metric.count);
        }
    }
    let n = u32::try_from(gain.n).map_err(|_| Fault(format!("{} reports in one minute of {}", gain.n, gain.aggregate_id())))?;
    let sums = Sums { n, observations: gain.observations, squares: gain.squares, metrics: &sums[..windows.names().len()] };
    windows.add(EventTime(gain.minute * Duration::MINUTE.0), &sums);
    Ok(())
}

/// Emits the scores of an aggregate as they stand.
fn score(windows: &Windows, profile: &ScoreProfile, key: Key<'_>, step: &Step, offset: u64, out: &mut Out<'_>) -> Result<(), Fault> {
    let (division_id, product_id) = match Level::parse(key.name) {
        Some((Level::Product, id)) => ("default", Some(id)),
        Some((Level::Division, id)) => (id, None),
        None => ("default", None),
    };
    let time = EventTime(step.minute * Duration::MINUTE.0);
    let window = WINDOWS[0].name;
    logic::scores(windows, &Rules::new(profile, windows.names(), division_id), window, |scores| {
        let updated = ScoreUpdated {
            report_id: key.name,
            agent_id: key.name,
            division_id,
            product_id,
            window,
            timestamp: time,
            received_at: time,
            observation: Fixed(divide_rounded(step.observations.into(), step.n.max(1).into()) as i64),
            metrics: scores.metrics,
            windows: scores.windows,
            confidence: scores.confidence,
            profile: profile.tag(),
            offset,
        };
        out.emit(key, time, &updated).map(drop)
    })
}

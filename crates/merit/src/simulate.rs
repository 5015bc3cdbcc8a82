//! `merit simulate`: the pipeline on a simulated broker, in virtual time, where one seed decides what breaks.

use crate::failure::Failure;
use crate::output::Output;
use crate::{code, registry, session};
use clap::Args;
use merit_runtime::sim::{Broken, Run, Simulation};
use merit_topology::{Partitions, Topology};
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::channel;
use std::time::Instant;

/// A command that runs simulations.
#[derive(Args)]
pub struct Simulate {
    /// How many seeds, one run each.
    #[arg(long, value_name = "N", default_value_t = 100)]
    seeds: u64,
    /// The first of them.
    #[arg(long, value_name = "SEED", default_value_t = 0)]
    from: u64,
    /// This seed alone, twice, and everything that came of it.
    #[arg(long, value_name = "SEED", conflicts_with_all = ["seeds", "from"])]
    seed: Option<u64>,
}

/// What replaces parameters of the compiled-in topology, so that everything happens within some hundred inputs: small windows, and
/// delays of the cluster.
const PARAMETERS: [(&str, &str); 13] = [
    ("event-time.grace", "2m"),
    ("ingest.recent_reports", "4096"),
    ("retrain-queue.pool", "gpus"),
    ("simulated-cluster.acknowledge_after", "20s"),
    ("simulated-cluster.observe_after", "40s"),
    ("profiles.default.approval", "automatic"),
    ("profiles.default.allocation.pool", "gpus"),
    ("profiles.sustained.window", "2m"),
    ("profiles.sustained.windows_in_row", "1"),
    ("profiles.sustained.min_reports", "2"),
    ("profiles.sustained.alpha", "0.9"),
    ("profiles.sustained.dwell", "1m"),
    ("profiles.sustained.allocation.pool", "gpus"),
];

/// Partitions of topics that have several.
const PARTITIONS: u32 = 2;

/// The compiled-in topology with few partitions and small windows: first the one profile in force, then the other.
pub fn simulation() -> Simulation {
    Simulation::new(&["sustained", "default"].map(simplified), &registry::registered())
}

fn simplified(profile: &str) -> Topology {
    let mut topology = merit_topology::parse(session::TOPOLOGY).expect("the compiled-in topology is tested");
    for topic in &mut topology.topics {
        if matches!(topic.partitions, Partitions::Count(count) if count > 1) {
            topic.partitions = Partitions::Count(PARTITIONS);
        }
    }
    let own = topology.settings.iter().map(|(path, value)| (path.to_owned(), value.to_owned()));
    let small = PARAMETERS.into_iter().chain([("profile", profile)]).map(|(path, value)| (path.to_owned(), value.to_owned()));
    topology.settings = own.chain(small).collect();
    topology
}

impl Simulate {
    pub(crate) fn run(self, out: &mut Output) -> Result<(), Failure> {
        match self.seed {
            Some(seed) => one(seed, out),
            None => many(self.from, self.seeds, out),
        }
    }
}

/// A seed twice: the second run has to be the first again.
fn one(seed: u64, out: &mut Output) -> Result<(), Failure> {
    let simulation = simulation();
    let (run, again) = (simulation.run(seed, None), simulation.run(seed, None));
    if out.json {
        out.line(json(&run).to_string())?;
    } else {
        out.line(format!("seed {seed}: {} steps, {} copies fenced, trace {:016x}", run.steps, run.fenced, run.trace))?;
        let row = |(name, count): (String, u64)| vec![name, count.to_string()];
        out.line("\nFaults")?;
        out.table(&run.faults.iter().map(|(fault, count)| row((fault.name().into(), *count))).collect::<Vec<_>>())?;
        out.line("\nCrashes before a step")?;
        out.table(&run.crashes.iter().map(|(step, count)| row((format!("{step:?}"), *count))).collect::<Vec<_>>())?;
        out.line("\nRecords")?;
        out.table(&run.records.iter().map(|(name, count)| row(((*name).into(), *count))).collect::<Vec<_>>())?;
    }
    if run != again {
        return Err(Failure::new(code::SIMULATION_VARIES, format!("seed {seed} ran otherwise the second time")));
    }
    run.broken.as_ref().map_or(Ok(()), |broken| Err(failure(&run, broken)))
}

fn many(from: u64, seeds: u64, out: &mut Output) -> Result<(), Failure> {
    let started = Instant::now();
    let mut total = Total::default();
    let mut first: Option<Run> = None;
    each(from, seeds, |run| {
        total.add(&run);
        if total.seeds % 50 == 0 {
            out.progress(&format!("{} of {seeds} seeds", total.seeds));
        }
        if run.broken.is_some() && first.as_ref().is_none_or(|first| run.seed < first.seed) {
            first = Some(run);
        }
    });
    out.progress("");
    let seconds = started.elapsed().as_secs_f64();
    total.print(seconds, out)?;
    match first.as_ref().and_then(|run| Some((run, run.broken.as_ref()?))) {
        Some((run, broken)) => Err(failure(run, broken)),
        None => Ok(()),
    }
}

/// Runs seeds on all cores and hands the runs on as they come.
fn each(from: u64, seeds: u64, mut then: impl FnMut(Run)) {
    let simulation = simulation();
    let next = AtomicU64::new(from);
    let (send, runs) = channel();
    std::thread::scope(|scope| {
        for _ in 0..std::thread::available_parallelism().map_or(1, usize::from) {
            let (send, next, simulation) = (send.clone(), &next, &simulation);
            scope.spawn(move || {
                loop {
                    let seed = next.fetch_add(1, Ordering::Relaxed);
                    if seed >= from.saturating_add(seeds) || send.send(simulation.run(seed, None)).is_err() {
                        break;
                    }
                }
            });
        }
        drop(send);
        runs.into_iter().for_each(&mut then);
    });
}

fn failure(run: &Run, broken: &Broken) -> Failure {
    let message = format!("seed {} broke the rule `{}` after {} steps, trace {:016x}", run.seed, broken.invariant, run.steps, run.trace);
    let hint = format!("`merit simulate --seed {}` runs it again", run.seed);
    Failure::new(code::SIMULATION_FAILED, message).because(broken.detail.clone()).hint(hint)
}

fn json(run: &Run) -> Value {
    let faults: BTreeMap<&str, u64> = run.faults.iter().map(|(fault, count)| (fault.name(), *count)).collect();
    let crashes: BTreeMap<String, u64> = run.crashes.iter().map(|(step, count)| (format!("{step:?}"), *count)).collect();
    let broken = run.broken.as_ref().map(|broken| json!({ "rule": broken.invariant, "detail": broken.detail }));
    json!({ "seed": run.seed, "steps": run.steps, "fenced": run.fenced, "trace": format!("{:016x}", run.trace), "faults": faults, "crashes": crashes,
        "records": run.records, "virtualSeconds": run.virtual_milliseconds as f64 / 1e3, "broken": broken })
}

/// What all runs came to.
#[derive(Default)]
struct Total {
    seeds: u64,
    failed: u64,
    steps: u64,
    fenced: u64,
    virtual_milliseconds: u64,
    /// Faults of the run with the fewest.
    fewest: Option<u64>,
    faults: BTreeMap<&'static str, u64>,
    crashes: BTreeMap<String, u64>,
    records: BTreeMap<&'static str, u64>,
}

impl Total {
    fn add(&mut self, run: &Run) {
        self.seeds += 1;
        self.failed += u64::from(run.broken.is_some());
        self.steps += run.steps;
        self.fenced += run.fenced;
        self.virtual_milliseconds += run.virtual_milliseconds;
        let faults: u64 = run.faults.values().sum();
        self.fewest = Some(self.fewest.map_or(faults, |fewest| fewest.min(faults)));
        run.faults.iter().for_each(|(fault, count)| *self.faults.entry(fault.name()).or_default() += count);
        run.crashes.iter().for_each(|(step, count)| *self.crashes.entry(format!("{step:?}")).or_default() += count);
        run.records.iter().for_each(|(name, count)| *self.records.entry(name).or_default() += count);
    }

    fn print(&self, seconds: f64, out: &mut Output) -> Result<(), Failure> {
        let virtual_seconds = self.virtual_milliseconds as f64 / 1e3;
        if out.json {
            let value = json!({ "seeds": self.seeds, "failed": self.failed, "steps": self.steps, "fenced": self.fenced, "fewestFaults": self.fewest,
                "faults": self.faults, "crashes": self.crashes, "records": self.records,
                "virtualSeconds": virtual_seconds, "seconds": seconds });
            return out.line(value.to_string());
        }
        let (hours, times) = (virtual_seconds / 3_600.0, virtual_seconds / seconds);
        out.line(format!("{} seeds, {} failed, {} steps in {seconds:.1} s", self.seeds, self.failed, self.steps))?;
        out.line(format!("{hours:.1} hours of virtual time, {times:.0} times as fast as real time"))?;
        out.line(format!("\nFaults, at least {} a seed", self.fewest.unwrap_or(0)))?;
        out.table(&self.faults.iter().map(|(name, count)| vec![(*name).into(), count.to_string()]).collect::<Vec<_>>())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_simulated_is_a_topology_that_could_run() {
        let given = merit_topology::parse(session::TOPOLOGY).expect("the compiled-in topology is tested");
        for profile in ["sustained", "default"] {
            let topology = simplified(profile);
            assert_eq!(merit_topology::check(&topology, &registry::codes()), []);
            let paths = |topology: &Topology| topology.settings.iter().map(|(path, _)| path.to_owned()).collect::<Vec<_>>();
            assert_eq!(paths(&topology), paths(&given), "a parameter that the file has not");
        }
    }
}

//! `merit bench`: what a report costs on one core, beside a pipeline without logic.
//!
//! Every run has a process of its own, so that none finds the memory of another, and is pinned to one core before it starts any
//! thread. Making the load, and reading the real run's records for the pipeline without logic, is left out of the times.

mod http;
pub mod load;
mod measure;
mod null;
mod whole;

use crate::code;
use crate::failure::Failure;
use crate::output::Output;
use crate::session;
use clap::{Args, Subcommand, ValueEnum};
use load::Format;
use measure::{Measured, Stopwatch};
use merit_core::Kind;
use merit_runtime::layout::Layout;
use merit_runtime::store::Store;
use merit_topology::Topology;
use serde_json::{Value, json};
use std::path::{Path, PathBuf};
use std::process::Command;

/// The profile that is measured.
const PROFILE: &str = "sustained";

#[derive(Args)]
#[command(args_conflicts_with_subcommands = true)]
pub(crate) struct Bench {
    #[command(subcommand)]
    other: Option<Other>,
    /// Reports of a run.
    #[arg(long, default_value_t = 2_000_000, value_parser = clap::value_parser!(u64).range(1..=1_000_000_000))]
    reports: u64,
    /// Agents that they are about.
    #[arg(long, default_value_t = 10_000, value_parser = clap::value_parser!(u64).range(1..=1_000_000))]
    agents: u64,
    /// The core to run on; the last one allowed by default.
    #[arg(long, value_name = "CORE")]
    cpu: Option<usize>,
    /// A topology file instead of the one that is compiled in; its profile is `sustained` for the measurement.
    #[arg(long, value_name = "FILE")]
    topology: Option<PathBuf>,
    /// Where to write, and keep, what the runs write; a temporary directory by default.
    #[arg(long, value_name = "DIR")]
    data_dir: Option<PathBuf>,
    /// One run in this process.
    #[arg(long, hide = true, requires_all = ["data_dir", "cpu"])]
    only: Option<Run>,
}

/// What is measured beside the pipeline.
#[derive(Subcommand)]
enum Other {
    /// What `/eval/submit` carries, beside a server that only answers.
    Http(http::Http),
    /// That server.
    #[command(hide = true)]
    NullHttp(http::NullHttp),
}

/// The runs, in order: a pipeline without logic reads what the whole one left.
#[derive(Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Run {
    WholeJson,
    NullJson,
    WholeAvro,
    NullAvro,
}

impl Run {
    const ALL: [Run; 4] = [Run::WholeJson, Run::NullJson, Run::WholeAvro, Run::NullAvro];

    fn name(self) -> &'static str {
        match self {
            Run::WholeJson => "whole-json",
            Run::NullJson => "null-json",
            Run::WholeAvro => "whole-avro",
            Run::NullAvro => "null-avro",
        }
    }

    fn format(self) -> Format {
        match self {
            Run::WholeJson | Run::NullJson => Format::Json,
            Run::WholeAvro | Run::NullAvro => Format::Avro,
        }
    }
}

/// One run: what to do and where.
struct Task<'a> {
    run: Run,
    reports: u64,
    agents: u64,
    format: Format,
    topology: Topology,
    place: &'a Path,
}

impl Task<'_> {
    /// Its directory, new.
    fn directory(&self) -> Result<PathBuf, Failure> {
        let directory = self.place.join(self.run.name());
        match directory.exists() {
            false => Ok(directory),
            true => Err(Failure::new(code::DIRECTORY_EXISTS, format!("{} exists", directory.display()))),
        }
    }

    /// Where the whole pipeline left the same reports' records.
    fn real_directory(&self) -> PathBuf {
        let whole = if self.format == Format::Json { Run::WholeJson } else { Run::WholeAvro };
        self.place.join(whole.name())
    }
}

impl Bench {
    pub(crate) fn run(mut self, out: &mut Output) -> Result<(), Failure> {
        match self.other.take() {
            Some(Other::Http(http)) => http.run(out),
            Some(Other::NullHttp(null)) => null.run(out),
            None => self.pipelines(out),
        }
    }

    fn pipelines(self, out: &mut Output) -> Result<(), Failure> {
        let busy = measure::load_average().filter(|(average, cores)| *average > *cores as f64 / 4.0);
        let core = self.cpu.map_or_else(measure::last_core, Ok)?;
        measure::pin(core)?;
        let Bench { reports, agents, .. } = self;
        if let (Some(run), Some(place)) = (self.only, &self.data_dir) {
            let task = Task { run, reports, agents, format: run.format(), topology: topology(self.topology.as_deref())?, place };
            let measured = match run {
                Run::WholeJson | Run::WholeAvro => whole::run(&task),
                Run::NullJson | Run::NullAvro => null::run(&task),
            };
            return out.line(measured?.to_json().to_string());
        }
        let temporary = tempfile::tempdir()?;
        let place = self.data_dir.as_deref().unwrap_or(temporary.path());
        let mut measured = Vec::new();
        for run in Run::ALL {
            out.progress(&format!("{} of {reports} reports", run.name()));
            measured.push(self.start(run, core, place)?);
        }
        out.progress("");
        if let Some(pair) = measured.chunks(2).find(|pair| pair.iter().any(|run| run.records != pair[0].records)) {
            let counts: Vec<u64> = pair.iter().map(|run| run.records).collect();
            let message = format!("the pipelines did not write the same number of records: {counts:?}");
            return Err(Failure::new(code::BENCH_DIFFERS, message));
        }
        let report = Report { reports, agents, core, busy, measured: &measured };
        if out.json { out.line(report.to_json().to_string()) } else { report.print(out) }
    }

    /// One run in a process of its own.
    fn start(&self, run: Run, core: usize, place: &Path) -> Result<Measured, Failure> {
        let failed = |detail: String| Failure::new(code::BENCH_RUN, format!("the run {} did not end well", run.name())).because(detail);
        let mut command = Command::new(std::env::current_exe()?);
        command.args(["bench", "--only", run.name(), "--cpu", &core.to_string()]);
        command.args(["--reports", &self.reports.to_string(), "--agents", &self.agents.to_string()]);
        if let Some(topology) = &self.topology {
            command.arg("--topology").arg(topology);
        }
        let done = command.arg("--data-dir").arg(place).output()?;
        if !done.status.success() {
            return Err(failed(String::from_utf8_lossy(&done.stderr).into_owned()));
        }
        let value: Option<Value> = serde_json::from_slice(&done.stdout).ok();
        value.as_ref().and_then(Measured::from_json).ok_or_else(|| failed("it did not say what it measured".into()))
    }
}

/// The topology with the measured profile.
fn topology(file: Option<&Path>) -> Result<Topology, Failure> {
    let mut topology = session::topology(file)?;
    let value = |path: &str, value: &str| if path == "profile" { PROFILE.into() } else { value.to_owned() };
    topology.settings = topology.settings.iter().map(|(path, text)| (path.to_owned(), value(path, text))).collect();
    Ok(topology)
}

/// Ends a run: what it used, and what it left.
fn measured(watch: &Stopwatch, store: &Store, layout: &Layout) -> Result<Measured, Failure> {
    let (cpu, wall) = watch.read();
    let (written, peak) = (measure::bytes_written()?, measure::peak_memory()?);
    let mut records = 0;
    let mut decisions = 0;
    for partition in &layout.partitions {
        records += store.end(partition)?;
        if ["eval.promotions", "alloc.decisions", "alloc.applied"].contains(&partition.name.as_str()) {
            decisions += decisions_in(store.records(partition))?;
        }
    }
    Ok(Measured { cpu: cpu.as_secs_f64(), wall: wall.as_secs_f64(), written, disk: store.disk_bytes(), peak, records, decisions })
}

fn decisions_in(mut records: merit_runtime::store::Cursor<'_>) -> Result<u64, Failure> {
    let mut decisions = 0;
    while let Some((_, frame)) = records.next()? {
        decisions += u64::from(frame.kind().is_some_and(|kind| Kind::DECISIONS.contains(kind)));
    }
    Ok(decisions)
}

/// Everything that was measured.
struct Report<'a> {
    reports: u64,
    agents: u64,
    core: usize,
    /// Load average and cores, where others used the machine before the first run.
    busy: Option<(f64, usize)>,
    measured: &'a [Measured],
}

/// A whole pipeline beside the one without logic.
struct Comparison {
    format: &'static str,
    /// The share of the whole pipeline's time that the one without logic takes: of its CPU time, and of its wall time.
    cpu: f64,
    wall: f64,
    /// CPU microseconds of logic a report.
    logic: f64,
}

impl Report<'_> {
    fn per_report(&self, amount: f64) -> f64 {
        amount / self.reports as f64
    }

    fn comparisons(&self) -> Vec<Comparison> {
        let compare = |(format, pair): (&'static str, &[Measured])| {
            let [whole, null] = pair else { return None };
            let logic = self.per_report((whole.cpu - null.cpu) * 1e6);
            Some(Comparison { format, cpu: null.cpu / whole.cpu, wall: null.wall / whole.wall, logic })
        };
        ["JSON", "Avro"].into_iter().zip(self.measured.chunks(2)).filter_map(compare).collect()
    }

    fn to_json(&self) -> Value {
        let runs = Run::ALL.iter().zip(self.measured).map(|(run, measured)| {
            let mut value = measured.to_json();
            value["run"] = run.name().into();
            value["reportsPerSecond"] = (self.reports as f64 / measured.wall).into();
            value["cpuSecondsPerMillion"] = self.per_report(measured.cpu * 1e6).into();
            value
        });
        let comparison = |comparison: &Comparison| {
            json!({ "from": comparison.format, "nullOfWholeCpu": comparison.cpu, "nullOfWholeWall": comparison.wall,
                "logicMicroseconds": comparison.logic })
        };
        json!({ "reports": self.reports, "agents": self.agents, "core": self.core, "profile": PROFILE,
            "busy": self.busy.map(|(average, _)| average), "runs": runs.collect::<Vec<_>>(),
            "comparisons": self.comparisons().iter().map(comparison).collect::<Vec<_>>() })
    }

    fn print(&self, out: &mut Output) -> Result<(), Failure> {
        out.line(format!("{} reports of {} agents on core {}, profile {PROFILE}\n", self.reports, self.agents, self.core))?;
        let head = ["run", "reports/s", "CPU s a million", "bytes written a report", "disk MB", "peak memory MB", "decisions a 1,000"];
        let mut rows = vec![head.map(String::from).to_vec()];
        for (run, measured) in Run::ALL.iter().zip(self.measured) {
            rows.push(vec![
                run.name().into(),
                format!("{:.0}", self.reports as f64 / measured.wall),
                format!("{:.3}", self.per_report(measured.cpu * 1e6)),
                format!("{:.0}", self.per_report(measured.written as f64)),
                format!("{:.1}", measured.disk as f64 / 1e6),
                format!("{:.1}", measured.peak as f64 / 1e6),
                format!("{:.2}", self.per_report(measured.decisions as f64 * 1e3)),
            ]);
        }
        out.table(&rows)?;
        out.line("")?;
        for Comparison { format, cpu, wall, logic } in self.comparisons() {
            out.line(format!("from {format}: null / whole {cpu:.2} of CPU, {wall:.2} of wall; logic {logic:.2} microseconds a report"))?;
        }
        if let Some((average, cores)) = self.busy {
            out.line(format!("hint: the machine was busy (load {average} on {cores} cores), so times are too high; ratios suffer less"))?;
        }
        out.line(
            "\nbytes written: all that went to write calls, compaction too; peak memory: resident; null: the same records without logic",
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_measured_profile_is_in_force() {
        assert_eq!(topology(None).expect("valid").settings.get("profile"), Some(PROFILE));
    }

    #[test]
    fn the_ratio_is_that_of_the_null_pipeline_to_the_whole() {
        let run = |cpu: f64, wall: f64| Measured { cpu, wall, written: 0, disk: 0, peak: 0, records: 0, decisions: 0 };
        let measured = [run(6.0, 8.0), run(3.0, 2.0), run(4.0, 4.0), run(1.0, 1.0)];
        let report = Report { reports: 1_000_000, agents: 1, core: 0, busy: None, measured: &measured };
        let found: Vec<_> = report.comparisons().iter().map(|it| (it.format, it.cpu, it.wall, it.logic)).collect();
        assert_eq!(found, [("JSON", 0.5, 0.25, 3.0), ("Avro", 0.25, 0.25, 3.0)]);
    }
}

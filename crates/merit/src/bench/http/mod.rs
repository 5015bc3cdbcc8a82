//! `merit bench http`: what `/eval/submit` carries, beside a server of the same door that only answers.
//!
//! Both serve from processes of their own while this one loads them, on the same cores. Runs of both take turns, so that what else the
//! machine does falls on both; the median of the turns is told.

mod client;
mod null;
mod server;

pub(super) use null::NullHttp;

use super::measure;
use crate::failure::Failure;
use crate::output::Output;
use clap::Args;
use client::{Client, Told};
use serde_json::{Value, json};
use server::{Server, Used};
use std::time::Duration;

/// Load before anything is measured.
const WARM_UP: Duration = Duration::from_secs(1);

#[derive(Args)]
pub(crate) struct Http {
    /// Agents that reports are about; each number is a run.
    #[arg(long, value_delimiter = ',', default_values_t = [10_000, 100], value_parser = clap::value_parser!(u64).range(1..=1_000_000))]
    agents: Vec<u64>,
    /// Connections that are kept open.
    #[arg(long, default_value_t = 200, value_parser = clap::value_parser!(u64).range(1..=4_000))]
    connections: u64,
    /// Seconds of each measurement.
    #[arg(long, default_value_t = 5, value_parser = clap::value_parser!(u64).range(1..=600))]
    seconds: u64,
    /// Turns of each server.
    #[arg(long, default_value_t = 3, value_parser = clap::value_parser!(u64).range(1..=100))]
    repeats: u64,
}

/// Who serves.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Side {
    Null,
    Merit,
}

impl Side {
    fn name(self) -> &'static str {
        match self {
            Side::Null => "null",
            Side::Merit => "merit",
        }
    }
}

/// One turn.
struct Turn {
    side: Side,
    agents: u64,
    /// As fast as it goes.
    most: Told,
    /// What the server used for that.
    used: Used,
    /// At half of that rate.
    half: Told,
    peak: u64,
    /// All that was acknowledged, and what it left on disk.
    acknowledged: u64,
    disk: u64,
}

impl Http {
    pub(super) fn run(self, out: &mut Output) -> Result<(), Failure> {
        let busy = measure::load_average();
        let runtime = client::runtime()?;
        let mut turns = Vec::new();
        for &agents in &self.agents {
            for turn in 1..=self.repeats {
                for side in [Side::Null, Side::Merit] {
                    out.progress(&format!("{} agents, {} of {}: {}", agents, turn, self.repeats, side.name()));
                    turns.push(runtime.block_on(self.turn(side, agents))?);
                }
            }
        }
        out.progress("");
        let report = Report { turns: &turns, http: &self, busy };
        if out.json { out.line(report.to_json().to_string()) } else { report.print(out) }
    }

    async fn turn(&self, side: Side, agents: u64) -> Result<Turn, Failure> {
        let directory = tempfile::tempdir()?;
        let server = Server::start(side, directory.path())?;
        let client = Client::new(server.address, self.connections, agents);
        let time = Duration::from_secs(self.seconds);
        let warm = client.as_fast_as_it_goes(WARM_UP).await?;
        let before = server.used()?;
        let most = client.as_fast_as_it_goes(time).await?;
        let used = server.used()?.since(before);
        let half = client.at_rate(most.rate() / 2.0, time).await?;
        let acknowledged = warm.acknowledged + most.acknowledged + half.acknowledged;
        let peak = server.peak()?;
        server.stop()?;
        Ok(Turn { side, agents, most, used, half, peak, acknowledged, disk: server::disk(directory.path()) })
    }
}

impl Turn {
    fn cpu_per_million(&self) -> f64 {
        self.used.seconds() / self.most.acknowledged as f64 * 1e6
    }

    fn disk_per_report(&self) -> f64 {
        self.disk as f64 / self.acknowledged as f64
    }

    fn to_json(&self) -> Value {
        json!({ "server": self.side.name(), "agents": self.agents, "reportsPerSecond": self.most.rate(),
            "cpuSecondsPerMillion": self.cpu_per_million(), "p99AtMostMs": self.most.quantile(0.99),
            "halfPerSecond": self.half.rate(), "p50Ms": self.half.quantile(0.5), "p99Ms": self.half.quantile(0.99),
            "p999Ms": self.half.quantile(0.999), "worstMs": self.half.quantile(1.0),
            "peakMemoryBytes": self.peak, "diskBytesPerReport": self.disk_per_report(),
            "notAcknowledged": self.most.refused + self.half.refused })
    }
}

/// Everything that was measured.
struct Report<'a> {
    turns: &'a [Turn],
    http: &'a Http,
    busy: Option<(f64, usize)>,
}

impl Report<'_> {
    fn median(&self, agents: u64, side: Side, of: impl Fn(&Turn) -> f64) -> f64 {
        median(self.turns.iter().filter(|turn| turn.agents == agents && turn.side == side).map(of).collect())
    }

    /// Merit's share of the null server's rate.
    fn ratio(&self, agents: u64) -> f64 {
        let rate = |side| self.median(agents, side, |turn| turn.most.rate());
        rate(Side::Merit) / rate(Side::Null)
    }

    fn to_json(&self) -> Value {
        let ratios = self.http.agents.iter().map(|agents| json!({ "agents": agents, "meritOfNull": self.ratio(*agents) }));
        json!({ "connections": self.http.connections, "seconds": self.http.seconds, "load": self.busy.map(|(average, _)| average),
            "turns": self.turns.iter().map(Turn::to_json).collect::<Vec<_>>(), "ratios": ratios.collect::<Vec<_>>() })
    }

    fn print(&self, out: &mut Output) -> Result<(), Failure> {
        let Http { connections, seconds, repeats, .. } = self.http;
        out.line(format!("{connections} connections, {seconds} s each, medians of {repeats}; latencies at half of each server's rate\n"))?;
        let head =
            ["server", "agents", "reports/s", "CPU s a million", "p50 ms", "p99 ms", "p99.9 ms", "peak memory MB", "disk bytes a report"];
        let mut rows = vec![head.map(String::from).to_vec()];
        for &agents in &self.http.agents {
            for side in [Side::Null, Side::Merit] {
                let cell = |digits: usize, of: &dyn Fn(&Turn) -> f64| format!("{:.digits$}", self.median(agents, side, of));
                rows.push(vec![
                    side.name().into(),
                    agents.to_string(),
                    cell(0, &|turn| turn.most.rate()),
                    cell(1, &Turn::cpu_per_million),
                    cell(2, &|turn| turn.half.quantile(0.5)),
                    cell(2, &|turn| turn.half.quantile(0.99)),
                    cell(2, &|turn| turn.half.quantile(0.999)),
                    cell(1, &|turn| turn.peak as f64 / 1e6),
                    cell(0, &Turn::disk_per_report),
                ]);
            }
        }
        out.table(&rows)?;
        out.line("")?;
        for &agents in &self.http.agents {
            out.line(format!("{agents} agents: merit / null {:.2} of the rate", self.ratio(agents)))?;
        }
        let refused: u64 = self.turns.iter().map(|turn| turn.most.refused + turn.half.refused).sum();
        out.line(format!("not acknowledged: {refused}"))?;
        if let Some((average, cores)) = self.busy.filter(|(average, cores)| *average > *cores as f64 / 4.0) {
            out.line(format!("hint: the machine was busy (load {average} on {cores} cores): rates are too low; CPU seconds suffer less"))?;
        }
        Ok(())
    }
}

fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    values.get(values.len() / 2).copied().unwrap_or(f64::NAN)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_median_is_the_value_in_the_middle() {
        assert_eq!(median(vec![3.0, 1.0, 2.0]), 2.0);
        assert_eq!(median(vec![4.0]), 4.0);
    }
}

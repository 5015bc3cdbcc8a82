//! The command line: one file a command.
//!
//! Exit codes: 0 done; 1 the world failed (file, disk, directory); 2 the call is wrong; 3 a check found a fault.

mod audit;
mod backup;
pub mod bench;
pub mod code;
mod decisions;
mod explain;
mod failure;
mod import;
mod log;
mod output;
mod pools;
pub mod registry;
mod rejected;
mod replay;
mod run;
mod session;
pub mod simulate;
mod state;
mod summary;
mod topology;

use clap::error::ErrorKind;
use clap::{Args, Parser, Subcommand};
use failure::Failure;
use merit_runtime::{Failpoint, LOGIC_VERSION};
use output::Output;
use std::path::PathBuf;
use std::sync::LazyLock;

static VERSION: LazyLock<String> = LazyLock::new(|| format!("{}, logic version {LOGIC_VERSION}", env!("CARGO_PKG_VERSION")));

/// Merit scores agents from a stream of evaluation reports, decides who is promoted, moves GPUs, and proves every step.
#[derive(Parser)]
#[command(
    name = "merit",
    version = VERSION.as_str(),
    after_help = "Exit codes: 0 done, 1 the world failed, 2 the call is wrong, 3 a check found a fault; docs/errors.md names every error."
)]
struct Cli {
    /// Write JSON for machines instead of text for people.
    #[arg(long, global = true)]
    json: bool,
    #[command(subcommand)]
    command: Command,
}

/// Which cluster, and how it is reached.
#[derive(Args)]
struct Reach {
    /// The cluster: brokers to begin with, separated by commas.
    #[arg(long, value_name = "HOST:PORT,...")]
    kafka: Option<String>,
    /// How it and its schema registry are reached: a file of `name=value` lines with librdkafka's names.
    #[arg(long, value_name = "FILE", requires = "kafka")]
    kafka_config: Option<PathBuf>,
}

/// Where the log is and what it is read with.
#[derive(Args, Clone)]
struct Place {
    /// The data directory.
    #[arg(long, value_name = "DIR")]
    data_dir: PathBuf,
    /// A topology file instead of the one that is compiled in.
    #[arg(long, value_name = "FILE")]
    topology: Option<PathBuf>,
}

#[derive(Subcommand)]
enum Command {
    /// The pipeline live, behind HTTP: evaluation on port 8051, allocation on 8052, operations on 8050.
    Run(run::Run),
    /// Take reports from JSON lines or CSV, plain or gzip, and run the pipeline to their end.
    Import(import::Import),
    /// Pools and quotas.
    #[command(subcommand)]
    Pools(pools::Pools),
    /// Records of topics.
    #[command(subcommand)]
    Log(log::Log),
    /// Compute a log again and compare every record.
    Replay(replay::Replay),
    /// Why a decision was taken: scores, windows, gates, parents, proof.
    Explain(explain::Explain),
    /// Chains, signatures and seals.
    #[command(subcommand)]
    Audit(audit::Audit),
    /// Check and draw topology.toml; go on from a log that differs.
    #[command(subcommand)]
    Topology(topology::TopologyCommand),
    /// Inputs that broke a rule.
    #[command(subcommand)]
    Rejected(rejected::Rejected),
    /// State rows as of the last checkpoint.
    #[command(subcommand)]
    State(state::State),
    /// Copy a directory, beside its writer too, and read the copy back.
    Backup(backup::Backup),
    /// Make a directory of a backup.
    Restore(backup::Restore),
    /// Run the pipeline on a simulated broker where everything breaks, one seed a run.
    Simulate(simulate::Simulate),
    /// Throughput on this machine, beside a pipeline without logic.
    Bench(bench::Bench),
}

/// Runs the command that the process was called with.
pub fn main() -> u8 {
    let cli = match Cli::try_parse() {
        Ok(cli) => cli,
        Err(error) => return usage(&error),
    };
    let mut out = Output::new(cli.json);
    let done = arm_failpoint().and_then(|()| match cli.command {
        Command::Run(command) => command.run(&mut out),
        Command::Import(command) => command.run(&mut out),
        Command::Pools(command) => command.run(&mut out),
        Command::Log(command) => command.run(&mut out),
        Command::Replay(command) => command.run(&mut out),
        Command::Explain(command) => command.run(&mut out),
        Command::Audit(command) => command.run(&mut out),
        Command::Topology(command) => command.run(&mut out),
        Command::Rejected(command) => command.run(&mut out),
        Command::State(command) => command.run(&mut out),
        Command::Backup(command) => command.run(&mut out),
        Command::Restore(command) => command.run(&mut out),
        Command::Simulate(command) => command.run(&mut out),
        Command::Bench(command) => command.run(&mut out),
    });
    match done.and_then(|()| out.finish()) {
        Ok(()) => 0,
        Err(failure) => failure.report(cli.json),
    }
}

/// A call that clap refuses, or one for help.
fn usage(error: &clap::Error) -> u8 {
    let json = std::env::args_os().any(|argument| argument == "--json");
    let text = error.to_string();
    let (message, detail) = match (error.kind(), text.split_once("\n\n")) {
        (ErrorKind::DisplayHelp | ErrorKind::DisplayVersion, _) => error.exit(),
        (ErrorKind::DisplayHelpOnMissingArgumentOrSubcommand, _) if !json => error.exit(),
        (ErrorKind::DisplayHelpOnMissingArgumentOrSubcommand, _) => ("a command is missing", text.as_str()),
        (_, Some(parts)) => parts,
        (_, None) => (text.as_str(), ""),
    };
    let message: Vec<&str> = message.trim_start_matches("error: ").lines().map(str::trim).collect();
    let detail = detail.trim_end().trim_end_matches("For more information, try '--help'.").trim();
    let failure = Failure::new(code::USAGE, message.join(" "));
    if detail.is_empty() { failure } else { failure.because(detail) }.report(json)
}

/// Arms the place of `MERIT_FAILPOINT`, for tests.
fn arm_failpoint() -> Result<(), Failure> {
    let Some(text) = std::env::var_os("MERIT_FAILPOINT") else { return Ok(()) };
    let text = text.to_string_lossy();
    let unknown = || {
        let names: Vec<&str> = Failpoint::ALL.iter().map(|point| point.name()).collect();
        let hint = format!("give NAME:COUNT with a count from 1 on and one of {}", names.join(", "));
        Failure::new(code::FAILPOINT_UNKNOWN, format!("MERIT_FAILPOINT is {text:?}, which is no failpoint")).hint(hint)
    };
    Failpoint::arm(&text).ok_or_else(unknown)
}

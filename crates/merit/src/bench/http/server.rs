//! A server in a process of its own, and what it uses.

use super::Side;
use super::measure::field;
use crate::code;
use crate::failure::Failure;
use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;
use std::io::{BufRead, BufReader};
use std::net::SocketAddr;
use std::path::Path;
use std::process::{Child, Command, Stdio};

/// Clock ticks a second in `/proc/PID/stat`; Linux tells every program 100.
const TICKS: f64 = 100.0;

/// A process that serves; ended when dropped.
pub(super) struct Server {
    child: Child,
    /// Where it takes reports.
    pub(super) address: SocketAddr,
}

/// CPU time, in ticks.
#[derive(Clone, Copy)]
pub(super) struct Used(u64);

impl Used {
    pub(super) fn since(self, before: Used) -> Used {
        Used(self.0 - before.0)
    }

    pub(super) fn seconds(self) -> f64 {
        self.0 as f64 / TICKS
    }
}

fn failed(detail: impl Into<String>) -> Failure {
    Failure::new(code::BENCH_RUN, "a server of the bench did not do what it should").because(detail)
}

impl Server {
    /// Starts one and waits until it serves.
    pub(super) fn start(side: Side, directory: &Path) -> Result<Server, Failure> {
        let mut command = Command::new(std::env::current_exe()?);
        match side {
            Side::Null => command.args(["bench", "null-http"]),
            Side::Merit => command.args(["run", "--json", "--data-dir"]).arg(directory.join("data")),
        };
        for variable in ["MERIT_OPS_ADDR", "EVAL_ENGINE_ADDR", "RESOURCE_ALLOCATOR_ADDR"] {
            command.env(variable, "127.0.0.1:0");
        }
        let log = std::fs::File::create(directory.join("stderr"))?;
        let mut child = command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(log).spawn()?;
        let mut line = String::new();
        let out = child.stdout.take().ok_or_else(|| failed("its output is not there"))?;
        BufReader::new(out).read_line(&mut line)?;
        let told: Option<Value> = serde_json::from_str(&line).ok();
        let address = told.as_ref().and_then(|told| told["evaluation"].as_str()?.parse().ok());
        match address {
            Some(address) => Ok(Server { child, address }),
            None => {
                // It may have ended by itself.
                let _ = child.kill();
                let _ = child.wait();
                Err(failed(std::fs::read_to_string(directory.join("stderr")).unwrap_or_default()))
            }
        }
    }

    /// CPU time so far.
    pub(super) fn used(&self) -> Result<Used, Failure> {
        let text = std::fs::read_to_string(format!("/proc/{}/stat", self.child.id()))?;
        // Behind the name, which may hold spaces: the 12th and 13th words are user and system time.
        let words = text.rsplit_once(')').map_or("", |(_, rest)| rest).split_whitespace();
        let ticks: Vec<u64> = words.skip(11).take(2).filter_map(|word| word.parse().ok()).collect();
        if ticks.len() == 2 { Ok(Used(ticks.iter().sum())) } else { Err(failed("its times cannot be read")) }
    }

    /// Most memory that was resident at once, in bytes.
    pub(super) fn peak(&self) -> Result<u64, Failure> {
        Ok(field(&format!("/proc/{}/status", self.child.id()), "VmHWM:")? * 1_024)
    }

    /// Ends it cleanly.
    pub(super) fn stop(mut self) -> Result<(), Failure> {
        let pid = i32::try_from(self.child.id()).ok().and_then(Pid::from_raw).ok_or_else(|| failed("it has no id"))?;
        kill_process(pid, Signal::TERM).map_err(std::io::Error::from)?;
        self.child.wait()?;
        Ok(())
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        // One that was stopped is gone.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Bytes of all files under a path.
pub(super) fn disk(path: &Path) -> u64 {
    let entries = std::fs::read_dir(path).into_iter().flatten().flatten();
    entries.map(|entry| if entry.path().is_dir() { disk(&entry.path()) } else { entry.metadata().map_or(0, |file| file.len()) }).sum()
}

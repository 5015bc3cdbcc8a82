//! What the process used, less what is left out.

use crate::code;
use crate::failure::Failure;
use rustix::thread::{CpuSet, sched_getaffinity, sched_setaffinity};
use rustix::time::{ClockId, clock_gettime};
use serde_json::{Value, json};
use std::time::{Duration, Instant};

/// CPU time and wall time of the whole process, but for the work that is left out.
pub(super) struct Stopwatch {
    cpu: Duration,
    wall: Instant,
    left_out: Duration,
}

impl Stopwatch {
    pub(super) fn start() -> Stopwatch {
        Stopwatch { cpu: cpu(ClockId::ProcessCPUTime), wall: Instant::now(), left_out: Duration::ZERO }
    }

    /// Does some work whose CPU time does not count. Other threads' does: only this thread's is left out. On one core the same
    /// time is taken off the wall.
    pub(super) fn leave_out<R>(&mut self, work: impl FnOnce() -> R) -> R {
        let before = cpu(ClockId::ThreadCPUTime);
        let result = work();
        self.left_out += cpu(ClockId::ThreadCPUTime) - before;
        result
    }

    /// CPU and wall so far.
    pub(super) fn read(&self) -> (Duration, Duration) {
        let cpu = cpu(ClockId::ProcessCPUTime) - self.cpu;
        (cpu.saturating_sub(self.left_out), self.wall.elapsed().saturating_sub(self.left_out))
    }
}

fn cpu(clock: ClockId) -> Duration {
    let time = clock_gettime(clock);
    Duration::new(time.tv_sec as u64, time.tv_nsec as u32)
}

/// One run, measured.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Measured {
    /// CPU seconds of the whole process.
    pub(super) cpu: f64,
    /// Seconds.
    pub(super) wall: f64,
    /// Bytes that the process handed to write calls: write-ahead log, tables and their compaction.
    pub(super) written: u64,
    /// Bytes of the files that were left.
    pub(super) disk: u64,
    /// Most memory that was resident at once, in bytes.
    pub(super) peak: u64,
    /// Records of all topics.
    pub(super) records: u64,
    /// Records that are decisions.
    pub(super) decisions: u64,
}

impl Measured {
    pub(super) fn to_json(self) -> Value {
        json!({ "cpuSeconds": self.cpu, "seconds": self.wall, "bytesWritten": self.written, "diskBytes": self.disk,
            "peakMemoryBytes": self.peak, "records": self.records, "decisions": self.decisions })
    }

    pub(super) fn from_json(value: &Value) -> Option<Measured> {
        let (real, whole) = (|name: &str| value[name].as_f64(), |name: &str| value[name].as_u64());
        Some(Measured {
            cpu: real("cpuSeconds")?,
            wall: real("seconds")?,
            written: whole("bytesWritten")?,
            disk: whole("diskBytes")?,
            peak: whole("peakMemoryBytes")?,
            records: whole("records")?,
            decisions: whole("decisions")?,
        })
    }
}

/// Most memory that was resident at once, in bytes.
pub(super) fn peak_memory() -> Result<u64, Failure> {
    Ok(field("/proc/self/status", "VmHWM:")? * 1_024)
}

/// Bytes handed to write calls.
pub(super) fn bytes_written() -> Result<u64, Failure> {
    field("/proc/self/io", "wchar:")
}

/// The number behind a name in a file of `/proc`.
pub(super) fn field(path: &str, name: &str) -> Result<u64, Failure> {
    let unreadable = |detail: String| Failure::new(code::BENCH_UNMEASURED, format!("could not read {name} in {path}")).because(detail);
    let text = std::fs::read_to_string(path).map_err(|error| unreadable(error.to_string()))?;
    let words = text.lines().find_map(|line| line.strip_prefix(name)).and_then(|rest| rest.split_whitespace().next());
    words.and_then(|word| word.parse().ok()).ok_or_else(|| unreadable("there is no such line".into()))
}

/// Work that waited for a core in the last minute, on average, and the number of cores.
pub(super) fn load_average() -> Option<(f64, usize)> {
    let text = std::fs::read_to_string("/proc/loadavg").ok()?;
    let average = text.split_whitespace().next()?.parse().ok()?;
    Some((average, std::thread::available_parallelism().ok()?.get()))
}

/// The last core that this process may run on.
pub(super) fn last_core() -> Result<usize, Failure> {
    let allowed = sched_getaffinity(None).map_err(std::io::Error::from).map_err(|error| unpinned(0, &error))?;
    Ok((0..CpuSet::MAX_CPU).rev().find(|core| allowed.is_set(*core)).unwrap_or(0))
}

/// Keeps this thread, and all that it starts, on one core.
pub(super) fn pin(core: usize) -> Result<(), Failure> {
    if core >= CpuSet::MAX_CPU {
        return Err(Failure::new(code::CPU_UNKNOWN, format!("there is no core {core}")));
    }
    let mut set = CpuSet::new();
    set.set(core);
    sched_setaffinity(None, &set).map_err(std::io::Error::from).map_err(|error| unpinned(core, &error))
}

fn unpinned(core: usize, error: &std::io::Error) -> Failure {
    Failure::new(code::CPU_UNKNOWN, format!("could not run on core {core} alone")).because(error.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_run_is_told_from_process_to_process_without_loss() {
        let measured = Measured { cpu: 1.25, wall: 2.5, written: 1 << 40, disk: 3, peak: 4, records: 5, decisions: 6 };
        assert_eq!(Measured::from_json(&measured.to_json()), Some(measured));
        assert_eq!(Measured::from_json(&json!({ "cpuSeconds": 1.0 })), None);
    }

    #[test]
    fn work_that_is_left_out_does_not_count() {
        let spin = || (0..20_000_000_u64).fold(0, |sum, number| std::hint::black_box(sum ^ number));
        let mut watch = Stopwatch::start();
        let before = cpu(ClockId::ThreadCPUTime);
        spin();
        let apart = watch.left_out;
        watch.leave_out(spin);
        let all = cpu(ClockId::ThreadCPUTime) - before;
        assert_eq!(apart, Duration::ZERO);
        assert!(watch.left_out > all / 4 && watch.left_out < all * 3 / 4, "{:?} of {all:?}", watch.left_out);
    }
}
